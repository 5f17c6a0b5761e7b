//! Tests against real parts: the real program, a real broker, a real pseudo-terminal, real TLS, a real browser. Each module
//! is named after what it shows.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]
#![expect(unreachable_pub, reason = "a program has no users: `pub` is for its other modules")]

mod broker;
mod commands;
mod conversion_doc;
mod demo;
#[cfg(feature = "directory")]
mod directory;
mod docs;
mod doubt_and_overlap;
mod faults;
mod history_export;
mod house;
mod identity;
mod identity_state;
mod idle;
mod injection;
mod journal_bounds;
mod journal_clock;
mod journal_damage;
mod journal_encrypted;
mod journal_flips;
mod journal_formats;
mod journal_full_disk;
mod journal_model;
mod journal_power_cuts;
mod journal_queue;
mod journal_stop;
mod limits;
mod memory;
mod mistakes;
mod mqtt;
mod nothing_lost;
mod odd_answers;
mod package;
mod page;
#[cfg(feature = "pcsc")]
mod pcsc;
mod queue_waiting;
mod readers;
mod reconcile;
mod refusals;
mod secrets;
mod strangers;
mod support;
mod tap;
mod tls;
mod whole_box;
