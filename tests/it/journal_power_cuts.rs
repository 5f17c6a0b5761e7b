//! What the journal has acknowledged survives a power cut. Two ways to cut the power:
//!
//! - By a model, which needs no privileges: what was in the files at the last `sync_data` is on the platter, and of what was
//!   written since, each 4 KiB page is there or not, in any combination. (The journal counts a sync where `sync_data`
//!   returns, so without it the model's platter stays empty.)
//! - For real, where the test is root: on a file system in an image, which is copied while the journal works. What the
//!   kernel has not brought there is not in the copy.
//!
//! `PRINT_RELEASE_CUTS` sets the number of cuts, `PRINT_RELEASE_SEED` the random numbers.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use print_release_agent::domain::{EntryId, Outcome};
use print_release_agent::journal::Journal;
use tokio::task::JoinSet;

use crate::support::disk::Disk;
use crate::support::journal::{close, open, record, records, release, runtime};
use crate::support::platter::{Dice, cut, read, write};
use crate::support::table::Row;

const CUTS: u32 = 100;

/// Cuts before the journal is opened anew from the last image, as after a real one.
const CUTS_A_RUN: u32 = 10;

/// The size of the real file system.
const DISK_MIB: u64 = 24;

fn from_env(name: &str, default: u32) -> u32 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// What was acknowledged, and what was asked for and may or may not be there.
#[derive(Default, Clone)]
struct Promised {
    releases: BTreeMap<EntryId, String>,
    records: BTreeSet<String>,
    next: u64,
}

/// One step that the journal acknowledges, and whether it was.
async fn step(journal: &Journal, promised: &mut Promised, dice: &mut Dice) {
    match dice.roll(3) {
        0 => {
            let numbers: Vec<u64> = (promised.next..=promised.next + dice.roll(20)).collect();
            promised.next += numbers.len() as u64;
            let ids = journal.store_releases(numbers.iter().copied().map(release).collect(), Vec::new()).await.unwrap();
            promised.releases.extend(ids.into_iter().zip(numbers.iter().map(|number| format!("document-{number}"))));
        }
        1 => {
            // Several at once: they share a sync.
            let mut ends = JoinSet::new();
            for (id, document) in promised.releases.clone().into_iter().take(8) {
                let number = document.trim_start_matches("document-").parse().unwrap();
                let journal = journal.clone();
                ends.spawn(async move {
                    journal.end_release(id, Outcome::Accepted, Some(record(number))).await.map(|()| id)
                });
            }
            for id in ends.join_all().await {
                let document = promised.releases.remove(&id.unwrap()).unwrap();
                promised.records.insert(document);
            }
        }
        _ => {
            if let Some(oldest) = journal.oldest_record().await.unwrap() {
                journal.acknowledge_record(oldest.id).await.unwrap();
                promised.records.remove(&oldest.record.document);
            }
        }
    }
}

/// Asks for things and does not wait for the answer: the power goes meanwhile.
fn ask_for_more(journal: &Journal, promised: &mut Promised, dice: &mut Dice) -> JoinSet<()> {
    let mut asked = JoinSet::new();
    for _ in 0..=dice.roll(4) {
        let (journal, first) = (journal.clone(), promised.next);
        let many = 1 + dice.roll(40);
        promised.next += many;
        asked.spawn(async move {
            drop(journal.store_releases((first..first + many).map(release).collect(), Vec::new()).await)
        });
    }
    asked
}

async fn check(dir: &Path, promised: &Promised, story: &str) {
    let journal = open(dir);
    assert_eq!(journal.counts().borrow().set_aside, 0, "{story}: taken for damaged");
    let verified = journal.verify().await.unwrap();
    assert_eq!(verified.problems, 0, "{story}: {:?}", verified.details);
    let open: BTreeMap<_, _> = journal
        .open_releases()
        .await
        .unwrap()
        .into_iter()
        .map(|stored| (stored.id, stored.release.document.uuid))
        .collect();
    for (id, document) in &promised.releases {
        assert_eq!(open.get(id), Some(document), "{story}: an acknowledged release is lost");
    }
    let records: BTreeSet<_> = records(&journal).await.into_iter().map(|(_, document)| document).collect();
    assert_eq!(records, promised.records, "{story}: records");
    close(journal, dir);
}

#[test]
fn what_was_acknowledged_survives_power_cuts() {
    let cuts = from_env("PRINT_RELEASE_CUTS", CUTS);
    let mut dice = Dice::new(from_env("PRINT_RELEASE_SEED", 1));
    let runtime = runtime();
    let mut done = 0;
    while done < cuts {
        let dir = tempfile::tempdir().unwrap();
        let db = dir.path().join("db");
        let journal = open(dir.path());
        let mut promised = Promised::default();
        let (mut synced, mut syncs) = (read(&db), journal.syncs());
        for _ in 0..CUTS_A_RUN {
            runtime.block_on(async {
                for _ in 0..dice.roll(12) {
                    step(&journal, &mut promised, &mut dice).await;
                }
            });
            if journal.syncs() > syncs {
                (synced, syncs) = (read(&db), journal.syncs());
            }
            let before = promised.clone();
            let living = runtime.block_on(async {
                let asked = ask_for_more(&journal, &mut promised, &mut dice);
                for _ in 0..dice.roll(8) {
                    tokio::task::yield_now().await;
                }
                let living = read(&db);
                asked.join_all().await;
                living
            });
            let image = tempfile::tempdir().unwrap();
            write(image.path(), &cut(&synced, &living, &mut dice));
            runtime.block_on(check(image.path(), &before, &format!("cut {done}")));
            done += 1;
            // What was asked for meanwhile is stored by now; it is not told apart any more.
            let open = runtime.block_on(journal.open_releases()).unwrap();
            promised.releases = open.into_iter().map(|stored| (stored.id, stored.release.document.uuid)).collect();
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
    let Some(disk) = Disk::new(DISK_MIB) else {
        return println!("not root: no file system to cut the power of");
    };
    let cuts = from_env("PRINT_RELEASE_CUTS", CUTS);
    let mut dice = Dice::new(from_env("PRINT_RELEASE_SEED", 2));
    let runtime = runtime();
    let mut journal = open(disk.path());
    let mut promised = Promised::default();
    for done in 0..cuts {
        runtime.block_on(async {
            for _ in 0..=dice.roll(6) {
                step(&journal, &mut promised, &mut dice).await;
            }
        });
        let before = promised.clone();
        let image = runtime.block_on(async {
            let asked = ask_for_more(&journal, &mut promised, &mut dice);
            for _ in 0..dice.roll(8) {
                tokio::task::yield_now().await;
            }
            let image = disk.copy();
            asked.join_all().await;
            image
        });
        runtime.block_on(check(image.path(), &before, &format!("cut {done}")));
        if done % CUTS_A_RUN == 0 {
            close(journal, disk.path());
            journal = open(disk.path());
        }
        let open = runtime.block_on(journal.open_releases()).unwrap();
        promised.releases = open.into_iter().map(|stored| (stored.id, stored.release.document.uuid)).collect();
    }
    close(journal, disk.path());
    Row::held("power cuts of a real file system", cuts as usize).tell();
}
