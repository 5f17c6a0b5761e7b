//! The demo ends and leaves nothing behind, however it ends; what a killed one leaves is removed by the next.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use print_release_agent::demo::process::tied_to_this_process;
use print_release_agent::demo::reader::VirtualReader;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout};

use crate::support::{limit, program, soon, wait_until};

/// More pseudo-terminals than other processes can keep from getting a number that has become free.
const READERS: usize = 50;

/// A demo with a directory of its own for what it leaves, and its agent.
struct Demo {
    child: Child,
    /// It stays open, because a demo whose output nobody reads ends by itself.
    _output: Lines<BufReader<ChildStdout>>,
    id: Pid,
    agent: Pid,
}

impl Demo {
    /// Starts `demo` with these arguments and waits until its agent runs.
    async fn start(temporary: &TempDir, arguments: &[&str]) -> Self {
        let mut command = tied_to_this_process(program());
        command.arg("demo").args(arguments).env("TMPDIR", temporary.path());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let id = pid(child.id().unwrap());
        let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
        if arguments.is_empty() {
            // The addresses of both pages are told when the agent is ready.
            for _ in 0..2 {
                soon(output.next_line()).await.unwrap().expect("the demo runs");
            }
        }
        wait_until(|| child_of(id).is_some()).await;
        Self { child, _output: output, id, agent: child_of(id).unwrap() }
    }

    async fn end(mut self, signal: Signal) -> Option<i32> {
        kill_process(self.id, signal).unwrap();
        let code = soon(self.child.wait()).await.unwrap().code();
        wait_until(|| !runs(self.agent)).await;
        code
    }
}

fn pid(id: u32) -> Pid {
    Pid::from_raw(i32::try_from(id).unwrap()).unwrap()
}

/// State and parent of a process (proc_pid_stat(5)); `None` when it is gone.
fn state_and_parent(process: Pid) -> Option<(char, i32)> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", process.as_raw_nonzero())).ok()?;
    // The program's name comes before, in parentheses, and may contain anything.
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

/// Whether a process lives. One that has ended may stay listed as a zombie until somebody asks for its exit code.
fn runs(process: Pid) -> bool {
    state_and_parent(process).is_some_and(|(state, _)| state != 'Z')
}

fn child_of(parent: Pid) -> Option<Pid> {
    let names = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    names
        .filter_map(Pid::from_raw)
        .find(|process| state_and_parent(*process).is_some_and(|(_, of)| of == parent.as_raw_nonzero().get()))
}

fn left_in(temporary: &TempDir) -> Vec<PathBuf> {
    fs::read_dir(temporary).unwrap().map(|entry| entry.unwrap().path()).collect()
}

fn no_way_to(reader: &Path) -> bool {
    fs::File::open(reader).is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
}

#[tokio::test]
async fn a_demo_that_a_signal_ends_leaves_no_agent_and_no_file() {
    let _limit = limit();
    for (arguments, code) in [([].as_slice(), 0), (["--headless"].as_slice(), 1)] {
        for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
            let temporary = tempfile::tempdir().unwrap();
            let demo = Demo::start(&temporary, arguments).await;
            assert_eq!(demo.end(signal).await, Some(code), "{arguments:?} {signal:?}");
            assert_eq!(left_in(&temporary), [] as [PathBuf; 0], "{arguments:?} {signal:?}");
        }
    }
}

#[tokio::test]
async fn a_killed_demo_takes_its_agent_along_and_the_next_start_removes_its_files() {
    let _limit = limit();
    for arguments in [[].as_slice(), ["--headless"].as_slice()] {
        let temporary = tempfile::tempdir().unwrap();
        Demo::start(&temporary, arguments).await.end(Signal::KILL).await;
        let [left] = &left_in(&temporary)[..] else { panic!("{:?}", left_in(&temporary)) };
        let next = Demo::start(&temporary, arguments).await;
        assert!(!left.exists(), "{}", left.display());
        next.end(Signal::TERM).await;
    }
}

#[tokio::test]
async fn a_start_leaves_the_files_of_a_living_demo_alone() {
    let _limit = limit();
    let temporary = tempfile::tempdir().unwrap();
    let first = Demo::start(&temporary, &[]).await;
    let of_first = left_in(&temporary);
    let second = Demo::start(&temporary, &[]).await;
    assert!(of_first.iter().all(|path| path.join("agent.toml").exists()));
    assert_eq!((first.end(Signal::TERM).await, second.end(Signal::TERM).await), (Some(0), Some(0)));
}

#[tokio::test]
async fn a_path_that_a_dead_virtual_reader_left_leads_to_no_other_reader() {
    let _limit = limit();
    let (temporary, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let demo = Demo::start(&temporary, &[]).await;
    let reader = left_in(&temporary)[0].join("reader");
    assert!(reader.exists(), "it leads to a reader while its demo lives");
    demo.end(Signal::KILL).await;
    let plug = |number: usize| VirtualReader::plug(&folder.path().join(number.to_string())).unwrap();
    let others: Vec<_> = (0..READERS).map(plug).collect();
    assert!(fs::symlink_metadata(&reader).is_ok_and(|link| link.is_symlink()), "the path is still there");
    assert!(no_way_to(&reader), "{:?}", fs::canonicalize(&reader));
    drop(others);
}
