//! After any operations in any order, with restarts and power cuts, the journal holds the same as a simple model.

mod model;
#[cfg(feature = "planted")]
mod planted;

use std::cell::Cell;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use model::{Fault, Model, choose};
use print_release_agent::domain::{Outcome, Reason};
use print_release_agent::journal::{Journal, JournalError};
use proptest::prelude::*;
use proptest::test_runner::{FailurePersistence, FileFailurePersistence, RngSeed, TestRunner};
use tempfile::TempDir;

use crate::support::journal::{close, open, record, release, runtime};
use crate::support::platter::{Dice, PAGE, cut, read, write};
use crate::support::preload::{Preload, copy_synced, write_synced};
use crate::support::{dice, limit_of};

/// One operation. A number chooses one of the entries that are there.
#[derive(Clone, Debug)]
pub enum JournalStep {
    Store(u8),
    End {
        which: u8,
        outcome: u8,
    },
    Mark(bool),
    Acknowledge,
    Bury,
    Event,
    Forget(u8),
    Retry(u8),
    GiveUp(u8),
    /// The process ends in order and starts again.
    Restart,
    /// The process is killed and starts again.
    Kill,
    /// The power goes when everything is answered. Of the pages that no sync has brought to the platter, some are there.
    PowerCut(u32),
    /// One of the next syncs fails. Some of its pages reach the platter, and no later sync writes the others.
    FailSync(u8, u32),
    /// The process ends in order, and a bit flips or a page is zeroed in the database.
    Damage(u32),
    /// The process ends in order, and the database becomes that of before one more operation.
    Older(Box<JournalStep>),
    /// The power goes during one more operation, whose write is there, or not, or in part.
    Cut(u32, Box<JournalStep>),
}

impl JournalStep {
    fn is_a_write(&self) -> bool {
        !matches!(
            self,
            Self::Restart
                | Self::Kill
                | Self::PowerCut(_)
                | Self::FailSync(..)
                | Self::Damage(_)
                | Self::Older(_)
                | Self::Cut(..)
        )
    }
}

fn steps() -> impl Strategy<Value = Vec<JournalStep>> {
    let in_flight = (any::<u32>(), a_write()).prop_map(|(seed, step)| JournalStep::Cut(seed, Box::new(step)));
    let older = a_write().prop_map(|step| JournalStep::Older(Box::new(step)));
    let step = prop_oneof![
        24 => a_write(),
        1 => Just(JournalStep::Restart),
        1 => Just(JournalStep::Kill),
        3 => in_flight,
        2 => any::<u32>().prop_map(JournalStep::PowerCut),
        2 => (1..5_u8, any::<u32>()).prop_map(|(number, seed)| JournalStep::FailSync(number, seed)),
        1 => any::<u32>().prop_map(JournalStep::Damage),
        1 => older,
    ];
    proptest::collection::vec(step, 1..40)
}

fn a_write() -> impl Strategy<Value = JournalStep> {
    prop_oneof![
        4 => (1..6_u8).prop_map(JournalStep::Store),
        4 => (any::<u8>(), 0..4_u8).prop_map(|(which, outcome)| JournalStep::End { which, outcome }),
        1 => any::<bool>().prop_map(JournalStep::Mark),
        2 => Just(JournalStep::Acknowledge),
        2 => Just(JournalStep::Bury),
        1 => Just(JournalStep::Event),
        1 => any::<u8>().prop_map(JournalStep::Forget),
        1 => any::<u8>().prop_map(JournalStep::Retry),
        1 => any::<u8>().prop_map(JournalStep::GiveUp),
    ]
}

struct Run {
    dir: TempDir,
    journal: Journal,
    model: Model,
    next: u64,
    /// The library under which this process runs: it knows what is on the platter. Without it a sync is believed.
    disk: Option<Preload>,
    fault: Fault,
    in_doubt: bool,
}

impl Run {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let disk = Preload::of_this_process();
        Self {
            journal: open(dir.path()),
            dir,
            model: Model::default(),
            next: 0,
            disk,
            fault: Fault::None,
            in_doubt: false,
        }
    }

    fn reopen(&mut self, dir: TempDir) {
        let old = std::mem::replace(&mut self.dir, dir);
        // The old directory goes with its journal; the new one is opened beside it.
        let journal = open(self.dir.path());
        close(std::mem::replace(&mut self.journal, journal), old.path());
    }

    /// Ends the journal in order, lets something happen to its directory, and opens it.
    fn restart(&mut self, meanwhile: impl FnOnce(&Path)) {
        // Another journal stands in its place, because a journal ends when it is dropped.
        let other = tempfile::tempdir().unwrap();
        close(std::mem::replace(&mut self.journal, open(other.path())), self.dir.path());
        meanwhile(self.dir.path());
        close(std::mem::replace(&mut self.journal, open(self.dir.path())), other.path());
    }

    /// The directory as it is on the platter, with so many percent of the pages that were not synced.
    fn platter(&self, percent: u64, dice: &mut Dice) -> TempDir {
        let image = tempfile::tempdir().unwrap();
        match &self.disk {
            Some(disk) => disk.power_cut_copy(self.dir.path(), image.path(), percent, dice),
            None => write(image.path(), &read(&self.dir.path().join("db"))),
        }
        image
    }

    /// Does a step and compares. A damage that was told is mended, as a person would.
    async fn do_and_check(&mut self, step: &JournalStep) {
        let before = self.model.clone();
        let done = self.step(step).await;
        let counts = *self.journal.counts().borrow();
        let told = counts.set_aside > 0 || counts.unreadable > 0 || counts.lost > 0;
        let found = Model::of(&self.journal).await;
        match done {
            Ok(()) => self.model.check(&found, self.fault, told, step),
            Err(error) => {
                assert_eq!(self.fault, Fault::Sync, "{error} after {step:?}");
                let now = found.numbers();
                let gone = before.numbers().keys().filter(|number| !now.contains_key(number)).count();
                assert!(gone <= 1, "{gone} gone after {error} at {step:?}");
            }
        }
        assert!(!told || self.fault != Fault::None, "taken for damaged after {step:?}");
        self.model = found;
        if told {
            for folder in std::fs::read_dir(self.dir.path()).unwrap().map(|entry| entry.unwrap().path()) {
                if folder.file_name().unwrap().to_string_lossy().starts_with("db.damaged-") {
                    std::fs::remove_dir_all(folder).unwrap();
                }
            }
        }
        // Releases that were carried over make records in doubt.
        self.in_doubt |= told || self.fault == Fault::Sync;
        self.fault = if self.in_doubt { Fault::Sync } else { Fault::None };
    }

    async fn step(&mut self, step: &JournalStep) -> Result<(), JournalError> {
        let copies = !matches!(step, JournalStep::FailSync(..)) && !step.is_a_write();
        if copies && let Some(disk) = &self.disk {
            disk.heal();
        }
        match step.clone() {
            JournalStep::Restart => self.restart(|_| {}),
            JournalStep::Kill => {
                let image = tempfile::tempdir().unwrap();
                copy_synced(self.dir.path(), image.path());
                self.reopen(image);
            }
            JournalStep::PowerCut(seed) => {
                let mut dice = Dice::new(seed);
                let percent = [0, 30, 100][dice.roll(3) as usize];
                let image = self.platter(percent, &mut dice);
                self.reopen(image);
            }
            JournalStep::FailSync(number, seed) => {
                let mut dice = Dice::new(seed);
                if let Some(disk) = &self.disk {
                    disk.fail_sync(number.into(), [0, 50][dice.roll(2) as usize], &mut dice);
                    self.fault = Fault::Sync;
                }
            }
            JournalStep::Damage(seed) => {
                self.fault = Fault::Damage;
                self.restart(|dir| damage(&dir.join("db/db"), &mut Dice::new(seed)));
            }
            JournalStep::Older(doing) => {
                let older = tempfile::tempdir().unwrap();
                self.restart(|dir| copy_synced(dir, older.path()));
                Box::pin(self.step(&doing)).await?;
                self.fault = Fault::Damage;
                self.restart(|dir| {
                    std::fs::remove_dir_all(dir.join("db")).unwrap();
                    copy_synced(&older.path().join("db"), &dir.join("db"));
                });
            }
            JournalStep::Cut(seed, doing) => {
                let mut dice = Dice::new(seed);
                let (synced, before) = (read(&self.platter(0, &mut dice).path().join("db")), self.model.clone());
                Box::pin(self.step(&doing)).await?;
                let image = tempfile::tempdir().unwrap();
                write(image.path(), &cut(&synced, &read(&self.dir.path().join("db")), &mut dice));
                self.reopen(image);
                let found = Model::of(&self.journal).await;
                if found == before {
                    self.model = before;
                }
            }
            write => return self.write(&write).await,
        }
        Ok(())
    }

    async fn write(&mut self, step: &JournalStep) -> Result<(), JournalError> {
        let (journal, model) = (&self.journal, &mut self.model);
        match step.clone() {
            JournalStep::Store(many) => {
                let numbers: Vec<u64> = (self.next..self.next + u64::from(many)).collect();
                self.next += u64::from(many);
                let ids = journal.store_releases(numbers.iter().copied().map(release).collect()).await?;
                model.open.extend(ids.into_iter().zip(numbers));
            }
            JournalStep::End { which, outcome } => {
                let Some(id) = choose(&model.open, which) else { return Ok(()) };
                let number = model.open.remove(&id).unwrap();
                let (outcome, made) = match outcome {
                    0 => (Outcome::Failed(Reason::NotReady), None),
                    1 => (Outcome::Unknown(Reason::NotListed), None),
                    2 => (Outcome::Accepted, None),
                    _ => (Outcome::Accepted, Some(record(number))),
                };
                if matches!(outcome, Outcome::Unknown(_)) {
                    model.unknown.insert(id, number);
                }
                let recorded = made.is_some();
                journal.end_release(id, outcome, made).await?;
                if recorded {
                    let newest = journal.list(0).await.unwrap().records.pop().unwrap().id;
                    assert!(model.records.keys().all(|id| *id < newest), "not the last: {newest}");
                    model.records.insert(newest, (number, false));
                }
            }
            JournalStep::Mark(yes) => {
                let oldest = journal.oldest_record().await.unwrap();
                assert_eq!(oldest.as_ref().map(|stored| stored.id), model.records.keys().next().copied());
                let Some(stored) = oldest else { return Ok(()) };
                journal.mark_record(stored.id, yes.then_some(stored.record.time)).await?;
                model.records.get_mut(&stored.id).unwrap().1 = yes;
            }
            JournalStep::Acknowledge => {
                let Some((id, (number, _))) = model.records.pop_first() else { return Ok(()) };
                journal.acknowledge_record(id).await?;
                model.acknowledged.push(number);
            }
            JournalStep::Bury => {
                let Some((id, (number, _))) = model.records.pop_first() else { return Ok(()) };
                journal.bury_record(id, "no".to_owned()).await?;
                model.dead.insert(id, number);
            }
            JournalStep::Event => {
                let number = self.next;
                let id = journal.store_event("lobby".to_owned(), number.to_string()).await?;
                model.events.insert(id, number);
            }
            JournalStep::Forget(which) => {
                let Some(id) = choose(&model.events, which) else { return Ok(()) };
                journal.forget_event(id).await?;
                model.events.remove(&id);
            }
            JournalStep::Retry(which) => {
                let Some(id) = choose(&model.dead, which) else { return Ok(()) };
                let next = journal.retry(id).await?;
                let number = model.dead.remove(&id).unwrap();
                model.records.insert(next, (number, false));
            }
            JournalStep::GiveUp(which) => {
                let Some(id) = choose(&model.unknown, which) else { return Ok(()) };
                journal.give_up(id).await?;
                model.unknown.remove(&id);
            }
            other => unreachable!("{other:?} is no write"),
        }
        Ok(())
    }
}

/// Flips a bit or zeroes a page of a file.
fn damage(path: &Path, dice: &mut Dice) {
    let mut bytes = std::fs::read(path).unwrap();
    let at = dice.roll(bytes.len() as u64) as usize;
    match dice.roll(3) {
        0 => {
            let page = at / PAGE * PAGE;
            let end = (page + PAGE).min(bytes.len());
            bytes[page..end].fill(0);
        }
        _ => bytes[at] ^= 1 << dice.roll(8),
    }
    write_synced(path, &bytes);
}

/// Tries random steps until one fails.
fn run_steps() {
    let config = ProptestConfig {
        cases: 48,
        rng_seed: RngSeed::Fixed(dice().roll(1 << 32)),
        failure_persistence: (!is_planted()).then(|| {
            Box::new(FileFailurePersistence::Direct("tests/it/journal_model.regressions"))
                as Box<dyn FailurePersistence>
        }),
        ..ProptestConfig::default()
    };
    let tried = Cell::new(0);
    let result = TestRunner::new(config).run(&steps(), |steps| {
        tried.set(tried.get() + 1);
        // The last line tells of a journal that waits for ever.
        println!("{steps:?}");
        let runtime = runtime();
        let mut run = Run::new();
        for step in &steps {
            runtime.block_on(run.do_and_check(step));
        }
        assert_eq!(runtime.block_on(run.journal.verify()).unwrap().problems, 0);
        if let Some(disk) = &run.disk {
            disk.heal();
        }
        close(run.journal, run.dir.path());
        Ok(())
    });
    println!("sequences tried: {}", tried.get());
    result.unwrap();
}

/// Several times as long as it takes beside others; a journal that waits for ever is told by this.
const LIMIT: Duration = Duration::from_secs(150);

/// The test that runs in a process of its own under the preloaded library.
const MODEL: &str = "journal_model::the_journal_holds_what_the_model_holds";

#[test]
fn the_journal_holds_what_the_model_holds() {
    let _limit = limit_of(if Preload::of_this_process().is_some() { LIMIT } else { 2 * LIMIT });
    if Preload::of_this_process().is_some() {
        return run_steps();
    }
    match Preload::compile() {
        Some(disk) => {
            let output = under(&disk).output().unwrap();
            let told = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(
                output.status.success() && told.contains("1 passed"),
                "{told}{}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
        // Without failed syncs.
        None => run_steps(),
    }
}

/// This test in a process of its own, under the library.
fn under(disk: &Preload) -> Command {
    let mut command = disk.command(&std::env::current_exe().unwrap());
    command.args(["--exact", MODEL, "--nocapture"]);
    command
}

/// The variable with the names of planted faults (src/planted.rs).
const PLANTED: &str = "PRINT_RELEASE_PLANTED";

fn is_planted() -> bool {
    std::env::var_os(PLANTED).is_some()
}
