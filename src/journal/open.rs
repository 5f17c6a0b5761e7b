//! Opens the database in whatever state it is: it is made, set aside, rebuilt or encrypted as needed.

use std::path::Path;

use jiff::Timestamp;

use super::database::{Database, OpenOptions};
use super::error::{JournalError, damaged};
use super::high_water_mark::HighWaterMark;
use super::state_dirs::{StateDirs, is_mostly_empty};

/// Opens the database, and says how many that had been set aside before had to be given up for it.
pub(super) fn open_database(
    dirs: &StateDirs,
    state_dir: &Path,
    closely: bool,
    options: &OpenOptions,
) -> Result<(Database, u64), JournalError> {
    dirs.prepare(options)?;
    let database = match open_whole(dirs, state_dir, closely, options) {
        Err(JournalError::Damaged { detail, .. }) => {
            let given_up = dirs.set_aside(&detail, Timestamp::now(), options)?;
            return Ok((Database::open(&dirs.db(), false, options.clone())?, given_up));
        }
        opened => opened?,
    };
    let to_be_encrypted = options.cipher.is_some() && !database.is_encrypted();
    if !to_be_encrypted && !is_mostly_empty(database.disk_bytes()?, &database.tally()) {
        return Ok((database, 0));
    }
    if let Err(error) = dirs.rebuild(database, options) {
        tracing::warn!(%error, to_be_encrypted, "database not rebuilt");
        // Puts the old or the new one in place if neither is.
        dirs.prepare(options)?;
    }
    Ok((Database::open(&dirs.db(), false, options.clone())?, 0))
}

/// Opens a database that is not an older state of itself. One that is refused is left as it was.
fn open_whole(
    dirs: &StateDirs,
    state_dir: &Path,
    closely: bool,
    options: &OpenOptions,
) -> Result<Database, JournalError> {
    dirs.keep_copy();
    let opened = Database::open(&dirs.db(), closely, options.clone()).and_then(|database| {
        let (marked, there) = (HighWaterMark::read(state_dir).transactions(), database.tally().change);
        let older = || damaged(&dirs.db(), &format!("it is an older state: {there} transactions, not {marked}"));
        if there < marked { Err(older()) } else { Ok(database) }
    });
    match &opened {
        // Another process that holds the lock writes there, so the copy must not replace its file.
        Ok(_) | Err(JournalError::Locked { .. }) => dirs.drop_copy(),
        Err(_) => dirs.restore_copy()?,
    }
    opened
}
