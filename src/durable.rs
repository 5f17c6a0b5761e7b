//! The state directory, and small files in it that are always whole: after a kill or a power cut a file holds its earlier or
//! its new content, never a part of one.
//!
//! Only the owner can read these files, because they hold keys and tokens, and none of them is ever reached through a link. A
//! power cut may leave `<name>.new` behind, which the next write replaces. Two writers of one file at the same time are not
//! guarded against.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use rustix::fs::OFlags;

/// The mode of a file that only its owner can read.
const MODE: u32 = 0o600;

/// The mode of a directory that only its owner can enter.
const DIRECTORY_MODE: u32 = 0o700;

/// The permission bits of group and others.
const OTHERS: u32 = 0o077;

/// The bit of a directory that many share, such as /tmp.
const SHARED: u32 = 0o1000;

/// The names of the state directory's files, beside those that begin with one of [`OWN_BEGINNINGS`].
const OWN_NAMES: [&str; 9] =
    ["db", "mark", "reserve", "lock", "enroll.lock", "device.key", "device.json", "key", "last-seen"];

/// The beginnings of the names of databases that are made, replaced or set aside, and of what belongs to another machine.
const OWN_BEGINNINGS: [&str; 3] = ["db.", "machine", "other-machine"];

/// The ending of a file that is written before it takes its place.
const FRESH: &str = ".new";

/// The directory that mkfs makes in the root of a file system.
const LOST_AND_FOUND: &str = "lost+found";

/// The file that every state directory has that was ever used.
const LOCK_NAME: &str = "lock";

/// Makes the directory and those above it, if they are missing. Group and others lose every right to an existing one and to
/// the files of this program in it.
///
/// # Errors
/// The directory cannot be made or put right, it is not this program's alone, or one of its files is a link.
pub(crate) fn directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(path)?;
    let directory = File::open(path)?;
    let mode = directory.metadata()?.permissions().mode();
    if mode & OTHERS != 0 {
        if !is_ours_alone(path, mode & SHARED != 0)? {
            let why = "others may enter it, and it is not the agent's alone: name a directory of its own";
            return Err(io::Error::other(why));
        }
        let closed = directory.set_permissions(Permissions::from_mode(DIRECTORY_MODE));
        closed.map_err(|error| {
            io::Error::other(format!("permission denied: others may enter it, and chmod 0700 failed: {error}"))
        })?;
        tracing::warn!(path = %path.display(), was = format!("{:o}", mode & 0o777), "state directory closed to others");
    }
    for entry in fs::read_dir(path)?.flatten().filter(|entry| is_own_name(&entry.file_name())) {
        if entry.file_type()?.is_symlink() && entry.file_name() != OsStr::new("db") {
            let name = entry.file_name().display().to_string();
            return Err(io::Error::other(format!("{name} in it is a link, which is never followed: remove it")));
        }
        close(&entry.path());
    }
    Ok(())
}

/// Whether nobody else needs to enter it: it was used as a state directory before, or holds no directory but such as are made
/// here. A directory of the system, which a wrong `agent.state_dir` may name, holds others. One that many share, such as /tmp,
/// must hold nothing else at all; the root of a file system of its own is like that when it is new.
fn is_ours_alone(path: &Path, is_shared: bool) -> io::Result<bool> {
    if !is_shared && path.join(LOCK_NAME).symlink_metadata().is_ok_and(|lock| lock.is_file()) {
        return Ok(true);
    }
    let is_foreign = |entry: &fs::DirEntry| {
        let is_known = is_own_name(&entry.file_name()) || entry.file_name() == OsStr::new(LOST_AND_FOUND);
        !is_known && (is_shared || entry.file_type().is_ok_and(|kind| kind.is_dir() || kind.is_symlink()))
    };
    Ok(!fs::read_dir(path)?.flatten().any(|entry| is_foreign(&entry)))
}

/// Whether a file of the state directory has this name.
pub(crate) fn is_own_name(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    let plain = name.strip_suffix(FRESH).unwrap_or(&name);
    OWN_NAMES.contains(&plain) || OWN_BEGINNINGS.iter().any(|beginning| name.starts_with(beginning))
}

/// Takes every right of group and others to a file, or to a directory with all in it. Nobody but the owner gets into the state
/// directory, so one that belongs to somebody else is only told.
pub(crate) fn close(path: &Path) {
    let Ok(found) = path.symlink_metadata() else {
        return;
    };
    if found.is_dir() {
        fs::read_dir(path).into_iter().flatten().flatten().for_each(|entry| close(&entry.path()));
    }
    let mode = if found.is_dir() { DIRECTORY_MODE } else { MODE };
    let is_open = found.permissions().mode() & OTHERS != 0;
    if (found.is_dir() || found.is_file())
        && is_open
        && let Err(error) = fs::set_permissions(path, Permissions::from_mode(mode))
    {
        tracing::warn!(%error, path = %path.display(), "file of the state directory not closed to others");
    }
}

/// The options to open a file of the state directory for writing: it is never a link, and its owner's alone when it is made.
pub(crate) fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).mode(MODE).custom_flags(OFlags::NOFOLLOW.bits() as i32);
    options
}

/// Replaces the content of the file, or makes it. It is durable when this returns `Ok`.
///
/// # Errors
/// The file cannot be written; then it holds its earlier content.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(FRESH);
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
    sync_directory(directory)
}

/// Makes the names in a directory durable, which needs a sync of its own (fsync(2)).
pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Overwrites a file with zeros and removes it, or a directory with all in it. A link is removed and not followed. On flash
/// memory the earlier bytes may stay readable for somebody who takes the chips out.
///
/// # Errors
/// It cannot be removed. One that cannot be overwritten is removed all the same.
pub(crate) fn wipe(path: &Path) -> io::Result<()> {
    let found = path.symlink_metadata()?;
    if found.is_dir() {
        for entry in fs::read_dir(path)? {
            wipe(&entry?.path())?;
        }
        return fs::remove_dir(path);
    }
    if found.is_file() {
        let zeros = || -> io::Result<()> {
            let mut file = options().open(path)?;
            io::copy(&mut io::repeat(0).take(found.len()), &mut file)?;
            file.sync_all()
        };
        if let Err(error) = zeros() {
            tracing::warn!(%error, path = %path.display(), "file not overwritten before it is removed");
        }
    }
    fs::remove_file(path)
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

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_directory_that_others_may_read_is_closed_to_them_with_all_that_is_in_it() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("db")).unwrap();
        for name in ["lock", "device.key", "db/db", "agent.toml"] {
            fs::write(dir.path().join(name), "").unwrap();
            fs::set_permissions(dir.path().join(name), Permissions::from_mode(0o644)).unwrap();
        }
        for name in ["", "db"] {
            fs::set_permissions(dir.path().join(name), Permissions::from_mode(0o755)).unwrap();
        }
        directory(dir.path()).unwrap();
        for (name, expected) in
            [("", 0o700), ("db", 0o700), ("db/db", 0o600), ("device.key", 0o600), ("agent.toml", 0o644)]
        {
            assert_eq!(mode(&dir.path().join(name)), expected, "{name}");
        }
    }

    #[test]
    fn a_directory_that_others_use_too_is_refused_and_stays_as_it_is() {
        for open in [0o755, 0o1777] {
            let dir = tempfile::tempdir().unwrap();
            fs::create_dir(dir.path().join("somebody-elses")).unwrap();
            fs::set_permissions(dir.path(), Permissions::from_mode(open)).unwrap();
            let refused = directory(dir.path()).unwrap_err().to_string();
            assert!(refused.contains("a directory of its own"), "{refused}");
            assert_eq!(mode(dir.path()), open & 0o777);
        }
    }

    #[test]
    fn a_link_in_place_of_a_file_is_refused_and_never_followed() {
        for name in ["mark", "reserve", "lock", "device.json", "last-seen"] {
            let dir = tempfile::tempdir().unwrap();
            let (elsewhere, path) = (dir.path().join("elsewhere"), dir.path().join(name));
            fs::write(&elsewhere, "untouched").unwrap();
            std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
            assert!(directory(dir.path()).unwrap_err().to_string().contains(name));
            assert!(options().create(true).truncate(true).open(&path).is_err());
            assert_eq!(fs::read_to_string(&elsewhere).unwrap(), "untouched");
        }
    }

    #[test]
    fn what_is_wiped_is_overwritten_and_gone_and_a_link_leads_nowhere() {
        let dir = tempfile::tempdir().unwrap();
        let (elsewhere, wiped) = (dir.path().join("elsewhere"), dir.path().join("db"));
        fs::write(&elsewhere, "untouched").unwrap();
        fs::create_dir(&wiped).unwrap();
        fs::write(wiped.join("key"), "a secret").unwrap();
        fs::hard_link(wiped.join("key"), dir.path().join("witness")).unwrap();
        std::os::unix::fs::symlink(&elsewhere, wiped.join("link")).unwrap();
        wipe(&wiped).unwrap();
        assert!(!wiped.exists());
        assert_eq!(fs::read(dir.path().join("witness")).unwrap(), [0; 8]);
        assert_eq!(fs::read_to_string(&elsewhere).unwrap(), "untouched");
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
