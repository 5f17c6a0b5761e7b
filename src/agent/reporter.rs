//! Reports what happened to a tap, a document or a reader: to the log, the counters, the board and the events.

use std::sync::Arc;

use jiff::Timestamp;
use ring::hmac;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::clock::Sequence;
use crate::domain::{Outcome, Reason, StationName, TapId, User};
use crate::random;
use crate::station::Report;
use crate::status::Board;

/// The name of an event that does not belong to a tap.
const READER: &str = "reader";

/// An event of a station, on its way to the disk and the board.
#[derive(Debug)]
pub(super) struct StationEvent {
    pub(super) station: StationName,
    pub(super) subject: Subject,
    /// The JSON of docs/operating.md, "Events".
    pub(super) payload: Value,
}

/// The thing that an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    Tap,
    Reader,
}

/// The length of a user's name as a hash: 64 bits, enough for 10,000 boxes' users.
const HASH_CHARS: usize = 16;

/// The form in which messages name people.
#[derive(Clone, Debug)]
pub(crate) enum UserNames {
    /// The login name.
    Plain,
    /// A hash under a key of this box: stable, and not to be reversed without the key.
    Hash(hmac::Key),
    /// No name.
    Omit,
}

impl UserNames {
    /// The text that stands for a user; `None` where none may.
    pub(crate) fn name(&self, user: &User) -> Option<String> {
        match self {
            Self::Plain => Some(user.name.clone()),
            Self::Hash(key) => {
                let tag = hmac::sign(key, format!("user:{}", user.name).as_bytes());
                let hex: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
                Some(hex[..HASH_CHARS].to_owned())
            }
            Self::Omit => None,
        }
    }
}

/// Everything that reporting needs. Cheap to clone, and nobody waits for it.
#[derive(Clone, Debug)]
pub(super) struct Reporter {
    board: Board,
    users: UserNames,
    sequence: Arc<Sequence>,
    /// To the event writer.
    events: mpsc::Sender<StationEvent>,
}

impl Reporter {
    /// A reporter whose events go to `events`.
    pub(super) fn new(
        board: Board,
        users: UserNames,
        sequence: Arc<Sequence>,
        events: mpsc::Sender<StationEvent>,
    ) -> Self {
        Self { board, users, sequence, events }
    }

    /// Counts a card that was held.
    pub(super) fn count_tap(&self, station: &StationName) {
        self.board.update_station(station, |station| station.taps += 1);
    }

    /// Counts a document whose release ended so.
    pub(super) fn count_document(&self, station: &StationName, outcome: &Outcome) {
        self.board.metrics.document(station, outcome);
        self.board.update_station(station, |station| match outcome {
            Outcome::Printed | Outcome::Accepted => station.released += 1,
            Outcome::Failed(_) | Outcome::Unknown(_) => station.failed += 1,
        });
    }

    /// The end of a tap: log, metrics, event.
    pub(super) fn report(&self, station: &StationName, report: &Report) {
        let (tap, verdict) = (report.tap, report.verdict.word());
        let reason = report.reason.as_ref().map_or("", Reason::word);
        let detail = report.detail.as_ref().map(tracing::field::display);
        let documents = report.outcomes.iter().filter(|outcome| outcome.is_released()).count();
        let (pages, ms) = (report.pages, report.duration.as_millis());
        tracing::info!(station = &**station, %tap, verdict, reason, detail, documents, pages, ms, "tap ended");
        self.board.metrics.tap(station, report.verdict, report.reason.as_ref());
        self.report_late(station, report);
    }

    /// A release that ended after its tap: an event, and no tap.
    pub(super) fn report_late(&self, station: &StationName, report: &Report) {
        self.send(station, Subject::Tap, of_report(report, &self.users, Timestamp::now()));
    }

    /// A reader that came or went.
    pub(super) fn reader(&self, station: &StationName, reason: &Reason) {
        self.send(station, Subject::Reader, of_reader(reason, Timestamp::now()));
    }

    fn send(&self, station: &StationName, subject: Subject, mut payload: Value) {
        self.sequence.stamp(&mut payload);
        if let Err(error) = self.events.try_send(StationEvent { station: station.clone(), subject, payload }) {
            tracing::error!(station = &**station, %error, "event lost");
            self.board.events_lost(1);
        }
    }
}

/// The event of a tap that ended.
fn of_report(report: &Report, users: &UserNames, now: Timestamp) -> Value {
    json!({
        "id": report.tap,
        "time": now,
        "event": report.verdict.word(),
        "reason": report.reason.as_ref().map_or("", Reason::word),
        "user": report.user.as_ref().and_then(|user| users.name(user)),
        "documents": report.outcomes.iter().filter(|outcome| outcome.is_released()).count(),
        "pages": report.pages,
        "duration_ms": u64::try_from(report.duration.as_millis()).unwrap_or(u64::MAX),
    })
}

/// The event of a reader that came or went.
fn of_reader(reason: &Reason, now: Timestamp) -> Value {
    json!({
        "id": TapId::new(now, random::bits()),
        "time": now,
        "event": READER,
        "reason": reason.word(),
        "user": null,
        "documents": 0,
        "pages": 0,
        "duration_ms": 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_readers_event_has_every_field_of_the_contract() {
        let event = of_reader(&Reason::Connected, Timestamp::UNIX_EPOCH);
        for field in ["id", "time", "event", "reason", "user", "documents", "pages", "duration_ms"] {
            assert!(event.get(field).is_some(), "{field} is missing in {event}");
        }
    }

    #[test]
    fn a_hashed_user_is_the_same_on_this_box_and_another_elsewhere() {
        let user = User { name: "ada".to_owned(), provider: None };
        let names = |key: &[u8]| UserNames::Hash(hmac::Key::new(hmac::HMAC_SHA256, key)).name(&user).unwrap();
        assert_eq!(names(b"one"), names(b"one"));
        assert_ne!(names(b"one"), names(b"two"));
        assert!(!names(b"one").contains("ada"));
    }
}
