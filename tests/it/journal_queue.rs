//! `queue` gives the same answers and exit codes with a running agent and on the state directory alone.

use std::path::Path;
use std::process::{Command, Output};

use jiff::Timestamp;
use print_release_agent::agent::control;
use print_release_agent::domain::{EntryId, Outcome, Reason};
use print_release_agent::journal::Journal;
use print_release_agent::status::{self, Board};
use serde_json::Value;

use crate::support::journal::{close, config, open, release, runtime, store_record};
use crate::support::{limit, program};

fn queue(dir: &Path, arguments: &[&str]) -> Output {
    let config = config(dir);
    let mut command = Command::new(program());
    command.arg("--config").arg(config).arg("queue").args(arguments).output().unwrap()
}

fn done(dir: &Path, arguments: &[&str]) -> String {
    let output = queue(dir, arguments);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn fails(dir: &Path, arguments: &[&str], told: &str) {
    let output = queue(dir, arguments);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {output:?}");
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains(told), "{arguments:?}: {error}");
}

/// Stores an open release, an unknown one, a record and two dead letters.
async fn fill(journal: &Journal) -> [EntryId; 5] {
    for number in 0..3 {
        store_record(journal, number).await;
    }
    let mut dead = Vec::new();
    for _ in 0..2 {
        let id = journal.oldest_record().await.unwrap().unwrap().id;
        journal.bury_record(id, "no such printer".to_owned()).await.unwrap();
        dead.push(id);
    }
    let record = journal.oldest_record().await.unwrap().unwrap().id;
    let ids = journal.store_releases(vec![release(7), release(8)]).await.unwrap();
    journal.end_release(ids[1], Outcome::Unknown(Reason::NotListed), None).await.unwrap();
    [ids[0], ids[1], record, dead[0], dead[1]]
}

fn every_command_works(dir: &Path, [open, unknown, record, first, second]: [EntryId; 5]) {
    let number = |id: EntryId| id.to_string();
    let list = done(dir, &["list"]);
    assert_eq!(list.lines().count(), 5, "{list}");
    assert!(
        list.contains("refused: no such printer") && list.contains("unknown") && list.contains("waiting"),
        "{list}"
    );
    let listed: Value = serde_json::from_str(&done(dir, &["list", "--json"])).unwrap();
    assert_eq!(listed["dead"].as_array().unwrap().len(), 2);

    let shown: Value = serde_json::from_str(&done(dir, &["show", &number(first), "--json"])).unwrap();
    assert_eq!((&shown["kind"], &shown["reason"]), (&"dead".into(), &"no such printer".into()));
    for command in ["show", "retry", "drop"] {
        fails(dir, &[command, "999"], "find entry 999");
    }
    fails(dir, &["retry", &number(record)], "no dead letter");
    fails(dir, &["drop", &number(record)], "a record that waits");
    fails(dir, &["drop", &number(open)], "has not ended");

    let retried: Value = serde_json::from_str(&done(dir, &["retry", &number(first), "--json"])).unwrap();
    let retried = retried["id"].as_u64().unwrap();
    assert!(retried > unknown, "not at the end: {retried}");
    fails(dir, &["show", &number(first)], "find entry");
    assert!(done(dir, &["drop", &number(second)]).contains("document-1"));
    done(dir, &["drop", &number(unknown)]);

    let lines = done(dir, &["export"]);
    let kinds: Vec<Value> =
        lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["kind"].clone()).collect();
    assert_eq!(kinds, ["release", "record", "record"]);
    let csv = done(dir, &["export", "--format", "csv"]);
    let columns = "kind,id,time,tap,station,user,document,title,pages,reason,provider,printer,color_pages,grayscale,copies,duplex,\
                   paper_size,attempted,last_error,next_attempt,carried_over\n";
    assert!(csv.starts_with(columns), "{csv}");
    assert_eq!(csv.lines().count(), 4, "{csv}");
    assert!(done(dir, &["verify"]).contains(" 0 problems"));
}

#[test]
fn offline() {
    let _limit = limit();
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(done(dir.path(), &["list"]), "nothing waits\n");
    assert!(!dir.path().join("db").exists(), "a look has made a journal");
    let journal = open(dir.path());
    let ids = runtime().block_on(fill(&journal));
    close(journal, dir.path());
    every_command_works(dir.path(), ids);
    std::fs::File::options().write(true).open(dir.path().join("db/db")).unwrap().set_len(0).unwrap();
    let verified = queue(dir.path(), &["verify", "--json"]);
    assert_eq!(verified.status.code(), Some(1), "{verified:?}");
    let verified: Value = serde_json::from_slice(&verified.stdout).unwrap();
    assert_eq!(verified["problems"], 1, "{verified}");
}

#[test]
fn on_the_running_agent() {
    let _limit = limit();
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    let (path, (finished, finish)) = (dir.path().to_owned(), tokio::sync::oneshot::channel::<()>());
    let commands = runtime().block_on(async {
        let ids = fill(&journal).await;
        let board = Board::new("box", ["lobby".into()], Timestamp::now());
        let listener = status::control::bind(&path.join("control.sock")).unwrap();
        let commands = std::thread::spawn(move || {
            every_command_works(&path, ids);
            drop(finished);
        });
        tokio::select! {
            () = status::control::serve(listener, control::router(board, journal)) => {}
            // This also ends when the thread has panicked.
            _ = finish => {}
        }
        commands
    });
    commands.join().unwrap();
}
