//! Writes down now and then what time it was when the print server could be reached; and while the time is not known, waits
//! for it, so that the journal dates what it stored before.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::work::Work;
use crate::clock::Clock;

/// How often it is looked whether a day has passed.
const EVERY: Duration = Duration::from_secs(3600);

/// How often it is looked whether the time is known, while it is not.
const WHILE_UNKNOWN: Duration = Duration::from_secs(10);

pub(super) async fn run(work: Arc<Work>, mut clock: Clock) {
    while Timestamp::now() < clock.floor() {
        tokio::time::sleep(WHILE_UNKNOWN).await;
    }
    if let Err(error) = work.journal.time_is_known().await {
        tracing::warn!(%error, "the journal could not be asked");
    }
    loop {
        tokio::time::sleep(EVERY).await;
        clock = note(&work, clock, false).await;
    }
}

/// Notes the time, if the server can be reached. Not on the loop's thread: a card is slow.
pub(super) async fn note(work: &Work, clock: Clock, last: bool) -> Clock {
    if !work.board.watch().borrow().server.reachable {
        return clock;
    }
    let mut noted = clock.clone();
    let written = tokio::task::spawn_blocking(move || noted.seen(Timestamp::now(), last).map(|()| noted)).await;
    match written.unwrap_or_else(|stopped| Err(std::io::Error::other(stopped))) {
        Ok(noted) => noted,
        Err(error) => {
            tracing::warn!(%error, "the time was not written down");
            clock
        }
    }
}
