//! Looks a job record up in the server's history, and gathers what [`HistoryWindow`] needs to judge what it says.

use std::collections::HashSet;
use std::time::Instant;

use jiff::Timestamp;

use super::delivery::Arrival;
use super::window::{Clocks, HistoryWindow, equal};
use crate::domain::{Cause, Failure};
use crate::journal::{Journal, JournalError, StoredRecord};
use crate::print_server::{Client, HistoryQuery};

/// The parts that answer where a record is.
#[derive(Clone, Debug)]
pub(super) struct Lookup {
    pub(super) client: Client,
    pub(super) journal: Journal,
    /// When this run began: an earlier one may have sent until then.
    pub(super) started: Instant,
    /// The server stamps a record with the time that it names.
    pub(super) datetime: bool,
}

/// Looks for the record that was sent at `attempted`, by the server's clock. Waits first until the server cannot be at
/// work on it any more.
pub(super) async fn look_up(ask: &Lookup, stored: &StoredRecord, attempted: Timestamp) -> Result<Arrival, Failure> {
    let wall = Timestamp::now();
    let now = ask.client.server_time(wall);
    let clocks =
        Clocks { now, ahead: wall.duration_until(now), settled: ask.client.settled_after(), datetime: ask.datetime };
    let since = now.duration_since(attempted).unsigned_abs();
    tokio::time::sleep(clocks.settled.saturating_sub(since)).await;
    // The mark may be from an earlier run, whose clock may have been another one.
    tokio::time::sleep_until((ask.started + clocks.settled).into()).await;
    let mut ledger = ask.journal.ledger().await.map_err(storage)?;
    ledger.retain(|entry| entry.record.user.name.eq_ignore_ascii_case(&stored.record.user.name));
    let mut released = documents(ask, &stored.record.user.name).await?;
    released.extend(ledger.iter().map(|entry| entry.record.document.clone()));
    ledger.retain(|entry| equal(&entry.record, &stored.record));
    let window = HistoryWindow::of(stored, &ledger, &clocks);
    let query =
        HistoryQuery { user: Some(stored.record.user.name.clone()), from: window.span.from, to: window.span.to };
    let history = ask.client.history(&query).await?;
    Ok(window.judge(&stored.record, &released, &history))
}

/// The documents of this user that the journal knows as released, or as perhaps released: they stand in the history too.
async fn documents(ask: &Lookup, user: &str) -> Result<HashSet<String>, Failure> {
    let mut documents = HashSet::new();
    let mut next = Some(0);
    while let Some(after) = next {
        let page = ask.journal.list(after).await.map_err(storage)?;
        let releases = page.releases.into_iter().map(|stored| (stored.release.user, stored.release.document.uuid));
        let records = page.records.into_iter().map(|stored| stored.record);
        let dead = page.dead.into_iter().map(|letter| letter.record);
        let known = releases.chain(records.chain(dead).map(|record| (record.user, record.document)));
        documents.extend(known.filter(|(of, _)| of.name.eq_ignore_ascii_case(user)).map(|(_, document)| document));
        next = page.next;
    }
    Ok(documents)
}

fn storage(error: JournalError) -> Failure {
    Failure::new(Cause::Storage, error.to_string())
}
