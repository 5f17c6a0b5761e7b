//! The simulated world (docs/architecture.md, "The simulated world"): boxes with the real agent, people, a server, a
//! broker, a network and disks, all of it made by one number.
//!
//! The agent is the program's own, with its loop, tasks and decisions. Only what is outside of it is a model: the server
//! behind the HTTP client ([`exchange`]), the journal behind its handle ([`DiskModel`], which keeps the contract of
//! `src/journal/mod.rs`), the broker behind the link, and the readers. Time and randomness come from
//! `tests/simulate/clock.c`, which stands before libc: when everything waits, the clock jumps to the next timer.
//!
//! Invariants: one thread; no order depends on an address or a hash; nothing holds the world's lock while it waits. Each
//! world is a process of its own, so that the same number gives the same hash of all events.

mod books;
mod boxes;
mod broker;
mod bugs;
mod call;
mod dice;
mod disk;
mod disk_handle;
mod fleet;
mod life;
mod network;
mod people;
mod program;
mod server;
mod shrink;
mod story;
mod weather;
mod world;

pub(crate) use broker::{LINK_CHECK, publish, reach_broker};
pub(crate) use disk::DiskModel;
pub(crate) use disk_handle::DiskHandle;
pub(crate) use network::exchange;
pub(crate) use people::be_a_reader;
pub use program::main;
