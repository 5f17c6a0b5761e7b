//! The facts about time that this box knows by itself: a time before which it cannot be, and the order of events.
//!
//! A box without a battery starts in 1970 and stays there until it gets the time from the network. Such a clock is certainly
//! wrong, because it is before the release of this program, or before a time at which the box has already run. The later of
//! the two is the floor. Certificates are judged at the floor while the clock is below it, never by a time from plain HTTP.
//! Only a time at which the print server could be reached raises the floor, and by no more than twenty years beyond the
//! release, so that a clock which once ran ahead does not lock the box out.
//!
//! It does not set the clock.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::durable;

/// 2026-01-01, before this program was built. To be moved on with each release.
const RELEASED: Timestamp = Timestamp::constant(1_767_225_600, 0);

/// The longest time after its release at which a program is believed to run.
const CREDIBLE: SignedDuration = SignedDuration::from_hours(20 * 365 * 24);

/// The last time that was seen is written once a day and at the end, because each write wears the flash.
const WRITE_EVERY: SignedDuration = SignedDuration::from_hours(24);

/// The file in the state directory with the last time that was seen.
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

/// The floor, and the file that remembers it.
#[derive(Clone, Debug)]
pub struct Clock {
    path: PathBuf,
    floor: Timestamp,
    written: Option<Timestamp>,
}

impl Clock {
    /// Reads the last time that was seen. A file that cannot be read counts as none.
    pub fn open(state_dir: &Path) -> Self {
        let path = state_dir.join(FILE);
        let latest = RELEASED.checked_add(CREDIBLE).unwrap_or(Timestamp::MAX);
        let seen = fs::read_to_string(&path).ok().and_then(|text| text.trim().parse::<Timestamp>().ok());
        let seen = seen.filter(|seen| *seen <= latest);
        Self { path, floor: seen.map_or(RELEASED, |seen| seen.max(RELEASED)), written: seen }
    }

    /// The time before which it cannot be.
    pub fn floor(&self) -> Timestamp {
        self.floor
    }

    /// Stores that the server was reached at `now`, if a day has passed since the last write or this is the `last` chance.
    ///
    /// # Errors
    /// The file cannot be written; the stored time stays as it was.
    pub fn seen(&mut self, now: Timestamp, last: bool) -> io::Result<()> {
        let passed = self.written.is_none_or(|written| now.duration_since(written) >= WRITE_EVERY);
        if now <= self.floor || !(passed || last) {
            return Ok(());
        }
        durable::write(&self.path, format!("{now}\n").as_bytes())?;
        self.written = Some(now);
        Ok(())
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

    #[test]
    fn the_floor_is_the_last_time_that_was_seen_and_never_before_the_release() {
        let dir = tempfile::tempdir().unwrap();
        let mut clock = Clock::open(dir.path());
        assert_eq!(clock.floor(), RELEASED);
        clock.seen(Timestamp::UNIX_EPOCH, true).unwrap();
        assert_eq!(Clock::open(dir.path()).floor(), RELEASED, "1970 was not seen");
        clock.seen(later(1), false).unwrap();
        assert_eq!(Clock::open(dir.path()).floor(), later(1));
    }

    #[test]
    fn a_time_stays_possible_when_the_floor_rises() {
        assert!(!is_possible(Timestamp::UNIX_EPOCH));
        assert!(is_possible(RELEASED) && is_possible(later(1)));
    }

    #[test]
    fn it_is_written_once_a_day_and_at_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let mut clock = Clock::open(dir.path());
        for (hour, last, expected) in [(1, false, 1), (24, false, 1), (25, false, 25), (26, true, 26)] {
            clock.seen(later(hour), last).unwrap();
            assert_eq!(Clock::open(dir.path()).floor(), later(expected), "hour {hour}");
        }
    }

    #[test]
    fn a_time_that_is_damaged_or_far_ahead_is_not_believed() {
        let dir = tempfile::tempdir().unwrap();
        for text in ["", "yesterday", "9999-01-01T00:00:00Z"] {
            fs::write(dir.path().join(FILE), text).unwrap();
            assert_eq!(Clock::open(dir.path()).floor(), RELEASED, "{text}");
        }
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
