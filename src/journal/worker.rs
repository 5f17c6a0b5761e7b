//! The journal's thread. It does a group of jobs, syncs once, and then answers them. It closes a database that fails and
//! opens it again.

use std::path::PathBuf;

use tokio::sync::{mpsc, oneshot, watch};

use super::counts::Counts;
use super::database::OpenOptions;
use super::error::{JournalError, drop_guarded, guarded};
use super::limits::Limits;
use super::open::Distrust;
use super::store::Store;
use crate::domain::EntryId;

/// The most jobs that share a sync. The bytes between two syncs have a limit of their own.
const GROUP_LIMIT: usize = 64;

/// A group is tried again once with the database opened anew, because an I/O error sticks to an open one.
const TRIES: u32 = 2;

/// The kind of a job decides what becomes of it on a full disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum JobKind {
    /// It stores a new promise of the box, so it is refused.
    Promise,
    /// It stores an event, so it is refused, and the event is counted as lost.
    Event,
    /// An earlier promise needs it, so it is done; the reserve makes room for it.
    Duty,
    /// The same, and no job is taken after it.
    Last,
}

/// A job for the thread, which answers its caller when it is done and durable.
pub(super) trait Job: Send {
    fn kind(&self) -> JobKind;
    /// Does the job, perhaps a second time. It returns only an error after which the database has to be opened anew.
    fn run(&mut self, store: &mut Store) -> Result<(), JournalError>;
    fn refuse(&mut self, error: JournalError);
    /// Answers the caller, who may have gone.
    fn answer(self: Box<Self>, synced: Result<(), JournalError>);
}

pub(super) struct PendingCall<T, F> {
    pub(super) kind: JobKind,
    pub(super) job: F,
    pub(super) result: Result<T, JournalError>,
    pub(super) reply: oneshot::Sender<Result<T, JournalError>>,
}

impl<T, F> Job for PendingCall<T, F>
where
    T: Send,
    F: FnMut(&mut Store) -> Result<T, JournalError> + Send,
{
    fn kind(&self) -> JobKind {
        self.kind
    }

    fn run(&mut self, store: &mut Store) -> Result<(), JournalError> {
        self.result = (self.job)(store);
        match &self.result {
            Err(error) if error.is_of_database() => Err(error.clone()),
            _ => Ok(()),
        }
    }

    fn refuse(&mut self, error: JournalError) {
        self.result = Err(error);
    }

    fn answer(self: Box<Self>, synced: Result<(), JournalError>) {
        drop(self.reply.send(synced.and(self.result)));
    }
}

pub(super) struct Worker {
    state_dir: PathBuf,
    limits: Limits,
    options: OpenOptions,
    /// `None` after a failure, until the next job opens it again.
    store: Option<Store>,
    /// Ids below this were returned to callers; a reopened database must not reuse them. `None` until it was open once.
    ids_issued: Option<EntryId>,
    /// The part that has to be looked at when it is opened again.
    distrust: Distrust,
    lost: u64,
    counts: watch::Sender<Counts>,
}

impl Worker {
    pub(super) fn new(state_dir: PathBuf, limits: Limits, options: OpenOptions, counts: watch::Sender<Counts>) -> Self {
        Self { state_dir, limits, options, store: None, ids_issued: None, distrust: Distrust::Nothing, lost: 0, counts }
    }

    /// Opens the database. A full disk is no error, because it passes: the counts show it until the database can be opened.
    pub(super) fn start(&mut self) -> Result<(), JournalError> {
        let started = match self.attempt(&mut []) {
            Err(JournalError::Full) => {
                tracing::error!("the disk is full: nothing can be stored, so nothing is released, until there is room");
                Ok(())
            }
            result => result,
        };
        self.publish_counts();
        started
    }

    /// Does the jobs that come, until the last one or until the last handle is dropped.
    pub(super) fn work(mut self, mut inbox: mpsc::Receiver<Box<dyn Job>>) {
        while let Some(job) = inbox.blocking_recv() {
            let mut group = vec![job];
            while group.len() < GROUP_LIMIT
                && let Ok(job) = inbox.try_recv()
            {
                group.push(job);
            }
            if group.iter().any(|job| job.kind() == JobKind::Last) {
                inbox.close();
            }
            let done = self.carry_out(&mut group);
            self.publish_counts();
            for job in group {
                job.answer(done.clone());
            }
            self.use_store(Store::seal);
        }
        self.use_store(Store::finish);
        if let Some(store) = self.store.take() {
            drop_guarded(store);
        }
    }

    /// Does something that no caller waits for. If it fails, the database is closed.
    fn use_store(&mut self, act: impl FnOnce(&mut Store) -> Result<(), JournalError>) {
        if let Some(store) = &mut self.store
            && let Err(why) = guarded(&self.state_dir.join("db"), || act(store))
        {
            self.close(&why);
        }
    }

    fn carry_out(&mut self, group: &mut [Box<dyn Job>]) -> Result<(), JournalError> {
        let mut done = Ok(());
        for _ in 0..TRIES {
            done = self.attempt(group);
            match &done {
                Ok(()) => break,
                Err(error) => self.close(error),
            }
        }
        done
    }

    /// Guarded, because sled may panic in any job that meets a page which cannot be read.
    fn attempt(&mut self, group: &mut [Box<dyn Job>]) -> Result<(), JournalError> {
        let db = self.state_dir.join("db");
        guarded(&db, || self.carry_out_once(group))
    }

    fn carry_out_once(&mut self, group: &mut [Box<dyn Job>]) -> Result<(), JournalError> {
        let store = match &mut self.store {
            Some(store) => store,
            closed => {
                let mut store = Store::open(&self.state_dir, self.limits, self.distrust, &self.options)?;
                store.add_lost(self.lost);
                if let Some(issued) = self.ids_issued {
                    store.resume_ids(issued)?;
                }
                self.distrust = Distrust::Nothing;
                closed.insert(store)
            }
        };
        store.restore_reserve();
        for job in group {
            if matches!(job.kind(), JobKind::Promise | JobKind::Event) && store.is_full() {
                store.add_lost(u64::from(job.kind() == JobKind::Event));
                job.refuse(JournalError::Full);
                continue;
            }
            store.note_time()?;
            job.run(store)?;
        }
        if crate::planted::is("journal-answers-before-the-sync") {
            self.ids_issued = Some(store.next_id());
            return Ok(());
        }
        match store.sync() {
            Err(_) if crate::planted::is("journal-believes-a-failed-sync") => {}
            synced => synced?,
        }
        self.ids_issued = Some(store.next_id());
        Ok(())
    }

    fn close(&mut self, why: &JournalError) {
        let Some(mut store) = self.store.take() else {
            // It could not even be opened, perhaps because a sync failed on the way.
            if matches!(why, JournalError::Disk(_)) {
                self.distrust = Distrust::Disk;
            }
            return;
        };
        tracing::error!(%why, "journal closed after a failure");
        if store.judge_disk(why) {
            self.distrust = Distrust::Disk;
        } else if *why != JournalError::Full {
            self.distrust = Distrust::Entries;
        }
        if *why == JournalError::Full {
            store.spend_reserve();
        }
        self.lost = store.lost();
        drop_guarded(store);
    }

    /// Publishes the counts. If the database is closed, republishes the last counts with `full = true`.
    fn publish_counts(&mut self) {
        for _ in 0..TRIES {
            let counted = match &mut self.store {
                Some(store) => guarded(&self.state_dir.join("db"), || store.counts()),
                None => Ok(Counts { full: true, lost: self.lost, ..*self.counts.borrow() }),
            };
            match counted {
                Ok(now) => {
                    self.counts.send_if_modified(|known| std::mem::replace(known, now) != *known);
                    return;
                }
                Err(error) => self.close(&error),
            }
            if let Err(error) = self.attempt(&mut []) {
                self.close(&error);
            }
        }
    }
}
