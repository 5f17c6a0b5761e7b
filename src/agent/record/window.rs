//! Did a job record arrive although its answer was lost? Pure: the history's rows come in.
//!
//! A record has no key of its own at the server, so it is known by its content: user, title, pages. Equal ones are
//! counted, not merged: the history must hold one more than those that are known to stand there for another reason,
//! that is, released documents under their own uuid, and records of the ledger. So that the count is exact, an equal record
//! of the ledger must stand in the window or outside as a whole: the window grows until that is so.

use std::collections::HashSet;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::delivery::Arrival;
use crate::clock;
use crate::domain::{Document, DocumentStatus, JobRecord};
use crate::journal::StoredRecord;

/// The largest difference between the server's clock, as its `Date` header tells it, and the time stamps in its history.
const SKEW: SignedDuration = SignedDuration::from_secs(5);

/// A record that comes from a damaged database and does not know its time is looked for so far back.
const FAR_BACK: SignedDuration = SignedDuration::from_hours(30 * 24);

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
                (sent, None) => (sent, latest(sent)),
                (earliest, Some(damage)) => {
                    let [one, other] = clocks.both(damage);
                    let to = latest(one.max(other).min(clocks.now));
                    let [one, other] = clocks.both(earliest);
                    let from = if clock::is_possible(earliest) { one.min(other) } else { far_back(clocks.now) };
                    (from.min(to), to)
                }
            }
        };
        Some(Self {
            from: from.checked_sub(SKEW).unwrap_or(Timestamp::MIN),
            to: to.checked_add(SKEW).unwrap_or(Timestamp::MAX),
        })
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

/// The time in which a record's row must stand, and how many equal ones certainly stand there too.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct HistoryWindow {
    pub(super) span: HistorySpan,
    known: usize,
}

impl HistoryWindow {
    /// `equals` are acknowledged records that look the same.
    pub(super) fn of(stored: &StoredRecord, equals: &[StoredRecord], clocks: &Clocks) -> Self {
        let own = HistorySpan::of(stored, clocks).unwrap_or(HistorySpan { from: far_back(clocks.now), to: clocks.now });
        let mut apart: Vec<HistorySpan> = equals.iter().filter_map(|entry| HistorySpan::of(entry, clocks)).collect();
        let mut window = Self { span: own, known: 0 };
        loop {
            let (within, rest): (Vec<_>, Vec<_>) = apart.into_iter().partition(|span| span.meets(&window.span));
            if within.is_empty() {
                return window;
            }
            window.known += within.len();
            window.span = within.iter().fold(window.span, |sum, span| sum.with(span));
            apart = rest;
        }
    }

    /// `released` are documents, whose rows are no job records; `history` is what stands in the window.
    pub(super) fn judge(&self, record: &JobRecord, released: &HashSet<String>, history: &[Document]) -> Arrival {
        let seen = history.iter().filter(|row| !released.contains(&row.uuid) && says(row, record)).count();
        if seen > self.known { Arrival::Arrived } else { Arrival::Absent }
    }
}

/// Whether a row of the history says what the record says. A field that the server leaves out does not tell against it.
fn says(row: &Document, record: &JobRecord) -> bool {
    matches!(row.status, DocumentStatus::Printed | DocumentStatus::Other)
        && (row.user.is_empty() || row.user.eq_ignore_ascii_case(&record.user.name))
        && (row.title.is_empty() || row.title == record.title)
        && row.pages.is_none_or(|pages| record.pages.is_none_or(|ours| ours == pages))
        && row.paper_size.as_ref().is_none_or(|size| record.paper_size.as_ref().is_none_or(|ours| ours == size))
}

/// Whether two records would look the same in the history.
pub(super) fn equal(one: &JobRecord, other: &JobRecord) -> bool {
    one.user == other.user && one.title == other.title && one.pages == other.pages && one.paper_size == other.paper_size
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::{OutputPort, TapId, User};

    /// A second of the day that the tests play on.
    fn at(second: i64) -> Timestamp {
        Timestamp::constant(1_790_000_000, 0) + SignedDuration::from_secs(second)
    }

    fn record(made: i64) -> JobRecord {
        JobRecord {
            tap: TapId::new(at(made), 0),
            station: "lobby".into(),
            user: User { name: "ada".to_owned(), provider: None },
            document: format!("document-{made}"),
            title: "Same.pdf".to_owned(),
            pages: Some(3),
            color_pages: None,
            paper_size: None,
            long_edge: None,
            port: OutputPort::Address("192.0.2.10".to_owned()),
            time: at(made),
        }
    }

    fn sent(second: i64) -> StoredRecord {
        StoredRecord { id: 1, record: record(second - 1), attempted: Some(at(second)), carried_over: None, made: None }
    }

    fn carried_over(made: i64, damage: i64) -> StoredRecord {
        StoredRecord { attempted: Some(at(made)), carried_over: Some(at(damage)), ..sent(made + 1) }
    }

    const SETTLED: i64 = 30;

    fn clocks(now: i64) -> Clocks {
        Clocks {
            now: at(now),
            ahead: SignedDuration::ZERO,
            settled: Duration::from_secs(SETTLED.unsigned_abs()),
            datetime: false,
        }
    }

    fn row(second: i64) -> Document {
        Document {
            title: "Same.pdf".to_owned(),
            user: "Ada".to_owned(),
            pages: Some(3),
            created: Some(at(second)),
            status: DocumentStatus::Printed,
            ..Document::sample(&format!("row-{second}"))
        }
    }

    /// The judgement about the rows that the server would answer.
    fn found(stored: &StoredRecord, equals: &[StoredRecord], rows: &[Document], clocks: &Clocks) -> Arrival {
        let window = HistoryWindow::of(stored, equals, clocks);
        let stands = |row: &&Document| row.created.is_some_and(|at| window.span.from <= at && at <= window.span.to);
        let history: Vec<Document> = rows.iter().filter(stands).cloned().collect();
        window.judge(&stored.record, &HashSet::from(["document-0".to_owned()]), &history)
    }

    #[test]
    fn rows_that_stand_there_for_another_reason_do_not_count() {
        let now = clocks(1_000);
        let of_document = Document { uuid: "document-0".to_owned(), ..row(100) };
        let not_printed = Document { status: DocumentStatus::Ready, ..row(100) };
        let other_title = Document { title: "Other.pdf".to_owned(), ..row(100) };
        let other_pages = Document { pages: Some(4), ..row(100) };
        let silent = Document { title: String::new(), pages: None, ..row(100) };
        for (rows, expected) in [
            (vec![], Arrival::Absent),
            (vec![row(100)], Arrival::Arrived),
            (vec![row(100 + SETTLED)], Arrival::Arrived),
            (vec![silent], Arrival::Arrived),
            (vec![row(10)], Arrival::Absent),
            (vec![of_document, not_printed, other_title, other_pages], Arrival::Absent),
        ] {
            assert_eq!(found(&sent(100), &[], &rows, &now), expected, "{rows:?}");
        }
    }

    #[test]
    fn an_equal_record_at_the_edge_of_the_window_is_counted() {
        // Marked well before, stamped only just before its answer: its row stands among ours.
        let (earlier, ours) = (sent(80), sent(101));
        assert_eq!(found(&ours, std::slice::from_ref(&earlier), &[row(100)], &clocks(1_000)), Arrival::Absent);
        assert_eq!(found(&ours, &[earlier], &[row(100), row(101)], &clocks(1_000)), Arrival::Arrived);
    }

    #[test]
    fn what_comes_from_a_damaged_database_is_looked_for_until_the_damage() {
        const DAY: i64 = 24 * 3600;
        let back = carried_over(0, 9 * DAY);
        let now = clocks(10 * DAY);
        assert_eq!(found(&back, &[], &[row(8 * DAY)], &now), Arrival::Arrived);
        assert_eq!(found(&back, &[], &[row(9 * DAY + 3600)], &now), Arrival::Absent);
        // A second one of two that were delivered; and of one.
        let first = carried_over(0, 9 * DAY);
        assert_eq!(found(&back, std::slice::from_ref(&first), &[row(DAY), row(2 * DAY)], &now), Arrival::Arrived);
        assert_eq!(found(&back, &[first], &[row(DAY)], &now), Arrival::Absent);
        // By a clock that was set since, or by none.
        let set = Clocks { ahead: SignedDuration::from_hours(-3), ..clocks(10 * DAY) };
        assert_eq!(found(&back, &[], &[row(-2 * 3600)], &set), Arrival::Arrived);
        let timeless = StoredRecord { attempted: Some(Timestamp::UNIX_EPOCH), ..back };
        assert_eq!(found(&timeless, &[], &[row(-DAY)], &now), Arrival::Arrived);
    }

    #[test]
    fn a_record_that_names_its_time_stands_there() {
        let named = Clocks { datetime: true, ..clocks(1_000) };
        let late = StoredRecord { attempted: Some(at(900)), ..sent(101) };
        assert_eq!(found(&late, &[], &[row(100)], &named), Arrival::Arrived);
        assert_eq!(found(&late, &[], &[row(900)], &named), Arrival::Absent);
    }

    proptest! {
        /// Equal records one after the other, each stamped at any time between its mark and when it has settled. However
        /// the stamps fall, it is known whether the last one arrived.
        #[test]
        fn equal_records_are_counted_right(
            steps in proptest::collection::vec((0..2 * SETTLED, 0..=SETTLED), 1..20),
            arrived in any::<bool>(),
        ) {
            let (mut ledger, mut rows, mut mark) = (Vec::new(), Vec::new(), 0);
            for (wait, delay) in steps {
                // The next one is sent when the answer to this one has come.
                mark += wait;
                ledger.push(sent(mark));
                rows.push(row(mark + delay));
                mark += delay;
            }
            let doubtful = ledger.pop().unwrap();
            if !arrived {
                rows.pop();
            }
            let expected = if arrived { Arrival::Arrived } else { Arrival::Absent };
            prop_assert_eq!(found(&doubtful, &ledger, &rows, &clocks(100_000)), expected);
        }
    }
}
