//! An entry that was stored before the box knew the time gets its time when the time becomes known in the same boot.

use std::path::Path;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use print_release_agent::clock::Moment;
use print_release_agent::domain::{JobRecord, Outcome};
use print_release_agent::journal::{Journal, Limits, Listing};

use crate::support::journal::{LIMITS, close, framed, open, release, runtime, store_record};
use crate::support::limit;

/// More than twice the resolution of the kernel's uptime.
const BLUR: SignedDuration = SignedDuration::from_millis(100);

/// Lets the journal take the clock of this box for wrong from its next start on, or for right again.
fn wrong_clock(dir: &Path, wrong: bool) {
    let hours = if wrong { 1 } else { -1 };
    let seen = Timestamp::now() + SignedDuration::from_hours(hours);
    std::fs::write(dir.join("last-seen"), seen.to_string()).unwrap();
}

async fn listing_of(journal: &Journal) -> Listing {
    journal.list(0).await.unwrap()
}

fn listing(journal: &Journal) -> Listing {
    runtime().block_on(listing_of(journal))
}

#[test]
fn what_was_stored_before_the_time_was_known_is_dated_when_it_is() {
    let _limit = limit();
    let dir = tempfile::tempdir().unwrap();
    let runtime = runtime();
    let journal = open(dir.path());
    for number in [600, 601] {
        runtime.block_on(store_record(&journal, number));
    }
    let dated = listing(&journal).records;
    close(journal, dir.path());

    wrong_clock(dir.path(), true);
    let began = Timestamp::now() - BLUR;
    let journal = open(dir.path());
    runtime.block_on(async {
        for number in 0..3 {
            store_record(&journal, number).await;
        }
        journal.store_releases(vec![release(3)]).await.unwrap();
        journal.store_event("lobby".to_owned(), "{}".to_owned()).await.unwrap();
        assert_eq!(journal.events_after(0, 1).await.unwrap()[0].time, None);
    });
    let ended = Timestamp::now() + BLUR;
    let before = listing(&journal);
    assert_eq!(before.records[..2], dated);
    assert!(
        before.records[2..].iter().all(|stored| stored.record.time == Timestamp::UNIX_EPOCH && stored.made.is_some())
    );
    let stale = before.releases[0].clone();
    assert_eq!(stale.release.time, Timestamp::UNIX_EPOCH);
    close(journal, dir.path());

    wrong_clock(dir.path(), false);
    let journal = open(dir.path());
    let after = listing(&journal);
    let within = |time: Timestamp| began <= time && time <= ended;
    assert_eq!(after.records[..2], dated);
    assert!(after.records[2..].iter().all(|stored| within(stored.record.time) && stored.made.is_none()), "{after:?}");
    assert_eq!((after.records.len(), after.releases.len()), (5, 1));
    let time = after.releases[0].release.time;
    assert!(within(time), "{time}");
    // A caller may have read the release before, and gives its record the time of that; it gets the same time.
    let late = JobRecord::of(&stale.release, stale.release.time);
    runtime.block_on(journal.end_release(stale.id, Outcome::Accepted, Some(late))).unwrap();
    assert_eq!(listing(&journal).records[5].record.time, time);
    close(journal, dir.path());
}

/// Lets the entries and the list of boots of a closed journal name another boot than this one, of the same length.
fn move_to_another_boot(dir: &Path) {
    let (this, another) = (Moment::now().boot, "00000000-0000-4000-8000-000000000000");
    let db = sled::open(dir.join("db")).unwrap();
    for (table, number) in [("records", 1), ("meta", 253)] {
        let tree = db.open_tree(table).unwrap();
        for entry in tree.iter() {
            let (key, value) = entry.unwrap();
            let Ok(json) = std::str::from_utf8(&value[8..]) else { continue };
            if json.contains(&this) {
                tree.insert(key, framed(number, json.replace(&this, another).as_bytes())).unwrap();
            }
        }
    }
}

#[test]
fn a_record_of_an_earlier_boot_stays_without_a_time() {
    let _limit = limit();
    let dir = tempfile::tempdir().unwrap();
    let runtime = runtime();
    wrong_clock(dir.path(), true);
    let journal = open(dir.path());
    runtime.block_on(store_record(&journal, 1));
    close(journal, dir.path());
    move_to_another_boot(dir.path());
    wrong_clock(dir.path(), false);
    let limits = Limits { max_age: Duration::from_secs(600), ..LIMITS };
    let journal = Journal::open(dir.path(), limits, None).unwrap();
    assert_eq!(journal.counts().borrow().oldest_record, None, "an age that nobody knows");
    runtime.block_on(store_record(&journal, 2));
    let records = listing(&journal).records;
    assert_eq!((records.len(), records[0].record.time), (2, Timestamp::UNIX_EPOCH), "and is not too old either");
    assert!(records[0].made.is_some());
    close(journal, dir.path());
}

#[test]
fn a_record_of_an_earlier_boot_has_the_time_that_became_known_in_that_boot() {
    let _limit = limit();
    let dir = tempfile::tempdir().unwrap();
    let runtime = runtime();
    wrong_clock(dir.path(), true);
    let journal = open(dir.path());
    runtime.block_on(store_record(&journal, 1));
    close(journal, dir.path());
    wrong_clock(dir.path(), false);
    let journal = open(dir.path());
    runtime.block_on(journal.time_is_known()).unwrap();
    let known = listing(&journal).records;
    close(journal, dir.path());
    move_to_another_boot(dir.path());
    let journal = open(dir.path());
    assert_eq!(listing(&journal).records, known);
    assert!(known[0].record.time > Timestamp::UNIX_EPOCH);
    close(journal, dir.path());
}

#[test]
fn nothing_is_too_old_while_the_time_is_not_known() {
    let _limit = limit();
    let dir = tempfile::tempdir().unwrap();
    let runtime = runtime();
    let limits = Limits { max_age: Duration::from_secs(600), ..LIMITS };
    // This one is stored with a time and is older than the limit.
    let journal = Journal::open(dir.path(), limits, None).unwrap();
    runtime.block_on(store_record(&journal, 999));
    close(journal, dir.path());
    for (wrong, left) in [(true, 2), (false, 2)] {
        wrong_clock(dir.path(), wrong);
        let journal = Journal::open(dir.path(), limits, None).unwrap();
        journal.server_time_is(Timestamp::now());
        runtime.block_on(store_record(&journal, 0));
        let found = listing(&journal).records.len();
        assert_eq!(found, left, "clock wrong: {wrong}");
        assert_eq!(journal.counts().borrow().lost, u64::from(!wrong));
        close(journal, dir.path());
    }
}

#[test]
fn nothing_is_too_old_by_a_clock_that_the_servers_does_not_confirm() {
    let _limit = limit();
    let dir = tempfile::tempdir().unwrap();
    let runtime = runtime();
    let limits = Limits { max_age: Duration::from_secs(600), ..LIMITS };
    let journal = Journal::open(dir.path(), limits, None).unwrap();
    runtime.block_on(async {
        for number in [997, 998, 999] {
            store_record(&journal, number).await;
        }
        let first = journal.oldest_record().await.unwrap().unwrap();
        journal.mark_record(first.id, Some(first.record.time)).await.unwrap();
        journal.acknowledge_record(first.id).await.unwrap();
        let second = journal.oldest_record().await.unwrap().unwrap();
        journal.bury_record(second.id, "no".to_owned()).await.unwrap();
        let days = SignedDuration::from_hours(40 * 24);
        // The server has said nothing; then this box's clock is 40 days ahead of it; then the two agree.
        for (number, told, left) in [(0, None, 2), (1, Some(-days), 2), (2, Some(SignedDuration::ZERO), 0)] {
            if let Some(ahead) = told {
                journal.server_time_is(Timestamp::now() + ahead);
            }
            // A record in doubt whose time is far ahead makes no acknowledged one old either.
            store_record(&journal, number).await;
            let new = listing_of(&journal).await.records.pop().unwrap();
            journal.mark_record(new.id, Some(Timestamp::now() + days)).await.unwrap();
            journal.acknowledge_record(new.id).await.unwrap();
            let found = listing_of(&journal).await;
            assert_eq!(found.records.len() + found.dead.len(), left, "after {told:?}");
            assert_eq!(journal.ledger().await.unwrap().len(), 2 + usize::try_from(number).unwrap());
        }
        assert_eq!(journal.counts().borrow().lost, 2);
    });
    close(journal, dir.path());
}
