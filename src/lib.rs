//! The print-release agent: a card is held to a reader, and the documents that wait for its owner come out.
//!
//! # The parts
//!
//! - [`domain`]: the words of the house as types. Pure.
//! - [`station`]: the one state machine, `handle(event, now) -> effects`. Pure.
//! - [`convert`]: from a read to a card number. Pure.
//! - [`backoff`]: how long to wait before the next attempt. Pure.
//! - [`feedback`]: what the person is told. Pure. [`lamp`]: on the lights of the box.
//! - [`agent`]: the one loop. It carries the stations' effects out and owns what runs beside it.
//! - [`reader`], [`print_server`], [`journal`], [`status`]: the adapters. Each knows `domain` and none of the others.
//! - [`config`]: from `agent.toml` to checked types. [`tls`]: whom to trust. [`random`]: the one source of randomness.
//!   [`durable`]: small files that are there whole. [`clock`]: not before when it is, and in which order.
//! - [`cli`]: one file a command; puts the parts together.
//! - `demo`: an embedded print server, a virtual reader, and a page to play with (feature `demo`).
//!
//! Dependencies point inwards: `main -> cli -> agent -> station -> domain`. A test draws this rule.
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
pub mod domain;
pub mod durable;
pub mod feedback;
pub mod journal;
pub mod lamp;
pub mod print_server;
pub mod random;
pub mod reader;
pub mod station;
pub mod status;
pub mod tls;
