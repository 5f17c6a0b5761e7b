//! The journal of a box as its contract (`src/journal/mod.rs`): what is answered is there after every cut, what was under
//! way is there or not, and nothing else changes. `tests/it/journal_model.rs` ties the real journal to the same contract.

use std::collections::{BTreeMap, HashSet};

use jiff::Timestamp;

use crate::clock::{self, Moment};
use crate::domain::{EntryId, JobRecord, Outcome, Reason, Release, StationName};
use crate::journal::{
    Counts, DeadLetter, JournalError, LEDGER_AGE, LEDGER_LIMIT, LIST_LIMIT, Listing, QueueEntry, RecordSearch,
    StoredEvent, StoredRecord, StoredRelease,
};

/// The durable state of a box.
#[derive(Debug, Default)]
pub(crate) struct DiskModel {
    number: usize,
    next: EntryId,
    pub(super) releases: BTreeMap<EntryId, StoredRelease>,
    pub(super) records: BTreeMap<EntryId, StoredRecord>,
    ledger: BTreeMap<EntryId, StoredRecord>,
    pub(super) dead: BTreeMap<EntryId, DeadLetter>,
    pub(super) events: BTreeMap<EntryId, StoredEvent>,
    set_aside: usize,
    unreadable: usize,
    /// The record that was marked last.
    marked: Option<EntryId>,
    /// The boots in which entries were stored without a time, with the time at which they began where that is known.
    boots: BTreeMap<String, Option<Timestamp>>,
    /// The present moment, by the box.
    pub(super) now: Option<Moment>,
    /// Changes that the books have not followed yet.
    pub(super) seen: Vec<Seen>,
}

/// A change that the books follow.
#[derive(Debug)]
pub(super) enum Seen {
    Stored(Release),
    Replaced(StoredRelease),
    Ended(StoredRelease, Outcome),
    Buried(EntryId, JobRecord),
    EventStored(EntryId, String),
}

/// The methods of the real store, by their contract.
impl DiskModel {
    pub(super) fn new(number: usize) -> Self {
        Self { number, next: 1, ..Self::default() }
    }

    pub(super) fn counts(&self, full: bool) -> Counts {
        Counts {
            releases: self.releases.len(),
            records: self.records.len(),
            dead: self.dead.len(),
            events: self.events.len(),
            unreadable: self.unreadable,
            set_aside: self.set_aside,
            full,
            oldest_record: self.records.values().next().map(|stored| stored.record.time),
            ..Counts::default()
        }
    }

    /// The record that was marked last, with its station.
    pub(super) fn marked(&self) -> Option<(EntryId, String)> {
        let id = self.marked?;
        let stored = self.records.get(&id).or_else(|| self.ledger.get(&id))?;
        Some((id, stored.record.station.to_string()))
    }

    fn take_id(&mut self) -> EntryId {
        self.next += 1;
        self.next - 1
    }

    /// The time as it is stored, and the moment where the clock is certainly wrong.
    fn timed(&mut self, time: Timestamp) -> (Timestamp, Option<Moment>) {
        if clock::is_possible(time) {
            return (time, None);
        }
        let Some(now) = self.now.clone() else {
            return (Timestamp::UNIX_EPOCH, None);
        };
        self.boots.entry(now.boot.clone()).or_insert(None);
        (Timestamp::UNIX_EPOCH, Some(now))
    }

    fn derived(&self, time: &mut Timestamp, made: &mut Option<Moment>) {
        let began = made.as_ref().and_then(|made| *self.boots.get(&made.boot)?);
        if let Some(wall) = began.and_then(|began| made.as_ref()?.wall(began)) {
            (*time, *made) = (wall, None);
        }
    }

    pub(crate) fn note_time(&mut self) -> Result<(), JournalError> {
        let wall = Timestamp::now();
        if let Some(now) = self.now.as_ref().filter(|_| clock::is_possible(wall))
            && let Some(began @ None) = self.boots.get_mut(&now.boot)
        {
            *began = now.boot_began(wall);
        }
        Ok(())
    }

    pub(crate) fn store_releases(&mut self, releases: &[Release]) -> Result<Vec<EntryId>, JournalError> {
        let mut ids = Vec::new();
        for release in releases {
            let id = self.take_id();
            let mut release = release.clone();
            let (time, made) = self.timed(release.time);
            release.time = time;
            self.seen.push(Seen::Stored(release.clone()));
            self.releases.insert(id, StoredRelease { id, release, outcome: None, carried_over: None, made });
            ids.push(id);
        }
        Ok(ids)
    }

    pub(crate) fn remove_replaced(&mut self, ids: &[EntryId]) -> Result<(), JournalError> {
        for id in ids {
            self.seen.extend(self.releases.remove(id).map(Seen::Replaced));
        }
        Ok(())
    }

    pub(crate) fn end_release(
        &mut self,
        id: EntryId,
        outcome: &Outcome,
        record: Option<&JobRecord>,
    ) -> Result<(), JournalError> {
        let release = self.releases.get(&id).cloned();
        if release.is_none() && record.is_none_or(|record| self.is_recorded(record)) {
            return Ok(());
        }
        self.seen.extend(release.clone().map(|stored| Seen::Ended(stored, outcome.clone())));
        match &release {
            Some(stored) if matches!(outcome, Outcome::Unknown(_)) => {
                self.releases.insert(id, StoredRelease { outcome: Some(outcome.clone()), ..stored.clone() });
            }
            _ => drop(self.releases.remove(&id)),
        }
        if let Some(record) = record {
            let carried_over = release.as_ref().map_or(Some(Timestamp::now()), |stored| stored.carried_over);
            let earliest = release.as_ref().map_or(record.time, |stored| stored.release.time);
            let (mut record, id) = (record.clone(), self.take_id());
            let (time, made) = match &release {
                Some(stored) if !clock::is_possible(record.time) && stored.release.time == record.time => {
                    (stored.release.time, stored.made.clone())
                }
                _ => self.timed(record.time),
            };
            record.time = time;
            let attempted = carried_over.map(|_| earliest);
            self.records.insert(id, StoredRecord { id, record, attempted, carried_over, made, last_error: None });
        }
        Ok(())
    }

    fn is_recorded(&self, record: &JobRecord) -> bool {
        let is_it = |found: &JobRecord| found.tap == record.tap && found.document == record.document;
        self.records.values().chain(self.ledger.values()).any(|stored| is_it(&stored.record))
            || self.dead.values().any(|letter| is_it(&letter.record))
    }

    fn read_release(&self, stored: &StoredRelease) -> StoredRelease {
        let mut stored = stored.clone();
        self.derived(&mut stored.release.time, &mut stored.made);
        stored
    }

    fn read_record(&self, stored: &StoredRecord) -> StoredRecord {
        let mut stored = stored.clone();
        self.derived(&mut stored.record.time, &mut stored.made);
        stored
    }

    pub(crate) fn open_releases(&mut self) -> Result<Vec<StoredRelease>, JournalError> {
        let open = self.releases.values().filter(|stored| stored.outcome.is_none());
        Ok(open.map(|stored| self.read_release(stored)).collect())
    }

    pub(crate) fn search_records(
        &mut self,
        after: EntryId,
        held: &HashSet<StationName>,
    ) -> Result<RecordSearch, JournalError> {
        let mut rest = self.records.range(after + 1..).map(|(_, stored)| stored);
        let found = rest.find(|stored| !held.contains(&stored.record.station));
        Ok(found.map_or(RecordSearch::End, |stored| RecordSearch::Found(Box::new(self.read_record(stored)))))
    }

    pub(crate) fn oldest_records(&mut self, limit: usize) -> Result<Vec<StoredRecord>, JournalError> {
        Ok(self.records.values().take(limit).map(|stored| self.read_record(stored)).collect())
    }

    pub(crate) fn note_error(&mut self, id: EntryId, error: &str) -> Result<(), JournalError> {
        if let Some(stored) = self.records.get_mut(&id) {
            stored.last_error = Some(error.to_owned());
        }
        Ok(())
    }

    pub(crate) fn mark_record(&mut self, id: EntryId, attempted: Option<Timestamp>) -> Result<(), JournalError> {
        if attempted.is_some() {
            self.marked = Some(id);
        }
        if let Some(stored) = self.records.get_mut(&id) {
            (stored.attempted, stored.carried_over) = (attempted, None);
        }
        Ok(())
    }

    pub(crate) fn acknowledge_record(&mut self, id: EntryId) -> Result<(), JournalError> {
        let Some(stored) = self.records.remove(&id) else {
            return Ok(());
        };
        let newest = stored.attempted;
        self.ledger.insert(id, stored);
        let is_old = |old: &StoredRecord| match (old.attempted, newest) {
            (Some(old), Some(new)) => new.duration_since(old) > LEDGER_AGE,
            _ => false,
        };
        for _ in 0..20 {
            let old = self.ledger.first_entry();
            let Some(old) = old.filter(|old| is_old(old.get())) else { break };
            old.remove();
        }
        while self.ledger.len() > LEDGER_LIMIT {
            self.ledger.pop_first();
        }
        Ok(())
    }

    pub(crate) fn ledger(&mut self) -> Result<Vec<StoredRecord>, JournalError> {
        Ok(self.ledger.values().map(|stored| self.read_record(stored)).collect())
    }

    pub(crate) fn bury_record(&mut self, id: EntryId, reason: &str) -> Result<(), JournalError> {
        if let Some(stored) = self.records.remove(&id) {
            self.seen.push(Seen::Buried(id, stored.record.clone()));
            self.dead.insert(id, DeadLetter { id, record: stored.record, reason: reason.to_owned() });
        }
        Ok(())
    }

    pub(crate) fn store_event(&mut self, station: &str, payload: &str) -> Result<EntryId, JournalError> {
        let id = self.take_id();
        self.seen.push(Seen::EventStored(id, payload.to_owned()));
        let time = Some(Timestamp::now()).filter(|now| clock::is_possible(*now));
        self.events.insert(id, StoredEvent { id, station: station.to_owned(), payload: payload.to_owned(), time });
        Ok(id)
    }

    pub(crate) fn events_after(&mut self, after: EntryId, limit: usize) -> Result<Vec<StoredEvent>, JournalError> {
        Ok(self.events.range(after + 1..).take(limit).map(|(_, event)| event.clone()).collect())
    }

    pub(crate) fn forget_event(&mut self, id: EntryId) -> Result<(), JournalError> {
        self.events.remove(&id);
        Ok(())
    }

    pub(crate) fn list(&mut self, after: EntryId) -> Result<Listing, JournalError> {
        let releases: Vec<_> =
            self.releases.range(after + 1..).take(LIST_LIMIT).map(|(_, it)| self.read_release(it)).collect();
        let records: Vec<_> =
            self.records.range(after + 1..).take(LIST_LIMIT).map(|(_, it)| self.read_record(it)).collect();
        let dead: Vec<_> = self.dead.range(after + 1..).take(LIST_LIMIT).map(|(_, it)| it.clone()).collect();
        let last = [
            releases.get(LIST_LIMIT - 1).map(|it| it.id),
            records.get(LIST_LIMIT - 1).map(|it| it.id),
            dead.get(LIST_LIMIT - 1).map(|it| it.id),
        ];
        let next = last.into_iter().flatten().min();
        let mut listing = Listing { releases, records, dead, next };
        if let Some(last) = next {
            listing.releases.retain(|it| it.id <= last);
            listing.records.retain(|it| it.id <= last);
            listing.dead.retain(|it| it.id <= last);
        }
        Ok(listing)
    }

    pub(crate) fn retry(&mut self, id: EntryId) -> Result<EntryId, JournalError> {
        let letter = self.dead.remove(&id).ok_or(JournalError::Unknown(id))?;
        let next = self.take_id();
        let (attempted, carried_over, made, last_error) = (None, None, None, None);
        let stored = StoredRecord { id: next, record: letter.record, attempted, carried_over, made, last_error };
        self.records.insert(next, stored);
        Ok(next)
    }

    pub(crate) fn show(&mut self, id: EntryId) -> Result<QueueEntry, JournalError> {
        Err(JournalError::Unknown(id))
    }

    pub(crate) fn give_up(&mut self, id: EntryId) -> Result<QueueEntry, JournalError> {
        Err(JournalError::Unknown(id))
    }

    /// Nobody in the world asks for a check of the files.
    pub(crate) fn verify_step<T>(&mut self, _: T) -> Result<T, JournalError> {
        Err(JournalError::Closed)
    }

    /// An entry of a newer version, which is set aside alone, and a word of one.
    pub(super) fn newer_entry(&mut self) {
        self.take_id();
        self.unreadable += 1;
        for stored in self.releases.values_mut().filter(|stored| stored.outcome.is_some()) {
            stored.outcome = Some(Outcome::Unknown(Reason::Other("toner-was-stolen".into())));
        }
    }

    /// A damage: the database is set aside, and what can be read is carried over. Nobody knows what became of it since.
    pub(super) fn rot(&mut self, now: Timestamp) {
        self.set_aside += 1;
        for stored in self.releases.values_mut() {
            stored.carried_over = Some(now);
        }
        for stored in self.records.values_mut() {
            stored.attempted = stored.attempted.or(Some(stored.record.time));
            stored.carried_over = Some(now);
        }
        let recorded = |stored: &StoredRelease| {
            let is_it = |record: &JobRecord| {
                record.tap == stored.release.tap && record.document == stored.release.document.uuid
            };
            self.records.values().chain(self.ledger.values()).any(|it| is_it(&it.record))
                || self.dead.values().any(|it| is_it(&it.record))
        };
        let ended: Vec<EntryId> = self.releases.values().filter(|it| recorded(it)).map(|it| it.id).collect();
        for id in ended {
            self.releases.remove(&id);
        }
        debug_assert!(self.number < 100, "a world has few boxes");
    }
}
