//! `readers watch`: what a station's reader sends and what its conversion makes of it, line by line. All of it is as secret
//! as the card; it goes to the person who asked, and nowhere else.

use serde::{Deserialize, Serialize};

use super::StationSetup;
use crate::convert::Conversion;
use crate::reader::Reader;
use crate::reader::window::{Look, Seen, Shut, Window};

/// One line of `readers watch --json`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Line {
    /// The device is open.
    Connected(String),
    /// It is not, and why.
    Disconnected(String),
    /// Bytes, as they came, in hexadecimal digits.
    Bytes(String),
    /// No card, or one that is refused, and why.
    Refused(String),
    /// Nothing more comes, and why.
    Ended(String),
    /// A card.
    #[serde(untagged)]
    Read {
        /// As the reader delivered it.
        read: String,
        /// Each step with its result.
        steps: Vec<(String, String)>,
    },
}

/// What it takes to watch a station. Does not keep its reader alive.
#[derive(Clone, Debug)]
pub struct Watch {
    window: Window,
    convert: Option<Conversion>,
}

/// Somebody watches.
#[derive(Debug)]
pub struct Watching {
    look: Look,
    convert: Option<Conversion>,
    ended: bool,
}

impl Watch {
    /// Of a reader whose reads are converted so.
    pub fn new(reader: &Reader, convert: Option<Conversion>) -> Self {
        Self { window: reader.window(), convert }
    }

    /// Of a station.
    pub fn of(setup: &StationSetup) -> Self {
        Self::new(&setup.reader, setup.policy.convert.clone())
    }

    /// Watches from now on.
    ///
    /// # Errors
    /// Too many watch, or the reader is not served any more.
    pub fn begin(&self) -> Result<Watching, Shut> {
        Ok(Watching { look: self.window.look()?, convert: self.convert.clone(), ended: false })
    }
}

impl Watching {
    /// The next line; `None` after the last.
    pub async fn next(&mut self) -> Option<Line> {
        if self.ended {
            return None;
        }
        Some(match self.look.next().await {
            Ok(Seen::Connected) => Line::Connected(String::new()),
            Ok(Seen::Disconnected(why)) => Line::Disconnected(format!("failed to {why}")),
            Ok(Seen::Bytes(bytes)) => Line::Bytes(bytes.expose().to_owned()),
            Ok(Seen::Unreadable(fault)) => Line::Refused(fault.word().to_owned()),
            Ok(Seen::Read(read)) => self.read(read.0.expose()),
            Err(why) => {
                self.ended = true;
                Line::Ended(why.to_string())
            }
        })
    }

    fn read(&self, read: &str) -> Line {
        let trace = self.convert.as_ref().map(|convert| convert.trace(read)).unwrap_or_default();
        let told = |(step, result): (String, Result<_, _>)| {
            (step, result.unwrap_or_else(|error| format!("failed to convert: {error}")))
        };
        Line::Read { read: read.to_owned(), steps: trace.into_iter().map(told).collect() }
    }
}
