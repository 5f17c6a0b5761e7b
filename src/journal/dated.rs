//! Time for those who had none: what was stored before the box knew the time is dated when it does.
//!
//! In the order of their numbers, what this boot has not dated yet stands at the end of its table: dating comes before
//! anything else is stored.

use jiff::Timestamp;

use super::JournalError;
use super::database::Change;
use super::entry::{Dated, StoredRecord, StoredRelease, decode, encode};
use super::store::{PAGE, Store};
use super::table::Table;
use crate::clock::{self, Moment};
use crate::domain::{EntryId, JobRecord, Release};

/// What is written for a time that is not known.
const NO_TIME: Timestamp = Timestamp::UNIX_EPOCH;

impl Store {
    /// To be called before anything is stored.
    pub(super) fn date(&mut self) -> Result<(), JournalError> {
        if self.undated && self.knows_time() {
            self.date_table::<StoredRelease>(Table::Releases)?;
            self.date_table::<StoredRecord>(Table::Records)?;
            self.undated = false;
        }
        Ok(())
    }

    /// The release as it is to be stored, and when it was made if its time is not known.
    pub(super) fn dated_release(&mut self, mut release: Release) -> (Release, Option<Moment>) {
        if release.time >= self.floor {
            return (release, None);
        }
        self.undated = true;
        release.time = NO_TIME;
        (release, Some(Moment::now()))
    }

    /// The same for a record. One that is dated back to its release is as certain as that.
    pub(super) fn dated_record(
        &mut self,
        mut record: JobRecord,
        release: Option<&StoredRelease>,
    ) -> (JobRecord, Option<Moment>) {
        if record.time >= self.floor || (release.is_none() && clock::is_possible(record.time)) {
            return (record, None);
        }
        let of_release = release.filter(|stored| [stored.release.time, NO_TIME].contains(&record.time));
        let made = match of_release {
            Some(stored) => {
                record.time = stored.release.time;
                stored.made.clone()
            }
            None => {
                record.time = NO_TIME;
                Some(Moment::now())
            }
        };
        self.undated |= made.is_some();
        (record, made)
    }

    fn date_table<T: Dated>(&mut self, table: Table) -> Result<(), JournalError> {
        let (now, wall) = (Moment::now(), Timestamp::now());
        let dated_to = self.dated_to::<T>(table, &now)?;
        let entries = self.database.entries(table, dated_to).map(|entry| entry.map(|(id, _)| id));
        let undated = entries.collect::<Result<Vec<EntryId>, _>>()?;
        for ids in undated.chunks(PAGE) {
            let mut changes = Vec::new();
            for id in ids {
                let Some(mut entry) = self.get::<T>(table, *id)? else { continue };
                if let Some(time) = entry.made().and_then(|made| made.wall(&now, wall)) {
                    entry.date(time);
                    changes.push(Change::Put(table, *id, encode(table, &entry)?));
                }
            }
            self.commit_parts(changes)?;
        }
        if !undated.is_empty() {
            tracing::info!(table = table.name(), entries = undated.len(), "dated: the time is known now");
        }
        Ok(())
    }

    /// After this number, what there is has no time yet and is of this boot. Halves the table until it is found: sled's way
    /// from the end would cost the program a mebibyte.
    fn dated_to<T: Dated>(&self, table: Table, now: &Moment) -> Result<EntryId, JournalError> {
        let (mut low, mut high) = (0, self.next_id);
        while low < high {
            let middle = low.midpoint(high);
            match self.next_readable::<T>(table, middle)? {
                Some(entry) if entry.made().is_none_or(|made| !made.is_of_boot(now)) => low = entry.id(),
                _ => high = middle,
            }
        }
        Ok(low)
    }

    /// What cannot be read is set aside when it is asked for.
    fn next_readable<T: Dated>(&self, table: Table, after: EntryId) -> Result<Option<T>, JournalError> {
        for entry in self.database.entries(table, after) {
            let (id, bytes) = entry?;
            if let Ok(entry) = decode(table, id, &bytes) {
                return Ok(Some(entry));
            }
        }
        Ok(None)
    }
}
