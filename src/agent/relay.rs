//! From the board and the journal to the broker: states as they change, events until they are acknowledged.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::mpsc;

use super::MqttSetup;
use super::work::Work;
use crate::domain::EntryId;
use crate::status::mqtt::{IN_FLIGHT, MqttClient, MqttNotice, PublishError};
use crate::status::topics::Topics;

/// The status is told at least this often (design, section 7).
const EVERY: Duration = Duration::from_secs(60);

/// Changes that come together are told together.
const TOGETHER: Duration = Duration::from_millis(200);

pub(super) async fn run(work: Arc<Work>, setup: MqttSetup) {
    let MqttSetup { mqtt, notices, topics } = setup;
    tokio::join!(states(&work, &mqtt, &topics), events(&work, &mqtt, &topics, notices));
}

/// Retained states: the agent's and each station's.
async fn states(work: &Work, mqtt: &MqttClient, topics: &Topics) {
    let mut board = work.board.watch();
    discovery(work, mqtt, topics);
    loop {
        let stations = board.borrow_and_update().stations.clone();
        retain(mqtt, topics.status(), work.board.document(Timestamp::now()).to_string());
        for (name, station) in stations {
            match serde_json::to_string(&station) {
                Ok(payload) => retain(mqtt, topics.station_status(&name), payload),
                Err(error) => tracing::error!(%error, "status of a station not told"),
            }
        }
        tokio::time::sleep(TOGETHER).await;
        // A board that closed or a minute without a change: either way the next round tells what there is.
        drop(tokio::time::timeout(EVERY, board.changed()).await.map(drop));
    }
}

fn discovery(work: &Work, mqtt: &MqttClient, topics: &Topics) {
    let stations: Vec<_> = work.board.watch().borrow().stations.keys().cloned().collect();
    for name in stations {
        for (topic, payload) in topics.discovery(&name) {
            retain(mqtt, topic, payload);
        }
    }
}

/// Events from the journal: offered in order, forgotten when acknowledged. The client sends what it took again on every
/// new link.
async fn events(work: &Work, mqtt: &MqttClient, topics: &Topics, mut notices: mpsc::Receiver<MqttNotice>) {
    let mut counts = work.journal.counts();
    let mut offered: EntryId = 0;
    loop {
        offered = offer(work, mqtt, topics, offered).await;
        tokio::select! {
            notice = notices.recv() => match notice {
                None => return,
                Some(MqttNotice::Connected) => work.board.update(|state| state.mqtt = Some(true)),
                Some(MqttNotice::Disconnected { .. }) => work.board.update(|state| state.mqtt = Some(false)),
                Some(MqttNotice::Acknowledged(id)) => {
                    if let Err(error) = work.journal.forget_event(id).await {
                        tracing::error!(%error, "event told and not forgotten; it will be told again");
                    }
                }
                Some(MqttNotice::HomeAssistantStarted) => discovery(work, mqtt, topics),
            },
            _ = counts.changed() => {}
        }
    }
}

/// Offers what waits beyond `after`, as far as the client takes it, and says how far that was.
async fn offer(work: &Work, mqtt: &MqttClient, topics: &Topics, mut after: EntryId) -> EntryId {
    let waiting = match work.journal.events_after(after, IN_FLIGHT).await {
        Ok(waiting) => waiting,
        Err(error) => {
            tracing::error!(%error, "events not read");
            return after;
        }
    };
    for event in waiting {
        match mqtt.offer(event.id, topics.station_event(&event.station), event.payload) {
            Ok(()) => {}
            Err(PublishError::Full) => break,
            Err(error) => tracing::error!(%error, id = event.id, "event cannot be told"),
        }
        after = event.id;
    }
    after
}

fn retain(mqtt: &MqttClient, topic: String, payload: String) {
    if let Err(error) = mqtt.retain(topic, payload) {
        tracing::error!(%error, "state cannot be told");
    }
}
