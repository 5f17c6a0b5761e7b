//! Tests against real parts: the real program, a real broker, a real pseudo-terminal, real TLS. Each module is named after
//! what it shows.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

mod house;
mod mqtt;
#[cfg(feature = "pcsc")]
mod pcsc;
mod readers;
mod support;
