//! A database of every earlier format opens, and goes on in today's.

use std::path::Path;

use jiff::Timestamp;
use print_release_agent::domain::{Outcome, Reason};
use print_release_agent::journal::{DeadLetter, Journal, JournalError, StoredEvent, StoredRecord, StoredRelease};
use ring::digest;
use serde_json::Value;

use crate::support::journal::{LIMITS, close, open, record, release, runtime, store_record};

/// One entry of each kind, as every format could say it.
struct Entries {
    open: StoredRelease,
    unknown: StoredRelease,
    delivered: StoredRecord,
    waiting: StoredRecord,
    dead: DeadLetter,
    event: StoredEvent,
}

impl Entries {
    fn new() -> Self {
        let released = |id| StoredRelease { id, release: release(id), outcome: None, carried_over: None, made: None };
        let recorded = |id| StoredRecord { id, record: record(id), attempted: None, carried_over: None, made: None };
        let unknown = Some(Outcome::Unknown(Reason::NotListed));
        Self {
            open: released(1),
            unknown: StoredRelease { outcome: unknown, ..released(2) },
            delivered: StoredRecord { attempted: Some(record(3).time), ..recorded(3) },
            waiting: recorded(4),
            dead: DeadLetter { id: 5, record: record(5), reason: "no such printer".to_owned() },
            event: StoredEvent { id: 6, station: "lobby".to_owned(), payload: "{}".to_owned(), time: None },
        }
    }

    /// Table, its number, the entry's number, the entry as it is today.
    fn all(&self) -> [(&'static str, u8, u64, Value); 6] {
        fn json(entry: &impl serde::Serialize) -> Value {
            serde_json::to_value(entry).unwrap()
        }
        [
            ("releases", 0, 1, json(&self.open)),
            ("releases", 0, 2, json(&self.unknown)),
            ("ledger", 2, 3, json(&self.delivered)),
            ("records", 1, 4, json(&self.waiting)),
            ("dead", 3, 5, json(&self.dead)),
            ("events", 4, 6, json(&self.event)),
        ]
    }
}

/// Takes out what came later.
fn without(mut entry: Value, later: &[&str]) -> Value {
    entry.as_object_mut().unwrap().retain(|field, _| !later.contains(&field.as_str()));
    entry
}

/// A version byte, then JSON.
fn format_1(entry: Value) -> Vec<u8> {
    let mut entry = without(entry, &["carried_over", "made", "time"]);
    entry["id"] = Value::from(0);
    [&[1], entry.to_string().as_bytes()].concat()
}

/// Version byte, number of the table, length, the first bytes of a hash of table and content, content.
fn sealed_2(table: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap().to_be_bytes();
    let hash = digest::digest(&digest::SHA256, &[&[table], content].concat());
    [&[2, table], &length[..], &hash.as_ref()[..4], content].concat()
}

/// The same JSON in a sealed envelope; whether an entry comes from a damaged database was yes or no.
fn format_2(table: u8, entry: Value, carried_over: bool) -> Vec<u8> {
    let mut entry = without(entry, &["carried_over", "made"]);
    if table == 0 {
        entry["carried_over"] = Value::from(carried_over);
    }
    sealed_2(table, entry.to_string().as_bytes())
}

fn opens_and_goes_on(dir: &Path, entries: &Entries) {
    let runtime = runtime();
    for round in 0..2 {
        let journal = open(dir);
        runtime.block_on(async {
            assert_eq!(journal.counts().borrow().set_aside, 0);
            let listing = journal.list(0).await.unwrap();
            assert_eq!(listing.releases, [entries.open.clone(), entries.unknown.clone()]);
            assert_eq!(listing.records[0], entries.waiting);
            assert_eq!(listing.dead, std::slice::from_ref(&entries.dead));
            assert_eq!(journal.ledger().await.unwrap(), std::slice::from_ref(&entries.delivered));
            assert_eq!(journal.events_after(0, 10).await.unwrap(), std::slice::from_ref(&entries.event));
            assert_eq!(journal.verify().await.unwrap().problems, 0);
            store_record(&journal, 100 + round).await;
            let last = journal.list(0).await.unwrap().records.pop().unwrap();
            assert!(last.id > 20, "a number is used twice: {}", last.id);
        });
        close(journal, dir);
    }
}

#[test]
fn a_database_of_schema_1_and_format_1_opens_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let entries = Entries::new();
    {
        let db = sled::open(dir.path().join("db")).unwrap();
        for (table, _, id, entry) in entries.all() {
            db.open_tree(table).unwrap().insert(id.to_be_bytes(), format_1(entry)).unwrap();
        }
        let meta = db.open_tree("meta").unwrap();
        meta.insert("schema", &1_u64.to_be_bytes()).unwrap();
        meta.insert("next-id", &21_u64.to_be_bytes()).unwrap();
    }
    opens_and_goes_on(dir.path(), &entries);
}

#[test]
fn a_database_of_schema_2_and_format_2_opens_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut entries = Entries::new();
    {
        let db = sled::open(dir.path().join("db")).unwrap();
        let mut bytes = 0;
        for (table, number, id, entry) in entries.all() {
            let value = format_2(number, entry, id == 1);
            bytes += value.len() as u64;
            db.open_tree(table).unwrap().insert(id.to_be_bytes(), value).unwrap();
        }
        let meta = db.open_tree("meta").unwrap();
        meta.insert("schema", &2_u64.to_be_bytes()).unwrap();
        // The next number; entries a table; bytes; transactions; the first release and the first record.
        let tally = [21, 2, 1, 1, 1, 1, 0, bytes, 6, 1, 4];
        let tally: Vec<u8> = tally.into_iter().flat_map(u64::to_be_bytes).collect();
        meta.insert("tally", sealed_2(u8::MAX, &tally)).unwrap();
    }
    // When the damage was found it did not say.
    entries.open.carried_over = Some(Timestamp::MAX);
    opens_and_goes_on(dir.path(), &entries);
}

#[test]
fn a_database_of_a_newer_version_is_refused_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    close(open(dir.path()), dir.path());
    let newer = |db: &sled::Db| db.open_tree("meta").unwrap().insert("schema", &99_u64.to_be_bytes()).unwrap();
    newer(&sled::open(dir.path().join("db")).unwrap());
    for _ in 0..2 {
        let refused = Journal::open(dir.path(), LIMITS, None);
        assert_eq!(refused.unwrap_err(), JournalError::Newer { schema: 99 });
    }
    assert!(std::fs::read_dir(dir.path()).unwrap().all(|entry| entry.unwrap().file_name() != "db.new"));
}
