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

/// How often an outcome is offered to a journal that does not take it.
const END_ATTEMPTS: usize = 10;

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
    /// When this run began: what an earlier one sent is settled some time after.
    pub(super) started: Instant,
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
        let result = self.journal.store_releases(releases, instead_of.iter().map(|(_, id)| *id).collect()).await;
        self.board.metrics.stage(&station, "store", started.elapsed());
        if let Err(error) = &result {
            tracing::error!(station = &*station, %tap, %error, "releases not stored, so not sent");
            self.leftover.give_back(instead_of);
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
    /// the document still waits, at a time when the first request is certainly over.
    async fn release_once(
        &self,
        release: &Release,
        options: &ReleaseOptions,
        deadline: Instant,
        session: &Session,
    ) -> Outcome {
        let (tap, document) = (release.tap, &release.document.uuid);
        if self.leftover.is_taken_over(document)
            && let Asked::Ended(outcome) = self.ask(release, self.settled(self.started), deadline, session).await
        {
            // The request of an earlier run has printed it.
            return outcome;
        }
        let mut backoff = RETRY;
        while Instant::now() < deadline {
            let Err(failure) = session.release(document, &release.port, options).await else {
                return Outcome::Accepted;
            };
            tracing::warn!(%tap, %document, error = %failure, "release not acknowledged");
            let over = match failure.cause {
                Cause::Unreachable => {
                    tokio::time::sleep(backoff.next(random::word())).await;
                    continue;
                }
                // A connection that was cut, and even an error from something between, does not stop the server's work.
                Cause::Lost { .. } | Cause::Malformed => self.settled(Instant::now()),
                Cause::Overloaded { retry_after } => {
                    let asked = Duration::from_secs(retry_after.unwrap_or(0).into());
                    Instant::now() + backoff.next(random::word()).max(asked)
                }
                _ => return Outcome::Failed(failure.cause.word().to_owned()),
            };
            match self.ask(release, over, deadline, session).await {
                Asked::Ended(outcome) => return outcome,
                Asked::NotReleased => {}
            }
        }
        Outcome::Failed("deadline".to_owned())
    }

    /// When the server is certainly no longer at work on what was sent until `sent`.
    fn settled(&self, sent: Instant) -> Instant {
        sent + self.client.settled_after()
    }

    /// Asks where the document stands, until the server answers or the deadline has passed. READY is an answer only when
    /// the lost request is `over`.
    async fn ask(&self, release: &Release, over: Instant, deadline: Instant, session: &Session) -> Asked {
        let unknown = |why: &str| Asked::Ended(Outcome::Unknown(why.to_owned()));
        let mut backoff = RETRY;
        loop {
            tokio::time::sleep(backoff.next(random::word())).await;
            let now = Instant::now();
            match session.status_of(&release.document.uuid).await {
                Ok(Some(DocumentStatus::Printed)) => return Asked::Ended(Outcome::Accepted),
                Ok(Some(DocumentStatus::Failed)) => return Asked::Ended(Outcome::Failed("at the server".to_owned())),
                Ok(Some(DocumentStatus::Ready)) if release.retain => return unknown("retained"),
                Ok(Some(DocumentStatus::Ready)) if now >= over => return Asked::NotReleased,
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
        self.board.update_station(station, |station| match &outcome {
            Outcome::Printed | Outcome::Accepted => station.released += 1,
            Outcome::Failed(_) | Outcome::Unknown(_) => station.failed += 1,
        });
        let mut backoff = RETRY;
        for _ in 0..END_ATTEMPTS {
            match self.journal.end_release(id, outcome.clone(), record.clone()).await {
                Ok(()) => return,
                Err(error) => tracing::warn!(station = &**station, id, %error, "outcome not stored yet"),
            }
            tokio::time::sleep(backoff.next(random::word())).await;
        }
        tracing::error!(station = &**station, id, "outcome not stored; the next start asks the server for it");
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
