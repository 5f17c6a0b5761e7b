//! What happened at the server, for tests to count. Holds no secret: no card number, key, token or password.

use jiff::Timestamp;

use super::documents::PrintOptions;
use super::endpoint::Call;
use super::world::World;

/// At most so many entries in a log; then the older half is dropped.
pub const LOG_LIMIT: usize = 200_000;

/// One request.
#[derive(Clone, Debug)]
pub struct Called {
    /// Counts from 0, without gaps, over the life of the server.
    pub number: u64,
    /// What was asked.
    pub call: Call,
    /// The method.
    pub method: String,
    /// The path as it was sent, without the query.
    pub path: String,
    /// Whether its work, or what a fault did instead, is over.
    pub done: bool,
    /// What was answered. `None`: not yet, or never.
    pub status: Option<u16>,
    /// Why it was refused, for whoever writes the client.
    pub refusal: Option<String>,
    /// When it arrived.
    pub time: Timestamp,
}

/// A document that was handed to a port.
#[derive(Clone, Debug)]
pub struct Release {
    /// The document.
    pub uuid: String,
    /// The owner.
    pub user_name: String,
    /// `OutputPort::name`.
    pub port: String,
    /// What the client asked for beside the document's own settings.
    pub options: PrintOptions,
    /// Released by `/card`, all at once.
    pub by_card: bool,
    /// When.
    pub time: Timestamp,
}

/// A document whose bytes were given out.
#[derive(Clone, Debug)]
pub struct Download {
    /// The document.
    pub uuid: String,
    /// What the client asked for.
    pub options: PrintOptions,
    /// When.
    pub time: Timestamp,
}

impl World {
    /// Notes a request that arrived and gives it its number.
    pub(super) fn arrived(&mut self, call: Call, method: &str, path: &str) -> u64 {
        let number = self.calls_seen;
        self.calls_seen += 1;
        let called = Called {
            number,
            call,
            method: method.into(),
            path: path.into(),
            done: false,
            status: None,
            refusal: None,
            time: self.now(),
        };
        remember(&mut self.calls, called);
        number
    }

    /// Notes how a request was answered.
    pub(super) fn answered(&mut self, number: u64, status: Option<u16>, refusal: Option<String>) {
        if let Some(called) = self.calls.iter_mut().rev().find(|called| called.number == number) {
            called.status = status;
            called.done = true;
            called.refusal = refusal;
        }
    }

    /// How many requests of this kind arrived.
    pub fn count(&self, call: Call) -> usize {
        self.calls.iter().filter(|called| called.call == call).count()
    }
}

/// Appends to a log within its limit.
pub(super) fn remember<T>(log: &mut Vec<T>, entry: T) {
    if log.len() == LOG_LIMIT {
        log.drain(..LOG_LIMIT / 2);
    }
    log.push(entry);
}
