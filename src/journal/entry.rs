//! The entries of the journal, and their bytes: JSON in a frame. It is JSON because a person may have to read it, and because
//! a field can be added without a new version.
//!
//! While the box does not know the time, a release and a record are stored without one (1970) and with the moment at which
//! they were made. The time is derived from that moment when they are read, if it became known in the same boot.

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::boot_times::BootTimes;
use super::error::JournalError;
use super::frame::{ENCRYPTED, HEADER, VERSION, frame, unframe};
use super::table::Table;
use crate::clock::{self, Moment};
use crate::domain::{EntryId, JobRecord, Outcome, Release};

/// A release that has no outcome yet, or whose outcome is unknown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredRelease {
    /// The number of the entry, from its key.
    #[serde(default)]
    pub id: EntryId,
    /// The document, who released it, and the printer.
    pub release: Release,
    /// Always [`Outcome::Unknown`], because every other outcome takes the release out of the journal.
    pub outcome: Option<Outcome>,
    /// The time, by this box's clock, at which a damage was found in the database from which it was carried over: the release
    /// may have ended there, and its record may have been delivered.
    #[serde(default)]
    pub carried_over: Option<Timestamp>,
    /// The moment at which it was made, while its time is not known.
    #[serde(default)]
    pub made: Option<Moment>,
}

/// A job record that the server has not acknowledged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredRecord {
    /// The number of the entry, from its key.
    #[serde(default)]
    pub id: EntryId,
    /// The record as the server gets it.
    pub record: JobRecord,
    /// The time by the server's clock at which it was sent, if it may have arrived.
    pub attempted: Option<Timestamp>,
    /// The time, by this box's clock, at which a damage was found in the database from which it was carried over. Nobody knows
    /// what became of it before, and `attempted` is only the earliest time at which it may have been sent.
    #[serde(default)]
    pub carried_over: Option<Timestamp>,
    /// The moment at which it was made, while its time is not known.
    #[serde(default)]
    pub made: Option<Moment>,
    /// The story of the last attempt, which failed.
    #[serde(default)]
    pub last_error: Option<String>,
}

/// A job record that the server refused for good.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// The number of the entry, from its key.
    #[serde(default)]
    pub id: EntryId,
    /// The record as the server got it.
    pub record: JobRecord,
    /// The reason that the server gave.
    pub reason: String,
}

/// A message that the broker has not acknowledged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredEvent {
    /// The number of the entry, from its key.
    #[serde(default)]
    pub id: EntryId,
    /// The station of which it speaks.
    pub station: String,
    /// One line of JSON, as the broker gets it.
    pub payload: String,
    /// The time by this box's clock at which it was stored, if that was known.
    #[serde(default)]
    pub time: Option<Timestamp>,
}

/// An entry of any kind: it has a number, which is its key, and a time.
pub(super) trait Entry: Serialize + DeserializeOwned {
    fn id(&self) -> EntryId;
    /// The number comes from the key, and the one in the value does not count.
    fn set_id(&mut self, id: EntryId);
    /// The time at which it began to wait, if that is known.
    fn time(&self) -> Option<Timestamp>;
    /// Gives it the time at which it was made, if it was stored without one and the offset of that boot is known.
    fn derive_time(&mut self, _: &BootTimes) {}
}

impl Entry for StoredRelease {
    fn id(&self) -> EntryId {
        self.id
    }
    fn set_id(&mut self, id: EntryId) {
        self.id = id;
    }
    fn time(&self) -> Option<Timestamp> {
        Some(self.release.time).filter(|time| clock::is_possible(*time))
    }
    fn derive_time(&mut self, boots: &BootTimes) {
        if let Some(time) = self.made.as_ref().and_then(|made| boots.wall(made)) {
            (self.release.time, self.made) = (time, None);
        }
    }
}

impl Entry for StoredRecord {
    fn id(&self) -> EntryId {
        self.id
    }
    fn set_id(&mut self, id: EntryId) {
        self.id = id;
    }
    fn time(&self) -> Option<Timestamp> {
        Some(self.record.time).filter(|time| clock::is_possible(*time))
    }
    fn derive_time(&mut self, boots: &BootTimes) {
        if let Some(time) = self.made.as_ref().and_then(|made| boots.wall(made)) {
            (self.record.time, self.made) = (time, None);
        }
    }
}

impl Entry for DeadLetter {
    fn id(&self) -> EntryId {
        self.id
    }
    fn set_id(&mut self, id: EntryId) {
        self.id = id;
    }
    fn time(&self) -> Option<Timestamp> {
        Some(self.record.time).filter(|time| clock::is_possible(*time))
    }
}

impl Entry for StoredEvent {
    fn id(&self) -> EntryId {
        self.id
    }
    fn set_id(&mut self, id: EntryId) {
        self.id = id;
    }
    fn time(&self) -> Option<Timestamp> {
        self.time.filter(|time| clock::is_possible(*time))
    }
}

/// The bytes of an entry of this table. Fields without a value are left out, which saves a fifth of a record.
pub(super) fn encode(table: Table, entry: &impl Entry) -> Result<Vec<u8>, JournalError> {
    let wrong = |error| JournalError::Entry { id: entry.id(), detail: format!("it cannot be written: {error}") };
    let mut json = serde_json::to_value(entry).map_err(wrong)?;
    drop_nulls(&mut json);
    frame(table.number(), &serde_json::to_vec(&json).map_err(wrong)?)
}

fn drop_nulls(json: &mut Value) {
    if let Value::Object(fields) = json {
        fields.retain(|_, value| !value.is_null());
        fields.values_mut().for_each(drop_nulls);
    }
}

/// Reads an entry of this table from its bytes.
pub(super) fn decode<T: Entry>(table: Table, id: EntryId, bytes: &[u8]) -> Result<T, JournalError> {
    let wrong = |detail: String| JournalError::Entry { id, detail };
    let json = match bytes.first() {
        None => Err(wrong("it is empty".to_owned())),
        Some(&VERSION) => match unframe(bytes) {
            Some((number, json)) if number == table.number() && bytes.len() == HEADER + json.len() => Ok(json),
            Some((number, _)) if number == table.number() + ENCRYPTED => {
                Err(wrong("its key does not open it".to_owned()))
            }
            Some((number, _)) => Err(wrong(format!("it belongs into table {number}"))),
            None => Err(wrong("its checksum is wrong".to_owned())),
        },
        Some(version) if *version > VERSION => Err(wrong(format!("version {version} was written by a newer agent"))),
        Some(version) => Err(wrong(format!("version {version} was never released"))),
    }?;
    let mut entry: T = serde_json::from_slice(json).map_err(|error| wrong(format!("not valid: {error}")))?;
    entry.set_id(id);
    Ok(entry)
}
