//! The journal as its one thread sees it. Everything here is synchronous; durable only after [`Store::sync`].
//!
//! What belongs to releases, records, events and people's wishes stands in the files of those names; this one opens the
//! database, numbers entries, reads them, sets aside what cannot be read, and makes room.

use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::boot_times::BootTimes;
use super::counts::Counts;
use super::database::{Change, Database, OpenOptions};
use super::entry::{Entry, StoredRecord, decode};
use super::error::{JournalError, io_error};
use super::high_water_mark::HighWaterMark;
use super::limits::{GROUP_BYTES, Limits};
use super::lock::Lock;
use super::open::open_database;
use super::reserve::Reserve;
use super::state_dirs::StateDirs;
use super::table::Table;
use crate::clock::Clock;
use crate::domain::EntryId;
use crate::durable;

/// Entries that are read in one go: what is in memory at once.
const PAGE: usize = 500;

pub(super) struct Store {
    database: Database,
    dirs: StateDirs,
    reserve: Reserve,
    high_water_mark: HighWaterMark,
    limits: Limits,
    /// Entries that were given up since the start, and databases that had been set aside.
    lost: u64,
    next_id: EntryId,
    /// Before this time the clock is wrong.
    floor: Timestamp,
    /// Damaged databases that lie aside: they only become fewer while this one is open.
    set_aside: usize,
    /// Last: the others must be gone when somebody else may come.
    _lock: Lock,
}

impl Store {
    /// Opens the journal, or makes it. A damaged database is set aside, an almost empty one rebuilt. `closely` after a
    /// failure: then every entry is read.
    pub(super) fn open(
        state_dir: &Path,
        limits: Limits,
        closely: bool,
        options: &OpenOptions,
    ) -> Result<Self, JournalError> {
        durable::directory(state_dir).map_err(|error| io_error(&format!("make {}", state_dir.display()), &error))?;
        let lock = Lock::acquire(state_dir)?;
        let (dirs, reserve) = (StateDirs::new(state_dir), Reserve::new(state_dir));
        let (database, lost) = match open_database(&dirs, state_dir, closely, options) {
            Err(JournalError::Full) => {
                reserve.spend();
                open_database(&dirs, state_dir, closely, options)?
            }
            opened => opened?,
        };
        let next_id = database.tally().next_id;
        let high_water_mark = HighWaterMark::read(state_dir);
        let (floor, set_aside) = (Clock::open(state_dir).floor(), dirs.aside().len());
        Ok(Self { database, dirs, reserve, high_water_mark, limits, lost, next_id, floor, set_aside, _lock: lock })
    }

    /// Makes everything before it durable.
    pub(super) fn sync(&mut self) -> Result<(), JournalError> {
        self.database.sync()?;
        self.high_water_mark.advance(self.database.tally().change);
        Ok(())
    }

    /// The last thing of a clean stop: from now on nothing at all may be missing.
    pub(super) fn finish(mut self) -> Result<(), JournalError> {
        self.database.sync()?;
        self.high_water_mark.set(self.database.tally().change);
        Ok(())
    }

    pub(super) fn counts(&mut self) -> Result<Counts, JournalError> {
        if self.set_aside > 0 {
            self.set_aside = self.dirs.aside().len();
        }
        let tally = self.database.tally();
        let of = |table| usize::try_from(tally.of(table)).unwrap_or(usize::MAX);
        Ok(Counts {
            releases: of(Table::Releases),
            records: of(Table::Records),
            dead: of(Table::Dead),
            events: of(Table::Events),
            unreadable: of(Table::Unreadable),
            lost: self.lost,
            set_aside: self.set_aside,
            full: self.is_full(),
            encrypted: self.database.is_encrypted(),
            oldest_record: self.first::<StoredRecord>(Table::Records)?.and_then(|stored| stored.time()),
        })
    }

    /// Whether a clock that says so can be right: it is not below the floor.
    pub(super) fn is_certain(&self, time: Timestamp) -> bool {
        time >= self.floor
    }

    /// The database, for those who only read.
    pub(super) fn database(&self) -> &Database {
        &self.database
    }

    /// Writes the list of boots down in the place of the last one.
    pub(super) fn set_boot_times(&mut self, boots: BootTimes) -> Result<(), JournalError> {
        self.database.set_boot_times(boots)
    }

    /// Databases that were set aside and that nobody has looked at yet, with their notes.
    pub(super) fn aside(&self) -> Vec<(PathBuf, String)> {
        self.dirs.aside()
    }

    pub(super) fn limits(&self) -> Limits {
        self.limits
    }

    /// Entries that were given up since the start, and databases that had been set aside.
    pub(super) fn lost(&self) -> u64 {
        self.lost
    }

    /// Counts entries as given up.
    pub(super) fn add_lost(&mut self, entries: u64) {
        self.lost += entries;
    }

    /// Every number that was given to an entry is below this one.
    pub(super) fn next_id(&self) -> EntryId {
        self.next_id
    }

    /// Gives only numbers from this one on, if it has not come as far yet.
    pub(super) fn skip_ids(&mut self, next_id: EntryId) {
        self.next_id = self.next_id.max(next_id);
    }

    /// Lets whatever is done with the database next panic, as sled may.
    #[cfg(test)]
    pub(super) fn break_down(&mut self) {
        self.database.break_down();
    }

    /// Whether the disk is too full to promise anything new.
    pub(super) fn is_full(&self) -> bool {
        !self.reserve.is_whole()
    }

    /// Takes room back for hard times, if there is some again.
    pub(super) fn restore_reserve(&self) {
        self.reserve.restore();
    }

    /// Gives up what is kept for hard times.
    pub(super) fn spend_reserve(&self) {
        self.reserve.spend();
    }

    /// The next number. It counts with the next [`Store::commit`].
    pub(super) fn take_id(&mut self) -> EntryId {
        self.next_id += 1;
        self.next_id - 1
    }

    /// Makes all changes or none.
    pub(super) fn commit(&mut self, changes: &[Change]) -> Result<(), JournalError> {
        self.database.commit(self.next_id, changes)
    }

    /// Makes changes in parts that a sync can hold; each part is made or not.
    pub(super) fn commit_parts(&mut self, changes: Vec<Change>) -> Result<(), JournalError> {
        let mut part = Vec::new();
        let mut bytes = 0;
        for change in changes {
            bytes += change.bytes();
            if bytes > GROUP_BYTES {
                self.commit(&part)?;
                part.clear();
                bytes = change.bytes();
            }
            part.push(change);
        }
        self.commit(&part)
    }

    /// One entry. What cannot be read is set aside, and is not there.
    pub(super) fn get<T: Entry>(&mut self, table: Table, id: EntryId) -> Result<Option<T>, JournalError> {
        let Some(bytes) = self.database.get(table, id)? else {
            return Ok(None);
        };
        match self.read(table, id, &bytes) {
            Ok(entry) => Ok(Some(entry)),
            Err(error) => self.set_unreadable(table, id, &bytes, &error).map(|()| None),
        }
    }

    fn read<T: Entry>(&self, table: Table, id: EntryId, bytes: &[u8]) -> Result<T, JournalError> {
        let mut entry: T = decode(table, id, bytes)?;
        entry.derive_time(self.database.boot_times());
        Ok(entry)
    }

    /// The entries after `after`, at most `limit`, in order. What cannot be read is set aside and does not stop the
    /// others.
    pub(super) fn page<T: Entry>(
        &mut self,
        table: Table,
        after: EntryId,
        limit: usize,
    ) -> Result<Vec<T>, JournalError> {
        loop {
            let mut found = Vec::new();
            let mut broken = None;
            for entry in self.database.entries(table, after).take(limit) {
                let (id, bytes) = entry?;
                match self.read(table, id, &bytes) {
                    Ok(entry) => found.push(entry),
                    Err(error) => {
                        broken = Some((id, bytes, error));
                        break;
                    }
                }
            }
            match broken {
                None => return Ok(found),
                Some((id, bytes, error)) => self.set_unreadable(table, id, &bytes, &error)?,
            }
        }
    }

    /// Shows every entry after `after` until `more` says no, with a page of them in memory.
    pub(super) fn each<T: Entry>(
        &mut self,
        table: Table,
        mut after: EntryId,
        mut more: impl FnMut(T) -> bool,
    ) -> Result<(), JournalError> {
        loop {
            let page: Vec<T> = self.page(table, after, PAGE)?;
            let Some(last) = page.last() else {
                return Ok(());
            };
            after = last.id();
            if !page.into_iter().all(&mut more) {
                return Ok(());
            }
        }
    }

    pub(super) fn first<T: Entry>(&mut self, table: Table) -> Result<Option<T>, JournalError> {
        Ok(self.page(table, 0, 1)?.pop())
    }

    fn set_unreadable(
        &mut self,
        table: Table,
        id: EntryId,
        bytes: &[u8],
        error: &JournalError,
    ) -> Result<(), JournalError> {
        tracing::error!(id, table = table.name(), %error, "entry set aside; `queue verify` shows it");
        // The number of its table, then its bytes.
        let aside = [&[table.number()], bytes].concat();
        self.commit(&[Change::Remove(table, id), Change::Put(Table::Unreadable, id, aside)])
    }
}
