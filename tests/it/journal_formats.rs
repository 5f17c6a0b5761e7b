//! A database of an earlier version opens, and goes on. 0.1.0 was the first to be released: the fixture here is a database
//! as it was written then, in its own words and not through the journal's encoder. It never changes; a later format adds a
//! fixture of its own.

use std::path::Path;

use print_release_agent::domain::Secret;
use print_release_agent::journal::{Journal, JournalError, Limits};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use ring::digest;
use serde_json::{Value, json};

use crate::support::journal::{LIMITS, close, framed, open, runtime, store_record};
use crate::support::limit;

/// A key for the encrypted fixture.
const KEY: &str = "0123456789abcdef0123456789abcdef";

/// A release without an outcome, with every field that a release may have.
const OPEN: &str = r#"{"carried_over":"2026-11-23T08:00:00.25Z","id":1,"release":{"document":{"color_pages":1,"copies":2,
    "created":"2026-11-22T07:00:00Z","duplex":"long-edge","grayscale":true,"pages":3,"paper_size":"A4","port_name":"lobby-1",
    "status":"Ready","title":"Notes on the engine","user":"ada","uuid":"document-1"},"port":{"serial":"DEMO0001"},
    "record":true,"retain":true,"station":"lobby","tap":"01M87WV9WP0000000000000001","time":"2026-11-22T07:30:00.123456789Z",
    "user":{"name":"ada","provider":1}}}"#;

/// A release whose outcome nobody knows.
const UNKNOWN: &str = r#"{"id":2,"outcome":{"outcome":"unknown","reason":"not-listed"},"release":{"document":{
    "status":"Printed","title":"","user":"","uuid":"document-2"},"port":{"address":"192.0.2.10"},"record":false,
    "retain":false,"station":"lobby","tap":"01M87WV8XE0000000000000002","time":"2026-11-22T07:31:00Z","user":{"name":"ada"}}}"#;

/// An acknowledged record.
const DELIVERED: &str = r#"{"attempted":"2026-11-22T07:33:00Z","id":3,"record":{"color_pages":1,"document":"document-3",
    "long_edge":true,"pages":3,"paper_size":"A4","port":{"address":"192.0.2.10"},"station":"lobby",
    "tap":"01M87WV7Y70000000000000003","time":"2026-11-22T07:32:00Z","title":"Notes","user":{"name":"ada","provider":1}}}"#;

/// A record in doubt, from a damaged database.
const IN_DOUBT: &str = r#"{"attempted":"2026-11-22T07:35:00Z","carried_over":"2026-11-23T08:00:00.25Z","id":5,"record":{
    "document":"document-5","long_edge":false,"pages":3,"port":{"serial":"DEMO0001"},"station":"attic",
    "tap":"01M87WV6YZ0000000000000004","time":"2026-11-22T07:34:00Z","title":"Notes","user":{"name":"ada","provider":1}}}"#;

/// A record that was made 90 seconds after its boot, whose time became known later.
const BEFORE_THE_TIME: &str = r#"{"id":6,"made":{"boot":"6edfa0e9-4fd3-4994-96ae-242a82f7c565","monotonic_ms":90000},"record":{
    "document":"document-6","port":{"address":"192.0.2.10"},"station":"lobby","tap":"01M87WV5ZR0000000000000005",
    "time":"1970-01-01T00:00:00Z","title":"Notes","user":{"name":"ada"}}}"#;

/// A release of a boot whose time never became known.
const OF_ANOTHER_BOOT: &str = r#"{"id":7,"made":{"boot":"0b8a2f6c-9a4e-4f0e-8f0e-0c5f5c0f9d11","monotonic_ms":5},"release":{
    "document":{"status":"Ready","title":"","user":"","uuid":"document-7"},"port":{"address":"192.0.2.10"},"record":true,
    "retain":false,"station":"lobby","tap":"01M87WV41E0000000000000006","time":"1970-01-01T00:00:00Z","user":{"name":"ada"}}}"#;

/// A record that the server refused for good.
const DEAD: &str = r#"{"id":4,"reason":"no such printer","record":{"document":"document-4","port":{"address":"192.0.2.10"},
    "station":"lobby","tap":"01M87WV3270000000000000007","time":"2026-11-22T07:36:00Z","title":"Notes","user":{"name":"ada"}}}"#;

/// An event that the broker has not acknowledged.
const EVENT: &str = r#"{"id":8,"payload":"{\"event\":\"tap\"}","station":"lobby","time":"2026-11-22T07:37:00Z"}"#;

/// The boot of [`BEFORE_THE_TIME`].
const BOOTS: &str = r#"[{"boot":"6edfa0e9-4fd3-4994-96ae-242a82f7c565","began":"2026-11-22T07:00:00Z","before":9}]"#;

/// Table, its number in a header, the entry's number, the entry.
const ENTRIES: [(&str, u8, u64, &str); 8] = [
    ("releases", 0, 1, OPEN),
    ("releases", 0, 2, UNKNOWN),
    ("ledger", 2, 3, DELIVERED),
    ("records", 1, 5, IN_DOUBT),
    ("records", 1, 6, BEFORE_THE_TIME),
    ("releases", 0, 7, OF_ANOTHER_BOOT),
    ("dead", 3, 4, DEAD),
    ("events", 4, 8, EVENT),
];

/// An entry of the records that could not be read: the number of its table, then its bytes.
const UNREADABLE: (u64, &[u8]) = (9, b"\x01\xffhalf a record");

/// Nonce, ciphertext and tag; the label is authenticated too.
fn encrypted(label: u8, content: &[u8]) -> Vec<u8> {
    let hash = digest::digest(&digest::SHA256, format!("print-release-agent journal 1\0{KEY}").as_bytes());
    let key = LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, hash.as_ref()).unwrap());
    let (nonce, mut text) = ([7; 12], content.to_vec());
    let sealed = key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from([label]), &mut text);
    sealed.unwrap();
    [&nonce[..], &text].concat()
}

/// Writes the database of schema 2 and entry version 3, and the high-water mark beside it.
fn write(state_dir: &Path, with_key: bool) {
    let db = sled::open(state_dir.join("db")).unwrap();
    let mut bytes = 0;
    let mut put = |table: &str, number: u8, id: u64, value: Vec<u8>| {
        let value = if with_key { framed(number + 100, &encrypted(number, &value)) } else { value };
        bytes += value.len() as u64;
        db.open_tree(table).unwrap().insert(id.to_be_bytes(), value).unwrap();
    };
    for (table, number, id, entry) in ENTRIES {
        put(table, number, id, framed(number, entry.as_bytes()));
    }
    put("unreadable", 5, UNREADABLE.0, UNREADABLE.1.to_vec());
    let meta = db.open_tree("meta").unwrap();
    meta.insert("schema", &2_u64.to_be_bytes()).unwrap();
    meta.insert("boots", framed(253, BOOTS.as_bytes())).unwrap();
    if with_key {
        meta.insert("key", framed(254, &encrypted(254, &[]))).unwrap();
    }
    // The next number; entries of releases, records, ledger, dead, events, unreadable; bytes; transactions; the first release
    // and the first record.
    let tally = [21, 3, 2, 1, 1, 1, 1, bytes, 42, 1, 5];
    let tally: Vec<u8> = tally.into_iter().flat_map(u64::to_be_bytes).collect();
    meta.insert("tally", framed(255, &tally)).unwrap();
    std::fs::write(state_dir.join("mark"), "00000000000000000042\n").unwrap();
}

/// Checks every field that the fixture has; a later version may know more.
fn assert_holds(found: &Value, expected: &Value, at: &str) {
    match expected {
        Value::Object(fields) => {
            for (field, expected) in fields {
                assert_holds(&found[field], expected, &format!("{at}.{field}"));
            }
        }
        expected => assert_eq!(found, expected, "{at}"),
    }
}

/// The entries of a table of the fixture, as they are to be read.
fn expected(table: &str) -> Vec<Value> {
    let entries = ENTRIES.iter().filter(|(of, ..)| *of == table);
    let mut entries: Vec<Value> = entries.map(|(.., entry)| serde_json::from_str(entry).unwrap()).collect();
    for entry in entries.iter_mut().filter(|entry| entry["id"] == 6) {
        entry["record"]["time"] = json!("2026-11-22T07:01:30Z");
        entry["made"] = Value::Null;
    }
    entries
}

fn assert_all_hold(found: impl serde::Serialize, table: &str) {
    let (found, expected) = (serde_json::to_value(found).unwrap(), expected(table));
    assert_eq!(found.as_array().unwrap().len(), expected.len(), "{table}: {found}");
    for (found, expected) in found.as_array().unwrap().iter().zip(&expected) {
        assert_holds(found, expected, table);
    }
}

fn opens_and_goes_on(state_dir: &Path, key: Option<&Secret>) {
    let runtime = runtime();
    for round in 0..2 {
        let journal = Journal::open(state_dir, Limits::NONE, key).unwrap();
        runtime.block_on(async {
            let counts = *journal.counts().borrow();
            assert_eq!((counts.set_aside, counts.unreadable, counts.lost), (0, 1, 0));
            let mut listing = journal.list(0).await.unwrap();
            assert_all_hold(&listing.releases, "releases");
            // Those of the round before stand at the end.
            let added = listing.records.split_off(2);
            assert_eq!(added.len(), round);
            assert!(added.iter().all(|stored| stored.id > 20), "a number is used twice: {added:?}");
            assert_all_hold(&listing.records, "records");
            assert_all_hold(&listing.dead, "dead");
            assert_all_hold(journal.ledger().await.unwrap(), "ledger");
            assert_all_hold(journal.events_after(0, 10).await.unwrap(), "events");
            let unreadable = serde_json::to_value(journal.show(UNREADABLE.0).await.unwrap()).unwrap();
            assert_eq!(unreadable, json!({ "kind": "unreadable", "id": 9, "text": "half a record" }));
            let verified = journal.verify().await.unwrap();
            assert_eq!(verified.problems, 1, "more than the entry that cannot be read: {:?}", verified.details);
            store_record(&journal, 100).await;
        });
        close(journal, state_dir);
    }
}

#[test]
fn a_database_of_0_1_0_opens_with_all_that_is_in_it_and_goes_on() {
    let _limit = limit();
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), false);
    opens_and_goes_on(dir.path(), None);
}

#[test]
fn an_encrypted_database_of_0_1_0_opens_with_its_key() {
    let _limit = limit();
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), true);
    assert_eq!(Journal::open(dir.path(), Limits::NONE, None).unwrap_err(), JournalError::Key);
    opens_and_goes_on(dir.path(), Some(&Secret::new(KEY)));
}

#[test]
fn a_database_of_0_1_0_in_clear_is_encrypted_with_all_that_is_in_it() {
    let _limit = limit();
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), false);
    opens_and_goes_on(dir.path(), Some(&Secret::new(KEY)));
}

fn set_schema(state_dir: &Path, schema: u64) {
    let db = sled::open(state_dir.join("db")).unwrap();
    db.open_tree("meta").unwrap().insert("schema", &schema.to_be_bytes()).unwrap();
}

#[test]
fn a_database_of_a_newer_version_is_refused_and_left_as_it_is() {
    let _limit = limit();
    let dir = tempfile::tempdir().unwrap();
    close(open(dir.path()), dir.path());
    set_schema(dir.path(), 99);
    for _ in 0..2 {
        let refused = Journal::open(dir.path(), LIMITS, None);
        assert_eq!(refused.unwrap_err(), JournalError::Newer { schema: 99 });
    }
    assert!(std::fs::read_dir(dir.path()).unwrap().all(|entry| entry.unwrap().file_name() != "db.new"));
}

#[test]
fn a_database_of_a_schema_that_was_never_released_is_set_aside() {
    let _limit = limit();
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), false);
    set_schema(dir.path(), 1);
    let journal = Journal::open(dir.path(), Limits::NONE, None).unwrap();
    assert_eq!(journal.counts().borrow().set_aside, 1);
    // Its entries are of today's format, so they are carried over, and so is the time of the boot.
    let records = runtime().block_on(journal.list(0)).unwrap().records;
    assert_eq!(serde_json::to_value(&records[1]).unwrap()["record"]["time"], "2026-11-22T07:01:30Z");
    close(journal, dir.path());
}
