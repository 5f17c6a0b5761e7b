//! `queue verify`: a check of the journal that changes nothing.
//!
//! It goes in steps of [`VERIFY_STEP`] entries, each of which is a job of its own, so that other jobs wait for one step at
//! most. The tally is compared with the entries that were counted, if none has changed meanwhile.

use serde::Serialize;

use super::entry::{DeadLetter, Entry, StoredEvent, StoredRecord, StoredRelease, decode};
use super::error::JournalError;
use super::store::Store;
use super::table::{Table, Tally};
use crate::domain::EntryId;

/// The entries that one job checks.
pub const VERIFY_STEP: usize = 500;

/// The rounds over all entries at most; another one is made when an entry has changed meanwhile.
const ROUNDS: u32 = 3;

/// The most problems that are described; further ones are only counted.
const PROBLEM_LIMIT: usize = 100;

/// The result of a check.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// The number of entries that were read.
    pub entries: u64,
    /// The number of problems.
    pub problems: u64,
    /// The first problems, described for a person.
    pub details: Vec<String>,
}

impl Verified {
    fn problem(&mut self, detail: String) {
        self.problems += 1;
        if self.details.len() < PROBLEM_LIMIT {
            self.details.push(detail);
        }
    }
}

/// A check that is under way.
#[derive(Clone, Debug, Default)]
pub(super) struct VerifyProgress {
    pub(super) done: bool,
    /// The result so far.
    pub(super) verified: Verified,
    /// The index in [`Table::ALL`] of the table that is checked, and the last entry there that was.
    table: usize,
    after: EntryId,
    counted: Tally,
    /// The number of transactions before this round.
    change: u64,
    round: u32,
}

impl Store {
    /// Makes the next step of a check.
    pub(super) fn verify_step(&mut self, mut progress: VerifyProgress) -> Result<VerifyProgress, JournalError> {
        let now = self.database().tally();
        if (progress.table, progress.after) == (0, 0) {
            progress.change = now.change;
        }
        match Table::ALL.get(progress.table) {
            Some(table) => self.verify_entries(*table, &mut progress)?,
            None if progress.change != now.change && progress.round + 1 < ROUNDS => {
                progress = VerifyProgress { round: progress.round + 1, ..VerifyProgress::default() };
            }
            None => {
                self.verify_whole(&mut progress)?;
                progress.done = true;
            }
        }
        Ok(progress)
    }

    fn verify_entries(&self, table: Table, progress: &mut VerifyProgress) -> Result<(), JournalError> {
        let (name, mut seen) = (table.name(), 0);
        for entry in self.database().raw_entries(table, progress.after).take(VERIFY_STEP) {
            let (id, bytes) = entry?;
            seen += 1;
            progress.after = id;
            // The tally counts the bytes on the disk, so they are counted before they are decrypted.
            progress.counted.came(table, bytes.len());
            let bytes = self.database().decrypted(table, bytes);
            progress.verified.entries += 1;
            if id >= self.next_id() {
                progress.verified.problem(format!("entry {id} in {name}: its number was never given"));
            }
            for other in &Table::ALL[progress.table + 1..] {
                if self.database().get(*other, id)?.is_some() {
                    progress.verified.problem(format!("entry {id} in {name}: it is in {} too", other.name()));
                }
            }
            if let Err(error) = readable(table, id, &bytes) {
                progress.verified.problem(format!("entry {id} in {name}: {error}"));
            }
        }
        if seen < VERIFY_STEP {
            (progress.table, progress.after) = (progress.table + 1, 0);
        }
        Ok(())
    }

    fn verify_whole(&self, progress: &mut VerifyProgress) -> Result<(), JournalError> {
        let VerifyProgress { verified, counted, .. } = progress;
        match self.database().written_tally()? {
            Some(tally) if tally.change != progress.change => {
                verified.details.push("the tally was not compared: the journal did not stand still".to_owned());
            }
            Some(tally) if tally.agrees(counted) => {}
            tally => verified.problem(format!("the tally says {tally:?} and there is {counted:?}")),
        }
        for (path, story) in self.aside() {
            verified.problem(format!("{}: {story}", path.display()));
        }
        if self.is_full() {
            verified.problem("the disk is too full for the reserve: nothing new is promised".to_owned());
        }
        Ok(())
    }
}

fn readable(table: Table, id: EntryId, bytes: &[u8]) -> Result<(), JournalError> {
    fn check<T: Entry>(table: Table, id: EntryId, bytes: &[u8]) -> Result<(), JournalError> {
        decode::<T>(table, id, bytes).map(drop)
    }
    match table {
        Table::Releases => check::<StoredRelease>(table, id, bytes),
        Table::Records | Table::Ledger => check::<StoredRecord>(table, id, bytes),
        Table::Dead => check::<DeadLetter>(table, id, bytes),
        Table::Events => check::<StoredEvent>(table, id, bytes),
        Table::Unreadable => {
            Err(JournalError::Entry { id, detail: "it could not be read and was set aside".to_owned() })
        }
    }
}
