//! Publishes to the broker: states from the board as they change, events from the journal until they are acknowledged.

use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::mpsc;

use crate::domain::EntryId;
use crate::journal::Journal;
use crate::planted;
use crate::status::Board;
use crate::status::mqtt::{IN_FLIGHT, MqttClient, MqttNotice, PublishError};
use crate::status::topics::Topics;

/// The longest pause between two status messages: docs/operating.md, "MQTT topics".
const EVERY: Duration = Duration::from_secs(60);

/// Changes within this time make one message.
const TOGETHER: Duration = Duration::from_millis(200);

/// The pause before the journal is read again that could not be read.
const RETRY: Duration = Duration::from_secs(5);

/// The parts that messages come from and go through.
#[derive(Debug)]
pub(super) struct MqttPublisher {
    pub(super) board: Board,
    pub(super) journal: Journal,
    pub(super) mqtt: MqttClient,
    pub(super) topics: Topics,
}

impl MqttPublisher {
    /// Publishes for as long as the client lives, and hears from `notices` what became of it.
    pub(super) async fn run(self, notices: mpsc::Receiver<MqttNotice>) {
        tokio::join!(self.states(), self.events(notices));
    }

    /// Retained states: the agent's and each station's.
    async fn states(&self) {
        let mut board = self.board.watch();
        self.discovery();
        loop {
            let stations = board.borrow_and_update().stations.clone();
            self.retain(self.topics.status(), self.board.document(Timestamp::now()).to_string());
            for (name, station) in stations {
                match serde_json::to_string(&station) {
                    Ok(payload) => self.retain(self.topics.station_status(&name), payload),
                    Err(error) => tracing::error!(%error, "status of a station not published"),
                }
            }
            tokio::time::sleep(TOGETHER).await;
            // A board that closed or a minute without a change: either way the next round publishes what there is.
            drop(tokio::time::timeout(EVERY, board.changed()).await.map(drop));
        }
    }

    fn discovery(&self) {
        let stations: Vec<_> = self.board.watch().borrow().stations.keys().cloned().collect();
        for name in stations {
            for (topic, payload) in self.topics.discovery(&name) {
                self.retain(topic, payload);
            }
        }
    }

    /// Events from the journal: offered in order, forgotten when acknowledged. The client sends its unacknowledged ones again
    /// on every new link.
    async fn events(&self, mut notices: mpsc::Receiver<MqttNotice>) {
        let mut counts = self.journal.counts();
        let mut offered: EntryId = 0;
        loop {
            let was_read = self.offer(&mut offered).await;
            tokio::select! {
                notice = notices.recv() => match notice {
                    None => return,
                    Some(MqttNotice::Connected) => self.board.update(|state| state.mqtt = Some(true)),
                    Some(MqttNotice::Disconnected { .. }) => self.board.update(|state| state.mqtt = Some(false)),
                    Some(MqttNotice::Acknowledged(id)) => self.forget(id).await,
                    Some(MqttNotice::HomeAssistantStarted) => self.discovery(),
                },
                _ = counts.changed() => {}
                // Nothing may change for hours, and the events would wait with it.
                () = tokio::time::sleep(RETRY), if !was_read => {}
            }
        }
    }

    /// Offers the events beyond `after`, as far as the client takes them. False: the journal could not be read.
    async fn offer(&self, after: &mut EntryId) -> bool {
        let waiting = match self.journal.events_after(*after, IN_FLIGHT).await {
            Ok(waiting) => waiting,
            Err(error) => {
                tracing::error!(%error, "events not read");
                return false;
            }
        };
        let waiting = if planted::is("swap-events") { waiting.into_iter().rev().collect() } else { waiting };
        for event in waiting {
            if planted::is("forget-unacknowledged-events") {
                drop(self.journal.forget_event(event.id).await);
            }
            match self.mqtt.offer(event.id, self.topics.station_event(&event.station), event.payload) {
                Ok(()) => {}
                Err(PublishError::Full) => break,
                // It would be refused again for ever.
                Err(error) => {
                    tracing::error!(%error, id = event.id, "event cannot be published, and is given up");
                    self.board.events_lost(1);
                    self.forget(event.id).await;
                }
            }
            *after = event.id;
        }
        true
    }

    async fn forget(&self, id: EntryId) {
        if let Err(error) = self.journal.forget_event(id).await {
            tracing::error!(%error, id, "event not forgotten; the next start publishes it again");
        }
    }

    fn retain(&self, topic: String, payload: String) {
        if let Err(error) = self.mqtt.retain(topic, payload) {
            tracing::error!(%error, "state cannot be published");
        }
    }
}
