//! A reader on a serial line or USB-CDC.
//!
//! A device that was unplugged reads as an error or as 0 bytes for ever; both mean gone. The descriptor is closed before
//! the path is opened again: a held one makes the kernel give the device another number.

use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio_serial::{SerialPort, SerialPortBuilderExt, SerialStream};

use super::profile::Profile;
use super::{Events, Frame, Framer, ReaderEvent};
use crate::backoff::Backoff;
use crate::random;

/// The shortest and the longest wait before the device is tried again.
const RETRY: Backoff = match Backoff::new(Duration::from_millis(50), Duration::from_secs(2)) {
    Ok(backoff) => backoff,
    Err(_) => panic!("checked when compiled"),
};

/// Bytes that are taken from the kernel at a time.
const CHUNK: usize = 1024;

/// A serial reader of one station.
#[derive(Clone, Debug)]
pub struct Serial {
    /// Best a path of `/dev/serial/by-id` or `by-path`.
    pub device: String,
    /// Ignored by USB-CDC.
    pub baud: u32,
    /// What it sends.
    pub profile: Profile,
}

impl Serial {
    /// Reads until nobody listens any more.
    pub async fn run(self, events: Events) {
        let mut backoff = RETRY;
        let mut told = None;
        loop {
            let error = match self.open() {
                Err(error) => error.to_string(),
                Ok(port) => {
                    backoff.reset();
                    told = None;
                    if events.send(ReaderEvent::Connected).await.is_err() {
                        return;
                    }
                    self.read(port, &events).await
                }
            };
            // A repeated error is told once.
            if told.as_ref() != Some(&error) {
                told = Some(error.clone());
                if events.send(ReaderEvent::Disconnected(error)).await.is_err() {
                    return;
                }
            }
            tokio::select! {
                () = tokio::time::sleep(backoff.next(random::word())) => {}
                () = events.closed() => return,
            }
        }
    }

    /// Opens the device once, for `check`.
    ///
    /// # Errors
    /// Busy, not there or not allowed: all pass when somebody mends them.
    pub fn open(&self) -> tokio_serial::Result<SerialStream> {
        let mut port = tokio_serial::new(&self.device, self.baud).open_native_async()?;
        // Some boards power the reader from these lines, and pseudo-terminals have none: an error is no matter.
        drop(port.write_data_terminal_ready(true));
        drop(port.write_request_to_send(true));
        Ok(port)
    }

    /// Reads until the device is gone, and tells why.
    async fn read(&self, mut port: SerialStream, events: &Events) -> String {
        let mut framer = Framer::new(self.profile.frame.clone());
        let mut chunk = zeroize::Zeroizing::new([0; CHUNK]);
        loop {
            let silence = async {
                if framer.is_partial() {
                    tokio::time::sleep(self.profile.frame.idle()).await;
                } else {
                    std::future::pending().await
                }
            };
            let frames = tokio::select! {
                result = port.read(&mut chunk[..]) => match result {
                    Ok(0) => return "the device hung up".to_owned(),
                    Ok(count) => framer.push(&chunk[..count]),
                    Err(error) => return error.to_string(),
                },
                () = silence => framer.idle().into_iter().collect(),
                () = events.closed() => return "nobody listens".to_owned(),
            };
            for frame in frames {
                let event = match frame {
                    Frame::Read(read) => ReaderEvent::Read(read),
                    Frame::Fault(fault) => ReaderEvent::Unreadable(fault),
                };
                if events.send(event).await.is_err() {
                    return "nobody listens".to_owned();
                }
            }
        }
    }
}
