//! The commands for people: `queue list`, `show`, `retry` and `drop`.

use serde::Serialize;

use super::change::Change;
use super::entry::{DeadLetter, StoredRecord, StoredRelease, encode};
use super::error::JournalError;
use super::store::Store;
use super::table::Table;
use crate::domain::EntryId;

/// The most entries of one kind in a page of a listing, so that a bounded number is in memory at once.
pub const LIST_LIMIT: usize = 100;

/// A page of the journal.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Listing {
    /// Releases that have not ended, or ended as unknown.
    pub releases: Vec<StoredRelease>,
    /// Records that the server has not acknowledged.
    pub records: Vec<StoredRecord>,
    /// Records that the server refused for good.
    pub dead: Vec<DeadLetter>,
    /// The number to ask with for the next page, if there is one.
    pub next: Option<EntryId>,
}

/// An entry of the journal as a person sees it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum QueueEntry {
    /// A release that has not ended, or ended as unknown.
    Release(StoredRelease),
    /// A record that the server has not acknowledged.
    Record(StoredRecord),
    /// A record that the server refused for good.
    Dead(DeadLetter),
    /// An entry that cannot be read.
    Unreadable {
        /// The number of the entry.
        id: EntryId,
        /// The bytes of the entry as text, as far as they are that.
        text: String,
    },
}

impl Store {
    pub(super) fn list(&mut self, after: EntryId) -> Result<Listing, JournalError> {
        let mut listing = Listing {
            releases: self.page(Table::Releases, after, LIST_LIMIT)?,
            records: self.page(Table::Records, after, LIST_LIMIT)?,
            dead: self.page(Table::Dead, after, LIST_LIMIT)?,
            next: None,
        };
        // A full page of one kind may have more behind it. The other kinds are cut at the same number, so that one number is
        // enough to go on.
        let last = [
            listing.releases.get(LIST_LIMIT - 1).map(|stored| stored.id),
            listing.records.get(LIST_LIMIT - 1).map(|stored| stored.id),
            listing.dead.get(LIST_LIMIT - 1).map(|letter| letter.id),
        ];
        listing.next = last.into_iter().flatten().min();
        if let Some(last) = listing.next {
            listing.releases.retain(|stored| stored.id <= last);
            listing.records.retain(|stored| stored.id <= last);
            listing.dead.retain(|letter| letter.id <= last);
        }
        Ok(listing)
    }

    pub(super) fn show(&mut self, id: EntryId) -> Result<QueueEntry, JournalError> {
        if let Some(stored) = self.get(Table::Releases, id)? {
            return Ok(QueueEntry::Release(stored));
        }
        if let Some(stored) = self.get(Table::Records, id)? {
            return Ok(QueueEntry::Record(stored));
        }
        if let Some(letter) = self.get(Table::Dead, id)? {
            return Ok(QueueEntry::Dead(letter));
        }
        match self.database().get(Table::Unreadable, id)? {
            // The first byte is the number of its table, the second the version.
            Some(bytes) => Ok(QueueEntry::Unreadable {
                id,
                text: String::from_utf8_lossy(bytes.get(2..).unwrap_or_default()).into_owned(),
            }),
            None => Err(JournalError::Unknown(id)),
        }
    }

    pub(super) fn retry(&mut self, id: EntryId) -> Result<EntryId, JournalError> {
        let letter = match self.show(id)? {
            QueueEntry::Dead(letter) => letter,
            _ => return Err(JournalError::NotForThis { id, state: "no dead letter, so it is not sent again by hand" }),
        };
        let next = self.take_id();
        let last_error = Some(letter.reason).filter(|reason| !reason.is_empty());
        let (attempted, carried_over, made) = (None, None, None);
        let stored = StoredRecord { id: next, record: letter.record, attempted, carried_over, made, last_error };
        self.commit(&[
            Change::Remove(Table::Dead, id),
            Change::Put(Table::Records, next, encode(Table::Records, &stored)?),
        ])?;
        Ok(next)
    }

    pub(super) fn give_up(&mut self, id: EntryId) -> Result<QueueEntry, JournalError> {
        let found = self.show(id)?;
        let table = match &found {
            QueueEntry::Dead(_) => Table::Dead,
            QueueEntry::Unreadable { .. } => Table::Unreadable,
            QueueEntry::Release(stored) if stored.outcome.is_some() => Table::Releases,
            QueueEntry::Release(_) => {
                return Err(JournalError::NotForThis {
                    id,
                    state: "a release that has not ended, which the agent ends",
                });
            }
            QueueEntry::Record(_) => {
                return Err(JournalError::NotForThis { id, state: "a record that waits, which the agent delivers" });
            }
        };
        self.commit(&[Change::Remove(table, id)])?;
        Ok(found)
    }
}
