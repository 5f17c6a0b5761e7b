//! Events that the broker has not acknowledged.

use jiff::Timestamp;

use super::change::Change;
use super::entry::{StoredEvent, encode};
use super::error::JournalError;
use super::store::Store;
use super::table::Table;
use crate::domain::EntryId;

/// The most events that are kept for the broker (docs/operating.md, "What is kept where").
pub const EVENT_LIMIT: usize = 1_000;

impl Store {
    pub(super) fn store_event(&mut self, station: &str, payload: &str) -> Result<EntryId, JournalError> {
        let id = self.take_id();
        let time = Some(Timestamp::now()).filter(|now| self.is_certain(*now));
        let (station, payload) = (station.to_owned(), payload.to_owned());
        let value = encode(Table::Events, &StoredEvent { id, station, payload, time })?;
        self.make_room(1, value.len() as u64)?;
        let mut changes = vec![Change::Put(Table::Events, id, value)];
        let oldest = self.database().entries(Table::Events, 0).next().transpose()?;
        if self.database().tally().of(Table::Events) >= EVENT_LIMIT as u64
            && let Some((oldest, _)) = oldest
        {
            // Counted and not logged: while a broker is away for long, every event would be an error in the log.
            self.add_lost(1);
            changes.push(Change::Remove(Table::Events, oldest));
        }
        self.commit(&changes)?;
        Ok(id)
    }

    pub(super) fn events_after(&mut self, after: EntryId, limit: usize) -> Result<Vec<StoredEvent>, JournalError> {
        self.page(Table::Events, after, limit)
    }

    pub(super) fn forget_event(&mut self, id: EntryId) -> Result<(), JournalError> {
        match self.database().get(Table::Events, id)? {
            Some(_) => self.commit(&[Change::Remove(Table::Events, id)]),
            None => Ok(()),
        }
    }
}
