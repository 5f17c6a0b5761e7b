//! The journal keeps on disk all that the box has promised: releases, job records, dead letters and events that wait.
//!
//! Invariants:
//! 1. **Durable before answered.** A method returns `Ok` only after `sync_data` on sled's file, because sled's own flush does
//!    not reach stable storage on Linux. At most [`GROUP_BYTES`] lie between two syncs; larger groups do not survive a power
//!    cut.
//! 2. **One owner.** One thread owns the database and does one job after the other; jobs that come together share a sync.
//!    One process at a time uses a state directory (`lock`).
//! 3. **One transaction.** A release leaves the journal in the same transaction that stores its job record.
//! 4. **Order.** An entry's id is a number that only grows, whatever is lost while the journal is open. The job
//!    records of each station leave oldest first.
//! 5. **At most one record of each station is attempted**, besides those that were carried over from a damaged database. It
//!    is marked on disk before it is sent, so that after a crash only these are in doubt.
//! 6. **Nothing disappears silently.** Every transaction writes a tally of all entries. A database that does not agree with
//!    its tally is damaged, and so is one that is gone or is an older state of itself. It is set aside whole
//!    (`db.damaged-<time>`, at most [`ASIDE_LIMIT`]) and its readable entries are carried over, since sled is never given the only
//!    copy. An entry that cannot be read is set aside alone, and an entry that is given up is counted.
//! 7. **The newest state or a damage.** The number of the last transaction that was synced stands in two places: in the mark
//!    beside the database, before a caller is answered (`high_water_mark`), and in the database, in a seal that goes to the disk
//!    with the next transactions or within seconds (`scan`). A database that opens with fewer is damaged. One that has lost only
//!    transactions that were never synced, as after an ordinary power cut, is not.
//! 8. **One failed sync is enough.** After it nothing is answered until every entry lies in a new database that was synced whole
//!    (`synced_file`).
//! 9. **`db` is always whole.** A new database takes its place only when all of it is durable.
//! 10. **No time that nobody knew.** An entry that is stored while the clock is wrong has no time until the clock is right in
//!     the same boot (`times`). Nothing is given up for an age that this box's clock and the server's do not both confirm
//!     (`trusted_time`).
//! 11. **No secret.** No card number, read or token is ever handed to this module.
//! 12. **Encrypted whole or not at all.** With a key every entry is encrypted (`cipher`). Without the key of an encrypted
//!     database nothing is touched: the journal does not open.
//!
//! On a full disk the reserve is given up: the box can still write down how its earlier promises end, and it promises nothing
//! new ([`JournalError::Full`]) until there is room for the reserve again. This needs nobody's help.
//!
//! One loss remains that nothing here can see: the power goes within seconds after a transaction was answered, before the
//! kernel has written mark and seal, and then the very bytes of that transaction are damaged. It looks like a transaction that the
//! power cut short.
//!
//! A release in the journal may have been sent or not, because it is stored before it is sent and nothing is written in
//! between. The journal does not talk to the server, and it does not decide what becomes of an entry.

#![cfg_attr(feature = "simulate", expect(dead_code, unused_imports, reason = "a model stands for the database"))]

mod boot_times;
mod change;
mod cipher;
mod counts;
mod database;
mod entry;
mod error;
mod events;
mod files;
mod frame;
mod high_water_mark;
mod limits;
mod lock;
mod open;
mod patience;
mod queue;
mod records;
mod releases;
mod reserve;
mod room;
mod salvage;
mod scan;
mod snapshots;
mod state_dirs;
mod store;
mod synced_file;
mod table;
#[cfg(test)]
mod tests;
mod timer_slack;
mod times;
mod trusted_time;
mod verify;
mod worker;

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot, watch};

use crate::domain::{EntryId, JobRecord, Outcome, Release, Secret, StationName};
#[cfg(feature = "simulate")]
use crate::simulate::{DiskHandle, DiskModel as Store};
use cipher::Cipher;
pub use counts::Counts;
use database::OpenOptions;
pub use entry::{DeadLetter, StoredEvent, StoredRecord, StoredRelease};
pub use error::JournalError;
pub use events::EVENT_LIMIT;
pub use limits::{ENTRY_LIMIT, GROUP_BYTES, LEDGER_AGE, LEDGER_LIMIT, Limits, PAYLOAD_LIMIT};
pub(crate) use lock::Lock;
pub use queue::{LIST_LIMIT, Listing, QueueEntry};
pub use records::RecordSearch;
pub use reserve::RESERVE_BYTES;
pub use state_dirs::ASIDE_LIMIT;
use state_dirs::StateDirs;
#[cfg(not(feature = "simulate"))]
use store::Store;
use synced_file::SyncCounter;
use trusted_time::TrustedTime;
use verify::VerifyProgress;
pub use verify::{VERIFY_STEP, Verified};
use worker::{Job, JobKind, PendingCall, Worker};

/// The most jobs that wait for the journal's thread; beyond it callers wait.
const JOB_LIMIT: usize = 256;

/// A handle to the journal's thread. Cheap to clone; the thread ends when the last handle is dropped.
#[derive(Clone, Debug)]
pub struct Journal {
    jobs: mpsc::Sender<Box<dyn Job>>,
    counts: watch::Receiver<Counts>,
    syncs: SyncCounter,
    trusted_time: TrustedTime,
    /// In the simulated world, the model that stands for the thread and its files.
    #[cfg(feature = "simulate")]
    model: Option<DiskHandle>,
}

impl Journal {
    /// Opens or makes the database in `state_dir/db`. A damaged one is set aside; a full disk shows in [`Counts::full`]. With
    /// a `key` entries are encrypted, and a database that was in clear is rewritten.
    ///
    /// # Errors
    /// [`JournalError::Locked`] passes when the other process ends; [`JournalError::Disk`], [`JournalError::Key`] and
    /// [`JournalError::Newer`] name the thing that a person has to put right.
    pub fn open(state_dir: &Path, limits: Limits, key: Option<&Secret>) -> Result<Self, JournalError> {
        let cipher = key.map(|key| Arc::new(Cipher::new(key)));
        Self::open_with(state_dir, limits, OpenOptions { cipher, ..OpenOptions::default() })
    }

    fn open_with(state_dir: &Path, limits: Limits, options: OpenOptions) -> Result<Self, JournalError> {
        let (jobs, inbox) = mpsc::channel(JOB_LIMIT);
        let (counts_sender, counts) = watch::channel(Counts::default());
        let (opened, answer) = std::sync::mpsc::channel();
        let (syncs, trusted_time) = (options.syncs.clone(), options.trusted_time.clone());
        let mut worker = Worker::new(state_dir.to_owned(), limits, options, counts_sender);
        std::thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || {
                timer_slack::allow();
                let started = worker.start();
                let works = started.is_ok();
                drop(opened.send(started));
                if works {
                    worker.work(inbox);
                }
            })
            .map_err(|error| JournalError::Disk(format!("start its thread: {error}")))?;
        answer.recv().map_err(|_| JournalError::Closed)??;
        Ok(Self {
            jobs,
            counts,
            syncs,
            trusted_time,
            #[cfg(feature = "simulate")]
            model: None,
        })
    }

    /// A journal of the simulated world: its contract, without a file.
    #[cfg(feature = "simulate")]
    pub(crate) fn simulated(model: DiskHandle, counts: watch::Receiver<Counts>) -> Self {
        let (jobs, syncs, trusted_time) = (mpsc::channel(1).0, SyncCounter::default(), TrustedTime::default());
        Self { jobs, counts, syncs, trusted_time, model: Some(model) }
    }

    /// Whether a journal was ever made there; a caller who only looks must not make one.
    pub fn is_there(state_dir: &Path) -> bool {
        StateDirs::new(state_dir).is_used()
    }

    /// Makes all of these durable. Nothing is sent before this answers (docs/architecture.md, "Promises"), except where no
    /// record is wanted and it answers [`JournalError::Full`].
    pub async fn store_releases(&self, releases: Vec<Release>) -> Result<Vec<EntryId>, JournalError> {
        self.call(JobKind::Promise, move |store| store.store_releases(&releases)).await
    }

    /// Removes open releases whose place others have taken. Those are durable by then: between the two there may be two entries
    /// for one document, and never none.
    pub(crate) async fn remove_replaced(&self, ids: Vec<EntryId>) -> Result<(), JournalError> {
        self.call(JobKind::Duty, move |store| store.remove_replaced(&ids)).await
    }

    /// Ends a release and stores the record that follows from it, in one transaction. A release with an unknown outcome stays
    /// in the journal until a person drops it.
    pub async fn end_release(
        &self,
        id: EntryId,
        outcome: Outcome,
        record: Option<JobRecord>,
    ) -> Result<(), JournalError> {
        self.call(JobKind::Duty, move |store| store.end_release(id, &outcome, record.as_ref())).await
    }

    /// The releases that have no outcome yet.
    pub async fn open_releases(&self) -> Result<Vec<StoredRelease>, JournalError> {
        self.call(JobKind::Duty, |store| store.open_releases()).await
    }

    /// One step of the search for the oldest record after the number `after` of a station that is not `held`.
    pub async fn search_records(
        &self,
        after: EntryId,
        held: Arc<HashSet<StationName>>,
    ) -> Result<RecordSearch, JournalError> {
        self.call(JobKind::Duty, move |store| store.search_records(after, &held)).await
    }

    /// The record that has waited longest.
    pub async fn oldest_record(&self) -> Result<Option<StoredRecord>, JournalError> {
        Ok(self.oldest_records(1).await?.pop())
    }

    /// The records that have waited longest, oldest first, at most `limit`.
    pub async fn oldest_records(&self, limit: usize) -> Result<Vec<StoredRecord>, JournalError> {
        self.call(JobKind::Duty, move |store| store.oldest_records(limit)).await
    }

    /// Marks a record before it is sent (`Some`, with the time by the server's clock), or after it certainly was not sent
    /// (`None`). A record that was in doubt must have been looked up before.
    pub async fn mark_record(&self, id: EntryId, attempted: Option<Timestamp>) -> Result<(), JournalError> {
        self.call(JobKind::Duty, move |store| store.mark_record(id, attempted)).await
    }

    /// Keeps the story of an attempt at a record that failed. It is written only when it is another one than before, and not on a
    /// full disk.
    pub async fn note_error(&self, id: EntryId, error: String) -> Result<(), JournalError> {
        self.call(JobKind::Promise, move |store| store.note_error(id, &error)).await
    }

    /// Moves a record that the server has acknowledged to the ledger, and drops the oldest ones there beyond [`LEDGER_AGE`]
    /// and [`LEDGER_LIMIT`].
    pub async fn acknowledge_record(&self, id: EntryId) -> Result<(), JournalError> {
        self.call(JobKind::Duty, move |store| store.acknowledge_record(id)).await
    }

    /// The records that the server acknowledged within [`LEDGER_AGE`], oldest first, at most [`LEDGER_LIMIT`].
    pub async fn ledger(&self) -> Result<Vec<StoredRecord>, JournalError> {
        self.call(JobKind::Duty, |store| store.ledger()).await
    }

    /// Sets a record aside that the server refused for good.
    pub async fn bury_record(&self, id: EntryId, reason: String) -> Result<(), JournalError> {
        self.call(JobKind::Duty, move |store| store.bury_record(id, &reason)).await
    }

    /// Keeps an event of a station until the broker has it; beyond [`EVENT_LIMIT`] the oldest goes.
    pub async fn store_event(&self, station: String, payload: String) -> Result<EntryId, JournalError> {
        self.call(JobKind::Event, move |store| store.store_event(&station, &payload)).await
    }

    /// The oldest events after `after`, at most `limit`.
    pub async fn events_after(&self, after: EntryId, limit: usize) -> Result<Vec<StoredEvent>, JournalError> {
        self.call(JobKind::Duty, move |store| store.events_after(after, limit)).await
    }

    /// Forgets an event that the broker has acknowledged.
    pub async fn forget_event(&self, id: EntryId) -> Result<(), JournalError> {
        self.call(JobKind::Duty, move |store| store.forget_event(id)).await
    }

    /// Lists for people the entries that wait after the number `after`: at most [`LIST_LIMIT`] of each kind, and the number
    /// after which the next page begins.
    pub async fn list(&self, after: EntryId) -> Result<Listing, JournalError> {
        self.call(JobKind::Duty, move |store| store.list(after)).await
    }

    /// Shows one entry to a person.
    ///
    /// # Errors
    /// [`JournalError::Unknown`] when there is no such entry.
    pub async fn show(&self, id: EntryId) -> Result<QueueEntry, JournalError> {
        self.call(JobKind::Duty, move |store| store.show(id)).await
    }

    /// Puts a dead letter back to the end of the records, under a new number.
    ///
    /// # Errors
    /// [`JournalError::Unknown`], or [`JournalError::NotForThis`] when it is no dead letter.
    pub async fn retry(&self, id: EntryId) -> Result<EntryId, JournalError> {
        self.call(JobKind::Duty, move |store| store.retry(id)).await
    }

    /// Gives up a dead letter, a release with an unknown outcome, or an entry that cannot be read, and returns it.
    ///
    /// # Errors
    /// [`JournalError::Unknown`], or [`JournalError::NotForThis`] when the agent will still end or deliver it.
    pub async fn give_up(&self, id: EntryId) -> Result<QueueEntry, JournalError> {
        self.call(JobKind::Duty, move |store| store.give_up(id)).await
    }

    /// Checks every entry, the tally and the folders that were set aside, [`VERIFY_STEP`] entries at a time, so that other
    /// callers need not wait for the end.
    pub async fn verify(&self) -> Result<Verified, JournalError> {
        let mut progress = VerifyProgress::default();
        while !progress.done {
            progress = self.call(JobKind::Duty, move |store| store.verify_step(progress.clone())).await?;
        }
        Ok(progress.verified)
    }

    /// Says that the wall clock has become right. The journal then writes down the offset between it and this boot's
    /// monotonic clock, if entries were stored without a time. Every other call does the same; this one is for an agent that
    /// has nothing else to ask.
    pub async fn time_is_known(&self) -> Result<(), JournalError> {
        self.call(JobKind::Duty, |store| store.note_time()).await
    }

    /// Tells the server's time as it is now. Only by this and this box's clock together is an entry ever too old; so without it
    /// none is.
    pub fn server_time_is(&self, server: Timestamp) {
        self.trusted_time.learn(server);
    }

    /// Ends the journal in order: what was asked before is done, and the database and its mark are closed. All other handles find
    /// it closed from then on. To be awaited by all that end the program.
    pub async fn close(&self) {
        // A thread that has ended already has nothing left to do.
        drop(self.call(JobKind::Last, |_| Ok(())).await);
        let mut counts = self.counts.clone();
        while counts.changed().await.is_ok() {}
    }

    /// Completes when the journal's thread has ended although there are handles: it can only be opened again by another
    /// process.
    pub async fn closed(&self) {
        self.jobs.closed().await;
    }

    /// The counts of what waits; a change wakes those who watch.
    pub fn counts(&self) -> watch::Receiver<Counts> {
        self.counts.clone()
    }

    /// The number of syncs so far; each is a write to the SD card.
    pub fn syncs(&self) -> u64 {
        self.syncs.done()
    }

    #[cfg(feature = "simulate")]
    async fn call<T: Send + 'static>(
        &self,
        kind: JobKind,
        job: impl FnMut(&mut Store) -> Result<T, JournalError> + Send + 'static,
    ) -> Result<T, JournalError> {
        match &self.model {
            Some(model) => model.carry_out(kind == JobKind::Duty, job).await,
            None => Err(JournalError::Closed),
        }
    }

    #[cfg(not(feature = "simulate"))]
    async fn call<T: Send + 'static>(
        &self,
        kind: JobKind,
        job: impl FnMut(&mut Store) -> Result<T, JournalError> + Send + 'static,
    ) -> Result<T, JournalError> {
        let (reply, answer) = oneshot::channel();
        let call = PendingCall { kind, job, result: Err(JournalError::Closed), reply };
        self.jobs.send(Box::new(call)).await.map_err(|_| JournalError::Closed)?;
        answer.await.map_err(|_| JournalError::Closed)?
    }
}
