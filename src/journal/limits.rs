//! The limits of what the journal holds and writes at once.

use std::time::Duration;

use jiff::SignedDuration;

/// The most bytes of one entry. A tap's document has a bounded title; this bounds what a server may put beside it.
pub const ENTRY_LIMIT: usize = 32 * 1024;

/// The most that is written between two syncs.
pub const GROUP_BYTES: usize = 96 * 1024;

/// The most bytes of all entries together, whatever `outbox.max_entries` allows. On disk they take at most two and a
/// half times that: 160 MiB.
pub const PAYLOAD_LIMIT: u64 = 64 * 1024 * 1024;

/// How long acknowledged records are remembered, to tell an equal one in the server's history from one in doubt: from the
/// time at which they were sent to that of the newest.
pub const LEDGER_AGE: SignedDuration = SignedDuration::from_hours(7 * 24);

/// Acknowledged records that are remembered at most.
pub const LEDGER_LIMIT: usize = 2_000;

/// How much the journal keeps (`outbox.max_entries`, `outbox.max_age`). Releases are never refused for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Releases, records, dead letters and events together.
    pub max_entries: u32,
    /// What is older is given up, except a release that has not ended.
    pub max_age: Duration,
}

impl Limits {
    /// Gives nothing up: for those who only progress.
    pub const NONE: Self = Self { max_entries: u32::MAX, max_age: Duration::MAX };
}
