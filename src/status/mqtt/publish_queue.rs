//! The messages that the MQTT task still has to send, and the notices that it still has to deliver. Pure.
//!
//! Invariants:
//! - Every retained topic is at most once in `due`, every event at most once in `offered` and in `due`, so all are bounded.
//! - `offered` is in the order of the offers. An event leaves it when the notice of its acknowledgement is taken.
//! - The queue accepts only messages that a broker can take: one that breaks the link would break every new link as well.

use std::collections::{BTreeMap, VecDeque};
use std::mem;

use super::MqttNotice;

/// The most events without a delivered notice of acknowledgement, and the most messages on their way on one link.
pub const IN_FLIGHT: usize = 16;
/// The most retained topics.
pub const RETAINED_LIMIT: usize = 1024;
/// The largest message in bytes, topic and frame included. The MQTT library's default is 10 KiB.
pub const PACKET_LIMIT: usize = 256 * 1024;
/// The most bytes that MQTT adds to topic and payload: fixed header, length of the topic, packet id.
const PACKET_FRAME: usize = 9;
/// The longest topic in bytes (MQTT 3.1.1, section 1.5.3).
const TOPIC_LIMIT: usize = u16::MAX as usize;

/// The reason why a message was not queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// The queue has no room now.
    #[error("take an MQTT message: no room for another one; offer it again after the next acknowledgement")]
    Full,
    /// The message will never fit.
    #[error("take an MQTT message of {size} bytes: the limit is {PACKET_LIMIT}; send less")]
    TooLarge {
        /// The size of topic, payload and frame in bytes.
        size: usize,
    },
    /// Nothing can be published to this topic.
    #[error("take an MQTT message: its topic is empty, too long, or holds `+`, `#` or NUL; name another one")]
    Topic,
}

/// Decides what follows from a message's acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MessageKind {
    /// Nothing follows: retained messages are sent again on every link anyway.
    Retained,
    /// The event with this number is delivered.
    Event(u64),
    /// The broker has `offline`: the link may be closed.
    Farewell,
}

/// A message on its way to the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Publication {
    pub(super) kind: MessageKind,
    pub(super) topic: String,
    pub(super) payload: String,
}

#[derive(Default)]
struct RetainedTopic {
    payload: String,
    /// True while the topic is in `PublishQueue::due`.
    due: bool,
}

struct OfferedEvent {
    id: u64,
    topic: String,
    payload: String,
    acknowledged: bool,
}

enum DueMessage {
    Retained(String),
    Event(u64),
}

/// The last known state of the link.
#[derive(Default)]
enum LinkState {
    #[default]
    Untried,
    Up,
    Down {
        error: String,
        /// Counts the attempts and links that failed since the last link worked.
        failures: u64,
    },
}

#[derive(Default)]
pub(super) struct PublishQueue {
    retained: BTreeMap<String, RetainedTopic>,
    offered: VecDeque<OfferedEvent>,
    /// Messages not yet sent on this link, oldest first.
    due: VecDeque<DueMessage>,
    link: LinkState,
    link_notice_due: bool,
    home_assistant_started: bool,
}

impl PublishQueue {
    pub(super) fn retain(&mut self, topic: String, payload: String) -> Result<(), PublishError> {
        check_message(&topic, &payload)?;
        if self.retained.len() >= RETAINED_LIMIT && !self.retained.contains_key(&topic) {
            return Err(PublishError::Full);
        }
        let retained = self.retained.entry(topic.clone()).or_default();
        retained.payload = payload;
        if !mem::replace(&mut retained.due, true) {
            self.due.push_back(DueMessage::Retained(topic));
        }
        Ok(())
    }

    pub(super) fn offer(&mut self, id: u64, topic: String, payload: String) -> Result<(), PublishError> {
        check_message(&topic, &payload)?;
        if self.offered.iter().any(|event| event.id == id) {
            return Ok(());
        }
        if self.offered.len() >= IN_FLIGHT {
            return Err(PublishError::Full);
        }
        self.offered.push_back(OfferedEvent { id, topic, payload, acknowledged: false });
        self.due.push_back(DueMessage::Event(id));
        Ok(())
    }

    /// Makes everything due again on a new link, retained topics first. Returns how often the link had failed before.
    pub(super) fn connected(&mut self) -> u64 {
        self.retained.values_mut().for_each(|retained| retained.due = true);
        let events = self.offered.iter().filter(|event| !event.acknowledged).map(|event| DueMessage::Event(event.id));
        self.due = self.retained.keys().cloned().map(DueMessage::Retained).chain(events).collect();
        self.link_notice_due = true;
        match mem::replace(&mut self.link, LinkState::Up) {
            LinkState::Down { failures, .. } => failures,
            LinkState::Untried | LinkState::Up => 0,
        }
    }

    /// Notes that there is no link, and why. Returns true when the outage or its reason is new.
    pub(super) fn disconnected(&mut self, error: &str) -> bool {
        let (known, failures) = match &self.link {
            LinkState::Down { error: last, failures } => (last == error, *failures),
            LinkState::Untried | LinkState::Up => (false, 0),
        };
        self.link = LinkState::Down { error: error.to_owned(), failures: failures.saturating_add(1) };
        self.link_notice_due |= !known;
        !known
    }

    /// Takes the next message to send on this link.
    pub(super) fn take_due(&mut self) -> Option<Publication> {
        loop {
            let due = self.due.pop_front()?;
            if let Some(message) = self.message(due) {
                return Some(message);
            }
        }
    }

    fn message(&mut self, due: DueMessage) -> Option<Publication> {
        match due {
            DueMessage::Retained(topic) => {
                let retained = self.retained.get_mut(&topic)?;
                retained.due = false;
                Some(Publication { kind: MessageKind::Retained, payload: retained.payload.clone(), topic })
            }
            DueMessage::Event(id) => {
                let event = self.offered.iter().find(|event| event.id == id)?;
                Some(Publication {
                    kind: MessageKind::Event(id),
                    topic: event.topic.clone(),
                    payload: event.payload.clone(),
                })
            }
        }
    }

    pub(super) fn acknowledged(&mut self, id: u64) {
        if let Some(event) = self.offered.iter_mut().find(|event| event.id == id) {
            event.acknowledged = true;
        }
    }

    pub(super) fn home_assistant_started(&mut self) {
        self.home_assistant_started = true;
    }

    pub(super) fn has_notice(&self) -> bool {
        self.link_notice_due || self.home_assistant_started || self.offered.iter().any(|event| event.acknowledged)
    }

    /// Takes the next notice. Acknowledgements go first: an acknowledged event need not be offered again on a new link.
    pub(super) fn take_notice(&mut self) -> Option<MqttNotice> {
        if let Some(place) = self.offered.iter().position(|event| event.acknowledged) {
            return self.offered.remove(place).map(|event| MqttNotice::Acknowledged(event.id));
        }
        if mem::take(&mut self.link_notice_due) {
            return match &self.link {
                LinkState::Untried => None,
                LinkState::Up => Some(MqttNotice::Connected),
                LinkState::Down { error, .. } => Some(MqttNotice::Disconnected { error: error.clone() }),
            };
        }
        mem::take(&mut self.home_assistant_started).then_some(MqttNotice::HomeAssistantStarted)
    }
}

fn check_message(topic: &str, payload: &str) -> Result<(), PublishError> {
    if topic.is_empty() || topic.len() > TOPIC_LIMIT || topic.contains(['+', '#', '\0']) {
        return Err(PublishError::Topic);
    }
    let size = topic.len().saturating_add(payload.len()).saturating_add(PACKET_FRAME);
    if size > PACKET_LIMIT { Err(PublishError::TooLarge { size }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn retain(queue: &mut PublishQueue, topic: &str, payload: &str) {
        queue.retain(topic.to_owned(), payload.to_owned()).unwrap();
    }

    fn offer(queue: &mut PublishQueue, id: u64) -> Result<(), PublishError> {
        queue.offer(id, "event".to_owned(), id.to_string())
    }

    /// Takes everything that is due, as `(topic, payload)`.
    fn sent(queue: &mut PublishQueue) -> Vec<(String, String)> {
        std::iter::from_fn(|| queue.take_due()).map(|message| (message.topic, message.payload)).collect()
    }

    fn notices(queue: &mut PublishQueue) -> Vec<MqttNotice> {
        std::iter::from_fn(|| queue.take_notice()).collect()
    }

    fn pairs<const N: usize>(pairs: [(&str, &str); N]) -> Vec<(String, String)> {
        pairs.map(|(topic, payload)| (topic.to_owned(), payload.to_owned())).to_vec()
    }

    #[test]
    fn of_one_topic_only_the_latest_payload_is_sent() {
        let mut queue = PublishQueue::default();
        queue.connected();
        for payload in ["1", "2", "3"] {
            retain(&mut queue, "status", payload);
        }
        assert_eq!(sent(&mut queue), pairs([("status", "3")]));
        retain(&mut queue, "status", "3");
        assert_eq!(sent(&mut queue), pairs([("status", "3")]), "discovery is sent again although it is the same");
    }

    #[test]
    fn a_new_link_gets_what_is_retained_and_then_the_unacknowledged_events_in_order() {
        let mut queue = PublishQueue::default();
        for id in [7, 3, 5] {
            offer(&mut queue, id).unwrap();
        }
        retain(&mut queue, "status", "ready");
        queue.connected();
        let all = [("status", "ready"), ("event", "7"), ("event", "3"), ("event", "5")];
        assert_eq!(sent(&mut queue), pairs(all));
        queue.acknowledged(3);
        queue.disconnected("cut");
        queue.connected();
        assert_eq!(sent(&mut queue), pairs([all[0], all[1], all[3]]));
    }

    #[test]
    fn an_event_is_not_taken_twice_and_not_more_than_the_limit() {
        let mut queue = PublishQueue::default();
        queue.connected();
        for id in (0..IN_FLIGHT as u64).chain(0..IN_FLIGHT as u64) {
            offer(&mut queue, id).unwrap();
        }
        assert_eq!(offer(&mut queue, 99), Err(PublishError::Full));
        assert_eq!(sent(&mut queue).len(), IN_FLIGHT);
    }

    #[test]
    fn an_acknowledgement_keeps_its_place_until_it_is_told() {
        let mut queue = PublishQueue::default();
        (0..IN_FLIGHT as u64).for_each(|id| offer(&mut queue, id).unwrap());
        (0..IN_FLIGHT as u64).for_each(|id| queue.acknowledged(id));
        assert_eq!(offer(&mut queue, 99), Err(PublishError::Full));
        let expected: Vec<_> = (0..IN_FLIGHT as u64).map(MqttNotice::Acknowledged).collect();
        assert_eq!(notices(&mut queue), expected);
        assert_eq!(offer(&mut queue, 99), Ok(()));
    }

    #[test]
    fn of_the_link_only_the_latest_state_is_told_and_acknowledgements_before_it() {
        let mut queue = PublishQueue::default();
        offer(&mut queue, 1).unwrap();
        queue.connected();
        queue.disconnected("cut");
        queue.connected();
        queue.home_assistant_started();
        queue.home_assistant_started();
        queue.acknowledged(1);
        assert!(queue.has_notice());
        assert_eq!(
            notices(&mut queue),
            [MqttNotice::Acknowledged(1), MqttNotice::Connected, MqttNotice::HomeAssistantStarted]
        );
        assert!(!queue.has_notice());
    }

    #[test]
    fn every_new_link_is_told_even_if_its_loss_was_not() {
        let mut queue = PublishQueue::default();
        queue.connected();
        assert_eq!(notices(&mut queue), [MqttNotice::Connected]);
        queue.disconnected("cut");
        queue.connected();
        assert_eq!(notices(&mut queue), [MqttNotice::Connected]);
    }

    #[test]
    fn a_repeated_error_is_told_once_and_counted() {
        let mut queue = PublishQueue::default();
        assert!(queue.disconnected("refused"));
        assert!(!queue.disconnected("refused"));
        assert_eq!(notices(&mut queue), [MqttNotice::Disconnected { error: "refused".to_owned() }]);
        assert!(queue.disconnected("no route"));
        assert_eq!(queue.connected(), 3);
        assert_eq!(queue.connected(), 0);
    }

    #[test]
    fn what_no_broker_would_take_is_refused() {
        let mut queue = PublishQueue::default();
        for topic in ["", "a/+/b", "a/#", "a\0b", &"t".repeat(TOPIC_LIMIT + 1)] {
            assert_eq!(queue.offer(1, topic.to_owned(), String::new()), Err(PublishError::Topic));
            assert_eq!(queue.retain(topic.to_owned(), String::new()), Err(PublishError::Topic));
        }
        let largest = PACKET_LIMIT - PACKET_FRAME - 1;
        assert_eq!(queue.retain("t".to_owned(), "x".repeat(largest)), Ok(()));
        let size = PACKET_LIMIT + 1;
        assert_eq!(queue.retain("t".to_owned(), "x".repeat(largest + 1)), Err(PublishError::TooLarge { size }));
    }

    #[test]
    fn the_retained_topics_are_limited_but_a_known_one_is_still_taken() {
        let mut queue = PublishQueue::default();
        for n in 0..RETAINED_LIMIT {
            retain(&mut queue, &n.to_string(), "");
        }
        assert_eq!(queue.retain("one more".to_owned(), String::new()), Err(PublishError::Full));
        retain(&mut queue, "0", "new");
    }
}
