//! One flipped bit, or a block of zeros, in the file of the database: after a clean stop, after a kill, and while the mark says
//! nothing. Either all that was promised is there, or the journal says that it was damaged, and a record that may have been
//! delivered is looked up before it is sent.
//!
//! `PRINT_RELEASE_FLIPS` sets the number of flipped bits, `PRINT_RELEASE_BLOCKS` that of blocks, `PRINT_RELEASE_SEED` the random
//! numbers.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use print_release_agent::domain::Outcome;
use print_release_agent::journal::Journal;
use tempfile::TempDir;

use crate::support::journal::{close, copy_db, open, record, release, runtime};
use crate::support::platter::Dice;
use crate::support::{dice, limit_of_campaign};

/// Databases that are damaged unless the variable says otherwise.
const TRIES: u64 = 24;

/// Documents in a database.
const DOCUMENTS: u64 = 60;

/// The block that is overwritten.
const BLOCK: usize = 64 * 1024;

fn tries(variable: &str) -> u64 {
    std::env::var(variable).map_or(TRIES, |tries| tries.parse().unwrap())
}

/// The table in which a document or an event stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum EntryPlace {
    Open,
    Waiting,
    Delivered,
    Dead,
    Event,
}

/// The place of each document and event.
type EntryPlaces = BTreeMap<String, EntryPlace>;

async fn places(journal: &Journal) -> EntryPlaces {
    let page = journal.list(0).await.unwrap();
    assert_eq!(page.next, None);
    let open = page.releases.into_iter().map(|stored| (stored.release.document.uuid, EntryPlace::Open));
    let waiting = page.records.into_iter().map(|stored| (stored.record.document, EntryPlace::Waiting));
    let dead = page.dead.into_iter().map(|letter| (letter.record.document, EntryPlace::Dead));
    let delivered = journal.ledger().await.unwrap().into_iter();
    let delivered = delivered.map(|stored| (stored.record.document, EntryPlace::Delivered));
    let events = journal.events_after(0, 1_000).await.unwrap().into_iter();
    let events = events.map(|event| (event.payload, EntryPlace::Event));
    open.chain(delivered).chain(dead).chain(waiting).chain(events).collect()
}

/// Lets documents of two stations be released, recorded, delivered and refused, each step with a sync of its own.
async fn live(journal: &Journal) {
    for number in 0..DOCUMENTS {
        let mut wanted = release(number);
        let mut made = record(number);
        if number % 2 == 1 {
            (wanted.station, made.station) = ("attic".into(), "attic".into());
        }
        let ids = journal.store_releases(vec![wanted]).await.unwrap();
        if number % 5 == 4 {
            continue;
        }
        journal.end_release(ids[0], Outcome::Accepted, Some(made)).await.unwrap();
        let oldest = journal.oldest_record().await.unwrap().unwrap();
        match number % 4 {
            0 => {
                journal.mark_record(oldest.id, Some(oldest.record.time)).await.unwrap();
                journal.acknowledge_record(oldest.id).await.unwrap();
            }
            1 => journal.bury_record(oldest.id, "no".to_owned()).await.unwrap(),
            _ => drop(journal.store_event("lobby".to_owned(), format!("event-{number}")).await.unwrap()),
        }
    }
}

/// The results of the damages.
#[derive(Debug, Default)]
struct Damages {
    tried: u64,
    /// Something is missing or came back, and the journal says nothing.
    silent: Vec<String>,
    told: u64,
    /// Entries that are missing where the journal says that it was damaged.
    lost_and_told: usize,
}

impl Damages {
    /// Opens a damaged database and compares.
    fn judge(&mut self, dir: &Path, promised: &EntryPlaces, story: &str) {
        let runtime = runtime();
        let journal = open(dir);
        let found = runtime.block_on(places(&journal));
        let counts = *journal.counts().borrow();
        let told = counts.set_aside > 0 || counts.unreadable > 0 || counts.lost > 0;
        let missing = promised.keys().filter(|name| !found.contains_key(*name)).count();
        self.tried += 1;
        self.told += u64::from(told);
        if told {
            self.lost_and_told += missing;
            let records = runtime.block_on(journal.list(0)).unwrap().records;
            let sent_again = records.iter().filter(|stored| stored.attempted.is_none());
            let sent_again =
                sent_again.filter(|stored| promised[&stored.record.document] != EntryPlace::Waiting).count();
            if sent_again > 0 {
                self.silent.push(format!("{story}: {sent_again} records are sent without a look"));
            }
        } else if found != *promised {
            let moved = promised.iter().filter(|(name, place)| found.get(*name) != Some(place)).count();
            self.silent.push(format!("{story}: {missing} are missing, {moved} are not in their place"));
        }
        close(journal, dir);
    }

    fn tell(self, name: &str) {
        let Self { tried, silent, told, lost_and_told } = self;
        println!("{name}: {tried} damaged, {told} told, {lost_and_told} entries lost and told");
        assert!(silent.is_empty(), "{name}: {} of {tried} were silent:\n{}", silent.len(), silent.join("\n"));
    }
}

/// A stopped database, or one as a kill leaves it: the files while the journal is idle.
fn lived(killed: bool) -> (TempDir, EntryPlaces) {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    let promised = runtime().block_on(async {
        live(&journal).await;
        places(&journal).await
    });
    if killed {
        let image = copy_db(dir.path());
        close(journal, dir.path());
        return (image, promised);
    }
    close(journal, dir.path());
    (dir, promised)
}

/// The part of a file that holds anything; sled leaves zeros at its end.
fn used(bytes: &[u8]) -> u64 {
    1 + bytes.iter().rposition(|byte| *byte != 0).unwrap() as u64
}

fn flip(file: &Path, dice: &mut Dice) -> String {
    let mut bytes = fs::read(file).unwrap();
    let (at, bit) = (dice.roll(used(&bytes)), dice.roll(8));
    bytes[usize::try_from(at).unwrap()] ^= 1 << bit;
    fs::write(file, bytes).unwrap();
    format!("bit {bit} of byte {at}")
}

fn zero(file: &Path, dice: &mut Dice) -> String {
    let mut bytes = fs::read(file).unwrap();
    let at = usize::try_from(dice.roll(used(&bytes))).unwrap() / 4096 * 4096;
    let end = bytes.len().min(at + BLOCK);
    bytes[at..end].fill(0);
    fs::write(file, bytes).unwrap();
    format!("zeros from byte {at}")
}

fn damage(
    name: &str,
    variable: &str,
    lived: &(TempDir, EntryPlaces),
    marked: bool,
    damage: fn(&Path, &mut Dice) -> String,
) {
    let (mut dice, mut damages) = (dice(), Damages::default());
    for _ in 0..tries(variable) {
        let copy = copy_db(lived.0.path());
        if !marked {
            fs::write(copy.path().join("mark"), format!("{:020}\n", 0)).unwrap();
        }
        let story = damage(&copy.path().join("db/db"), &mut dice);
        damages.judge(copy.path(), &lived.1, &story);
    }
    damages.tell(name);
}

#[test]
fn a_bit_that_flips_after_a_clean_stop_is_harmless_or_told() {
    let _limit = limit_of_campaign("PRINT_RELEASE_FLIPS");
    damage("stopped", "PRINT_RELEASE_FLIPS", &lived(false), true, flip);
}

#[test]
fn a_bit_that_flips_after_a_clean_stop_is_harmless_or_told_whatever_the_mark_says() {
    let _limit = limit_of_campaign("PRINT_RELEASE_FLIPS");
    damage("stopped, without a mark", "PRINT_RELEASE_FLIPS", &lived(false), false, flip);
}

#[test]
fn a_bit_that_flips_after_a_kill_is_harmless_or_told() {
    let _limit = limit_of_campaign("PRINT_RELEASE_FLIPS");
    damage("killed", "PRINT_RELEASE_FLIPS", &lived(true), true, flip);
}

#[test]
fn a_block_of_zeros_after_a_stop_or_a_kill_is_harmless_or_told() {
    let _limit = limit_of_campaign("PRINT_RELEASE_BLOCKS");
    damage("zeros, stopped", "PRINT_RELEASE_BLOCKS", &lived(false), true, zero);
    damage("zeros, killed", "PRINT_RELEASE_BLOCKS", &lived(true), true, zero);
}

/// More releases than are read when the journal is opened, in many of sled's segments.
const MANY: u64 = 24_000;

#[test]
fn a_bit_that_flips_in_a_large_database_is_harmless_or_told() {
    let _limit = limit_of_campaign("PRINT_RELEASE_FLIPS");
    let dir = tempfile::tempdir().unwrap();
    let (journal, runtime) = (open(dir.path()), runtime());
    runtime.block_on(async {
        for first in (0..MANY).step_by(500) {
            journal.store_releases((first..first + 500).map(release).collect()).await.unwrap();
        }
    });
    let killed = copy_db(dir.path());
    close(journal, dir.path());
    let mut dice = dice();
    let mut silent = Vec::new();
    // One in eight, because a large database takes long to carry over.
    for number in 0..tries("PRINT_RELEASE_FLIPS") / 8 {
        let copy = copy_db(if number % 2 == 0 { dir.path() } else { killed.path() });
        let story = flip(&copy.path().join("db/db"), &mut dice);
        let journal = open(copy.path());
        let left = runtime.block_on(journal.open_releases()).unwrap().len() as u64;
        let told = journal.counts().borrow().set_aside > 0;
        if left < MANY && !told {
            silent.push(story);
        }
        close(journal, copy.path());
    }
    assert!(silent.is_empty(), "{silent:#?}");
}
