//! A time limit for each test. A test that hangs would otherwise stop the whole run without a word of which one it is.

use std::io::Write;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

/// Several times as long as the slowest test takes beside others.
const LIMIT: Duration = Duration::from_secs(600);

/// A kill or a cut of a campaign takes a second or two.
const LIMIT_OF_A_TRY: Duration = Duration::from_secs(20);

/// Ends its test's time limit when it is dropped.
pub struct Limit(#[expect(dead_code, reason = "dropping it ends the wait of the thread at the other end")] Sender<()>);

/// Begins the time limit of a test: the first line of each. The test's name is that of its thread.
#[must_use]
pub fn limit() -> Limit {
    limit_of(LIMIT)
}

/// The same for a campaign, which is told in this variable how often it tries.
#[must_use]
pub fn limit_of_campaign(variable: &str) -> Limit {
    let tries = std::env::var(variable).ok().and_then(|tries| tries.parse().ok()).unwrap_or(0);
    limit_of(LIMIT.max(LIMIT_OF_A_TRY * tries))
}

/// The same with another limit.
#[must_use]
pub fn limit_of(limit: Duration) -> Limit {
    let test = thread::current().name().unwrap_or("?").to_owned();
    let (running, ended) = channel();
    thread::spawn(move || {
        if ended.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
            // Not `eprintln!`: its output is kept back until the test ends, which this one does not.
            drop(writeln!(std::io::stderr(), "\ntest {test} has not ended within {limit:?}"));
            // No other way ends a test that never awaits. The kernel ends the agents with this process.
            std::process::abort();
        }
    });
    Limit(running)
}
