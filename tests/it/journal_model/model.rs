//! A simple journal, and the comparison of the real one with it.

use std::collections::BTreeMap;

use print_release_agent::domain::EntryId;
use print_release_agent::journal::Journal;

use super::JournalStep;

/// A simple journal: documents and payloads by number.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Model {
    pub open: BTreeMap<EntryId, u64>,
    pub unknown: BTreeMap<EntryId, u64>,
    /// Each with its document, and whether it is marked.
    pub records: BTreeMap<EntryId, (u64, bool)>,
    pub acknowledged: Vec<u64>,
    pub dead: BTreeMap<EntryId, u64>,
    pub events: BTreeMap<EntryId, u64>,
}

fn document(uuid: &str) -> u64 {
    uuid.trim_start_matches("document-").parse().unwrap()
}

pub fn choose<T>(map: &BTreeMap<EntryId, T>, which: u8) -> Option<EntryId> {
    map.keys().nth(usize::from(which) % map.len().max(1)).copied()
}

impl Model {
    pub async fn of(journal: &Journal) -> Self {
        let listing = journal.list(0).await.unwrap();
        let (open, unknown): (Vec<_>, Vec<_>) =
            listing.releases.into_iter().partition(|stored| stored.outcome.is_none());
        let records = listing.records.into_iter();
        Self {
            open: open.into_iter().map(|stored| (stored.id, document(&stored.release.document.uuid))).collect(),
            unknown: unknown.into_iter().map(|stored| (stored.id, document(&stored.release.document.uuid))).collect(),
            records: records
                .map(|stored| (stored.id, (document(&stored.record.document), stored.attempted.is_some())))
                .collect(),
            acknowledged: journal
                .ledger()
                .await
                .unwrap()
                .iter()
                .map(|stored| document(&stored.record.document))
                .collect(),
            dead: listing.dead.into_iter().map(|letter| (letter.id, document(&letter.record.document))).collect(),
            events: journal
                .events_after(0, 1000)
                .await
                .unwrap()
                .into_iter()
                .map(|event| (event.id, event.payload.parse().unwrap()))
                .collect(),
        }
    }
}

/// The fault that explains a difference between the journal and its model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    None,
    /// A sync has failed, or a damage was told before: nothing is lost, and what the server may have is in doubt.
    Sync,
    /// The database was damaged: a loss is told, and nothing that the server has is sent again without a look.
    Damage,
}

impl Model {
    /// Every document and event by its number, with the place where it stands.
    pub fn numbers(&self) -> BTreeMap<u64, &'static str> {
        let mut numbers = BTreeMap::new();
        for (place, of) in
            [("open", &self.open), ("unknown", &self.unknown), ("dead", &self.dead), ("event", &self.events)]
        {
            numbers.extend(of.values().map(|number| (*number + u64::from(place == "event") * EVENTS, place)));
        }
        numbers.extend(self.acknowledged.iter().map(|number| (*number, "acknowledged")));
        numbers.extend(
            self.records.values().map(|(number, marked)| (*number, if *marked { "marked" } else { "waiting" })),
        );
        numbers
    }

    /// Checks that `found` is this model after a fault.
    pub fn check(&self, found: &Self, fault: Fault, told: bool, step: &JournalStep) {
        if fault == Fault::None || (fault == Fault::Damage && !told) {
            assert_eq!(found, self, "after {step:?}, told: {told}");
        }
        let now = found.numbers();
        for (number, was) in self.numbers() {
            let is = now.get(&number).copied();
            let in_doubt = is == Some("marked") && ["waiting", "acknowledged", "dead"].contains(&was);
            let reopened = ["open", "unknown"].contains(&was) && is.is_some_and(|is| ["open", "unknown"].contains(&is));
            let lost = is.is_none() && fault == Fault::Damage;
            let comes_again = ["acknowledged", "marked"].contains(&was) && is == Some("waiting");
            assert!(!comes_again, "{number} was {was} and is {is:?} after {step:?}");
            let moved = fault == Fault::Damage && is.is_some();
            assert!(
                is == Some(was) || in_doubt || reopened || lost || moved,
                "{number} was {was} and is {is:?} after {step:?}"
            );
        }
    }
}

/// Events have numbers of their own, beyond those of documents.
const EVENTS: u64 = 1 << 32;
