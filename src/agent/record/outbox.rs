//! Carries deliveries out: brings job records to the server, one at a time, in the turn that [`Holds`] gives them and as
//! [`Delivery`] says.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;

use super::delivery::{Arrival, Delivery, DeliveryEvent, DeliveryStep, MarkAfter};
use super::holds::{Holds, Obstacle, Turn};
use super::lookup::Lookup;
use crate::agent::parts::OutboxSetup;
use crate::backoff::Backoff;
use crate::domain::{Cause, Failure, Reason, StationName};
use crate::journal::{Journal, JournalError, RecordSearch, StoredRecord};
use crate::planted;
use crate::print_server::Client;
use crate::random;
use crate::status::{Board, Stage, WaitingRecord};

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

/// The story of a record that stays, for the log, and what keeps it.
struct Later {
    why: String,
    obstacle: Obstacle,
}

impl Later {
    fn failed(why: String, cause: Cause) -> Self {
        Self { why, obstacle: Obstacle::Failed(cause) }
    }

    fn until(time: Instant) -> Self {
        Self { why: "the server may still be at work on it".to_owned(), obstacle: Obstacle::Unsettled(time) }
    }
}

impl From<JournalError> for Later {
    fn from(error: JournalError) -> Self {
        // An error of one entry is none of the others.
        let cause = match error {
            JournalError::Entry { .. } | JournalError::TooLarge { .. } => Cause::Rejected,
            _ => Cause::Storage,
        };
        Self::failed(error.to_string(), cause)
    }
}

/// The turns of the records, and what the log was told of each station that waits.
struct Deliveries {
    holds: Holds,
    told: HashMap<StationName, String>,
    stopped: watch::Receiver<bool>,
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
    pub(in crate::agent) async fn run(self, stopped: watch::Receiver<bool>) {
        let Ok(retry) = Backoff::new(self.setup.retry_min, self.setup.retry_max) else {
            tracing::error!("outbox: retry_min and retry_max do not fit together");
            return;
        };
        let holds = Holds::new(retry, self.setup.retry_max);
        let mut it = Deliveries { holds, told: HashMap::new(), stopped };
        let mut counts = self.journal.counts();
        let (mut set_aside, mut lost) = (0, 0);
        while !*it.stopped.borrow_and_update() {
            let seen = *counts.borrow_and_update();
            // A journal that lost its newest state may have got records back that had left.
            if (seen.set_aside, seen.lost) != (set_aside, lost) {
                (set_aside, lost) = (seen.set_aside, seen.lost);
                it.holds.search_all();
            }
            let until = match it.holds.turn(Instant::now()) {
                Turn::Pause(until) => Some(until),
                Turn::Search { after, held } => match self.journal.search_records(after, held).await {
                    Ok(RecordSearch::Found(stored)) => {
                        self.attempt(&mut it, &stored).await;
                        continue;
                    }
                    Ok(RecordSearch::Passed(number)) => {
                        it.holds.passed(number);
                        continue;
                    }
                    Ok(RecordSearch::End) => {
                        it.holds.nothing_found();
                        it.holds.first_end()
                    }
                    Err(error) => {
                        tracing::warn!(%error, "job records not read; trying again");
                        it.holds.not_searched(Instant::now(), random::word());
                        continue;
                    }
                },
            };
            self.show_in_doubt(&it.holds);
            let sleep = async {
                match until {
                    Some(until) => tokio::time::sleep_until(until.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = sleep => {}
                _ = counts.changed() => {}
                _ = it.stopped.changed() => {}
            }
        }
    }

    /// Brings a record as far as it comes now: it is gone from the queue, or it stays and its station is held.
    async fn attempt(&self, it: &mut Deliveries, stored: &StoredRecord) {
        let station = &stored.record.station;
        it.holds.found(station, stored.id, Instant::now());
        self.note_doubt(it, station, stored.attempted.is_some());
        match self.deliver(it, stored).await {
            Ok(()) => {
                it.holds.left(station);
                it.told.remove(station);
            }
            Err(Later { why, obstacle }) => {
                let wait = it.holds.stays(station, obstacle, Instant::now(), random::word());
                self.note_waiting(stored, &why, obstacle, wait).await;
                let (station, wait_ms) = (&**station, wait.as_millis());
                // Once for each reason: an outage may last for days.
                let is_told = it.told.get(station).is_some_and(|told| *told == why);
                if is_told || matches!(obstacle, Obstacle::Unsettled(_)) {
                    tracing::debug!(station, error = why, wait_ms, "job record not delivered; trying again");
                } else {
                    tracing::warn!(station, error = why, "job record not delivered; trying again until it is");
                    it.told.insert(station.into(), why);
                }
            }
        }
        self.show_in_doubt(&it.holds);
    }

    async fn deliver(&self, it: &mut Deliveries, stored: &StoredRecord) -> Result<(), Later> {
        let (tap, station) = (stored.record.tap, &stored.record.station);
        let mut delivery = Delivery::new(stored.attempted, self.setup.in_doubt);
        let (mut event, mut why) = (DeliveryEvent::Due, "outbox.in_doubt is resend".to_owned());
        loop {
            event = match delivery.handle(event) {
                DeliveryStep::LookUp(_) => {
                    let answer = self.look_up(it, stored).await?;
                    if answer == Ok(Arrival::Ambiguous) {
                        AMBIGUOUS.clone_into(&mut why);
                    }
                    DeliveryEvent::LookedUp(answer.map_err(|failure| note(&mut why, &failure)))
                }
                DeliveryStep::Send { possible_duplicate } => {
                    if possible_duplicate {
                        // Before it is sent: after a kill nobody would tell.
                        tracing::warn!(%tap, why, "job record sent again without knowing whether it had arrived");
                    }
                    let answer = self.send(stored).await?;
                    let may_have_arrived =
                        answer.as_ref().map_or_else(|failure| failure.cause.is_in_doubt(), |()| true);
                    if possible_duplicate && may_have_arrived {
                        self.board.metrics.possible_duplicate();
                    }
                    DeliveryEvent::Answered(answer.map_err(|failure| note(&mut why, &failure)))
                }
                DeliveryStep::Acknowledge => {
                    self.note_doubt(it, station, false);
                    return Ok(self.journal.acknowledge_record(stored.id).await?);
                }
                DeliveryStep::Bury => {
                    self.note_doubt(it, station, false);
                    if planted::is("bury-without-a-grave") {
                        return Ok(self.journal.acknowledge_record(stored.id).await?);
                    }
                    tracing::error!(%tap, error = why, "the server refused a job record for good; see `queue list`");
                    return Ok(self.journal.bury_record(stored.id, why).await?);
                }
                DeliveryStep::Keep { mark, cause } => {
                    match mark {
                        MarkAfter::Is(attempted) => {
                            self.note_doubt(it, station, attempted.is_some());
                            self.journal.mark_record(stored.id, attempted).await?;
                        }
                        MarkAfter::Stays => self.note_doubt(it, station, true),
                    }
                    return Err(Later { why, obstacle: Obstacle::Failed(cause) });
                }
            };
        }
    }

    /// Looks the record up, unless the agent is stopped: it has no effect.
    async fn look_up(&self, it: &mut Deliveries, stored: &StoredRecord) -> Result<Result<Arrival, Failure>, Later> {
        // Others need not wait with it.
        let settled = self.lookup.settles_at(stored.id);
        if Instant::now() < settled && !planted::is("look-before-it-settled") {
            return Err(Later::until(settled));
        }
        let answer = tokio::select! {
            answer = self.lookup.look_up(stored) => answer,
            _ = it.stopped.changed() => return Err(Later::until(Instant::now())),
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
            return Err(Later::failed(failure.to_string(), failure.cause));
        }
        self.journal.mark_record(stored.id, Some(self.client.likely_server_time())).await?;
        if planted::is("send-unmarked") {
            self.journal.mark_record(stored.id, None).await?;
        }
        if planted::is("forget-before-acknowledged") {
            self.journal.acknowledge_record(stored.id).await?;
        }
        self.lookup.note_sent(stored.id);
        let started = Instant::now();
        let answer = self.client.record(&stored.record).await;
        self.board.metrics.stage(&stored.record.station, Stage::Record, started.elapsed());
        Ok(answer)
    }

    fn note_doubt(&self, it: &mut Deliveries, station: &StationName, in_doubt: bool) {
        it.holds.note_doubt(station, in_doubt);
        self.show_in_doubt(&it.holds);
    }

    /// Keeps why this record waits, on the disk, and shows until when.
    async fn note_waiting(&self, stored: &StoredRecord, why: &str, obstacle: Obstacle, wait: Duration) {
        let station = &stored.record.station;
        let last_error = match obstacle {
            Obstacle::Failed(cause) => {
                // A full disk takes none, and the log has it.
                if let Err(error) = self.journal.note_error(stored.id, why.to_owned()).await {
                    tracing::debug!(%error, "last error of a job record not stored");
                }
                Reason::from(cause).word().to_owned()
            }
            // It waits for the end of an earlier attempt, whose answer was lost.
            Obstacle::Unsettled(_) => Reason::AnswerLost.word().to_owned(),
        };
        let now = Timestamp::now();
        let next_attempt = SignedDuration::try_from(wait).map_or(now, |wait| now.saturating_add(wait).unwrap_or(now));
        let waiting = WaitingRecord { id: stored.id, time: stored.record.time, last_error, next_attempt };
        self.board.update(|state| state.waiting.put(station.clone(), waiting));
    }

    /// At most one record of each station is in doubt: its oldest. A station without a hold waits no more.
    fn show_in_doubt(&self, holds: &Holds) {
        let count = holds.in_doubt();
        let is_shown = {
            let watch = self.board.watch();
            let state = watch.borrow();
            state.outbox.in_doubt == count && state.waiting.stations().all(|station| holds.is_held(station))
        };
        if !is_shown {
            self.board.update(|state| {
                state.outbox.in_doubt = count;
                state.waiting.retain(|station| holds.is_held(station));
            });
        }
    }
}

/// Keeps the story for the log and gives the cause to decide by.
fn note(why: &mut String, failure: &Failure) -> Cause {
    *why = failure.to_string();
    failure.cause
}
