//! A database of every earlier format opens, and goes on in today's.

use print_release_agent::domain::Outcome;
use print_release_agent::journal::{DeadLetter, StoredEvent, StoredRecord, StoredRelease};
use serde_json::Value;

use crate::support::journal::{close, open, record, release, runtime, store_record};

/// An entry of format 1: a version byte, then JSON without what came later.
fn format_1(entry: &impl serde::Serialize, later: &[&str]) -> Vec<u8> {
    let mut json = serde_json::to_value(entry).unwrap();
    json["id"] = Value::from(0);
    for field in later {
        json.as_object_mut().unwrap().remove(*field).unwrap();
    }
    [&[1], json.to_string().as_bytes()].concat()
}

#[test]
fn a_database_of_schema_1_and_format_1_opens_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let unknown = Some(Outcome::Unknown("not-listed".to_owned()));
    let open_release = StoredRelease { id: 1, release: release(1), outcome: None, carried_over: None };
    let unknown_release = StoredRelease { id: 2, release: release(2), outcome: unknown, carried_over: None };
    let delivered = StoredRecord { id: 3, record: record(3), attempted: Some(record(3).time), carried_over: None };
    let waiting = StoredRecord { id: 4, record: record(4), attempted: None, carried_over: None };
    let dead = DeadLetter { id: 5, record: record(5), reason: "no such printer".to_owned() };
    let event = StoredEvent { id: 6, station: "lobby".to_owned(), payload: "{}".to_owned(), time: None };
    {
        let db = sled::open(dir.path().join("db")).unwrap();
        let put = |tree: &str, id: u64, bytes: Vec<u8>| {
            db.open_tree(tree).unwrap().insert(id.to_be_bytes(), bytes).unwrap();
        };
        put("releases", 1, format_1(&open_release, &["carried_over"]));
        put("releases", 2, format_1(&unknown_release, &["carried_over"]));
        put("ledger", 3, format_1(&delivered, &["carried_over"]));
        put("records", 4, format_1(&waiting, &["carried_over"]));
        put("dead", 5, format_1(&dead, &[]));
        put("events", 6, format_1(&event, &["time"]));
        let meta = db.open_tree("meta").unwrap();
        meta.insert("schema", &1_u64.to_be_bytes()).unwrap();
        meta.insert("next-id", &20_u64.to_be_bytes()).unwrap();
    }
    let runtime = runtime();
    for round in 0..2 {
        let journal = open(dir.path());
        runtime.block_on(async {
            let listing = journal.list(0).await.unwrap();
            assert_eq!(listing.releases, [open_release.clone(), unknown_release.clone()]);
            assert_eq!(listing.records[0], waiting);
            assert_eq!(listing.dead, std::slice::from_ref(&dead));
            assert_eq!(journal.ledger().await.unwrap(), std::slice::from_ref(&delivered));
            assert_eq!(journal.events_after(0, 10).await.unwrap(), std::slice::from_ref(&event));
            assert_eq!(journal.verify().await.unwrap().problems, 0);
            assert_eq!(journal.counts().borrow().set_aside, 0);
            store_record(&journal, 100 + round).await;
            let last = journal.list(0).await.unwrap().records.pop().unwrap();
            assert!(last.id > 20, "a number is used twice: {}", last.id);
        });
        close(journal, dir.path());
    }
}
