//! The journal as its one thread sees it. All of it is synchronous, and durable only after [`Store::sync`].
//!
//! This file opens the database, numbers entries, reads them and sets aside those that cannot be read. The methods for
//! releases, records, events, people and times stand in `releases`, `records`, `events`, `queue` and `times`, those that
//! make room in `room`.

use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::boot_times::BootTimes;
use super::change::Change;
use super::counts::Counts;
use super::database::{Database, OpenOptions};
use super::entry::{Entry, StoredRecord, decode};
use super::error::{JournalError, io_error};
use super::high_water_mark::HighWaterMark;
use super::limits::{GROUP_BYTES, Limits};
use super::lock::Lock;
use super::open::{Distrust, open_database};
use super::reserve::Reserve;
use super::state_dirs::StateDirs;
use super::table::Table;
use super::trusted_time::TrustedTime;
use crate::clock::Clock;
use crate::domain::EntryId;
use crate::durable;

/// The most entries that are read, and so are in memory, at once.
const PAGE: usize = 500;

pub(super) struct Store {
    database: Database,
    dirs: StateDirs,
    reserve: Reserve,
    high_water_mark: HighWaterMark,
    limits: Limits,
    /// Entries and set-aside databases that were given up since the start.
    lost: u64,
    next_id: EntryId,
    /// A clock below this time is wrong.
    floor: Timestamp,
    trusted_time: TrustedTime,
    /// Damaged databases that are set aside; their number only falls while this one is open.
    set_aside: usize,
    /// The last field, because the others must be dropped before another process may come.
    _lock: Lock,
}

impl Store {
    /// Opens the journal, or makes it. A damaged database is set aside, and an almost empty one is rebuilt.
    pub(super) fn open(
        state_dir: &Path,
        limits: Limits,
        distrust: Distrust,
        options: &OpenOptions,
    ) -> Result<Self, JournalError> {
        durable::directory(state_dir).map_err(|error| io_error(&format!("use {}", state_dir.display()), &error))?;
        let lock = Lock::acquire(state_dir)?;
        let (dirs, reserve) = (StateDirs::new(state_dir), Reserve::new(state_dir));
        let (database, lost) = match open_database(&dirs, state_dir, distrust, options) {
            Err(JournalError::Full) => {
                reserve.spend();
                open_database(&dirs, state_dir, distrust, options)?
            }
            opened => opened?,
        };
        let next_id = database.tally().next_id;
        let high_water_mark = HighWaterMark::read(state_dir);
        let (floor, set_aside) = (Clock::open(state_dir).floor(), dirs.aside().len());
        let trusted_time = options.trusted_time.clone();
        Ok(Self {
            database,
            dirs,
            reserve,
            high_water_mark,
            limits,
            lost,
            next_id,
            floor,
            trusted_time,
            set_aside,
            _lock: lock,
        })
    }

    /// Makes all earlier changes durable.
    pub(super) fn sync(&mut self) -> Result<(), JournalError> {
        self.database.sync()?;
        self.high_water_mark.advance(self.database.tally().change);
        Ok(())
    }

    /// Notes in the database itself that all of it was synced; to be called when the callers have their answers.
    pub(super) fn seal(&mut self) -> Result<(), JournalError> {
        self.database.seal()
    }

    /// Ends a clean stop: mark and seal are durable from now on, so that not one transaction may be missing at the next start.
    pub(super) fn finish(&mut self) -> Result<(), JournalError> {
        self.database.sync_and_seal()?;
        self.high_water_mark.set(self.database.tally().change);
        Ok(())
    }

    /// To be called before the store is dropped for an error. Says whether the disk has failed, so that no later sync of the
    /// same file is believed.
    pub(super) fn judge_disk(&mut self, why: &JournalError) -> bool {
        self.database.judge_file(matches!(why, JournalError::Disk(_)))
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

    /// Whether a clock that shows this time can be right.
    pub(super) fn is_certain(&self, time: Timestamp) -> bool {
        time >= self.floor
    }

    /// The time by which the age of an entry is judged, if one is certain.
    pub(super) fn certain_time(&self) -> Option<Timestamp> {
        self.trusted_time.at(Timestamp::now()).filter(|now| self.is_certain(*now))
    }

    pub(super) fn database(&self) -> &Database {
        &self.database
    }

    pub(super) fn set_boot_times(&mut self, boots: BootTimes) -> Result<(), JournalError> {
        self.database.set_boot_times(boots)
    }

    pub(super) fn aside(&self) -> Vec<(PathBuf, String)> {
        self.dirs.aside()
    }

    pub(super) fn limits(&self) -> Limits {
        self.limits
    }

    pub(super) fn lost(&self) -> u64 {
        self.lost
    }

    pub(super) fn add_lost(&mut self, entries: u64) {
        self.lost += entries;
    }

    /// The number of the next entry; all earlier ones are lower.
    pub(super) fn next_id(&self) -> EntryId {
        self.next_id
    }

    /// Skips the numbers below this one.
    pub(super) fn skip_ids(&mut self, next_id: EntryId) {
        self.next_id = self.next_id.max(next_id);
    }

    #[cfg(test)]
    pub(super) fn break_down(&mut self) {
        self.database.break_down();
    }

    /// Whether the disk is too full to promise anything new.
    pub(super) fn is_full(&self) -> bool {
        !self.reserve.is_whole()
    }

    pub(super) fn restore_reserve(&self) {
        self.reserve.restore();
    }

    pub(super) fn spend_reserve(&self) {
        self.reserve.spend();
    }

    /// Takes the next number. It is stored with the next [`Store::commit`].
    pub(super) fn take_id(&mut self) -> EntryId {
        self.next_id += 1;
        self.next_id - 1
    }

    /// Makes all changes or none.
    pub(super) fn commit(&mut self, changes: &[Change]) -> Result<(), JournalError> {
        self.database.commit(self.next_id, changes)
    }

    /// Makes changes in parts of at most [`GROUP_BYTES`]; each part is a transaction.
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

    /// Reads one entry. One that cannot be read is set aside and is not returned.
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

    /// The entries with numbers after `after`, in order, at most `limit`. One that cannot be read is set aside and does not
    /// stop the others.
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

    /// Calls `more` with every entry after `after` until it returns false. One page of entries is in memory at a time.
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
        // An unreadable entry is stored as the number of its table and its bytes.
        let aside = [&[table.number()], bytes].concat();
        self.commit(&[Change::Remove(table, id), Change::Put(Table::Unreadable, id, aside)])
    }
}
