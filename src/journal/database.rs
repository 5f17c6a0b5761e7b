//! The sled database, used so that it can be trusted.
//!
//! This file works around habits of sled 0.34.7 that were measured for this project:
//! - `flush` writes but does not reach stable storage on Linux, so the file is synced through a descriptor of our own;
//! - more than about 128 KiB between two syncs may be lost as a whole, so [`Database::commit`] syncs in between;
//! - a power cut during a snapshot leaves `snap.*.generating`, which keeps the database from opening for ever;
//! - opening a damaged database may panic, and an I/O error sticks until the database is dropped and opened again;
//! - dropping it returns before its threads have released its lock;
//! - a flush may wait for ever for a write that failed (`patience`).

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use sled::transaction::{ConflictableTransactionError, TransactionalTree};
use sled::{IVec, Transactional};

use super::boot_times::BootTimes;
use super::change::{CHANGE_BYTES, Change};
use super::cipher::Cipher;
use super::error::{
    JournalError, damaged, guarded, io_error, is_lock, open_error, shown, sled_error, transaction_error,
};
use super::frame::{BOOTS_NUMBER, KEY_NUMBER, SEAL_NUMBER, TALLY_NUMBER, decrypt_entry, encrypt_entry, frame, unframe};
use super::limits::GROUP_BYTES;
use super::snapshots::remove_half_snapshots;
use super::synced_file::{SyncCounter, SyncedFile};
use super::table::{Table, Tally, word};
use super::trusted_time::TrustedTime;
use super::{lock, patience};
use crate::domain::EntryId;

/// Enough for a tap's working set. With 1 MB the program takes 11 MB of memory beside 100,000 entries, with 8 MB it takes 19.
const CACHE_BYTES: u64 = 1024 * 1024;

/// sled collects its garbage this often on a busy box (`timer_slack` for an idle one). `None` would mean never, and the file
/// would grow for ever.
const GARBAGE_EVERY_MS: Option<u64> = Some(500);

/// The layout of the trees. A higher number was written by a newer agent; 1 was never released.
const SCHEMA: u64 = 2;

/// A database with fewer bytes in it is read whole when it is opened, which takes a tenth of a second on a small box.
const READ_AT_OPEN: u64 = 8 * 1024 * 1024;

const META: &str = "meta";
const SCHEMA_KEY: &[u8] = b"schema";
const TALLY_KEY: &[u8] = b"tally";

/// The entry of the meta tree that is encrypted with the database's key, to check a key.
const KEY_CHECK_KEY: &[u8] = b"key";

/// The entry of the meta tree with the [`BootTimes`].
const BOOTS_KEY: &[u8] = b"boots";

/// The entry of the meta tree with the seal: the number of the last transaction that was synced before the seal was written.
const SEAL_KEY: &[u8] = b"seal";

/// Options with which every database of a journal is opened.
#[derive(Clone, Default)]
pub(super) struct OpenOptions {
    pub(super) syncs: SyncCounter,
    /// Encrypts the entries, if there is a key.
    pub(super) cipher: Option<Arc<Cipher>>,
    pub(super) trusted_time: TrustedTime,
}

/// The open database. Nothing is durable before [`Database::sync`].
pub(super) struct Database {
    db: sled::Db,
    file: SyncedFile,
    /// In the order of [`Table::ALL`], then `meta`.
    trees: Vec<sled::Tree>,
    tally: Tally,
    /// The next transaction gets a higher number than this, which a power cut may have left in the file.
    highest_change: u64,
    /// The number in the seal.
    sealed: u64,
    /// The seal was written after the last sync.
    seal_is_unsynced: bool,
    boot_times: BootTimes,
    /// `None` when the entries lie on the disk in clear.
    cipher: Option<Arc<Cipher>>,
}

impl Database {
    /// Makes an empty database in a directory that does not exist yet.
    pub(super) fn create(dir: &Path, options: OpenOptions) -> Result<Self, JournalError> {
        fs::create_dir(dir).map_err(|error| io_error(&format!("make {}", dir.display()), &error))?;
        let mut database = Self::open_unchecked(dir, options.syncs)?;
        database.set_tally(Tally { next_id: 1, ..Tally::default() })?;
        database.set_cipher(options.cipher)?;
        Ok(database)
    }

    /// [`Database::open_unsynced`], and a sync.
    pub(super) fn open(dir: &Path, closely: bool, options: OpenOptions) -> Result<Self, JournalError> {
        let mut database = Self::open_unsynced(dir, closely, options)?;
        database.sync()?;
        Ok(database)
    }

    /// Opens an existing database. If it is small, or `closely` is set, every entry is read and counted. sled keeps in memory
    /// all that it has read, so a large database is only read when something was wrong with it.
    ///
    /// # Errors
    /// [`JournalError::Damaged`] when it does not open or does not agree with its tally; [`JournalError::Key`];
    /// [`JournalError::Newer`].
    pub(super) fn open_unsynced(dir: &Path, closely: bool, options: OpenOptions) -> Result<Self, JournalError> {
        // sled would begin anew if its file were empty or gone, as if nothing had ever been stored.
        if fs::metadata(dir.join("db")).is_ok_and(|file| file.len() == 0) || !dir.join("db").exists() {
            return Err(damaged(dir, "its file is empty or gone"));
        }
        let mut database = Self::open_unchecked(dir, options.syncs)?;
        database.check_cipher(dir, options.cipher)?;
        let schema = database.meta().get(SCHEMA_KEY).map_err(sled_error)?;
        match schema.as_deref().and_then(word) {
            Some(SCHEMA) => {
                database.boot_times = database.written_boot_times(dir)?;
                let Some(tally) = database.written_tally()? else {
                    return Err(damaged(dir, "it has no tally"));
                };
                (database.tally, database.sealed) = (tally, database.written_seal()?);
                if closely || tally.bytes < READ_AT_OPEN {
                    guarded(dir, || database.check_tally())?;
                }
            }
            Some(schema) if schema > SCHEMA => return Err(JournalError::Newer { schema }),
            Some(schema) => return Err(damaged(dir, &format!("its schema {schema} was never released"))),
            None => return Err(damaged(dir, "it has no schema")),
        }
        Ok(database)
    }

    /// Opens a database without looking at its content.
    fn open_unchecked(dir: &Path, syncs: SyncCounter) -> Result<Self, JournalError> {
        remove_half_snapshots(dir)?;
        let config = || sled::Config::new().path(dir).cache_capacity(CACHE_BYTES).flush_every_ms(GARBAGE_EVERY_MS);
        let db = lock::retry(|| match catch_unwind(AssertUnwindSafe(|| config().open())) {
            Err(_) => Err(damaged(dir, "sled gives up on it")),
            Ok(Err(sled::Error::Io(error))) if is_lock(&error) => Err(JournalError::Locked { path: shown(dir) }),
            Ok(Err(sled::Error::Io(error))) => Err(open_error(dir, &error)),
            Ok(Err(error)) => Err(damaged(dir, &error.to_string())),
            Ok(Ok(db)) => Ok(db),
        })?;
        let file = SyncedFile::open(dir, syncs)?;
        let names = Table::ALL.iter().map(|table| table.name()).chain([META]);
        let trees = guarded(dir, || names.map(|name| db.open_tree(name).map_err(sled_error)).collect())?;
        let (tally, boot_times) = (Tally::default(), BootTimes::default());
        let (highest_change, sealed, seal_is_unsynced) = (0, 0, false);
        Ok(Self { db, file, trees, tally, highest_change, sealed, seal_is_unsynced, boot_times, cipher: None })
    }

    fn meta(&self) -> &sled::Tree {
        &self.trees[Table::COUNT]
    }

    /// Encrypts entries from now on, if there is a key, and stores an entry that only this key decrypts.
    fn set_cipher(&mut self, cipher: Option<Arc<Cipher>>) -> Result<(), JournalError> {
        if let Some(cipher) = &cipher {
            let check = frame(KEY_NUMBER, &cipher.encrypt(KEY_NUMBER, &[]))?;
            self.meta().insert(KEY_CHECK_KEY, check).map_err(sled_error)?;
            self.file.wrote(CHANGE_BYTES);
        }
        self.cipher = cipher;
        Ok(())
    }

    /// Takes the cipher if the database is encrypted with its key. A database in clear needs none.
    fn check_cipher(&mut self, dir: &Path, cipher: Option<Arc<Cipher>>) -> Result<(), JournalError> {
        let Some(check) = self.meta().get(KEY_CHECK_KEY).map_err(sled_error)? else {
            return Ok(());
        };
        let Some((KEY_NUMBER, check)) = unframe(&check) else {
            return Err(damaged(dir, "its check of the key cannot be read"));
        };
        let fits = cipher.filter(|cipher| cipher.decrypt(KEY_NUMBER, check).is_some());
        self.cipher = Some(fits.ok_or(JournalError::Key)?);
        Ok(())
    }

    pub(super) fn is_encrypted(&self) -> bool {
        self.cipher.is_some()
    }

    /// Stores the first tally, and the schema.
    fn set_tally(&mut self, tally: Tally) -> Result<(), JournalError> {
        self.meta().insert(SCHEMA_KEY, &SCHEMA.to_be_bytes()).map_err(sled_error)?;
        self.meta().insert(TALLY_KEY, frame(TALLY_NUMBER, &tally.to_bytes())?).map_err(sled_error)?;
        self.tally = tally;
        self.file.wrote(CHANGE_BYTES);
        Ok(())
    }

    pub(super) fn boot_times(&self) -> &BootTimes {
        &self.boot_times
    }

    /// Stores the list of boots in the place of the earlier one.
    pub(super) fn set_boot_times(&mut self, boots: BootTimes) -> Result<(), JournalError> {
        let bytes = boots.to_bytes().map_err(|error| damaged(Path::new("db"), &format!("list of boots: {error}")))?;
        let framed = frame(BOOTS_NUMBER, &bytes)?;
        self.sync_before(CHANGE_BYTES + framed.len())?;
        self.file.wrote(CHANGE_BYTES + framed.len());
        self.meta().insert(BOOTS_KEY, framed).map_err(sled_error)?;
        self.boot_times = boots;
        Ok(())
    }

    fn written_boot_times(&self, dir: &Path) -> Result<BootTimes, JournalError> {
        let Some(bytes) = self.meta().get(BOOTS_KEY).map_err(sled_error)? else {
            return Ok(BootTimes::default());
        };
        let boots = unframe(&bytes).filter(|(number, _)| *number == BOOTS_NUMBER).map(|(_, boots)| boots);
        boots.and_then(BootTimes::from_bytes).ok_or_else(|| damaged(dir, "its list of boots cannot be read"))
    }

    /// Reads every entry and compares with the tally.
    fn check_tally(&self) -> Result<(), JournalError> {
        let (tally, counted) = (self.tally, self.count()?);
        if tally.agrees(&counted) && tally.next_id >= counted.next_id {
            return Ok(());
        }
        Err(damaged(Path::new("db"), &format!("its tally says {tally:?} and there is {counted:?}")))
    }

    pub(super) fn count(&self) -> Result<Tally, JournalError> {
        let mut tally = Tally { next_id: 1, ..Tally::default() };
        for table in Table::ALL {
            for entry in self.raw_entries(table, 0) {
                let (id, bytes) = entry?;
                tally.came(table, bytes.len());
                tally.next_id = tally.next_id.max(id.saturating_add(1));
            }
        }
        Ok(tally)
    }

    pub(super) fn tally(&self) -> Tally {
        self.tally
    }

    /// The tally on disk, for a check of the one in memory.
    pub(super) fn written_tally(&self) -> Result<Option<Tally>, JournalError> {
        let bytes = self.meta().get(TALLY_KEY).map_err(sled_error)?;
        Ok(bytes.and_then(|bytes| unframe(&bytes).and_then(|(_, tally)| Tally::from_bytes(tally))))
    }

    pub(super) fn get(&self, table: Table, id: EntryId) -> Result<Option<IVec>, JournalError> {
        let found = self.tree(table).get(id.to_be_bytes()).map_err(sled_error)?;
        Ok(found.map(|bytes| self.decrypted(table, bytes)))
    }

    /// The entries with numbers after `after`, in order.
    pub(super) fn entries(
        &self,
        table: Table,
        after: EntryId,
    ) -> impl Iterator<Item = Result<(EntryId, IVec), JournalError>> {
        self.raw_entries(table, after).map(move |entry| entry.map(|(id, bytes)| (id, self.decrypted(table, bytes))))
    }

    /// Bytes that cannot be decrypted stay as they are; their reader then finds an entry that cannot be read.
    pub(super) fn decrypted(&self, table: Table, bytes: IVec) -> IVec {
        self.cipher.as_deref().and_then(|cipher| decrypt_entry(cipher, table, &bytes)).map_or(bytes, IVec::from)
    }

    /// The same as they lie on the disk, encrypted or not.
    pub(super) fn raw_entries(
        &self,
        table: Table,
        after: EntryId,
    ) -> impl Iterator<Item = Result<(EntryId, IVec), JournalError>> {
        self.tree(table).range(after.saturating_add(1).to_be_bytes()..).map(move |entry| {
            let (key, bytes) = entry.map_err(sled_error)?;
            let id = word(&key).ok_or_else(|| damaged(Path::new(table.name()), "a key is not a number"))?;
            Ok((id, bytes))
        })
    }

    /// The lowest number in this table after these changes, or a lower one.
    fn first_id(&self, table: Table, changes: &[Change]) -> Result<EntryId, JournalError> {
        let there = self.raw_entries(table, 0).next().transpose()?.map(|(id, _)| id);
        let come = changes.iter().filter_map(|change| match change {
            Change::Put(into, id, _) if *into == table => Some(*id),
            _ => None,
        });
        Ok(come.chain(there).min().unwrap_or(self.tally.next_id))
    }

    fn tree(&self, table: Table) -> &sled::Tree {
        &self.trees[table as usize]
    }

    /// Makes all changes or none, with the tally, and `next_id` from now on.
    pub(super) fn commit(&mut self, next_id: EntryId, changes: &[Change]) -> Result<(), JournalError> {
        let bytes = changes.iter().map(Change::bytes).sum::<usize>();
        self.sync_before(bytes)?;
        let before = Tally {
            next_id,
            change: self.tally.change.max(self.highest_change) + 1,
            first_release: self.first_id(Table::Releases, changes)?,
            first_record: self.first_id(Table::Records, changes)?,
            ..self.tally
        };
        let tally = self.trees[..].transaction(|trees: &Vec<TransactionalTree>| {
            let mut tally = before;
            for change in changes {
                let (table, old) = match change {
                    Change::Put(table, id, value) => {
                        let encrypted = self.encrypted(*table, value).map_err(ConflictableTransactionError::Abort)?;
                        let value = encrypted.as_deref().unwrap_or(value);
                        tally.came(*table, value.len());
                        (*table, trees[*table as usize].insert(&id.to_be_bytes(), value)?)
                    }
                    Change::Remove(table, id) => (*table, trees[*table as usize].remove(&id.to_be_bytes())?),
                };
                if let Some(old) = old {
                    tally.went(table, old.len());
                }
            }
            let framed = frame(TALLY_NUMBER, &tally.to_bytes()).map_err(ConflictableTransactionError::Abort)?;
            trees[Table::COUNT].insert(TALLY_KEY, framed)?;
            Ok(tally)
        });
        self.tally = tally.map_err(transaction_error)?;
        self.file.wrote(bytes);
        Ok(())
    }

    /// Numbers transactions from here on higher than those that a power cut left in the file without being promised.
    pub(super) fn skip_changes(&mut self, written: u64) {
        self.highest_change = self.highest_change.max(written);
    }

    /// Syncs if these bytes would be more than may lie between two syncs.
    fn sync_before(&mut self, bytes: usize) -> Result<(), JournalError> {
        if self.file.unsynced() + bytes > GROUP_BYTES { self.sync() } else { Ok(()) }
    }

    /// The bytes that are stored for a value, if they are not the value itself.
    fn encrypted(&self, table: Table, value: &[u8]) -> Result<Option<Vec<u8>>, JournalError> {
        self.cipher.as_deref().map(|cipher| encrypt_entry(cipher, table, value)).transpose()
    }

    /// Makes all earlier changes durable: sled's flush writes them to the file, and `sync_data` syncs the file.
    pub(super) fn sync(&mut self) -> Result<(), JournalError> {
        if self.file.unsynced() == 0 { Ok(()) } else { self.sync_now() }
    }

    fn sync_now(&mut self) -> Result<(), JournalError> {
        patience::flush(&self.db)?;
        self.file.sync()?;
        self.seal_is_unsynced = false;
        Ok(())
    }

    /// Writes down that all transactions so far were synced. Nobody waits for it: sled brings it to the disk within seconds, or
    /// the next sync does.
    pub(super) fn seal(&mut self) -> Result<(), JournalError> {
        if self.sealed == self.tally.change || self.file.unsynced() > 0 {
            return Ok(());
        }
        let seal = frame(SEAL_NUMBER, &self.tally.change.to_be_bytes())?;
        self.meta().insert(SEAL_KEY, seal).map_err(sled_error)?;
        (self.sealed, self.seal_is_unsynced) = (self.tally.change, true);
        Ok(())
    }

    /// Makes all earlier changes durable, and then the seal that says so.
    pub(super) fn sync_and_seal(&mut self) -> Result<(), JournalError> {
        self.sync()?;
        self.seal()?;
        if self.seal_is_unsynced { self.sync_now() } else { Ok(()) }
    }

    /// A seal that cannot be read counts as none. An earlier version wrote none.
    fn written_seal(&self) -> Result<u64, JournalError> {
        let seal = self.meta().get(SEAL_KEY).map_err(sled_error)?;
        Ok(seal.as_deref().and_then(unframe).and_then(|(_, synced)| word(synced)).unwrap_or(0))
    }

    /// To be called before it is closed for an error. Says whether the disk has failed, so that no later sync is believed.
    pub(super) fn judge_file(&mut self, after_disk_error: bool) -> bool {
        if after_disk_error {
            self.file.distrust()
        } else {
            self.file.check()
        }
        self.file.has_failed()
    }

    /// Lets the next use panic, as sled may.
    #[cfg(test)]
    pub(super) fn break_down(&mut self) {
        self.trees.clear();
    }

    pub(super) fn disk_bytes(&self) -> Result<u64, JournalError> {
        self.db.size_on_disk().map_err(sled_error)
    }
}
