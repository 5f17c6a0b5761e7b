//! Writes the time down now and then while the print server can be reached; and while the time is not known, waits for it,
//! so that the journal can store the offset of this boot.

use std::time::Duration;

use jiff::Timestamp;
use tokio::task::JoinError;

use crate::clock::Clock;
use crate::journal::Journal;
use crate::status::Board;

/// The pause between two looks whether a day has passed.
const EVERY: Duration = Duration::from_secs(3600);

/// The pause between two looks whether the time is known, while it is not.
const WHILE_UNKNOWN: Duration = Duration::from_secs(10);

pub(super) async fn run(journal: Journal, board: Board, mut clock: Clock) {
    while Timestamp::now() < clock.floor() {
        tokio::time::sleep(WHILE_UNKNOWN).await;
    }
    if let Err(error) = journal.time_is_known().await {
        tracing::warn!(%error, "the journal could not be asked");
    }
    loop {
        tokio::time::sleep(EVERY).await;
        clock = note(&board, clock, false).await;
    }
}

/// Notes the time, if the server can be reached. It does so on a thread of its own, because an SD card is slow.
pub(super) async fn note(board: &Board, clock: Clock, last: bool) -> Clock {
    if !board.watch().borrow().server.reachable {
        return clock;
    }
    let mut noted = clock.clone();
    let written = on_a_thread(move || noted.seen(Timestamp::now(), last).map(|()| noted)).await;
    match written.unwrap_or_else(|stopped| Err(std::io::Error::other(stopped))) {
        Ok(noted) => noted,
        Err(error) => {
            tracing::warn!(%error, "the time was not written down");
            clock
        }
    }
}

/// Does slow work on a thread of its own.
#[cfg(not(feature = "simulate"))]
async fn on_a_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, JoinError> {
    tokio::task::spawn_blocking(work).await
}

/// In the simulated world no thread may wait beside the one that makes the time.
#[cfg(feature = "simulate")]
async fn on_a_thread<T>(work: impl FnOnce() -> T) -> Result<T, JoinError> {
    std::future::ready(Ok(work())).await
}
