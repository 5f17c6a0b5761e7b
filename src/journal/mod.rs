//! What the box has promised, on disk: releases, job records, dead letters and events that wait.
//!
//! Invariants:
//! 1. **Durable before answered.** A method returns `Ok` only after `sync_data` on sled's file: sled's own flush does not
//!    reach the platter on Linux. At most [`GROUP_BYTES`] lie between two syncs; larger groups do not survive a cut.
//! 2. **One owner.** One thread owns the database and does one job after the other; jobs that come together share a sync.
//! 3. **One transaction.** A release leaves the journal in the same transaction that stores its job record.
//! 4. **Order.** An entry's id is a number that only grows; job records leave oldest first, so each station's keep their
//!    order.
//! 5. **At most one record is attempted.** It is marked on disk before it is sent: after a crash only that one is in
//!    doubt.
//! 6. **No secret.** No card number, read, token or key is ever handed to this module.
//!
//! A release in the journal may have been sent or not: it is stored before, and nothing is written in between.
//! What the journal does not do: talk to the server, or decide what becomes of an entry.

mod entry;
mod store;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot, watch};

use crate::domain::{EntryId, JobRecord, Outcome, Release};
pub use entry::{DeadLetter, StoredEvent, StoredRecord, StoredRelease};
use store::Store;
pub use store::{Counts, EVENT_LIMIT, LEDGER_LIMIT};

/// The most that is written between two syncs.
pub const GROUP_BYTES: usize = 96 * 1024;

/// Jobs that may wait for the journal's thread; then callers wait.
const JOB_LIMIT: usize = 256;

/// Why the journal could not do something.
#[derive(Clone, Debug, thiserror::Error)]
pub enum JournalError {
    /// Another process has it.
    #[error("open {path}: another print-release-agent uses this state directory; stop it, or use its control socket")]
    Locked {
        /// The state directory.
        path: String,
    },
    /// The files are there and make no sense.
    #[error("open {path}: the database is damaged: {detail}")]
    Damaged {
        /// The database's directory.
        path: String,
        /// What sled says.
        detail: String,
    },
    /// The disk does not take or give it.
    #[error("use the journal: {0}")]
    Disk(String),
    /// An entry that this version cannot read.
    #[error("read entry {id}: {detail}")]
    Entry {
        /// Its id.
        id: EntryId,
        /// What is wrong with it.
        detail: String,
    },
    /// The journal's thread is gone.
    #[error("use the journal: it is closed")]
    Closed,
}

/// What may be done with the database and is answered after the sync.
type Reply = Box<dyn FnOnce(&Result<(), JournalError>) + Send>;
type Job = Box<dyn FnOnce(&mut Store) -> Reply + Send>;

/// A handle to the journal's thread. Cheap to clone; the thread ends when the last handle is dropped.
#[derive(Clone, Debug)]
pub struct Journal {
    jobs: mpsc::Sender<Job>,
    counts: watch::Receiver<Counts>,
    syncs: Arc<AtomicU64>,
}

/// Everything in the journal, for people (`queue list`).
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct Listing {
    /// Stored and not ended, or ended as unknown.
    pub releases: Vec<StoredRelease>,
    /// Waiting for the server.
    pub records: Vec<StoredRecord>,
    /// Refused by the server for good.
    pub dead: Vec<DeadLetter>,
}

impl Journal {
    /// Opens or makes the database in `state_dir/db`.
    ///
    /// # Errors
    /// [`JournalError::Locked`] passes when the other process ends; [`JournalError::Damaged`] does not pass by itself.
    pub fn open(state_dir: &Path) -> Result<Self, JournalError> {
        let (jobs, inbox) = mpsc::channel(JOB_LIMIT);
        let (tell, counts) = watch::channel(Counts::default());
        let (opened, answer) = std::sync::mpsc::channel();
        let syncs = Arc::new(AtomicU64::new(0));
        let (dir, count) = (state_dir.to_owned(), syncs.clone());
        std::thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || match Store::open(&dir) {
                Err(error) => drop(opened.send(Err(error))),
                Ok(store) => {
                    tell.send_replace(store.counts());
                    drop(opened.send(Ok(())));
                    work(store, inbox, &tell, &count);
                }
            })
            .map_err(|error| JournalError::Disk(format!("start its thread: {error}")))?;
        answer.recv().map_err(|_| JournalError::Closed)??;
        Ok(Self { jobs, counts, syncs })
    }

    /// Makes all of these durable in one write, and takes those out in whose place they stand. Promise 1: nothing is sent
    /// before this answers.
    pub async fn store_releases(
        &self,
        releases: Vec<Release>,
        instead_of: Vec<EntryId>,
    ) -> Result<Vec<EntryId>, JournalError> {
        self.call(move |store| store.store_releases(&releases, &instead_of)).await
    }

    /// Ends a release and stores the record that follows from it, in one transaction (promise 3). An outcome that
    /// nobody knows stays in the journal until somebody drops it.
    pub async fn end_release(
        &self,
        id: EntryId,
        outcome: Outcome,
        record: Option<JobRecord>,
    ) -> Result<(), JournalError> {
        self.call(move |store| store.end_release(id, &outcome, record.as_ref())).await
    }

    /// Releases that have no outcome yet.
    pub async fn open_releases(&self) -> Result<Vec<StoredRelease>, JournalError> {
        self.call(|store| store.open_releases()).await
    }

    /// The records that have waited longest, oldest first, at most `limit`.
    pub async fn oldest_records(&self, limit: usize) -> Result<Vec<StoredRecord>, JournalError> {
        self.call(move |store| store.oldest_records(limit)).await
    }

    /// Marks a record before (`Some`, with the time by the server's clock) it is sent, or after it certainly was not
    /// (`None`).
    pub async fn mark_record(&self, id: EntryId, attempted: Option<Timestamp>) -> Result<(), JournalError> {
        self.call(move |store| store.mark_record(id, attempted)).await
    }

    /// Moves a record that the server has acknowledged to the ledger, whose oldest entry goes.
    pub async fn acknowledge_record(&self, id: EntryId) -> Result<(), JournalError> {
        self.call(move |store| store.acknowledge_record(id)).await
    }

    /// The last records that the server acknowledged, oldest first.
    pub async fn ledger(&self) -> Result<Vec<StoredRecord>, JournalError> {
        self.call(|store| store.ledger()).await
    }

    /// Sets a record aside that the server refused for good.
    pub async fn bury_record(&self, id: EntryId, reason: String) -> Result<(), JournalError> {
        self.call(move |store| store.bury_record(id, &reason)).await
    }

    /// Keeps an event of a station until the broker has it; beyond [`EVENT_LIMIT`] the oldest goes.
    pub async fn store_event(&self, station: String, payload: String) -> Result<EntryId, JournalError> {
        self.call(move |store| store.store_event(&station, &payload)).await
    }

    /// The oldest events after `after`, at most `limit`.
    pub async fn events_after(&self, after: EntryId, limit: usize) -> Result<Vec<StoredEvent>, JournalError> {
        self.call(move |store| store.events_after(after, limit)).await
    }

    /// Forgets an event that the broker has acknowledged.
    pub async fn forget_event(&self, id: EntryId) -> Result<(), JournalError> {
        self.call(move |store| store.forget_event(id)).await
    }

    /// Everything, for people.
    pub async fn list(&self) -> Result<Listing, JournalError> {
        self.call(|store| store.list()).await
    }

    /// How much waits; changes wake its watchers.
    pub fn counts(&self) -> watch::Receiver<Counts> {
        self.counts.clone()
    }

    /// How many syncs there were: each is a write to the card.
    pub fn syncs(&self) -> u64 {
        self.syncs.load(Ordering::Relaxed)
    }

    async fn call<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Store) -> Result<T, JournalError> + Send + 'static,
    ) -> Result<T, JournalError> {
        let (reply, answer) = oneshot::channel();
        let job: Job = Box::new(move |store| {
            let result = job(store);
            Box::new(move |synced: &Result<(), JournalError>| {
                // The caller may have gone; the work is done all the same.
                drop(reply.send(synced.clone().and(result)));
            })
        });
        self.jobs.send(job).await.map_err(|_| JournalError::Closed)?;
        answer.await.map_err(|_| JournalError::Closed)?
    }
}

/// The thread: a group of jobs, one sync, then the answers.
fn work(mut store: Store, mut inbox: mpsc::Receiver<Job>, counts: &watch::Sender<Counts>, syncs: &AtomicU64) {
    while let Some(job) = inbox.blocking_recv() {
        let mut replies = vec![job(&mut store)];
        while store.unsynced_bytes() < GROUP_BYTES
            && let Ok(job) = inbox.try_recv()
        {
            replies.push(job(&mut store));
        }
        let wrote = store.unsynced_bytes() > 0;
        let synced = store.sync();
        if wrote {
            syncs.fetch_add(1, Ordering::Relaxed);
        }
        counts.send_if_modified(|known| std::mem::replace(known, store.counts()) != *known);
        for reply in replies {
            reply(&synced);
        }
    }
}
