//! What this box knows of time without being told: not before when, and in which order.
//!
//! A box without a battery starts in 1970 and believes it until somebody tells the time. Then the clock is wrong for sure,
//! because this program exists and the box has run before: the later of the two is the floor. Certificates are judged at
//! the floor while the clock is below it, never by a time from plain HTTP. A floor can only be raised by a time at which
//! the print server could be reached, and by no more than twenty years beyond the release: a clock that once ran
//! ahead must not lock the box out.
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

/// 2026-01-01: it was later than this when the program was built. To be moved on with a release.
const RELEASED: Timestamp = Timestamp::constant(1_767_225_600, 0);

/// How long after its release a program may still run.
const CREDIBLE: SignedDuration = SignedDuration::from_hours(20 * 365 * 24);

/// The last time that was seen is written down once in so long, and at the end: flash wears out.
const WRITE_EVERY: SignedDuration = SignedDuration::from_hours(24);

/// In the state directory.
const FILE: &str = "last-seen";

/// See proc_sys_kernel(5).
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// See proc_uptime(5).
const UPTIME: &str = "/proc/uptime";

/// Whether a time that was written down can be right at all: a clock at 1970 was not. Unlike the floor this never changes
/// its mind about what was written before.
pub fn is_possible(time: Timestamp) -> bool {
    time >= RELEASED
}

/// The floor, and where it is remembered.
#[derive(Clone, Debug)]
pub struct Clock {
    path: PathBuf,
    floor: Timestamp,
    written: Option<Timestamp>,
}

impl Clock {
    /// Reads the last time that was seen. What cannot be read is as good as none.
    pub fn open(state_dir: &Path) -> Self {
        let path = state_dir.join(FILE);
        let latest = RELEASED.checked_add(CREDIBLE).unwrap_or(Timestamp::MAX);
        let seen = fs::read_to_string(&path).ok().and_then(|text| text.trim().parse::<Timestamp>().ok());
        let seen = seen.filter(|seen| *seen <= latest);
        Self { path, floor: seen.map_or(RELEASED, |seen| seen.max(RELEASED)), written: seen }
    }

    /// It is later than this.
    pub fn floor(&self) -> Timestamp {
        self.floor
    }

    /// Writes down that the server was reached at `now`, if a day has passed or this is the `last` chance.
    ///
    /// # Errors
    /// The disk does not take it; the floor stays where it was.
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

/// A moment by the one clock that every box has: so long after which boot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// The kernel's name of the boot; a kernel without /proc has none to tell.
    pub boot: String,
    /// Milliseconds since then.
    pub monotonic_ms: u64,
}

impl Moment {
    /// This moment.
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

/// Orders events whatever the clock says: a number, the boot, and the time since it.
#[derive(Debug)]
pub struct Sequence {
    began: Moment,
    started: Instant,
    next: AtomicU64,
}

impl Sequence {
    /// A sequence that begins now, at 1.
    pub fn begin() -> Self {
        Self { began: Moment::now(), started: Instant::now(), next: AtomicU64::new(1) }
    }

    /// Adds `seq`, which counts since the start of the agent, `boot` and `monotonic_ms`, which counts since the boot.
    pub fn stamp(&self, event: &mut Value) {
        let elapsed = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        event["seq"] = json!(self.next.fetch_add(1, Ordering::Relaxed));
        event["boot"] = json!(self.began.boot);
        event["monotonic_ms"] = json!(self.began.monotonic_ms.saturating_add(elapsed));
    }
}

/// `12345.67 ...`, in seconds with two decimals.
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
    fn what_is_damaged_or_beyond_belief_is_not_believed() {
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
