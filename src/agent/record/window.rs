//! When must the row of a job record stand in the server's history? Pure.
//!
//! Equal records are counted, not merged ([`RowCounts`](super::rows::RowCounts)). So that the count is exact, an equal record of
//! the ledger must stand in the window or outside as a whole: the window grows until that is so.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::rows::LookAlikes;
use crate::clock;
use crate::domain::JobRecord;
use crate::journal::StoredRecord;
use crate::planted;

/// The largest difference between the server's clock, as its `Date` header tells it, and the time stamps in its history.
const SKEW: SignedDuration = SignedDuration::from_secs(5);

/// A record that comes from a damaged database and does not know its time is looked for so far back.
const FAR_BACK: SignedDuration = SignedDuration::from_hours(30 * 24);

/// A record with a tag is known whenever it stands there, so a clock that was wrong does no harm.
const TAGGED_MARGIN: SignedDuration = SignedDuration::from_hours(24);

/// The clocks that decide at which time the row of a record stands in the history.
pub(super) struct Clocks {
    /// By the server's clock.
    pub(super) now: Timestamp,
    /// The server's clock minus this box's.
    pub(super) ahead: SignedDuration,
    /// The server stamps a row before this has passed.
    pub(super) settled: Duration,
    /// The server stamps a row with the time that the record names, where it names one.
    pub(super) datetime: bool,
}

impl Clocks {
    /// A time of this box's clock, by either clock: this box's may have been set since.
    fn both(&self, time: Timestamp) -> [Timestamp; 2] {
        [time, time.saturating_add(self.ahead).unwrap_or(time)]
    }

    /// The times, by the server's clock, between which a record with this mark was sent that was made at `made`, by this box's.
    ///
    /// A mark is a time of the server's clock. An agent that had not heard of the server's clock wrote one of this box's, which gives itself
    /// away where the two differ much: it lies in the future, or before the record was made.
    fn sent(&self, mark: Timestamp, made: Timestamp) -> [Timestamp; 2] {
        let [_, made_there] = self.both(made);
        let latest = self.now.saturating_add(SKEW).unwrap_or(Timestamp::MAX);
        let too_early = clock::is_possible(made) && made_there.duration_since(mark) > SKEW;
        if mark <= latest && !too_early {
            return [mark, mark];
        }
        let possible = |time: &Timestamp| far_back(self.now) <= *time && *time <= latest;
        let times = || self.both(mark).into_iter().filter(possible);
        [times().min().unwrap_or_else(|| far_back(self.now)), times().max().unwrap_or(self.now)]
    }
}

/// A span of the history, by the server's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HistorySpan {
    pub(super) from: Timestamp,
    pub(super) to: Timestamp,
}

impl HistorySpan {
    /// The time in which the row of this record stands, if it is there; `None` for one that was never sent.
    fn of(stored: &StoredRecord, clocks: &Clocks) -> Option<Self> {
        let latest = |sent: Timestamp| sent.saturating_add(clocks.settled).unwrap_or(Timestamp::MAX);
        let (from, to) = if clocks.datetime && clock::is_possible(stored.record.time) {
            (stored.record.time, stored.record.time)
        } else {
            match (stored.attempted?, stored.carried_over) {
                (mark, None) => {
                    let mark = if planted::is("trust-the-boxs-clock") { stored.record.time } else { mark };
                    let [from, to] = clocks.sent(mark, stored.record.time);
                    (from, latest(to))
                }
                (earliest, Some(damage)) => {
                    let [one, other] = clocks.both(damage);
                    let to = latest(one.max(other).min(clocks.now));
                    let [one, other] = clocks.both(earliest);
                    let from = if clock::is_possible(earliest) { one.min(other) } else { far_back(clocks.now) };
                    (from.min(to), to)
                }
            }
        };
        Some(Self { from, to }.widened(SKEW))
    }

    fn widened(&self, by: SignedDuration) -> Self {
        let from = self.from.checked_sub(by).unwrap_or(Timestamp::MIN);
        Self { from, to: self.to.checked_add(by).unwrap_or(Timestamp::MAX) }
    }

    fn meets(&self, other: &Self) -> bool {
        self.from <= other.to && other.from <= self.to
    }

    fn with(&self, other: &Self) -> Self {
        Self { from: self.from.min(other.from), to: self.to.max(other.to) }
    }
}

fn far_back(now: Timestamp) -> Timestamp {
    now.checked_sub(FAR_BACK).unwrap_or(Timestamp::MIN)
}

/// The time in which a record's row must stand, and how many look-alikes of this box stand there too.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct HistoryWindow {
    pub(super) span: HistorySpan,
    pub(super) known: LookAlikes,
}

impl HistoryWindow {
    /// `equals` are acknowledged records that look the same; `in_doubt` of them are not acknowledged.
    pub(super) fn of(stored: &StoredRecord, equals: &[StoredRecord], in_doubt: usize, clocks: &Clocks) -> Self {
        let own = HistorySpan::of(stored, clocks).unwrap_or(HistorySpan { from: far_back(clocks.now), to: clocks.now });
        let span = if stored.record.is_tagged() { own.widened(TAGGED_MARGIN) } else { own };
        let spans = equals.iter().filter_map(|entry| Some((entry, HistorySpan::of(entry, clocks)?)));
        let mut apart: Vec<(&StoredRecord, HistorySpan)> = spans.collect();
        let mut window = Self { span, known: LookAlikes { in_doubt, ..LookAlikes::default() } };
        loop {
            let (within, rest): (Vec<_>, Vec<_>) = apart.into_iter().partition(|(_, span)| span.meets(&window.span));
            if within.is_empty() || planted::is("ignore-known-rows") {
                return window;
            }
            let here = within.iter().filter(|(entry, _)| entry.record.port == stored.record.port).count();
            window.known.here += here;
            window.known.elsewhere += within.len() - here;
            window.span = within.iter().fold(window.span, |sum, (_, span)| sum.with(span));
            apart = rest;
        }
    }
}

/// Whether two records would look the same in the history, but for the printer.
pub(super) fn equal(one: &JobRecord, other: &JobRecord) -> bool {
    one.user.name == other.user.name
        && one.title == other.title
        && one.pages == other.pages
        && one.paper_size == other.paper_size
}

#[cfg(test)]
mod tests;
