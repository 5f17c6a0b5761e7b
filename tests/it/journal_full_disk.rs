//! On a full disk the box promises nothing new, keeps its earlier promises, and goes on by itself when there is room
//! (docs/architecture.md, "Promises").

use std::fs;

use print_release_agent::domain::{Outcome, Reason};
use print_release_agent::journal::{Journal, JournalError};
use tokio::task::JoinSet;

use crate::support::disk::Disk;
use crate::support::journal::{LIMITS, close, open, record, records, release, runtime, store_record};
use crate::support::limit;
use crate::support::table::Row;

/// The size of the disk.
const DISK_MIB: u64 = 12;

/// More taps than fit in the space that `fill` leaves.
const MANY: u64 = 3_000;

/// Room for a new database, but not for a copy of one that held so many taps.
const ROOM: u64 = 3 << 20;

#[test]
fn a_disk_that_fills_in_the_middle_loses_nothing_and_recovers() {
    let _limit = limit();
    let Some(disk) = Disk::new(DISK_MIB) else { return };
    let runtime = runtime();
    let journal = open(disk.path());
    runtime.block_on(async {
        store_record(&journal, 0).await;
        let filler = disk.fill(100 * 1024);
        // Stores releases until the disk is full.
        let mut stored = Vec::new();
        let mut refused = None;
        for number in 1..MANY {
            match journal.store_releases(vec![release(number)]).await {
                Ok(ids) => stored.push((number, ids[0])),
                Err(error) => {
                    refused = Some(error);
                    break;
                }
            }
        }
        assert_eq!(refused, Some(JournalError::Full), "after {} taps", stored.len());
        assert!(journal.counts().borrow().full);
        // Earlier promises can still be ended, with the room of the reserve.
        for (number, id) in &stored {
            journal.end_release(*id, Outcome::Accepted, Some(record(*number))).await.unwrap();
        }
        assert_eq!(journal.store_releases(vec![release(MANY)]).await, Err(JournalError::Full));
        assert_eq!(records(&journal).await.len(), 1 + stored.len());
        assert!(journal.open_releases().await.unwrap().is_empty(), "a refused release is left behind");
        // There is room again, and nobody does anything.
        fs::remove_file(filler).unwrap();
        store_record(&journal, MANY).await;
        assert!(!journal.counts().borrow().full);
        assert_eq!(journal.counts().borrow().set_aside, 0);
        assert_eq!(journal.verify().await.unwrap().problems, 0);
    });
    let before = runtime.block_on(records(&journal));
    close(journal, disk.path());
    let journal = open(disk.path());
    assert_eq!(runtime.block_on(records(&journal)), before);
    close(journal, disk.path());
    Row::held("full disks", 1).tell();
}

#[test]
fn the_journal_opens_on_a_full_disk_and_keeps_what_it_has() {
    let _limit = limit();
    let Some(disk) = Disk::new(DISK_MIB) else { return };
    let runtime = runtime();
    let journal = open(disk.path());
    runtime.block_on(store_record(&journal, 0));
    let id = runtime.block_on(journal.store_releases(vec![release(1)])).unwrap()[0];
    close(journal, disk.path());
    let filler = disk.fill(0);
    assert_eq!(disk.free(), 0);
    let journal = open(disk.path());
    runtime.block_on(async {
        assert_eq!(records(&journal).await.len(), 1);
        assert_eq!(journal.open_releases().await.unwrap().len(), 1);
        journal.end_release(id, Outcome::Accepted, Some(record(1))).await.unwrap();
        let oldest = journal.oldest_record().await.unwrap().unwrap();
        journal.acknowledge_record(oldest.id).await.unwrap();
        assert_eq!(records(&journal).await.len(), 1);
        fs::remove_file(filler).unwrap();
        store_record(&journal, 2).await;
        assert!(!journal.counts().borrow().full);
    });
    close(journal, disk.path());
    Row::held("full disks", 1).tell();
}

#[test]
fn the_first_start_on_a_full_disk_refuses_until_there_is_room() {
    let _limit = limit();
    let Some(disk) = Disk::new(DISK_MIB) else { return };
    let runtime = runtime();
    let filler = disk.fill(0);
    let journal = Journal::open(disk.path(), LIMITS, None).unwrap();
    assert!(journal.counts().borrow().full);
    runtime.block_on(async {
        assert_eq!(journal.store_releases(vec![release(1)]).await, Err(JournalError::Full));
        assert_eq!(journal.store_event("lobby".to_owned(), "{}".to_owned()).await, Err(JournalError::Full));
        fs::remove_file(filler).unwrap();
        store_record(&journal, 1).await;
        assert!(!journal.counts().borrow().full);
        assert_eq!(records(&journal).await.len(), 1);
    });
    close(journal, disk.path());
    Row::held("full disks", 1).tell();
}

#[test]
fn a_damaged_database_is_carried_over_where_there_is_no_room_for_a_copy() {
    let _limit = limit();
    let Some(disk) = Disk::new(2 * DISK_MIB) else { return };
    let runtime = runtime();
    let journal = open(disk.path());
    runtime.block_on(async {
        let ids = journal.store_releases((1..3 * MANY).map(release).collect()).await.unwrap();
        let mut ends = JoinSet::new();
        for id in ids {
            let journal = journal.clone();
            let failed = Outcome::Failed(Reason::NotReady);
            ends.spawn(async move { journal.end_release(id, failed, None).await.unwrap() });
        }
        ends.join_all().await;
        store_record(&journal, 0).await;
    });
    close(journal, disk.path());
    let size = fs::metadata(disk.path().join("db/db")).unwrap().len();
    assert!(size > ROOM, "not the case that this is about: {size} bytes");
    {
        let db = sled::open(disk.path().join("db")).unwrap();
        db.open_tree("records").unwrap().clear().unwrap();
    }
    disk.fill(ROOM);
    let journal = open(disk.path());
    assert_eq!(journal.counts().borrow().set_aside, 1);
    let left: Vec<_> = runtime.block_on(records(&journal)).into_iter().map(|(_, document)| document).collect();
    assert_eq!(left, ["document-0"]);
    close(journal, disk.path());
    Row::held("full disks", 1).tell();
}
