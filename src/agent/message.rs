//! The messages to the loop.

use std::sync::Arc;

use crate::domain::{Failure, StationName, TapId};
use crate::print_server::Session;
use crate::reader::ReaderEvent;
use crate::station::TapAnswer;

#[derive(Debug)]
pub(super) enum LoopMessage {
    /// From a reader.
    Reader(StationName, ReaderEvent),
    /// A task's answer to a tap.
    Answer(TapOf, TapAnswer),
    /// The end of a login.
    LoggedIn(TapOf, Result<Arc<Session>, Failure>),
    /// The server's version, if it told.
    Version(Option<String>),
}

/// The tap that a task works for, and its station.
#[derive(Clone, Debug)]
pub(super) struct TapOf {
    pub(super) station: StationName,
    pub(super) tap: TapId,
}
