//! A reader task's channel to its station: events go to the agent, signals to the person come back.

use std::time::Duration;

use tokio::time::{Instant, timeout};
use zeroize::Zeroizing;

use super::device_stream::{CHUNK, DeviceStream};
use super::dialogue::{Dialogue, Silent};
use super::frame::Frame;
use super::monitor::MonitorSender;
use super::profile::Profile;
use super::{EventSender, ReaderError, ReaderEvent, SignalReceiver};
use crate::feedback::Signal;

/// A reader that does not take a command for so long counts as gone.
const WRITE_LIMIT: Duration = Duration::from_secs(2);

/// The reader's end of the channel.
#[derive(Clone, Debug)]
pub(super) struct StationChannel {
    events: EventSender,
    signals: SignalReceiver,
    /// Shows every byte and event to technicians who watch the reader.
    monitor: MonitorSender,
    /// The reader has connected since [`StationChannel::take_progress`] was last called.
    connected: bool,
    /// The reader has brought a card since then.
    brought_card: bool,
}

impl StationChannel {
    pub(super) fn new(events: EventSender, signals: SignalReceiver, monitor: MonitorSender) -> Self {
        Self { events, signals, monitor, connected: false, brought_card: false }
    }

    /// Whether the reader has connected, and whether it has brought a card, since the last call.
    pub(super) fn take_progress(&mut self) -> (bool, bool) {
        (std::mem::take(&mut self.connected), std::mem::take(&mut self.brought_card))
    }

    /// Waits until the agent stops listening to this reader.
    pub(super) async fn closed(&self) {
        self.events.closed().await;
    }

    /// Sends an event to the agent. Waits while the agent's queue is full, and the device waits with it.
    pub(super) async fn send_event(&mut self, event: ReaderEvent) -> Result<(), ReaderError> {
        self.connected |= event == ReaderEvent::Connected;
        self.brought_card |= matches!(event, ReaderEvent::Read(_));
        self.monitor.publish_event(&event);
        self.events.send(event).await.map_err(|_| ReaderError::Unheard)
    }

    /// Sends an event if there is room in the agent's queue; the caller informs the reader if there is none.
    pub(super) fn try_send_event(&self, event: ReaderEvent) -> bool {
        self.monitor.publish_event(&event);
        self.events.try_send(event).is_ok()
    }

    pub(super) fn monitor(&self) -> &MonitorSender {
        &self.monitor
    }

    /// The signals, for a task that plays them beside the reading.
    #[cfg(feature = "pcsc")]
    pub(super) fn signals(&self) -> SignalReceiver {
        self.signals.clone()
    }

    /// Waits for the next signal to the person.
    async fn signal(&mut self) -> Signal {
        match self.signals.changed().await {
            Ok(()) => *self.signals.borrow_and_update(),
            // The agent has ended or sends no signals: from here on only `closed` matters.
            Err(_) => std::future::pending().await,
        }
    }

    /// Serves a connected reader until it is gone.
    pub(super) async fn run_dialogue(
        &mut self,
        mut stream: DeviceStream,
        profile: &Profile,
    ) -> Result<(), ReaderError> {
        let mut dialogue = Dialogue::new(profile, Instant::now());
        let mut chunk = Zeroizing::new([0; CHUNK]);
        let events = self.events.clone();
        loop {
            let frames = tokio::select! {
                count = stream.receive(&mut chunk[..]) => {
                    let bytes = &chunk[..count?];
                    self.monitor.publish_bytes(bytes);
                    dialogue.hear(bytes, Instant::now())
                }
                () = sleep_until(dialogue.wake()) => {
                    let (frames, command) = dialogue.tick(Instant::now()).map_err(|Silent| ReaderError::Silent)?;
                    if let Some(command) = command {
                        timeout(WRITE_LIMIT, stream.send(&command.0)).await.map_err(|_| ReaderError::Silent)??;
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
                self.send_event(match frame {
                    Frame::Read(read) => ReaderEvent::Read(read),
                    Frame::Fault(fault) => ReaderEvent::Unreadable(fault),
                })
                .await?;
            }
        }
    }
}

/// Sleeps until `at`; for ever if there is no such moment.
pub(super) async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
