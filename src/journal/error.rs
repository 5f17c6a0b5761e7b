//! What can go wrong, and what sled and the disk say of it.

use std::io::{self, ErrorKind};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use sled::transaction::TransactionError;

use super::limits::ENTRY_LIMIT;
use crate::domain::EntryId;

/// Why the journal could not do something.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JournalError {
    /// Another process has it.
    #[error("open {path}: another print-release-agent uses this state directory; stop it, or use its control socket")]
    Locked {
        /// The state directory.
        path: String,
    },
    /// The files are there and make no sense. The journal sets them aside itself.
    #[error("open {path}: the database is damaged: {detail}")]
    Damaged {
        /// The database's directory.
        path: String,
        /// What is wrong.
        detail: String,
    },
    /// It is encrypted, and this is not its key.
    #[error(
        "open the database: it is encrypted, and this is not its key; the running agent answers `queue` and `status`; if \
         there is none, give the unit its credential journal-key back, or move `db`, `mark` and `reserve` out of the state directory"
    )]
    Key,
    /// It was written by a newer version. Nothing was touched.
    #[error("open the database: its schema {schema} is a newer version's; install that version again")]
    Newer {
        /// What it says.
        schema: u64,
    },
    /// There is no room. Passes by itself when there is.
    #[error("use the journal: the disk is full; make room on the disk of agent.state_dir")]
    Full,
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
    /// An entry beyond [`ENTRY_LIMIT`].
    #[error("store an entry: it has {bytes} bytes, more than {ENTRY_LIMIT}")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// There is no such entry.
    #[error("find entry {0}: there is none with this number; `queue list` shows all")]
    Unknown(EntryId),
    /// The entry is there, and this is not for it.
    #[error("change entry {id}: it is {state}")]
    NotForThis {
        /// Its id.
        id: EntryId,
        /// What it is, and what it would have to be.
        state: &'static str,
    },
    /// The journal's thread is gone.
    #[error("use the journal: it is closed")]
    Closed,
}

impl JournalError {
    /// Whether it says that the database cannot be used further as it is open now.
    pub(super) fn is_of_database(&self) -> bool {
        matches!(self, Self::Full | Self::Disk(_) | Self::Damaged { .. })
    }
}

/// Reading a damaged database may panic like opening it.
pub(super) fn guarded<T>(dir: &Path, read: impl FnOnce() -> Result<T, JournalError>) -> Result<T, JournalError> {
    match catch_unwind(AssertUnwindSafe(read)) {
        Ok(result) => result,
        Err(_) => Err(damaged(dir, "sled gives up on it")),
    }
}

/// sled tells a held lock as an I/O error with this text.
pub(super) fn is_lock(error: &io::Error) -> bool {
    error.to_string().contains("could not acquire lock")
}

pub(super) fn shown(dir: &Path) -> String {
    dir.display().to_string()
}

pub(super) fn damaged(dir: &Path, detail: &str) -> JournalError {
    JournalError::Damaged { path: shown(dir), detail: detail.to_owned() }
}

/// A wrong owner, a read-only or full disk, and too many open files are no damage: somebody can put them right.
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

/// What the system says, with what was tried.
pub(super) fn io_error(what: &str, error: &io::Error) -> JournalError {
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => JournalError::Full,
        _ => JournalError::Disk(format!("{what}: {error}")),
    }
}

/// While the database is open: an I/O error may pass, anything else is damage.
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
