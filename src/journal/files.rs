//! Work on files and directories whose errors name what was tried.

use std::fs::{self, File};
use std::path::Path;

use super::error::{JournalError, io_error};

/// Also true for a link to nowhere, which must not be taken for a first start.
pub(super) fn exists(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

pub(super) fn rename(from: &Path, to: &Path) -> Result<(), JournalError> {
    fs::rename(from, to).map_err(|error| io_error(&format!("rename {}", from.display()), &error))
}

pub(super) fn remove(path: &Path) -> Result<(), JournalError> {
    let removed = match path.symlink_metadata() {
        Err(_) => Ok(()),
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
    };
    removed.map_err(|error| io_error(&format!("remove {}", path.display()), &error))
}

/// Syncs every file of a directory, and the directory itself.
pub(super) fn sync_all(dir: &Path) -> Result<(), JournalError> {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        sync(&entry.path())?;
    }
    sync(dir)
}

pub(super) fn sync(path: &Path) -> Result<(), JournalError> {
    let synced = File::open(path).and_then(|file| file.sync_all());
    synced.map_err(|error| io_error(&format!("sync {}", path.display()), &error))
}

/// Copies the files that can be read; one that cannot is missing in the copy.
pub(super) fn copy_dir(from: &Path, to: &Path) -> Result<(), JournalError> {
    fs::create_dir_all(to).map_err(|error| io_error(&format!("make {}", to.display()), &error))?;
    for entry in fs::read_dir(from).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_file())
            && let Err(error) = fs::copy(entry.path(), to.join(entry.file_name()))
            && let JournalError::Full = io_error("copy", &error)
        {
            return Err(JournalError::Full);
        }
    }
    Ok(())
}
