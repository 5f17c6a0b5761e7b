//! Carries deliveries out: brings job records to the server, oldest first, one at a time, as [`Delivery`] says.

use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::delivery::{Arrival, Delivery, DeliveryEvent, DeliveryStep, MarkAfter};
use super::lookup::Lookup;
use crate::agent::parts::OutboxSetup;
use crate::backoff::Backoff;
use crate::domain::{Cause, Failure};
use crate::journal::{Journal, JournalError, StoredRecord};
use crate::print_server::Client;
use crate::random;
use crate::status::{Board, Stage};

/// The outbox. A record that is still on its way when it is stopped is in doubt at the next start.
#[derive(Debug)]
pub(in crate::agent) struct OutboxTask {
    client: Client,
    journal: Journal,
    board: Board,
    setup: OutboxSetup,
    lookup: Lookup,
}

/// The reason why a record that was looked up is sent again all the same.
const AMBIGUOUS: &str = "the server's history has rows like it that another box may have written";

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

impl OutboxTask {
    /// An outbox of a run that began at `started`.
    pub(in crate::agent) fn new(
        client: Client,
        journal: Journal,
        board: Board,
        setup: OutboxSetup,
        started: Instant,
    ) -> Self {
        let lookup = Lookup::new(client.clone(), journal.clone(), started, setup);
        Self { client, journal, board, setup, lookup }
    }

    /// Delivers until it is stopped.
    pub(in crate::agent) async fn run(self, mut stopped: watch::Receiver<bool>) {
        let Ok(mut backoff) = Backoff::new(self.setup.retry_min, self.setup.retry_max) else {
            tracing::error!("outbox: retry_min and retry_max do not fit together");
            return;
        };
        let mut counts = self.journal.counts();
        let mut last_logged = String::new();
        while !*stopped.borrow_and_update() {
            counts.mark_unchanged();
            let next = match self.journal.oldest_record().await {
                Ok(None) => {
                    self.show_in_doubt(false);
                    tokio::select! {
                        _ = counts.changed() => {}
                        _ = stopped.changed() => {}
                    }
                    continue;
                }
                Ok(Some(stored)) => self.deliver(&stored, &mut stopped).await,
                Err(error) => Err(Later::from(error)),
            };
            let Err(Later { why, at_least }) = next else {
                backoff.reset();
                last_logged.clear();
                continue;
            };
            if *stopped.borrow_and_update() {
                return;
            }
            // However much patience the server asks for: one answer must not hold everything up for longer than an outage would.
            let wait = backoff.next(random::word()).max(at_least.min(self.setup.retry_max));
            // Once for each reason: an outage may last for days.
            if last_logged == why {
                tracing::debug!(error = why, wait_ms = wait.as_millis(), "job record not delivered; trying again");
            } else {
                tracing::warn!(error = why, "job record not delivered; trying again until it is");
                last_logged = why;
            }
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                _ = stopped.changed() => {}
            }
        }
    }

    /// Brings the oldest record as far as it comes now: it is gone from the queue, or it stays and says for how long.
    async fn deliver(&self, stored: &StoredRecord, stopped: &mut watch::Receiver<bool>) -> Result<(), Later> {
        let tap = stored.record.tap;
        let mut delivery = Delivery::new(stored.attempted, self.setup.in_doubt);
        let (mut event, mut why) = (DeliveryEvent::Due, "outbox.in_doubt is resend".to_owned());
        self.show_in_doubt(stored.attempted.is_some());
        loop {
            event = match delivery.handle(event) {
                DeliveryStep::LookUp(_) => {
                    let answer = self.look_up(stored, stopped).await?;
                    if answer == Ok(Arrival::Ambiguous) {
                        AMBIGUOUS.clone_into(&mut why);
                    }
                    DeliveryEvent::LookedUp(answer.map_err(|failure| note(&mut why, &failure)))
                }
                DeliveryStep::Send { possible_duplicate } => {
                    let answer = self.send(stored).await?;
                    let may_have_arrived =
                        answer.as_ref().map_or_else(|failure| failure.cause.is_in_doubt(), |()| true);
                    if possible_duplicate && may_have_arrived {
                        tracing::warn!(%tap, why, "job record sent again without knowing whether it had arrived");
                        self.board.metrics.possible_duplicate();
                    }
                    DeliveryEvent::Answered(answer.map_err(|failure| note(&mut why, &failure)))
                }
                DeliveryStep::Acknowledge => {
                    self.show_in_doubt(false);
                    return Ok(self.journal.acknowledge_record(stored.id).await?);
                }
                DeliveryStep::Bury => {
                    self.show_in_doubt(false);
                    tracing::error!(%tap, error = why, "the server refused a job record for good; see `queue list`");
                    return Ok(self.journal.bury_record(stored.id, why).await?);
                }
                DeliveryStep::Keep { mark, at_least } => {
                    match mark {
                        MarkAfter::Is(attempted) => {
                            self.show_in_doubt(attempted.is_some());
                            self.journal.mark_record(stored.id, attempted).await?;
                        }
                        MarkAfter::Stays => self.show_in_doubt(true),
                    }
                    return Err(Later { why, at_least });
                }
            };
        }
    }

    /// Looks the record up, unless the agent is stopped: it waits until the last attempt has settled, and has no effect.
    async fn look_up(
        &self,
        stored: &StoredRecord,
        stopped: &mut watch::Receiver<bool>,
    ) -> Result<Result<Arrival, Failure>, Later> {
        let answer = tokio::select! {
            answer = self.lookup.look_up(stored) => answer,
            _ = stopped.changed() => {
                return Err(Later { why: "the agent is being stopped".to_owned(), at_least: Duration::ZERO });
            }
        };
        if answer == Ok(Arrival::Arrived) {
            tracing::info!(tap = %stored.record.tap, "job record had arrived although its answer was lost");
        }
        Ok(answer)
    }

    /// Marks the record and sends it.
    async fn send(&self, stored: &StoredRecord) -> Result<Result<(), Failure>, Later> {
        // The server's clock first: by it the record is looked for if its own answer is lost.
        if let Err(failure) = self.client.learn_time().await {
            return Err(Later { why: failure.to_string(), at_least: Duration::ZERO });
        }
        self.journal.mark_record(stored.id, Some(self.client.likely_server_time())).await?;
        self.lookup.note_sent(stored.id);
        let started = Instant::now();
        let answer = self.client.record(&stored.record).await;
        self.board.metrics.stage(&stored.record.station, Stage::Record, started.elapsed());
        Ok(answer)
    }

    /// At most one record is in doubt: the oldest.
    fn show_in_doubt(&self, yes: bool) {
        let count = u64::from(yes);
        if self.board.watch().borrow().outbox.in_doubt != count {
            self.board.update(|state| state.outbox.in_doubt = count);
        }
    }
}

/// Keeps the story for the log and gives the cause to decide by.
fn note(why: &mut String, failure: &Failure) -> Cause {
    *why = failure.to_string();
    failure.cause
}
