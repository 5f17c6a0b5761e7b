//! What the MQTT task has still to send and to tell: between the handles, the link and the notices. Pure.
//!
//! Invariants:
//! - Every retained topic is at most once in `due`, every event at most once in `offered` and in `due`, so all are bounded.
//! - `offered` is in the order of the offers. An event leaves it when its acknowledgement is taken to be told.
//! - Only a message that a broker can take is let in: one that breaks the link would break every new link as well.

use std::collections::{BTreeMap, VecDeque};
use std::mem;

use super::Notice;

/// Events offered and not yet told to be acknowledged, and messages on their way on one link.
pub const IN_FLIGHT: usize = 16;
/// Retained topics.
pub const RETAINED_LIMIT: usize = 1024;
/// Bytes of one message, topic and all. The client's own limit is 10 KiB.
pub const PACKET_LIMIT: usize = 256 * 1024;
/// The longest that MQTT puts around topic and payload: fixed header, length of the topic, packet id.
const PACKET_FRAME: usize = 9;
/// Bytes of a topic (MQTT 3.1.1, section 1.5.3).
const TOPIC_LIMIT: usize = u16::MAX as usize;

/// Why a message was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// There is no room now.
    #[error("take an MQTT message: no room for another one; offer it again after the next acknowledgement")]
    Full,
    /// It will never fit.
    #[error("take an MQTT message of {size} bytes: the limit is {PACKET_LIMIT}; send less")]
    TooLarge {
        /// Bytes of topic, payload and frame.
        size: usize,
    },
    /// Not a topic to publish to.
    #[error("take an MQTT message: its topic is empty, too long, or holds `+`, `#` or NUL; name another one")]
    Topic,
}

/// What an acknowledgement will mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nothing: what is retained is sent again on every link anyway.
    Retained,
    /// This event is delivered.
    Event(u64),
    /// `offline` is known: the link may be closed.
    Farewell,
}

/// One message to publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) kind: Kind,
    pub(super) topic: String,
    pub(super) payload: String,
}

#[derive(Default)]
struct Retained {
    payload: String,
    /// Stands in `Board::due`.
    due: bool,
}

struct Offered {
    id: u64,
    topic: String,
    payload: String,
    acknowledged: bool,
}

enum Due {
    Retained(String),
    Event(u64),
}

/// The last that is known of the link.
#[derive(Default)]
enum Link {
    #[default]
    Untried,
    Up,
    Down {
        error: String,
        /// Attempts and links that failed since it last worked.
        failures: u64,
    },
}

#[derive(Default)]
pub(super) struct Board {
    retained: BTreeMap<String, Retained>,
    offered: VecDeque<Offered>,
    /// What was not yet sent on this link, oldest first.
    due: VecDeque<Due>,
    link: Link,
    link_is_news: bool,
    home_assistant_started: bool,
}

impl Board {
    pub(super) fn retain(&mut self, topic: String, payload: String) -> Result<(), Refused> {
        check(&topic, &payload)?;
        if self.retained.len() >= RETAINED_LIMIT && !self.retained.contains_key(&topic) {
            return Err(Refused::Full);
        }
        let retained = self.retained.entry(topic.clone()).or_default();
        retained.payload = payload;
        if !mem::replace(&mut retained.due, true) {
            self.due.push_back(Due::Retained(topic));
        }
        Ok(())
    }

    pub(super) fn offer(&mut self, id: u64, topic: String, payload: String) -> Result<(), Refused> {
        check(&topic, &payload)?;
        if self.offered.iter().any(|event| event.id == id) {
            return Ok(());
        }
        if self.offered.len() >= IN_FLIGHT {
            return Err(Refused::Full);
        }
        self.offered.push_back(Offered { id, topic, payload, acknowledged: false });
        self.due.push_back(Due::Event(id));
        Ok(())
    }

    /// A new link: everything is due, and what is retained goes first. Gives the failures before it.
    pub(super) fn connected(&mut self) -> u64 {
        self.retained.values_mut().for_each(|retained| retained.due = true);
        let events = self.offered.iter().filter(|event| !event.acknowledged).map(|event| Due::Event(event.id));
        self.due = self.retained.keys().cloned().map(Due::Retained).chain(events).collect();
        self.link_is_news = true;
        match mem::replace(&mut self.link, Link::Up) {
            Link::Down { failures, .. } => failures,
            Link::Untried | Link::Up => 0,
        }
    }

    /// No link, and why. True when that is news: the outage or its reason is new.
    pub(super) fn disconnected(&mut self, error: &str) -> bool {
        let (known, failures) = match &self.link {
            Link::Down { error: last, failures } => (last == error, *failures),
            Link::Untried | Link::Up => (false, 0),
        };
        self.link = Link::Down { error: error.to_owned(), failures: failures.saturating_add(1) };
        self.link_is_news |= !known;
        !known
    }

    /// The next message to send on this link.
    pub(super) fn take_due(&mut self) -> Option<Message> {
        loop {
            let due = self.due.pop_front()?;
            if let Some(message) = self.message(due) {
                return Some(message);
            }
        }
    }

    fn message(&mut self, due: Due) -> Option<Message> {
        match due {
            Due::Retained(topic) => {
                let retained = self.retained.get_mut(&topic)?;
                retained.due = false;
                Some(Message { kind: Kind::Retained, payload: retained.payload.clone(), topic })
            }
            Due::Event(id) => {
                let event = self.offered.iter().find(|event| event.id == id)?;
                Some(Message { kind: Kind::Event(id), topic: event.topic.clone(), payload: event.payload.clone() })
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
        self.link_is_news || self.home_assistant_started || self.offered.iter().any(|event| event.acknowledged)
    }

    /// The next notice. Acknowledgements go first: what they name need not be offered again on a new link.
    pub(super) fn take_notice(&mut self) -> Option<Notice> {
        if let Some(place) = self.offered.iter().position(|event| event.acknowledged) {
            return self.offered.remove(place).map(|event| Notice::Acknowledged(event.id));
        }
        if mem::take(&mut self.link_is_news) {
            return match &self.link {
                Link::Untried => None,
                Link::Up => Some(Notice::Connected),
                Link::Down { error, .. } => Some(Notice::Disconnected { error: error.clone() }),
            };
        }
        mem::take(&mut self.home_assistant_started).then_some(Notice::HomeAssistantStarted)
    }
}

fn check(topic: &str, payload: &str) -> Result<(), Refused> {
    if topic.is_empty() || topic.len() > TOPIC_LIMIT || topic.contains(['+', '#', '\0']) {
        return Err(Refused::Topic);
    }
    let size = topic.len().saturating_add(payload.len()).saturating_add(PACKET_FRAME);
    if size > PACKET_LIMIT { Err(Refused::TooLarge { size }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn retain(board: &mut Board, topic: &str, payload: &str) {
        board.retain(topic.to_owned(), payload.to_owned()).unwrap();
    }

    fn offer(board: &mut Board, id: u64) -> Result<(), Refused> {
        board.offer(id, "event".to_owned(), id.to_string())
    }

    /// Everything that is due, as `(topic, payload)`.
    fn sent(board: &mut Board) -> Vec<(String, String)> {
        std::iter::from_fn(|| board.take_due()).map(|message| (message.topic, message.payload)).collect()
    }

    fn told(board: &mut Board) -> Vec<Notice> {
        std::iter::from_fn(|| board.take_notice()).collect()
    }

    fn pairs<const N: usize>(pairs: [(&str, &str); N]) -> Vec<(String, String)> {
        pairs.map(|(topic, payload)| (topic.to_owned(), payload.to_owned())).to_vec()
    }

    #[test]
    fn of_one_topic_only_the_latest_payload_is_sent() {
        let mut board = Board::default();
        board.connected();
        for payload in ["1", "2", "3"] {
            retain(&mut board, "status", payload);
        }
        assert_eq!(sent(&mut board), pairs([("status", "3")]));
        retain(&mut board, "status", "3");
        assert_eq!(sent(&mut board), pairs([("status", "3")]), "discovery is sent again although it is the same");
    }

    #[test]
    fn a_new_link_gets_what_is_retained_and_then_the_unacknowledged_events_in_order() {
        let mut board = Board::default();
        for id in [7, 3, 5] {
            offer(&mut board, id).unwrap();
        }
        retain(&mut board, "status", "ready");
        board.connected();
        let all = [("status", "ready"), ("event", "7"), ("event", "3"), ("event", "5")];
        assert_eq!(sent(&mut board), pairs(all));
        board.acknowledged(3);
        board.disconnected("cut");
        board.connected();
        assert_eq!(sent(&mut board), pairs([all[0], all[1], all[3]]));
    }

    #[test]
    fn an_event_is_not_taken_twice_and_not_more_than_the_limit() {
        let mut board = Board::default();
        board.connected();
        for id in (0..IN_FLIGHT as u64).chain(0..IN_FLIGHT as u64) {
            offer(&mut board, id).unwrap();
        }
        assert_eq!(offer(&mut board, 99), Err(Refused::Full));
        assert_eq!(sent(&mut board).len(), IN_FLIGHT);
    }

    #[test]
    fn an_acknowledgement_keeps_its_place_until_it_is_told() {
        let mut board = Board::default();
        (0..IN_FLIGHT as u64).for_each(|id| offer(&mut board, id).unwrap());
        (0..IN_FLIGHT as u64).for_each(|id| board.acknowledged(id));
        assert_eq!(offer(&mut board, 99), Err(Refused::Full));
        let expected: Vec<_> = (0..IN_FLIGHT as u64).map(Notice::Acknowledged).collect();
        assert_eq!(told(&mut board), expected);
        assert_eq!(offer(&mut board, 99), Ok(()));
    }

    #[test]
    fn of_the_link_only_the_latest_state_is_told_and_acknowledgements_before_it() {
        let mut board = Board::default();
        offer(&mut board, 1).unwrap();
        board.connected();
        board.disconnected("cut");
        board.connected();
        board.home_assistant_started();
        board.home_assistant_started();
        board.acknowledged(1);
        assert!(board.has_notice());
        assert_eq!(told(&mut board), [Notice::Acknowledged(1), Notice::Connected, Notice::HomeAssistantStarted]);
        assert!(!board.has_notice());
    }

    #[test]
    fn every_new_link_is_told_even_if_its_loss_was_not() {
        let mut board = Board::default();
        board.connected();
        assert_eq!(told(&mut board), [Notice::Connected]);
        board.disconnected("cut");
        board.connected();
        assert_eq!(told(&mut board), [Notice::Connected]);
    }

    #[test]
    fn a_repeated_error_is_told_once_and_counted() {
        let mut board = Board::default();
        assert!(board.disconnected("refused"));
        assert!(!board.disconnected("refused"));
        assert_eq!(told(&mut board), [Notice::Disconnected { error: "refused".to_owned() }]);
        assert!(board.disconnected("no route"));
        assert_eq!(board.connected(), 3);
        assert_eq!(board.connected(), 0);
    }

    #[test]
    fn what_no_broker_would_take_is_refused() {
        let mut board = Board::default();
        for topic in ["", "a/+/b", "a/#", "a\0b", &"t".repeat(TOPIC_LIMIT + 1)] {
            assert_eq!(board.offer(1, topic.to_owned(), String::new()), Err(Refused::Topic));
            assert_eq!(board.retain(topic.to_owned(), String::new()), Err(Refused::Topic));
        }
        let largest = PACKET_LIMIT - PACKET_FRAME - 1;
        assert_eq!(board.retain("t".to_owned(), "x".repeat(largest)), Ok(()));
        let size = PACKET_LIMIT + 1;
        assert_eq!(board.retain("t".to_owned(), "x".repeat(largest + 1)), Err(Refused::TooLarge { size }));
    }

    #[test]
    fn the_retained_topics_are_limited_but_a_known_one_is_still_taken() {
        let mut board = Board::default();
        for n in 0..RETAINED_LIMIT {
            retain(&mut board, &n.to_string(), "");
        }
        assert_eq!(board.retain("one more".to_owned(), String::new()), Err(Refused::Full));
        retain(&mut board, "0", "new");
    }
}
