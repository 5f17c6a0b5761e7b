//! The print-release agent: a card is held to a reader, and the documents that wait for its owner come out.
//!
//! # The parts
//!
//! - [`domain`]: the words of the house as types. Pure.
//! - `station`: the one state machine, `handle(event, now) -> effects`. Pure.
//! - [`convert`]: turns a read into a card number. Pure.
//! - [`backoff`]: the wait before the next attempt. Pure.
//! - [`feedback`]: the lights and beeps for the person. Pure. `lamp` shows them on the box's own lights.
//! - [`agent`]: the one loop. It carries the stations' effects out and owns the parts that run beside it. Its two expensive
//!   decisions are pure, each in a file of its own: `agent/release/attempt.rs` (is a release sent again?) and
//!   `agent/record/delivery.rs` (is a job record?).
//! - [`reader`], [`print_server`], [`journal`], [`status`]: the adapters. Each knows `domain` and none of the others.
//! - [`config`]: checks `agent.toml`. [`tls`]: the trust in servers. [`random`]: the one source of randomness.
//!   `durable`: small files that are there whole. `token_store`: tokens in such a file. `machine`: binds them to this machine.
//!   [`clock`]: the earliest time that it can be, and the order of events.
//! - [`cli`]: one file a command; puts the parts together.
//! - `directory`: the neighbours ezeep, NDD Orbix and zops (feature `directory`). Nothing of the tap knows it.
//! - [`planted`]: faults that tests plant to see them found (feature `planted`).
//! - `simulate`: a world that one number makes, for the agent to live in (feature `simulate`).
//! - `demo`: an embedded print server, a virtual reader, and a page to play with (feature `demo`).
//!
//! Dependencies point inwards: `main -> cli -> agent -> station -> domain`. A test draws this rule, and another one that no
//! two files of the agent or of the journal know each other. More is in `docs/architecture.md`.
//!
//! # The rules
//!
//! A decision has no I/O, and I/O has no decisions. Store before act, act before acknowledge, acknowledge before delete.
//! Nothing awaits the network inside the agent's loop. Every queue, loop, body and retry has a named limit.

pub mod agent;
pub mod backoff;
pub mod cli;
pub mod clock;
pub mod config;
pub mod convert;
#[cfg(feature = "demo")]
pub mod demo;
#[cfg(feature = "directory")]
pub mod directory;
pub mod domain;
mod durable;
pub mod feedback;
pub mod journal;
mod lamp;
mod machine;
pub mod planted;
pub mod print_server;
pub mod random;
pub mod reader;
#[cfg(feature = "simulate")]
pub mod simulate;
mod station;
pub mod status;
pub mod tls;
mod token_store;
