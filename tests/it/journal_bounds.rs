//! The journal is bounded in entries, age and bytes; entries go for it in order, and each is counted
//! (docs/architecture.md, "Promises").

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use print_release_agent::domain::{Document, Outcome, Reason, Release};
use print_release_agent::journal::{
    Counts, ENTRY_LIMIT, EVENT_LIMIT, Journal, JournalError, LEDGER_AGE, LEDGER_LIMIT, LIST_LIMIT, Limits,
    PAYLOAD_LIMIT, VERIFY_STEP,
};
use tokio::task::JoinSet;

use crate::support::journal::{LIMITS, close, disk_bytes, open, record, records, release, runtime, store_record};
use crate::support::limit;

fn counts(journal: &Journal) -> Counts {
    *journal.counts().borrow()
}

#[test]
fn at_the_limit_events_go_first_and_records_last_and_no_release_is_refused() {
    let _limit = limit();
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits { max_entries: 6, ..LIMITS };
    let journal = Journal::open(dir.path(), limits, None).unwrap();
    runtime().block_on(async {
        for payload in ["1", "2"] {
            journal.store_event("lobby".to_owned(), payload.to_owned()).await.unwrap();
        }
        store_record(&journal, 0).await;
        let first = journal.oldest_record().await.unwrap().unwrap();
        journal.bury_record(first.id, "no".to_owned()).await.unwrap();
        store_record(&journal, 1).await;
        store_record(&journal, 2).await;
        let unknown = journal.store_releases(vec![release(3)]).await.unwrap();
        journal.end_release(unknown[0], Outcome::Unknown(Reason::NotListed), None).await.unwrap();
        // There are six entries: two events, a dead letter, two records, and a release with an unknown outcome. Each tap
        // costs one of them.
        let left = |counts: Counts| (counts.events, counts.releases, counts.dead, counts.records, counts.lost);
        assert_eq!(left(counts(&journal)), (2, 1, 1, 2, 0));
        let mut number = 10;
        for expected in
            [(1, 2, 1, 2, 1), (0, 3, 1, 2, 2), (0, 3, 1, 2, 3), (0, 4, 0, 2, 4), (0, 5, 0, 1, 5), (0, 6, 0, 0, 6)]
        {
            journal.store_releases(vec![release(number)]).await.unwrap();
            number += 1;
            assert_eq!(left(counts(&journal)), expected);
        }
        // Nothing is left to go, and still no release is refused.
        journal.store_releases(vec![release(number)]).await.unwrap();
        assert_eq!(left(counts(&journal)), (0, 7, 0, 0, 6));
        assert_eq!(journal.open_releases().await.unwrap().len(), 7);
    });
}

#[test]
fn what_is_too_old_is_given_up_in_its_turn() {
    let _limit = limit();
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits { max_age: Duration::from_secs(3600), ..LIMITS };
    let journal = Journal::open(dir.path(), limits, None).unwrap();
    journal.server_time_is(Timestamp::now());
    runtime().block_on(async {
        let times = [Timestamp::UNIX_EPOCH, Timestamp::now() - SignedDuration::from_hours(2), Timestamp::now()];
        let ids = journal.store_releases((0..3).map(release).collect()).await.unwrap();
        for ((number, id), time) in (0..).zip(ids).zip(times) {
            let mut made = record(number);
            made.time = time;
            journal.end_release(id, Outcome::Accepted, Some(made)).await.unwrap();
        }
        // The first had no possible time and got that of its release, so it is not too old; the others wait behind it.
        let first = journal.oldest_record().await.unwrap().unwrap();
        assert_eq!((&*first.record.document, first.made), ("document-0", None));
        journal.store_releases(vec![release(3)]).await.unwrap();
        assert_eq!(counts(&journal).lost, 0);
        journal.acknowledge_record(first.id).await.unwrap();
        journal.store_releases(vec![release(4)]).await.unwrap();
        let left: Vec<_> = records(&journal).await.into_iter().map(|(_, document)| document).collect();
        assert_eq!((counts(&journal).lost, left), (1, vec!["document-2".to_owned()]));
    });
}

#[test]
fn the_oldest_event_goes_beyond_the_limit_of_events() {
    let _limit = limit();
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    runtime().block_on(async {
        let mut stored = JoinSet::new();
        for _ in 0..EVENT_LIMIT + 5 {
            let journal = journal.clone();
            stored.spawn(async move { journal.store_event("lobby".to_owned(), "{}".to_owned()).await.unwrap() });
        }
        stored.join_all().await;
        assert_eq!((counts(&journal).events, counts(&journal).lost), (EVENT_LIMIT, 5));
        assert_eq!(journal.events_after(0, 1).await.unwrap()[0].id, 6);
    });
}

#[test]
fn the_ledger_is_bounded_by_time_and_by_number() {
    let _limit = limit();
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    journal.server_time_is(Timestamp::now());
    runtime().block_on(async {
        let now = Timestamp::now();
        let days_ago = |days: i64| now - SignedDuration::from_hours(24 * days);
        let mut lengths = Vec::new();
        for (number, days) in (0..).zip([9, 8, 1, 0]) {
            store_record(&journal, number).await;
            let id = journal.oldest_record().await.unwrap().unwrap().id;
            journal.mark_record(id, Some(days_ago(days))).await.unwrap();
            journal.acknowledge_record(id).await.unwrap();
            lengths.push(journal.ledger().await.unwrap().len());
        }
        assert_eq!(lengths, [1, 2, 2, 2], "the oldest two are older than {LEDGER_AGE}");
        let many = LEDGER_LIMIT as u64 + 3;
        let ids = journal.store_releases((0..many).map(release).collect()).await.unwrap();
        each(ids, |id| {
            let journal = journal.clone();
            async move { journal.end_release(id, Outcome::Accepted, Some(record(id))).await.unwrap() }
        })
        .await;
        let waiting: Vec<_> = records(&journal).await.into_iter().map(|(id, _)| id).collect();
        let last = *waiting.last().unwrap();
        each(waiting, |id| {
            let journal = journal.clone();
            async move { journal.acknowledge_record(id).await.unwrap() }
        })
        .await;
        let ledger = journal.ledger().await.unwrap();
        assert_eq!((ledger.len(), ledger.last().unwrap().id), (LEDGER_LIMIT, last));
    });
}

/// Acts on each of these at the same time, so that the calls share their syncs.
async fn each<T: Send + 'static, F: Future<Output = ()> + Send + 'static>(all: Vec<T>, act: impl Fn(T) -> F) {
    all.into_iter().map(act).collect::<JoinSet<()>>().join_all().await;
}

#[test]
fn an_entry_beyond_the_limit_is_refused_and_the_next_one_is_not() {
    let _limit = limit();
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    runtime().block_on(async {
        let refused = journal.store_event("lobby".to_owned(), "x".repeat(ENTRY_LIMIT)).await;
        assert!(matches!(refused, Err(JournalError::TooLarge { .. })), "{refused:?}");
        store_record(&journal, 0).await;
        assert_eq!(journal.verify().await.unwrap().problems, 0);
    });
}

#[test]
fn many_entries_are_listed_page_by_page() {
    let _limit = limit();
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    let many = 3 * LIST_LIMIT as u64;
    runtime().block_on(async {
        for first in (0..many).step_by(100) {
            let ids = journal.store_releases((first..first + 100).map(release).collect()).await.unwrap();
            for (number, id) in (first..).zip(ids).step_by(2) {
                journal.end_release(id, Outcome::Accepted, Some(record(number))).await.unwrap();
            }
        }
        let (mut after, mut pages, mut seen) = (0, 0, Vec::new());
        loop {
            let page = journal.list(after).await.unwrap();
            assert!(page.releases.len() <= LIST_LIMIT && page.records.len() <= LIST_LIMIT);
            seen.extend(page.releases.iter().map(|stored| stored.id));
            seen.extend(page.records.iter().map(|stored| stored.id));
            pages += 1;
            match page.next {
                Some(next) => after = next,
                None => break,
            }
        }
        let all = seen.len();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!((all, seen.len()), (usize::try_from(many).unwrap(), all), "an entry twice or never");
        assert!(pages > 1);
    });
}

#[test]
fn a_look_at_everything_lets_others_in_between() {
    let _limit = limit();
    const STEPS: usize = 24;
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    runtime().block_on(async {
        let many = (STEPS * VERIFY_STEP) as u64;
        journal.store_releases((0..many).map(release).collect()).await.unwrap();
        for changes in [false, true] {
            let verify = journal.verify();
            tokio::pin!(verify);
            let mut answered = 0;
            let verified = loop {
                let other = async {
                    match changes {
                        false => drop(journal.oldest_record().await.unwrap()),
                        true => drop(journal.store_event("lobby".to_owned(), "{}".to_owned()).await.unwrap()),
                    }
                };
                tokio::select! {
                    biased;
                    verified = &mut verify => break verified.unwrap(),
                    () = other => answered += 1,
                }
            };
            assert!(answered >= STEPS / 2, "only {answered} were answered");
            assert_eq!(verified.problems, 0, "{:?}", verified.details);
            let told = verified.details.iter().any(|line| line.contains("did not stand still"));
            assert_eq!(told, changes, "{:?}", verified.details);
        }
    });
}

#[test]
fn a_hundred_thousand_records_take_a_bounded_disk_and_give_it_back() {
    let _limit = limit();
    const MANY: u64 = 100_000;
    let dir = tempfile::tempdir().unwrap();
    let runtime = runtime();
    let journal = open(dir.path());
    let payload = runtime.block_on(async {
        let mut payload = 0;
        for first in (0..MANY).step_by(500) {
            let numbers: Vec<u64> = (first..first + 500).collect();
            let ids = journal.store_releases(numbers.iter().copied().map(release).collect()).await.unwrap();
            let made: Vec<_> = numbers.into_iter().map(record).collect();
            payload += made.iter().map(|record| serde_json::to_vec(record).unwrap().len() as u64).sum::<u64>();
            each(ids.into_iter().zip(made).collect(), |(id, record)| {
                let journal = journal.clone();
                async move { journal.end_release(id, Outcome::Accepted, Some(record)).await.unwrap() }
            })
            .await;
        }
        payload
    });
    close(journal, dir.path());
    let peak = disk_bytes(dir.path());
    assert!(peak * 2 <= payload * 5, "{peak} bytes for {payload}");
    let journal = open(dir.path());
    let last = runtime.block_on(async {
        assert_eq!(counts(&journal).records, usize::try_from(MANY).unwrap());
        let last = records(&journal).await.pop().unwrap().0;
        loop {
            let oldest = journal.oldest_records(LIST_LIMIT).await.unwrap();
            if oldest.is_empty() {
                return last;
            }
            each(oldest, |stored| {
                let journal = journal.clone();
                async move { journal.acknowledge_record(stored.id).await.unwrap() }
            })
            .await;
        }
    });
    let ledger = runtime.block_on(journal.ledger()).unwrap();
    close(journal, dir.path());
    let before = disk_bytes(dir.path());
    println!("payload {payload}, disk {peak} when all wait, {before} when all have gone");
    assert!(before * 2 <= payload * 5, "{before} bytes for {payload}");
    let journal = open(dir.path());
    let after = disk_bytes(dir.path());
    assert!(after < before / 4, "{before} bytes before, {after} after");
    runtime.block_on(async {
        assert_eq!(journal.ledger().await.unwrap(), ledger);
        assert_eq!(journal.verify().await.unwrap().problems, 0);
        let next = journal.store_releases(vec![release(MANY)]).await.unwrap();
        assert!(next[0] > last, "a number is used twice");
    });
}

#[test]
fn beyond_the_limit_of_bytes_the_oldest_go_and_no_release_is_refused() {
    let _limit = limit();
    // An entry of this size is nearly as large as one may be.
    const LARGE: usize = ENTRY_LIMIT - 1_024;
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    runtime().block_on(async {
        each(vec!["x".repeat(LARGE); EVENT_LIMIT], |payload| {
            let journal = journal.clone();
            async move {
                journal.store_event("lobby".to_owned(), payload).await.unwrap();
            }
        })
        .await;
        let room = PAYLOAD_LIMIT - counts(&journal).events as u64 * LARGE as u64;
        let fit = room / LARGE as u64;
        let large = |number| {
            let like = release(number);
            Release { document: Document { title: "x".repeat(LARGE), ..like.document.clone() }, ..like }
        };
        let mut number = 0;
        while number < fit + 200 {
            let releases = (number..number + 50).map(large).collect();
            number += 50;
            journal.store_releases(releases).await.unwrap();
            assert!(number > fit - fit / 10 || counts(&journal).lost == 0, "lost with room left: {number} of {fit}");
        }
        let counts = counts(&journal);
        assert_eq!(counts.releases as u64, number, "a release has gone");
        assert!(
            counts.lost >= 200 && counts.events == EVENT_LIMIT - usize::try_from(counts.lost).unwrap(),
            "{counts:?}"
        );
    });
    close(journal, dir.path());
    let disk = disk_bytes(dir.path());
    assert!(disk * 2 <= PAYLOAD_LIMIT * 5, "{disk} bytes");
}

#[test]
fn a_cut_while_the_database_is_replaced_leaves_a_whole_one() {
    let _limit = limit();
    let dir = tempfile::tempdir().unwrap();
    let runtime = runtime();
    let journal = open(dir.path());
    runtime.block_on(store_record(&journal, 0));
    close(journal, dir.path());
    let path = |name: &str| dir.path().join(name);
    // The power went before the new one was whole, before it took its place, and between the two renames.
    let cuts: [&dyn Fn(); 3] = [
        &|| std::fs::create_dir_all(path("db.new/blobs")).unwrap(),
        &|| std::fs::create_dir_all(path("db.ready/blobs")).unwrap(),
        &|| std::fs::rename(path("db"), path("db.ready")).unwrap(),
    ];
    for cut in cuts {
        cut();
        let journal = open(dir.path());
        assert_eq!(runtime.block_on(records(&journal)).len(), 1);
        assert_eq!(counts(&journal).set_aside, 0);
        close(journal, dir.path());
        assert!(!path("db.new").exists() && !path("db.ready").exists());
    }
}
