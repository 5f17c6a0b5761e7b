//! The monitor of a reader: all that the reader sends, as it comes, for a technician who looks at a card of his own.
//!
//! The events are as secret as the card. The reader never waits for its subscribers: each may be [`BACKLOG_LIMIT`] events
//! behind, and their number is limited, so that memory is bounded. Without a subscriber nothing is kept.

use tokio::sync::broadcast::{self, error::RecvError};

use super::frame::to_hex;
use super::{Fault, ReaderEvent};
use crate::domain::{Read, Secret};

/// The most events that may wait for one subscriber; one that is further behind gets no more.
pub const BACKLOG_LIMIT: usize = 64;

/// The most subscribers of one reader.
pub const SUBSCRIBER_LIMIT: usize = 4;

/// One thing that happened at a reader.
#[derive(Clone, Debug, PartialEq)]
pub enum MonitorEvent {
    /// The device is open.
    Connected,
    /// The device is not open, for this reason. The agent tries it again.
    Disconnected(String),
    /// Bytes from the reader, in hexadecimal digits.
    Bytes(Secret),
    /// The bytes were this read.
    Read(Read),
    /// The bytes were no read.
    Unreadable(Fault),
}

/// Why a subscriber gets no events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MonitorError {
    /// There are [`SUBSCRIBER_LIMIT`] subscribers already.
    #[error("{SUBSCRIBER_LIMIT} others look at it already; end one of them")]
    TooManySubscribers,
    /// The agent has ended, or a new configuration has replaced the reader.
    #[error("it is not served any more: the agent has ended, or read its configuration again")]
    ReaderGone,
    /// More than [`BACKLOG_LIMIT`] events waited for the subscriber.
    #[error("it sends faster than this is read")]
    TooFarBehind,
}

/// The reader's side, which publishes the events.
#[derive(Clone, Debug)]
pub(super) struct MonitorSender(broadcast::Sender<MonitorEvent>);

/// A handle for subscribing to a reader's events. It does not keep the reader alive.
#[derive(Clone, Debug)]
pub struct ReaderMonitor(broadcast::WeakSender<MonitorEvent>);

/// One subscriber's queue of events.
#[derive(Debug)]
pub struct MonitorSubscription(broadcast::Receiver<MonitorEvent>);

impl MonitorSender {
    pub(super) fn new() -> Self {
        Self(broadcast::Sender::new(BACKLOG_LIMIT))
    }

    pub(super) fn monitor(&self) -> ReaderMonitor {
        ReaderMonitor(self.0.downgrade())
    }

    pub(super) fn publish_bytes(&self, bytes: &[u8]) {
        self.publish(|| MonitorEvent::Bytes(Secret::new(to_hex(bytes))));
    }

    pub(super) fn publish_event(&self, event: &ReaderEvent) {
        self.publish(|| match event {
            ReaderEvent::Connected => MonitorEvent::Connected,
            ReaderEvent::Disconnected(why) => MonitorEvent::Disconnected(why.clone()),
            ReaderEvent::Read(read) => MonitorEvent::Read(read.clone()),
            ReaderEvent::Unreadable(fault) => MonitorEvent::Unreadable(*fault),
        });
    }

    fn publish(&self, event: impl FnOnce() -> MonitorEvent) {
        if self.0.receiver_count() > 0 {
            // It fails if the last subscriber has just left, who wants no event any more.
            drop(self.0.send(event()));
        }
    }
}

impl ReaderMonitor {
    /// Subscribes to all events from now on.
    ///
    /// # Errors
    /// There are too many subscribers, or the agent does not run the reader any more.
    pub fn subscribe(&self) -> Result<MonitorSubscription, MonitorError> {
        let sender = self.0.upgrade().ok_or(MonitorError::ReaderGone)?;
        if sender.receiver_count() >= SUBSCRIBER_LIMIT {
            return Err(MonitorError::TooManySubscribers);
        }
        Ok(MonitorSubscription(sender.subscribe()))
    }
}

impl MonitorSubscription {
    /// Waits for the next event. Dropping the future while it waits loses no event.
    ///
    /// # Errors
    /// The agent does not run the reader any more, or this subscriber was too slow.
    pub async fn next(&mut self) -> Result<MonitorEvent, MonitorError> {
        self.0.recv().await.map_err(|error| match error {
            RecvError::Closed => MonitorError::ReaderGone,
            RecvError::Lagged(_) => MonitorError::TooFarBehind,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_subscriber_gets_what_happens_in_its_order_and_nothing_from_before() {
        let sender = MonitorSender::new();
        let monitor = sender.monitor();
        sender.publish_bytes(b"before");
        let mut subscription = monitor.subscribe().unwrap();
        sender.publish_bytes(b"04\r");
        sender.publish_event(&ReaderEvent::Read(Read(Secret::new("04"))));
        assert_eq!(subscription.next().await, Ok(MonitorEvent::Bytes(Secret::new("30340D"))));
        assert_eq!(subscription.next().await, Ok(MonitorEvent::Read(Read(Secret::new("04")))));
        drop(sender);
        assert_eq!(subscription.next().await, Err(MonitorError::ReaderGone));
        assert_eq!(monitor.subscribe().map(drop), Err(MonitorError::ReaderGone));
    }

    #[tokio::test]
    async fn a_subscriber_that_is_too_slow_is_told_so_and_the_others_get_everything() {
        let sender = MonitorSender::new();
        let (mut slow, mut quick) = (sender.monitor().subscribe().unwrap(), sender.monitor().subscribe().unwrap());
        for count in 0..=BACKLOG_LIMIT {
            sender.publish_bytes(&[u8::try_from(count).unwrap()]);
            assert_eq!(quick.next().await, Ok(MonitorEvent::Bytes(Secret::new(format!("{count:02X}")))));
        }
        assert_eq!(slow.next().await, Err(MonitorError::TooFarBehind));
    }

    #[test]
    fn only_a_few_may_subscribe() {
        let sender = MonitorSender::new();
        let mut subscriptions: Vec<_> = (0..SUBSCRIBER_LIMIT).map(|_| sender.monitor().subscribe().unwrap()).collect();
        assert_eq!(sender.monitor().subscribe().map(drop), Err(MonitorError::TooManySubscribers));
        subscriptions.pop();
        assert!(sender.monitor().subscribe().is_ok());
    }
}
