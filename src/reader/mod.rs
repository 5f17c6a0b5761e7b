//! Card readers: they turn the bytes of a device into [`Read`]s. Each station's reader has a task of its own, so that a dead
//! or babbling reader slows only itself.
//!
//! A [`Reader`] is a transport and a profile. Every stream of bytes (serial line, TCP in either direction, typed keys) runs
//! through the same [`dialogue`], which finds the reads in the bytes and sends the reader's commands. The HTTP reader and
//! pcscd bring whole reads.
//!
//! Invariants: a read is bounded in bytes and in time. At most [`EVENT_LIMIT`] events wait for the agent; after that the
//! device waits. A device that went away is closed before it is opened again, and the status says so. Only the latest
//! signal to the person waits, so that nothing waits for a reader's beep.

pub mod detect;
mod device_stream;
pub mod dialogue;
#[cfg(feature = "pcsc")]
mod escape;
pub mod frame;
mod hid;
pub mod http;
pub mod keys;
pub mod monitor;
#[cfg(feature = "pcsc")]
pub mod pcsc;
pub mod profile;
mod serial;
mod station_channel;
mod tcp;
pub mod usb_ids;

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::backoff::Backoff;
use crate::domain::Read;
use crate::feedback::Signal;
use crate::random;
use device_stream::DeviceStream;
pub use frame::Fault;
use monitor::{MonitorSender, ReaderMonitor};
use profile::Profile;
use station_channel::StationChannel;

/// The most events that may wait for the agent; a reader that sends more is read more slowly.
pub const EVENT_LIMIT: usize = 16;

/// The waits before the device is tried again, from the shortest to the longest.
const RETRY: Backoff = match Backoff::new(Duration::from_millis(50), Duration::from_secs(2)) {
    Ok(backoff) => backoff,
    Err(_) => panic!("checked when compiled"),
};

/// A connection that lasted so long, or brought a card, counts as good: the next wait is the shortest again.
const GOOD_AFTER: Duration = Duration::from_secs(5);

/// An event from a reader to the agent.
#[derive(Clone, Debug, PartialEq)]
pub enum ReaderEvent {
    /// The device is open.
    Connected,
    /// The device is not open, for this reason. The reader tries it again.
    Disconnected(String),
    /// A card was held to it.
    Read(Read),
    /// Bytes arrived that are no read, or a card that no station may take.
    Unreadable(Fault),
}

/// Takes a reader's events to the agent.
pub type EventSender = mpsc::Sender<ReaderEvent>;

/// Brings the latest signal to the person at a reader.
pub type SignalReceiver = watch::Receiver<Signal>;

/// The way in which a reader is attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReaderTransport {
    /// A serial port or USB-CDC.
    Serial {
        /// The path of the port, best one below `/dev/serial/by-id` or `by-path`, which stays the same.
        device: String,
        /// Bits a second; USB-CDC ignores it.
        baud: u32,
    },
    /// A reader that types.
    Hid {
        /// The path of the event device, best one below `/dev/input/by-id` or `by-path`, which stays the same.
        device: String,
    },
    /// The reader connects to this address.
    TcpListen(SocketAddr),
    /// The agent connects to the reader.
    TcpConnect {
        /// The name or the address of the reader.
        host: String,
        /// The port that the reader listens on.
        port: u16,
    },
    /// The reader sends each card as an HTTP request to this address.
    Http {
        /// The address to listen on.
        listen: SocketAddr,
        /// If set, only requests with this `Mac` are taken.
        mac: Option<String>,
    },
    /// The reader of pcscd with this name, or else the first whose name begins with it.
    #[cfg(feature = "pcsc")]
    Pcsc(String),
}

/// Why a reader cannot be served. Every one of these may pass, so the reader is always tried again.
#[derive(Debug, thiserror::Error)]
pub enum ReaderError {
    /// The device could not be opened, or the reader could not be connected to.
    #[error("open {what}: {source}; check the path or address, the plug, and the group of the device")]
    Open {
        /// The path or the address.
        what: String,
        /// The error of the operating system.
        source: io::Error,
    },
    /// Another program has the device open for itself alone.
    #[error("open {what}: another program holds it; `readers list` shows which one")]
    Busy {
        /// The path of the device.
        what: String,
    },
    /// The event device lacks the keys to type a card number with.
    #[error("open {what}: it has no digit keys and Enter; `readers list` shows the readers that type")]
    NoKeyboard {
        /// The path of the device.
        what: String,
    },
    /// The port for readers cannot be opened.
    #[error("listen on {address}: {source}")]
    Listen {
        /// The address to listen on.
        address: SocketAddr,
        /// The error of the operating system.
        source: io::Error,
    },
    /// No reader has connected yet, or none is connected any more.
    #[error("find a reader at {address}: none has connected")]
    NotConnected {
        /// The address that readers should connect to.
        address: SocketAddr,
    },
    /// The device was unplugged, or the reader closed its connection.
    #[error("read: the reader hung up")]
    HungUp,
    /// Reading from or writing to the reader failed.
    #[error("read: {0}")]
    Broken(io::Error),
    /// The reader does not answer its polls or does not take a command.
    #[error("read: the reader does not answer; check its profile and baud rate")]
    Silent,
    /// pcscd does not answer or does not have the reader.
    #[cfg(feature = "pcsc")]
    #[error("reach reader {name:?} at pcscd: {source}; `pcsc_scan` shows its readers")]
    Pcsc {
        /// The name from the configuration.
        name: String,
        /// The error of pcscd.
        source: ::pcsc::Error,
    },
    /// The agent does not listen to this reader any more, so the reader's task ends.
    #[error("tell: nobody listens")]
    Unheard,
}

/// The reader of one station. Its clones share one monitor.
#[derive(Clone, Debug)]
pub struct Reader {
    /// The way in which it is attached.
    pub transport: ReaderTransport,
    /// The description of its bytes and its commands.
    pub profile: Profile,
    monitor: MonitorSender,
}

impl Reader {
    /// A reader that is not yet open. With `feedback` its own light and beep are used, if the profile has them.
    pub fn new(transport: ReaderTransport, mut profile: Profile, feedback: bool) -> Self {
        if !feedback {
            profile.signal = None;
        }
        Self { transport, profile, monitor: MonitorSender::new() }
    }

    /// A handle through which a technician can watch all that the reader sends.
    pub fn monitor(&self) -> ReaderMonitor {
        self.monitor.monitor()
    }

    /// Opens the reader and sends its events, again and again, until the agent stops listening.
    pub async fn run(self, events: EventSender, signals: SignalReceiver) {
        #[cfg(feature = "simulate")]
        if let ReaderTransport::TcpConnect { host, port } = &self.transport {
            return crate::simulate::be_a_reader(host, *port, events, signals).await;
        }
        let mut channel = StationChannel::new(events, signals, self.monitor.clone());
        let mut backoff = RETRY;
        let mut last_reported = None;
        loop {
            let since = Instant::now();
            let error = match self.serve(&mut channel).await {
                Err(ReaderError::Unheard) => return,
                Err(error) => error.to_string(),
                Ok(()) => ReaderError::HungUp.to_string(),
            };
            let (connected, brought_card) = channel.take_progress();
            if brought_card || (connected && since.elapsed() >= GOOD_AFTER) {
                backoff.reset();
            }
            // The same error is reported once, not at every try.
            if connected || last_reported.as_ref() != Some(&error) {
                last_reported = Some(error.clone());
                if channel.send_event(ReaderEvent::Disconnected(error)).await.is_err() {
                    return;
                }
            }
            tokio::select! {
                () = tokio::time::sleep(backoff.next(random::word())) => {}
                () = channel.closed() => return,
            }
        }
    }

    /// Opens the reader and serves it until it is gone.
    async fn serve(&self, channel: &mut StationChannel) -> Result<(), ReaderError> {
        let stream = match &self.transport {
            ReaderTransport::Serial { device, baud } => DeviceStream::Serial(serial::open(device, *baud)?),
            ReaderTransport::Hid { device } => DeviceStream::Keyboard(hid::open(device)?),
            ReaderTransport::TcpConnect { host, port } => DeviceStream::Tcp(tcp::connect(host, *port).await?),
            ReaderTransport::TcpListen(address) => return tcp::serve(*address, &self.profile, channel).await,
            ReaderTransport::Http { listen, mac } => return http::serve(*listen, mac.as_deref(), channel).await,
            #[cfg(feature = "pcsc")]
            ReaderTransport::Pcsc(name) => return pcsc::serve(name, self.profile.signal.as_ref(), channel).await,
        };
        channel.send_event(ReaderEvent::Connected).await?;
        channel.run_dialogue(stream, &self.profile).await
    }

    /// Tries, for the command `check`, whether the reader can be opened. It does not wait for a reader to connect. Gives a
    /// sentence for the technician.
    ///
    /// # Errors
    /// The reader cannot be opened now.
    pub async fn probe(&self) -> Result<String, ReaderError> {
        match &self.transport {
            ReaderTransport::Serial { device, baud } => {
                serial::open(device, *baud).map(|_| format!("{device} can be opened{}", access(device)))
            }
            ReaderTransport::Hid { device } => {
                hid::open(device).map(|_| format!("{device} can be opened{}", access(device)))
            }
            ReaderTransport::TcpConnect { host, port } => {
                tcp::connect(host, *port).await.map(|_| format!("{host}:{port} answers"))
            }
            ReaderTransport::TcpListen(address) | ReaderTransport::Http { listen: address, .. } => {
                tcp::listen(*address).await.map(|_| format!("{address} is free to listen on"))
            }
            #[cfg(feature = "pcsc")]
            ReaderTransport::Pcsc(name) => pcsc::probe(name).map(|()| format!("pcscd has {name}")),
        }
    }
}

/// The group and the mode of a device, in words. They decide whether the agent may open it: root may run `check`, but the
/// agent is not root.
fn access(device: &str) -> String {
    let Ok(node) = std::fs::metadata(device) else {
        return String::new();
    };
    let gid = node.gid().to_string();
    let groups = std::fs::read_to_string("/etc/group").unwrap_or_default();
    let mut names = groups.lines().map(|line| line.split(':')).filter_map(|mut it| Some((it.next()?, it.nth(1)?)));
    let group = names.find(|(_, id)| *id == gid).map_or(&*gid, |(name, _)| name);
    format!("; its group is {group}, its mode {:o}", node.mode() & 0o777)
}
