//! The temporary directory of a scene. It is removed when dropped, and when its process was killed, by the next scene.
//!
//! A living scene holds a lock on its directory (flock(2)), which the kernel takes back however the process ends. A directory
//! without a lock therefore belongs to a process that is dead.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{FlockOperation, Mode, OFlags, flock, open};
use rustix::io::Errno;
use rustix::process::geteuid;
use tempfile::TempDir;

/// No other program's names begin like this.
const PREFIX: &str = "print-release-demo-";

/// Another process may remove a new directory before its lock is taken, but not time and again.
const ATTEMPTS: usize = 10;

#[derive(Debug)]
pub(super) struct SceneDir {
    /// Dropped first, so that it is locked until it is gone.
    dir: TempDir,
    _lock: OwnedFd,
}

impl SceneDir {
    /// Makes a directory among the system's temporary ones, after it has removed those of dead processes.
    pub(super) fn create() -> io::Result<Self> {
        let parent = std::env::temp_dir();
        remove_abandoned(&parent);
        for _ in 0..ATTEMPTS {
            let dir = tempfile::Builder::new().prefix(PREFIX).tempdir_in(&parent)?;
            if let Some(lock) = lock(dir.path())? {
                return Ok(Self { dir, _lock: lock });
            }
        }
        Err(io::ErrorKind::ResourceBusy.into())
    }

    pub(super) fn path(&self) -> &Path {
        self.dir.path()
    }
}

/// Removes the directories of scenes whose processes are dead. One that cannot be removed is left to the next start.
fn remove_abandoned(parent: &Path) {
    for entry in parent.read_dir().into_iter().flatten().flatten() {
        let ours = entry.file_name().to_string_lossy().starts_with(PREFIX)
            && entry.metadata().is_ok_and(|found| found.is_dir() && found.uid() == geteuid().as_raw());
        if ours && let Ok(Some(_lock)) = lock(&entry.path()) {
            drop(std::fs::remove_dir_all(entry.path()));
        }
    }
}

/// Locks a directory; `None` if somebody else holds the lock or has removed it.
fn lock(dir: &Path) -> io::Result<Option<OwnedFd>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let locked = open(dir, flags, Mode::empty()).and_then(|handle| {
        flock(&handle, FlockOperation::NonBlockingLockExclusive)?;
        Ok(handle)
    });
    match locked {
        // Its last holder may have been the one that removed it.
        Ok(handle) => Ok(dir.try_exists()?.then_some(handle)),
        Err(Errno::NOENT | Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_nobody_holds_is_removed_and_one_that_somebody_holds_is_not() {
        let parent = tempfile::tempdir().unwrap();
        let [living, dead] = ["living", "dead"].map(|name| parent.path().join(format!("{PREFIX}{name}")));
        for dir in [&living, &dead] {
            std::fs::create_dir_all(dir.join("state")).unwrap();
        }
        let held = lock(&living).unwrap().unwrap();
        remove_abandoned(parent.path());
        assert!(living.join("state").exists() && !dead.exists());
        drop(held);
        remove_abandoned(parent.path());
        assert!(!living.exists());
    }

    #[test]
    fn nothing_is_removed_but_directories_of_scenes() {
        let (parent, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let at = |name: &str| parent.path().join(name);
        std::fs::create_dir(at("print-release-other")).unwrap();
        std::fs::write(at(&format!("{PREFIX}file")), "").unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), at(&format!("{PREFIX}link"))).unwrap();
        remove_abandoned(parent.path());
        assert_eq!(parent.path().read_dir().unwrap().count(), 3);
        assert!(elsewhere.path().exists());
    }

    #[test]
    fn a_directory_that_was_removed_before_it_was_locked_is_not_taken() {
        let parent = tempfile::tempdir().unwrap();
        assert!(lock(&parent.path().join("gone")).unwrap().is_none());
    }
}
