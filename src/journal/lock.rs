//! The lock of the state directory, so that one process at a time uses it. sled locks its own file, but the directory of the
//! database is also moved and replaced.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};

use super::error::{JournalError, io_error};
use super::timer_slack;
use crate::durable;

/// The number of attempts at a lock. Its owner may be this very process, which releases a dropped database a little later.
const TRIES: u32 = 50;

/// The time between two attempts. After half a second in all another process has the lock.
const WAIT: Duration = Duration::from_millis(10);

/// The lock is held until this is dropped.
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    pub(crate) fn acquire(state_dir: &Path) -> Result<Self, JournalError> {
        let path = state_dir.join("lock");
        let file = durable::options().create(true).truncate(false).open(&path);
        let file = file.map_err(|error| io_error(&format!("open {}", path.display()), &error))?;
        retry(|| match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(()),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(JournalError::Locked { path: state_dir.display().to_string() }),
            Err(error) => Err(io_error(&format!("lock {}", path.display()), &error.into())),
        })?;
        Ok(Self { _file: file })
    }
}

/// Tries again while another process holds a lock, for at most half a second.
pub(super) fn retry<T>(mut attempt: impl FnMut() -> Result<T, JournalError>) -> Result<T, JournalError> {
    for _ in 1..TRIES {
        match attempt() {
            Err(JournalError::Locked { .. }) => timer_slack::sleep(WAIT),
            result => return result,
        }
    }
    attempt()
}
