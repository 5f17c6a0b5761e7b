//! What is told about a tap or a reader: one line of JSON (design, section 7), and how much waits.

use std::sync::Arc;

use jiff::Timestamp;
use ring::hmac;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::outbox::Helper;
use super::work::Work;
use crate::domain::{StationName, TapId, User};
use crate::random;
use crate::station::Report;
use crate::status::BoardState;

/// Events that may wait to be stored; what is beyond is lost, and counted.
pub(super) const NEWS_LIMIT: usize = 256;

/// What an event is called that is not of a tap.
const READER: &str = "reader";

/// An event of a station.
pub(super) type News = (StationName, Value);

/// How many characters of a hash name a user: 64 bits, enough for 10,000 boxes' users.
const HASH_CHARS: usize = 16;

/// How messages name people.
#[derive(Clone, Debug)]
pub enum UserNames {
    /// As they are.
    Plain,
    /// By a hash under a key of this box, stable but not to be reversed by who has no key.
    Hash(hmac::Key),
    /// Not at all.
    Omit,
}

impl UserNames {
    /// What to write for a user.
    pub fn name(&self, user: &User) -> Option<String> {
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

/// The event of a tap that ended.
pub(super) fn of_report(report: &Report, users: &UserNames, now: Timestamp) -> Value {
    json!({
        "id": report.tap,
        "time": now,
        "event": report.verdict.word(),
        "reason": report.reason,
        "user": report.user.as_ref().and_then(|user| users.name(user)),
        "documents": report.outcomes.iter().filter(|outcome| outcome.is_released()).count(),
        "pages": report.pages,
        "duration_ms": u64::try_from(report.duration.as_millis()).unwrap_or(u64::MAX),
    })
}

/// The event of a reader that came or went.
pub(super) fn of_reader(reason: &str, now: Timestamp) -> Value {
    json!({
        "id": TapId::new(now, random::bits()),
        "time": now,
        "event": READER,
        "reason": reason,
        "user": null,
        "documents": 0,
        "pages": 0,
        "duration_ms": 0,
    })
}

/// Stores events in their order, until told to stop and none waits.
pub(super) fn keep(work: Arc<Work>, mut news: mpsc::Receiver<News>) -> Helper {
    Helper::spawn(|mut stopped| async move {
        loop {
            tokio::select! {
                biased;
                Some((station, event)) = news.recv() => store(&work, &station, event).await,
                _ = stopped.changed() => return,
            }
        }
    })
}

async fn store(work: &Work, station: &StationName, event: Value) {
    if work.events
        && let Err(error) = work.journal.store_event(station.to_string(), event.to_string()).await
    {
        tracing::error!(station = &**station, %error, "event not stored, so not told");
    }
    if event["event"] != READER {
        work.board.update_station(station, |station| station.last = Some(event));
    }
}

/// Brings the journal's counts to the board, for as long as the agent runs.
pub(super) async fn watch_counts(work: Arc<Work>) {
    let mut counts = work.journal.counts();
    loop {
        let known = *counts.borrow_and_update();
        let syncs = work.journal.syncs();
        work.board.update(|BoardState { outbox, journal, disk_syncs, .. }| {
            journal.full = known.full;
            journal.set_aside = known.set_aside as u64;
            journal.encrypted = known.encrypted;
            journal.unreadable = known.unreadable as u64;
            outbox.pending = known.records as u64;
            outbox.dead = known.dead as u64;
            outbox.lost = known.lost;
            outbox.oldest = known.oldest_record;
            *disk_syncs = syncs;
        });
        if counts.changed().await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_readers_event_has_every_field_of_the_contract() {
        let event = of_reader("connected", Timestamp::UNIX_EPOCH);
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
