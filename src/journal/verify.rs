//! `queue verify`: everything that can be wrong with the journal and can be seen without changing it.

use std::collections::HashMap;

use serde::Serialize;

use super::JournalError;
use super::entry::{DeadLetter, Entry, StoredEvent, StoredRecord, StoredRelease, decode};
use super::store::Store;
use super::table::Table;
use crate::domain::EntryId;

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

impl Store {
    pub(super) fn verify(&mut self) -> Result<Verified, JournalError> {
        let mut verified = Verified::default();
        let mut seen: HashMap<EntryId, Table> = HashMap::new();
        for table in Table::ALL {
            for entry in self.database.entries(table, 0) {
                let (id, bytes) = entry?;
                verified.entries += 1;
                let name = table.name();
                if id >= self.next_id {
                    verified.problem(format!("entry {id} in {name}: its number was never given"));
                }
                if let Some(other) = seen.insert(id, table) {
                    verified.problem(format!("entry {id} in {name}: it is in {} too", other.name()));
                }
                if let Err(error) = readable(table, id, &bytes) {
                    verified.problem(format!("entry {id} in {name}: {error}"));
                }
            }
        }
        let counted = self.database.count()?;
        match self.database.written_tally()? {
            Some(tally) if tally.agrees(&counted) => {}
            tally => verified.problem(format!("the tally says {tally:?} and there is {counted:?}")),
        }
        for (path, story) in self.place.aside() {
            verified.problem(format!("{}: {story}", path.display()));
        }
        if self.is_full() {
            verified.problem("the disk is too full for the reserve: nothing new is promised".to_owned());
        }
        Ok(verified)
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
