//! The reserve: a file that is deleted when the disk is full, so that there is room to open the database and to write down how
//! earlier promises end. It is made again when the disk has room.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::durable;

/// The size of the reserve, four of sled's segments.
pub const RESERVE_BYTES: u64 = 2 * 1024 * 1024;

/// The bytes beyond the reserve that have to stay free when the journal makes a file that it can do without, so that this
/// file does not fill the disk itself.
pub(super) const SPARE_BYTES: u64 = 512 * 1024;

pub(super) struct Reserve {
    path: PathBuf,
}

impl Reserve {
    pub(super) fn new(state_dir: &Path) -> Self {
        Self { path: state_dir.join("reserve") }
    }

    /// Whether there is one, whole or not. It is only ever made beside a database.
    pub(super) fn exists(state_dir: &Path) -> bool {
        Self::new(state_dir).path.exists()
    }

    /// Whether the reserve is whole. Without it the box promises nothing new.
    pub(super) fn is_whole(&self) -> bool {
        self.path.metadata().is_ok_and(|file| file.len() == RESERVE_BYTES)
    }

    pub(super) fn spend(&self) {
        match std::fs::remove_file(&self.path) {
            Ok(()) => tracing::warn!("disk full: the reserve is used; new releases wait for room"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => tracing::error!(%error, "reserve not given up"),
        }
    }

    /// Makes the reserve if there is room, and says whether it is whole.
    pub(super) fn restore(&self) -> bool {
        if self.is_whole() {
            return true;
        }
        let made = self.has_room().and_then(|room| if room { self.fill() } else { Ok(()) });
        if let Err(error) = made {
            tracing::warn!(%error, "reserve not made");
            self.spend();
        }
        self.is_whole()
    }

    fn has_room(&self) -> io::Result<bool> {
        Ok(free_bytes(self.path.parent().unwrap_or(Path::new(".")))? >= RESERVE_BYTES + SPARE_BYTES)
    }

    fn fill(&self) -> io::Result<()> {
        let mut file = durable::options().create(true).truncate(true).open(&self.path)?;
        io::copy(&mut io::repeat(0).take(RESERVE_BYTES), &mut file)?;
        file.sync_all()
    }
}

/// The bytes that a user other than root may still write on the disk of `dir`.
pub(super) fn free_bytes(dir: &Path) -> io::Result<u64> {
    let disk = rustix::fs::statvfs(dir)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}
