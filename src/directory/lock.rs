//! A file that one process at a time holds locked (flock(2)). The kernel lets it go when the process ends, however that is.

use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};

use super::DirectoryError;

/// The interval between two tries.
const TRY_AGAIN: Duration = Duration::from_millis(20);

/// Locks `file`, or tells that another process has it.
pub(super) fn try_lock(file: &File) -> io::Result<bool> {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Makes the file if it is missing, and waits for its lock, but not longer than `limit`. The lock ends when the file is dropped.
pub(super) async fn lock_within(path: &Path, limit: Duration) -> Result<File, DirectoryError> {
    let disk = |error: io::Error| DirectoryError::disk(path, &error);
    let file = File::options().create(true).truncate(false).write(true).mode(0o600).open(path).map_err(disk)?;
    let deadline = tokio::time::Instant::now() + limit;
    while !try_lock(&file).map_err(disk)? {
        if tokio::time::Instant::now() > deadline {
            let held = format!("another process has held it for {limit:?}; let it end, or end it");
            return Err(DirectoryError::Disk { path: path.display().to_string(), detail: held });
        }
        tokio::time::sleep(TRY_AGAIN).await;
    }
    Ok(file)
}
