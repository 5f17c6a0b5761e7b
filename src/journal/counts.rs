//! The counts of what waits in the journal.

use jiff::Timestamp;

/// The counts of what waits, as they stand after a sync.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Releases without an outcome, or with an unknown one.
    pub releases: usize,
    /// Job records that the server has not acknowledged.
    pub records: usize,
    /// Job records that the server refused for good.
    pub dead: usize,
    /// Events that the broker has not acknowledged.
    pub events: usize,
    /// Entries that could not be read and were set aside.
    pub unreadable: usize,
    /// Entries that were given up since the start, beyond a limit or for want of room, and damaged databases beyond
    /// [`ASIDE_LIMIT`](super::ASIDE_LIMIT).
    pub lost: u64,
    /// Damaged databases that were set aside and that nobody has removed yet (`db.damaged-*`), at most [`ASIDE_LIMIT`](super::ASIDE_LIMIT).
    pub set_aside: usize,
    /// The disk is full, so the box promises nothing new.
    pub full: bool,
    /// The entries on the disk are encrypted.
    pub encrypted: bool,
    /// The time at which the oldest waiting record was made, if that is known.
    pub oldest_record: Option<Timestamp>,
}
