//! Opening the database, whatever state it is in.

use std::path::Path;

use jiff::Timestamp;

use super::database::{Database, Means};
use super::error::{JournalError, damaged};
use super::mark::Mark;
use super::replace::{Place, is_mostly_empty};

/// Opens the database, whatever state it is in, and says how many that had been set aside were given up for that.
pub(super) fn open_database(
    place: &Place,
    state_dir: &Path,
    closely: bool,
    means: &Means,
) -> Result<(Database, u64), JournalError> {
    place.prepare(means)?;
    let database = match open_whole(place, state_dir, closely, means) {
        Err(JournalError::Damaged { detail, .. }) => {
            let given_up = place.set_aside(&detail, Timestamp::now(), means)?;
            return Ok((Database::open(&place.db(), false, means.clone())?, given_up));
        }
        opened => opened?,
    };
    let to_be_locked = means.cipher.is_some() && !database.is_locked();
    if !to_be_locked && !is_mostly_empty(database.disk_bytes()?, &database.tally()) {
        return Ok((database, 0));
    }
    if let Err(error) = place.rebuild(database, means) {
        tracing::warn!(%error, to_be_locked, "database not rebuilt");
        // Either the old or the new one is in place, or is put there.
        place.prepare(means)?;
    }
    Ok((Database::open(&place.db(), false, means.clone())?, 0))
}

/// Opens a database that is as far as its mark says. One that is refused is left as it was.
fn open_whole(place: &Place, state_dir: &Path, closely: bool, means: &Means) -> Result<Database, JournalError> {
    place.keep();
    let opened = Database::open(&place.db(), closely, means.clone()).and_then(|database| {
        let (marked, there) = (Mark::read(state_dir).transactions(), database.tally().change);
        let older = || damaged(&place.db(), &format!("it is an older state: {there} transactions, not {marked}"));
        if there < marked { Err(older()) } else { Ok(database) }
    });
    match &opened {
        // Who has the lock is writing there.
        Ok(_) | Err(JournalError::Locked { .. }) => place.forget(),
        Err(_) => place.put_back()?,
    }
    opened
}
