//! The real program with a clock that steps and a disk that fails a sync: `preload.c` beside this file says how.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use jiff::SignedDuration;
use tempfile::TempDir;

use super::platter::{Dice, PAGE};
use super::{program, skipped};

/// The library.
const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/support/preload.c");

/// The numbers in the file that the library maps.
const WORDS: u64 = 7;
const LOADED: u64 = 0;
const CLOCK: u64 = 1;
const FAIL: u64 = 2;
const SURVIVE: u64 = 3;
const SYNCS: u64 = 4;
const FAILED: u64 = 5;
const SEED: u64 = 6;

/// The library, and the program that runs under it. One is for one program at a time.
pub struct Preload {
    /// `None` in the process that runs under it.
    dir: Option<TempDir>,
    platter: PathBuf,
    words: File,
}

impl Preload {
    /// Compiles the library; `None`, and the test is noted as skipped, without a C compiler for this program.
    pub fn compile() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let library = dir.path().join("preload.so");
        let mut cc = Command::new("cc");
        cc.args(["-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o"]).arg(&library).args([SOURCE, "-ldl"]);
        match cc.status() {
            Err(_) => {
                skipped("no C compiler: it preloads a small library");
                return None;
            }
            Ok(status) => assert!(status.success(), "{cc:?}: {status}"),
        }
        let platter = dir.path().join("platter");
        fs::create_dir(&platter).unwrap();
        let words = File::options().create(true).truncate(true).read(true).write(true).open(dir.path().join("words"));
        let made = Self { dir: Some(dir), platter, words: words.unwrap() };
        (0..WORDS).for_each(|word| made.set(word, 0));
        made.write_script(None);
        assert!(Command::new(made.program()).arg("--version").output().unwrap().status.success());
        if made.get(LOADED) != 1 {
            skipped("the C compiler makes no libraries for this program: it preloads one");
            return None;
        }
        Some(made)
    }

    /// The library under which this process runs, if it does.
    pub fn of_this_process() -> Option<Self> {
        let words = std::env::var_os("PRINT_RELEASE_FAULTS")?;
        let platter = std::env::var_os("PRINT_RELEASE_PLATTER")?.into();
        let words = File::options().read(true).write(true).open(words).unwrap();
        Some(Self { dir: None, platter, words })
    }

    /// Puts a program under the library, with a disk for its temporary files.
    pub fn command(&self, program: &Path) -> Command {
        let (dir, mut command) = (self.dir(), Command::new(program));
        let disk = dir.join("disk");
        fs::create_dir_all(&disk).unwrap();
        command.env("LD_PRELOAD", dir.join("preload.so")).env("PRINT_RELEASE_FAULTS", dir.join("words"));
        command.env("PRINT_RELEASE_PLATTER", &self.platter).env("PRINT_RELEASE_DISK", &disk).env("TMPDIR", &disk);
        command
    }

    fn dir(&self) -> &Path {
        self.dir.as_ref().expect("the process that runs under it starts none").path()
    }

    /// Starts the real program under the library.
    pub fn program(&self) -> PathBuf {
        self.dir().join("program")
    }

    /// Follows the files below a directory from the next start of the program on.
    pub fn follow(&self, disk: &Path) {
        self.write_script(Some(disk));
    }

    fn write_script(&self, disk: Option<&Path>) {
        let dir = self.dir().display();
        let disk = disk.map(|disk| format!("PRINT_RELEASE_DISK='{}' ", disk.display())).unwrap_or_default();
        let text = format!(
            "#!/bin/sh\nexec env PRINT_RELEASE_FAULTS='{dir}/words' PRINT_RELEASE_PLATTER='{dir}/platter' {disk}\
             LD_PRELOAD='{dir}/preload.so' '{}' \"$@\"\n",
            program().display()
        );
        fs::write(self.program(), text).unwrap();
        fs::set_permissions(self.program(), fs::Permissions::from_mode(0o700)).unwrap();
    }

    /// Sets the program's wall clock so far ahead of this machine's, at once.
    pub fn step_clock(&self, ahead: SignedDuration) {
        self.set(CLOCK, i64::try_from(ahead.as_nanos()).unwrap());
    }

    /// Lets one sync fail: the next one if `number` is 1. So many percent of its pages reach the platter all the same.
    pub fn fail_sync(&self, number: u64, percent: u64, dice: &mut Dice) {
        self.set(SURVIVE, i64::try_from(percent).unwrap());
        self.set(SEED, i64::try_from(dice.roll(1 << 32)).unwrap());
        self.set(FAIL, i64::try_from(number).unwrap());
    }

    /// The number of syncs so far, and of those that failed.
    pub fn syncs(&self) -> (i64, i64) {
        (self.get(SYNCS), self.get(FAILED))
    }

    /// Makes of a directory whose program has ended what a power cut would have left: all that was synced, and of the pages
    /// that were written since, so many percent.
    pub fn power_cut(&self, disk: &Path, percent: u64, dice: &mut Dice) {
        self.set(FAIL, 0);
        self.leave(disk, percent, dice);
        // An inode may get the number of an earlier one.
        for file in fs::read_dir(&self.platter).unwrap() {
            fs::remove_file(file.unwrap().path()).unwrap();
        }
    }

    /// The same in another directory, while the program that writes here goes on. No write may be under way.
    pub fn power_cut_copy(&self, from: &Path, to: &Path, percent: u64, dice: &mut Dice) {
        for path in fs::read_dir(from).unwrap().map(|entry| entry.unwrap().path()) {
            let (found, copy) = (fs::symlink_metadata(&path).unwrap(), to.join(path.file_name().unwrap()));
            if found.is_dir() {
                fs::create_dir(&copy).unwrap();
                self.power_cut_copy(&path, &copy, percent, dice);
            } else if found.is_file() {
                let left = self.left(&path, found.ino(), percent, dice);
                write_synced(&copy, &left.unwrap_or_else(|| fs::read(&path).unwrap()));
            }
        }
    }

    /// No sync fails from now on.
    pub fn heal(&self) {
        self.set(FAIL, 0);
    }

    fn leave(&self, dir: &Path, percent: u64, dice: &mut Dice) {
        let paths: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
        for path in paths {
            let found = fs::symlink_metadata(&path).unwrap();
            if found.is_dir() {
                self.leave(&path, percent, dice);
            } else if found.is_file()
                && let Some(bytes) = self.left(&path, found.ino(), percent, dice)
            {
                // It may have no second inode until the old one is gone, as the library knows a file by it.
                fs::write(&path, bytes).unwrap();
            }
        }
    }

    /// The content that is left of a file; `None` for one that the program has not opened.
    fn left(&self, path: &Path, inode: u64, percent: u64, dice: &mut Dice) -> Option<Vec<u8>> {
        let mut left = fs::read(self.platter.join(inode.to_string())).ok()?;
        let (dirty, living) = (fs::read(self.platter.join(format!("{inode}.dirty"))).unwrap(), fs::read(path).unwrap());
        for (page, bytes) in living.chunks(PAGE).enumerate() {
            if dirty[page] != 0 && dice.roll(100) < percent {
                let at = page * PAGE;
                left.resize(left.len().max(at + bytes.len()), 0);
                left[at..at + bytes.len()].copy_from_slice(bytes);
            }
        }
        Some(left)
    }

    fn get(&self, word: u64) -> i64 {
        let mut bytes = [0; 8];
        self.words.read_exact_at(&mut bytes, 8 * word).unwrap();
        i64::from_ne_bytes(bytes)
    }

    fn set(&self, word: u64, value: i64) {
        self.words.write_all_at(&value.to_ne_bytes(), 8 * word).unwrap();
    }
}

/// Writes a file that is on the platter from its beginning.
pub fn write_synced(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).unwrap();
    File::open(path).unwrap().sync_all().unwrap();
}

/// Copies a directory; the copy is on the platter.
pub fn copy_synced(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for path in fs::read_dir(from).unwrap().map(|entry| entry.unwrap().path()) {
        let copy = to.join(path.file_name().unwrap());
        if path.is_dir() { copy_synced(&path, &copy) } else { write_synced(&copy, &fs::read(&path).unwrap()) }
    }
}

mod tests {
    use jiff::Timestamp;
    use print_release_agent::demo::scene::Scene;

    use super::*;
    use crate::support::{dice, limit, log};

    /// Runs a program under the library, and says whether it ended well.
    fn run(preload: &Preload, disk: &Path, command: &str) -> (bool, String) {
        let dir = preload.dir();
        let mut shell = Command::new("sh");
        shell.args(["-c", command]).current_dir(disk).env("LD_PRELOAD", dir.join("preload.so"));
        shell.env("PRINT_RELEASE_FAULTS", dir.join("words")).env("PRINT_RELEASE_PLATTER", dir.join("platter"));
        let output = shell.env("PRINT_RELEASE_DISK", disk).output().unwrap();
        (output.status.success(), String::from_utf8(output.stdout).unwrap())
    }

    #[test]
    fn the_preloaded_disk_forgets_the_pages_of_a_failed_sync_as_linux_does() {
        let _limit = limit();
        let Some(preload) = Preload::compile() else { return };
        let (dir, mut dice) = (tempfile::tempdir().unwrap(), dice());
        let disk = dir.path().canonicalize().unwrap();
        let write = |byte: char, page: u64, sync: &str| {
            let filled = format!("head -c 4096 /dev/zero | tr '\\0' {byte}");
            run(&preload, &disk, &format!("{filled} | dd of=file bs=4096 seek={page} conv=notrunc{sync}")).0
        };
        assert!(write('a', 0, ",fsync"));
        preload.fail_sync(1, 0, &mut dice);
        assert!(!write('b', 0, ",fsync"), "it has not failed");
        assert!(write('c', 1, ",fdatasync"), "only one sync fails");
        assert!(write('d', 2, ""));
        assert_eq!(preload.syncs(), (3, 1));
        let firsts = || -> Vec<u8> { fs::read(disk.join("file")).unwrap().chunks(PAGE).map(|page| page[0]).collect() };
        assert_eq!(firsts(), b"bcd");
        preload.power_cut(&disk, 0, &mut dice);
        assert_eq!(firsts(), b"ac");
    }

    #[tokio::test]
    async fn the_program_has_the_preloaded_clock_and_disk() {
        let _limit = limit();
        let Some(preload) = Preload::compile() else { return };
        let scene = Scene::set(&preload.program()).await.unwrap();
        preload.follow(&scene.dir().join("state"));
        let agent = scene.start().await.unwrap();
        scene.tap(&agent, "linus").await.unwrap();
        scene.settled(&agent).await.unwrap();
        assert!(preload.syncs().0 > 0, "its disk is another one");
        for days in [-1, 40, 3650] {
            preload.step_clock(SignedDuration::from_hours(24 * days));
            let status = scene.status(&agent, |_| true).await.unwrap();
            let shown: Timestamp = status["time"].as_str().unwrap().parse().unwrap();
            let passed = shown.duration_since(Timestamp::now()) - SignedDuration::from_hours(24 * days);
            assert!(passed.as_secs().abs() < 60, "{days} days: {shown}");
        }
        agent.kill().await.unwrap();
        preload.power_cut(&scene.dir().join("state"), 0, &mut dice());
        let agent = scene.start().await.unwrap();
        assert_eq!(scene.status(&agent, |_| true).await.unwrap()["journal"]["set_aside"], 0, "{}", log(&scene));
    }
}
