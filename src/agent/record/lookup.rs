//! Looks a job record up in the server's history, and gathers what [`HistoryWindow`] and [`RowCounts`] need to judge what it says.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use jiff::{SignedDuration, Timestamp};

use super::delivery::Arrival;
use super::rows::{OwnDocuments, RowCounts, RowMarks};
use super::window::{Clocks, HistoryWindow, equal};
use crate::agent::parts::OutboxSetup;
use crate::domain::{Cause, Document, EntryId, Failure, JobRecord, OutputPort};
use crate::journal::{Journal, JournalError, StoredRecord};
use crate::print_server::{Client, HistoryQuery};

/// A document was submitted at most so long before its record was sent: two windows of the history.
const WAITS_AT_MOST: SignedDuration = SignedDuration::from_hours(13 * 24);

/// The parts that answer where a record is.
#[derive(Debug)]
pub(super) struct Lookup {
    client: Client,
    journal: Journal,
    /// When this run began: an earlier one may have sent until then.
    started: Instant,
    setup: OutboxSetup,
    /// The moments at which records were sent, while the server may still be at work on them.
    sent: Mutex<HashMap<EntryId, Instant>>,
}

impl Lookup {
    pub(super) fn new(client: Client, journal: Journal, started: Instant, setup: OutboxSetup) -> Self {
        Self { client, journal, started, setup, sent: Mutex::default() }
    }

    /// Notes that this record is being sent.
    pub(super) fn note_sent(&self, id: EntryId) {
        let settled = self.client.settled_after();
        let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        sent.retain(|_, at| at.elapsed() < settled);
        sent.insert(id, Instant::now());
    }

    /// The moment from which the server is certainly no longer at work on a record. It goes by the one clock that nobody sets.
    pub(super) fn settles_at(&self, id: EntryId) -> Instant {
        let sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        sent.get(&id).copied().unwrap_or(self.started) + self.client.settled_after()
    }

    /// Looks for a record that may have arrived, and on which the server cannot be at work any more.
    pub(super) async fn look_up(&self, stored: &StoredRecord) -> Result<Arrival, Failure> {
        self.client.learn_time().await?;
        let now = self.client.likely_server_time();
        let ahead = Timestamp::now().duration_until(now);
        let clocks = Clocks { now, ahead, settled: self.client.settled_after(), datetime: self.setup.datetime };
        let record = &stored.record;
        let mut ledger = self.journal.ledger().await.map_err(storage)?;
        ledger.retain(|entry| entry.record.user.name == record.user.name);
        let (mut others, in_doubt) = self.waiting(stored).await?;
        others.extend(ledger.iter().map(|entry| (entry.record.document.clone(), entry.record.port.clone())));
        let released = OwnDocuments::of(record, others);
        ledger.retain(|entry| equal(&entry.record, record));
        let window = HistoryWindow::of(stored, &ledger, in_doubt, &clocks);
        let history = self.history(record, window.span.from, window.span.to).await?;
        let judge = |port_name: Option<&str>| {
            RowCounts::of(&history, &RowMarks { record, released: &released, port_name }).judge(window.known)
        };
        let arrival = judge(None);
        if arrival != Arrival::Ambiguous || history.iter().all(|row| row.port_name.is_none()) {
            return Ok(arrival);
        }
        // The rows name ports, so it matters what the server calls this record's.
        let from = window.span.from.checked_sub(WAITS_AT_MOST).unwrap_or(Timestamp::MIN);
        let earlier = self.history(record, from, window.span.to).await?;
        match judge(released.port_name(&earlier)) {
            // A document that stayed at the server may have gone to another port since, whose name was learned then.
            Arrival::Absent => Ok(Arrival::Ambiguous),
            arrival => Ok(arrival),
        }
    }

    async fn history(&self, record: &JobRecord, from: Timestamp, to: Timestamp) -> Result<Vec<Document>, Failure> {
        self.client.history(&HistoryQuery { user: Some(record.user.name.clone()), from, to }).await
    }

    /// The documents of this user that the journal knows as released, or as perhaps released, with their ports; and the
    /// number of other records that look the same and are in doubt.
    async fn waiting(&self, stored: &StoredRecord) -> Result<(Vec<(String, OutputPort)>, usize), Failure> {
        let user = &stored.record.user.name;
        let (mut documents, mut in_doubt) = (Vec::new(), 0);
        let mut next = Some(0);
        while let Some(after) = next {
            let page = self.journal.list(after).await.map_err(storage)?;
            let same =
                |it: &&StoredRecord| it.id != stored.id && it.attempted.is_some() && equal(&it.record, &stored.record);
            in_doubt += page.records.iter().filter(same).count();
            let releases = page.releases.into_iter().map(|it| it.release);
            let releases = releases.map(|release| (release.user, release.document.uuid, release.port));
            let records = page.records.into_iter().map(|it| it.record);
            let records = records.chain(page.dead.into_iter().map(|letter| letter.record));
            let known = releases.chain(records.map(|record| (record.user, record.document, record.port)));
            documents.extend(known.filter(|(of, ..)| of.name == *user).map(|(_, uuid, port)| (uuid, port)));
            next = page.next;
        }
        Ok((documents, in_doubt))
    }
}

fn storage(error: JournalError) -> Failure {
    Failure::new(Cause::Storage, error.to_string())
}
