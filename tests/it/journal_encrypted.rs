//! With a key that is not on the disk, no entry can be read from the disk.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use print_release_agent::domain::Secret;
use print_release_agent::journal::{Journal, JournalError};

use crate::support::journal::{LIMITS, close, config, open, records, release, runtime, store_record};
use crate::support::{limit, program};

const KEY: &str = "0123456789abcdef0123456789abcdef";
const STORED: u64 = 30;

fn open_with(dir: &Path, key: &str) -> Result<Journal, JournalError> {
    Journal::open(dir, LIMITS, Some(&Secret::new(key)))
}

/// Fills a journal with records and an open release, and closes it.
fn filled(journal: Journal, dir: &Path) {
    runtime().block_on(async {
        for number in 0..STORED {
            store_record(&journal, number).await;
        }
        journal.store_releases(vec![release(STORED)]).await.unwrap();
    });
    close(journal, dir);
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// Whether any file shows the text of an entry.
fn is_readable(dir: &Path) -> bool {
    let said = "Notes on the engine".as_bytes();
    files(dir).iter().any(|path| fs::read(path).unwrap().windows(said.len()).any(|part| part == said))
}

fn everything_is_there(journal: &Journal) {
    runtime().block_on(async {
        let numbers: Vec<_> = records(journal).await.into_iter().map(|(_, document)| document).collect();
        assert_eq!(numbers, (0..STORED).map(|number| format!("document-{number}")).collect::<Vec<_>>());
        assert_eq!(journal.open_releases().await.unwrap().len(), 1);
        assert_eq!(journal.verify().await.unwrap().details, <[String; 0]>::default());
    });
}

#[test]
fn what_waits_is_read_with_its_key_alone() {
    let _limit = limit();
    let dir = tempfile::tempdir().unwrap();
    filled(open_with(dir.path(), KEY).unwrap(), dir.path());
    assert!(!is_readable(dir.path()));
    let before = files(dir.path()).len();
    let another = open_with(dir.path(), &KEY.replace('0', "1"));
    assert_eq!(another.unwrap_err(), JournalError::Key);
    assert_eq!(Journal::open(dir.path(), LIMITS, None).unwrap_err(), JournalError::Key);
    assert_eq!(files(dir.path()).len(), before, "a wrong key has changed something");
    let journal = open_with(dir.path(), KEY).unwrap();
    assert!(journal.counts().borrow().encrypted);
    everything_is_there(&journal);
}

#[test]
fn a_journal_in_clear_is_encrypted_when_there_is_a_key() {
    let _limit = limit();
    let dir = tempfile::tempdir().unwrap();
    let clear = open(dir.path());
    assert!(!clear.counts().borrow().encrypted);
    filled(clear, dir.path());
    assert!(is_readable(dir.path()), "this test looks for the wrong thing");
    let journal = open_with(dir.path(), KEY).unwrap();
    everything_is_there(&journal);
    close(journal, dir.path());
    assert!(!is_readable(dir.path()));
}

#[test]
fn a_damaged_one_is_carried_over_with_its_key_and_left_alone_without() {
    let _limit = limit();
    let dir = tempfile::tempdir().unwrap();
    filled(open_with(dir.path(), KEY).unwrap(), dir.path());
    // sled cannot read its file with other settings, so the journal looks for entries in the file.
    for path in files(&dir.path().join("db")).iter().filter(|path| path.file_name().unwrap() != "db") {
        fs::write(path, "no longer what it was").unwrap();
    }
    let file = dir.path().join("db/db");
    let bytes = fs::read(&file).unwrap();
    fs::write(&file, &bytes[7..]).unwrap();
    assert_eq!(open_with(dir.path(), &KEY.replace('0', "1")).unwrap_err(), JournalError::Key);
    let journal = open_with(dir.path(), KEY).unwrap();
    assert_eq!(journal.counts().borrow().set_aside, 1);
    assert_eq!(runtime().block_on(records(&journal)).len(), usize::try_from(STORED).unwrap());
    close(journal, dir.path());
    assert!(!is_readable(dir.path()));
}

#[test]
fn the_key_is_a_credential_of_the_unit() {
    let _limit = limit();
    let (dir, credentials) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let config = config(dir.path());
    let queue = |key: &str| {
        fs::write(credentials.path().join("journal-key"), key).unwrap();
        let mut command = Command::new(program());
        command.args(["--config", config.to_str().unwrap(), "queue", "list"]);
        let output = command.env("CREDENTIALS_DIRECTORY", credentials.path()).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap() + &String::from_utf8_lossy(&output.stderr))
    };
    filled(open_with(dir.path(), KEY).unwrap(), dir.path());
    let (code, list) = queue(&format!("{KEY}\n"));
    assert_eq!((code, list.lines().count()), (Some(0), 31), "{list}");
    let (code, refused) = queue(&KEY.replace('0', "1"));
    assert_eq!(code, Some(74), "{refused}");
    assert!(refused.contains("journal-key"), "{refused}");
    let (code, short) = queue("short");
    assert_eq!(code, Some(64), "{short}");
    assert!(short.contains("fewer than 32 characters") && !short.contains("short\n"), "{short}");
}
