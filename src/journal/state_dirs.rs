//! The directories of a journal, and the replacement of a database by a new one: at the first start, and when the old one is
//! damaged, mostly empty, or to be encrypted.
//!
//! `db` is always whole. A new database is built as `db.new`, synced and renamed to `db.ready`; only then is the old one
//! renamed, and `db.ready` becomes `db`. A power cut at any moment leaves either `db`, or no `db` and a whole `db.ready`. If
//! neither is there but another file of a journal is, the database was taken away, which is a damage and not a first start.

use std::fs;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::change::Change;
use super::database::{Database, OpenOptions};
use super::error::{JournalError, damaged, drop_guarded, io_error};
use super::files::{exists, remove, rename, sync, sync_all};
use super::high_water_mark::HighWaterMark;
use super::limits::GROUP_BYTES;
use super::reserve::{RESERVE_BYTES, Reserve, SPARE_BYTES, free_bytes};
use super::salvage::carry_over;
use super::table::{Table, Tally};
use crate::durable;

/// The beginning of the name under which a damaged database is kept; the time follows.
const DAMAGED: &str = "db.damaged-";

/// The most damaged databases that are kept; beyond it the oldest goes. Each may be as large as the journal ever was.
pub const ASIDE_LIMIT: usize = 5;

/// The file in a damaged database's folder that names the damage and the entries that were carried over.
const NOTE: &str = "note.txt";

/// A smaller database is never rebuilt.
const REBUILD_FROM: u64 = 8 * 1024 * 1024;

/// sled's files grow to about twice the largest payload that they ever held. At four times the present payload most of them
/// is empty.
const REBUILD_RATIO: u64 = 4;

/// The state directory, and the directories in it that belong to the database.
pub(super) struct StateDirs {
    state_dir: PathBuf,
}

impl StateDirs {
    pub(super) fn new(state_dir: &Path) -> Self {
        Self { state_dir: state_dir.to_owned() }
    }

    pub(super) fn db(&self) -> PathBuf {
        self.state_dir.join("db")
    }

    fn sibling(&self, end: &str) -> PathBuf {
        self.state_dir.join(format!("db.{end}"))
    }

    /// Finishes or undoes a replacement that a power cut has interrupted, and makes the first database.
    pub(super) fn prepare(&self, options: &OpenOptions) -> Result<(), JournalError> {
        let ready = self.sibling("ready");
        if !exists(&self.db()) && exists(&ready) {
            rename(&ready, &self.db())?;
            sync(&self.state_dir)?;
        }
        for left in ["new", "ready", "old", "salvage", "kept"] {
            remove(&self.sibling(left))?;
        }
        if exists(&self.db()) {
            return Ok(());
        }
        if self.is_used() {
            // A database that is gone is a damage like any other: the empty folder will be found damaged and set aside.
            return durable::directory(&self.db())
                .map_err(|error| io_error(&format!("make {}", self.db().display()), &error));
        }
        self.replace(None, options, |_| Ok(()))
    }

    /// Whether there is or was a journal.
    pub(super) fn is_used(&self) -> bool {
        exists(&self.db())
            || exists(&self.sibling("ready"))
            || HighWaterMark::is_there(&self.state_dir)
            || Reserve::exists(&self.state_dir)
    }

    /// Copies the database's file before sled opens it, because sled cuts the file off at the first part that it cannot read.
    /// The copy is usually deleted before writeback, so it costs little flash wear. It is skipped when space is short.
    pub(super) fn keep_copy(&self) {
        let (file, kept) = (self.db().join("db"), self.sibling("kept"));
        let bytes = file.metadata().map_or(0, |file| file.len());
        if !free_bytes(&self.state_dir).is_ok_and(|free| free >= bytes + RESERVE_BYTES + SPARE_BYTES) {
            return;
        }
        if let Err(error) = fs::copy(file, kept) {
            tracing::debug!(%error, "the database is opened without a copy of it");
            self.drop_copy();
        }
    }

    /// Puts the copy back, so that the database is as it was before sled opened it.
    pub(super) fn restore_copy(&self) -> Result<(), JournalError> {
        let kept = self.sibling("kept");
        if !exists(&kept) {
            return Ok(());
        }
        sync(&kept)?;
        rename(&kept, &self.db().join("db"))?;
        sync(&self.db())
    }

    /// Deletes the copy, since sled had no reason to cut the file.
    pub(super) fn drop_copy(&self) {
        if let Err(error) = remove(&self.sibling("kept")) {
            tracing::warn!(%error, "copy of the database not removed; the next start does it");
        }
    }

    /// Builds a new database, renames the old one to `old` and puts the new one in its place.
    fn replace(
        &self,
        old: Option<&Path>,
        options: &OpenOptions,
        fill: impl FnOnce(&mut Database) -> Result<(), JournalError>,
    ) -> Result<(), JournalError> {
        let (new, ready) = (self.sibling("new"), self.sibling("ready"));
        remove(&new)?;
        let mut database = Database::create(&new, options.clone())?;
        fill(&mut database)?;
        database.sync()?;
        drop(database);
        durable::close(&new);
        sync_all(&new)?;
        rename(&new, &ready)?;
        sync(&self.state_dir)?;
        HighWaterMark::reset(&self.state_dir)?;
        if let Some(old) = old {
            rename(&self.db(), old)?;
        }
        rename(&ready, &self.db())?;
        sync(&self.state_dir)
    }

    /// Copies all entries to a new database: a smaller one if this is almost empty, an encrypted one if it is in clear, and one
    /// that is certainly durable if the disk has failed.
    ///
    /// # Errors
    /// [`JournalError::Damaged`] when not every entry is there.
    pub(super) fn rebuild(&self, from: Database, options: &OpenOptions) -> Result<(), JournalError> {
        let old = self.sibling("old");
        let before = from.tally();
        self.replace(Some(&old), options, |into| {
            into.set_boot_times(from.boot_times().clone())?;
            for table in Table::ALL {
                copy_table(&from, into, table)?;
            }
            drop_guarded(from);
            if into.tally().entries == before.entries {
                return Ok(());
            }
            Err(damaged(&self.db(), &format!("its tally says {before:?} and there is {:?}", into.tally())))
        })?;
        remove(&old)
    }

    /// Moves a damaged database aside whole and starts a new one with the entries that can be read. Returns the number of older
    /// ones that had to go for it.
    pub(super) fn set_aside(&self, detail: &str, now: Timestamp, options: &OpenOptions) -> Result<u64, JournalError> {
        let aside = self.free_name(now);
        let salvage = self.sibling("salvage");
        let mut story = String::new();
        self.replace(Some(&aside), options, |into| {
            let marked = HighWaterMark::read(&self.state_dir).transactions();
            story = format!("{detail}; {}", carry_over(&self.db(), now, marked, &salvage, into, options)?);
            Ok(())
        })?;
        remove(&salvage)?;
        let note = format!("{now}: {story}\nRemove this folder when it has been looked at.\n");
        let path = aside.join(NOTE);
        durable::write(&path, note.as_bytes())
            .map_err(|error| io_error(&format!("write {}", path.display()), &error))?;
        tracing::error!(story, aside = %aside.display(), "the database was damaged and is set aside; a new one is in use");
        Ok(self.drop_oldest(&aside))
    }

    /// Drops those that are too many, oldest first by the time in their names. The clock may have been wrong, so the newest
    /// one is given.
    fn drop_oldest(&self, newest: &Path) -> u64 {
        let mut older: Vec<_> = self.aside().into_iter().filter(|(path, _)| path != newest).collect();
        older.truncate((older.len() + 1).saturating_sub(ASIDE_LIMIT));
        let mut dropped = 0;
        for (path, story) in older {
            match remove(&path) {
                Ok(()) => {
                    dropped += 1;
                    tracing::error!(path = %path.display(), story, "damaged database given up: there are too many");
                }
                Err(error) => tracing::error!(%error, "damaged databases are too many"),
            }
        }
        dropped
    }

    fn free_name(&self, now: Timestamp) -> PathBuf {
        let time = now.strftime("%Y%m%dT%H%M%S%.3fZ").to_string();
        let names = std::iter::once(String::new()).chain((2..).map(|n| format!("-{n}")));
        let mut paths = names.map(|end| self.state_dir.join(format!("{DAMAGED}{time}{end}")));
        paths.find(|path| !exists(path)).unwrap_or_else(|| self.sibling("damaged"))
    }

    /// The databases that were set aside and not removed yet, and the first line of each one's note.
    pub(super) fn aside(&self) -> Vec<(PathBuf, String)> {
        let entries = fs::read_dir(&self.state_dir).into_iter().flatten().flatten().map(|entry| entry.path());
        let is_aside =
            |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(DAMAGED));
        let mut found: Vec<_> = entries
            .filter(is_aside)
            .map(|path| {
                let note = fs::read_to_string(path.join(NOTE)).unwrap_or_default();
                let story = note.lines().next().unwrap_or("the note is gone").to_owned();
                (path, story)
            })
            .collect();
        found.sort();
        found
    }
}

/// Copies the entries of a table, many in each transaction.
fn copy_table(from: &Database, into: &mut Database, table: Table) -> Result<(), JournalError> {
    let next_id = from.tally().next_id;
    let (mut part, mut bytes) = (Vec::new(), 0);
    for entry in from.entries(table, 0) {
        let (id, value) = entry?;
        let change = Change::Put(table, id, value.to_vec());
        bytes += change.bytes();
        part.push(change);
        if bytes > GROUP_BYTES / 2 {
            into.commit(next_id, &part)?;
            (part, bytes) = (Vec::new(), 0);
        }
    }
    into.commit(next_id, &part)
}

/// Whether a database's files are mostly empty.
pub(super) fn is_mostly_empty(disk_bytes: u64, tally: &Tally) -> bool {
    disk_bytes > REBUILD_FROM && disk_bytes > REBUILD_RATIO.saturating_mul(tally.bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_large_and_mostly_empty_database_is_rebuilt() {
        let mut tally = Tally::default();
        tally.came(Table::Records, 10 << 20);
        assert!(!is_mostly_empty(25 << 20, &tally));
        assert!(is_mostly_empty(41 << 20, &tally));
        assert!(!is_mostly_empty(REBUILD_FROM, &Tally::default()));
    }
}
