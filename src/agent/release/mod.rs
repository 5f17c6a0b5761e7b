//! Releases: whose a document is, whether it is sent, and how it ended.
//!
//! [`attempt`] and [`evidence`] decide, without I/O; [`sender`] and [`recover`] carry out; [`register`] is the one way to
//! claims and journal.

mod attempt;
mod claims;
mod evidence;
pub(super) mod recover;
pub(super) mod register;
pub(super) mod sender;
