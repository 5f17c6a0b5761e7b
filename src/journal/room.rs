//! Makes room for new entries: decides which ones are given up for them, and in which order.

use jiff::{SignedDuration, Timestamp};

use super::change::Change;
use super::entry::{DeadLetter, Entry, StoredEvent, StoredRecord, StoredRelease};
use super::error::JournalError;
use super::limits::PAYLOAD_LIMIT;
use super::store::Store;
use super::table::Table;
use crate::domain::EntryId;

impl Store {
    /// Makes room for so many entries and bytes. Entries that are too old go first, then the oldest events, releases that
    /// ended as unknown, dead letters, and job records last. Each one is counted and logged as an error. A release that has
    /// not ended never goes.
    pub(super) fn make_room(&mut self, entries: u64, bytes: u64) -> Result<(), JournalError> {
        self.drop_old()?;
        while self.database().tally().waiting() + entries > self.limits().max_entries.into()
            || self.database().tally().bytes + bytes > PAYLOAD_LIMIT
        {
            let Some((table, id)) = self.least_needed()? else {
                return Ok(());
            };
            self.lose(table, id, "the journal is at its limit")?;
        }
        Ok(())
    }

    fn least_needed(&mut self) -> Result<Option<(Table, EntryId)>, JournalError> {
        if let Some(event) = self.first::<StoredEvent>(Table::Events)? {
            return Ok(Some((Table::Events, event.id)));
        }
        if let Some(release) = self.ended_release()? {
            return Ok(Some((Table::Releases, release)));
        }
        if let Some(letter) = self.first::<DeadLetter>(Table::Dead)? {
            return Ok(Some((Table::Dead, letter.id)));
        }
        Ok(self.first::<StoredRecord>(Table::Records)?.map(|stored| (Table::Records, stored.id)))
    }

    /// Gives up entries that are too old. By a time that is not certain none is, and neither is one whose time is not known.
    fn drop_old(&mut self) -> Result<(), JournalError> {
        let Some(now) = self.certain_time() else {
            return Ok(());
        };
        let Ok(oldest) = SignedDuration::try_from(self.limits().max_age).and_then(|age| now.checked_sub(age)) else {
            return Ok(());
        };
        let is_old = |time: Option<Timestamp>| time.is_some_and(|time| time < oldest);
        while let Some(event) = self.first::<StoredEvent>(Table::Events)?.filter(|event| is_old(event.time())) {
            self.lose(Table::Events, event.id, "it is older than outbox.max_age")?;
        }
        while let Some(stored) = self.first::<StoredRecord>(Table::Records)?.filter(|stored| is_old(stored.time())) {
            self.lose(Table::Records, stored.id, "it is older than outbox.max_age")?;
        }
        while let Some(letter) = self.first::<DeadLetter>(Table::Dead)?.filter(|letter| is_old(letter.time())) {
            self.lose(Table::Dead, letter.id, "it is older than outbox.max_age")?;
        }
        let ended = |stored: &StoredRelease| stored.outcome.is_some() && is_old(stored.time());
        while let Some(stored) = self.first::<StoredRelease>(Table::Releases)?.filter(&ended) {
            self.lose(Table::Releases, stored.id, "it is older than outbox.max_age")?;
        }
        Ok(())
    }

    fn lose(&mut self, table: Table, id: EntryId, why: &str) -> Result<(), JournalError> {
        tracing::error!(id, table = table.name(), why, "entry given up");
        self.add_lost(1);
        self.commit(&[Change::Remove(table, id)])
    }

    /// The oldest release that ended as unknown.
    pub(super) fn ended_release(&mut self) -> Result<Option<EntryId>, JournalError> {
        let mut ended = None;
        self.each(Table::Releases, 0, |stored: StoredRelease| {
            ended = stored.outcome.is_some().then_some(stored.id);
            ended.is_none()
        })?;
        Ok(ended)
    }
}
