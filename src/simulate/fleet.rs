//! Worlds side by side, each a process of its own behind the virtual clock.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ring::digest::{SHA256, digest};
use serde::Deserialize;

/// The virtual clock, which is compiled when the program starts.
const CLOCK: &str = include_str!("../../tests/simulate/clock.c");

/// A world that takes longer, in real seconds, hangs.
const REAL_LIMIT: &str = "300";

/// The parts of a process that starts worlds.
#[derive(Debug)]
pub(super) struct Fleet {
    program: PathBuf,
    scratch: tempfile::TempDir,
    next: AtomicU64,
    /// Worlds at a time.
    pub(super) abreast: usize,
}

/// A world to be lived.
#[derive(Clone, Debug)]
pub(super) struct WorldOrder {
    pub(super) seed: u64,
    pub(super) days: u64,
    pub(super) boxes: u64,
    pub(super) users: u64,
    pub(super) without: Vec<String>,
    pub(super) bug: Option<String>,
    pub(super) tell: bool,
}

/// The summary that a world printed.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct LivedWorld {
    #[serde(default)]
    pub(super) hash: String,
    #[serde(default)]
    pub(super) hours: u64,
    #[serde(default)]
    pub(super) boxes: u64,
    #[serde(default)]
    pub(super) taps: u64,
    #[serde(default)]
    pub(super) releases: u64,
    #[serde(default)]
    pub(super) closings: u64,
    #[serde(default)]
    pub(super) faults: BTreeMap<String, u64>,
    #[serde(default)]
    pub(super) defects: Vec<String>,
    #[serde(default)]
    pub(super) story: Vec<String>,
}

/// Many worlds together.
#[derive(Debug, Default)]
pub(super) struct LivedYears {
    worlds: BTreeMap<u64, LivedWorld>,
    took: Duration,
    abreast: usize,
    pub(super) failed: Option<(WorldOrder, LivedWorld)>,
}

impl WorldOrder {
    pub(super) fn new(seed: u64, days: u64) -> Self {
        Self { seed, days, boxes: 3, users: 25, without: Vec::new(), bug: None, tell: false }
    }
}

impl Fleet {
    pub(super) fn new() -> io::Result<Self> {
        let scratch = tempfile::tempdir()?;
        let (source, clock) = (scratch.path().join("clock.c"), scratch.path().join("clock.so"));
        std::fs::write(&source, CLOCK)?;
        let compiled =
            Command::new("cc").args(["-O2", "-shared", "-fPIC", "-o"]).args([&clock, &source]).arg("-ldl").status()?;
        if !compiled.success() {
            return Err(io::Error::other("cc cannot compile tests/simulate/clock.c"));
        }
        let abreast = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Self { program: std::env::current_exe()?, scratch, next: AtomicU64::new(0), abreast })
    }

    /// Lives through one world.
    pub(super) fn live(&self, order: &WorldOrder) -> LivedWorld {
        let place = self.scratch.path().join(self.next.fetch_add(1, Ordering::Relaxed).to_string());
        let lived = self.live_in(&place, order).unwrap_or_else(|error| broken(error.to_string()));
        drop(std::fs::remove_dir_all(place));
        lived
    }

    fn live_in(&self, place: &Path, order: &WorldOrder) -> io::Result<LivedWorld> {
        std::fs::create_dir(place)?;
        let clock = place.join("clock");
        std::fs::write(&clock, [0; 8])?;
        let mut command = Command::new("timeout");
        command.arg(REAL_LIMIT).arg("env").arg("-i");
        command.arg(format!("LD_PRELOAD={}", self.scratch.path().join("clock.so").display()));
        command.arg(format!("SIMULATE_CLOCK={}", clock.display())).arg(format!("SIMULATE_SEED={}", order.seed));
        command.args(order.bug.iter().map(|bug| format!("PRINT_RELEASE_PLANTED={bug}")));
        command.arg(&self.program).arg("--world").arg("--scratch").arg(place);
        for (name, number) in
            [("--seed", order.seed), ("--days", order.days), ("--boxes", order.boxes), ("--users", order.users)]
        {
            command.arg(name).arg(number.to_string());
        }
        command.arg("--without").arg(order.without.join(","));
        command.args(order.tell.then_some("--tell"));
        let output = command.output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        Ok(match serde_json::from_str(text.lines().next().unwrap_or_default()) {
            Ok(lived) => lived,
            Err(_) => {
                broken(format!("it ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim()))
            }
        })
    }

    /// Lives through worlds with one seed after the other until the boxes have lived so many hours, or a world has failed.
    pub(super) fn live_until(&self, first: &WorldOrder, hours: u64) -> LivedYears {
        let began = Instant::now();
        let (seed, lived) = (AtomicU64::new(first.seed), AtomicU64::new(0));
        let years = Mutex::new(LivedYears { abreast: self.abreast, ..LivedYears::default() });
        let one_after_the_other = || {
            while lived.load(Ordering::Relaxed) < hours {
                let order = WorldOrder { seed: seed.fetch_add(1, Ordering::Relaxed), ..first.clone() };
                // It is counted before it is lived, so that two processes do not both live the last.
                lived.fetch_add(order.days * 24 * order.boxes, Ordering::Relaxed);
                let world = self.live(&order);
                let mut years = years.lock().unwrap_or_else(PoisonError::into_inner);
                let earliest = years.failed.as_ref().is_none_or(|(failed, _)| failed.seed > order.seed);
                if !world.defects.is_empty() && earliest {
                    years.failed = Some((order.clone(), world.clone()));
                    lived.store(hours, Ordering::Relaxed);
                }
                years.worlds.insert(order.seed, world);
            }
        };
        std::thread::scope(|scope| {
            (0..self.abreast).for_each(|_| drop(scope.spawn(one_after_the_other)));
        });
        let mut years = years.into_inner().unwrap_or_else(PoisonError::into_inner);
        years.took = began.elapsed();
        years
    }
}

fn broken(why: String) -> LivedWorld {
    LivedWorld { defects: vec![why], ..LivedWorld::default() }
}

impl fmt::Display for LivedYears {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sum = |of: fn(&LivedWorld) -> u64| self.worlds.values().map(of).sum::<u64>();
        let hours = sum(|world| world.hours * world.boxes);
        let (taps, releases, closings) =
            (sum(|world| world.taps), sum(|world| world.releases), sum(|world| world.closings));
        let hashes: String = self.worlds.values().map(|world| world.hash.as_str()).collect();
        let hash: String =
            digest(&SHA256, hashes.as_bytes()).as_ref()[..16].iter().map(|byte| format!("{byte:02x}")).collect();
        let mut faults: BTreeMap<&str, u64> = BTreeMap::new();
        for (name, times) in self.worlds.values().flat_map(|world| &world.faults) {
            *faults.entry(name).or_default() += times;
        }
        writeln!(f, "{:<26} {:>10}", "fault", "times")?;
        faults.iter().try_for_each(|(name, times)| writeln!(f, "{name:<26} {times:>10}"))?;
        let seconds = self.took.as_secs_f64().max(0.001);
        let box_days = hours / 24;
        writeln!(
            f,
            "worlds {}, box-days {box_days}, taps {taps} ({} a box and day)",
            self.worlds.len(),
            taps / box_days.max(1)
        )?;
        writeln!(f, "releases {releases}, books closed {closings} times, hash {hash}")?;
        let a_night = hours as f64 / 24.0 / 365.0 / seconds * 36_000.0;
        write!(
            f,
            "took {seconds:.0} s with {} processes: {:.0} taps a second, {a_night:.0} box-years in a night of ten hours",
            self.abreast,
            taps as f64 / seconds
        )
    }
}
