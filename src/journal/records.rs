//! Job records: from the end of a release until the server has acknowledged them or refused them for good.

use std::collections::HashSet;

use jiff::Timestamp;

use super::change::Change;
use super::entry::{DeadLetter, StoredRecord, encode};
use super::error::JournalError;
use super::limits::{LEDGER_AGE, LEDGER_LIMIT};
use super::store::Store;
use super::table::Table;
use crate::domain::{EntryId, StationName};

/// So many records are read at first, then so many more, until one is found: the first is nearly always the one, and other
/// callers need not wait for the end of a long search.
const SEARCH_STEPS: [usize; 4] = [1, 7, 56, 448];

/// The most characters of the story of a failed attempt.
const ERROR_LIMIT: usize = 500;

/// The most acknowledged records that go when one comes.
const LEDGER_STEP: usize = 20;

/// The result of a step of a search for a record.
#[derive(Clone, Debug, PartialEq)]
pub enum RecordSearch {
    /// The oldest record of a station that is not held.
    Found(Box<StoredRecord>),
    /// All records up to this number belong to held stations, and there may be more behind it.
    Passed(EntryId),
    /// There is no record behind the number that was asked with.
    End,
}

impl Store {
    /// The oldest record after `after` of a station that is not `held`.
    pub(super) fn search_records(
        &mut self,
        after: EntryId,
        held: &HashSet<StationName>,
    ) -> Result<RecordSearch, JournalError> {
        let mut passed = after;
        for step in SEARCH_STEPS {
            let page: Vec<StoredRecord> = self.page(Table::Records, passed, step)?;
            let Some(last) = page.last() else { break };
            passed = last.id;
            if let Some(found) = page.into_iter().find(|stored| !held.contains(&stored.record.station)) {
                return Ok(RecordSearch::Found(Box::new(found)));
            }
        }
        Ok(if passed > after { RecordSearch::Passed(passed) } else { RecordSearch::End })
    }

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

    /// Keeps the story of an attempt that failed, if it is another one than before.
    pub(super) fn note_error(&mut self, id: EntryId, error: &str) -> Result<(), JournalError> {
        let last_error = Some(error.chars().take(ERROR_LIMIT).collect());
        match self.get::<StoredRecord>(Table::Records, id)? {
            Some(stored) if stored.last_error != last_error => {
                let value = encode(Table::Records, &StoredRecord { last_error, ..stored })?;
                self.commit(&[Change::Put(Table::Records, id, value)])
            }
            _ => Ok(()),
        }
    }

    pub(super) fn acknowledge_record(&mut self, id: EntryId) -> Result<(), JournalError> {
        let Some(stored) = self.get::<StoredRecord>(Table::Records, id)? else {
            return Ok(());
        };
        let stored = StoredRecord { last_error: None, ..stored };
        let entry = encode(Table::Ledger, &stored)?;
        let mut changes = vec![Change::Remove(Table::Records, id), Change::Put(Table::Ledger, id, entry)];
        let surplus = (self.database().tally().of(Table::Ledger) + 1).saturating_sub(LEDGER_LIMIT as u64);
        // The time at which it was sent may be wrong, if it comes from a damaged database or the server did not tell its own.
        let newest = stored.attempted.zip(self.certain_time()).map(|(sent, now)| sent.min(now));
        let is_old = |old: &StoredRecord| match (old.attempted, newest) {
            (Some(old), Some(newest)) => newest.duration_since(old) > LEDGER_AGE,
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
        let letter = DeadLetter { id, record: stored.record, reason: reason.to_owned() };
        let letter = match encode(Table::Dead, &letter) {
            // A record that could not be buried would stand in the way of all behind it.
            Err(JournalError::TooLarge { .. }) => encode(Table::Dead, &DeadLetter { reason: String::new(), ..letter })?,
            encoded => encoded?,
        };
        self.commit(&[Change::Remove(Table::Records, id), Change::Put(Table::Dead, id, letter)])
    }
}

#[cfg(test)]
mod tests {
    use super::super::database::OpenOptions;
    use super::super::limits::{ENTRY_LIMIT, Limits};
    use super::super::open::Distrust;
    use super::*;
    use crate::domain::{JobRecord, Outcome, Release};

    fn store(dir: &std::path::Path) -> Store {
        Store::open(dir, Limits::NONE, Distrust::Nothing, &OpenOptions::default()).unwrap()
    }

    /// Stores a release and ends it with its record.
    fn record_of(store: &mut Store, release: Release) -> EntryId {
        let record = JobRecord::of(&release, Timestamp::UNIX_EPOCH);
        let id = store.store_releases(&[release]).unwrap()[0];
        store.end_release(id, &Outcome::Accepted, Some(&record)).unwrap();
        store.page::<StoredRecord>(Table::Records, id, 1).unwrap().pop().unwrap().id
    }

    #[test]
    fn a_record_can_be_marked_and_buried_whatever_its_size_and_that_of_its_reason() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = store(dir.path());
        let named = |bytes: usize| {
            let mut release = Release::sample("document", 1);
            release.user.name = "u".repeat(bytes);
            release
        };
        let fits = |store: &mut Store, bytes| store.store_releases(&[named(bytes)]).is_ok();
        let largest = (0..ENTRY_LIMIT).rev().find(|bytes| fits(&mut store, *bytes)).unwrap();
        for (name, reason) in [(largest, 40_000), (largest, 300), (10, 40_000)] {
            let id = record_of(&mut store, named(name));
            store.mark_record(id, Some(Timestamp::now())).unwrap();
            store.bury_record(id, &"r".repeat(reason)).unwrap();
            let letter: DeadLetter = store.get(Table::Dead, id).unwrap().unwrap();
            assert_eq!((letter.record.user.name.len(), letter.reason.as_str()), (name, ""));
        }
        let id = record_of(&mut store, named(10));
        store.bury_record(id, "no such printer").unwrap();
        assert_eq!(store.get::<DeadLetter>(Table::Dead, id).unwrap().unwrap().reason, "no such printer");
    }

    #[test]
    fn a_search_goes_step_by_step_past_the_records_of_held_stations() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = store(dir.path());
        let at = |station: &str, number| Release { station: station.into(), ..Release::sample("document", number) };
        let held = HashSet::from(["lobby".into()]);
        assert_eq!(store.search_records(0, &held).unwrap(), RecordSearch::End);
        let lobby: Vec<_> = (0..600).map(|number| record_of(&mut store, at("lobby", number))).collect();
        let attic = record_of(&mut store, at("attic", 600));
        let id = |search| if let RecordSearch::Found(stored) = search { stored.id } else { panic!("{search:?}") };
        assert_eq!(id(store.search_records(0, &HashSet::new()).unwrap()), lobby[0]);
        assert_eq!(store.search_records(0, &held).unwrap(), RecordSearch::Passed(lobby[511]));
        assert_eq!(id(store.search_records(lobby[511], &held).unwrap()), attic);
        assert_eq!(store.search_records(attic, &held).unwrap(), RecordSearch::End);
    }
}
