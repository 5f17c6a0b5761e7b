//! The high-water mark: the number of transactions that the database has seen, in a file beside it. A database that was cut
//! short may open as an older state of itself, without any visible damage and with records that have long been delivered.
//!
//! The mark is exact after a clean stop and after a kill, because it is written before a caller is answered. It is synced only now
//! and then, so after a power cut it may be up to [`EVERY`] transactions behind, as far as the kernel has not written it by itself
//! within half a minute. It is written at the first start, so it also shows that there was a database.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::error::{JournalError, io_error};
use super::files::exists;
use crate::durable;

/// Transactions between two syncs of the mark while the journal is open, since each is one more write to the SD card.
const EVERY: u64 = 100;

/// The mark of a state directory: its database has seen at least so many transactions.
pub(super) struct HighWaterMark {
    path: PathBuf,
    written: u64,
    /// The number in the mark at its last sync.
    synced: u64,
}

impl HighWaterMark {
    /// A mark that is gone or makes no sense counts as 0, which every database has reached.
    pub(super) fn read(state_dir: &Path) -> Self {
        let nowhere = crate::planted::is("journal-skips-the-mark");
        let state_dir = if nowhere { Path::new("/nonexistent") } else { state_dir };
        let path = path(state_dir);
        let written = fs::read_to_string(&path).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0);
        Self { path, written, synced: written }
    }

    pub(super) fn transactions(&self) -> u64 {
        self.written
    }

    pub(super) fn is_there(state_dir: &Path) -> bool {
        exists(&path(state_dir))
    }

    /// Sets the mark for a new database. To be called when that is whole and before it takes its place.
    pub(super) fn reset(state_dir: &Path) -> Result<(), JournalError> {
        write(&path(state_dir), 0, true).map_err(|error| io_error("mark a new database", &error))
    }

    /// Raises the mark to a number of durable transactions. It is synced if it has not been for long.
    pub(super) fn advance(&mut self, transactions: u64) {
        if transactions != self.written {
            self.put(transactions, transactions >= self.synced + EVERY);
        }
    }

    /// Raises the mark to a number of durable transactions, and syncs it.
    pub(super) fn set(&mut self, transactions: u64) {
        if transactions != self.synced {
            self.put(transactions, true);
        }
    }

    fn put(&mut self, transactions: u64, durably: bool) {
        // A mark that is too low lets an older state go unnoticed, but loses nothing.
        match write(&self.path, transactions, durably) {
            Ok(()) => {
                self.written = transactions;
                self.synced = if durably { transactions } else { self.synced };
            }
            Err(error) => tracing::warn!(error = %io_error("mark", &error), "mark of the journal not written"),
        }
    }
}

fn path(state_dir: &Path) -> PathBuf {
    state_dir.join("mark")
}

/// The text always has one length, so that a full disk takes it once it is there.
fn write(path: &Path, transactions: u64, durably: bool) -> io::Result<()> {
    let mut file = durable::options().create(true).truncate(false).open(path)?;
    file.write_all(format!("{transactions:020}\n").as_bytes())?;
    if durably { file.sync_data() } else { Ok(()) }
}
