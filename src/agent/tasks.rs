//! The requests of a tap that take time. Each is a task of its own, and its result is a message to the loop.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::message::{LoopMessage, TapOf};
use super::parts::Login;
use super::release::register::{EndedRelease, Register};
use super::release::sender;
use crate::backoff::Backoff;
use crate::domain::{CardNumber, Cause, Failure, Release, ReleaseOptions};
use crate::journal::JournalError;
use crate::print_server::{Client, Credential, Session};
use crate::random;
use crate::station::{Admission, TapAnswer};
use crate::status::{Board, Stage};

/// Between two attempts of a tap that is kept while the server is away.
const RETRY: Backoff = match Backoff::new(Duration::from_millis(100), Duration::from_secs(2)) {
    Ok(backoff) => backoff,
    Err(_) => panic!("checked when compiled"),
};

pub(super) async fn login(
    client: Client,
    board: Board,
    of: TapOf,
    method: Login,
    number: CardNumber,
    until: Option<Instant>,
) -> LoopMessage {
    let credential = match method {
        Login::Card => Credential::Card { card: number, pin: None },
        Login::ShortId => Credential::ShortId(number),
    };
    let started = Instant::now();
    let result = retry_until(until, || client.login(&credential)).await;
    board.metrics.stage(&of.station, Stage::Login, started.elapsed());
    if let Err(failure) = &result {
        tracing::warn!(station = &*of.station, tap = %of.tap, error = %failure, "login failed");
    }
    LoopMessage::LoggedIn(of, result.map(Arc::new))
}

/// Asks the server for its name and version; somebody must be logged in for that.
pub(super) async fn version(session: Arc<Session>) -> LoopMessage {
    LoopMessage::Version(session.version().await.ok().map(|info| info.version))
}

pub(super) async fn list(session: Arc<Session>, board: Board, of: TapOf, until: Option<Instant>) -> LoopMessage {
    let started = Instant::now();
    let asking = || async {
        let asked = Instant::now();
        session.documents().await.map(|documents| (asked, documents))
    };
    let listed = retry_until(until, asking).await;
    board.metrics.stage(&of.station, Stage::List, started.elapsed());
    if let Err(failure) = &listed {
        tracing::warn!(station = &*of.station, tap = %of.tap, error = %failure, "documents not listed");
    }
    let answer = match listed {
        Ok((asked, documents)) => TapAnswer::Listed { asked, result: Ok(documents) },
        Err(failure) => TapAnswer::Listed { asked: started, result: Err(failure) },
    };
    LoopMessage::Answer(of, answer)
}

pub(super) async fn store(
    register: Arc<Register>,
    board: Board,
    of: TapOf,
    releases: Vec<Release>,
    listed: Instant,
) -> LoopMessage {
    let started = Instant::now();
    let stored = register.store(of.tap, &releases, listed).await;
    board.metrics.stage(&of.station, Stage::Store, started.elapsed());
    match &stored {
        Ok(admissions) => {
            let unstored = admissions.iter().filter(|admission| **admission == Admission::Unstored).count();
            board.metrics.unstored(unstored as u64);
        }
        Err(error) => {
            tracing::error!(station = &*of.station, tap = %of.tap, %error, "releases not stored, so not sent");
        }
    }
    let admitted = stored.map(|admissions| admissions.into_iter().zip(releases).collect());
    let result = admitted.map_err(|error| {
        // Nothing is wrong with the disk when the server says more of a document than any server should.
        let too_large = matches!(error, JournalError::TooLarge { .. });
        Failure::new(if too_large { Cause::Malformed } else { Cause::Storage }, error.to_string())
    });
    LoopMessage::Answer(of, TapAnswer::Stored(result))
}

pub(super) async fn release(
    register: Arc<Register>,
    session: Arc<Session>,
    board: Board,
    release: Release,
    options: ReleaseOptions,
    deadline: Instant,
) -> LoopMessage {
    let started = Instant::now();
    let ending = sender::send(&register, &session, &release, &options, deadline).await;
    board.metrics.stage(&release.station, Stage::Release, started.elapsed());
    let of = TapOf { station: release.station, tap: release.tap };
    LoopMessage::Answer(of, TapAnswer::Released { document: release.document.uuid, ending })
}

/// Makes an outcome durable.
pub(super) async fn end(register: Arc<Register>, of: TapOf, ended: EndedRelease) -> LoopMessage {
    register.end(&of.station, of.tap, ended).await;
    LoopMessage::Answer(of, TapAnswer::Ended)
}

/// Asks, and while the server is away asks again until the time given, if there is one. Only for requests without effect.
async fn retry_until<T, F>(until: Option<Instant>, ask: impl Fn() -> F) -> Result<T, Failure>
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
