//! The server's clock, as the `Date` headers of its answers tell it (docs/print-server-api.md, "Answers"). Pure: moments come in.
//!
//! A reading is the time that an answer named, between two moments of this box's monotonic clock. The wall clock of this box
//! plays no part, so it may be set at any time; and an answer without a time changes nothing.
//!
//! One answer may be wrong: a balancer has a clock of its own. So the last few readings vote. Each allows a span for the
//! present time, and the time where most spans meet is believed. One wrong reading is outvoted; if it was the first of all,
//! the next two right ones outvote it. A clock that the server really sets is believed after three answers.

use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

use crate::clock;

/// The most readings that vote.
const READINGS: usize = 5;

/// Older readings do not vote once there is a newer one. In this time two monotonic clocks drift apart by some hundredths of a second.
const FRESH: SignedDuration = SignedDuration::from_secs(600);

/// The header has whole seconds.
const RESOLUTION: SignedDuration = SignedDuration::from_secs(1);

/// Two servers behind one balancer may differ by so much and still agree.
const TOLERANCE: SignedDuration = SignedDuration::from_secs(1);

/// 2046-01-01, twenty years after the release: this program does not run that long, so no server's clock is beyond it.
const LATEST: Timestamp = Timestamp::constant(2_398_377_600, 0);

/// The time that one answer named.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClockReading {
    pub(crate) date: Timestamp,
    /// The moment at which the request was sent.
    pub(crate) asked: Instant,
    /// The moment at which the answer came.
    pub(crate) answered: Instant,
}

impl ClockReading {
    /// The times between which the server's clock stands at this moment, if the reading is right.
    fn span(&self, at: Instant) -> (Timestamp, Timestamp) {
        let latest = since(at, self.asked).saturating_add(RESOLUTION + TOLERANCE);
        let earliest = since(at, self.answered).saturating_sub(TOLERANCE);
        let shifted = |by| self.date.saturating_add(by).unwrap_or(self.date);
        (shifted(earliest), shifted(latest))
    }
}

/// The readings that vote, oldest first.
#[derive(Debug, Default)]
pub(crate) struct ServerClock {
    readings: Vec<ClockReading>,
    /// The server has done some work, and did not tell the time.
    is_silent: bool,
}

impl ServerClock {
    /// Takes the reading of one answer. `worked`: the answer was a success, and so it comes from the server itself.
    pub(crate) fn heard(&mut self, reading: Option<ClockReading>, worked: bool) {
        let Some(reading) = reading.filter(|reading| clock::is_possible(reading.date) && reading.date < LATEST) else {
            self.is_silent |= worked;
            return;
        };
        self.readings.retain(|old| since(reading.answered, old.answered) < FRESH);
        if self.readings.len() == READINGS {
            self.readings.remove(0);
        }
        self.readings.push(reading);
    }

    /// The server's time at this moment, as far as it can be told; `None` before the first reading.
    pub(crate) fn at(&self, at: Instant) -> Option<Timestamp> {
        self.vote(at).map(|(time, _)| time)
    }

    /// The server's time at this moment, if more than half of the readings agree on it, and at least two.
    pub(crate) fn agreed(&self, at: Instant) -> Option<Timestamp> {
        self.vote(at).filter(|(_, votes)| *votes >= 2 && votes * 2 > self.readings.len()).map(|(time, _)| time)
    }

    /// Whether asking once more would tell nothing new: the readings agree, or this server never tells the time.
    pub(crate) fn is_known(&self, at: Instant) -> bool {
        self.agreed(at).is_some() || (self.is_silent && self.readings.is_empty())
    }

    /// The time on which most readings agree, and their number; between equals the newer one counts.
    fn vote(&self, at: Instant) -> Option<(Timestamp, usize)> {
        let spans: Vec<_> = self.readings.iter().map(|reading| reading.span(at)).collect();
        // The spans that meet in one point also meet at the beginning of one of them.
        let meeting = |time: Timestamp| spans.iter().filter(move |(from, to)| *from <= time && time <= *to);
        let (from, votes) =
            spans.iter().map(|(from, _)| (*from, meeting(*from).count())).max_by_key(|(_, votes)| *votes)?;
        let to = meeting(from).map(|(_, to)| *to).min()?;
        let middle = from.checked_add(from.duration_until(to) / 2).unwrap_or(from);
        Some((middle, votes))
    }
}

/// The time from `earlier` to `later`, which is below zero if they stand the other way round.
fn since(later: Instant, earlier: Instant) -> SignedDuration {
    let signed = |time: Duration| SignedDuration::try_from(time).unwrap_or(SignedDuration::MAX);
    match later.checked_duration_since(earlier) {
        Some(time) => signed(time),
        None => -signed(earlier.saturating_duration_since(later)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The right time `second` seconds after the start.
    fn right(second: i64) -> Timestamp {
        Timestamp::constant(1_790_000_000, 0) + SignedDuration::from_secs(second)
    }

    /// A server's clock that was read at these seconds after `start`, each time wrong by so many.
    fn read(start: Instant, readings: &[(u64, i64)]) -> ServerClock {
        let mut clock = ServerClock::default();
        for (second, wrong_by) in readings {
            let moment = start + Duration::from_secs(*second);
            let date = right(second.cast_signed() + wrong_by);
            clock.heard(Some(ClockReading { date, asked: moment, answered: moment }), true);
        }
        clock
    }

    /// The seconds by which the clock is wrong after a minute.
    fn wrong_by(clock: &ServerClock, start: Instant) -> Option<i64> {
        clock.at(start + Duration::from_secs(60)).map(|time| right(60).duration_until(time).as_secs())
    }

    #[test]
    fn one_wrong_time_is_outvoted_and_a_clock_that_was_set_is_believed() {
        let start = Instant::now();
        let hour = 3_600;
        for (readings, expected, agreed) in [
            (&[(0, 0)][..], Some(0), false),
            (&[(0, 0), (1, 0)], Some(0), true),
            (&[(0, 0), (1, 0), (2, hour)], Some(0), true),
            (&[(0, hour), (1, 0)], Some(0), false),
            (&[(0, hour), (1, 0), (2, 0)], Some(0), true),
            (&[(0, 0), (1, 0), (2, 0), (3, 0), (4, 0), (5, hour), (6, hour)], Some(0), true),
            (&[(0, 0), (1, 0), (2, 0), (3, 0), (4, 0), (5, hour), (6, hour), (7, hour)], Some(hour), true),
            (&[], None, false),
        ] {
            let clock = read(start, readings);
            assert_eq!((wrong_by(&clock, start), clock.agreed(start).is_some()), (expected, agreed), "{readings:?}");
        }
    }

    #[test]
    fn an_answer_without_a_time_or_with_an_absurd_one_changes_nothing() {
        let start = Instant::now();
        let mut clock = read(start, &[(0, 0), (1, 0)]);
        clock.heard(None, true);
        for date in [Timestamp::UNIX_EPOCH, LATEST, Timestamp::MAX] {
            clock.heard(Some(ClockReading { date, asked: start, answered: start }), true);
        }
        assert_eq!((wrong_by(&clock, start), clock.readings.len()), (Some(0), 2));
    }

    #[test]
    fn a_server_that_never_tells_the_time_is_not_asked_for_ever() {
        let start = Instant::now();
        let mut clock = ServerClock::default();
        clock.heard(None, false);
        assert!(!clock.is_known(start), "a balancer refused, and the server may tell");
        clock.heard(None, true);
        assert!(clock.is_known(start));
        assert_eq!(clock.at(start), None);
    }

    #[test]
    fn readings_from_before_an_outage_do_not_vote_against_a_newer_one() {
        let start = Instant::now();
        let clock = read(start, &[(0, 0), (1, 0), (2, 0), (7_200, 9), (7_201, 9)]);
        assert_eq!((clock.readings.len(), wrong_by(&clock, start)), (2, Some(9)));
    }

    proptest! {
        /// Slow answers that name whole seconds, some of them at another time of their way: the time is right to half the
        /// slowest way and a second.
        #[test]
        fn the_time_is_as_exact_as_the_answers_are_quick(
            answers in proptest::collection::vec((0..30_000u64, 0..8_000u64, 0..=100u64), 1..12),
        ) {
            let (start, mut clock, mut now, mut slowest) = (Instant::now(), ServerClock::default(), 0, 0);
            for (wait, way, share) in answers {
                let named = right(0) + Duration::from_millis(now + wait + way * share / 100);
                let date = Timestamp::from_second(named.as_second()).unwrap();
                let asked = start + Duration::from_millis(now + wait);
                let answered = asked + Duration::from_millis(way);
                clock.heard(Some(ClockReading { date, asked, answered }), true);
                (now, slowest) = (now + wait + way, slowest.max(way));
            }
            let at = start + Duration::from_millis(now);
            let told = clock.agreed(at).or(clock.at(at)).unwrap();
            let wrong_by = told.duration_since(right(0) + Duration::from_millis(now)).abs();
            prop_assert!(wrong_by.as_millis() <= u128::from(slowest / 2 + 1_000).try_into().unwrap(), "{wrong_by}");
        }
    }
}
