//! Every test has a time limit, and one that hangs ends the run with its name.

use std::path::Path;
use std::process::Command;
use std::time::Duration;
use std::{fs, thread};

use crate::support::{limit, limit_of};

#[test]
#[ignore = "hangs: the next test starts it"]
fn hangs() {
    let _limit = limit_of(Duration::from_millis(10));
    loop {
        thread::park();
    }
}

#[test]
fn a_test_that_hangs_ends_the_run_with_its_name() {
    let _limit = limit();
    let mut run = Command::new(std::env::current_exe().unwrap());
    let output = run.args(["--exact", "limits::hangs", "--ignored"]).output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && told.contains("test limits::hangs has not ended within 10ms"), "{told}");
}

/// Every test's name with the first line of its body.
fn tests_in(text: &str) -> Vec<(&str, &str)> {
    let lines: Vec<_> = text.lines().collect();
    let is_attribute = |line: &str| ["#[test]", "#[tokio::test"].iter().any(|it| line.trim_start().starts_with(it));
    let begins = (0..lines.len()).filter(|at| is_attribute(lines[*at]));
    let test = |at: usize| {
        let name = lines[at..].iter().find_map(|line| line.split_once("fn ")?.1.split('(').next())?;
        let body = lines[at..].iter().skip_while(|line| !line.ends_with('{')).nth(1)?;
        Some((name, body.trim()))
    };
    begins.filter_map(test).collect()
}

#[test]
fn every_test_begins_with_its_time_limit() {
    let _limit = limit();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it")];
    let (mut seen, mut without) = (0, Vec::new());
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            for (name, body) in tests_in(&fs::read_to_string(&path).unwrap()) {
                seen += 1;
                if !body.starts_with("let _limit = limit") {
                    without.push(format!("{} {name}", path.display()));
                }
            }
        }
    }
    assert!(without.is_empty() && seen > 100, "{seen} tests, without a limit: {without:#?}");
}
