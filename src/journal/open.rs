//! Opens the database in whatever state it is: it is made, set aside, rebuilt or encrypted as needed.

use std::path::Path;

use jiff::Timestamp;

use super::database::{Database, OpenOptions};
use super::error::{JournalError, damaged};
use super::high_water_mark::HighWaterMark;
use super::scan::FileFacts;
use super::state_dirs::{StateDirs, is_mostly_empty};
use super::synced_file::SyncedFile;

/// The reason for more than a usual look at a database that is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Distrust {
    /// There is none.
    Nothing,
    /// The database failed, so every entry is read.
    Entries,
    /// The disk failed, so nothing may be promised before every entry lies in a new database.
    Disk,
}

/// Opens the database, and says how many that had been set aside before had to be given up for it.
pub(super) fn open_database(
    dirs: &StateDirs,
    state_dir: &Path,
    distrust: Distrust,
    options: &OpenOptions,
) -> Result<(Database, u64), JournalError> {
    dirs.prepare(options)?;
    let distrust = if SyncedFile::has_failed_before(&dirs.db()) { Distrust::Disk } else { distrust };
    let database = match open_whole(dirs, state_dir, distrust, options) {
        Err(JournalError::Damaged { detail, .. }) => return set_aside(dirs, &detail, options),
        opened => opened?,
    };
    let to_be_encrypted = options.cipher.is_some() && !database.is_encrypted();
    let is_unsafe = distrust == Distrust::Disk;
    if !is_unsafe && !to_be_encrypted && !is_mostly_empty(database.disk_bytes()?, &database.tally()) {
        return Ok((database, 0));
    }
    match dirs.rebuild(database, options) {
        Ok(()) if is_unsafe => tracing::warn!("the disk has failed to sync: the database was written anew"),
        Ok(()) => {}
        Err(JournalError::Damaged { detail, .. }) => return set_aside(dirs, &detail, options),
        Err(error) if is_unsafe => return Err(error),
        Err(error @ JournalError::Disk(_)) => {
            // The names may be the part that did not become durable, so the next attempt writes all anew.
            SyncedFile::note_failure(&dirs.db());
            return Err(error);
        }
        Err(error) => {
            tracing::warn!(%error, to_be_encrypted, "database not rebuilt");
            // Puts the old or the new one in place if neither is.
            dirs.prepare(options)?;
        }
    }
    Ok((Database::open(&dirs.db(), false, options.clone())?, 0))
}

fn set_aside(dirs: &StateDirs, detail: &str, options: &OpenOptions) -> Result<(Database, u64), JournalError> {
    let given_up = dirs.set_aside(detail, Timestamp::now(), options)?;
    Ok((Database::open(&dirs.db(), false, options.clone())?, given_up))
}

/// Opens a database that is not an older state of itself. One that is refused is left as it was.
fn open_whole(
    dirs: &StateDirs,
    state_dir: &Path,
    distrust: Distrust,
    options: &OpenOptions,
) -> Result<Database, JournalError> {
    dirs.keep_copy();
    let facts = FileFacts::of(&dirs.db().join("db"));
    let promised = facts.synced.max(HighWaterMark::read(state_dir).transactions());
    let closely = distrust != Distrust::Nothing;
    let opened = Database::open_unsynced(&dirs.db(), closely, options.clone()).and_then(|mut database| {
        let there = database.tally().change;
        if there < promised {
            let detail = format!("it is an older state: {there} transactions, not {promised}");
            return Err(damaged(&dirs.db(), &detail));
        }
        database.skip_changes(facts.written);
        // A database that is written anew need not be synced first, and after a failure of the disk it may never be.
        if distrust != Distrust::Disk {
            database.sync()?;
        }
        Ok(database)
    });
    match &opened {
        // Another process that holds the lock writes there, so the copy must not replace its file.
        Ok(_) | Err(JournalError::Locked { .. }) => dirs.drop_copy(),
        Err(_) => dirs.restore_copy()?,
    }
    opened
}
