//! Job records: from the journal to the server's acknowledgement.
//!
//! [`delivery`], [`window`] and [`rows`] decide, without I/O; [`outbox`] and [`lookup`] carry out.

mod delivery;
mod lookup;
pub(super) mod outbox;
mod rows;
mod window;
