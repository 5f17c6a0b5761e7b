//! Releases, from before the first byte is sent until their outcome is known.

use jiff::Timestamp;

use super::change::Change;
use super::entry::{DeadLetter, StoredRecord, StoredRelease, encode};
use super::error::JournalError;
use super::store::Store;
use super::table::Table;
use crate::domain::{EntryId, JobRecord, Outcome, Release};

impl Store {
    pub(super) fn store_releases(&mut self, releases: &[Release]) -> Result<Vec<EntryId>, JournalError> {
        let mut changes = Vec::new();
        let (mut ids, mut bytes) = (Vec::new(), 0);
        for release in releases {
            let id = self.take_id();
            let (release, made) = self.timed_release(release.clone())?;
            let stored = StoredRelease { id, release, outcome: None, carried_over: None, made };
            let value = encode(Table::Releases, &stored)?;
            bytes += value.len();
            ids.push(id);
            changes.push(Change::Put(Table::Releases, id, value));
        }
        self.make_room(releases.len() as u64, bytes as u64)?;
        self.commit_parts(changes)?;
        Ok(ids)
    }

    pub(super) fn remove_replaced(&mut self, ids: &[EntryId]) -> Result<(), JournalError> {
        self.commit_parts(ids.iter().map(|id| Change::Remove(Table::Releases, *id)).collect())
    }

    /// Ends a release, and stores its record even if the release itself is gone, because printed pages have to be accounted
    /// for.
    pub(super) fn end_release(
        &mut self,
        id: EntryId,
        outcome: &Outcome,
        record: Option<&JobRecord>,
    ) -> Result<(), JournalError> {
        let release: Option<StoredRelease> = self.get(Table::Releases, id)?;
        // If the release comes from a damaged database, or was lost to a damage, its record may have been delivered.
        let carried_over = release.as_ref().map_or(Some(Timestamp::now()), |stored| stored.carried_over);
        let earliest = release.as_ref().map(|stored| stored.release.time);
        let timed = record.map(|record| self.timed_record(record.clone(), release.as_ref())).transpose()?;
        let mut changes = Vec::new();
        let record = match release {
            Some(stored) if matches!(outcome, Outcome::Unknown(_)) => {
                let stored = StoredRelease { outcome: Some(outcome.clone()), ..stored };
                changes.push(Change::Put(Table::Releases, id, encode(Table::Releases, &stored)?));
                timed
            }
            Some(_) => {
                changes.push(Change::Remove(Table::Releases, id));
                timed
            }
            // The release ended before, and only the answer was lost.
            None if self.is_recorded(id, record)? => None,
            None => timed,
        };
        if let Some((record, made)) = record {
            let id = self.take_id();
            let attempted = carried_over.map(|_| earliest.unwrap_or(record.time));
            let stored = StoredRecord { id, record, attempted, carried_over, made, last_error: None };
            let value = encode(Table::Records, &stored)?;
            changes.push(Change::Put(Table::Records, id, value));
        }
        if changes.is_empty() { Ok(()) } else { self.commit(&changes) }
    }

    /// Whether the record of a release that is gone is in the journal, waiting, delivered or refused.
    fn is_recorded(&mut self, release: EntryId, record: Option<&JobRecord>) -> Result<bool, JournalError> {
        let Some(record) = record else {
            return Ok(false);
        };
        let is_it = |found: &JobRecord| found.tap == record.tap && found.document == record.document;
        let mut there = false;
        for table in [Table::Records, Table::Ledger] {
            self.each(table, release, |stored: StoredRecord| {
                there |= is_it(&stored.record);
                !there
            })?;
        }
        self.each(Table::Dead, release, |letter: DeadLetter| {
            there |= is_it(&letter.record);
            !there
        })?;
        if !there {
            tracing::error!(release, tap = %record.tap, "release gone from the journal; its job record is kept all the same");
        }
        Ok(there)
    }

    pub(super) fn open_releases(&mut self) -> Result<Vec<StoredRelease>, JournalError> {
        let mut open = Vec::new();
        self.each(Table::Releases, 0, |stored: StoredRelease| {
            if stored.outcome.is_none() {
                open.push(stored);
            }
            true
        })?;
        Ok(open)
    }

    /// Continues from this number or a higher one after the database was opened anew: it may be an older state of itself, and
    /// no number may be issued twice. A release with such a number was left by a write that failed; its number was never
    /// returned to a caller, so it was never sent, and it is removed.
    pub(super) fn resume_ids(&mut self, issued: EntryId) -> Result<(), JournalError> {
        self.skip_ids(issued);
        let mut never_issued = Vec::new();
        self.each(Table::Releases, issued.saturating_sub(1), |stored: StoredRelease| {
            never_issued.push(Change::Remove(Table::Releases, stored.id));
            true
        })?;
        self.commit_parts(never_issued)
    }
}

#[cfg(test)]
mod tests {
    use super::super::database::OpenOptions;
    use super::super::limits::Limits;
    use super::super::open::Distrust;
    use super::*;

    /// The disk fills at the sync: the caller is told `Full` and gives the document back to the recovery. The new entry may be on
    /// the disk all the same, and is removed as one that was never issued.
    #[test]
    fn an_open_release_survives_a_failed_write_of_the_one_that_takes_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let options = OpenOptions::default();
        let mut store = Store::open(dir.path(), Limits::NONE, Distrust::Nothing, &options).unwrap();
        let old = store.store_releases(&[Release::sample("a", 1)]).unwrap();
        store.sync().unwrap();
        let issued = store.next_id();
        store.store_releases(&[Release::sample("a", 2)]).unwrap();
        // As the worker does after a failure: open anew, and go on from the last number that a caller knows.
        store.finish().unwrap();
        drop(store);
        let mut store = Store::open(dir.path(), Limits::NONE, Distrust::Entries, &options).unwrap();
        store.resume_ids(issued).unwrap();
        let open: Vec<EntryId> = store.open_releases().unwrap().iter().map(|stored| stored.id).collect();
        assert_eq!(open, old, "it may have printed, and after a restart nobody asks for it");
    }
}
