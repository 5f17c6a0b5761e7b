//! The database as its one thread sees it. Everything here is synchronous; durable only after [`Store::sync`].
//!
//! sled 0.34.7 has seven habits that this file is written around; they were measured for this project. Those that
//! matter here: `flush` does not reach the platter, so the file is synced by a descriptor of our own; a power cut during
//! a snapshot leaves `snap.*.generating`, which keeps the database closed for ever; opening a damaged one may panic.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sled::Transactional;
use sled::transaction::{ConflictableTransactionError, TransactionError, TransactionalTree};

use super::entry::{DeadLetter, StoredEvent, StoredRecord, StoredRelease, decode, encode};
use super::{JournalError, Listing};
use crate::domain::{EntryId, JobRecord, Outcome, Release};

/// Events that are kept for the broker (design, section 7).
pub const EVENT_LIMIT: usize = 1_000;

/// Acknowledged records that are remembered, to tell an equal one in the server's history from one in doubt.
pub const LEDGER_LIMIT: usize = 64;

/// Enough for a tap's working set; 1 MB keeps 100,000 entries at 11 MB resident, 8 MB at 19 MB.
const CACHE_BYTES: u64 = 1024 * 1024;

/// How often sled collects its garbage. `None` would never: the file would grow for ever.
const GARBAGE_EVERY_MS: Option<u64> = Some(500);

/// The layout of the trees; a database with a higher number belongs to a newer agent.
const SCHEMA: u64 = 1;

const NEXT_ID: &[u8] = b"next-id";
const SCHEMA_KEY: &[u8] = b"schema";

/// How much waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Releases without an outcome, or with an unknown one.
    pub releases: usize,
    /// Job records that the server has not acknowledged.
    pub records: usize,
    /// Job records that it refused for good.
    pub dead: usize,
    /// Events that the broker has not acknowledged.
    pub events: usize,
    /// Events that went unsent because more than [`EVENT_LIMIT`] waited, since the start.
    pub lost_events: u64,
    /// When the oldest waiting record was made.
    pub oldest_record: Option<Timestamp>,
}

pub(super) struct Store {
    db: sled::Db,
    /// A descriptor of our own for sled's file: the one way to reach the platter.
    platter: File,
    meta: sled::Tree,
    releases: sled::Tree,
    records: sled::Tree,
    /// The last records that the server acknowledged.
    ledger: sled::Tree,
    dead: sled::Tree,
    events: sled::Tree,
    unsynced: usize,
    counts: Counts,
}

impl Store {
    pub(super) fn open(state_dir: &Path) -> Result<Self, JournalError> {
        let dir = state_dir.join("db");
        std::fs::create_dir_all(&dir).map_err(|error| disk(&format!("make {}", dir.display()), &error))?;
        remove_half_snapshots(&dir)?;
        let damaged = |detail: String| JournalError::Damaged { path: dir.display().to_string(), detail };
        let opened = catch_unwind(AssertUnwindSafe(|| Self::open_trees(&dir)));
        match opened {
            Err(_) => Err(damaged("it cannot be opened at all".to_owned())),
            Ok(Err(sled::Error::Io(error))) if is_lock(&error) => {
                Err(JournalError::Locked { path: state_dir.display().to_string() })
            }
            Ok(Err(sled::Error::Io(error))) => Err(disk(&format!("open {}", dir.display()), &error)),
            Ok(Err(error)) => Err(damaged(error.to_string())),
            Ok(Ok(mut store)) => {
                store.check_schema()?;
                store.count()?;
                store.sync()?;
                Ok(store)
            }
        }
    }

    fn open_trees(dir: &Path) -> sled::Result<Self> {
        let config = sled::Config::new().path(dir).cache_capacity(CACHE_BYTES).flush_every_ms(GARBAGE_EVERY_MS);
        let db = config.open()?;
        let platter = File::open(dir.join("db"))?;
        Ok(Self {
            meta: db.open_tree("meta")?,
            releases: db.open_tree("releases")?,
            records: db.open_tree("records")?,
            ledger: db.open_tree("ledger")?,
            dead: db.open_tree("dead")?,
            events: db.open_tree("events")?,
            platter,
            db,
            // The trees themselves have to reach the platter once.
            unsynced: 1,
            counts: Counts::default(),
        })
    }

    fn check_schema(&self) -> Result<(), JournalError> {
        match self.meta.get(SCHEMA_KEY).map_err(sled_error)?.map(|bytes| number(&bytes)) {
            None => self.meta.insert(SCHEMA_KEY, &SCHEMA.to_be_bytes()).map(drop).map_err(sled_error),
            Some(SCHEMA) => Ok(()),
            Some(other) => Err(JournalError::Disk(format!(
                "its schema is {other}, this agent knows {SCHEMA}; use the newer agent, or another state_dir"
            ))),
        }
    }

    /// Makes everything before it durable. sled's flush writes, `sync_data` makes it last.
    pub(super) fn sync(&mut self) -> Result<(), JournalError> {
        if self.unsynced == 0 {
            return Ok(());
        }
        self.db.flush().map_err(sled_error)?;
        self.platter.sync_data().map_err(|error| disk("sync", &error))?;
        self.unsynced = 0;
        Ok(())
    }

    pub(super) fn unsynced_bytes(&self) -> usize {
        self.unsynced
    }

    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    pub(super) fn store_releases(
        &mut self,
        releases: &[Release],
        instead_of: &[EntryId],
    ) -> Result<Vec<EntryId>, JournalError> {
        let entries: Vec<_> = releases
            .iter()
            .map(|release| encode(&StoredRelease { id: 0, release: release.clone(), outcome: None }))
            .collect::<Result<_, _>>()?;
        let first = (&self.meta, &self.releases).transaction(|(meta, tree)| {
            let first = take_ids(meta, entries.len() as u64)?;
            for (id, entry) in (first..).zip(&entries) {
                tree.insert(&id.to_be_bytes(), entry.as_slice())?;
            }
            let mut replaced = 0;
            for id in instead_of {
                replaced += usize::from(tree.remove(&id.to_be_bytes())?.is_some());
            }
            Ok((first, replaced))
        });
        let (first, replaced) = first.map_err(transaction_error)?;
        self.unsynced += entries.iter().map(Vec::len).sum::<usize>();
        self.counts.releases += entries.len();
        self.counts.releases -= replaced;
        Ok((first..).take(entries.len()).collect())
    }

    pub(super) fn end_release(
        &mut self,
        id: EntryId,
        outcome: &Outcome,
        record: Option<&JobRecord>,
    ) -> Result<(), JournalError> {
        let Some(mut stored) = get::<StoredRelease>(&self.releases, id)? else {
            return Ok(());
        };
        let kept = match outcome {
            Outcome::Unknown(_) => {
                stored.outcome = Some(outcome.clone());
                Some(encode(&stored)?)
            }
            _ => None,
        };
        let entry = record
            .map(|record| encode(&StoredRecord { id: 0, record: record.clone(), attempted: None }))
            .transpose()?;
        let ended = (&self.meta, &self.releases, &self.records).transaction(|(meta, releases, records)| {
            match &kept {
                Some(bytes) => releases.insert(&id.to_be_bytes(), bytes.as_slice())?,
                None => releases.remove(&id.to_be_bytes())?,
            };
            if let Some(entry) = &entry {
                let next = take_ids(meta, 1)?;
                records.insert(&next.to_be_bytes(), entry.as_slice())?;
            }
            Ok(())
        });
        ended.map_err(transaction_error)?;
        self.unsynced += 1 + kept.as_ref().map_or(0, Vec::len) + entry.as_ref().map_or(0, Vec::len);
        self.counts.releases -= usize::from(kept.is_none());
        if let Some(record) = record {
            self.counts.records += 1;
            self.counts.oldest_record.get_or_insert(record.time);
        }
        Ok(())
    }

    pub(super) fn open_releases(&self) -> Result<Vec<StoredRelease>, JournalError> {
        Ok(self.all_releases()?.into_iter().filter(|stored| stored.outcome.is_none()).collect())
    }

    fn all_releases(&self) -> Result<Vec<StoredRelease>, JournalError> {
        scan(&self.releases, usize::MAX, |id, stored: StoredRelease| StoredRelease { id, ..stored })
    }

    pub(super) fn oldest_records(&self, limit: usize) -> Result<Vec<StoredRecord>, JournalError> {
        scan(&self.records, limit, |id, stored: StoredRecord| StoredRecord { id, ..stored })
    }

    fn oldest_record_time(&self) -> Result<Option<Timestamp>, JournalError> {
        Ok(self.oldest_records(1)?.pop().map(|stored| stored.record.time))
    }

    pub(super) fn mark_record(&mut self, id: EntryId, attempted: Option<Timestamp>) -> Result<(), JournalError> {
        let Some(stored) = get::<StoredRecord>(&self.records, id)? else {
            return Ok(());
        };
        self.put(&self.records.clone(), id, &StoredRecord { attempted, ..stored })
    }

    pub(super) fn acknowledge_record(&mut self, id: EntryId) -> Result<(), JournalError> {
        let Some(bytes) = self.records.get(id.to_be_bytes()).map_err(sled_error)? else {
            return Ok(());
        };
        let oldest = if self.ledger.len() >= LEDGER_LIMIT { self.ledger.first().map_err(sled_error)? } else { None };
        let moved = (&self.records, &self.ledger).transaction(|(records, ledger)| {
            records.remove(&id.to_be_bytes())?;
            ledger.insert(&id.to_be_bytes(), &bytes)?;
            if let Some((key, _)) = &oldest {
                ledger.remove(key)?;
            }
            Ok(())
        });
        moved.map_err(transaction_error)?;
        self.unsynced += bytes.len();
        self.record_left()
    }

    pub(super) fn ledger(&self) -> Result<Vec<StoredRecord>, JournalError> {
        scan(&self.ledger, LEDGER_LIMIT, |id, stored: StoredRecord| StoredRecord { id, ..stored })
    }

    fn record_left(&mut self) -> Result<(), JournalError> {
        self.counts.records -= 1;
        self.counts.oldest_record = self.oldest_record_time()?;
        Ok(())
    }

    pub(super) fn bury_record(&mut self, id: EntryId, reason: &str) -> Result<(), JournalError> {
        let Some(stored) = get::<StoredRecord>(&self.records, id)? else {
            return Ok(());
        };
        let letter = encode(&DeadLetter { id: 0, record: stored.record, reason: reason.to_owned() })?;
        let buried = (&self.records, &self.dead).transaction(|(records, dead)| {
            records.remove(&id.to_be_bytes())?;
            dead.insert(&id.to_be_bytes(), letter.as_slice())?;
            Ok(())
        });
        buried.map_err(transaction_error)?;
        self.unsynced += letter.len();
        self.counts.dead += 1;
        self.record_left()
    }

    pub(super) fn store_event(&mut self, station: &str, payload: &str) -> Result<EntryId, JournalError> {
        let entry = encode(&StoredEvent { id: 0, station: station.to_owned(), payload: payload.to_owned() })?;
        let oldest = if self.counts.events >= EVENT_LIMIT { self.events.first().map_err(sled_error)? } else { None };
        let stored = (&self.meta, &self.events).transaction(|(meta, events)| {
            let id = take_ids(meta, 1)?;
            events.insert(&id.to_be_bytes(), entry.as_slice())?;
            if let Some((key, _)) = &oldest {
                events.remove(key)?;
            }
            Ok(id)
        });
        let id = stored.map_err(transaction_error)?;
        self.unsynced += entry.len();
        match oldest {
            Some(_) => self.counts.lost_events += 1,
            None => self.counts.events += 1,
        }
        Ok(id)
    }

    pub(super) fn events_after(&self, after: EntryId, limit: usize) -> Result<Vec<StoredEvent>, JournalError> {
        self.events
            .range((after + 1).to_be_bytes()..)
            .take(limit)
            .map(|entry| {
                let (key, bytes) = entry.map_err(sled_error)?;
                let id = number(&key);
                decode(id, &bytes).map(|event: StoredEvent| StoredEvent { id, ..event })
            })
            .collect()
    }

    pub(super) fn forget_event(&mut self, id: EntryId) -> Result<(), JournalError> {
        if self.events.remove(id.to_be_bytes()).map_err(sled_error)?.is_some() {
            self.unsynced += 1;
            self.counts.events -= 1;
        }
        Ok(())
    }

    pub(super) fn list(&self) -> Result<Listing, JournalError> {
        Ok(Listing {
            releases: self.all_releases()?,
            records: scan(&self.records, usize::MAX, |id, stored: StoredRecord| StoredRecord { id, ..stored })?,
            dead: scan(&self.dead, usize::MAX, |id, letter: DeadLetter| DeadLetter { id, ..letter })?,
        })
    }

    fn put<T: Serialize>(&mut self, tree: &sled::Tree, id: EntryId, entry: &T) -> Result<(), JournalError> {
        let bytes = encode(entry)?;
        self.unsynced += bytes.len();
        tree.insert(id.to_be_bytes(), bytes).map(drop).map_err(sled_error)
    }

    fn count(&mut self) -> Result<(), JournalError> {
        self.counts = Counts {
            releases: self.releases.len(),
            records: self.records.len(),
            dead: self.dead.len(),
            events: self.events.len(),
            lost_events: 0,
            oldest_record: self.oldest_record_time()?,
        };
        Ok(())
    }
}

/// The next `count` ids, in the transaction that uses them. sled's own `generate_id` jumps after a recovery.
fn take_ids(meta: &TransactionalTree, count: u64) -> Result<EntryId, ConflictableTransactionError<()>> {
    let next = meta.get(NEXT_ID)?.map_or(1, |bytes| number(&bytes));
    meta.insert(NEXT_ID, &(next + count).to_be_bytes())?;
    Ok(next)
}

fn number(bytes: &[u8]) -> u64 {
    bytes.try_into().map(u64::from_be_bytes).unwrap_or_default()
}

fn get<T: DeserializeOwned>(tree: &sled::Tree, id: EntryId) -> Result<Option<T>, JournalError> {
    tree.get(id.to_be_bytes()).map_err(sled_error)?.map(|bytes| decode(id, &bytes)).transpose()
}

fn scan<T: DeserializeOwned>(
    tree: &sled::Tree,
    limit: usize,
    with_id: impl Fn(EntryId, T) -> T,
) -> Result<Vec<T>, JournalError> {
    tree.iter()
        .take(limit)
        .map(|entry| {
            let (key, bytes) = entry.map_err(sled_error)?;
            let id = number(&key);
            decode(id, &bytes).map(|entry| with_id(id, entry))
        })
        .collect()
}

/// A power cut while sled writes a snapshot leaves this file, and with it the database never opens again.
fn remove_half_snapshots(dir: &Path) -> Result<(), JournalError> {
    let entries = std::fs::read_dir(dir).map_err(|error| disk(&format!("read {}", dir.display()), &error))?;
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            std::fs::remove_file(entry.path()).map_err(|error| disk(&format!("remove {name}"), &error))?;
        }
    }
    Ok(())
}

/// sled tells a held lock as an I/O error with this text.
fn is_lock(error: &std::io::Error) -> bool {
    error.to_string().contains("could not acquire lock")
}

fn disk(what: &str, error: &std::io::Error) -> JournalError {
    JournalError::Disk(format!("{what}: {error}"))
}

fn sled_error(error: sled::Error) -> JournalError {
    JournalError::Disk(error.to_string())
}

fn transaction_error(error: TransactionError<()>) -> JournalError {
    match error {
        TransactionError::Storage(error) => sled_error(error),
        TransactionError::Abort(()) => JournalError::Disk("a transaction was given up".to_owned()),
    }
}
