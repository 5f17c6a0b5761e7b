//! Did a job record arrive although its answer was lost? The server's history tells, if it may be read.
//!
//! A record has no key of its own at the server, so it is known by what it says: user, title, pages. Equal ones are
//! counted, not merged: the history must hold one more than those that are known to stand there for another reason,
//! that is, released documents under their own uuid, and records of the ledger.

use std::collections::HashSet;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::work::Work;
use crate::domain::{Cause, Document, DocumentStatus, Failure, JobRecord};
use crate::journal::{JournalError, StoredRecord};
use crate::print_server::HistoryQuery;

/// How far the server's clock, as its `Date` header tells it, may be from the time stamps in its history.
const SKEW: SignedDuration = SignedDuration::from_secs(5);

/// How many of the records that wait behind this one are looked at. Only those count whose documents were submitted within
/// the window, which is seconds long.
const BEHIND_LIMIT: usize = 1_000;

/// What the history says.
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
    let now = work.client.server_time(Timestamp::now());
    let settled = work.client.settled_after();
    let since = now.duration_since(attempted).unsigned_abs();
    tokio::time::sleep(settled.saturating_sub(since)).await;
    // The mark may be from an earlier run, whose clock may have been another one.
    tokio::time::sleep_until((work.started + settled).into()).await;
    let ledger = work.journal.ledger().await.map_err(storage)?;
    let releases = work.journal.open_releases().await.map_err(storage)?;
    let waiting = work.journal.oldest_records(BEHIND_LIMIT).await.map_err(storage)?;
    let window = Window::of(&stored.record, attempted, datetime, settled);
    let query = HistoryQuery { user: Some(stored.record.user.name.clone()), from: window.from, to: window.to };
    let history = work.client.history(&query).await?;
    let mut released: HashSet<&str> = ledger.iter().map(|entry| entry.record.document.as_str()).collect();
    released.extend(waiting.iter().map(|entry| entry.record.document.as_str()));
    released.extend(releases.iter().map(|entry| entry.release.document.uuid.as_str()));
    let seen = history.iter().filter(|row| !released.contains(row.uuid.as_str()) && says(row, &stored.record));
    let known = ledger.iter().filter(|entry| window.may_hold(entry) && equal(&entry.record, &stored.record));
    Ok(if seen.count() > known.count() { Found::Arrived } else { Found::Absent })
}

/// The time, by the server's clock, in which the record's row must stand.
struct Window {
    from: Timestamp,
    to: Timestamp,
    datetime: bool,
}

impl Window {
    /// A server that takes `datetime` stamps the row with it; others stamp it when it arrives, which is before it has
    /// settled.
    fn of(record: &JobRecord, attempted: Timestamp, datetime: bool, settled: Duration) -> Self {
        let latest = attempted.checked_add(settled).unwrap_or(Timestamp::MAX);
        let (from, to) = if datetime { (record.time, record.time) } else { (attempted, latest) };
        Self {
            from: from.checked_sub(SKEW).unwrap_or(Timestamp::MIN),
            to: to.checked_add(SKEW).unwrap_or(Timestamp::MAX),
            datetime,
        }
    }

    /// Whether the row of an acknowledged record may stand in this window.
    fn may_hold(&self, entry: &StoredRecord) -> bool {
        let stamped = if self.datetime { Some(entry.record.time) } else { entry.attempted };
        stamped.is_none_or(|stamped| self.from <= stamped && stamped <= self.to)
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
