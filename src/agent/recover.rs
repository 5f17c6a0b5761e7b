//! Releases of which nobody knows how they ended. An earlier run left them open: they may have been sent or not, and the
//! user's token is gone. Or a tap did, because the server did not answer until its deadline. The server's history tells by
//! the document's uuid. Nothing is released again (design, section 2).
//!
//! They stay open in the journal until it is known: what this run does not find out, the next one does. Outcomes that the
//! journal did not take are brought to it here, too.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use tokio::sync::mpsc;

use super::claims::Turn;
use super::events;
use super::work::{Ended, Work};
use crate::backoff::Backoff;
use crate::domain::{Cause, Document, DocumentStatus, EntryId, Failure, JobRecord, Outcome, Release, StationName};
use crate::journal::StoredRelease;
use crate::print_server::HistoryQuery;
use crate::random;
use crate::station::{Report, Verdict};

/// Doubts that may wait for the recovery; what is beyond waits in the journal for the next run.
pub(super) const DOUBT_LIMIT: usize = 1_000;

/// How often the server is asked about one release: for a week, once a minute. Then nobody knows.
const ASK_LIMIT: u32 = 7 * 24 * 60;

/// Between two questions while the server cannot be reached, or two attempts while the journal takes nothing.
const RETRY: Backoff = match Backoff::new(Duration::from_millis(500), Duration::from_secs(60)) {
    Ok(backoff) => backoff,
    Err(_) => panic!("checked when compiled"),
};

/// Around a document's creation, by the server's own clock on both sides.
const MARGIN: SignedDuration = SignedDuration::from_mins(1);

/// How far back a document is looked for whose creation is not known.
const FAR_BACK: SignedDuration = SignedDuration::from_hours(6 * 24);

/// One release that is to be ended.
#[derive(Debug)]
pub(super) struct Doubt {
    id: EntryId,
    station: StationName,
    state: State,
}

/// Nobody knows how it ended.
#[derive(Debug)]
struct Open {
    release: Box<Release>,
    /// It was not sent after this.
    sent: Instant,
    /// How often the server was asked.
    asked: u32,
    /// Why there was a doubt at all: the reason in the event that ends it well.
    why: &'static str,
}

#[derive(Debug)]
enum State {
    Open(Open),
    Known(Box<Known>),
}

/// How a release ended, which is not durable yet; then it is told, if it was not told before.
type Known = (Ended, Option<Report>);

impl Doubt {
    /// What an earlier run left open.
    fn of_earlier_run(stored: StoredRelease, sent: Instant) -> Self {
        Self::open(stored.id, stored.release, sent, "after-restart")
    }

    /// What a tap of this run could not find out.
    pub(super) fn of_tap(id: EntryId, release: Release, sent: Instant) -> Self {
        Self::open(id, release, sent, "after-doubt")
    }

    fn open(id: EntryId, release: Release, sent: Instant, why: &'static str) -> Self {
        let station = release.station.clone();
        Self { id, station, state: State::Open(Open { release: Box::new(release), sent, asked: 0, why }) }
    }

    /// What is counted and told, and was not taken by the journal.
    pub(super) fn unstored(station: StationName, id: EntryId, ended: Ended) -> Self {
        Self { id, station, state: State::Known(Box::new((ended, None))) }
    }
}

/// Ends every release of which nobody knows how it ended, unless a tap takes it over.
pub(super) async fn run(work: Arc<Work>, mut doubts: mpsc::Receiver<Doubt>) {
    let mut backoff = RETRY;
    let open = loop {
        match work.left_open().await {
            Ok(open) => break open,
            Err(_) => tokio::time::sleep(backoff.next(random::word())).await,
        }
    };
    let mut waiting: VecDeque<Doubt> =
        open.iter().map(|stored| Doubt::of_earlier_run(stored.clone(), work.started)).collect();
    loop {
        let doubt = match waiting.pop_front() {
            Some(doubt) => doubt,
            None => match doubts.recv().await {
                Some(doubt) => doubt,
                None => return,
            },
        };
        // In turns: what cannot be found out now must not keep the others waiting.
        match settle(&work, doubt).await {
            None => backoff.reset(),
            Some(doubt) => {
                waiting.push_back(doubt);
                pause(&work, backoff.next(random::word())).await;
            }
        }
        while let Ok(doubt) = doubts.try_recv() {
            waiting.push_back(doubt);
        }
    }
}

/// Waits, but not when some request has found the server gone or back.
async fn pause(work: &Work, wait: Duration) {
    let mut reached = work.client.reached();
    let known = *reached.borrow_and_update();
    drop(tokio::time::timeout(wait, reached.wait_for(|reached| *reached != known)).await.map(drop));
}

/// Brings a doubt to its end, or gives it back to be tried again.
async fn settle(work: &Arc<Work>, doubt: Doubt) -> Option<Doubt> {
    let Doubt { id, station, state } = doubt;
    let (ended, report) = match state {
        State::Known(known) => *known,
        State::Open(open) => match find_out(work, id, open).await {
            Ok(known) => known,
            Err(open) => return Some(Doubt { id, station, state: State::Open(open) }),
        },
    };
    if let Err(error) = work.journal.end_release(id, ended.outcome.clone(), ended.record.clone()).await {
        tracing::warn!(id, %error, "outcome not stored yet");
        return Some(Doubt { id, station, state: State::Known(Box::new((ended, report))) });
    }
    if let Some(report) = report {
        let (tap, document, outcome, reason) = (report.tap, &ended.document, ended.outcome.word(), &report.reason);
        tracing::warn!(%tap, %document, outcome, reason, "release in doubt ended");
        work.count(&station, &ended.outcome);
        work.event(&station, events::of_report(&report, &work.users, Timestamp::now()));
    }
    None
}

/// How a release ended, and what is to be told of it; or it is to be asked again.
async fn find_out(work: &Work, id: EntryId, mut open: Open) -> Result<Known, Open> {
    open.asked += 1;
    let release = &open.release;
    let outcome = match ask(work, release, open.sent).await {
        Ok(outcome) => outcome,
        Err(failure) if open.asked >= ASK_LIMIT => Outcome::Unknown(failure.cause.word().to_owned()),
        Err(failure) => {
            if open.asked == 1 {
                tracing::warn!(tap = %release.tap, error = %failure, "release still open; asking again");
            }
            return Err(open);
        }
    };
    let (outcome, report) = match work.claims.resolve(release, id) {
        Turn::Now => (outcome.clone(), Some(report(release, outcome, open.why))),
        Turn::Later => return Err(open),
        // One paper, one record.
        Turn::Never => (Outcome::Failed("superseded".to_owned()), None),
    };
    let record = (outcome.is_released() && release.record).then(|| JobRecord::of(release, release.time));
    Ok((Ended { id: Some(id), document: release.document.uuid.clone(), outcome, record }, report))
}

/// What the history says about a release; an error that passes by itself is one to ask again after.
async fn ask(work: &Work, release: &Release, sent: Instant) -> Result<Outcome, Failure> {
    tokio::time::sleep_until((sent + work.client.settled_after()).into()).await;
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
        Some(DocumentStatus::Ready | DocumentStatus::Printed) if release.retain => {
            Outcome::Unknown(Outcome::RETAINED.to_owned())
        }
        Some(DocumentStatus::Printed) => Outcome::Accepted,
        Some(DocumentStatus::Ready) => Outcome::Failed("interrupted".to_owned()),
        Some(DocumentStatus::Failed) => Outcome::Failed("at the server".to_owned()),
        Some(DocumentStatus::Gone | DocumentStatus::Coming | DocumentStatus::Other) | None => {
            Outcome::Unknown("not-listed".to_owned())
        }
    }
}

/// What is told of a release that ended after its tap.
fn report(release: &Release, outcome: Outcome, why: &str) -> Report {
    let (verdict, reason) = match &outcome {
        Outcome::Printed | Outcome::Accepted => (Verdict::Released, why.to_owned()),
        Outcome::Failed(why) => (Verdict::Failed, why.clone()),
        Outcome::Unknown(why) => (Verdict::Unknown, why.clone()),
    };
    Report {
        tap: release.tap,
        verdict,
        reason,
        user: Some(release.user.clone()),
        pages: if outcome.is_released() { release.document.pages.unwrap_or(0) } else { 0 },
        outcomes: vec![outcome],
        duration: Duration::ZERO,
    }
}
