//! `queue verify`: everything that can be wrong with the journal and can be seen without changing it.
//!
//! It goes in steps of [`VERIFY_STEP`] entries, a job each: what else is asked of the journal waits no longer than for one.
//! The tally is compared with what was counted when nothing has changed meanwhile.

use serde::Serialize;

use super::entry::{DeadLetter, Entry, StoredEvent, StoredRecord, StoredRelease, decode};
use super::error::JournalError;
use super::store::Store;
use super::table::{Table, Tally};
use crate::domain::EntryId;

/// Entries that are looked at in one job.
pub const VERIFY_STEP: usize = 500;

/// How often everything is looked at again because something has changed meanwhile.
const ROUNDS: u32 = 3;

/// Problems that are told one by one; beyond them only their number.
const PROBLEM_LIMIT: usize = 100;

/// What a look at everything has found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// Entries that were read.
    pub entries: u64,
    /// How many problems there are.
    pub problems: u64,
    /// The first of them, for a person.
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

/// How far a look at everything has come.
#[derive(Clone, Debug, Default)]
pub(super) struct VerifyProgress {
    /// The result, when all is done.
    pub(super) done: bool,
    pub(super) verified: Verified,
    /// Which of [`Table::ALL`], and what was looked at last there.
    table: usize,
    after: EntryId,
    counted: Tally,
    /// The transactions before this round.
    change: u64,
    round: u32,
}

impl Store {
    /// One step.
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
            // The tally counts what lies on the disk.
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
