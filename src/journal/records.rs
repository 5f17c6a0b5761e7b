//! Job records: from the end of a release until the server has acknowledged them or refused them for good.

use jiff::Timestamp;

use super::database::Change;
use super::entry::{DeadLetter, StoredRecord, encode};
use super::error::JournalError;
use super::limits::{LEDGER_AGE, LEDGER_LIMIT};
use super::store::Store;
use super::table::Table;
use crate::domain::EntryId;

/// The most acknowledged records that go when one comes.
const LEDGER_STEP: usize = 20;

impl Store {
    pub(super) fn oldest_records(&mut self, limit: usize) -> Result<Vec<StoredRecord>, JournalError> {
        self.page(Table::Records, 0, limit)
    }

    pub(super) fn mark_record(&mut self, id: EntryId, attempted: Option<Timestamp>) -> Result<(), JournalError> {
        let Some(stored) = self.get::<StoredRecord>(Table::Records, id)? else {
            return Ok(());
        };
        if crate::planted::is("journal-forgets-that-it-sent") {
            return Ok(());
        }
        let value = encode(Table::Records, &StoredRecord { attempted, carried_over: None, ..stored })?;
        self.commit(&[Change::Put(Table::Records, id, value)])
    }

    pub(super) fn acknowledge_record(&mut self, id: EntryId) -> Result<(), JournalError> {
        let Some(stored) = self.get::<StoredRecord>(Table::Records, id)? else {
            return Ok(());
        };
        let entry = encode(Table::Ledger, &stored)?;
        let mut changes = vec![Change::Remove(Table::Records, id), Change::Put(Table::Ledger, id, entry)];
        let surplus = (self.database().tally().of(Table::Ledger) + 1).saturating_sub(LEDGER_LIMIT as u64);
        let is_old = |old: &StoredRecord| match (old.attempted, stored.attempted) {
            (Some(old), Some(new)) => new.duration_since(old) > LEDGER_AGE,
            _ => false,
        };
        if crate::planted::is("journal-forgets-what-was-delivered") {
            changes.truncate(1);
        }
        for (position, old) in (0..).zip(self.page::<StoredRecord>(Table::Ledger, 0, LEDGER_STEP)?) {
            if position < surplus || is_old(&old) {
                changes.push(Change::Remove(Table::Ledger, old.id));
            }
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
