//! After any operations in any order, with restarts and power cuts, the journal holds the same as a simple model.

use std::collections::BTreeMap;

use print_release_agent::domain::{EntryId, Outcome, Reason};
use print_release_agent::journal::Journal;
use proptest::prelude::*;
use proptest::test_runner::{FileFailurePersistence, RngSeed};
use tempfile::TempDir;

use crate::support::journal::{close, open, record, release, runtime};
use crate::support::platter::{Dice, cut, read, write};
use crate::support::{dice, limit};

/// One operation. A number chooses one of the entries that are there.
#[derive(Clone, Debug)]
enum JournalStep {
    Store(u8),
    End {
        which: u8,
        outcome: u8,
    },
    Mark(bool),
    Acknowledge,
    Bury,
    Event,
    Forget(u8),
    Retry(u8),
    GiveUp(u8),
    /// The process ends and starts again.
    Restart,
    /// The power goes during one more operation, whose write is there, or not, or in part.
    Cut(u32, Box<JournalStep>),
}

fn steps() -> impl Strategy<Value = Vec<JournalStep>> {
    let in_flight = (any::<u32>(), a_write()).prop_map(|(seed, step)| JournalStep::Cut(seed, Box::new(step)));
    let step = prop_oneof![18 => a_write(), 1 => Just(JournalStep::Restart), 3 => in_flight];
    proptest::collection::vec(step, 1..40)
}

fn a_write() -> impl Strategy<Value = JournalStep> {
    prop_oneof![
        4 => (1..6_u8).prop_map(JournalStep::Store),
        4 => (any::<u8>(), 0..4_u8).prop_map(|(which, outcome)| JournalStep::End { which, outcome }),
        1 => any::<bool>().prop_map(JournalStep::Mark),
        2 => Just(JournalStep::Acknowledge),
        2 => Just(JournalStep::Bury),
        1 => Just(JournalStep::Event),
        1 => any::<u8>().prop_map(JournalStep::Forget),
        1 => any::<u8>().prop_map(JournalStep::Retry),
        1 => any::<u8>().prop_map(JournalStep::GiveUp),
    ]
}

/// A simple journal: documents and payloads by number.
#[derive(Clone, Debug, Default, PartialEq)]
struct Model {
    open: BTreeMap<EntryId, u64>,
    unknown: BTreeMap<EntryId, u64>,
    /// Each with its document, and whether it is marked.
    records: BTreeMap<EntryId, (u64, bool)>,
    acknowledged: Vec<u64>,
    dead: BTreeMap<EntryId, u64>,
    events: BTreeMap<EntryId, u64>,
}

fn document(uuid: &str) -> u64 {
    uuid.trim_start_matches("document-").parse().unwrap()
}

fn choose<T>(map: &BTreeMap<EntryId, T>, which: u8) -> Option<EntryId> {
    map.keys().nth(usize::from(which) % map.len().max(1)).copied()
}

impl Model {
    async fn of(journal: &Journal) -> Self {
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

struct Run {
    dir: TempDir,
    journal: Journal,
    model: Model,
    next: u64,
}

impl Run {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { journal: open(dir.path()), dir, model: Model::default(), next: 0 }
    }

    fn reopen(&mut self, dir: TempDir) {
        let old = std::mem::replace(&mut self.dir, dir);
        // The old directory goes with its journal; the new one is opened beside it.
        let journal = open(self.dir.path());
        close(std::mem::replace(&mut self.journal, journal), old.path());
    }

    async fn step(&mut self, step: &JournalStep) {
        let (journal, model) = (&self.journal, &mut self.model);
        match step.clone() {
            JournalStep::Store(many) => {
                let numbers: Vec<u64> = (self.next..self.next + u64::from(many)).collect();
                self.next += u64::from(many);
                let ids = journal.store_releases(numbers.iter().copied().map(release).collect()).await.unwrap();
                model.open.extend(ids.into_iter().zip(numbers));
            }
            JournalStep::End { which, outcome } => {
                let Some(id) = choose(&model.open, which) else { return };
                let number = model.open.remove(&id).unwrap();
                let (outcome, made) = match outcome {
                    0 => (Outcome::Failed(Reason::NotReady), None),
                    1 => (Outcome::Unknown(Reason::NotListed), None),
                    2 => (Outcome::Accepted, None),
                    _ => (Outcome::Accepted, Some(record(number))),
                };
                if matches!(outcome, Outcome::Unknown(_)) {
                    model.unknown.insert(id, number);
                }
                let recorded = made.is_some();
                journal.end_release(id, outcome, made).await.unwrap();
                if recorded {
                    let newest = journal.list(0).await.unwrap().records.pop().unwrap().id;
                    assert!(model.records.keys().all(|id| *id < newest), "not the last: {newest}");
                    model.records.insert(newest, (number, false));
                }
            }
            JournalStep::Mark(yes) => {
                let oldest = journal.oldest_record().await.unwrap();
                assert_eq!(oldest.as_ref().map(|stored| stored.id), model.records.keys().next().copied());
                let Some(stored) = oldest else { return };
                journal.mark_record(stored.id, yes.then_some(stored.record.time)).await.unwrap();
                model.records.get_mut(&stored.id).unwrap().1 = yes;
            }
            JournalStep::Acknowledge => {
                let Some((id, (number, _))) = model.records.pop_first() else { return };
                journal.acknowledge_record(id).await.unwrap();
                model.acknowledged.push(number);
            }
            JournalStep::Bury => {
                let Some((id, (number, _))) = model.records.pop_first() else { return };
                journal.bury_record(id, "no".to_owned()).await.unwrap();
                model.dead.insert(id, number);
            }
            JournalStep::Event => {
                let number = self.next;
                let id = journal.store_event("lobby".to_owned(), number.to_string()).await.unwrap();
                model.events.insert(id, number);
            }
            JournalStep::Forget(which) => {
                let Some(id) = choose(&model.events, which) else { return };
                journal.forget_event(id).await.unwrap();
                model.events.remove(&id);
            }
            JournalStep::Retry(which) => {
                let Some(id) = choose(&model.dead, which) else { return };
                let next = journal.retry(id).await.unwrap();
                let number = model.dead.remove(&id).unwrap();
                model.records.insert(next, (number, false));
            }
            JournalStep::GiveUp(which) => {
                let Some(id) = choose(&model.unknown, which) else { return };
                journal.give_up(id).await.unwrap();
                model.unknown.remove(&id);
            }
            JournalStep::Restart => {
                let image = tempfile::tempdir().unwrap();
                write(image.path(), &read(&self.dir.path().join("db")));
                self.reopen(image);
            }
            JournalStep::Cut(seed, doing) => {
                let db = self.dir.path().join("db");
                let synced = read(&db);
                let before = self.model.clone();
                Box::pin(self.step(&doing)).await;
                let image = tempfile::tempdir().unwrap();
                write(image.path(), &cut(&synced, &read(&db), &mut Dice::new(seed)));
                self.reopen(image);
                let found = Model::of(&self.journal).await;
                assert!(found == before || found == self.model, "neither before nor after: {found:?}");
                self.model = found;
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 48,
        rng_seed: RngSeed::Fixed(dice().roll(1 << 32)),
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct("tests/it/journal_model.regressions"))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_journal_holds_what_the_model_holds(steps in steps()) {
        let _limit = limit();
        let runtime = runtime();
        let mut run = Run::new();
        for step in &steps {
            runtime.block_on(run.step(step));
            let found = runtime.block_on(Model::of(&run.journal));
            prop_assert_eq!(&found, &run.model, "after {:?}", step);
            prop_assert_eq!(run.journal.counts().borrow().set_aside, 0, "taken for damaged after {:?}", step);
        }
        prop_assert_eq!(runtime.block_on(run.journal.verify()).unwrap().problems, 0);
        close(run.journal, run.dir.path());
    }
}
