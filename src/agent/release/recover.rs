//! The recovery: brings releases that were left open to their end.
//!
//! An earlier run left them open: they may have been sent or not, and the user's token is gone. Or a tap did, because the
//! server did not answer until its deadline. The server's history tells by the document's uuid. Nothing is released again.
//!
//! They stay open in the journal until it is known: if this run does not find out, the next one does. Outcomes that the
//! journal did not take are brought to it here, too. One question is asked at a time, and none waits for another: each
//! release has a time of its own when it is due.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use tokio::sync::mpsc;

use super::attempt::{Attempt, AttemptEvent, AttemptStep};
use super::claims::Turn;
use super::register::{EndedRelease, InDoubtRelease, Register};
use crate::agent::reporter::Reporter;
use crate::agent::stoppable::until;
use crate::backoff::Backoff;
use crate::domain::{DocumentStatus, EntryId, Failure, JobRecord, Outcome, Reason, Release, StationName, Verdict};
use crate::journal::StoredRelease;
use crate::planted;
use crate::print_server::{Client, HistoryQuery};
use crate::random;
use crate::station::Report;

/// Between two attempts while the journal takes nothing, or a tap may yet give the document back.
const RETRY: Backoff = match Backoff::new(Duration::from_millis(500), Duration::from_secs(60)) {
    Ok(backoff) => backoff,
    Err(_) => panic!("checked when compiled"),
};

/// Around a document's creation, by the server's own clock on both sides.
const MARGIN: SignedDuration = SignedDuration::from_mins(1);

/// A document whose creation is not known is looked for so far back.
const SEARCH_BACK: SignedDuration = SignedDuration::from_hours(6 * 24);

/// The parts that the recovery works with.
#[derive(Debug)]
pub(in crate::agent) struct Recovery {
    pub(in crate::agent) register: Arc<Register>,
    pub(in crate::agent) client: Client,
    pub(in crate::agent) reporter: Reporter,
}

/// A release on its way to its end.
#[derive(Debug)]
struct PendingRelease {
    id: EntryId,
    station: StationName,
    due: Instant,
    backoff: Backoff,
    /// Whether the log knows that it is not ended at once.
    is_logged: bool,
}

type Pending = (PendingRelease, RecoveryStage);

#[derive(Debug)]
enum RecoveryStage {
    /// Nobody knows yet how it ended.
    FindingOut(OpenRelease, Attempt, AttemptEvent),
    /// It is known, and may not be ended before it is clear that no tap takes the release's place.
    Judged(OpenRelease, Outcome),
    /// It is known and not yet durable; the report follows, unless it was told before.
    Storing(Box<EndedRelease>, Option<Report>),
}

/// A release that was left open.
#[derive(Debug)]
struct OpenRelease {
    release: Box<Release>,
    /// The reason in the event that ends it well.
    found_out: Reason,
}

impl PendingRelease {
    fn new(id: EntryId, station: StationName) -> Self {
        Self { id, station, due: Instant::now(), backoff: RETRY, is_logged: false }
    }

    fn try_later(&mut self) {
        self.due = Instant::now() + self.backoff.next(random::word());
    }
}

fn open(id: EntryId, release: Box<Release>, sent: Instant, found_out: Reason, settles_in: Duration) -> Pending {
    let settles_in = if planted::is("recovery-asks-too-early") { Duration::ZERO } else { settles_in };
    let attempt = Attempt::of_recovery(release.retain, sent, settles_in);
    let station = release.station.clone();
    let stage = RecoveryStage::FindingOut(OpenRelease { release, found_out }, attempt, AttemptEvent::Due);
    (PendingRelease::new(id, station), stage)
}

fn of_tap(in_doubt: InDoubtRelease, settles_in: Duration) -> Pending {
    match in_doubt {
        InDoubtRelease::Open { id, release, sent } => open(id, release, sent, Reason::AfterDoubt, settles_in),
        InDoubtRelease::Unstored { station, id, ended } => {
            (PendingRelease::new(id, station), RecoveryStage::Storing(ended, None))
        }
    }
}

/// The server is back, so a release that waits for it is asked about now; the attempt itself knows when that is too early.
fn hurry((it, stage): &mut Pending) {
    if matches!(stage, RecoveryStage::FindingOut(_, _, AttemptEvent::Due)) {
        it.due = Instant::now();
    }
}

impl Recovery {
    /// Ends every release of which nobody knows how it ended, unless a tap takes it over.
    pub(in crate::agent) async fn run(self, mut in_doubt: mpsc::Receiver<InDoubtRelease>) {
        let mut backoff = RETRY;
        let left_open: Vec<StoredRelease> = loop {
            match self.register.left_open().await {
                Ok(open) => break open.to_vec(),
                Err(_) => tokio::time::sleep(backoff.next(random::word())).await,
            }
        };
        let (settles_in, sent) = (self.client.settled_after(), self.register.started());
        let of_earlier_run =
            |it: StoredRelease| open(it.id, Box::new(it.release), sent, Reason::AfterRestart, settles_in);
        let mut pending: Vec<Pending> = left_open.into_iter().map(of_earlier_run).collect();
        let mut reached = self.client.reached();
        let mut known = *reached.borrow_and_update();
        loop {
            let first = pending.iter().enumerate().min_by_key(|(_, (it, _))| it.due);
            let first = first.map(|(index, (it, _))| (index, it.due));
            tokio::select! {
                biased;
                more = in_doubt.recv() => match more {
                    Some(more) => pending.push(of_tap(more, settles_in)),
                    None => return,
                },
                changed = reached.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let before = std::mem::replace(&mut known, *reached.borrow_and_update());
                    if before != known && known == Some(true) {
                        pending.iter_mut().for_each(hurry);
                    }
                }
                () = until(first.map(|(_, due)| due)) => {
                    if let Some((index, _)) = first {
                        let (it, stage) = pending.swap_remove(index);
                        pending.extend(self.advance(it, stage).await);
                    }
                }
            }
        }
    }

    /// One step with a release; `None` when it is over.
    async fn advance(&self, mut it: PendingRelease, stage: RecoveryStage) -> Option<Pending> {
        let next = match stage {
            RecoveryStage::FindingOut(open, attempt, event) => self.find_out(&mut it, open, attempt, event).await,
            RecoveryStage::Judged(open, outcome) => self.resolve(&mut it, open, outcome),
            RecoveryStage::Storing(ended, report) => match self.register.store_end(it.id, &ended).await {
                Ok(()) => {
                    let report = report.filter(|_| !planted::is("recovery-tells-nobody"));
                    report.iter().for_each(|report| self.report_end(&it.station, &ended, report));
                    return None;
                }
                Err(error) => {
                    tracing::warn!(id = it.id, %error, "outcome not stored yet");
                    if planted::is("recovery-gives-up") {
                        return None;
                    }
                    it.try_later();
                    RecoveryStage::Storing(ended, report)
                }
            },
        };
        Some((it, next))
    }

    async fn find_out(
        &self,
        it: &mut PendingRelease,
        open: OpenRelease,
        mut attempt: Attempt,
        event: AttemptEvent,
    ) -> RecoveryStage {
        match attempt.handle(event, Instant::now(), random::word()) {
            AttemptStep::AskStatus => {
                let answer = self.ask(&open.release).await;
                if let Err(failure) = &answer
                    && !std::mem::replace(&mut it.is_logged, true)
                {
                    let tap = open.release.tap;
                    tracing::warn!(%tap, id = it.id, error = %failure, "release still open; asking again");
                }
                if answer.is_err() && planted::is("recovery-believes-silence") {
                    let ready = AttemptEvent::Status(Ok(Some(DocumentStatus::Ready)));
                    return RecoveryStage::FindingOut(open, attempt, ready);
                }
                let told = AttemptEvent::Status(answer.map_err(|failure| failure.cause));
                RecoveryStage::FindingOut(open, attempt, told)
            }
            AttemptStep::Wait(until) => {
                it.due = until;
                RecoveryStage::FindingOut(open, attempt, AttemptEvent::Due)
            }
            AttemptStep::End(outcome) => RecoveryStage::Judged(open, outcome),
            // The recovery has no mandate to send, and leaves nothing to another recovery.
            AttemptStep::Send | AttemptStep::LeaveOpen(_) => {
                RecoveryStage::Judged(open, Outcome::Unknown(Reason::UnexpectedAnswer))
            }
        }
    }

    fn resolve(&self, it: &mut PendingRelease, open: OpenRelease, outcome: Outcome) -> RecoveryStage {
        match self.register.resolve(&open.release, it.id, &outcome) {
            Turn::Now => {
                let report = report(&open.release, outcome.clone(), open.found_out);
                RecoveryStage::Storing(Box::new(ended(it.id, &open.release, outcome)), Some(report))
            }
            // One paper, one record.
            Turn::Never => {
                let superseded = Outcome::Failed(Reason::Superseded);
                RecoveryStage::Storing(Box::new(ended(it.id, &open.release, superseded)), None)
            }
            Turn::Later => {
                it.try_later();
                RecoveryStage::Judged(open, outcome)
            }
        }
    }

    fn report_end(&self, station: &StationName, ended: &EndedRelease, report: &Report) {
        let (tap, document, outcome) = (report.tap, &ended.document, &ended.outcome);
        let reason = report.reason.as_ref().map(Reason::word);
        tracing::warn!(%tap, document, outcome = outcome.word(), reason, "release in doubt ended");
        self.reporter.count_document(station, outcome);
        self.reporter.report_late(station, report);
    }

    /// The document's status by the server's history; `None`: it is not there.
    async fn ask(&self, release: &Release) -> Result<Option<DocumentStatus>, Failure> {
        let now = self.client.likely_server_time();
        let (from, to) = match release.document.created {
            Some(created) => (created.checked_sub(MARGIN), created.checked_add(MARGIN)),
            None => (now.checked_sub(SEARCH_BACK), now.checked_add(MARGIN)),
        };
        let query = HistoryQuery {
            user: Some(release.user.name.clone()),
            from: from.unwrap_or(Timestamp::MIN),
            to: to.unwrap_or(Timestamp::MAX),
        };
        let history = self.client.history(&query).await?;
        let rows = history.into_iter().filter(|row| row.uuid == release.document.uuid);
        Ok(DocumentStatus::of_rows(rows.map(|row| row.status)))
    }
}

fn ended(id: EntryId, release: &Release, outcome: Outcome) -> EndedRelease {
    let is_recorded = release.record && !planted::is("recovery-records-nothing");
    let record = (outcome.is_released() && is_recorded).then(|| JobRecord::of(release, release.time));
    EndedRelease { id: Some(id), document: release.document.uuid.clone(), outcome, record }
}

/// The report of a release that ended after its tap.
fn report(release: &Release, outcome: Outcome, found_out: Reason) -> Report {
    let (verdict, reason) = match &outcome {
        Outcome::Printed | Outcome::Accepted => (Verdict::Released, found_out),
        Outcome::Failed(reason) => (Verdict::Failed, reason.clone()),
        Outcome::Unknown(reason) => (Verdict::Unknown, reason.clone()),
    };
    Report {
        tap: release.tap,
        verdict,
        reason: Some(reason),
        detail: None,
        user: Some(release.user.clone()),
        pages: if outcome.is_released() { release.document.pages.unwrap_or(0) } else { 0 },
        outcomes: vec![outcome],
        duration: Duration::ZERO,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::reporter::UserNames;
    use crate::clock::Sequence;
    use crate::journal::{Journal, Limits};
    use crate::print_server::ClientSettings;
    use crate::status::Board;

    #[tokio::test]
    async fn a_release_that_cannot_be_asked_about_yet_holds_no_other_one_up() {
        crate::tls::install_provider();
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::open(dir.path(), Limits::NONE, None).unwrap();
        let ids = journal.store_releases(vec![Release::sample("a", 1), Release::sample("b", 1)]).await.unwrap();
        let client = Client::new(ClientSettings::nobody()).unwrap();
        let board = Board::new("box", ["lobby".into()], Timestamp::UNIX_EPOCH);
        let (events, _written) = mpsc::channel(8);
        let reporter = Reporter::new(board, UserNames::Omit, Arc::new(Sequence::begin()), events);
        let (in_doubt, doubted) = mpsc::channel(8);
        let register = Arc::new(Register::new(journal.clone(), in_doubt.clone(), Instant::now()));
        // The first settles half a minute from now; the second only waits for the disk.
        let recovery = tokio::spawn(Recovery { register, client, reporter }.run(doubted));
        let ended = Box::new(ended(ids[1], &Release::sample("b", 1), Outcome::Accepted));
        in_doubt.send(InDoubtRelease::Unstored { station: "lobby".into(), id: ids[1], ended }).await.unwrap();
        let mut counts = journal.counts();
        let stored = async { counts.wait_for(|counts| counts.records == 1).await.map(drop) };
        let stored = tokio::time::timeout(Duration::from_secs(20), stored).await;
        assert!(stored.is_ok(), "it waits behind the other one");
        assert_eq!(journal.open_releases().await.unwrap().len(), 1);
        recovery.abort();
    }
}
