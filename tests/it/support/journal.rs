//! Entries for a journal, and a journal to put them in.

use std::path::Path;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use print_release_agent::domain::{
    Document, DocumentStatus, EntryId, JobRecord, Outcome, OutputPort, Release, TapId, User,
};
use print_release_agent::journal::{Journal, Limits};

/// The defaults of the configuration.
pub const LIMITS: Limits = Limits { max_entries: 100_000, max_age: Duration::from_secs(30 * 24 * 3600) };

pub fn open(dir: &Path) -> Journal {
    Journal::open(dir, LIMITS, None).unwrap()
}

/// A release that differs from all others by its number; it was made `number` seconds ago.
pub fn release(number: u64) -> Release {
    let time = Timestamp::now() - SignedDuration::from_secs(i64::try_from(number % 1_000).unwrap());
    Release {
        tap: TapId::new(time, number.into()),
        station: "lobby".into(),
        user: User { name: "ada".to_owned(), provider: Some(1) },
        document: Document {
            uuid: format!("document-{number}"),
            title: "Notes on the engine".to_owned(),
            user: "ada".to_owned(),
            pages: Some(3),
            color_pages: None,
            copies: Some(1),
            duplex: None,
            grayscale: Some(false),
            paper_size: Some("A4".to_owned()),
            created: Some(time),
            status: DocumentStatus::Ready,
            port_name: None,
            storage_online: None,
        },
        port: OutputPort::Address("192.0.2.10".to_owned()),
        time,
        record: true,
        retain: false,
        tag: false,
    }
}

pub fn record(number: u64) -> JobRecord {
    let release = release(number);
    JobRecord::of(&release, release.time)
}

/// Stores a release and ends it with a record.
pub async fn store_record(journal: &Journal, number: u64) {
    let ids = journal.store_releases(vec![release(number)]).await.unwrap();
    journal.end_release(ids[0], Outcome::Accepted, Some(record(number))).await.unwrap();
}

/// The documents of the records that wait, oldest first, and their numbers.
pub async fn records(journal: &Journal) -> Vec<(EntryId, String)> {
    let mut found = Vec::new();
    let mut after = 0;
    loop {
        let page = journal.list(after).await.unwrap();
        found.extend(page.records.into_iter().map(|stored| (stored.id, stored.record.document)));
        match page.next {
            None => return found,
            Some(next) => after = next,
        }
    }
}

/// A runtime for a test that has more to do than to await.
pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// Drops the journal and waits until its thread has released the directory.
pub fn close(journal: Journal, dir: &Path) {
    drop(journal);
    let lock = std::fs::File::open(dir.join("lock")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
}

/// The bytes of the database's files.
pub fn disk_bytes(dir: &Path) -> u64 {
    let files = std::fs::read_dir(dir.join("db")).unwrap().map(|entry| entry.unwrap().metadata().unwrap());
    files.map(|file| file.len()).sum()
}

/// A copy of a closed journal's database and mark in a state directory of its own.
pub fn copy_db(from: &Path) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    std::fs::copy(from.join("mark"), to.path().join("mark")).unwrap();
    let (from, db) = (from.join("db"), to.path().join("db"));
    std::fs::create_dir_all(db.join("blobs")).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_file() {
            std::fs::copy(entry.path(), db.join(entry.file_name())).unwrap();
        }
    }
    to
}

/// Frames a value as the database holds it, without the journal's own encoder: version 3, number of the table, length, the
/// first bytes of a hash of table and content, content.
pub fn framed(table: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap().to_be_bytes();
    let hash = ring::digest::digest(&ring::digest::SHA256, &[&[table], content].concat());
    [&[3, table], &length[..], &hash.as_ref()[..4], content].concat()
}

/// Writes a configuration whose state directory and control socket are in `dir`, and says where it is.
pub fn config(dir: &Path) -> std::path::PathBuf {
    let path = dir.join("agent.toml");
    let text = format!(
        "[agent]\nid = \"box\"\nstate_dir = \"{0}\"\ncontrol_socket = \"{0}/control.sock\"\n\
         [server]\nurl = \"http://127.0.0.1:9/api/v1\"\napi_key = \"k\"\n\
         [[station]]\nname = \"lobby\"\n[station.reader]\ntype = \"serial\"\ndevice = \"/dev/null\"\n\
         [station.printer]\noutput_port = \"192.0.2.10\"\n",
        dir.display()
    );
    std::fs::write(&path, text).unwrap();
    path
}
