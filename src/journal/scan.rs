//! Finds framed values in a database's file, wherever they stand: in no order, old versions and doubles too.
//!
//! sled drops all that lies behind the first part which it cannot read, and what is left agrees with itself. The frames of the
//! file show how new the database was all the same: each tally has the number of its transaction, and a seal names the last
//! transaction that was synced before the seal was written.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::error::JournalError;
use super::frame::{SEAL_NUMBER, TALLY_NUMBER, VERSION, unframe};
use super::limits::ENTRY_LIMIT;
use super::table::{Tally, word};

/// The bytes that are read at once, besides a value that may begin at their end.
const CHUNK: usize = 256 * 1024;

/// The facts of a database's file that show whether sled opened the newest state of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct FileFacts {
    /// The highest number of a transaction that is known to have been synced. A database that is older is damaged.
    pub(super) synced: u64,
    /// The highest number of a transaction that was written. A power cut may leave one that was never synced.
    pub(super) written: u64,
}

impl FileFacts {
    /// Reads a file from end to end. sled must not have opened it yet, because it cuts the file off where it stops reading.
    pub(super) fn of(path: &Path) -> Self {
        let mut facts = Self::default();
        let wanted = |number| [TALLY_NUMBER, SEAL_NUMBER].contains(&number);
        let read = visit_frames(path, wanted, |number, body| {
            if number == TALLY_NUMBER {
                facts.written = facts.written.max(Tally::from_bytes(body).map_or(0, |tally| tally.change));
            } else {
                facts.synced = facts.synced.max(word(body).unwrap_or(0));
            }
            Ok(())
        });
        debug_assert!(read.is_ok(), "the visit never fails");
        facts
    }
}

/// Visits the framed values whose number is `wanted`. It ends at the first place where the file cannot be read.
pub(super) fn visit_frames(
    path: &Path,
    wanted: impl Fn(u8) -> bool,
    mut visit: impl FnMut(u8, &[u8]) -> Result<(), JournalError>,
) -> Result<(), JournalError> {
    let Ok(mut file) = File::open(path) else {
        return Ok(());
    };
    let mut window: Vec<u8> = Vec::new();
    loop {
        let read = read_some(&mut file, &mut window);
        let last = read.unwrap_or(0) == 0;
        // A value that begins before this place is whole in the window.
        let safe = if last { window.len() } else { window.len().saturating_sub(ENTRY_LIMIT) };
        let mut at = 0;
        while let Some(next) = window[at..safe].iter().position(|byte| *byte == VERSION) {
            at += next;
            if window.get(at + 1).is_some_and(|number| wanted(*number))
                && let Some((number, body)) = unframe(&window[at..])
            {
                visit(number, body)?;
            }
            at += 1;
        }
        if last {
            return Ok(());
        }
        window.drain(..safe);
    }
}

fn read_some(file: &mut File, window: &mut Vec<u8>) -> io::Result<usize> {
    file.take(CHUNK as u64).read_to_end(window)
}

#[cfg(test)]
mod tests {
    use super::super::frame::frame;
    use super::*;

    #[test]
    fn the_facts_are_found_wherever_they_stand_and_damaged_ones_are_not_believed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db");
        let tally = |change| frame(TALLY_NUMBER, &Tally { change, ..Tally::default() }.to_bytes()).unwrap();
        let seal = |synced: u64| frame(SEAL_NUMBER, &synced.to_be_bytes()).unwrap();
        let mut damaged = seal(99);
        damaged[9] ^= 1;
        let filler = vec![VERSION; CHUNK - 5];
        let parts = [&b"x"[..], &seal(6), &tally(9), &filler, &tally(7), &seal(4), &damaged].concat();
        std::fs::write(&path, parts).unwrap();
        assert_eq!(FileFacts::of(&path), FileFacts { synced: 6, written: 9 });
        assert_eq!(FileFacts::of(&dir.path().join("none")), FileFacts::default());
    }
}
