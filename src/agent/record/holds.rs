//! Decides whose turn it is to be delivered. Pure: the time, the randomness and the results of searches come in.
//!
//! A record that cannot move holds up its station, whose records keep their order, and no other. A cause that lies with the
//! server pauses the whole outbox as well, and after the pause another station's record is tried first.
//!
//! Many records may wait behind one that cannot move, so they are not read again at each turn: every record up to the cursor
//! belongs to a station that has a hold, and a hold knows its record.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::backoff::Backoff;
use crate::domain::{Cause, EntryId, StationName};
use crate::planted;

/// So much later than the end of a pause comes the turn of the station that caused it.
const AFTER_THE_OTHERS: Duration = Duration::from_millis(1);

/// The next thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Turn {
    /// Nobody's turn comes before this time.
    Pause(Instant),
    /// Look for the oldest record with a number after `after` of a station that is not `held`.
    Search { after: EntryId, held: Arc<HashSet<StationName>> },
}

/// The reason for which a record stays for now.
#[derive(Clone, Copy, Debug)]
pub(super) enum Obstacle {
    /// An attempt failed.
    Failed(Cause),
    /// It may have arrived, and the server may be at work on it until then.
    Unsettled(Instant),
}

/// The oldest record of a station that could not be delivered at once.
#[derive(Clone, Copy, Debug)]
struct StationHold {
    record: EntryId,
    /// It may have arrived.
    in_doubt: bool,
    backoff: Backoff,
    /// It is tried again then. A hold whose time has come stays until its record is delivered or gone.
    until: Instant,
}

/// The stations whose records wait, and the pause of the whole outbox.
#[derive(Debug)]
pub(super) struct Holds {
    /// A backoff that has not been used.
    retry: Backoff,
    longest: Duration,
    pause: Backoff,
    paused_until: Option<Instant>,
    stations: HashMap<StationName, StationHold>,
    cursor: EntryId,
    /// The time of the last search. A hold that ended since was not searched for.
    searched_at: Option<Instant>,
}

impl Holds {
    /// Nothing is held. Waits are those of `retry`, and none is longer than `longest`, whatever the server asks for.
    pub(super) fn new(retry: Backoff, longest: Duration) -> Self {
        let stations = HashMap::new();
        Self { retry, longest, pause: retry, paused_until: None, stations, cursor: 0, searched_at: None }
    }

    /// Says what to do at `now`.
    pub(super) fn turn(&mut self, now: Instant) -> Turn {
        if let Some(until) = self.paused_until.filter(|until| *until > now) {
            return Turn::Pause(until);
        }
        self.searched_at = Some(now);
        let due = self.stations.values().filter(|hold| hold.until <= now).map(|hold| hold.record.saturating_sub(1));
        let after = due.min().unwrap_or(self.cursor).min(self.cursor);
        let held = self.stations.iter().filter(|(_, hold)| hold.until > now).map(|(station, _)| station.clone());
        Turn::Search { after, held: Arc::new(held.collect()) }
    }

    /// The search found nothing up to this number.
    pub(super) fn passed(&mut self, number: EntryId) {
        // A record that was due and was not found has been given up, and one after it may wait on this side of the cursor.
        if self.forget_due(|hold| hold.record <= number) {
            self.cursor = number;
        } else {
            self.cursor = self.cursor.max(number);
        }
    }

    /// The search found nothing to the end.
    pub(super) fn nothing_found(&mut self) {
        self.forget_due(|_| true);
    }

    fn forget_due(&mut self, is_gone: impl Fn(&StationHold) -> bool) -> bool {
        let (before, searched_at) = (self.stations.len(), self.searched_at);
        let was_due = |hold: &StationHold| searched_at.is_some_and(|searched| hold.until <= searched);
        self.stations.retain(|_, hold| !(was_due(hold) && is_gone(hold)));
        self.stations.len() < before
    }

    /// The search found this record, which is tried now.
    pub(super) fn found(&mut self, station: &StationName, record: EntryId, now: Instant) {
        self.passed(record.saturating_sub(1));
        let new = StationHold { record, in_doubt: false, backoff: self.retry, until: now };
        self.stations.entry(station.clone()).or_insert(new).record = record;
    }

    /// Notes whether the record that is tried may have arrived.
    pub(super) fn note_doubt(&mut self, station: &StationName, in_doubt: bool) {
        if let Some(hold) = self.stations.get_mut(station) {
            hold.in_doubt = in_doubt;
        }
    }

    /// The record that was tried has left, delivered or refused for good: the server answers.
    pub(super) fn left(&mut self, station: &StationName) {
        self.pause.reset();
        if let Some(hold) = self.stations.remove(station) {
            self.cursor = self.cursor.min(hold.record);
        }
    }

    /// The record that was tried stays. Returns how long.
    pub(super) fn stays(&mut self, station: &StationName, obstacle: Obstacle, now: Instant, random: u64) -> Duration {
        let (cause, settled) = match obstacle {
            Obstacle::Failed(cause) => (Some(cause), None),
            Obstacle::Unsettled(until) => (None, Some(until)),
        };
        let paused = cause
            .filter(|cause| is_of_the_server(*cause))
            .map(|cause| self.pause(patience(cause), now, random) + AFTER_THE_OTHERS);
        if planted::is("hold-no-station") {
            self.cursor = self.stations.remove(station).map_or(self.cursor, |hold| hold.record);
            return Duration::ZERO;
        }
        let Some(hold) = self.stations.get_mut(station) else {
            return Duration::ZERO;
        };
        // The bits in another order are as good as others.
        let wait = cause.map_or(Duration::ZERO, |_| hold.backoff.next(random.reverse_bits()));
        hold.until = [paused, settled].into_iter().flatten().fold(now + wait, Instant::max);
        hold.until - now
    }

    /// The journal could not be searched.
    pub(super) fn not_searched(&mut self, now: Instant, random: u64) {
        self.pause(Duration::ZERO, now, random);
    }

    /// Pauses the whole outbox, and returns until when.
    fn pause(&mut self, at_least: Duration, now: Instant, random: u64) -> Instant {
        let until = now + self.pause.next(random).max(at_least.min(self.longest));
        self.paused_until = Some(until);
        until
    }

    /// The journal may have got records back, or have lost some: every number is searched again.
    pub(super) fn search_all(&mut self) {
        self.cursor = 0;
    }

    /// The time at which the first hold ends.
    pub(super) fn first_end(&self) -> Option<Instant> {
        self.stations.values().map(|hold| hold.until).min()
    }

    /// Whether the oldest record of this station waits.
    pub(super) fn is_held(&self, station: &StationName) -> bool {
        self.stations.contains_key(station)
    }

    /// The number of records that may have arrived: at most one of each station.
    pub(super) fn in_doubt(&self) -> u64 {
        self.stations.values().filter(|hold| hold.in_doubt).count() as u64
    }
}

/// Whether a cause lies with the server or this box, so that the next record would most likely meet it too. All others may
/// lie with the one record.
fn is_of_the_server(cause: Cause) -> bool {
    match cause {
        Cause::Unreachable | Cause::Overloaded { .. } | Cause::Refused(_) | Cause::Storage => true,
        Cause::NotFound | Cause::NotReady | Cause::Rejected | Cause::Lost { .. } | Cause::Malformed => false,
    }
}

/// The time for which the server asks.
fn patience(cause: Cause) -> Duration {
    match cause {
        Cause::Overloaded { retry_after: Some(seconds) } => Duration::from_secs(seconds.into()),
        _ => Duration::ZERO,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const SHORTEST: Duration = Duration::from_secs(1);
    const LONGEST: Duration = Duration::from_secs(300);
    const STATIONS: [&str; 4] = ["lobby", "attic", "cellar", "garage"];

    fn holds() -> Holds {
        Holds::new(Backoff::new(SHORTEST, LONGEST).unwrap(), LONGEST)
    }

    fn name(station: usize) -> StationName {
        STATIONS[station].into()
    }

    fn failed(cause: Cause) -> Obstacle {
        Obstacle::Failed(cause)
    }

    fn held(turn: &Turn) -> usize {
        match turn {
            Turn::Search { held, .. } => held.len(),
            Turn::Pause(_) => usize::MAX,
        }
    }

    #[test]
    fn a_cause_of_one_record_holds_its_station_and_a_cause_of_the_server_pauses_the_outbox() {
        for (cause, pauses) in [
            (Cause::Malformed, false),
            (Cause::Lost { at_work: true }, false),
            (Cause::NotFound, false),
            (Cause::Unreachable, true),
            (Cause::Refused(crate::domain::Who::Token), true),
            (Cause::Overloaded { retry_after: None }, true),
        ] {
            let (mut holds, now) = (holds(), Instant::now());
            holds.found(&name(0), 7, now);
            let wait = holds.stays(&name(0), failed(cause), now, 0);
            assert!(wait >= SHORTEST, "{cause:?}");
            assert_eq!(matches!(holds.turn(now), Turn::Pause(_)), pauses, "{cause:?}");
            let after_the_pause = now + SHORTEST;
            assert_eq!(held(&holds.turn(after_the_pause)), usize::from(pauses), "{cause:?}: the others come first");
            assert_eq!(held(&holds.turn(now + wait)), 0, "{cause:?}");
        }
    }

    #[test]
    fn the_server_is_waited_for_as_long_as_it_asks_but_never_longer_than_the_longest_wait() {
        for (asked, waits) in [(7, 7), (3_600, 300)] {
            let (mut holds, now) = (holds(), Instant::now());
            holds.found(&name(0), 7, now);
            let patience = failed(Cause::Overloaded { retry_after: Some(asked) });
            assert_eq!(holds.stays(&name(0), patience, now, 0), Duration::from_secs(waits) + AFTER_THE_OTHERS);
            assert_eq!(holds.turn(now), Turn::Pause(now + Duration::from_secs(waits)));
        }
    }

    #[test]
    fn a_record_that_may_have_arrived_waits_until_it_has_settled_and_is_counted_as_in_doubt() {
        let (mut holds, now) = (holds(), Instant::now());
        let settled = now + Duration::from_secs(30);
        holds.found(&name(0), 7, now);
        holds.note_doubt(&name(0), true);
        let unsettled = Obstacle::Unsettled(settled);
        assert_eq!((holds.stays(&name(0), unsettled, now, 0), holds.in_doubt()), (Duration::from_secs(30), 1));
        holds.found(&name(1), 8, now);
        holds.note_doubt(&name(1), true);
        assert_eq!(holds.stays(&name(1), unsettled, now, 0), Duration::from_secs(30));
        assert_eq!((holds.in_doubt(), holds.first_end()), (2, Some(settled)));
        holds.left(&name(0));
        assert_eq!(holds.in_doubt(), 1);
    }

    #[test]
    fn what_waits_behind_a_record_that_cannot_move_is_not_read_again() {
        let (mut holds, mut now) = (holds(), Instant::now());
        holds.found(&name(0), 1, now);
        let mut wait = holds.stays(&name(0), failed(Cause::Malformed), now, 0);
        holds.passed(100_000);
        let searched = |turn| if let Turn::Search { after, .. } = turn { after } else { panic!("{turn:?}") };
        for _ in 0..10 {
            assert_eq!(searched(holds.turn(now)), 100_000);
            now += wait;
            assert_eq!(searched(holds.turn(now)), 0, "its turn has come again");
            holds.found(&name(0), 1, now);
            wait = holds.stays(&name(0), failed(Cause::Malformed), now, 0);
        }
        now += wait;
        assert_eq!(searched(holds.turn(now)), 0);
        holds.found(&name(0), 1, now);
        holds.left(&name(0));
        assert_eq!(searched(holds.turn(now)), 1, "the one behind it");
    }

    /// One turn of the world.
    #[derive(Clone, Copy, Debug)]
    struct HoldRound {
        /// 0 to 4: it fails so; else it is delivered.
        fate: u8,
        /// Records of these stations come.
        comes: Option<usize>,
        /// One of those that wait is given up.
        given_up: Option<usize>,
        /// The time that the attempt takes, in milliseconds.
        takes: u64,
        random: u64,
    }

    fn hold_rounds() -> impl Strategy<Value = HoldRound> {
        let (comes, given_up) = (prop::option::of(0..STATIONS.len()), prop::option::weighted(0.1, 0..1_000usize));
        (0u8..8, comes, given_up, 0..5_000u64, any::<u64>())
            .prop_map(|(fate, comes, given_up, takes, random)| HoldRound { fate, comes, given_up, takes, random })
    }

    /// The records that wait, each with its station, and the holds.
    struct HoldWorld {
        waiting: BTreeMap<EntryId, usize>,
        holds: Holds,
        now: Instant,
    }

    impl HoldWorld {
        /// Searches as the journal does, a few records at a time, until a record is found.
        fn next(&mut self) -> Option<(EntryId, usize)> {
            loop {
                match self.holds.turn(self.now) {
                    Turn::Pause(until) => self.now = until,
                    Turn::Search { after, held } => {
                        let page: Vec<_> = self.waiting.range(after + 1..).take(3).map(|(id, of)| (*id, *of)).collect();
                        let is_free = |(_, station): &&(EntryId, usize)| !held.contains(&name(*station));
                        if let Some((id, station)) = page.iter().find(is_free).copied() {
                            self.holds.found(&name(station), id, self.now);
                            return Some((id, station));
                        }
                        match page.last() {
                            Some((last, _)) => self.holds.passed(*last),
                            None => {
                                self.holds.nothing_found();
                                self.now = self.holds.first_end()?.max(self.now);
                                if self.waiting.is_empty() {
                                    return None;
                                }
                            }
                        }
                    }
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        /// Records come, fail, leave and are given up: no search passes over one whose turn it is, each station's leave in
        /// their order, and no station waits longer than the longest wait for another.
        #[test]
        fn every_record_gets_its_turn_in_the_order_of_its_station_whatever_becomes_of_the_others(
            rounds in proptest::collection::vec(hold_rounds(), 1..120),
            stuck in prop::option::of(0..STATIONS.len()), stuck_by in 0u8..5,
        ) {
            let start = Instant::now();
            let mut world = HoldWorld { waiting: BTreeMap::new(), holds: holds(), now: start };
            let mut failures: HashMap<usize, Instant> = HashMap::new();
            let calm = HoldRound { fate: 7, comes: None, given_up: None, takes: 1, random: 3 };
            let calm_begins = rounds.len();
            for (number, round) in rounds.into_iter().chain(std::iter::repeat_n(calm, 400)).enumerate() {
                if let Some(station) = round.comes {
                    world.waiting.insert(number as EntryId + 1, station);
                }
                if let Some(which) = round.given_up
                    && let Some(id) = world.waiting.keys().nth(which % world.waiting.len().max(1)).copied()
                {
                    world.waiting.remove(&id);
                }
                let Some((id, station)) = world.next() else { continue };
                let older = world.waiting.iter().find(|(older, of)| **older < id && **of == station);
                prop_assert!(older.is_none(), "{id} before {older:?} of its station");
                let free = |of: &usize| failures.get(of).is_none_or(|until| *until <= world.now);
                let first = world.waiting.iter().find(|(_, of)| free(of));
                prop_assert_eq!(first.map(|(id, _)| *id), Some(id), "the first whose turn it is");
                world.now += Duration::from_millis(round.takes);
                let fate = if stuck == Some(station) { stuck_by } else { round.fate };
                let cause = match fate {
                    0 => Cause::Unreachable,
                    1 => Cause::Malformed,
                    2 => Cause::Overloaded { retry_after: Some(10_000) },
                    3 => Cause::Lost { at_work: false },
                    4 => Cause::NotFound,
                    _ => {
                        world.waiting.remove(&id);
                        failures.remove(&station);
                        world.holds.left(&name(station));
                        continue;
                    }
                };
                let wait = world.holds.stays(&name(station), failed(cause), world.now, round.random);
                prop_assert!(wait >= SHORTEST && wait <= LONGEST + AFTER_THE_OTHERS);
                failures.insert(station, world.now + wait);
                if number < calm_begins {
                    continue;
                }
                prop_assert_eq!(Some(station), stuck);
            }
            let left: Vec<_> = world.waiting.values().filter(|of| Some(**of) != stuck).collect();
            prop_assert!(left.is_empty(), "held up by another station: {left:?}");
        }
    }
}
