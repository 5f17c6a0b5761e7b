//! The times at which boots began, so that an entry which was stored before the box knew the time gets its time when it
//! is read: one offset between the monotonic clock and the wall clock for each such boot.
//!
//! A boot is listed when its first entry without a time is stored, and its offset is added when the time becomes known. It
//! leaves the list when no waiting entry can name it any more, or when another boot comes and its time was never known.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::clock::Moment;
use crate::domain::EntryId;

/// The most boots in the list. Beyond it the oldest goes, and its entries stay without a time.
const BOOT_LIMIT: usize = 100;

/// One boot in which entries were stored without a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct BootTime {
    boot: String,
    /// When its monotonic clock began, by the wall clock; `None` until the time is known.
    began: Option<Timestamp>,
    /// Every entry that was stored without a time in this boot has a lower number; 0 until the time is known.
    before: EntryId,
}

/// The boots in which entries were stored without a time, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct BootTimes(Vec<BootTime>);

impl BootTimes {
    pub(super) fn to_bytes(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(&self.0)
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok().map(Self)
    }

    /// The time of a moment, if the offset of its boot is known.
    pub(super) fn wall(&self, moment: &Moment) -> Option<Timestamp> {
        let boot = self.0.iter().find(|boot| boot.boot == moment.boot)?;
        moment.wall(boot.began?)
    }

    /// Whether entries were stored without a time and the offset of their boot is not known yet.
    pub(super) fn has_unknown(&self) -> bool {
        self.0.iter().any(|boot| boot.began.is_none())
    }

    /// Lists the boot of an entry that is stored without a time, and says whether it was not listed before. A kernel that
    /// does not name its boots gives nothing to list.
    pub(super) fn add(&mut self, moment: &Moment) -> bool {
        if moment.boot.is_empty() || self.0.iter().any(|boot| boot.boot == moment.boot) {
            return false;
        }
        self.0.retain(|boot| boot.began.is_some());
        self.0.push(BootTime { boot: moment.boot.clone(), began: None, before: 0 });
        self.keep_to_limit();
        true
    }

    /// Notes that it is `wall` by the moment `now`, and forgets the boots that no waiting entry can name: all entries below
    /// `first` have left, and the next one gets the number `next`.
    pub(super) fn learn(&mut self, now: &Moment, wall: Timestamp, first: EntryId, next: EntryId) {
        for boot in self.0.iter_mut().filter(|boot| boot.boot == now.boot && boot.began.is_none()) {
            (boot.began, boot.before) = (now.boot_began(wall), next);
        }
        self.0.retain(|boot| boot.began.is_some() && boot.before > first);
    }

    /// Adds the boots of another list, such as one that was found in a damaged database.
    pub(super) fn merge(&mut self, other: Self) {
        for found in other.0 {
            match self.0.iter_mut().find(|boot| boot.boot == found.boot) {
                Some(known) => {
                    known.began = known.began.or(found.began);
                    known.before = known.before.max(found.before);
                }
                None => self.0.push(found),
            }
        }
        self.keep_to_limit();
    }

    fn keep_to_limit(&mut self) {
        let surplus = self.0.len().saturating_sub(BOOT_LIMIT);
        self.0.drain(..surplus);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(boot: &str, monotonic_ms: u64) -> Moment {
        Moment { boot: boot.to_owned(), monotonic_ms }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    #[test]
    fn a_moment_gets_its_time_from_the_offset_of_its_boot_alone() {
        let mut boots = BootTimes::default();
        assert!(boots.add(&moment("this", 5_000)) && !boots.add(&moment("this", 6_000)));
        assert_eq!(boots.wall(&moment("this", 5_000)), None, "the time is not known yet");
        boots.learn(&moment("this", 60_000), at(0), 1, 2);
        assert_eq!(boots.wall(&moment("this", 5_000)), Some(at(-55)));
        assert_eq!(boots.wall(&moment("that", 5_000)), None, "another boot");
        assert_eq!(BootTimes::from_bytes(&boots.to_bytes().unwrap()), Some(boots));
    }

    #[test]
    fn a_boot_without_a_name_is_not_listed() {
        let mut boots = BootTimes::default();
        assert!(!boots.add(&moment("", 5)));
        assert_eq!(boots, BootTimes::default());
    }

    #[test]
    fn a_boot_is_forgotten_when_no_waiting_entry_can_name_it() {
        let mut boots = BootTimes::default();
        boots.add(&moment("first", 1));
        boots.learn(&moment("first", 2), at(0), 1, 10);
        boots.add(&moment("never known", 1));
        boots.add(&moment("third", 1));
        boots.learn(&moment("third", 2), at(9), 9, 20);
        let known = ["first", "never known", "third"].map(|boot| boots.wall(&moment(boot, 2)).is_some());
        assert_eq!(known, [true, false, true], "entry 9 may still be of the first boot");
        boots.learn(&moment("third", 3), at(99), 10, 30);
        assert_eq!(boots.wall(&moment("first", 2)), None);
        assert_eq!(boots.wall(&moment("third", 2)), Some(at(9)), "one offset a boot");
    }

    #[test]
    fn of_too_many_boots_the_oldest_is_forgotten() {
        let mut boots = BootTimes::default();
        for number in 0..=BOOT_LIMIT {
            boots.add(&moment(&number.to_string(), 1));
            boots.learn(&moment(&number.to_string(), 1), at(0), 0, 1);
        }
        assert_eq!(boots.0.len(), BOOT_LIMIT);
        assert_eq!(boots.wall(&moment("0", 1)), None);
        assert!(boots.wall(&moment("1", 1)).is_some());
    }
}
