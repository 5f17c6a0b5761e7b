//! What takes time: each is a task, and its answer is a message to the loop.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::mpsc;

use super::events::{self, UserNames};
use super::leftover::Leftover;
use super::{Login, Message};
use crate::backoff::Backoff;
use crate::clock::Sequence;
use crate::domain::{
    CardNumber, Cause, DocumentStatus, EntryId, Failure, JobRecord, Outcome, Release, ReleaseOptions, StationName,
    TapId,
};
use crate::journal::{Journal, JournalError};
use crate::print_server::{Client, Credential, Session};
use crate::random;
use crate::station::{Event, Report};
use crate::status::Board;

/// Between two questions or attempts of one release.
const RETRY: Backoff = match Backoff::new(Duration::from_millis(100), Duration::from_secs(2)) {
    Ok(backoff) => backoff,
    Err(_) => panic!("checked when compiled"),
};

/// What every task has at hand.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) client: Client,
    pub(super) journal: Journal,
    pub(super) board: Board,
    pub(super) users: UserNames,
    /// Whether events are kept for a broker.
    pub(super) events: bool,
    /// Orders them.
    pub(super) sequence: Sequence,
    pub(super) inbox: mpsc::Sender<Message>,
    pub(super) leftover: Leftover,
}

/// What the server says about a release whose answer was lost.
enum Asked {
    Ended(Outcome),
    /// It still waits there, and the request that was lost is over.
    NotReleased,
}

impl Work {
    pub(super) async fn login(
        self: Arc<Self>,
        station: StationName,
        tap: TapId,
        login: Login,
        number: CardNumber,
        until: Option<Instant>,
    ) {
        let credential = match login {
            Login::Card => Credential::Card { card: number, pin: None },
            Login::ShortId => Credential::ShortId(number),
        };
        let started = Instant::now();
        let result = held(until, || self.client.login(&credential)).await;
        self.board.metrics.stage(&station, "login", started.elapsed());
        if let Err(failure) = &result {
            tracing::warn!(station = &*station, %tap, error = %failure, "login failed");
        }
        let result = result.map(Arc::new);
        let session = result.clone().ok();
        self.send(Message::LoggedIn(station, tap, result)).await;
        if let Some(session) = session {
            self.learn_version(&session).await;
        }
    }

    /// Asks once what the server calls itself; somebody must be logged in for that.
    async fn learn_version(&self, session: &Session) {
        if self.board.watch().borrow().server.version.is_empty()
            && let Ok(info) = session.version().await
        {
            self.board.update(|state| state.server.version = info.version);
        }
    }

    pub(super) async fn list(
        self: Arc<Self>,
        station: StationName,
        tap: TapId,
        session: Arc<Session>,
        until: Option<Instant>,
    ) {
        let started = Instant::now();
        let result = held(until, || session.documents()).await;
        self.board.metrics.stage(&station, "list", started.elapsed());
        if let Err(failure) = &result {
            tracing::warn!(station = &*station, %tap, error = %failure, "documents not listed");
        }
        self.send(Message::Answer(station, Event::Listed { tap, result })).await;
    }

    pub(super) async fn store(self: Arc<Self>, station: StationName, tap: TapId, releases: Vec<Release>) {
        let started = Instant::now();
        let instead_of = self.leftover.take_over(&releases);
        let result = self.journal.store_releases(releases, instead_of).await;
        self.board.metrics.stage(&station, "store", started.elapsed());
        if let Err(error) = &result {
            tracing::error!(station = &*station, %tap, %error, "releases not stored, so not sent");
        }
        let result = result.map_err(|error| storage(&error));
        self.send(Message::Answer(station, Event::Stored { tap, result })).await;
    }

    #[expect(clippy::too_many_arguments, reason = "one release is named by all of these, and only here")]
    pub(super) async fn release(
        self: Arc<Self>,
        station: StationName,
        tap: TapId,
        id: EntryId,
        release: Release,
        options: ReleaseOptions,
        deadline: Instant,
        session: Arc<Session>,
    ) {
        let started = Instant::now();
        let outcome = self.release_once(&release, &options, deadline, &session).await;
        self.board.metrics.stage(&station, "release", started.elapsed());
        self.send(Message::Answer(station, Event::Released { tap, id, outcome })).await;
    }

    /// Sends until the server answered. It is sent again only when nothing was sent, or when the server, asked, says that
    /// the document still waits and the first request is certainly over.
    async fn release_once(
        &self,
        release: &Release,
        options: &ReleaseOptions,
        deadline: Instant,
        session: &Session,
    ) -> Outcome {
        let (tap, document) = (release.tap, &release.document.uuid);
        let mut backoff = RETRY;
        while Instant::now() < deadline {
            let result = session.release(document, &release.port, options).await;
            let Err(failure) = result else {
                return Outcome::Accepted;
            };
            tracing::warn!(%tap, %document, error = %failure, "release not acknowledged");
            match failure.cause {
                Cause::Unreachable => tokio::time::sleep(backoff.next(random::word())).await,
                Cause::Lost { .. } | Cause::Malformed | Cause::Overloaded { .. } => {
                    let at_work = failure.cause == Cause::Lost { at_work: true };
                    match self.ask(release, at_work, deadline, session).await {
                        Asked::Ended(outcome) => return outcome,
                        Asked::NotReleased => {}
                    }
                }
                // The request of an earlier run may have printed it in the meantime.
                _ if self.leftover.is_taken_over(document) => {
                    return match self.ask(release, false, deadline, session).await {
                        Asked::Ended(outcome) => outcome,
                        Asked::NotReleased => Outcome::Failed(failure.cause.word().to_owned()),
                    };
                }
                _ => return Outcome::Failed(failure.cause.word().to_owned()),
            }
        }
        Outcome::Failed("deadline".to_owned())
    }

    /// Asks where the document stands, until the server answers or the deadline has passed. Where the server may still be
    /// at work on the lost request, READY is no answer until it cannot be any more, and then the person taps again.
    async fn ask(&self, release: &Release, at_work: bool, deadline: Instant, session: &Session) -> Asked {
        let settled = Instant::now() + self.client.settled_after();
        let unknown = |why: &str| Asked::Ended(Outcome::Unknown(why.to_owned()));
        let mut backoff = RETRY;
        loop {
            tokio::time::sleep(backoff.next(random::word())).await;
            let now = Instant::now();
            match session.status_of(&release.document.uuid).await {
                Ok(Some(DocumentStatus::Printed)) => return Asked::Ended(Outcome::Accepted),
                Ok(Some(DocumentStatus::Failed)) => return Asked::Ended(Outcome::Failed("at the server".to_owned())),
                Ok(Some(DocumentStatus::Ready)) if release.retain => return unknown("retained"),
                Ok(Some(DocumentStatus::Ready)) if !at_work => return Asked::NotReleased,
                Ok(Some(DocumentStatus::Ready)) if now >= settled => {
                    return Asked::Ended(Outcome::Failed("answer-lost".to_owned()));
                }
                Ok(Some(DocumentStatus::Ready)) => {}
                Ok(_) => return unknown("not-listed"),
                Err(failure) if matches!(failure.cause, Cause::Refused(_)) || now >= deadline => {
                    return unknown(failure.cause.word());
                }
                Err(_) => {}
            }
        }
    }

    pub(super) async fn end(
        self: Arc<Self>,
        station: StationName,
        tap: TapId,
        id: EntryId,
        outcome: Outcome,
        record: Option<Box<JobRecord>>,
    ) {
        self.end_release(&station, id, outcome, record.map(|record| *record)).await;
        self.send(Message::Answer(station, Event::Ended { tap })).await;
    }

    /// Makes an outcome durable and counts it.
    pub(super) async fn end_release(
        &self,
        station: &StationName,
        id: EntryId,
        outcome: Outcome,
        record: Option<JobRecord>,
    ) {
        self.board.metrics.document(station, outcome.word());
        self.board.update_station(station, |station| match outcome {
            Outcome::Printed | Outcome::Accepted => station.released += 1,
            Outcome::Failed(_) | Outcome::Unknown(_) => station.failed += 1,
        });
        if let Err(error) = self.journal.end_release(id, outcome, record).await {
            let station = &**station;
            tracing::error!(station, id, %error, "outcome not stored; the next start asks the server for it");
        }
    }

    pub(super) fn count_tap(&self, station: &StationName) {
        self.board.update_station(station, |station| station.taps += 1);
    }

    /// The end of a tap: log, metrics, board, event.
    pub(super) fn report(self: &Arc<Self>, station: &StationName, report: &Report) {
        let (tap, verdict, reason) = (report.tap, report.verdict.word(), &report.reason);
        let documents = report.outcomes.iter().filter(|outcome| outcome.is_released()).count();
        let ms = report.duration.as_millis();
        tracing::info!(station = &**station, %tap, verdict, reason, documents, pages = report.pages, ms, "tap ended");
        self.board.metrics.tap(station, verdict);
        self.event(station, events::of_report(report, &self.users, Timestamp::now()));
    }

    pub(super) fn reader_event(self: &Arc<Self>, station: &StationName, reason: &str) {
        self.event(station, events::of_reader(reason, Timestamp::now()));
    }

    /// Keeps an event for the broker, if there is one, and then shows it on the board: what is shown is durable.
    pub(super) fn event(self: &Arc<Self>, station: &StationName, mut event: serde_json::Value) {
        self.sequence.stamp(&mut event);
        let (work, station) = (self.clone(), station.clone());
        tokio::spawn(async move {
            if work.events
                && let Err(error) = work.journal.store_event(station.to_string(), event.to_string()).await
            {
                tracing::error!(station = &*station, %error, "event not stored, so not told");
            }
            if event.get("documents").is_some() {
                work.board.update_station(&station, |station| station.last = Some(event));
            }
        });
    }

    async fn send(&self, message: Message) {
        // Only a loop that has ended does not listen; then the journal knows what is open.
        drop(self.inbox.send(message).await);
    }
}

/// Asks, and while the server is away asks again until the time given, if there is one. Only for what has no effect.
async fn held<T, F>(until: Option<Instant>, ask: impl Fn() -> F) -> Result<T, Failure>
where
    F: Future<Output = Result<T, Failure>>,
{
    let mut backoff = RETRY;
    loop {
        match ask().await {
            Err(Failure { cause: Cause::Unreachable | Cause::Lost { .. } | Cause::Overloaded { .. }, .. })
                if until.is_some_and(|until| Instant::now() < until) =>
            {
                tokio::time::sleep(backoff.next(random::word())).await;
            }
            result => return result,
        }
    }
}

fn storage(error: &JournalError) -> Failure {
    Failure::new(Cause::Storage, error.to_string())
}
