//! `readers watch`: the bytes that a station's reader sends and the results of its conversion, line by line. All of it is as
//! secret as the card, so it goes to the person who asked, and nowhere else.

use serde::{Deserialize, Serialize};

use super::StationSetup;
use crate::convert::Conversion;
use crate::reader::Reader;
use crate::reader::monitor::{MonitorError, MonitorEvent, MonitorSubscription, ReaderMonitor};

/// One line of `readers watch --json`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum WatchLine {
    /// The device is open.
    Connected(String),
    /// The device is not open, for this reason.
    Disconnected(String),
    /// Bytes from the reader, in hexadecimal digits.
    Bytes(String),
    /// The bytes are no read, or the card is refused, for this reason.
    Refused(String),
    /// The last line, with the reason why no more follow.
    Ended(String),
    /// A card was read.
    #[serde(untagged)]
    Read {
        /// The read, as the reader delivered it.
        read: String,
        /// Each step of the conversion with its result.
        steps: Vec<(String, String)>,
    },
}

/// A handle for watching a station's reader. It does not keep the reader alive.
#[derive(Clone, Debug)]
pub(crate) struct ReaderWatch {
    monitor: ReaderMonitor,
    convert: Option<Conversion>,
}

/// One person's watching of a reader.
#[derive(Debug)]
pub(crate) struct WatchSession {
    subscription: MonitorSubscription,
    convert: Option<Conversion>,
    ended: bool,
}

impl ReaderWatch {
    /// Watches `reader`, whose reads `convert` turns into card numbers.
    pub(crate) fn new(reader: &Reader, convert: Option<Conversion>) -> Self {
        Self { monitor: reader.monitor(), convert }
    }

    /// Watches the reader of a station.
    pub(crate) fn of(setup: &StationSetup) -> Self {
        Self::new(&setup.reader, setup.policy.convert.clone())
    }

    /// Begins to collect events.
    ///
    /// # Errors
    /// Too many people watch, or the agent does not run the reader any more.
    pub(crate) fn begin(&self) -> Result<WatchSession, MonitorError> {
        Ok(WatchSession { subscription: self.monitor.subscribe()?, convert: self.convert.clone(), ended: false })
    }
}

impl WatchSession {
    /// Waits for the next line; `None` after the last.
    pub(crate) async fn next(&mut self) -> Option<WatchLine> {
        if self.ended {
            return None;
        }
        Some(match self.subscription.next().await {
            Ok(MonitorEvent::Connected) => WatchLine::Connected(String::new()),
            Ok(MonitorEvent::Disconnected(why)) => WatchLine::Disconnected(format!("failed to {why}")),
            Ok(MonitorEvent::Bytes(bytes)) => WatchLine::Bytes(bytes.expose().to_owned()),
            Ok(MonitorEvent::Unreadable(fault)) => WatchLine::Refused(fault.word().to_owned()),
            Ok(MonitorEvent::Read(read)) => self.read(read.0.expose()),
            Err(why) => {
                self.ended = true;
                WatchLine::Ended(why.to_string())
            }
        })
    }

    fn read(&self, read: &str) -> WatchLine {
        let trace = self.convert.as_ref().map(|convert| convert.trace(read)).unwrap_or_default();
        let in_words = |(step, result): (String, Result<_, _>)| {
            (step, result.unwrap_or_else(|error| format!("failed to convert: {error}")))
        };
        WatchLine::Read { read: read.to_owned(), steps: trace.into_iter().map(in_words).collect() }
    }
}
