//! Job records: from the end of a release until the server has acknowledged them or refused them for good.

use jiff::Timestamp;

use super::JournalError;
use super::database::Change;
use super::entry::{DeadLetter, StoredRecord, encode};
use super::store::Store;
use super::table::Table;
use crate::domain::EntryId;

/// Acknowledged records that are remembered, to tell an equal one in the server's history from one in doubt.
pub const LEDGER_LIMIT: usize = 64;

impl Store {
    pub(super) fn oldest_records(&mut self, limit: usize) -> Result<Vec<StoredRecord>, JournalError> {
        self.page(Table::Records, 0, limit)
    }

    pub(super) fn mark_record(&mut self, id: EntryId, attempted: Option<Timestamp>) -> Result<(), JournalError> {
        let Some(stored) = self.get::<StoredRecord>(Table::Records, id)? else {
            return Ok(());
        };
        let value = encode(Table::Records, &StoredRecord { attempted, ..stored })?;
        self.commit(&[Change::Put(Table::Records, id, value)])
    }

    pub(super) fn acknowledge_record(&mut self, id: EntryId) -> Result<(), JournalError> {
        let Some(stored) = self.get::<StoredRecord>(Table::Records, id)? else {
            return Ok(());
        };
        let entry = encode(Table::Ledger, &stored)?;
        let mut changes = vec![Change::Remove(Table::Records, id), Change::Put(Table::Ledger, id, entry)];
        if self.database.tally().of(Table::Ledger) >= LEDGER_LIMIT as u64 {
            let oldest = self.database.entries(Table::Ledger, 0).next().transpose()?;
            changes.extend(oldest.map(|(id, _)| Change::Remove(Table::Ledger, id)));
        }
        self.commit(&changes)
    }

    pub(super) fn ledger(&mut self) -> Result<Vec<StoredRecord>, JournalError> {
        self.page(Table::Ledger, 0, LEDGER_LIMIT)
    }

    pub(super) fn bury_record(&mut self, id: EntryId, reason: &str) -> Result<(), JournalError> {
        let Some(stored) = self.get::<StoredRecord>(Table::Records, id)? else {
            return Ok(());
        };
        let letter = encode(Table::Dead, &DeadLetter { id, record: stored.record, reason: reason.to_owned() })?;
        self.commit(&[Change::Remove(Table::Records, id), Change::Put(Table::Dead, id, letter)])
    }
}
