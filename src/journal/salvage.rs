//! Carries the entries of a damaged database over into a new one.
//!
//! There are two ways. A copy may open whole when sled's snapshots and settings are left out; it counts if it is as new as was
//! promised. Otherwise the file is read from end to end for entries, which are known by their frame wherever they stand.
//!
//! An entry that is found may have left the journal, because its removal may be the part that was lost. Three facts show
//! which entries have left: the newest tally that was synced names the first number of a table, the records of one station leave
//! oldest first, and a release whose record is there has ended. A newer tally proves nothing, because the power may have gone
//! before the entries of the same transaction were written. All other records are in doubt, and so will be the records of
//! releases: the server is asked before any of them is sent.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use jiff::Timestamp;

use super::boot_times::BootTimes;
use super::change::Change;
use super::database::{Database, OpenOptions};
use super::entry::{DeadLetter, Entry, StoredEvent, StoredRecord, StoredRelease, decode, encode};
use super::error::JournalError;
use super::files::{copy_dir, remove};
use super::frame::{BOOTS_NUMBER, TALLY_NUMBER, frame, table_of_encrypted, unframe};
use super::limits::LEDGER_LIMIT;
use super::scan::{FileFacts, visit_frames};
use super::snapshots::snapshots;
use super::table::{Table, Tally};
use crate::domain::{EntryId, JobRecord, StationName, TapId};

/// Carries over the entries that can be read in the database `db`, whose damage was found `now`, and returns a description of
/// that for the note. So many transactions are `marked` as synced. Copies of the database are made in the directory `copies`.
pub(super) fn carry_over(
    db: &Path,
    now: Timestamp,
    marked: u64,
    copies: &Path,
    into: &mut Database,
    options: &OpenOptions,
) -> Result<String, JournalError> {
    let file = db.join("db");
    let facts = FileFacts::of(&file);
    // An earlier version wrote no seal.
    let promised = Some(facts.synced.max(marked)).filter(|promised| *promised > 0).unwrap_or(facts.written);
    let mut salvager = Salvager::new(into, now, promised);
    read_entries(&file, options, |number, body| salvager.learn(number, body))?;
    let copy = open_copy(db, copies, options)?;
    let way = match copy.filter(|copy| copy.tally().change >= promised) {
        Some(whole) => {
            salvager.next_id = salvager.next_id.max(whole.tally().next_id);
            salvager.boot_times = whole.boot_times().clone();
            for table in [Table::Ledger, Table::Dead, Table::Records, Table::Releases, Table::Events] {
                for entry in whole.entries(table, 0) {
                    let (id, bytes) = entry?;
                    salvager.bring(table, id, &bytes)?;
                }
            }
            "all entries are there"
        }
        None => {
            read_entries(&file, options, |number, body| salvager.bring_body(number, body))?;
            salvager.settle()?;
            "entries were read one by one"
        }
    };
    salvager.bring_boot_times()?;
    Ok(format!("{way}; carried over: {}", salvager.summary()))
}

type Repair = fn(&Path) -> Result<(), JournalError>;

/// Files that sled can do without, and that may keep it from opening.
const REPAIRS: [(&str, Repair); 2] = [("without-snapshots", without_snapshots), ("without-settings", without_settings)];

/// Opens a copy of the database after one repair or the other. Only a copy that agrees with its own tally counts. There is
/// one copy at a time, and none if the disk has no room for it, because reading entry by entry needs none.
fn open_copy(db: &Path, copies: &Path, options: &OpenOptions) -> Result<Option<Database>, JournalError> {
    for (name, repair) in REPAIRS {
        let copy = copies.join(name);
        let opened = copy_dir(db, &copy).and_then(|()| repair(&copy));
        match opened.and_then(|()| Database::open(&copy, true, options.clone())) {
            Ok(database) => return Ok(Some(database)),
            Err(error @ (JournalError::Key | JournalError::Newer { .. })) => return Err(error),
            Err(error) => tracing::warn!(%error, name, "damaged database not opened"),
        }
        if let Err(error) = remove(&copy) {
            tracing::warn!(%error, "copy of a damaged database not removed; the next start does it");
        }
    }
    Ok(None)
}

fn without_snapshots(dir: &Path) -> Result<(), JournalError> {
    snapshots(dir)?.iter().try_for_each(|path| remove(path))
}

fn without_settings(dir: &Path) -> Result<(), JournalError> {
    without_snapshots(dir)?;
    remove(&dir.join("conf"))
}

/// Visits every framed value in a file, decrypted.
fn read_entries(
    path: &Path,
    options: &OpenOptions,
    mut visit: impl FnMut(u8, &[u8]) -> Result<(), JournalError>,
) -> Result<(), JournalError> {
    visit_frames(
        path,
        |_| true,
        |number, body| match (table_of_encrypted(number), &options.cipher) {
            (None, _) => visit(number, body),
            (Some(table), Some(cipher)) => {
                let entry = cipher.decrypt(table.number(), body).ok_or(JournalError::Key)?;
                unframe(&entry).map_or(Ok(()), |(number, body)| visit(number, body))
            }
            (Some(_), None) => Err(JournalError::Key),
        },
    )
}

/// A document that was printed by a tap.
type Printed = (TapId, String);

/// Carries entries over, and remembers the facts that show which of them have left.
struct Salvager<'a> {
    into: &'a mut Database,
    now: Timestamp,
    /// The last transaction that was certainly synced.
    promised: u64,
    /// The newest tally that was found up to that transaction.
    tally: Tally,
    /// The next number of the newest of all tallies.
    next_id: EntryId,
    /// All boots that were found.
    boot_times: BootTimes,
    /// For each station the highest number of a record that was acknowledged or refused; all of the station before it have
    /// left too.
    left_records: HashMap<StationName, EntryId>,
    recorded: HashSet<Printed>,
}

impl<'a> Salvager<'a> {
    fn new(into: &'a mut Database, now: Timestamp, promised: u64) -> Self {
        Self {
            into,
            now,
            promised,
            tally: Tally::default(),
            next_id: 0,
            boot_times: BootTimes::default(),
            left_records: HashMap::new(),
            recorded: HashSet::new(),
        }
    }

    /// Remembers the facts that a value of the file shows.
    fn learn(&mut self, number: u8, body: &[u8]) -> Result<(), JournalError> {
        if number == TALLY_NUMBER {
            let Some(found) = Tally::from_bytes(body) else { return Ok(()) };
            self.next_id = self.next_id.max(found.next_id);
            if (self.tally.change..=self.promised).contains(&found.change) {
                self.tally = found;
            }
        } else if number == BOOTS_NUMBER {
            self.boot_times.merge(BootTimes::from_bytes(body).unwrap_or_default());
        } else if let Some(Table::Ledger | Table::Dead) = Table::from_number(number)
            && let Some((id, Some(station))) = id_and_station(body)
        {
            let left = self.left_records.entry(station).or_default();
            *left = id.max(*left);
        }
        Ok(())
    }

    /// Carries over an entry from the file, unless it has left. The values come in no order, so the last version of an entry
    /// wins, which may be an older one.
    fn bring_body(&mut self, number: u8, body: &[u8]) -> Result<(), JournalError> {
        let (Some(table), Some((id, station))) = (Table::from_number(number), id_and_station(body)) else {
            return Ok(());
        };
        let left = station.and_then(|station| self.left_records.get(&station).copied());
        let has_left = match table {
            Table::Releases => id < self.tally.first_release,
            Table::Records => id < self.tally.first_record || left.is_some_and(|left| id <= left),
            _ => false,
        };
        if has_left { Ok(()) } else { self.bring(table, id, &frame(number, body)?) }
    }

    /// Carries one entry over. One that cannot be read is carried over as it is, and is set aside when it is read.
    fn bring(&mut self, table: Table, id: EntryId, bytes: &[u8]) -> Result<(), JournalError> {
        let value = match table {
            Table::Releases => changed(table, id, bytes, |stored: &mut StoredRelease| {
                stored.carried_over = Some(self.now);
            }),
            Table::Records => changed(table, id, bytes, |stored: &mut StoredRecord| {
                stored.attempted = stored.attempted.or(Some(stored.record.time));
                stored.carried_over = Some(self.now);
                self.recorded.insert(printed(&stored.record));
            }),
            Table::Ledger => changed(table, id, bytes, |stored: &mut StoredRecord| {
                self.recorded.insert(printed(&stored.record));
            }),
            Table::Dead => changed(table, id, bytes, |letter: &mut DeadLetter| {
                self.recorded.insert(printed(&letter.record));
            }),
            Table::Events => changed(table, id, bytes, |_: &mut StoredEvent| {}),
            Table::Unreadable => bytes.to_vec(),
        };
        let next_id = self.next_id.max(self.into.tally().next_id).max(id.saturating_add(1));
        self.into.commit(next_id, &[Change::Put(table, id, value)])
    }

    fn bring_boot_times(&mut self) -> Result<(), JournalError> {
        if self.boot_times == BootTimes::default() {
            return Ok(());
        }
        self.into.set_boot_times(self.boot_times.clone())
    }

    /// Removes the releases whose record is there, and the oldest records of the ledger beyond its limit.
    fn settle(&mut self) -> Result<(), JournalError> {
        let mut ended = Vec::new();
        for entry in self.into.entries(Table::Releases, 0) {
            let (id, bytes) = entry?;
            let stored: Result<StoredRelease, _> = decode(Table::Releases, id, &bytes);
            ended.extend(
                stored.ok().filter(|stored| {
                    self.recorded.contains(&(stored.release.tap, stored.release.document.uuid.clone()))
                }),
            );
        }
        let ended = ended.iter().map(|stored| Change::Remove(Table::Releases, stored.id));
        let surplus = self.into.tally().of(Table::Ledger).saturating_sub(LEDGER_LIMIT as u64);
        let oldest: Vec<_> = self.into.entries(Table::Ledger, 0).take(usize::try_from(surplus).unwrap_or(0)).collect();
        let mut gone: Vec<Change> = ended.collect();
        for entry in oldest {
            gone.push(Change::Remove(Table::Ledger, entry?.0));
        }
        let next_id = self.into.tally().next_id;
        gone.into_iter().try_for_each(|change| self.into.commit(next_id, &[change]))
    }

    fn summary(&self) -> String {
        let tally = self.into.tally();
        let tables = [Table::Releases, Table::Records, Table::Dead, Table::Events];
        tables.map(|table| format!("{} {}", tally.of(table), table.name())).join(", ")
    }
}

fn printed(record: &JobRecord) -> Printed {
    (record.tap, record.document.clone())
}

/// The number in an entry's own fields, and the station of its record if it has one.
fn id_and_station(body: &[u8]) -> Option<(EntryId, Option<StationName>)> {
    #[derive(serde::Deserialize)]
    struct Numbered {
        id: EntryId,
        record: Option<OfStation>,
    }
    #[derive(serde::Deserialize)]
    struct OfStation {
        station: StationName,
    }
    let Numbered { id, record } = serde_json::from_slice(body).ok()?;
    Some((id, record.map(|OfStation { station }| station)))
}

fn changed<T: Entry>(table: Table, id: EntryId, bytes: &[u8], change: impl FnOnce(&mut T)) -> Vec<u8> {
    let read = decode::<T>(table, id, bytes).and_then(|mut entry| {
        change(&mut entry);
        encode(table, &entry)
    });
    read.unwrap_or_else(|_| bytes.to_vec())
}
