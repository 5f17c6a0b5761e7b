//! The file of an open database, and what is known of its durability.
//!
//! After a sync that failed, Linux counts the pages that it could not write as clean: the next sync says yes without them, and
//! every reader sees them until they leave the page cache (Rebello et al., "Can Applications Recover from fsync Failures?",
//! 2020). So one failure is enough: this file is never synced again, and what it holds goes to a new one. A file beside it
//! ([`UNSYNCED`]) says so to the next process of the same boot. After a power cut nobody has to be told, because then the page
//! cache is gone too.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::error::{JournalError, io_error, open_error};
use super::files::exists;

/// The name of the file in a database's directory that says that a sync of it has failed.
const UNSYNCED: &str = "unsynced";

/// A descriptor of our own for sled's file, since sled itself never syncs it.
pub(super) struct SyncedFile {
    dir: PathBuf,
    file: File,
    /// The bytes that were written since the last sync.
    unsynced: usize,
    /// A sync has failed.
    failed: bool,
    syncs: SyncCounter,
}

/// Counts the syncs, each of which is a write to the SD card.
#[derive(Clone, Debug, Default)]
pub(super) struct SyncCounter {
    done: Arc<AtomicU64>,
    /// So many of the next syncs fail.
    #[cfg(test)]
    pub(super) failing: Arc<AtomicU64>,
}

impl SyncCounter {
    pub(super) fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    #[cfg(test)]
    fn fail_in_turn(&self) -> io::Result<()> {
        let counted = |left: u64| left.checked_sub(1);
        match self.failing.fetch_update(Ordering::SeqCst, Ordering::SeqCst, counted) {
            Ok(_) => Err(io::Error::other("this is a test")),
            Err(_) => Ok(()),
        }
    }
}

impl SyncedFile {
    pub(super) fn open(dir: &Path, syncs: SyncCounter) -> Result<Self, JournalError> {
        let file = File::open(dir.join("db")).map_err(|error| open_error(dir, &error))?;
        // Not 0: the trees themselves have to be synced once.
        Ok(Self { dir: dir.to_owned(), file, unsynced: 1, failed: false, syncs })
    }

    /// Whether a sync of the database in this directory has failed, as far as its files tell.
    pub(super) fn has_failed_before(dir: &Path) -> bool {
        exists(&dir.join(UNSYNCED))
    }

    pub(super) fn has_failed(&self) -> bool {
        self.failed
    }

    pub(super) fn wrote(&mut self, bytes: usize) {
        self.unsynced += bytes;
    }

    pub(super) fn unsynced(&self) -> usize {
        self.unsynced
    }

    /// Makes durable all that sled has written to the file.
    pub(super) fn sync(&mut self) -> Result<(), JournalError> {
        if self.failed {
            return Err(JournalError::Disk("sync: an earlier sync of the same file has failed".to_owned()));
        }
        if let Err(error) = self.sync_data() {
            self.distrust();
            return Err(io_error("sync", &error));
        }
        self.syncs.done.fetch_add(1, Ordering::Relaxed);
        self.unsynced = 0;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        #[cfg(test)]
        self.syncs.fail_in_turn()?;
        self.file.sync_data()
    }

    /// Asks the disk once more before the database is closed for an error, because sled may have been told of another one.
    pub(super) fn check(&mut self) {
        if !self.failed && self.sync_data().is_err() {
            self.distrust();
        }
    }

    /// Notes that there may be pages which no later sync writes.
    pub(super) fn distrust(&mut self) {
        self.failed = true;
        Self::note_failure(&self.dir);
    }

    /// The same for a database that is not open.
    pub(super) fn note_failure(dir: &Path) {
        let note = dir.join(UNSYNCED);
        if let Err(error) = File::create(&note) {
            tracing::warn!(%error, "{} not made: only this process knows that a sync has failed", note.display());
        }
    }
}
