//! The logs of the server, for tests to count. They hold no secret: no card number, key, token or password.

use jiff::Timestamp;

use super::documents::PrintOptions;
use super::endpoint::Call;
use super::world::World;

/// The most entries of a log; then the older half is dropped.
pub const LOG_LIMIT: usize = 200_000;

/// A request, from its arrival to its answer.
#[derive(Clone, Debug)]
pub struct LoggedCall {
    /// Counts from 0, without gaps, over the life of the server.
    pub number: u64,
    /// The call that it asked for.
    pub call: Call,
    /// The method.
    pub method: String,
    /// The path as it was sent, without the query.
    pub path: String,
    /// Whether its work, or what a fault did instead, is over.
    pub done: bool,
    /// The status of the answer. `None`: not yet, or never.
    pub status: Option<u16>,
    /// The reason of a refusal, for a developer of the client.
    pub refusal: Option<String>,
    /// The time of its arrival.
    pub time: Timestamp,
}

/// A document that was handed to a port.
#[derive(Clone, Debug)]
pub struct LoggedRelease {
    /// The uuid of the document.
    pub uuid: String,
    /// The owner.
    pub user_name: String,
    /// The name of the port, [`ServerPort::name`](super::ServerPort::name).
    pub port: String,
    /// The options of the request beside the document's own settings.
    pub options: PrintOptions,
    /// Released by `/card`, all at once.
    pub by_card: bool,
    /// The time by the server's clock.
    pub time: Timestamp,
}

/// A document whose bytes were given out.
#[derive(Clone, Debug)]
pub struct LoggedDownload {
    /// The uuid of the document.
    pub uuid: String,
    /// The options of the request.
    pub options: PrintOptions,
    /// The time by the server's clock.
    pub time: Timestamp,
}

impl World {
    /// Notes a request that arrived and gives it its number.
    pub(super) fn arrived(&mut self, call: Call, method: &str, path: &str) -> u64 {
        let number = self.calls_seen;
        self.calls_seen += 1;
        let called = LoggedCall {
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

    /// Notes the answer to a request.
    pub(super) fn answered(&mut self, number: u64, status: Option<u16>, refusal: Option<String>) {
        if let Some(called) = self.calls.iter_mut().rev().find(|called| called.number == number) {
            called.status = status;
            called.done = true;
            called.refusal = refusal;
        }
    }

    /// The number of requests for this call.
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
