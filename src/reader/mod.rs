//! Card readers: from a device to [`Read`]s. One task a station; a dead or babbling reader slows only itself.
//!
//! Invariants: a read is bounded in bytes and in time ([`Framer`]); at most [`EVENT_LIMIT`] events wait, then the device
//! waits; a device that went away is closed before it is opened again, and the status says so.

mod frame;
pub mod profile;
mod serial;

use tokio::sync::mpsc;

use crate::domain::Read;
pub use frame::{Fault, Frame, Framer, to_hex};
pub use serial::Serial;

/// Events that may wait for the agent; a reader that sends more is read more slowly.
pub const EVENT_LIMIT: usize = 16;

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
