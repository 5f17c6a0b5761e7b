//! Releases that an earlier run left open, by document. Two may want one: the recovery, which asks the history how it
//! ended, and a person who taps again because the server still lists the document. Whoever comes first takes it, and the
//! other leaves it alone: or one printed document would be recorded twice.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::domain::{EntryId, Release};
use crate::journal::StoredRelease;

/// What became of a release that was left open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Open(EntryId),
    /// A new tap releases the document again; the first request may still come to its end.
    TakenOver,
}

/// The open releases of earlier runs.
#[derive(Debug, Default)]
pub(super) struct Leftover(Mutex<HashMap<String, Fate>>);

impl Leftover {
    pub(super) fn of(open: &[StoredRelease]) -> Self {
        let fates = open.iter().map(|stored| (stored.release.document.uuid.clone(), Fate::Open(stored.id)));
        Self(Mutex::new(fates.collect()))
    }

    /// The entries in whose place these releases are stored, with their documents.
    pub(super) fn take_over(&self, releases: &[Release]) -> Vec<(String, EntryId)> {
        let mut fates = self.fates();
        let mut taken = |release: &Release| match fates
            .get_mut(&release.document.uuid)
            .map(|fate| std::mem::replace(fate, Fate::TakenOver))?
        {
            Fate::Open(id) => Some((release.document.uuid.clone(), id)),
            Fate::TakenOver => None,
        };
        releases.iter().filter_map(&mut taken).collect()
    }

    /// What was taken over could not be stored: it is open as before.
    pub(super) fn give_back(&self, entries: Vec<(String, EntryId)>) {
        self.fates().extend(entries.into_iter().map(|(uuid, id)| (uuid, Fate::Open(id))));
    }

    /// True when a document's release is a second one, and the first may have printed it.
    pub(super) fn is_taken_over(&self, uuid: &str) -> bool {
        self.fates().get(uuid) == Some(&Fate::TakenOver)
    }

    /// Takes a document's release for the recovery, unless a tap has it.
    pub(super) fn resolve(&self, uuid: &str) -> bool {
        let mut fates = self.fates();
        let open = matches!(fates.get(uuid), Some(Fate::Open(_)));
        if open {
            fates.remove(uuid);
        }
        open
    }

    fn fates(&self) -> MutexGuard<'_, HashMap<String, Fate>> {
        // Nothing that holds it can panic half way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
