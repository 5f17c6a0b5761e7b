//! A window on a reader: all that it sends, as it comes, for a technician who looks at a card of his own.
//!
//! What is seen is as secret as the card. The reader never waits for those who look: each may be [`SEEN_LIMIT`] things
//! behind, and there are few of them, so that memory is bounded. When nobody looks, nothing is kept.

use tokio::sync::broadcast::{self, error::RecvError};

use super::frame::to_hex;
use super::{Fault, ReaderEvent};
use crate::domain::{Read, Secret};

/// So many things may wait for one who looks; who is further behind sees no more.
pub const SEEN_LIMIT: usize = 64;

/// So many may look at one reader.
pub const LOOK_LIMIT: usize = 4;

/// One thing that is seen at a reader.
#[derive(Clone, Debug, PartialEq)]
pub enum Seen {
    /// The device is open.
    Connected,
    /// It is not, and why; it is tried again.
    Disconnected(String),
    /// Bytes, as they came, in hexadecimal digits.
    Bytes(Secret),
    /// They were a card.
    Read(Read),
    /// They were none.
    Unreadable(Fault),
}

/// Why nothing can be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Shut {
    /// There are [`LOOK_LIMIT`] already.
    #[error("{LOOK_LIMIT} others look at it already; end one of them")]
    Crowded,
    /// The reader is not served any more.
    #[error("it is not served any more: the agent has ended, or read its configuration again")]
    Gone,
    /// What came was not taken in time.
    #[error("it sends faster than this is read")]
    TooSlow,
}

/// The reader's side of its window.
#[derive(Clone, Debug)]
pub(super) struct Pane(broadcast::Sender<Seen>);

/// Where somebody may look at a reader. It does not keep the reader alive.
#[derive(Clone, Debug)]
pub struct Window(broadcast::WeakSender<Seen>);

/// Somebody looks.
#[derive(Debug)]
pub struct Look(broadcast::Receiver<Seen>);

impl Pane {
    pub(super) fn new() -> Self {
        Self(broadcast::Sender::new(SEEN_LIMIT))
    }

    pub(super) fn window(&self) -> Window {
        Window(self.0.downgrade())
    }

    pub(super) fn bytes(&self, bytes: &[u8]) {
        self.show(|| Seen::Bytes(Secret::new(to_hex(bytes))));
    }

    pub(super) fn event(&self, event: &ReaderEvent) {
        self.show(|| match event {
            ReaderEvent::Connected => Seen::Connected,
            ReaderEvent::Disconnected(why) => Seen::Disconnected(why.clone()),
            ReaderEvent::Read(read) => Seen::Read(read.clone()),
            ReaderEvent::Unreadable(fault) => Seen::Unreadable(*fault),
        });
    }

    fn show(&self, seen: impl FnOnce() -> Seen) {
        if self.0.receiver_count() > 0 {
            // Who stopped looking in between misses nothing.
            drop(self.0.send(seen()));
        }
    }
}

impl Window {
    /// Looks from now on.
    ///
    /// # Errors
    /// Too many look, or the reader is not served any more.
    pub fn look(&self) -> Result<Look, Shut> {
        let pane = self.0.upgrade().ok_or(Shut::Gone)?;
        if pane.receiver_count() >= LOOK_LIMIT {
            return Err(Shut::Crowded);
        }
        Ok(Look(pane.subscribe()))
    }
}

impl Look {
    /// The next thing. Nothing is lost when it is dropped while it waits.
    ///
    /// # Errors
    /// The reader is not served any more, or what came was not taken in time.
    pub async fn next(&mut self) -> Result<Seen, Shut> {
        self.0.recv().await.map_err(|error| match error {
            RecvError::Closed => Shut::Gone,
            RecvError::Lagged(_) => Shut::TooSlow,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_comes_is_seen_in_its_order_and_only_while_somebody_looks() {
        let pane = Pane::new();
        let window = pane.window();
        pane.bytes(b"before");
        let mut look = window.look().unwrap();
        pane.bytes(b"04\r");
        pane.event(&ReaderEvent::Read(Read(Secret::new("04"))));
        assert_eq!(look.next().await, Ok(Seen::Bytes(Secret::new("30340D"))));
        assert_eq!(look.next().await, Ok(Seen::Read(Read(Secret::new("04")))));
        drop(pane);
        assert_eq!(look.next().await, Err(Shut::Gone));
        assert_eq!(window.look().map(drop), Err(Shut::Gone));
    }

    #[tokio::test]
    async fn who_is_too_slow_is_told_so_and_the_others_see_all() {
        let pane = Pane::new();
        let (mut slow, mut quick) = (pane.window().look().unwrap(), pane.window().look().unwrap());
        for count in 0..=SEEN_LIMIT {
            pane.bytes(&[u8::try_from(count).unwrap()]);
            assert_eq!(quick.next().await, Ok(Seen::Bytes(Secret::new(format!("{count:02X}")))));
        }
        assert_eq!(slow.next().await, Err(Shut::TooSlow));
    }

    #[test]
    fn only_a_few_may_look() {
        let pane = Pane::new();
        let mut looks: Vec<_> = (0..LOOK_LIMIT).map(|_| pane.window().look().unwrap()).collect();
        assert_eq!(pane.window().look().map(drop), Err(Shut::Crowded));
        looks.pop();
        assert!(pane.window().look().is_ok());
    }
}
