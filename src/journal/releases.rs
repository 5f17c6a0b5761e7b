//! Releases: from before the first byte is sent until somebody knows how they ended.

use super::JournalError;
use super::database::Change;
use super::entry::{StoredRecord, StoredRelease, encode};
use super::store::{PAGE, Store};
use super::table::Table;
use crate::domain::{EntryId, JobRecord, Outcome, Release};

impl Store {
    pub(super) fn store_releases(
        &mut self,
        releases: &[Release],
        instead_of: &[EntryId],
    ) -> Result<Vec<EntryId>, JournalError> {
        let mut changes = Vec::new();
        let (mut ids, mut bytes) = (Vec::new(), 0);
        for release in releases {
            let id = self.take_id();
            let stored = StoredRelease { id, release: release.clone(), outcome: None, carried_over: false };
            let value = encode(Table::Releases, &stored)?;
            bytes += value.len();
            ids.push(id);
            changes.push(Change::Put(Table::Releases, id, value));
        }
        changes.extend(instead_of.iter().map(|id| Change::Remove(Table::Releases, *id)));
        self.make_room(releases.len() as u64, bytes as u64)?;
        self.commit_parts(changes)?;
        Ok(ids)
    }

    pub(super) fn end_release(
        &mut self,
        id: EntryId,
        outcome: &Outcome,
        record: Option<&JobRecord>,
    ) -> Result<(), JournalError> {
        let Some(mut stored) = self.get::<StoredRelease>(Table::Releases, id)? else {
            return Ok(());
        };
        // A record of a release from a damaged database may have been delivered before.
        let attempted = stored.carried_over.then_some(stored.release.time);
        let mut changes = vec![match outcome {
            Outcome::Unknown(_) => {
                stored.outcome = Some(outcome.clone());
                Change::Put(Table::Releases, id, encode(Table::Releases, &stored)?)
            }
            _ => Change::Remove(Table::Releases, id),
        }];
        if let Some(record) = record {
            let id = self.take_id();
            let value = encode(Table::Records, &StoredRecord { id, record: record.clone(), attempted })?;
            changes.push(Change::Put(Table::Records, id, value));
        }
        self.commit(&changes)
    }

    pub(super) fn open_releases(&mut self) -> Result<Vec<StoredRelease>, JournalError> {
        let mut open = Vec::new();
        self.each_release(|stored| {
            if stored.outcome.is_none() {
                open.push(stored);
            }
            true
        })?;
        Ok(open)
    }

    /// The oldest release that ended as unknown.
    pub(super) fn ended_release(&mut self) -> Result<Option<EntryId>, JournalError> {
        let mut ended = None;
        self.each_release(|stored| {
            ended = stored.outcome.is_some().then_some(stored.id);
            ended.is_none()
        })?;
        Ok(ended)
    }

    /// Takes releases out that were stored and never told to anybody, so never sent: a failed write left them.
    pub(super) fn forget_untold(&mut self, from: EntryId) -> Result<(), JournalError> {
        let mut untold = Vec::new();
        self.each_release(|stored| {
            untold.extend((stored.id >= from).then_some(Change::Remove(Table::Releases, stored.id)));
            true
        })?;
        self.commit_parts(untold)
    }

    /// Shows every release until `more` says no, with a page of them in memory.
    fn each_release(&mut self, mut more: impl FnMut(StoredRelease) -> bool) -> Result<(), JournalError> {
        let mut after = 0;
        loop {
            let page: Vec<StoredRelease> = self.page(Table::Releases, after, PAGE)?;
            let Some(last) = page.last() else {
                return Ok(());
            };
            after = last.id;
            if !page.into_iter().all(&mut more) {
                return Ok(());
            }
        }
    }
}
