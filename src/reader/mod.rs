//! Card readers: from a device to [`Read`]s. One task a station; a dead or babbling reader slows only itself.
//!
//! A [`Reader`] is a transport and a profile: every stream of bytes (serial line, TCP either way, typed keys) runs through
//! the same dialogue, which frames what is heard and says what has to be said. The HTTP reader brings whole reads.
//!
//! Invariants: a read is bounded in bytes and in time; at most [`EVENT_LIMIT`] events wait, then the device
//! waits; a device that went away is closed before it is opened again, and the status says so; of the signals to the
//! person only the latest waits, so that nobody waits for a reader's beep.

pub mod dialogue;
#[cfg(feature = "pcsc")]
mod escape;
pub mod found;
pub mod frame;
mod hid;
pub mod http;
pub mod keys;
pub mod known;
mod line;
mod link;
#[cfg(feature = "pcsc")]
pub mod pcsc;
pub mod profile;
mod serial;
mod tcp;
pub mod window;

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
pub use frame::Fault;
use line::Line;
use link::Link;
use profile::Profile;
use window::{Pane, Window};

/// Events that may wait for the agent; a reader that sends more is read more slowly.
pub const EVENT_LIMIT: usize = 16;

/// The shortest and the longest wait before the device is tried again.
const RETRY: Backoff = match Backoff::new(Duration::from_millis(50), Duration::from_secs(2)) {
    Ok(backoff) => backoff,
    Err(_) => panic!("checked when compiled"),
};

/// A connection that lasted so long, or brought a card, was a good one.
const GOOD_AFTER: Duration = Duration::from_secs(5);

/// What a reader tells.
#[derive(Clone, Debug, PartialEq)]
pub enum ReaderEvent {
    /// The device is open.
    Connected,
    /// It is not, and why; it is tried again.
    Disconnected(String),
    /// A card was held to it.
    Read(Read),
    /// Something arrived that is no read.
    Unreadable(Fault),
}

/// Where a reader's events go.
pub type Events = mpsc::Sender<ReaderEvent>;

/// What the person at a reader is to be told, the latest only.
pub type Signals = watch::Receiver<Signal>;

/// How a reader is attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transport {
    /// A serial port or USB-CDC.
    Serial {
        /// Best a path of `/dev/serial/by-id` or `by-path`.
        device: String,
        /// Bits a second; ignored by USB-CDC.
        baud: u32,
    },
    /// A reader that types.
    Hid {
        /// Best a path of `/dev/input/by-id` or `by-path`.
        device: String,
    },
    /// The reader connects to this address.
    TcpListen(SocketAddr),
    /// The agent connects to the reader.
    TcpConnect {
        /// A name or an address.
        host: String,
        /// Its port.
        port: u16,
    },
    /// The reader sends each card as an HTTP request to this address.
    Http {
        /// To listen on.
        listen: SocketAddr,
        /// If set, only requests with this `Mac` count.
        mac: Option<String>,
    },
    /// The reader whose name at pcscd is this, or begins so.
    #[cfg(feature = "pcsc")]
    Pcsc(String),
}

/// Why a reader cannot be listened to. All of it may pass: the reader is tried again.
#[derive(Debug, thiserror::Error)]
pub enum ReaderError {
    /// It could not be opened or connected to.
    #[error("open {what}: {source}; check the path or address, the plug, and the group of the device")]
    Open {
        /// Path or address.
        what: String,
        /// What the system says.
        source: io::Error,
    },
    /// Somebody else has it.
    #[error("open {what}: another program holds it; `readers list` shows which one")]
    Busy {
        /// The path.
        what: String,
    },
    /// It has no keys to type a card with.
    #[error("open {what}: it has no digit keys and Enter; `readers list` shows the readers that type")]
    NoKeyboard {
        /// The path.
        what: String,
    },
    /// The address cannot be listened on.
    #[error("listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// Nobody has connected yet, or nobody is connected any more.
    #[error("find a reader at {address}: none has connected")]
    NotConnected {
        /// Where it is waited for.
        address: SocketAddr,
    },
    /// The device or connection ended.
    #[error("read: the reader hung up")]
    HungUp,
    /// The device or connection broke.
    #[error("read: {0}")]
    Broken(io::Error),
    /// It was asked and does not answer.
    #[error("read: the reader does not answer; check its profile and baud rate")]
    Silent,
    /// pcscd does not answer or does not have the reader.
    #[cfg(feature = "pcsc")]
    #[error("reach reader {name:?} at pcscd: {source}; `pcsc_scan` shows its readers")]
    Pcsc {
        /// As configured.
        name: String,
        /// What pcscd says.
        source: ::pcsc::Error,
    },
    /// The agent stopped listening.
    #[error("tell: nobody listens")]
    Unheard,
}

/// A reader of one station. Its clones share their window.
#[derive(Clone, Debug)]
pub struct Reader {
    /// How it is attached.
    pub transport: Transport,
    /// What it sends and understands.
    pub profile: Profile,
    pane: Pane,
}

impl Reader {
    /// A reader of this profile; `feedback`: whether its own light and beep are used.
    pub fn new(transport: Transport, mut profile: Profile, feedback: bool) -> Self {
        if !feedback {
            profile.signal = None;
        }
        Self { transport, profile, pane: Pane::new() }
    }

    /// Where all that it sends can be seen while it runs.
    pub fn window(&self) -> Window {
        self.pane.window()
    }

    /// Reads until nobody listens any more.
    pub async fn run(self, events: Events, signals: Signals) {
        let mut line = Line::new(events, signals, self.pane.clone());
        let mut backoff = RETRY;
        let mut told = None;
        loop {
            let since = Instant::now();
            let error = match self.attend(&mut line).await {
                Err(ReaderError::Unheard) => return,
                Err(error) => error.to_string(),
                Ok(()) => ReaderError::HungUp.to_string(),
            };
            let (connected, good) = line.take_marks();
            if good || (connected && since.elapsed() >= GOOD_AFTER) {
                backoff.reset();
            }
            // A repeated error is told once.
            if connected || told.as_ref() != Some(&error) {
                told = Some(error.clone());
                if line.tell(ReaderEvent::Disconnected(error)).await.is_err() {
                    return;
                }
            }
            tokio::select! {
                () = tokio::time::sleep(backoff.next(random::word())) => {}
                () = line.closed() => return,
            }
        }
    }

    /// Opens the reader and listens until it is gone.
    async fn attend(&self, line: &mut Line) -> Result<(), ReaderError> {
        let link = match &self.transport {
            Transport::Serial { device, baud } => Link::Serial(serial::open(device, *baud)?),
            Transport::Hid { device } => Link::Keys(hid::open(device)?),
            Transport::TcpConnect { host, port } => Link::Tcp(tcp::connect(host, *port).await?),
            Transport::TcpListen(address) => return tcp::serve(*address, &self.profile, line).await,
            Transport::Http { listen, mac } => return http::serve(*listen, mac.as_deref(), line).await,
            #[cfg(feature = "pcsc")]
            Transport::Pcsc(name) => return pcsc::serve(name, self.profile.signal.as_ref(), line).await,
        };
        line.tell(ReaderEvent::Connected).await?;
        line.talk(link, &self.profile).await
    }

    /// Tries whether it can be opened, for `check`, without waiting for a reader to connect; tells what was found.
    ///
    /// # Errors
    /// It cannot be opened now.
    pub async fn probe(&self) -> Result<String, ReaderError> {
        match &self.transport {
            Transport::Serial { device, baud } => {
                serial::open(device, *baud).map(|_| format!("{device} can be opened{}", access(device)))
            }
            Transport::Hid { device } => hid::open(device).map(|_| format!("{device} can be opened{}", access(device))),
            Transport::TcpConnect { host, port } => {
                tcp::connect(host, *port).await.map(|_| format!("{host}:{port} answers"))
            }
            Transport::TcpListen(address) | Transport::Http { listen: address, .. } => {
                tcp::listen(*address).await.map(|_| format!("{address} is free to listen on"))
            }
            #[cfg(feature = "pcsc")]
            Transport::Pcsc(name) => pcsc::probe(name).map(|()| format!("pcscd has {name}")),
        }
    }
}

/// Who else may open a device: whoever checks may be root, and the agent is not.
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
