//! Every answer of the journal survives a power cut. The power is cut in two ways:
//!
//! - By a model, which needs no privileges: the files as they were at the last `sync_data` are on the platter, and of the 4 KiB
//!   pages that were written since, each is there or not, in any combination. (The journal counts a sync when `sync_data`
//!   returns, so without it the model's platter stays empty.)
//! - For real, if the test is root: on a file system in an image, which is copied while the journal works. Writes that the
//!   kernel still holds back are not in the copy.
//!
//! `PRINT_RELEASE_CUTS` sets the number of cuts, `PRINT_RELEASE_SEED` the random numbers.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::Path;

use print_release_agent::domain::{EntryId, Outcome};
use print_release_agent::journal::Journal;
use tokio::task::JoinSet;

use crate::support::disk::Disk;
use crate::support::journal::{close, open, record, release, runtime};
use crate::support::platter::{Dice, cut, read, write};
use crate::support::table::Row;
use crate::support::{dice, limit_of_campaign};

const CUTS: u32 = 100;

/// Cuts before the journal is opened anew from the last image, as after a real one.
const CUTS_A_RUN: u32 = 10;

/// The size of the real file system.
const DISK_MIB: u64 = 24;

fn cuts() -> u32 {
    std::env::var("PRINT_RELEASE_CUTS").map_or(CUTS, |cuts| cuts.parse().unwrap())
}

/// With more open releases than this nothing new is stored, because the disk is small.
const OPEN: usize = 100;

/// The table in which a document stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DocumentPlace {
    Open,
    Waiting,
    Delivered,
    Dead,
}

/// The place of each document, by its number.
type Places = BTreeMap<u64, DocumentPlace>;

/// The entries of a document: its release or its record.
type DocumentEntries = BTreeMap<u64, (DocumentPlace, EntryId)>;

async fn entries(journal: &Journal) -> DocumentEntries {
    let number = |document: &str| document.trim_start_matches("document-").parse::<u64>().unwrap();
    let mut found = DocumentEntries::new();
    let mut add = |document: &str, place, id| {
        let other = found.insert(number(document), (place, id));
        assert_eq!(other, None, "{document} is in two places, {place:?} and another");
    };
    let mut next = Some(0);
    while let Some(after) = next {
        let page = journal.list(after).await.unwrap();
        page.releases.iter().for_each(|stored| add(&stored.release.document.uuid, DocumentPlace::Open, stored.id));
        page.records.iter().for_each(|stored| add(&stored.record.document, DocumentPlace::Waiting, stored.id));
        page.dead.iter().for_each(|letter| add(&letter.record.document, DocumentPlace::Dead, letter.id));
        next = page.next;
    }
    for stored in journal.ledger().await.unwrap() {
        add(&stored.record.document, DocumentPlace::Delivered, stored.id);
    }
    found
}

async fn places(journal: &Journal) -> Places {
    entries(journal).await.into_iter().map(|(number, (place, _))| (number, place)).collect()
}

/// A request to the journal, with the documents that it moves.
#[derive(Clone, Debug)]
enum Wish {
    Store(Range<u64>),
    End(EntryId, u64),
    Acknowledge(EntryId, u64),
    Bury(EntryId, u64),
    Retry(EntryId, u64),
}

impl Wish {
    /// One of the five that is possible. The document that it moves is taken from `there`, so that no two requests want the
    /// same one. While many releases are open, nothing new is stored.
    fn some(there: &mut DocumentEntries, next: &mut u64, many: u64, dice: &mut Dice) -> Self {
        let open = there.values().filter(|(place, _)| *place == DocumentPlace::Open).count();
        let what = dice.roll(if open > OPEN { 5 } else { 7 });
        let mut take = |wanted: DocumentPlace| {
            let number = *there.iter().find(|(_, (place, _))| *place == wanted)?.0;
            there.remove(&number).map(|(_, id)| (id, number))
        };
        let wish = match what {
            0 | 1 => take(DocumentPlace::Open).map(|(id, number)| Self::End(id, number)),
            2 => take(DocumentPlace::Waiting).map(|(id, number)| Self::Acknowledge(id, number)),
            3 => take(DocumentPlace::Waiting).map(|(id, number)| Self::Bury(id, number)),
            4 => take(DocumentPlace::Dead).map(|(id, number)| Self::Retry(id, number)),
            _ => None,
        };
        wish.unwrap_or_else(|| {
            let first = *next;
            *next += 1 + dice.roll(many);
            Self::Store(first..*next)
        })
    }

    fn makes(&self) -> Places {
        match self.clone() {
            Self::Store(numbers) => numbers.map(|number| (number, DocumentPlace::Open)).collect(),
            Self::End(_, number) | Self::Retry(_, number) => Places::from([(number, DocumentPlace::Waiting)]),
            Self::Acknowledge(_, number) => Places::from([(number, DocumentPlace::Delivered)]),
            Self::Bury(_, number) => Places::from([(number, DocumentPlace::Dead)]),
        }
    }

    async fn ask(self, journal: Journal) {
        match self {
            Self::Store(numbers) => {
                drop(journal.store_releases(numbers.map(release).collect()).await.unwrap());
            }
            Self::End(id, number) => {
                journal.end_release(id, Outcome::Accepted, Some(record(number))).await.unwrap();
            }
            Self::Acknowledge(id, _) => journal.acknowledge_record(id).await.unwrap(),
            Self::Bury(id, _) => journal.bury_record(id, "no".to_owned()).await.unwrap(),
            Self::Retry(id, _) => drop(journal.retry(id).await.unwrap()),
        }
    }
}

/// Makes some requests at once, so that they share a sync, and waits for the answers.
async fn answered(journal: &Journal, promised: &mut Places, next: &mut u64, dice: &mut Dice) {
    let mut there = entries(journal).await;
    let wishes: Vec<_> = (0..=dice.roll(8)).map(|_| Wish::some(&mut there, next, 20, dice)).collect();
    promised.extend(wishes.iter().flat_map(Wish::makes));
    wishes.into_iter().map(|wish| wish.ask(journal.clone())).collect::<JoinSet<()>>().join_all().await;
}

/// Makes some requests and does not wait for the answers, because the power goes meanwhile. Returns the places to which they
/// may move documents.
async fn asked(journal: &Journal, next: &mut u64, dice: &mut Dice) -> (JoinSet<()>, Places) {
    let mut there = entries(journal).await;
    let wishes: Vec<_> = (0..=dice.roll(8)).map(|_| Wish::some(&mut there, next, 40, dice)).collect();
    let may = wishes.iter().flat_map(Wish::makes).collect();
    (wishes.into_iter().map(|wish| wish.ask(journal.clone())).collect(), may)
}

/// Checks that every answered request is there, and every other one is there or not, each document as a whole.
async fn check(dir: &Path, promised: &Places, may: &Places, story: &str) {
    let journal = open(dir);
    assert_eq!(journal.counts().borrow().set_aside, 0, "{story}: taken for damaged");
    let verified = journal.verify().await.unwrap();
    assert_eq!(verified.problems, 0, "{story}: {:?}", verified.details);
    let found = places(&journal).await;
    let all: BTreeSet<_> = found.keys().chain(promised.keys()).copied().collect();
    for number in all {
        let (is, was) = (found.get(&number), promised.get(&number));
        let became = may.contains_key(&number) && is == may.get(&number);
        assert!(is == was || became, "{story}: document {number} is {is:?}, and was {was:?} when the power went");
    }
    close(journal, dir);
}

#[test]
fn what_was_acknowledged_survives_power_cuts() {
    let _limit = limit_of_campaign("PRINT_RELEASE_CUTS");
    let cuts = cuts();
    let mut dice = dice();
    let runtime = runtime();
    let mut done = 0;
    while done < cuts {
        let dir = tempfile::tempdir().unwrap();
        let db = dir.path().join("db");
        let journal = open(dir.path());
        let (mut promised, mut next) = (Places::new(), 0);
        let (mut synced, mut syncs) = (read(&db), journal.syncs());
        for _ in 0..CUTS_A_RUN {
            runtime.block_on(async {
                for _ in 0..dice.roll(6) {
                    answered(&journal, &mut promised, &mut next, &mut dice).await;
                }
            });
            if journal.syncs() > syncs {
                (synced, syncs) = (read(&db), journal.syncs());
            }
            let (living, may) = runtime.block_on(async {
                let (asked, may) = asked(&journal, &mut next, &mut dice).await;
                for _ in 0..dice.roll(8) {
                    tokio::task::yield_now().await;
                }
                let living = read(&db);
                asked.join_all().await;
                (living, may)
            });
            let image = tempfile::tempdir().unwrap();
            write(image.path(), &cut(&synced, &living, &mut dice));
            runtime.block_on(check(image.path(), &promised, &may, &format!("cut {done}")));
            done += 1;
            // By now all requests were answered.
            promised.extend(may);
            assert_eq!(runtime.block_on(places(&journal)), promised);
            if journal.syncs() > syncs {
                (synced, syncs) = (read(&db), journal.syncs());
            }
        }
        close(journal, dir.path());
    }
    Row::held("power cuts, pages dropped at random", done as usize).tell();
}

#[test]
fn what_was_acknowledged_survives_power_cuts_of_a_real_file_system() {
    let _limit = limit_of_campaign("PRINT_RELEASE_CUTS");
    let Some(disk) = Disk::new(DISK_MIB) else { return };
    let cuts = cuts();
    let mut dice = dice();
    let runtime = runtime();
    let mut journal = open(disk.path());
    let (mut promised, mut next) = (Places::new(), 0);
    for done in 0..cuts {
        runtime.block_on(async {
            for _ in 0..=dice.roll(3) {
                answered(&journal, &mut promised, &mut next, &mut dice).await;
            }
        });
        let (image, may) = runtime.block_on(async {
            let (asked, may) = asked(&journal, &mut next, &mut dice).await;
            for _ in 0..dice.roll(8) {
                tokio::task::yield_now().await;
            }
            let image = disk.copy();
            asked.join_all().await;
            (image, may)
        });
        runtime.block_on(check(image.path(), &promised, &may, &format!("cut {done}")));
        promised.extend(may);
        if done % CUTS_A_RUN == 0 {
            close(journal, disk.path());
            journal = open(disk.path());
        }
    }
    close(journal, disk.path());
    Row::held("power cuts of a real file system", cuts as usize).tell();
}
