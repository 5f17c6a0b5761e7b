//! The memory, wake-ups and writes of a box that nobody uses. Only the program as it is shipped has these figures, on a kernel of
//! its own kind:
//!
//! `PRINT_RELEASE_PROGRAM=target/cross/x86_64/print-release-agent cargo test --test it idle:: -- --ignored --nocapture`

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use print_release_agent::demo::scene::Scene;

use crate::support::mosquitto::Mosquitto;
use crate::support::{limit, program};

/// The work that is done once after the start is over by then.
const SETTLES: Duration = Duration::from_secs(10);

/// Longer than every interval of the agent.
const WATCHED: Duration = Duration::from_secs(120);

/// The bars of docs/measures.md, "Bars".
const MEMORY_KIB: u64 = 12 * 1024;
const WAKEUPS_A_SECOND: f64 = 2.0;

/// The value of `key` in a file of `/proc`.
fn value(file: &Path, key: &str) -> u64 {
    let text = fs::read_to_string(file).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':')).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// Counts how often the threads of a process have gone to sleep.
fn woken(process: &Path) -> u64 {
    let threads = fs::read_dir(process.join("task")).unwrap();
    threads.map(|thread| value(&thread.unwrap().path().join("status"), "voluntary_ctxt_switches")).sum()
}

#[tokio::test]
#[ignore = "two minutes, and a program that is not the one under test"]
async fn an_idle_agent_needs_little_memory_seldom_wakes_and_writes_nothing() {
    let _limit = limit();
    let broker = Mosquitto::start("allow_anonymous true");
    let scene = Scene::set(program()).await.unwrap();
    scene.configure("", &[&format!("[mqtt]\nurl = \"mqtt://127.0.0.1:{}\"", broker.port())]).unwrap();
    let agent = scene.start().await.unwrap();
    tokio::time::sleep(SETTLES).await;
    let process = PathBuf::from(format!("/proc/{}", agent.id().unwrap()));
    let written = || value(&process.join("io"), "write_bytes");
    let (woken_before, written_before) = (woken(&process), written());
    tokio::time::sleep(WATCHED).await;
    let wakeups = (woken(&process) - woken_before) as f64 / WATCHED.as_secs_f64();
    let memory = value(&process.join("status"), "VmRSS");
    let own = value(&process.join("status"), "RssAnon");
    let written = written() - written_before;
    println!(
        "resident {memory} KiB, {own} of it not shared with the program's file; {wakeups:.2} wake-ups a second; written {written} bytes"
    );
    assert!(memory <= MEMORY_KIB && wakeups <= WAKEUPS_A_SECOND && written == 0);
    agent.terminate().await.unwrap();
}
