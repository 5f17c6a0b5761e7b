//! The tables of the database, and the tally of what lies in them.

use crate::domain::EntryId;

/// One tree of the database each. The numbers are written down (in the tally, and with unreadable entries): never
/// reorder, only append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Table {
    /// Releases without an outcome, or with an unknown one.
    Releases,
    /// Job records that the server has not acknowledged.
    Records,
    /// The last records that it has acknowledged.
    Ledger,
    /// Job records that it refused for good.
    Dead,
    /// Events that the broker has not acknowledged.
    Events,
    /// Entries of the other tables that could not be read: the number of their table, then their bytes.
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

/// How much lies in the tables. It is written in the transaction of every change, so that what is missing is noticed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// No entry has this number or a higher one.
    pub(super) next_id: EntryId,
    pub(super) entries: [u64; Table::COUNT],
    /// Bytes of all values.
    pub(super) bytes: u64,
    /// Grows with every transaction: tells the newest of several.
    pub(super) change: u64,
    /// Before this number, every release has left.
    pub(super) first_release: EntryId,
    /// Before this number, every record has left.
    pub(super) first_record: EntryId,
}

impl Tally {
    const WORDS: usize = Table::COUNT + 5;

    pub(super) fn of(&self, table: Table) -> u64 {
        self.entries[table as usize]
    }

    /// What `outbox.max_entries` bounds. The ledger has its own limit.
    pub(super) fn waiting(&self) -> u64 {
        [Table::Releases, Table::Records, Table::Dead, Table::Events].map(|table| self.of(table)).iter().sum()
    }

    /// An entry came, with so many bytes.
    pub(super) fn came(&mut self, table: Table, bytes: usize) {
        self.entries[table as usize] += 1;
        self.bytes += bytes as u64;
    }

    /// An entry went. Saturates: a wrong tally is found by comparing, not by a panic.
    pub(super) fn went(&mut self, table: Table, bytes: usize) {
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

    /// `None` when it was not written by [`Tally::to_bytes`].
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let words = bytes.chunks(8).map(|word| word.try_into().map(u64::from_be_bytes));
        let words: Vec<u64> = words.collect::<Result<_, _>>().ok()?;
        let [next_id, entries @ .., bytes, change, first_release, first_record]: [u64; Self::WORDS] =
            words.try_into().ok()?;
        Some(Self { next_id, entries, bytes, change, first_release, first_record })
    }
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
