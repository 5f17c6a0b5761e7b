//! The rules of the floor, the earliest time that it can be: how it rises, and how one that is wrong is given up. Pure.
//!
//! The floor rises to the earlier of two times: the one that a verified server told, and the one of this box's own clock,
//! which does not count while it is certainly wrong. So it is right as long as one of the two is. A floor that is wrong all
//! the same falls back to the proof before it, which is at least a day older, and never below that.

use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

/// 2026-01-01, before this program was built. To be moved on with each release.
pub(super) const RELEASED: Timestamp = Timestamp::constant(1_767_225_600, 0);

/// The longest time after its release at which a program is believed to run.
const CREDIBLE: SignedDuration = SignedDuration::from_hours(20 * 365 * 24);

/// The time between two proofs, because each is a write to the flash, and the earlier one is what a wrong floor falls back to.
const DAY: SignedDuration = SignedDuration::from_hours(24);

/// A proven floor is given up after so many handshakes in a row that it alone refuses.
const REFUSALS: u32 = 10;

/// It is given up only when these refusals are spread over so long a time.
const PATIENCE: Duration = Duration::from_secs(600);

/// The words before the two times in the file.
const WORDS: [&str; 2] = ["proven ", "earlier "];

/// The earliest time that it can be, and the time to fall back to when that turns out wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Floor {
    pub(super) time: Timestamp,
    earlier: Timestamp,
    is_proven: bool,
}

/// A time that a server told over a connection whose certificate is valid at that time, and this box's clock at that moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProvenTime {
    /// The server's `Date`.
    pub server: Timestamp,
    /// The time that this box's clock showed.
    pub wall: Timestamp,
}

impl Floor {
    /// The floor of a box that no server has told the time yet.
    pub(super) const UNKNOWN: Self = Self { time: RELEASED, earlier: RELEASED, is_proven: false };

    /// A floor that nothing falls back from, for a test.
    #[cfg(test)]
    pub(crate) fn proven(time: Timestamp, earlier: Timestamp) -> Self {
        Self { time, earlier, is_proven: true }
    }

    /// A floor that no server has proven, for a test.
    #[cfg(test)]
    pub(crate) fn unproven(time: Timestamp) -> Self {
        Self { time, ..Self::UNKNOWN }
    }

    /// The time before which it cannot be.
    pub fn time(&self) -> Timestamp {
        self.time
    }

    /// The time to fall back to.
    pub(crate) fn earlier(&self) -> Timestamp {
        self.earlier
    }

    /// Reads a file's text. A single time was written by an earlier version and is no proof: it was this box's own clock. It
    /// counts only where the clock is certainly wrong at this start, or agrees to within a day.
    pub(super) fn of_text(text: &str, wall: Timestamp) -> Self {
        let latest = RELEASED.checked_add(CREDIBLE).unwrap_or(Timestamp::MAX);
        let time = |text: &str| text.trim().parse::<Timestamp>().ok().filter(|time| *time <= latest);
        if let Some(unproven) = time(text) {
            let believed = wall < RELEASED || unproven <= wall.checked_add(DAY).unwrap_or(wall);
            return Self { time: if believed { unproven.max(RELEASED) } else { RELEASED }, ..Self::UNKNOWN };
        }
        let mut lines = text.lines();
        let mut next = |word: &str| lines.next().and_then(|line| line.strip_prefix(word)).and_then(time);
        match WORDS.map(&mut next) {
            [Some(proven), Some(earlier)] if earlier <= proven => {
                Self { time: proven.max(RELEASED), earlier: earlier.max(RELEASED), is_proven: true }
            }
            _ => Self::UNKNOWN,
        }
    }

    /// The text of the file.
    pub(super) fn text(&self) -> String {
        let [proven, earlier] = WORDS;
        format!("{proven}{}\n{earlier}{}\n", self.time, self.earlier)
    }

    /// The floor after a proof; `None` while there is nothing to be written.
    pub(super) fn after(&self, told: ProvenTime) -> Option<Self> {
        // A clock below the floor is certainly wrong, and so it is no witness.
        let time = if told.wall < self.time { told.server } else { told.server.min(told.wall) };
        let latest = RELEASED.checked_add(CREDIBLE).unwrap_or(Timestamp::MAX);
        if time < RELEASED || time > latest {
            return None;
        }
        if !self.is_proven {
            return Some(Self { time, earlier: RELEASED, is_proven: true });
        }
        let passed = time.duration_since(self.time);
        if passed >= DAY {
            return Some(Self { time, earlier: self.time, is_proven: true });
        }
        // A verified server contradicts the floor.
        (passed <= -DAY && self.earlier < self.time).then(|| self.given_up())
    }

    /// The floor after this one turned out wrong. It cannot fall twice.
    pub(super) fn given_up(&self) -> Self {
        Self { time: self.earlier, ..*self }
    }
}

/// The handshakes in a row that nothing but the floor refused: their certificates have expired at the floor, and were valid at
/// the proof before it.
#[derive(Debug, Default)]
pub(crate) struct FloorDoubt {
    since: Option<Instant>,
    refusals: u32,
    given_up: bool,
}

impl FloorDoubt {
    /// Another one was refused. Says whether the floor is given up now, or was before.
    pub(crate) fn refused(&mut self, floor: &Floor, now: Instant) -> bool {
        let since = *self.since.get_or_insert(now);
        self.refusals = self.refusals.saturating_add(1);
        let convinced = !floor.is_proven || self.refusals >= REFUSALS && now.duration_since(since) >= PATIENCE;
        self.given_up |= convinced;
        self.given_up
    }

    /// A handshake was accepted under the floor, so the floor is not to blame for the others.
    pub(crate) fn accepted(&mut self) {
        (self.since, self.refusals) = (None, 0);
    }

    /// Whether the floor was given up.
    pub(crate) fn has_given_up(&self) -> bool {
        self.given_up
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn later(hours: i64) -> Timestamp {
        RELEASED.checked_add(SignedDuration::from_hours(hours)).unwrap()
    }

    fn told(server: i64, wall: i64) -> ProvenTime {
        ProvenTime { server: later(server), wall: later(wall) }
    }

    const YEARS: i64 = 10 * 365 * 24;

    #[test]
    fn the_floor_rises_to_the_earlier_of_the_servers_time_and_of_its_own() {
        for (server, wall) in [(100, 100), (100, YEARS), (YEARS, 100)] {
            let floor = Floor::UNKNOWN.after(told(server, wall)).unwrap();
            assert_eq!(floor, Floor::proven(later(100), RELEASED), "server {server}, wall {wall}");
        }
    }

    #[test]
    fn a_clock_that_is_certainly_wrong_is_no_witness() {
        let wall = Timestamp::UNIX_EPOCH;
        let floor = Floor::UNKNOWN.after(ProvenTime { server: later(100), wall }).unwrap();
        assert_eq!(floor.time, later(100));
        for server in [Timestamp::UNIX_EPOCH, later(3 * YEARS)] {
            assert_eq!(Floor::UNKNOWN.after(ProvenTime { server, wall }), None, "{server}");
        }
    }

    #[test]
    fn it_rises_once_a_day_and_the_proof_before_is_kept() {
        let first = Floor::proven(later(100), RELEASED);
        assert_eq!(first.after(told(123, 123)), None);
        assert_eq!(first.after(told(90, 90)), None, "two clocks differ by some hours");
        let second = first.after(told(124, 124)).unwrap();
        assert_eq!(second, Floor::proven(later(124), later(100)));
    }

    #[test]
    fn a_floor_that_a_verified_server_contradicts_falls_back_once_and_never_further() {
        let wrong = Floor::proven(later(YEARS), later(100));
        let fallen = wrong.after(told(110, 110)).unwrap();
        assert_eq!(fallen, Floor::proven(later(100), later(100)));
        assert_eq!(fallen.after(told(10, 10)), None, "an old certificate would like that");
        assert_eq!(fallen.given_up(), fallen);
        assert_eq!(fallen.after(told(130, 130)), Some(Floor::proven(later(130), later(100))));
    }

    #[test]
    fn a_floor_comes_back_from_its_file() {
        let floor = Floor::proven(later(124), later(100));
        assert_eq!(Floor::of_text(&floor.text(), later(200)), floor);
        for text in ["", "yesterday", "9999-01-01T00:00:00Z", "proven 2036-01-01T00:00:00Z\n"] {
            assert_eq!(Floor::of_text(text, later(200)), Floor::UNKNOWN, "{text}");
        }
        let swapped = "proven 2026-02-01T00:00:00Z\nearlier 2026-03-01T00:00:00Z\n";
        assert_eq!(Floor::of_text(swapped, later(200)), Floor::UNKNOWN);
    }

    #[test]
    fn a_time_of_an_earlier_version_counts_only_where_the_clock_does_not_speak_against_it() {
        let of = |hours: i64, wall| Floor::of_text(&format!("{}\n", later(hours)), wall);
        assert_eq!(of(YEARS, later(100)), Floor::UNKNOWN, "the clock once ran ahead");
        assert_eq!(of(101, later(100)), Floor::unproven(later(101)));
        assert_eq!(of(-5, later(100)), Floor::UNKNOWN);
        let stopped = of(YEARS, Timestamp::UNIX_EPOCH);
        assert_eq!(stopped, Floor::unproven(later(YEARS)));
        let proven = stopped.after(ProvenTime { server: later(100), wall: Timestamp::UNIX_EPOCH });
        assert_eq!(proven, Some(Floor::proven(later(100), RELEASED)), "it gives way to the first proof");
    }

    #[test]
    fn a_proven_floor_is_given_up_after_many_refusals_over_a_long_time_and_an_unproven_one_at_once() {
        let (start, floor) = (Instant::now(), Floor::proven(later(124), later(100)));
        let mut doubt = FloorDoubt::default();
        for refusal in 0..100 {
            assert!(!doubt.refused(&floor, start + Duration::from_secs(refusal)), "{refusal}");
        }
        doubt.accepted();
        assert!(!doubt.refused(&floor, start + PATIENCE), "they count anew");
        for refusal in 2..REFUSALS {
            assert!(!doubt.refused(&floor, start + PATIENCE * 2), "{refusal}");
        }
        assert!(doubt.refused(&floor, start + PATIENCE * 2));
        assert!(doubt.has_given_up());
        assert!(FloorDoubt::default().refused(&Floor::unproven(later(YEARS)), start));
    }
}
