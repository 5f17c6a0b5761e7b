//! Did a job record arrive although its answer was lost? The server's history tells, if it may be read.
//!
//! A record has no key of its own at the server, so it is known by what it says: user, title, pages. Equal ones are
//! counted, not merged: the history must hold one more than those that are known to stand there for another reason,
//! that is, released documents under their own uuid, and records of the ledger. So that the count is exact, an equal record
//! of the ledger must stand in the window or outside as a whole: the window grows until that is so.

use std::collections::HashSet;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::work::Work;
use crate::clock;
use crate::domain::{Cause, Document, DocumentStatus, Failure, JobRecord};
use crate::journal::{JournalError, StoredRecord};
use crate::print_server::HistoryQuery;

/// How far the server's clock, as its `Date` header tells it, may be from the time stamps in its history.
const SKEW: SignedDuration = SignedDuration::from_secs(5);

/// How far back a record is looked for that comes from a damaged database and does not know its time.
const FAR_BACK: SignedDuration = SignedDuration::from_hours(30 * 24);

/// What the history says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Arrived,
    Absent,
}

/// Looks for the record that was sent at `attempted`, by the server's clock. Waits first until the server cannot be at
/// work on it any more.
pub(super) async fn look_up(
    work: &Work,
    datetime: bool,
    stored: &StoredRecord,
    attempted: Timestamp,
) -> Result<Found, Failure> {
    let wall = Timestamp::now();
    let now = work.client.server_time(wall);
    let clocks = Clocks { now, ahead: wall.duration_until(now), settled: work.client.settled_after(), datetime };
    let since = now.duration_since(attempted).unsigned_abs();
    tokio::time::sleep(clocks.settled.saturating_sub(since)).await;
    // The mark may be from an earlier run, whose clock may have been another one.
    tokio::time::sleep_until((work.started + clocks.settled).into()).await;
    let mut ledger = work.journal.ledger().await.map_err(storage)?;
    ledger.retain(|entry| entry.record.user.name.eq_ignore_ascii_case(&stored.record.user.name));
    let mut released = documents(work, &stored.record.user.name).await?;
    released.extend(ledger.iter().map(|entry| entry.record.document.clone()));
    ledger.retain(|entry| equal(&entry.record, &stored.record));
    let window = Window::of(stored, &ledger, &clocks);
    let query =
        HistoryQuery { user: Some(stored.record.user.name.clone()), from: window.span.from, to: window.span.to };
    let history = work.client.history(&query).await?;
    Ok(window.judge(&stored.record, &released, &history))
}

/// The documents of this user that the journal knows as released, or as perhaps released: they stand in the history too.
async fn documents(work: &Work, user: &str) -> Result<HashSet<String>, Failure> {
    let mut documents = HashSet::new();
    let mut next = Some(0);
    while let Some(after) = next {
        let page = work.journal.list(after).await.map_err(storage)?;
        let releases = page.releases.into_iter().map(|stored| (stored.release.user, stored.release.document.uuid));
        let records = page.records.into_iter().map(|stored| stored.record);
        let dead = page.dead.into_iter().map(|letter| letter.record);
        let known = releases.chain(records.chain(dead).map(|record| (record.user, record.document)));
        documents.extend(known.filter(|(of, _)| of.name.eq_ignore_ascii_case(user)).map(|(_, document)| document));
        next = page.next;
    }
    Ok(documents)
}

/// What decides where the row of a record stands in the history.
struct Clocks {
    /// By the server's clock.
    now: Timestamp,
    /// How far the server's clock is before this box's.
    ahead: SignedDuration,
    /// The server stamps a row before this has passed.
    settled: Duration,
    /// The server stamps a row with the time that the record names, where it names one.
    datetime: bool,
}

impl Clocks {
    /// What was written down by this box's clock, by either clock: it may have been set since.
    fn both(&self, time: Timestamp) -> [Timestamp; 2] {
        [time, time.saturating_add(self.ahead).unwrap_or(time)]
    }
}

/// A time, by the server's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    from: Timestamp,
    to: Timestamp,
}

impl Span {
    /// Where the row of this record stands, if it is there; `None` for one that was never sent.
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
struct Window {
    span: Span,
    known: usize,
}

impl Window {
    /// `equals` are acknowledged records that look the same.
    fn of(stored: &StoredRecord, equals: &[StoredRecord], clocks: &Clocks) -> Self {
        let own = Span::of(stored, clocks).unwrap_or(Span { from: far_back(clocks.now), to: clocks.now });
        let mut apart: Vec<Span> = equals.iter().filter_map(|entry| Span::of(entry, clocks)).collect();
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
    fn judge(&self, record: &JobRecord, released: &HashSet<String>, history: &[Document]) -> Found {
        let seen = history.iter().filter(|row| !released.contains(&row.uuid) && says(row, record)).count();
        if seen > self.known { Found::Arrived } else { Found::Absent }
    }
}

/// Whether a row of the history says what the record says. What a server leaves out does not tell against it.
fn says(row: &Document, record: &JobRecord) -> bool {
    matches!(row.status, DocumentStatus::Printed | DocumentStatus::Other)
        && (row.user.is_empty() || row.user.eq_ignore_ascii_case(&record.user.name))
        && (row.title.is_empty() || row.title == record.title)
        && row.pages.is_none_or(|pages| record.pages.is_none_or(|ours| ours == pages))
        && row.paper_size.as_ref().is_none_or(|size| record.paper_size.as_ref().is_none_or(|ours| ours == size))
}

/// Whether two records would look the same in the history.
fn equal(one: &JobRecord, other: &JobRecord) -> bool {
    one.user == other.user && one.title == other.title && one.pages == other.pages && one.paper_size == other.paper_size
}

fn storage(error: JournalError) -> Failure {
    Failure::new(Cause::Storage, error.to_string())
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
            uuid: format!("row-{second}"),
            title: "Same.pdf".to_owned(),
            user: "Ada".to_owned(),
            pages: Some(3),
            color_pages: None,
            copies: None,
            duplex: None,
            grayscale: None,
            paper_size: None,
            created: Some(at(second)),
            status: DocumentStatus::Printed,
            port_name: None,
        }
    }

    /// What the server would answer, and what is made of it.
    fn found(stored: &StoredRecord, equals: &[StoredRecord], rows: &[Document], clocks: &Clocks) -> Found {
        let window = Window::of(stored, equals, clocks);
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
            (vec![], Found::Absent),
            (vec![row(100)], Found::Arrived),
            (vec![row(100 + SETTLED)], Found::Arrived),
            (vec![silent], Found::Arrived),
            (vec![row(10)], Found::Absent),
            (vec![of_document, not_printed, other_title, other_pages], Found::Absent),
        ] {
            assert_eq!(found(&sent(100), &[], &rows, &now), expected, "{rows:?}");
        }
    }

    #[test]
    fn an_equal_record_at_the_edge_of_the_window_is_counted() {
        // Marked well before, stamped only just before its answer: its row stands among ours.
        let (earlier, ours) = (sent(80), sent(101));
        assert_eq!(found(&ours, std::slice::from_ref(&earlier), &[row(100)], &clocks(1_000)), Found::Absent);
        assert_eq!(found(&ours, &[earlier], &[row(100), row(101)], &clocks(1_000)), Found::Arrived);
    }

    #[test]
    fn what_comes_from_a_damaged_database_is_looked_for_until_the_damage() {
        const DAY: i64 = 24 * 3600;
        let back = carried_over(0, 9 * DAY);
        let now = clocks(10 * DAY);
        assert_eq!(found(&back, &[], &[row(8 * DAY)], &now), Found::Arrived);
        assert_eq!(found(&back, &[], &[row(9 * DAY + 3600)], &now), Found::Absent);
        // A second one of two that were delivered; and of one.
        let first = carried_over(0, 9 * DAY);
        assert_eq!(found(&back, std::slice::from_ref(&first), &[row(DAY), row(2 * DAY)], &now), Found::Arrived);
        assert_eq!(found(&back, &[first], &[row(DAY)], &now), Found::Absent);
        // By a clock that was set since, or by none.
        let set = Clocks { ahead: SignedDuration::from_hours(-3), ..clocks(10 * DAY) };
        assert_eq!(found(&back, &[], &[row(-2 * 3600)], &set), Found::Arrived);
        let timeless = StoredRecord { attempted: Some(Timestamp::UNIX_EPOCH), ..back };
        assert_eq!(found(&timeless, &[], &[row(-DAY)], &now), Found::Arrived);
    }

    #[test]
    fn a_record_that_names_its_time_stands_there() {
        let named = Clocks { datetime: true, ..clocks(1_000) };
        let late = StoredRecord { attempted: Some(at(900)), ..sent(101) };
        assert_eq!(found(&late, &[], &[row(100)], &named), Found::Arrived);
        assert_eq!(found(&late, &[], &[row(900)], &named), Found::Absent);
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
            let expected = if arrived { Found::Arrived } else { Found::Absent };
            prop_assert_eq!(found(&doubtful, &ledger, &rows, &clocks(100_000)), expected);
        }
    }
}
