//! Bits flip and blocks are overwritten in the files of a stopped or killed journal. At the next opening everything is there, or
//! the box says that something is missing; and nothing that the server has comes back as if it had never been sent.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use print_release_agent::domain::{Outcome, Reason};
use print_release_agent::journal::{Counts, Journal, JournalError, StoredRelease};
use tempfile::TempDir;

use crate::support::journal::{LIMITS, close, copy_db, open, record, release, runtime};
use crate::support::platter::Dice;
use crate::support::table::{Lane, in_lanes};
use crate::support::{dice, limit_of_campaign, tries};

/// The numbers of documents in the databases that are damaged. The larger one fills more than one of sled's segments.
const SIZES: [u64; 2] = [60, 900];

/// As many as the machine's processors are likely to be, and one that waits for the disk.
const LANES: usize = 3;

/// The state of something that the journal keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kept {
    Open { carried_over: bool },
    Unknown,
    Waiting { in_doubt: bool },
    Delivered,
    Dead,
    Event,
}

impl Kept {
    fn release(stored: &StoredRelease) -> Self {
        match stored.outcome {
            None => Self::Open { carried_over: stored.carried_over.is_some() },
            Some(_) => Self::Unknown,
        }
    }

    /// Whether this is what the other one may have become by a damage that loses nothing: a release or a record may come back
    /// in doubt, because the server is asked about it.
    fn keeps(self, promised: Self) -> bool {
        match (promised, self) {
            (Self::Open { .. } | Self::Unknown, Self::Open { .. } | Self::Unknown) => true,
            (Self::Waiting { .. } | Self::Delivered | Self::Dead, Self::Waiting { .. }) => true,
            (promised, found) => promised == found,
        }
    }

    /// Whether the server may get a second record from this, as the other one was promised.
    fn doubles(self, promised: Self) -> bool {
        matches!(
            (promised, self),
            (Self::Delivered | Self::Waiting { in_doubt: true }, Self::Waiting { in_doubt: false })
                | (Self::Delivered | Self::Waiting { .. }, Self::Open { carried_over: false })
        )
    }
}

/// All that a journal keeps: of each document and each event, where it stands.
type Stock = BTreeMap<String, Vec<Kept>>;

async fn stock(journal: &Journal) -> Result<Stock, JournalError> {
    let mut stock = Stock::new();
    let mut add = |name: &str, kept| stock.entry(name.to_owned()).or_default().push(kept);
    let mut next = Some(0);
    while let Some(after) = next {
        let page = journal.list(after).await?;
        page.releases.iter().for_each(|stored| add(&stored.release.document.uuid, Kept::release(stored)));
        for stored in &page.records {
            add(&stored.record.document, Kept::Waiting { in_doubt: stored.attempted.is_some() });
        }
        page.dead.iter().for_each(|letter| add(&letter.record.document, Kept::Dead));
        next = page.next;
    }
    journal.ledger().await?.iter().for_each(|stored| add(&stored.record.document, Kept::Delivered));
    journal.events_after(0, 1_000).await?.iter().for_each(|event| add(&event.payload, Kept::Event));
    Ok(stock)
}

/// Does what a box does in some days: prints, records, is refused, tells its broker.
async fn work(journal: &Journal, documents: u64, dice: &mut Dice) {
    for first in (0..documents).step_by(20) {
        let ids = journal.store_releases((first..first + 20).map(release).collect()).await.unwrap();
        for (number, id) in (first..).zip(ids) {
            let (outcome, made) = match dice.roll(12) {
                0 => continue,
                1 => (Outcome::Failed(Reason::NotReady), None),
                2 => (Outcome::Unknown(Reason::NotListed), None),
                _ => (Outcome::Accepted, Some(record(number))),
            };
            journal.end_release(id, outcome, made).await.unwrap();
        }
        for _ in 0..dice.roll(16) {
            let Some(oldest) = journal.oldest_record().await.unwrap() else { break };
            journal.mark_record(oldest.id, Some(oldest.record.time)).await.unwrap();
            match dice.roll(10) {
                0 => journal.bury_record(oldest.id, "no such printer".to_owned()).await.unwrap(),
                1 => break,
                _ => journal.acknowledge_record(oldest.id).await.unwrap(),
            }
        }
        let id = journal.store_event("lobby".to_owned(), format!("event-{first}")).await.unwrap();
        if dice.roll(2) == 0 {
            journal.forget_event(id).await.unwrap();
        }
    }
}

/// A database as a clean stop or a kill has left it, and all that it has promised.
struct Original {
    name: String,
    dir: TempDir,
    promised: Stock,
}

impl Original {
    fn make(documents: u64, killed: bool, dice: &mut Dice) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let journal = open(dir.path());
        let promised = runtime().block_on(async {
            work(&journal, documents, dice).await;
            stock(&journal).await.unwrap()
        });
        let name = format!("{documents} documents, {}", if killed { "killed" } else { "stopped" });
        let dir = if killed {
            let copy = copy_db(dir.path());
            close(journal, dir.path());
            copy
        } else {
            close(journal, dir.path());
            dir
        };
        Self { name, dir, promised }
    }

    /// Whether it opens whole while nothing has happened to it.
    fn is_whole(&self) -> bool {
        let copy = copy_db(self.dir.path());
        let journal = open(copy.path());
        let found = runtime().block_on(stock(&journal)).unwrap();
        let whole = found == self.promised && !tells(&journal.counts().borrow());
        close(journal, copy.path());
        whole
    }

    fn all(dice: &mut Dice) -> Vec<Self> {
        let kinds = SIZES.iter().flat_map(|size| [(*size, false), (*size, true)]);
        let originals: Vec<_> = kinds.map(|(size, killed)| Self::make(size, killed, dice)).collect();
        for original in &originals {
            assert!(original.is_whole(), "not the case that this is about: {}", original.name);
        }
        originals
    }
}

/// Whether the box says in its status that something is missing.
fn tells(counts: &Counts) -> bool {
    counts.set_aside > 0 || counts.lost > 0 || counts.unreadable > 0
}

/// The file to be damaged: mostly sled's, now and then one of the small ones.
fn some_file(dir: &Path, dice: &mut Dice) -> PathBuf {
    let db = dir.join("db");
    let mut small: Vec<_> = fs::read_dir(&db).unwrap().map(|entry| entry.unwrap().path()).collect();
    small.retain(|path| path.is_file() && *path != db.join("db"));
    small.sort();
    small.push(dir.join("mark"));
    match dice.roll(8) {
        0 => small.swap_remove(dice.roll(small.len() as u64) as usize),
        _ => db.join("db"),
    }
}

/// Flips one bit of a file.
fn flip(dir: &Path, dice: &mut Dice) -> String {
    let path = some_file(dir, dice);
    let mut bytes = fs::read(&path).unwrap();
    let bit = dice.roll(8 * bytes.len().max(1) as u64);
    let at = usize::try_from(bit / 8).unwrap();
    if let Some(byte) = bytes.get_mut(at) {
        *byte ^= 1 << (bit % 8);
    }
    fs::write(&path, bytes).unwrap();
    format!("bit {} of byte {at} in {}", bit % 8, path.file_name().unwrap().display())
}

/// Overwrites a block of sled's file with zeros, with garbage, or with another block of it.
fn overwrite(dir: &Path, dice: &mut Dice) -> String {
    let path = dir.join("db/db");
    let mut bytes = fs::read(&path).unwrap();
    let size = [4 << 10, 64 << 10][dice.roll(2) as usize].min(bytes.len());
    let place = |dice: &mut Dice| dice.roll((bytes.len() - size) as u64 / 4_096 + 1) as usize * 4_096;
    let (at, from) = (place(dice), place(dice));
    let (with, block) = match dice.roll(3) {
        0 => ("zeros", vec![0; size]),
        1 => ("garbage", (0..size).map(|_| dice.roll(256) as u8).collect()),
        _ => ("another part", bytes[from..from + size].to_vec()),
    };
    bytes[at..at + size].copy_from_slice(&block);
    fs::write(&path, bytes).unwrap();
    format!("{size} bytes of {with} at {at}, from {from}")
}

/// Damages a copy of an original, opens it and compares it with the promises.
fn befall(original: &Original, damage: fn(&Path, &mut Dice) -> String, lane: &mut Lane) {
    let copy = copy_db(original.dir.path());
    let story = format!("{}: {}", original.name, damage(copy.path(), &mut lane.dice));
    lane.row.tried += 1;
    let journal = match Journal::open(copy.path(), LIMITS, None) {
        Ok(journal) => journal,
        Err(error) => {
            println!("{story}: it refuses to start: {error}");
            lane.row.lost_and_told += original.promised.len();
            return;
        }
    };
    let found = runtime().block_on(stock(&journal)).unwrap();
    let told = tells(&journal.counts().borrow());
    let none = Vec::new();
    let (mut missing, mut doubled) = (Vec::new(), Vec::new());
    for (name, promised) in original.promised.iter().flat_map(|(name, kept)| kept.iter().map(move |kept| (name, *kept)))
    {
        let now = found.get(name).unwrap_or(&none);
        if !now.iter().any(|found| found.keeps(promised)) {
            missing.push((name, promised));
        }
        if now.iter().any(|found| found.doubles(promised)) {
            doubled.push((name, promised));
        }
    }
    let lost = if told { &mut lane.row.lost_and_told } else { &mut lane.row.lost };
    *lost += missing.len();
    lane.row.recorded_twice += doubled.len();
    if (!told && !missing.is_empty()) || !doubled.is_empty() {
        lane.stories.push(format!(
            "{story}: {} missing, told: {told}, {} doubled; the first: {:?} {:?}",
            missing.len(),
            doubled.len(),
            missing.first(),
            doubled.first()
        ));
    }
    close(journal, copy.path());
}

fn campaign(name: &'static str, variable: &str, default: usize, damage: fn(&Path, &mut Dice) -> String) {
    let mut dice = dice();
    let originals = Original::all(&mut dice);
    in_lanes(name, tries(variable, default), LANES, &mut dice, |lane, tries| {
        for _ in 0..tries {
            let original = &originals[lane.dice.roll(originals.len() as u64) as usize];
            befall(original, damage, lane);
        }
    });
}

#[test]
fn a_flipped_bit_loses_nothing_silently() {
    let _limit = limit_of_campaign("PRINT_RELEASE_FLIPS");
    campaign("bits flipped in the database", "PRINT_RELEASE_FLIPS", 60, flip);
}

#[test]
fn an_overwritten_block_loses_nothing_silently() {
    let _limit = limit_of_campaign("PRINT_RELEASE_BLOCKS");
    campaign("blocks overwritten in the database", "PRINT_RELEASE_BLOCKS", 30, overwrite);
}
