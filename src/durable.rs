//! The state directory, and small files in it that are always whole: after a kill or a power cut a file holds its earlier or
//! its new content, never a part of one.
//!
//! Only the owner can read these files, because they hold keys and tokens. A power cut may leave `<name>.new` behind, which
//! the next write replaces. Two writers of one file at the same time are not guarded against.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

/// The mode of a file that only its owner can read.
const MODE: u32 = 0o600;

/// The mode of a directory that only its owner can enter.
const DIRECTORY_MODE: u32 = 0o700;

/// Makes the directory and those above it, if they are missing. An existing one stays as it is.
///
/// # Errors
/// The directory cannot be made.
pub(crate) fn directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(path)
}

/// Replaces the content of the file, or makes it. It is durable when this returns `Ok`.
///
/// # Errors
/// The file cannot be written; then it holds its earlier content.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(".new");
    match fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(&fresh)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    sync_names(path)
}

/// Removes the file, if it is there. It is gone for good when this returns `Ok`.
///
/// # Errors
/// The file cannot be removed.
#[cfg(feature = "directory")]
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(()) => sync_names(path),
    }
}

/// Makes the names in the directory of a file durable: they must be synced too (fsync(2)).
pub(crate) fn sync_names(path: &Path) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_directory_that_was_made_is_its_owners_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("var/state");
        for _ in 0..2 {
            directory(&path).unwrap();
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, DIRECTORY_MODE);
        }
    }

    #[test]
    fn a_file_is_replaced_whole_and_only_its_owner_reads_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        for content in ["a longer first content", "second"] {
            write(&path, content.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, MODE);
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_a_cut_left_behind_is_replaced_whoever_could_read_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        fs::write(dir.path().join("secret.new"), "half").unwrap();
        write(&path, b"whole").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "whole");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, MODE);
    }

    #[test]
    fn a_write_that_fails_leaves_what_was_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        write(&path, b"before").unwrap();
        fs::create_dir(dir.path().join("secret.new")).unwrap();
        assert!(write(&path, b"after").is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "before");
    }
}
