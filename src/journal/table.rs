//! The tables of the database, and the tally of what lies in them.

use crate::domain::EntryId;

/// A table is a tree of the database. The numbers stand on the disk, in the tally and in every frame, so variants are only
/// appended and never reordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Table {
    /// Releases without an outcome, or with an unknown one.
    Releases,
    /// Job records that the server has not acknowledged.
    Records,
    /// The last records that the server has acknowledged.
    Ledger,
    /// Job records that the server refused for good.
    Dead,
    /// Events that the broker has not acknowledged.
    Events,
    /// Entries of the other tables that could not be read, each as the number of its table and its bytes.
    Unreadable,
}

impl Table {
    pub(super) const COUNT: usize = 6;
    pub(super) const ALL: [Self; Self::COUNT] =
        [Self::Releases, Self::Records, Self::Ledger, Self::Dead, Self::Events, Self::Unreadable];

    /// The tree's name in the database.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Releases => "releases",
            Self::Records => "records",
            Self::Ledger => "ledger",
            Self::Dead => "dead",
            Self::Events => "events",
            Self::Unreadable => "unreadable",
        }
    }

    pub(super) fn number(self) -> u8 {
        self as u8
    }

    pub(super) fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }
}

/// The numbers and sizes of the entries. It is written in the transaction of every change, so that a missing entry is
/// noticed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// The number of the next entry; all entries have lower ones.
    pub(super) next_id: EntryId,
    pub(super) entries: [u64; Table::COUNT],
    /// The bytes of all values together.
    pub(super) bytes: u64,
    /// The number of transactions so far, which shows the newest of several tallies.
    pub(super) change: u64,
    /// Every release with a lower number has left.
    pub(super) first_release: EntryId,
    /// Every record with a lower number has left.
    pub(super) first_record: EntryId,
}

impl Tally {
    const WORDS: usize = Table::COUNT + 5;

    pub(super) fn of(&self, table: Table) -> u64 {
        self.entries[table as usize]
    }

    /// The entries that `outbox.max_entries` bounds. The ledger has its own limit.
    pub(super) fn waiting(&self) -> u64 {
        [Table::Releases, Table::Records, Table::Dead, Table::Events].map(|table| self.of(table)).iter().sum()
    }

    /// Counts an entry of so many bytes that came.
    pub(super) fn came(&mut self, table: Table, bytes: usize) {
        self.entries[table as usize] += 1;
        self.bytes += bytes as u64;
    }

    /// Counts an entry that went. It saturates, because a wrong tally is to be found by comparison and not by a panic.
    pub(super) fn went(&mut self, table: Table, bytes: usize) {
        if crate::planted::is("journal-forgets-to-count-what-goes") {
            return;
        }
        let entries = &mut self.entries[table as usize];
        *entries = entries.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes as u64);
    }

    /// Whether both count the same entries.
    pub(super) fn agrees(&self, other: &Self) -> bool {
        self.entries == other.entries && self.bytes == other.bytes
    }

    pub(super) fn to_bytes(self) -> Vec<u8> {
        let rest = [self.bytes, self.change, self.first_release, self.first_record];
        let words = [self.next_id].into_iter().chain(self.entries).chain(rest);
        words.flat_map(u64::to_be_bytes).collect()
    }

    /// `None` when [`Tally::to_bytes`] did not make these bytes.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let words: Vec<u64> = bytes.chunks(8).map(word).collect::<Option<_>>()?;
        let [next_id, entries @ .., bytes, change, first_release, first_record]: [u64; Self::WORDS] =
            words.try_into().ok()?;
        Some(Self { next_id, entries, bytes, change, first_release, first_record })
    }
}

/// Eight bytes as a number.
pub(super) fn word(bytes: &[u8]) -> Option<u64> {
    bytes.try_into().map(u64::from_be_bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tally_is_read_as_it_was_written() {
        let mut tally = Tally { next_id: 7, ..Tally::default() };
        tally.came(Table::Records, 300);
        tally.came(Table::Unreadable, 2);
        tally.went(Table::Unreadable, 2);
        assert_eq!(Tally::from_bytes(&tally.to_bytes()), Some(tally));
        assert_eq!((tally.of(Table::Records), tally.of(Table::Unreadable), tally.bytes), (1, 0, 300));
        assert_eq!(Tally::from_bytes(&tally.to_bytes()[1..]), None);
    }
}
