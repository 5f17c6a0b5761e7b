//! A small file system of its own, in an image, mounted for the test. Only root can have one.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// The most copies that are made until two are equal.
const COPIES: u32 = 200;

/// The file system is unmounted when this is dropped.
pub struct Disk {
    dir: TempDir,
    mounted: PathBuf,
}

impl Disk {
    /// An empty ext4 of this size; `None`, and the test is noted as skipped, for anybody but root and where no image can be mounted.
    pub fn new(mib: u64) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            super::skipped("not root: it needs a small disk of its own");
            return None;
        }
        if !Path::new("/dev/loop-control").exists() {
            super::skipped("no loop device: it needs a small disk of its own");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let image = dir.path().join("image");
        File::create(&image).unwrap().set_len(mib << 20).unwrap();
        // No blocks are reserved for root, because an agent that is not root would not see them either.
        run(Command::new("mkfs.ext4").args(["-q", "-m", "0"]).arg(&image));
        Some(Self::mount(dir))
    }

    fn mount(dir: TempDir) -> Self {
        let mounted = dir.path().join("mounted");
        fs::create_dir(&mounted).unwrap();
        run(Command::new("mount").args(["-o", "loop"]).arg(dir.path().join("image")).arg(&mounted));
        Self { dir, mounted }
    }

    pub fn path(&self) -> &Path {
        &self.mounted
    }

    /// The disk as it would be if the power went now, without the writes that the kernel still holds back.
    ///
    /// Copying takes a while, in which the disk may change; two equal copies in a row are one moment.
    pub fn copy(&self) -> Self {
        let read = || fs::read(self.dir.path().join("image")).unwrap();
        let mut image = read();
        let settled = (0..COPIES).any(|_| {
            let before = std::mem::replace(&mut image, read());
            before == image
        });
        assert!(settled, "the disk does not stand still for two copies");
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("image"), image).unwrap();
        Self::mount(dir)
    }

    /// Leaves at most so many bytes free, until the returned file is removed.
    pub fn fill(&self, leave: u64) -> PathBuf {
        let path = self.mounted.join("filler");
        let mut file = File::options().append(true).create(true).open(&path).unwrap();
        // Writes ever smaller pieces until none fits.
        for size in [1 << 20, 1 << 16, 1 << 12, 1 << 10, 1] {
            while self.free() >= leave + size {
                if std::io::Write::write_all(&mut file, &vec![0x55; usize::try_from(size).unwrap()]).is_err() {
                    break;
                }
                file.sync_all().unwrap();
            }
        }
        path
    }

    pub fn free(&self) -> u64 {
        let disk = rustix::fs::statvfs(&self.mounted).unwrap();
        disk.f_bavail * disk.f_frsize
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // A process that still has a file open there keeps the disk, but not its name.
        run(Command::new("umount").arg("-l").arg(&self.mounted));
    }
}

fn run(command: &mut Command) {
    let status = command.stdout(Stdio::null()).status().unwrap();
    assert!(status.success(), "{command:?}: {status}");
}
