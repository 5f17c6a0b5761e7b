//! How far the journal has come, beside the database: a database that was cut short may open as an older state of itself,
//! whole in itself and with everything in it that has long been delivered.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use super::JournalError;
use super::database::io_error;

/// Transactions between two marks: one more write to the card in so many.
const EVERY: u64 = 100;

/// The mark of a state directory: a database there has seen at least so many transactions.
pub(super) struct Mark {
    path: PathBuf,
    written: u64,
}

impl Mark {
    /// A mark that is gone or makes no sense says nothing.
    pub(super) fn read(state_dir: &Path) -> Self {
        let path = state_dir.join("mark");
        let written = fs::read_to_string(&path).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0);
        Self { path, written }
    }

    pub(super) fn transactions(&self) -> u64 {
        self.written
    }

    /// For a new database. To be called before it is in place.
    pub(super) fn forget(&mut self) -> Result<(), JournalError> {
        self.written = 0;
        super::replace::remove(&self.path)
    }

    /// Marks what is durable, if it is far enough from the last mark.
    pub(super) fn advance(&mut self, transactions: u64) {
        if transactions < self.written + EVERY {
            return;
        }
        let text = format!("{transactions:020}\n");
        let file = File::options().create(true).truncate(false).write(true).open(&self.path);
        // Without a mark less is noticed, and nothing is lost.
        match file.and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_data())) {
            Ok(()) => self.written = transactions,
            Err(error) => tracing::warn!(error = %io_error("mark", &error), "mark of the journal not written"),
        }
    }
}
