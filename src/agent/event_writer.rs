//! Writes events to the journal, in their order, and shows them on the board when they are durable.

use tokio::sync::{mpsc, watch};

use super::reporter::{StationEvent, Subject};
use crate::journal::Journal;
use crate::planted;
use crate::status::Board;

/// Events that may wait to be stored; those beyond are lost, and counted.
pub(super) const EVENT_QUEUE_LIMIT: usize = 256;

/// The parts that an event passes.
#[derive(Debug)]
pub(super) struct EventWriter {
    pub(super) journal: Journal,
    pub(super) board: Board,
    /// Whether there is a broker to keep events for.
    pub(super) has_broker: bool,
}

impl EventWriter {
    /// Writes until it is stopped and none waits.
    pub(super) async fn run(self, mut events: mpsc::Receiver<StationEvent>, mut stopped: watch::Receiver<bool>) {
        loop {
            tokio::select! {
                biased;
                Some(event) = events.recv() => self.write(event).await,
                _ = stopped.changed() => return,
            }
        }
    }

    async fn write(&self, event: StationEvent) {
        let StationEvent { station, subject, payload } = event;
        if self.has_broker
            && let Err(error) = self.journal.store_event(station.to_string(), payload.to_string()).await
        {
            tracing::error!(station = &*station, %error, "event not stored, so neither shown nor published");
            if !planted::is("lose-an-event-silently") {
                self.board.metrics.event_lost();
            }
            return;
        }
        if subject == Subject::Tap {
            self.board.update_station(&station, |station| station.last = Some(payload));
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::json;

    use super::*;
    use crate::domain::StationName;
    use crate::journal::Limits;

    #[tokio::test]
    async fn an_event_that_is_not_durable_is_not_shown() {
        let dir = tempfile::tempdir().unwrap();
        let lobby = StationName::from("lobby");
        let journal = Journal::open(dir.path(), Limits::NONE, None).unwrap();
        let board = Board::new("box", [lobby.clone()], Timestamp::UNIX_EPOCH);
        let event =
            |word| StationEvent { station: lobby.clone(), subject: Subject::Tap, payload: json!({ "event": word }) };
        let last = || board.watch().borrow().stations[&lobby].last.clone();
        let writer = EventWriter { journal: journal.clone(), board: board.clone(), has_broker: true };
        writer.write(event("released")).await;
        assert_eq!(last().unwrap()["event"], "released");
        journal.break_down().await;
        writer.write(event("failed")).await;
        assert_eq!(last().unwrap()["event"], "released");
    }
}
