//! The errors of the journal, and the way from those of sled and of the disk to them.

use std::io::{self, ErrorKind};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use sled::transaction::TransactionError;

use super::limits::ENTRY_LIMIT;
use crate::domain::EntryId;

/// Why the journal could not do something.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JournalError {
    /// Another process uses the state directory.
    #[error("open {path}: another print-release-agent uses this state directory; stop it, or use its control socket")]
    Locked {
        /// The state directory.
        path: String,
    },
    /// The files of the database make no sense. The journal sets them aside itself.
    #[error("open {path}: the database is damaged: {detail}")]
    Damaged {
        /// The database's directory.
        path: String,
        /// A description of the damage.
        detail: String,
    },
    /// The database is encrypted, and this is not its key.
    #[error(
        "open the database: it is encrypted, and this is not its key; the running agent answers `queue` and `status`; if \
         there is none, give the unit its credential journal-key back, or move `db`, `mark` and `reserve` out of the state directory"
    )]
    Key,
    /// The database was written by a newer version. Nothing was touched.
    #[error("open the database: its schema {schema} is a newer version's; install that version again")]
    Newer {
        /// The number of that version's schema.
        schema: u64,
    },
    /// The disk is full. This passes by itself when there is room.
    #[error("use the journal: the disk is full; make room on the disk of agent.state_dir")]
    Full,
    /// The disk refused to read or write.
    #[error("use the journal: {0}")]
    Disk(String),
    /// This version cannot read or write the entry.
    #[error("read entry {id}: {detail}")]
    Entry {
        /// The number of the entry.
        id: EntryId,
        /// The reason, for a person.
        detail: String,
    },
    /// The entry is larger than [`ENTRY_LIMIT`].
    #[error("store an entry: it has {bytes} bytes, more than {ENTRY_LIMIT}")]
    TooLarge {
        /// The size of the entry.
        bytes: usize,
    },
    /// No entry has this number.
    #[error("find entry {0}: there is none with this number; `queue list` shows all")]
    Unknown(EntryId),
    /// The entry is of a kind or in a state that does not allow the change.
    #[error("change entry {id}: it is {state}")]
    NotForThis {
        /// The number of the entry.
        id: EntryId,
        /// A description of the entry that says why.
        state: &'static str,
    },
    /// The journal's thread has ended.
    #[error("use the journal: it is closed")]
    Closed,
}

impl JournalError {
    /// Whether the database has to be opened anew before it can be used again.
    pub(super) fn is_of_database(&self) -> bool {
        matches!(self, Self::Full | Self::Disk(_) | Self::Damaged { .. })
    }
}

/// Turns a panic into a damage: reading a damaged database may panic just as opening it may.
pub(super) fn guarded<T>(dir: &Path, read: impl FnOnce() -> Result<T, JournalError>) -> Result<T, JournalError> {
    match catch_unwind(AssertUnwindSafe(read)) {
        Ok(result) => result,
        Err(_) => Err(damaged(dir, "sled gives up on it")),
    }
}

/// Closes a database. sled panics where it cannot sync the file once more.
pub(super) fn drop_guarded<T>(database: T) {
    if catch_unwind(AssertUnwindSafe(|| drop(database))).is_err() {
        tracing::error!("sled gave up while it was closed");
    }
}

/// sled reports a held lock as an I/O error with this text.
pub(super) fn is_lock(error: &io::Error) -> bool {
    error.to_string().contains("could not acquire lock")
}

pub(super) fn shown(dir: &Path) -> String {
    dir.display().to_string()
}

pub(super) fn damaged(dir: &Path, detail: &str) -> JournalError {
    JournalError::Damaged { path: shown(dir), detail: detail.to_owned() }
}

/// A wrong owner, a read-only or full disk, and too many open files are no damage: a person can put them right.
pub(super) fn open_error(dir: &Path, error: &io::Error) -> JournalError {
    /// `ENFILE` and `EMFILE` have no [`ErrorKind`].
    const TOO_MANY_FILES: [i32; 2] = [23, 24];
    match error.kind() {
        ErrorKind::PermissionDenied => JournalError::Disk(format!(
            "open {}: {error}; the state directory and all in it must belong to the agent's user",
            dir.display()
        )),
        ErrorKind::ReadOnlyFilesystem | ErrorKind::OutOfMemory => {
            JournalError::Disk(format!("open {}: {error}", dir.display()))
        }
        _ if error.raw_os_error().is_some_and(|code| TOO_MANY_FILES.contains(&code)) => {
            JournalError::Disk(format!("open {}: {error}", dir.display()))
        }
        _ => match io_error("open", error) {
            JournalError::Full => JournalError::Full,
            _ => damaged(dir, &error.to_string()),
        },
    }
}

/// The error of the system, with the thing that was tried.
pub(super) fn io_error(what: &str, error: &io::Error) -> JournalError {
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => JournalError::Full,
        _ => JournalError::Disk(format!("{what}: {error}")),
    }
}

/// An error of a database that is open: one of I/O may pass, any other is damage.
pub(super) fn sled_error(error: sled::Error) -> JournalError {
    match error {
        sled::Error::Io(error) => io_error("read or write", &error),
        error => damaged(Path::new("db"), &error.to_string()),
    }
}

pub(super) fn transaction_error(error: TransactionError<JournalError>) -> JournalError {
    match error {
        TransactionError::Storage(error) => sled_error(error),
        TransactionError::Abort(error) => error,
    }
}
