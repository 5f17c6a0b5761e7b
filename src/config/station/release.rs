//! `[station.release]`: which documents are released, and how.

use std::{num::NonZeroU16, ops::RangeInclusive, time::Duration};

use crate::config::{
    check::{boolean, duration, integer, one_of},
    section::Section,
};

/// Documents a tap: all its releases are one durable write, and sled keeps a write whole through a power cut
/// up to 128 KiB.
const LIMIT: RangeInclusive<u16> = 1..=200;
/// Releases in flight: each is a connection or a stream to the server.
const PARALLEL: RangeInclusive<u16> = 1..=16;
/// Copies that the server takes; 0 is "as submitted".
const COPIES: RangeInclusive<u16> = 0..=999;
/// From a quick server to a person who fetched a coffee: later, nobody stands at the printer.
const DEADLINE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3_600);

use crate::domain::Duplex;
use crate::station::Select;

/// How documents are released.
#[derive(Clone, Debug)]
pub struct Release {
    /// Who brings the document to the printer.
    pub via: Via,
    /// Which of the documents that wait.
    pub select: Select,
    /// Documents a tap at most.
    pub limit: u16,
    /// Releases in flight at most.
    pub parallel: u16,
    /// `None`: as submitted.
    pub copies: Option<NonZeroU16>,
    /// `None`: as submitted.
    pub grayscale: Option<bool>,
    /// `None`: as submitted.
    pub duplex: Option<Duplex>,
    /// Whether the document stays at the server.
    pub retain: bool,
    /// A release that has not been sent by then never is.
    pub deadline: Duration,
    /// When the server is told what was printed.
    pub record: Record,
}

/// `station.release.via`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// The server sends each document.
    Server,
    /// The agent fetches and prints each document.
    Download,
    /// The server sends all documents of a card.
    Card,
}

/// `station.release.record`: job records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record {
    /// For every release.
    Always,
    /// For what the agent printed itself.
    Downloaded,
    /// For none.
    Never,
}

impl Release {
    pub(super) fn read(section: &mut Section<'_, '_>) -> Self {
        let via = [("server", Via::Server), ("download", Via::Download), ("card", Via::Card)];
        let select = [("all", Select::All), ("newest", Select::Newest), ("oldest", Select::Oldest)];
        let grayscale = [("as-submitted", None), ("true", Some(true)), ("false", Some(false))];
        let duplex = [
            ("as-submitted", None),
            ("simplex", Some(Duplex::Simplex)),
            ("long-edge", Some(Duplex::LongEdge)),
            ("short-edge", Some(Duplex::ShortEdge)),
        ];
        let record = [("always", Record::Always), ("downloaded", Record::Downloaded), ("never", Record::Never)];
        Self {
            via: section.get("via", Via::Server, one_of(&via)),
            select: section.get("select", Select::All, one_of(&select)),
            limit: section.get("limit", 50, integer(LIMIT)),
            parallel: section.get("parallel", 4, integer(PARALLEL)),
            copies: NonZeroU16::new(section.get("copies", 0, integer(COPIES))),
            grayscale: section.get("grayscale", None, one_of(&grayscale)),
            duplex: section.get("duplex", None, one_of(&duplex)),
            retain: section.get("retain", false, boolean),
            deadline: section.get("deadline", Duration::from_secs(90), duration(DEADLINE)),
            record: section.get("record", Record::Always, one_of(&record)),
        }
    }
}
