//! A model of a power cut and the journal's files. All that was synced is on the platter; of the pages that were written since,
//! each is there or not.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use super::preload::write_synced;

/// The bytes that reach the platter together or not at all.
pub const PAGE: usize = 4096;

/// The database's files by name.
pub type Files = BTreeMap<String, Vec<u8>>;

/// A xorshift generator: small, and with the same numbers on every machine.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u32) -> Self {
        Self(u64::from(seed) | 1 << 40)
    }

    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

pub fn read(db: &Path) -> Files {
    let entries = fs::read_dir(db).unwrap().map(Result::unwrap);
    let files = entries.filter(|entry| entry.path().is_file());
    // A file may be renamed while the folder is read.
    let named =
        files.filter_map(|entry| Some((entry.file_name().into_string().unwrap(), fs::read(entry.path()).ok()?)));
    named.collect()
}

/// The files on the platter after the power went between two syncs.
pub fn cut(synced: &Files, living: &Files, dice: &mut Dice) -> Files {
    let names: BTreeSet<&String> = synced.keys().chain(living.keys()).collect();
    let mut image = Files::new();
    for name in names {
        match (synced.get(name), living.get(name)) {
            (Some(old), Some(new)) if name == "db" => drop(image.insert(name.clone(), mix(old, new, dice))),
            // Every other file is written once, synced by sled itself, and renamed or removed.
            (old, new) => {
                let kept = if dice.roll(2) == 0 { old } else { new };
                image.extend(kept.map(|bytes| (name.clone(), bytes.clone())));
            }
        }
    }
    image
}

fn mix(old: &[u8], new: &[u8], dice: &mut Dice) -> Vec<u8> {
    // Either length may be the one on the platter; pages that are not written read as zero.
    let length = if dice.roll(2) == 0 { new.len() } else { old.len() };
    let mut mixed = old.to_vec();
    mixed.resize(length, 0);
    let written = dice.roll(100);
    for (number, page) in new.chunks(PAGE).enumerate() {
        let at = number * PAGE;
        let end = (at + page.len()).min(length);
        if at < end && mixed[at..end] != page[..end - at] && dice.roll(100) < written {
            mixed[at..end].copy_from_slice(&page[..end - at]);
        }
    }
    mixed
}

pub fn write(state_dir: &Path, files: &Files) {
    let db = state_dir.join("db");
    fs::create_dir_all(db.join("blobs")).unwrap();
    for (name, bytes) in files {
        write_synced(&db.join(name), bytes);
    }
}
