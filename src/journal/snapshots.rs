//! sled's snapshots, whole and half. They only shorten its start, so it can do without them.

use std::fs;
use std::path::{Path, PathBuf};

use super::error::{JournalError, io_error, open_error};

pub(super) fn snapshots(dir: &Path) -> Result<Vec<PathBuf>, JournalError> {
    let entries = fs::read_dir(dir).map_err(|error| open_error(dir, &error))?;
    let paths = entries.flatten().map(|entry| entry.path());
    Ok(paths.filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("snap."))).collect())
}

/// A half snapshot would keep the database from opening.
pub(super) fn remove_half_snapshots(dir: &Path) -> Result<(), JournalError> {
    for path in snapshots(dir)? {
        if path.extension().is_some_and(|end| end == "generating") {
            fs::remove_file(&path).map_err(|error| io_error(&format!("remove {}", path.display()), &error))?;
        }
    }
    Ok(())
}
