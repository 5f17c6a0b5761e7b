//! Stores the time that the print server proves, once a day; and while the time is not known, waits for it, so that the
//! journal can store the offset of this boot.

use std::time::Duration;

use jiff::Timestamp;
use tokio::task::JoinError;

use crate::clock::Clock;
use crate::journal::Journal;
use crate::print_server::Client;
use crate::status::Board;

/// The pause between two looks whether a day has passed.
const EVERY: Duration = Duration::from_secs(3600);

/// The pause between two looks whether the time is known, while it is not.
const WHILE_UNKNOWN: Duration = Duration::from_secs(10);

pub(super) async fn run(client: Client, journal: Journal, board: Board, clock: Clock) {
    tokio::join!(date_entries(&journal, &clock), keep_floor(&client, &board, &clock));
}

async fn date_entries(journal: &Journal, clock: &Clock) {
    while Timestamp::now() < clock.floor() {
        tokio::time::sleep(WHILE_UNKNOWN).await;
    }
    if let Err(error) = journal.time_is_known().await {
        tracing::warn!(%error, "the journal could not be asked");
    }
}

/// Looks when the server comes or goes, and once an hour.
async fn keep_floor(client: &Client, board: &Board, clock: &Clock) {
    let mut reached = client.reached();
    loop {
        if *reached.borrow_and_update() == Some(true) {
            note(client, board, clock).await;
        }
        drop(tokio::time::timeout(EVERY, reached.changed()).await.map(drop));
    }
}

/// Stores what the server proves. It does so on a thread of its own, because an SD card is slow.
pub(super) async fn note(client: &Client, board: &Board, clock: &Clock) {
    let (proven, wrong, kept) = (client.proven_time(), client.wrong_floor(), clock.clone());
    let stored = on_a_thread(move || {
        wrong.map_or(Ok(()), |wrong| kept.give_up(&wrong))?;
        proven.map_or(Ok(()), |proven| kept.prove(proven))?;
        Ok(kept.floor())
    });
    match stored.await.unwrap_or_else(|stopped| Err(std::io::Error::other(stopped))) {
        Ok(floor) if floor == board.watch().borrow().time_floor => {}
        Ok(floor) => board.update(|state| state.time_floor = floor),
        Err(error) => tracing::warn!(%error, "the time was not written down"),
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
