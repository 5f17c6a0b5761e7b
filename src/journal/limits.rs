//! Limits of the journal that several of its files need.

use std::time::Duration;

use jiff::SignedDuration;

/// The most bytes of one entry. The title of a document is bounded; this bounds all else that a server may say of it.
pub const ENTRY_LIMIT: usize = 32 * 1024;

/// The most bytes that are written between two syncs.
pub const GROUP_BYTES: usize = 96 * 1024;

/// The most bytes of all entries together, whatever `outbox.max_entries` allows. On disk they take at most two and a half
/// times as much, 160 MiB.
pub const PAYLOAD_LIMIT: u64 = 64 * 1024 * 1024;

/// The age up to which acknowledged records are remembered, so that an equal one in the server's history is not taken for one
/// in doubt. It counts from the time at which a record was sent to that of the newest.
pub const LEDGER_AGE: SignedDuration = SignedDuration::from_hours(7 * 24);

/// The most acknowledged records that are remembered.
pub const LEDGER_LIMIT: usize = 2_000;

/// The limits that the configuration sets (`docs/configuration.md`). No release is ever refused for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Releases, records, dead letters and events together.
    pub max_entries: u32,
    /// Older entries are given up, except releases that have not ended.
    pub max_age: Duration,
}

impl Limits {
    /// Nothing is given up, as it must be for a command that only looks.
    pub const NONE: Self = Self { max_entries: u32::MAX, max_age: Duration::MAX };
}
