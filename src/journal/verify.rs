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
pub(super) struct Look {
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
    pub(super) fn look_on(&mut self, mut look: Look) -> Result<Look, JournalError> {
        let now = self.database().tally();
        if (look.table, look.after) == (0, 0) {
            look.change = now.change;
        }
        match Table::ALL.get(look.table) {
            Some(table) => self.look_at(*table, &mut look)?,
            None if look.change != now.change && look.round + 1 < ROUNDS => {
                look = Look { round: look.round + 1, ..Look::default() };
            }
            None => {
                self.look_at_the_whole(&mut look)?;
                look.done = true;
            }
        }
        Ok(look)
    }

    fn look_at(&self, table: Table, look: &mut Look) -> Result<(), JournalError> {
        let (name, mut seen) = (table.name(), 0);
        for entry in self.database().raw_entries(table, look.after).take(VERIFY_STEP) {
            let (id, bytes) = entry?;
            seen += 1;
            look.after = id;
            // The tally counts what lies on the disk.
            look.counted.came(table, bytes.len());
            let bytes = self.database().unlocked(table, bytes);
            look.verified.entries += 1;
            if id >= self.next_id() {
                look.verified.problem(format!("entry {id} in {name}: its number was never given"));
            }
            for other in &Table::ALL[look.table + 1..] {
                if self.database().get(*other, id)?.is_some() {
                    look.verified.problem(format!("entry {id} in {name}: it is in {} too", other.name()));
                }
            }
            if let Err(error) = readable(table, id, &bytes) {
                look.verified.problem(format!("entry {id} in {name}: {error}"));
            }
        }
        if seen < VERIFY_STEP {
            (look.table, look.after) = (look.table + 1, 0);
        }
        Ok(())
    }

    fn look_at_the_whole(&self, look: &mut Look) -> Result<(), JournalError> {
        let Look { verified, counted, .. } = look;
        match self.database().written_tally()? {
            Some(tally) if tally.change != look.change => {
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
