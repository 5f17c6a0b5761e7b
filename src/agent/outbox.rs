//! Brings job records to the server, oldest first, one at a time, until it has acknowledged them.
//!
//! A record is marked on disk before it is sent. While the mark stands it may have arrived; then `in_doubt` decides:
//! `reconcile` looks it up in the server's history first ([`reconcile`]), `resend` sends it again and counts that.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::OutboxSetup;
use super::reconcile::{self, Found};
use super::work::Work;
use crate::backoff::Backoff;
use crate::config::InDoubt;
use crate::domain::{Cause, Failure};
use crate::journal::{JournalError, StoredRecord};
use crate::random;
use crate::status::Stage;

/// A task that comes to an end of its own when it is told to.
pub(super) struct Helper {
    task: JoinHandle<()>,
    stop: watch::Sender<bool>,
}

impl Helper {
    pub(super) fn spawn<F: Future<Output = ()> + Send + 'static>(run: impl FnOnce(watch::Receiver<bool>) -> F) -> Self {
        let (stop, stopped) = watch::channel(false);
        Self { task: tokio::spawn(run(stopped)), stop }
    }

    /// Ends after what it is at, or after `limit`.
    pub(super) async fn stop(mut self, limit: Duration) {
        self.stop.send_replace(true);
        if tokio::time::timeout(limit, &mut self.task).await.is_err() {
            self.task.abort();
        }
    }
}

/// The outbox. A record that is still on its way when it is stopped is in doubt at the next start.
pub(super) fn spawn(work: Arc<Work>, setup: OutboxSetup) -> Helper {
    Helper::spawn(|stopped| run(work, setup, stopped))
}

async fn run(work: Arc<Work>, setup: OutboxSetup, mut stopped: watch::Receiver<bool>) {
    let Ok(mut backoff) = Backoff::new(setup.retry_min, setup.retry_max) else {
        tracing::error!("outbox: retry_min and retry_max do not fit together");
        return;
    };
    let mut counts = work.journal.counts();
    let mut told = String::new();
    while !*stopped.borrow_and_update() {
        counts.mark_unchanged();
        let next = match work.journal.oldest_record().await {
            Ok(None) => {
                tokio::select! {
                    _ = counts.changed() => {}
                    _ = stopped.changed() => {}
                }
                continue;
            }
            Ok(Some(stored)) => deliver(&work, &setup, &stored).await,
            Err(error) => Err(Later::from(error)),
        };
        match next {
            Ok(()) => {
                backoff.reset();
                told.clear();
            }
            Err(Later { why, at_least }) => {
                let wait = backoff.next(random::word()).max(at_least);
                // Once for each reason: an outage may last for days.
                if told == why {
                    tracing::debug!(error = why, wait_ms = wait.as_millis(), "job record not delivered; trying again");
                } else {
                    tracing::warn!(error = why, "job record not delivered; trying again until it is");
                    told = why;
                }
                tokio::select! {
                    () = tokio::time::sleep(wait) => {}
                    _ = stopped.changed() => {}
                }
            }
        }
    }
}

/// Why a record stays for now.
struct Later {
    why: String,
    at_least: Duration,
}

impl From<JournalError> for Later {
    fn from(error: JournalError) -> Self {
        Self { why: error.to_string(), at_least: Duration::ZERO }
    }
}

impl From<&Failure> for Later {
    fn from(failure: &Failure) -> Self {
        let at_least = match failure.cause {
            Cause::Overloaded { retry_after: Some(seconds) } => Duration::from_secs(seconds.into()),
            _ => Duration::ZERO,
        };
        Self { why: failure.to_string(), at_least }
    }
}

/// One step with the oldest record: it is gone from the queue, or it stays and says for how long.
async fn deliver(work: &Work, setup: &OutboxSetup, stored: &StoredRecord) -> Result<(), Later> {
    let mut doubt = stored.attempted;
    if let Some(attempted) = stored.attempted {
        in_doubt(work, true);
        match look_up(work, setup, stored, attempted).await? {
            Some(Found::Arrived) => {
                tracing::info!(tap = %stored.record.tap, "job record had arrived although its answer was lost");
                in_doubt(work, false);
                return Ok(work.journal.acknowledge_record(stored.id).await?);
            }
            Some(Found::Absent) => doubt = None,
            None => {}
        }
    }
    // One answer first: it tells the server's clock, by which the record is looked for if its own answer is lost.
    if !work.client.knows_time()
        && let Err(failure) = work.client.account().await
        && !work.client.knows_time()
    {
        return Err(Later::from(&failure));
    }
    let sent = work.client.server_time(Timestamp::now());
    work.journal.mark_record(stored.id, Some(sent)).await?;
    let started = Instant::now();
    let result = work.client.record(&stored.record).await;
    work.board.metrics.stage(&stored.record.station, Stage::Record, started.elapsed());
    in_doubt(work, matches!(&result, Err(failure) if failure.cause.is_in_doubt()));
    match result {
        Ok(()) => Ok(work.journal.acknowledge_record(stored.id).await?),
        Err(failure) if matches!(failure.cause, Cause::Rejected | Cause::NotReady) => {
            let tap = stored.record.tap;
            tracing::error!(%tap, error = %failure, "the server refused a job record for good; see `queue list`");
            Ok(work.journal.bury_record(stored.id, failure.to_string()).await?)
        }
        Err(failure) => {
            if !failure.cause.is_in_doubt() {
                // This attempt certainly did not arrive; an earlier one may have.
                work.journal.mark_record(stored.id, doubt).await?;
            }
            Err(Later::from(&failure))
        }
    }
}

/// Whether a record in doubt is at the server. `None` where that cannot be known: it is sent again, and counted.
async fn look_up(
    work: &Work,
    setup: &OutboxSetup,
    stored: &StoredRecord,
    attempted: Timestamp,
) -> Result<Option<Found>, Later> {
    let tap = stored.record.tap;
    let why = match setup.in_doubt {
        InDoubt::Resend => "outbox.in_doubt is resend".to_owned(),
        InDoubt::Reconcile => match reconcile::look_up(work, setup.datetime, stored, attempted).await {
            Ok(found) => return Ok(Some(found)),
            Err(failure) if matches!(failure.cause, Cause::Refused(_) | Cause::Rejected | Cause::NotFound) => {
                failure.to_string()
            }
            Err(failure) => return Err(Later::from(&failure)),
        },
    };
    tracing::warn!(%tap, why, "job record sent again without knowing whether it had arrived: possible duplicate");
    work.board.metrics.possible_duplicate();
    Ok(None)
}

/// At most one record is in doubt: the oldest.
fn in_doubt(work: &Work, yes: bool) {
    let count = u64::from(yes);
    if work.board.watch().borrow().outbox.in_doubt != count {
        work.board.update(|state| state.outbox.in_doubt = count);
    }
}
