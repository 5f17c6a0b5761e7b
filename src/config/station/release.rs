//! `[station.release]`: the choice of documents, and the way of their release.

use std::{num::NonZeroU16, ops::RangeInclusive, time::Duration};

use crate::config::{
    check::{boolean, duration, integer, one_of},
    section::Section,
};

/// The limits of `limit`: all releases of a tap are one durable write, and sled keeps a write whole through a power cut up
/// to 128 KiB.
const LIMIT: RangeInclusive<u16> = 1..=200;
/// The limits of `parallel`: each release in flight is a connection or a stream to the server.
const PARALLEL: RangeInclusive<u16> = 1..=16;
/// Copies that the server takes; 0 is "as submitted".
const COPIES: RangeInclusive<u16> = 0..=999;
/// The limits of `deadline`: after an hour nobody stands at the printer any more.
const DEADLINE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3_600);

use crate::domain::Duplex;
use crate::station::Select;

/// The release of documents at a station.
#[derive(Clone, Debug)]
pub struct ReleaseConfig {
    /// The side that brings the document to the printer.
    pub(crate) via: Via,
    /// The choice among the documents that wait.
    pub(crate) select: Select,
    /// Documents a tap at most.
    pub(crate) limit: u16,
    /// Releases in flight at most.
    pub(crate) parallel: u16,
    /// Copies, colour and sides: `None` is as submitted.
    pub(crate) copies: Option<NonZeroU16>,
    pub(crate) grayscale: Option<bool>,
    pub(crate) duplex: Option<Duplex>,
    /// Whether the document stays at the server.
    pub(crate) retain: bool,
    /// A release that has not been sent by then never is.
    pub(crate) deadline: Duration,
    /// The releases of which the server gets a job record.
    pub(crate) record: RecordPolicy,
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
pub enum RecordPolicy {
    /// For every release.
    Always,
    /// For what the agent printed itself.
    Downloaded,
    /// For none.
    Never,
}

impl ReleaseConfig {
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
        let record = [
            ("always", RecordPolicy::Always),
            ("downloaded", RecordPolicy::Downloaded),
            ("never", RecordPolicy::Never),
        ];
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
            record: section.get("record", RecordPolicy::Always, one_of(&record)),
        }
    }
}
