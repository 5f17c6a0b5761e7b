//! One step of a transaction.

use super::table::Table;
use crate::domain::EntryId;

/// About the bytes that sled writes for a change besides its value: key, header, the tally.
pub(super) const CHANGE_BYTES: usize = 160;

/// One step of a transaction. A value replaces the earlier one.
#[derive(Debug)]
pub(super) enum Change {
    Put(Table, EntryId, Vec<u8>),
    Remove(Table, EntryId),
}

impl Change {
    /// About the bytes that it writes.
    pub(super) fn bytes(&self) -> usize {
        CHANGE_BYTES
            + match self {
                Self::Put(_, _, value) => value.len(),
                Self::Remove(..) => 0,
            }
    }
}
