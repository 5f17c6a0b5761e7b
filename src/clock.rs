//! The facts about time that this box knows by itself: a time before which it cannot be, and the order of events.
//!
//! A box without a battery starts in 1970 and stays there until it gets the time from the network. Such a clock is certainly
//! wrong, because it is before the release of this program, or before a time that a server has proven. The later of the two is
//! the floor. Certificates are judged at the floor while the clock is below it, never by a time from plain HTTP. Its rules
//! stand in [`floor`]; SECURITY.md, "The clock" says what they are good for.
//!
//! It does not set the clock.

mod floor;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::durable;
pub(crate) use floor::FloorDoubt;
use floor::RELEASED;
pub use floor::{Floor, ProvenTime};

/// The file in the state directory with the last time that was proven, and the one before.
const FILE: &str = "last-seen";

/// See proc_sys_kernel(5).
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// See proc_uptime(5).
const UPTIME: &str = "/proc/uptime";

/// Whether a time that was stored can be right at all, which one by a clock at 1970 is not. Unlike the floor, this never
/// changes for a time that was stored before.
pub fn is_possible(time: Timestamp) -> bool {
    time >= RELEASED
}

/// The file that remembers the floor.
#[derive(Clone, Debug)]
pub struct Clock {
    path: PathBuf,
}

impl Clock {
    /// The clock of a state directory.
    pub fn open(state_dir: &Path) -> Self {
        Self { path: state_dir.join(FILE) }
    }

    /// The floor and the time to fall back to. A file that cannot be read counts as none.
    pub fn proofs(&self) -> Floor {
        fs::read_to_string(&self.path).map_or(Floor::UNKNOWN, |text| Floor::of_text(&text, Timestamp::now()))
    }

    /// The time before which it cannot be.
    pub fn floor(&self) -> Timestamp {
        self.proofs().time()
    }

    /// Stores a time that a server has proven, if a day has passed since the last one, or if it contradicts that one.
    ///
    /// # Errors
    /// The file cannot be written; the stored times stay as they were.
    pub fn prove(&self, told: ProvenTime) -> io::Result<()> {
        let before = self.proofs();
        let Some(after) = before.after(told) else {
            return Ok(());
        };
        if after.time() < before.time() {
            tracing::warn!(before = %before.time(), after = %after.time(), "the earliest time that it can be was wrong");
        }
        durable::write(&self.path, after.text().as_bytes())
    }

    /// Falls back to the proof before, because this floor turned out wrong. Another one that has been proven since stays.
    ///
    /// # Errors
    /// As [`Clock::prove`].
    pub fn give_up(&self, wrong: &Floor) -> io::Result<()> {
        let before = self.proofs();
        let after = before.given_up();
        if before != *wrong || before == after { Ok(()) } else { durable::write(&self.path, after.text().as_bytes()) }
    }
}

/// A moment by the one clock that every box has: the time since a boot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// The kernel's name of the boot; empty without /proc.
    pub boot: String,
    /// The milliseconds between the boot and this moment.
    pub monotonic_ms: u64,
}

impl Moment {
    /// The present moment.
    pub fn now() -> Self {
        let boot = fs::read_to_string(BOOT_ID).unwrap_or_default().trim().to_owned();
        let uptime = fs::read_to_string(UPTIME).unwrap_or_default();
        Self { boot, monotonic_ms: uptime_ms(&uptime).unwrap_or(0) }
    }

    /// The time at which this boot began, given that it is `wall` at this moment: the offset between the two clocks.
    pub fn boot_began(&self, wall: Timestamp) -> Option<Timestamp> {
        wall.checked_sub(self.since_boot()?).ok()
    }

    /// The time of this moment, given the time at which its boot began.
    pub fn wall(&self, boot_began: Timestamp) -> Option<Timestamp> {
        boot_began.checked_add(self.since_boot()?).ok()
    }

    fn since_boot(&self) -> Option<SignedDuration> {
        i64::try_from(self.monotonic_ms).ok().map(SignedDuration::from_millis)
    }
}

/// Stamps events with a number, the boot and the time since the boot, so that they have an order whatever the clock says.
#[derive(Debug)]
pub struct Sequence {
    began: Moment,
    started: Instant,
    next: AtomicU64,
}

impl Sequence {
    /// Begins a sequence at number 1.
    pub fn begin() -> Self {
        Self::begin_at(Moment::now())
    }

    /// The same, where it is known which moment this is.
    pub(crate) fn begin_at(began: Moment) -> Self {
        Self { began, started: Instant::now(), next: AtomicU64::new(1) }
    }

    /// Adds `seq`, which counts since the start of the agent, `boot` and `monotonic_ms`, which counts since the boot.
    pub fn stamp(&self, event: &mut Value) {
        let elapsed = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        event["seq"] = json!(self.next.fetch_add(1, Ordering::Relaxed));
        event["boot"] = json!(self.began.boot);
        event["monotonic_ms"] = json!(self.began.monotonic_ms.saturating_add(elapsed));
    }
}

/// Reads the uptime, which stands first in the text, in seconds with two decimals.
fn uptime_ms(text: &str) -> Option<u64> {
    let (seconds, hundredths) = text.split_whitespace().next()?.split_once('.')?;
    let seconds: u64 = seconds.parse().ok()?;
    let hundredths: u64 = hundredths.parse().ok()?;
    seconds.checked_mul(1000)?.checked_add(hundredths.checked_mul(10)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn later(hours: i64) -> Timestamp {
        RELEASED.checked_add(SignedDuration::from_hours(hours)).unwrap()
    }

    fn told(hours: i64) -> ProvenTime {
        ProvenTime { server: later(hours), wall: later(hours) }
    }

    #[test]
    fn the_floor_is_the_last_time_that_was_proven_and_never_before_the_release() {
        let dir = tempfile::tempdir().unwrap();
        let clock = Clock::open(dir.path());
        assert_eq!(clock.floor(), RELEASED);
        clock.prove(ProvenTime { server: Timestamp::UNIX_EPOCH, wall: later(1) }).unwrap();
        assert_eq!(clock.floor(), RELEASED, "1970 proves nothing");
        for (hour, expected) in [(1, 1), (24, 1), (25, 25)] {
            clock.prove(told(hour)).unwrap();
            assert_eq!(Clock::open(dir.path()).floor(), later(expected), "hour {hour}");
        }
        let wrong = clock.proofs();
        for _ in 0..2 {
            clock.give_up(&wrong).unwrap();
            assert_eq!(clock.floor(), later(1), "the proof before, and never below");
        }
        clock.prove(told(50)).unwrap();
        clock.give_up(&wrong).unwrap();
        assert_eq!(clock.floor(), later(50), "another one has been proven since");
    }

    #[test]
    fn a_time_stays_possible_when_the_floor_rises() {
        assert!(!is_possible(Timestamp::UNIX_EPOCH));
        assert!(is_possible(RELEASED) && is_possible(later(1)));
    }

    #[test]
    fn a_moment_has_its_time_from_the_beginning_of_its_boot() {
        let moment = |monotonic_ms| Moment { boot: "this".to_owned(), monotonic_ms };
        let began = moment(90_000).boot_began(later(1)).unwrap();
        assert_eq!(moment(90_000).wall(began), Some(later(1)));
        assert_eq!(moment(30_000).wall(began), later(1).checked_sub(SignedDuration::from_mins(1)).ok());
        assert_eq!(moment(u64::MAX).wall(began), None, "beyond all times");
    }

    #[test]
    fn events_are_ordered_without_a_clock() {
        let sequence = Sequence::begin();
        let stamped = || {
            let mut event = json!({});
            sequence.stamp(&mut event);
            event
        };
        let (first, second) = (stamped(), stamped());
        assert_eq!((&first["seq"], &second["seq"]), (&json!(1), &json!(2)));
        assert_eq!(first["boot"], second["boot"]);
        assert!(first["monotonic_ms"].as_u64() <= second["monotonic_ms"].as_u64());
        assert_eq!(uptime_ms("4123.07 8001.00\n"), Some(4_123_070));
        assert_eq!(uptime_ms("soon"), None);
    }
}
