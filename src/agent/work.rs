//! What takes time: each is a task, and its answer is a message to the loop.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::{OnceCell, mpsc};

use super::claims::{Claim, Claims};
use super::events::{self, News, UserNames};
use super::recover::Doubt;
use super::{Login, Message};
use crate::backoff::Backoff;
use crate::clock::Sequence;
use crate::domain::{
    CardNumber, Cause, DocumentStatus, EntryId, Failure, JobRecord, Outcome, Release, ReleaseOptions, StationName,
    TapId,
};
use crate::journal::{Journal, JournalError, StoredRelease};
use crate::print_server::{Client, Credential, Session};
use crate::random;
use crate::station::{Admission, Event, Report};
use crate::status::{Board, Stage};

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
    pub(super) sequence: Arc<Sequence>,
    pub(super) inbox: mpsc::Sender<Message>,
    pub(super) claims: Claims,
    /// What earlier runs left open, once the journal has told.
    pub(super) earlier: OnceCell<Vec<StoredRelease>>,
    /// To the recovery.
    pub(super) doubts: mpsc::Sender<Doubt>,
    /// To the events' keeper.
    pub(super) news: mpsc::Sender<News>,
    /// When this run began: what an earlier one sent is settled some time after.
    pub(super) started: Instant,
}

/// How a release ended, and what follows.
#[derive(Clone, Debug)]
pub(super) struct Ended {
    /// The journal's number, if it has an entry.
    pub(super) id: Option<EntryId>,
    pub(super) document: String,
    pub(super) outcome: Outcome,
    pub(super) record: Option<JobRecord>,
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
        self.board.metrics.stage(&station, Stage::Login, started.elapsed());
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
        self.board.metrics.stage(&station, Stage::List, started.elapsed());
        if let Err(failure) = &result {
            tracing::warn!(station = &*station, %tap, error = %failure, "documents not listed");
        }
        self.send(Message::Answer(station, Event::Listed { tap, result })).await;
    }

    pub(super) async fn store(self: Arc<Self>, station: StationName, tap: TapId, releases: Vec<Release>) {
        let started = Instant::now();
        let result = self.admit(tap, releases).await;
        self.board.metrics.stage(&station, Stage::Store, started.elapsed());
        if let Err(error) = &result {
            tracing::error!(station = &*station, %tap, %error, "releases not stored, so not sent");
        }
        let result = result.map_err(|error| Failure::new(Cause::Storage, error.to_string()));
        self.send(Message::Answer(station, Event::Stored { tap, result })).await;
    }

    /// The releases that earlier runs left open. Nothing is stored before they are known: what is open later is this run's.
    pub(super) async fn left_open(&self) -> Result<&[StoredRelease], JournalError> {
        let ask = || async {
            let open = self.journal.open_releases().await.inspect_err(|error| {
                tracing::error!(%error, "releases of an earlier run not read yet");
            })?;
            for stored in &open {
                self.claims.was_left_open(&stored.release, stored.id, self.started);
            }
            Ok(open)
        };
        self.earlier.get_or_try_init(ask).await.map(Vec::as_slice)
    }

    /// Claims the documents and makes the releases durable of those that are this tap's.
    async fn admit(&self, tap: TapId, releases: Vec<Release>) -> Result<Vec<Admission>, JournalError> {
        let known = self.left_open().await.map(drop);
        let (mut claims, mut own, mut replaced) = (Vec::new(), Vec::new(), Vec::new());
        for release in releases {
            let claim = self.claims.claim(&release);
            if claim != Claim::Elsewhere {
                own.push(release);
            }
            if let Claim::InsteadOf(id) = claim {
                replaced.push(id);
            }
            claims.push(claim);
        }
        let recorded = own.iter().any(|release| release.record);
        let stored = match known {
            Ok(()) => self.store_all(&own, replaced).await,
            Err(error) => Err(error),
        };
        let mut own_admissions = match stored {
            Ok(ids) => ids.into_iter().map(Admission::Stored).collect(),
            Err(JournalError::Full) if !recorded => self.admit_unstored(tap, own.len()),
            Err(error) => {
                own.iter().for_each(|release| self.claims.give_back(tap, &release.document.uuid));
                return Err(error);
            }
        };
        let mut admission = |claim| match claim {
            Claim::Elsewhere => Admission::Elsewhere,
            // As many as there are own releases.
            Claim::Free | Claim::InsteadOf(_) => own_admissions.pop_front().unwrap_or(Admission::Elsewhere),
        };
        Ok(claims.into_iter().map(&mut admission).collect())
    }

    /// The exception to the first promise: a full disk keeps nobody from printing where no record is wanted.
    fn admit_unstored(&self, tap: TapId, releases: usize) -> VecDeque<Admission> {
        tracing::error!(%tap, releases, "the disk is full: released without an entry, because no record is wanted");
        self.board.metrics.unstored(releases as u64);
        std::iter::repeat_n(Admission::Unstored, releases).collect()
    }

    async fn store_all(&self, own: &[Release], replaced: Vec<EntryId>) -> Result<Vec<EntryId>, JournalError> {
        if own.is_empty() { Ok(Vec::new()) } else { self.journal.store_releases(own.to_vec(), replaced).await }
    }

    pub(super) async fn release(
        self: Arc<Self>,
        tap: TapId,
        release: Release,
        options: ReleaseOptions,
        deadline: Instant,
        session: Arc<Session>,
    ) {
        let started = Instant::now();
        let outcome = self.release_once(&release, &options, deadline, &session).await;
        self.board.metrics.stage(&release.station, Stage::Release, started.elapsed());
        let event = Event::Released { tap, document: release.document.uuid, outcome };
        self.send(Message::Answer(release.station, event)).await;
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
        if let Some(sent) = self.claims.sent_before(document)
            && let Asked::Ended(outcome) = self.ask(release, self.settled(sent), deadline, session).await
        {
            // An earlier request has printed it.
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
                // This request leaves it READY: what else it is, comes from somebody else.
                Ok(Some(DocumentStatus::Ready | DocumentStatus::Printed)) if release.retain => {
                    return unknown(Outcome::RETAINED);
                }
                Ok(Some(DocumentStatus::Printed)) => return Asked::Ended(Outcome::Accepted),
                Ok(Some(DocumentStatus::Failed)) => return Asked::Ended(Outcome::Failed("at the server".to_owned())),
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

    /// Makes an outcome durable and counts it. What the journal does not take is left to the recovery.
    pub(super) async fn end(self: Arc<Self>, station: StationName, tap: TapId, ended: Ended) {
        self.count(&station, &ended.outcome);
        if let Some(id) = ended.id
            && !self.store_end(&station, id, &ended).await
        {
            tracing::error!(station = &*station, id, "outcome not stored yet; trying until it is");
            self.doubt(Doubt::unstored(station.clone(), id, ended.clone()));
        }
        self.claims.end(tap, &ended.document);
        self.send(Message::Answer(station, Event::Ended { tap })).await;
    }

    async fn store_end(&self, station: &StationName, id: EntryId, ended: &Ended) -> bool {
        let mut backoff = RETRY;
        for _ in 0..END_ATTEMPTS {
            match self.journal.end_release(id, ended.outcome.clone(), ended.record.clone()).await {
                Ok(()) => return true,
                Err(error) => tracing::warn!(station = &**station, id, %error, "outcome not stored yet"),
            }
            tokio::time::sleep(backoff.next(random::word())).await;
        }
        false
    }

    /// Leaves a release open in the journal, for the recovery to find out how it ended.
    pub(super) async fn find_out(self: Arc<Self>, tap: TapId, id: EntryId, release: Release) {
        let (station, sent) = (release.station.clone(), Instant::now());
        tracing::warn!(station = &*station, %tap, document = release.document.uuid, "nobody knows yet how a release ended");
        self.claims.leave_open(&release, id, sent);
        self.doubt(Doubt::of_tap(id, release, sent));
        self.send(Message::Answer(station, Event::Ended { tap })).await;
    }

    fn doubt(&self, doubt: Doubt) {
        if let Err(error) = self.doubts.try_send(doubt) {
            tracing::error!(%error, "too many releases are in doubt; the next start asks the server how this one ended");
        }
    }

    pub(super) fn count(&self, station: &StationName, outcome: &Outcome) {
        self.board.metrics.document(station, outcome.word());
        self.board.update_station(station, |station| match outcome {
            Outcome::Printed | Outcome::Accepted => station.released += 1,
            Outcome::Failed(_) | Outcome::Unknown(_) => station.failed += 1,
        });
    }

    pub(super) fn count_tap(&self, station: &StationName) {
        self.board.update_station(station, |station| station.taps += 1);
    }

    /// The end of a tap: log, metrics, board, event.
    pub(super) fn report(&self, station: &StationName, report: &Report) {
        let (tap, verdict, reason) = (report.tap, report.verdict.word(), &report.reason);
        let documents = report.outcomes.iter().filter(|outcome| outcome.is_released()).count();
        let ms = report.duration.as_millis();
        tracing::info!(station = &**station, %tap, verdict, reason, documents, pages = report.pages, ms, "tap ended");
        self.board.metrics.tap(station, verdict);
        self.event(station, events::of_report(report, &self.users, Timestamp::now()));
    }

    pub(super) fn reader_event(&self, station: &StationName, reason: &str) {
        self.event(station, events::of_reader(reason, Timestamp::now()));
    }

    /// Keeps an event for the broker, if there is one, and then shows it on the board: what is shown is durable. Nobody
    /// waits for it.
    pub(super) fn event(&self, station: &StationName, mut event: serde_json::Value) {
        self.sequence.stamp(&mut event);
        if let Err(error) = self.news.try_send((station.clone(), event)) {
            tracing::error!(station = &**station, %error, "event not told: too many wait for the disk");
            self.board.metrics.event_lost();
        }
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
        let failure = match ask().await {
            Ok(answer) => return Ok(answer),
            Err(failure) => failure,
        };
        let passes = matches!(failure.cause, Cause::Unreachable | Cause::Lost { .. } | Cause::Overloaded { .. });
        let Some(until) = until.filter(|until| passes && Instant::now() < *until) else {
            return Err(failure);
        };
        let next = Instant::now() + backoff.next(random::word());
        tokio::time::sleep_until(next.min(until).into()).await;
        if next >= until {
            return Err(failure);
        }
    }
}
