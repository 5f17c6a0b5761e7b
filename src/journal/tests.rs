//! Things that cannot be shown from outside: a thread that ends, and a disk that fails a sync.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::*;

/// A job that ends the journal's thread; no real job does.
struct Fatal;

impl Job for Fatal {
    fn kind(&self) -> JobKind {
        JobKind::Duty
    }
    fn run(&mut self, _: &mut Store) -> Result<(), JournalError> {
        Ok(())
    }
    fn refuse(&mut self, _: JournalError) {}
    fn answer(self: Box<Self>, _: Result<(), JournalError>) {
        panic!("this is a test");
    }
}

impl Journal {
    pub(crate) async fn break_down(&self) {
        assert!(self.jobs.send(Box::new(Fatal)).await.is_ok());
        let ended = tokio::time::timeout(Duration::from_secs(60), self.closed()).await;
        ended.expect("the journal's thread ends within a minute");
    }
}

#[tokio::test]
async fn a_panic_between_two_jobs_is_like_one_in_a_job() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path(), Limits::NONE, None).unwrap();
    journal.store_event("lobby".to_owned(), "{}".to_owned()).await.unwrap();
    let broken = journal.call(JobKind::Duty, |store| {
        // The counts after this job are the first to notice.
        store.break_down();
        Ok(())
    });
    assert_eq!(broken.await, Ok(()));
    assert_eq!(journal.events_after(0, 10).await.unwrap().len(), 1);
    assert_eq!(journal.counts().borrow().events, 1);
}

#[tokio::test]
async fn a_caller_who_waits_for_the_end_of_the_journal_sees_it() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path(), Limits::NONE, None).unwrap();
    journal.break_down().await;
    assert_eq!(journal.oldest_record().await, Err(JournalError::Closed));
}

fn open_on(dir: &Path, options: &OpenOptions) -> Journal {
    Journal::open_with(dir, Limits::NONE, options.clone()).unwrap()
}

fn inode(dir: &Path) -> u64 {
    fs::metadata(dir.join("db/db")).unwrap().ino()
}

/// The documents of the releases that are open.
async fn documents(journal: &Journal) -> Vec<String> {
    journal.open_releases().await.unwrap().into_iter().map(|stored| stored.release.document.uuid).collect()
}

async fn store(journal: &Journal, document: &str) -> Result<Vec<EntryId>, JournalError> {
    journal.store_releases(vec![Release::sample(document, 1)]).await
}

#[tokio::test]
async fn after_a_sync_that_failed_nothing_is_acknowledged_before_all_lies_in_a_new_database() {
    let dir = tempfile::tempdir().unwrap();
    let options = OpenOptions::default();
    let journal = open_on(dir.path(), &options);
    let first = store(&journal, "a").await.unwrap();
    let before = inode(dir.path());
    options.syncs.failing.store(1, Ordering::SeqCst);
    // It is told nothing, because the second attempt writes all to a new file.
    let second = store(&journal, "b").await.unwrap();
    assert_ne!(inode(dir.path()), before, "the same file is synced again");
    assert!(second > first);
    assert_eq!(documents(&journal).await, ["a", "b"]);
    assert_eq!(journal.counts().borrow().set_aside, 0);
    assert_eq!(journal.verify().await.unwrap().problems, 0);
    let after = inode(dir.path());
    store(&journal, "c").await.unwrap();
    assert_eq!(inode(dir.path()), after, "one failure, one new file");
}

#[tokio::test]
async fn while_the_disk_fails_every_sync_nothing_is_promised_and_it_goes_on_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let options = OpenOptions::default();
    let journal = open_on(dir.path(), &options);
    store(&journal, "a").await.unwrap();
    options.syncs.failing.store(u64::MAX, Ordering::SeqCst);
    for document in ["b", "c"] {
        let refused = store(&journal, document).await;
        assert!(matches!(refused, Err(JournalError::Disk(_))), "{refused:?}");
        assert!(journal.counts().borrow().full, "a tap that prints unrecorded");
    }
    assert!(matches!(journal.open_releases().await, Err(JournalError::Disk(_))));
    options.syncs.failing.store(0, Ordering::SeqCst);
    store(&journal, "d").await.unwrap();
    assert_eq!(documents(&journal).await, ["a", "d"], "one that was refused is sent, or an earlier one is not");
    let counts = *journal.counts().borrow();
    assert_eq!((counts.full, counts.set_aside, counts.lost), (false, 0, 0));
}

#[tokio::test]
async fn a_process_that_ends_after_a_failed_sync_leaves_word_to_the_next() {
    for at_the_end in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let options = OpenOptions::default();
        let journal = open_on(dir.path(), &options);
        store(&journal, "a").await.unwrap();
        options.syncs.failing.store(u64::MAX, Ordering::SeqCst);
        if !at_the_end {
            store(&journal, "b").await.unwrap_err();
        }
        journal.close().await;
        let before = inode(dir.path());
        let journal = open_on(dir.path(), &OpenOptions::default());
        assert_ne!(inode(dir.path()), before, "the file is believed; the failure came at the end: {at_the_end}");
        assert!(documents(&journal).await.contains(&"a".to_owned()));
        journal.close().await;
        let before = inode(dir.path());
        open_on(dir.path(), &OpenOptions::default()).close().await;
        assert_eq!(inode(dir.path()), before, "written anew once");
    }
}
