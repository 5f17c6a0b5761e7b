//! The faults that are planted in the program (`src/planted.rs`), and the search for them. A world that finds nothing planted
//! proves nothing.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use super::fleet::{Fleet, WorldOrder};
use super::shrink::without_numbers;

/// A planted fault: its name in the program, and what it does there.
#[derive(Debug)]
pub(super) struct PlantedBug {
    pub(super) name: &'static str,
    pub(super) does: &'static str,
}

macro_rules! bugs {
    ($($name:literal: $does:literal,)+) => { &[$(PlantedBug { name: $name, does: $does }),+] };
}

/// All that the world has to find.
pub(super) const BUGS: &[PlantedBug] = bugs! {
    "forget-a-claim": "a tap does not own the document that it releases",
    "forget-earlier-sends": "a tap sends at once although an earlier request may still print",
    "forget-open-releases": "releases that an earlier run left open are not taken up",
    "believe-an-old-list": "a document that came out since the list was asked for is released again",
    "both-end-a-release": "the recovery ends a release whose place a tap has taken",
    "replace-at-another-printer": "a tap takes the place of a release at another printer",
    "lose-the-earlier-release": "a tap that gives a document back forgets the release before it",
    "send-without-an-entry": "releases are sent that no journal knows",
    "leave-open-for-nobody": "a release in doubt is not handed to the recovery",
    "give-up-an-outcome": "an outcome that the journal does not take at once is given up",
    "keep-the-replaced-release": "the old entry of a document outlives the new one",
    "recovery-asks-too-early": "the recovery believes READY before the request has settled",
    "recovery-believes-silence": "the recovery takes a history that does not answer for READY",
    "recovery-records-nothing": "a release that the recovery ends has no job record",
    "recovery-tells-nobody": "a release that the recovery ends is not told",
    "release-what-another-tap-has": "a station sends a document that another tap has",
    "lose-the-covering-light": "the light of a covered tap stays as it is",
    "lose-the-covered-tap": "a covered tap is not reported",
    "recovery-gives-up": "an outcome that the recovery cannot store at once is given up",
    "own-nothing-of-an-earlier-run": "no claim is made for the releases that an earlier run left open",
    "retained-is-waiting": "READY of a document that stays at the server means that it was not printed",
    "believe-ready-at-once": "READY counts before the request has settled",
    "a-plea-for-patience-is-no-work": "a release that met 429 is sent again at once",
    "a-lost-answer-is-no-work": "a release whose answer was lost is sent again at once",
    "absent-is-not-printed": "a document that the history does not know was not printed",
    "count-no-duplicate": "a record that is sent again without knowing is not counted",
    "take-the-mark-back": "the mark does not stand after a lost answer",
    "bury-without-a-grave": "a record that is refused for good is forgotten",
    "send-unmarked": "a record is sent without its mark",
    "forget-before-acknowledged": "a record is forgotten before the server has it",
    "look-before-it-settled": "a record is looked for while the server may be at work on it",
    "ignore-known-rows": "equal records that are known to stand in the history are not counted",
    "trust-the-boxs-clock": "a record is looked for at the time of this box's clock",
    "every-port-is-ours": "a row that names another port counts as this record",
    "a-document-is-a-record": "the released document counts as its job record",
    "ambiguous-has-arrived": "a row that may be another box's counts as this record",
    "hold-no-station": "a record that cannot be delivered does not hold the next one of its station",
    "wait-without-limit": "the wait between two attempts grows without a limit",
    "forget-unacknowledged-events": "an event is forgotten when it is offered to the broker",
    "swap-events": "events are offered in the wrong order",
    "lose-an-event-silently": "an event that cannot be stored is not counted as lost",
    "send-after-the-deadline": "a release is sent when the person has long gone",
};

/// Seeds that are tried for one bug.
const SEEDS: u64 = 16;

/// The length of the worlds in which a bug is looked for.
const DAYS: u64 = 9;

/// Looks for each bug, or for one, and prints the table. All must be found.
pub(super) fn find_all(fleet: &Fleet, only: Option<&str>, without: &[String]) -> ExitCode {
    let wanted: Vec<&PlantedBug> = BUGS.iter().filter(|bug| only.is_none_or(|only| only == bug.name)).collect();
    let (next, rows) = (AtomicUsize::new(0), Mutex::new(vec![None; wanted.len()]));
    let unplanted = Unplanted::default();
    let one_after_the_other = || {
        while let Some(bug) = wanted.get(next.fetch_add(1, Ordering::Relaxed)) {
            let row = find(fleet, &unplanted, bug, without);
            if let Some(at) = wanted.iter().position(|other| other.name == bug.name) {
                rows.lock().unwrap_or_else(PoisonError::into_inner)[at] = Some(row);
            }
        }
    };
    std::thread::scope(|scope| (0..fleet.abreast).for_each(|_| drop(scope.spawn(one_after_the_other))));
    println!("{:<32} {:>6} {:>6} {:>8}  found as", "planted bug", "seeds", "days", "seconds");
    let rows = rows.into_inner().unwrap_or_else(PoisonError::into_inner);
    let mut missed = 0;
    for (bug, row) in wanted.iter().zip(rows) {
        match row {
            Some(Found { seeds, days, seconds, defect: Some(defect) }) => {
                println!("{:<32} {seeds:>6} {days:>6} {seconds:>8.1}  {defect:.90}", bug.name);
            }
            _ => {
                missed += 1;
                println!("{:<32} NOT FOUND", bug.name);
            }
        }
    }
    println!("{} of {} found", wanted.len() - missed, wanted.len());
    if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The way to a bug.
#[derive(Clone, Debug)]
struct Found {
    seeds: u64,
    /// Virtual days, of all worlds together.
    days: u64,
    seconds: f64,
    defect: Option<String>,
}

/// The defects of the same worlds without a planted fault: they prove nothing about one.
type Unplanted = Mutex<BTreeMap<u64, Vec<String>>>;

fn is_new(fleet: &Fleet, unplanted: &Unplanted, order: &WorldOrder, defect: &str) -> bool {
    let known = unplanted.lock().unwrap_or_else(PoisonError::into_inner).get(&order.seed).cloned();
    let known = known.unwrap_or_else(|| {
        let defects = fleet.live(order).defects;
        unplanted.lock().unwrap_or_else(PoisonError::into_inner).insert(order.seed, defects.clone());
        defects
    });
    known.iter().all(|known| without_numbers(known) != without_numbers(defect))
}

fn find(fleet: &Fleet, unplanted: &Unplanted, bug: &PlantedBug, without: &[String]) -> Found {
    let (began, mut hours) = (Instant::now(), 0);
    for seed in 1..=SEEDS {
        let order = WorldOrder { without: without.to_vec(), ..WorldOrder::new(seed, DAYS) };
        let lived = fleet.live(&WorldOrder { bug: Some(bug.name.to_owned()), ..order.clone() });
        hours += lived.hours;
        let new = lived.defects.iter().find(|defect| is_new(fleet, unplanted, &order, defect));
        if let Some(defect) = new {
            let seconds = began.elapsed().as_secs_f64();
            return Found { seeds: seed, days: hours.div_ceil(24), seconds, defect: Some(defect.clone()) };
        }
    }
    Found { seeds: SEEDS, days: hours / 24, seconds: began.elapsed().as_secs_f64(), defect: None }
}
