//! How far the journal has come, beside the database: a database that was cut short may open as an older state of itself,
//! whole in itself and with everything in it that has long been delivered.
//!
//! After a clean stop it is exact; while the journal is open it follows, and after a kill or a cut it may be up to [`EVERY`]
//! transactions behind. It is there from the first start on, so it also tells that there was a database.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::error::{JournalError, io_error};
use super::files::exists;

/// Transactions between two marks while the journal is open: one more write to the card in so many.
const EVERY: u64 = 100;

/// The mark of a state directory: a database there has seen at least so many transactions.
pub(super) struct HighWaterMark {
    path: PathBuf,
    written: u64,
}

impl HighWaterMark {
    /// A mark that is gone or makes no sense says nothing.
    pub(super) fn read(state_dir: &Path) -> Self {
        let path = path(state_dir);
        let written = fs::read_to_string(&path).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0);
        Self { path, written }
    }

    pub(super) fn transactions(&self) -> u64 {
        self.written
    }

    pub(super) fn is_there(state_dir: &Path) -> bool {
        exists(&path(state_dir))
    }

    /// For a new database. To be called when it is whole and before it is in place.
    pub(super) fn reset(state_dir: &Path) -> Result<(), JournalError> {
        write(&path(state_dir), 0).map_err(|error| io_error("mark a new database", &error))
    }

    /// Marks what is durable, if it is far enough from the last mark.
    pub(super) fn advance(&mut self, transactions: u64) {
        if transactions >= self.written + EVERY {
            self.set(transactions);
        }
    }

    /// Marks what is durable.
    pub(super) fn set(&mut self, transactions: u64) {
        if transactions == self.written {
            return;
        }
        // Without a mark less is noticed, and nothing is lost.
        match write(&self.path, transactions) {
            Ok(()) => self.written = transactions,
            Err(error) => tracing::warn!(error = %io_error("mark", &error), "mark of the journal not written"),
        }
    }
}

fn path(state_dir: &Path) -> PathBuf {
    state_dir.join("mark")
}

/// Always of one length, so that it needs room only once.
fn write(path: &Path, transactions: u64) -> io::Result<()> {
    let mut file = File::options().create(true).truncate(false).write(true).open(path)?;
    file.write_all(format!("{transactions:020}\n").as_bytes())?;
    file.sync_data()
}
