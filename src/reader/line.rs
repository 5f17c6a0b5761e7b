//! Between a reader's connection and the agent: events up, signals down.

use std::time::Duration;

use tokio::time::{Instant, timeout};
use zeroize::Zeroizing;

use super::dialogue::{Dialogue, Silent};
use super::frame::Frame;
use super::link::{CHUNK, Link};
use super::profile::Profile;
use super::window::Pane;
use super::{Events, ReaderError, ReaderEvent, Signals};
use crate::feedback::Signal;

/// A reader that does not take a command for so long is gone.
const WRITE_LIMIT: Duration = Duration::from_secs(2);

/// A station's end of its reader.
#[derive(Clone, Debug)]
pub(super) struct Line {
    events: Events,
    signals: Signals,
    /// Where all that comes is shown.
    pane: Pane,
    /// Since these were last taken: whether the reader was connected, and whether it brought a card.
    connected: bool,
    good: bool,
}

impl Line {
    pub(super) fn new(events: Events, signals: Signals, pane: Pane) -> Self {
        Self { events, signals, pane, connected: false, good: false }
    }

    pub(super) fn take_marks(&mut self) -> (bool, bool) {
        (std::mem::take(&mut self.connected), std::mem::take(&mut self.good))
    }

    /// Waits until nobody listens any more.
    pub(super) async fn closed(&self) {
        self.events.closed().await;
    }

    /// Waits while the agent has too much to do: the device waits with it.
    pub(super) async fn tell(&mut self, event: ReaderEvent) -> Result<(), ReaderError> {
        self.connected |= event == ReaderEvent::Connected;
        self.good |= matches!(event, ReaderEvent::Read(_));
        self.pane.event(&event);
        self.events.send(event).await.map_err(|_| ReaderError::Unheard)
    }

    /// Tells if there is room; the caller tells the reader when there is none.
    pub(super) fn try_tell(&self, event: ReaderEvent) -> bool {
        self.pane.event(&event);
        self.events.try_send(event).is_ok()
    }

    /// Where bytes are shown to whoever looks.
    pub(super) fn pane(&self) -> &Pane {
        &self.pane
    }

    /// The signals, for whoever plays them beside this.
    #[cfg(feature = "pcsc")]
    pub(super) fn signals(&self) -> Signals {
        self.signals.clone()
    }

    /// The next signal to the person.
    async fn signal(&mut self) -> Signal {
        match self.signals.changed().await {
            Ok(()) => *self.signals.borrow_and_update(),
            // The agent has ended, or never tells anything: only `closed` matters now.
            Err(_) => std::future::pending().await,
        }
    }

    /// Talks with a reader until it is gone.
    pub(super) async fn talk(&mut self, mut link: Link, profile: &Profile) -> Result<(), ReaderError> {
        let mut dialogue = Dialogue::new(profile, Instant::now());
        let mut chunk = Zeroizing::new([0; CHUNK]);
        let events = self.events.clone();
        loop {
            let frames = tokio::select! {
                count = link.receive(&mut chunk[..]) => {
                    let bytes = &chunk[..count?];
                    self.pane.bytes(bytes);
                    dialogue.hear(bytes, Instant::now())
                }
                () = sleep_until(dialogue.wake()) => {
                    let (frames, command) = dialogue.tick(Instant::now()).map_err(|Silent| ReaderError::Silent)?;
                    if let Some(command) = command {
                        timeout(WRITE_LIMIT, link.send(&command.0)).await.map_err(|_| ReaderError::Silent)??;
                    }
                    frames
                }
                signal = self.signal(), if profile.signal.is_some() => {
                    dialogue.signal(signal);
                    Vec::new()
                }
                () = events.closed() => return Err(ReaderError::Unheard),
            };
            for frame in frames {
                self.tell(match frame {
                    Frame::Read(read) => ReaderEvent::Read(read),
                    Frame::Fault(fault) => ReaderEvent::Unreadable(fault),
                })
                .await?;
            }
        }
    }
}

pub(super) async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
