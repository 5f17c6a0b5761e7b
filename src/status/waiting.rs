//! The job records that could not be delivered at once: the oldest of each station, since the others of the station wait behind it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

use crate::domain::{EntryId, StationName};

/// The most records that the status names. A journal may have records of many stations that were renamed since.
const WAITING_LIMIT: usize = 32;

/// A record that waits for its next attempt (docs/operating.md, "Status document"). It names no person, because the status goes to
/// the broker; the server's own words stand in `queue list`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct WaitingRecord {
    /// Its number in the journal.
    pub(crate) id: EntryId,
    /// The time of its release.
    pub(crate) time: Timestamp,
    /// The reason why the last attempt failed.
    pub(crate) last_error: String,
    /// The time of the next attempt, by this box's clock.
    pub(crate) next_attempt: Timestamp,
}

/// The oldest record of each station that waits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct WaitingRecords(BTreeMap<StationName, WaitingRecord>);

impl WaitingRecords {
    pub(crate) fn put(&mut self, station: StationName, record: WaitingRecord) {
        self.0.insert(station, record);
    }

    pub(crate) fn of(&self, station: &str) -> Option<&WaitingRecord> {
        self.0.get(station)
    }

    /// Forgets the stations that do not wait any more.
    pub(crate) fn retain(&mut self, waits: impl Fn(&StationName) -> bool) {
        self.0.retain(|station, _| waits(station));
    }

    pub(crate) fn stations(&self) -> impl Iterator<Item = &StationName> {
        self.0.keys()
    }

    /// The rows of the status document, the oldest first.
    pub(super) fn rows(&self) -> Vec<Value> {
        let mut rows: Vec<_> = self.0.iter().collect();
        rows.sort_by_key(|(_, record)| record.id);
        let row = |(station, record): (&StationName, &WaitingRecord)| {
            let mut row = json!(record);
            row["station"] = json!(station);
            row
        };
        rows.into_iter().take(WAITING_LIMIT).map(row).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(id: EntryId) -> WaitingRecord {
        let time = Timestamp::UNIX_EPOCH;
        WaitingRecord { id, time, last_error: "not-allowed".to_owned(), next_attempt: time }
    }

    #[test]
    fn the_oldest_records_are_named_and_not_more_than_the_limit() {
        let mut waiting = WaitingRecords::default();
        for id in 1..100 {
            waiting.put(format!("station-{}", 1_000 - id).into(), record(id));
        }
        let ids: Vec<_> = waiting.rows().iter().map(|row| row["id"].as_u64().unwrap_or(0)).collect();
        assert_eq!(ids, (1..=WAITING_LIMIT as u64).collect::<Vec<_>>());
        waiting.retain(|station| &**station == "station-999");
        assert_eq!(waiting.rows()[0]["station"], "station-999");
        assert_eq!(waiting.stations().count(), 1);
    }
}
