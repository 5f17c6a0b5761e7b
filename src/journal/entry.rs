//! How entries are written: a version byte, then JSON. JSON because a person may have to read it, and because a field can
//! be added without a new version.

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::JournalError;
use crate::domain::{EntryId, JobRecord, Outcome, Release};

/// The first byte of every value. A higher one was written by a newer agent and is left alone.
pub(super) const VERSION: u8 = 1;

/// A release that has no outcome yet, or one that nobody knows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredRelease {
    /// Its number.
    #[serde(default)]
    pub id: EntryId,
    /// What and where to.
    pub release: Release,
    /// Only ever [`Outcome::Unknown`]: every other outcome takes the release out of the journal.
    pub outcome: Option<Outcome>,
}

/// A job record that the server has not acknowledged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredRecord {
    /// Its number.
    #[serde(default)]
    pub id: EntryId,
    /// What the server is to be told.
    pub record: JobRecord,
    /// When it was sent, by the server's clock, if it may have arrived.
    pub attempted: Option<Timestamp>,
}

/// A job record that the server refused for good.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// Its number.
    #[serde(default)]
    pub id: EntryId,
    /// What the server was told.
    pub record: JobRecord,
    /// What it said.
    pub reason: String,
}

/// A message that the broker has not acknowledged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredEvent {
    /// Its number.
    #[serde(default)]
    pub id: EntryId,
    /// Whose.
    pub station: String,
    /// What is told: one line of JSON.
    pub payload: String,
}

/// The version byte and the JSON of an entry.
pub(super) fn encode<T: Serialize>(entry: &T) -> Result<Vec<u8>, JournalError> {
    let mut bytes = vec![VERSION];
    serde_json::to_writer(&mut bytes, entry)
        .map_err(|error| JournalError::Disk(format!("encode an entry: {error}")))?;
    Ok(bytes)
}

/// An entry from its bytes.
pub(super) fn decode<T: DeserializeOwned>(id: EntryId, bytes: &[u8]) -> Result<T, JournalError> {
    let wrong = |detail: String| JournalError::Entry { id, detail };
    match bytes.split_first() {
        None => Err(wrong("it is empty".to_owned())),
        Some((&VERSION, json)) => serde_json::from_slice(json).map_err(|error| wrong(format!("not valid: {error}"))),
        Some((version, _)) => Err(wrong(format!("version {version} was written by a newer agent"))),
    }
}
