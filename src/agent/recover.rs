//! Releases that an earlier run left open: they may have been sent or not, and the user's token is gone. The server's
//! history tells by the document's uuid. Nothing is released again (design, section 2).

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::events;
use super::work::Work;
use crate::backoff::Backoff;
use crate::domain::{Cause, Document, DocumentStatus, Failure, JobRecord, Outcome, Release};
use crate::journal::StoredRelease;
use crate::print_server::HistoryQuery;
use crate::random;
use crate::station::{Report, Verdict};

/// Between two questions while the server cannot be reached.
const RETRY: Backoff = match Backoff::new(Duration::from_millis(500), Duration::from_secs(60)) {
    Ok(backoff) => backoff,
    Err(_) => panic!("checked when compiled"),
};

/// Around a document's creation, by the server's own clock on both sides.
const MARGIN: SignedDuration = SignedDuration::from_mins(1);

/// How far back a document is looked for whose creation is not known.
const FAR_BACK: SignedDuration = SignedDuration::from_hours(6 * 24);

/// Ends every release that an earlier run left open, unless a tap takes it over.
pub(super) async fn run(work: Arc<Work>, open: Vec<StoredRelease>) {
    let mut backoff = RETRY;
    let mut judged = HashSet::new();
    for stored in open {
        let release = &stored.release;
        let outcome = loop {
            match ask(&work, release).await {
                Ok(outcome) => break outcome,
                Err(failure) => {
                    tracing::warn!(tap = %release.tap, error = %failure, "release of an earlier run still open");
                    tokio::time::sleep(backoff.next(random::word())).await;
                }
            }
        };
        backoff.reset();
        let uuid = &release.document.uuid;
        if work.leftover.resolve(uuid) {
            judged.insert(uuid.clone());
            end(&work, &stored, outcome).await;
        } else if judged.contains(uuid) {
            // Two stations may have wanted it: one paper, one record.
            let superseded = Outcome::Failed("superseded".to_owned());
            work.end_release(&release.station, stored.id, superseded, None).await;
        }
    }
}

/// What the history says about a release; an error that passes by itself is one to ask again after.
async fn ask(work: &Work, release: &Release) -> Result<Outcome, Failure> {
    // The earlier run may have sent it just before its end.
    tokio::time::sleep_until((work.started + work.client.settled_after()).into()).await;
    let now = Timestamp::now();
    let around = release.document.created;
    let query = HistoryQuery {
        user: Some(release.user.name.clone()),
        from: around
            .and_then(|created| created.checked_sub(MARGIN).ok())
            .or(work.client.server_time(now).checked_sub(FAR_BACK).ok())
            .unwrap_or(Timestamp::MIN),
        to: around
            .and_then(|created| created.checked_add(MARGIN).ok())
            .or(work.client.server_time(now).checked_add(MARGIN).ok())
            .unwrap_or(Timestamp::MAX),
    };
    match work.client.history(&query).await {
        Ok(history) => Ok(judge(release, history.iter().find(|row| row.uuid == release.document.uuid))),
        Err(failure) if matches!(failure.cause, Cause::Refused(_) | Cause::Rejected | Cause::NotFound) => {
            Ok(Outcome::Unknown(format!("history: {}", failure.cause.word())))
        }
        Err(failure) => Err(failure),
    }
}

fn judge(release: &Release, row: Option<&Document>) -> Outcome {
    match row.map(|row| row.status) {
        Some(DocumentStatus::Printed) => Outcome::Accepted,
        Some(DocumentStatus::Ready) if release.retain => Outcome::Unknown("retained".to_owned()),
        Some(DocumentStatus::Ready) => Outcome::Failed("interrupted".to_owned()),
        Some(DocumentStatus::Failed) => Outcome::Failed("at the server".to_owned()),
        Some(DocumentStatus::Gone | DocumentStatus::Coming | DocumentStatus::Other) | None => {
            Outcome::Unknown("not-listed".to_owned())
        }
    }
}

async fn end(work: &Arc<Work>, stored: &StoredRelease, outcome: Outcome) {
    let release = &stored.release;
    let record = (outcome.is_released() && release.record).then(|| JobRecord::of(release, release.time));
    let (verdict, reason) = match &outcome {
        Outcome::Printed | Outcome::Accepted => (Verdict::Released, "after-restart".to_owned()),
        Outcome::Failed(why) => (Verdict::Failed, why.clone()),
        Outcome::Unknown(why) => (Verdict::Unknown, why.clone()),
    };
    let (tap, word, document) = (release.tap, outcome.word(), &release.document.uuid);
    tracing::warn!(%tap, %document, outcome = word, reason, "release of an earlier run ended");
    work.end_release(&release.station, stored.id, outcome.clone(), record).await;
    let report = Report {
        tap: release.tap,
        verdict,
        reason,
        user: Some(release.user.clone()),
        pages: if outcome.is_released() { release.document.pages.unwrap_or(0) } else { 0 },
        outcomes: vec![outcome],
        duration: Duration::ZERO,
    };
    work.event(&release.station, events::of_report(&report, &work.users, Timestamp::now()));
}
