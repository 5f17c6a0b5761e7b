//! The words of the house as types (docs/architecture.md, "Words"). Pure data: no I/O, no clock, no randomness.
//!
//! The types that must never be shown (`Secret`, `Read`, `CardNumber`) print as `***`, so that no log line, panic or error
//! can show one by accident.

mod outcome;
mod reason;
mod tag;

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use ulid::Ulid;
use zeroize::Zeroizing;

pub use outcome::{Outcome, Verdict};
pub use reason::Reason;

/// A text that is wiped when dropped and never printed: a token, a key, a password.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes the text over.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The text itself, for the one place that has to send it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// The text that a reader delivered for one presentation of a card.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Read(pub Secret);

/// The number that the server knows a card by: a read after the station's conversion.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CardNumber(pub Secret);

/// The name of one accepted read, for logs and events. Sorts by time.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TapId(Ulid);

impl TapId {
    /// A tap at `wall` (its milliseconds lead the id) with 80 of `random`'s bits.
    pub fn new(wall: Timestamp, random: u128) -> Self {
        let millis = u64::try_from(wall.as_millisecond()).unwrap_or(0);
        Self(Ulid::from_parts(millis, random))
    }
}

impl fmt::Display for TapId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.to_string())
    }
}

impl fmt::Debug for TapId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for TapId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TapId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Ulid::from_string(&text).map(Self).map_err(serde::de::Error::custom)
    }
}

/// The two clocks of one moment: `monotonic` measures, `wall` is written down.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// For durations and deadlines.
    pub monotonic: Instant,
    /// For records and events.
    pub wall: Timestamp,
}

/// A station's name, shared by everything that speaks of it.
pub type StationName = Arc<str>;

/// The owner of the card, as the server names them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// The login name, as the server spells it.
    pub name: String,
    /// The authentication provider that the name belongs to; older servers do not tell.
    pub provider: Option<i64>,
}

/// The sides of the sheet that are printed on. The numbers are the server's (docs/print-server-api.md, "DocumentInfo").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Duplex {
    /// One side: 0.
    Simplex,
    /// Both sides, turned over the long edge: 1.
    LongEdge,
    /// Both sides, turned over the short edge: 2.
    ShortEdge,
}

/// The status of a document at the server (docs/print-server-api.md, "Document status").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DocumentStatus {
    /// 0: waits to be released.
    Ready,
    /// 1: was released.
    Printed,
    /// 4 or 8: the server gave up on it.
    Failed,
    /// 2 or 3: deleted or expired.
    Gone,
    /// 5, 6, 7: will become ready.
    Coming,
    /// 9, a number that a newer server invented, or none at all.
    Other,
}

impl DocumentStatus {
    /// The status of a document that the server lists more than once: PRINTED is the one that cannot be taken back.
    pub(crate) fn of_rows(rows: impl Iterator<Item = Self>) -> Option<Self> {
        rows.reduce(|one, other| if other == Self::Printed { other } else { one })
    }
}

/// One entry of the server's list (docs/print-server-api.md, "DocumentInfo"). All but the uuid may be missing there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Document {
    /// The server's name for it.
    pub uuid: String,
    /// Its title as the server gave it, up to [`Document::TITLE_LIMIT`]. Anybody can choose one, so it is cleaned where it is shown.
    pub title: String,
    /// The owner's login name; empty when the server does not give it.
    pub user: String,
    /// Pages in all; `None` when unknown (the server writes 0 for that).
    pub pages: Option<u32>,
    /// Of them, in colour.
    pub color_pages: Option<u32>,
    /// Copies that were asked for when it was submitted.
    pub copies: Option<u32>,
    /// As submitted.
    pub duplex: Option<Duplex>,
    /// As submitted.
    pub grayscale: Option<bool>,
    /// Such as `A4`; `None` when unknown.
    pub paper_size: Option<String>,
    /// When it was created, by the server's clock.
    pub created: Option<Timestamp>,
    /// Its status.
    pub status: DocumentStatus,
    /// The output port's name that it was printed at, in the history.
    pub port_name: Option<String>,
    /// Whether the server has its bytes. The journal does not keep it.
    #[serde(skip)]
    pub storage_online: Option<bool>,
}

impl Document {
    /// The most bytes of a title that are kept. A tap's releases are one durable write of bounded size.
    pub const TITLE_LIMIT: usize = 4_096;

    /// A document that waits and of which nothing more is known, for tests to fill in.
    #[cfg(test)]
    pub(crate) fn sample(uuid: &str) -> Self {
        Self {
            uuid: uuid.to_owned(),
            title: String::new(),
            user: String::new(),
            pages: None,
            color_pages: None,
            copies: None,
            duplex: None,
            grayscale: None,
            paper_size: None,
            created: None,
            status: DocumentStatus::Ready,
            port_name: None,
            storage_online: None,
        }
    }
}

/// The options in which a release differs from the submitted document. `None`: as submitted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReleaseOptions {
    /// Copies.
    pub copies: Option<u32>,
    /// Print in gray.
    pub grayscale: Option<bool>,
    /// Sides.
    pub duplex: Option<Duplex>,
    /// Keep the document at the server after printing.
    pub retain: bool,
}

/// The name of a printer in a job record: the server looks an output port up by one of the two.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OutputPort {
    /// An IP address or host name.
    Address(String),
    /// A serial number.
    Serial(String),
}

impl OutputPort {
    /// The server's name for the printer, in a path or a log.
    pub fn name(&self) -> &str {
        match self {
            Self::Address(name) | Self::Serial(name) => name,
        }
    }
}

/// A document that goes to the output port, as the journal keeps it from before the first byte is sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// The tap that asked for it.
    pub tap: TapId,
    /// The station where it was.
    pub station: StationName,
    /// The person who held the card.
    pub user: User,
    /// The document that is released.
    pub document: Document,
    /// The printer.
    pub port: OutputPort,
    /// When it was stored, by this box's clock.
    pub time: Timestamp,
    /// Whether a job record follows a release that worked.
    pub record: bool,
    /// Whether the server was asked to keep the document: then READY does not tell that it was not released.
    pub retain: bool,
    /// Whether the title of its job record ends in the tag of the tap.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tag: bool,
}

#[cfg(test)]
impl Release {
    /// A release of a document by a tap with this number, at the station `lobby`, for tests to change.
    pub(crate) fn sample(document: &str, tap: u128) -> Self {
        Self {
            tap: TapId::new(Timestamp::UNIX_EPOCH, tap),
            station: "lobby".into(),
            user: User { name: "ada".to_owned(), provider: None },
            document: Document::sample(document),
            port: OutputPort::Serial("DEMO0001".to_owned()),
            time: Timestamp::UNIX_EPOCH,
            record: true,
            retain: false,
            tag: false,
        }
    }
}

/// The journal's number of a release, a job record or an event: order of arrival, never used twice.
pub type EntryId = u64;

/// One printed document, as the server's history is told: docs/print-server-api.md, "Job records".
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobRecord {
    /// The tap that it belongs to.
    pub tap: TapId,
    /// The station; records of one station keep their order.
    pub station: StationName,
    /// The owner of the job.
    pub user: User,
    /// The released document: it stands in the same history and is not its job record.
    pub document: String,
    /// The document's title, with the tag if it has one.
    pub title: String,
    /// Pages in all.
    pub pages: Option<u32>,
    /// Of them, in colour.
    pub color_pages: Option<u32>,
    /// Such as `A4`.
    pub paper_size: Option<String>,
    /// `Some(true)` long edge, `Some(false)` short edge; a record cannot say simplex.
    pub long_edge: Option<bool>,
    /// The printer.
    pub port: OutputPort,
    /// When the release ended, by this box's clock.
    pub time: Timestamp,
}

impl JobRecord {
    /// The record of a release that worked, ended at `time`.
    pub fn of(release: &Release, time: Timestamp) -> Self {
        let document = &release.document;
        Self {
            tap: release.tap,
            station: release.station.clone(),
            user: release.user.clone(),
            document: document.uuid.clone(),
            title: if release.tag { tag::tagged(&document.title, release.tap) } else { document.title.clone() },
            pages: document.pages,
            color_pages: document.color_pages,
            paper_size: document.paper_size.clone(),
            long_edge: match document.duplex {
                Some(Duplex::LongEdge) => Some(true),
                Some(Duplex::ShortEdge) => Some(false),
                Some(Duplex::Simplex) | None => None,
            },
            port: release.port.clone(),
            time,
        }
    }
}

/// Why something could not be done, in the terms that decide what to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The server does not accept who asks.
    Refused(Who),
    /// The server does not know the thing.
    NotFound,
    /// The printer or document is not ready (errorCode 1042).
    NotReady,
    /// The request itself was refused for good.
    Rejected,
    /// No connection: nothing was sent, so nothing was done.
    Unreachable,
    /// Sent, but the answer never came: it may have been done. `at_work`: the server may even still be at it.
    Lost {
        /// True after a time limit, false after a cut connection or a server error.
        at_work: bool,
    },
    /// An answer came that is none: it may have been done.
    Malformed,
    /// The server asks for patience, for so many seconds if it says so.
    Overloaded {
        /// `Retry-After`, in seconds.
        retry_after: Option<u32>,
    },
    /// This box's disk did not take the entry.
    Storage,
}

/// The credential or right that was refused, as far as the server distinguishes them (docs/print-server-api.md, "Refusals").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// The card (or short id): the server has accepted the key before.
    Login,
    /// The card, or the API key that brought it: no login has succeeded yet.
    UnprovenLogin,
    /// The API key: it is unknown, has expired, or is of the wrong kind.
    Key,
    /// The address of this box: the API key has a list of allowed ones.
    Address,
    /// This box, which is no trusted device.
    Device,
    /// The user's or the device's token, whose time is over.
    Expired,
    /// The person or the key, who lacks the right.
    Right,
    /// The user's or the device's token, or a right: the server does not say.
    Token,
}

impl Cause {
    /// True when the request may have been carried out although no good answer came. A plea for patience is no proof: a back
    /// end may go on behind the balancer that gave it.
    pub fn is_in_doubt(self) -> bool {
        matches!(self, Self::Lost { .. } | Self::Malformed | Self::Overloaded { .. })
    }
}

/// A cause with its story for the log. The detail never holds a secret, and is short and in one line whatever a server says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} ({})", self.detail, Reason::from(self.cause))]
pub struct Failure {
    /// The cause that decides what to do next.
    pub cause: Cause,
    /// The details, for a person who reads the log.
    pub detail: String,
}

impl Failure {
    /// The most characters of a story: it stands in a line of the log, and in an entry of the journal.
    pub const DETAIL_LIMIT: usize = 300;

    /// A failure with its story, which is cut to [`Failure::DETAIL_LIMIT`]. Control characters in it are replaced.
    pub fn new(cause: Cause, detail: impl AsRef<str>) -> Self {
        let shown = |c: char| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c };
        Self { cause, detail: detail.as_ref().chars().take(Self::DETAIL_LIMIT).map(shown).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_told_in_one_short_line_whatever_a_server_says() {
        let failure = Failure::new(Cause::Rejected, "\u{1b}[2J\n\0\u{9b}".to_owned() + &"ü".repeat(40_000));
        assert!(failure.detail.starts_with("\u{fffd}[2J\u{fffd}\u{fffd}\u{fffd}ü"), "{}", failure.detail);
        assert_eq!(failure.detail.chars().count(), Failure::DETAIL_LIMIT);
    }
}
