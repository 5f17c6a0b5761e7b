//! The books: paper, history, journal and what was told, and whether they agree.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::boxes::Counted;
use super::disk::Seen;
use super::server::Print;
use super::world::{SimulatedWorld, tell};
use crate::domain::{Outcome, Release, TapId};
use crate::journal::DeadLetter;

/// After the deadline of a tap nothing is sent; the last request may work on for three time limits.
const LATEST: SignedDuration = SignedDuration::from_secs(90 + 45);

/// The facts about each document, and the defects that were found.
#[derive(Debug, Default)]
pub(super) struct Books {
    documents: BTreeMap<u32, DocumentBook>,
    /// By the id of the tap.
    told: BTreeMap<String, ToldBook>,
    /// The records of each station that have come, by the journal's number.
    orders: BTreeMap<(usize, String), BTreeSet<u64>>,
    events: BTreeMap<usize, BTreeSet<u64>>,
    /// Dead letters, by the journal's number.
    buried: BTreeSet<(usize, u64)>,
    /// Cards that each run of a box took, and the ends of taps that it told.
    taken: BTreeMap<(usize, u32), (u64, u64)>,
    /// The runs that a kill or a power cut ended.
    pub(super) killed: BTreeSet<(usize, u32)>,
    /// Cards that were held.
    pub(super) taps: u64,
    pub(super) releases: u64,
    pub(super) closings: u64,
    pub(super) defects: Vec<Defect>,
    counted: Vec<Counted>,
    now: Timestamp,
    /// Rows too many of a box and document, as they stood when the books were closed last.
    surplus: BTreeMap<(usize, u32), u64>,
    /// Possible duplicates that each box had counted by then.
    allowed: BTreeMap<usize, u64>,
}

/// Something that must not be.
#[derive(Clone, Debug)]
pub(super) struct Defect {
    pub(super) what: String,
    /// The names in the story.
    pub(super) about: Vec<String>,
}

#[derive(Debug, Default)]
struct DocumentBook {
    releases: BTreeMap<TapId, ReleaseBook>,
    /// Rows of job records, by box.
    rows: BTreeMap<usize, u64>,
    /// The ports that they name.
    ports: BTreeSet<String>,
}

#[derive(Debug)]
struct ReleaseBook {
    number: usize,
    run: u32,
    record: bool,
    retain: bool,
    outcome: Option<Outcome>,
    replaced: bool,
    stored_at: Timestamp,
}

#[derive(Debug, Default)]
struct ToldBook {
    documents: u64,
    unknown: bool,
}

impl ReleaseBook {
    fn is_released(&self) -> bool {
        self.outcome.as_ref().is_some_and(Outcome::is_released)
    }
}

/// The serial number in a document's uuid.
fn serial(uuid: &str) -> u32 {
    uuid.strip_prefix("doc-").and_then(|number| number.parse().ok()).unwrap_or(0)
}

impl Books {
    /// A run of a box has taken so many cards so far.
    pub(super) fn taken(&mut self, number: usize, run: u32, cards: u64) {
        self.taken.entry((number, run)).or_default().0 = cards;
    }

    pub(super) fn defect(&mut self, what: String, about: &[String]) {
        if self.defects.len() < 20 {
            self.defects.push(Defect { what, about: about.to_vec() });
        }
    }

    /// Follows a change of a journal.
    pub(super) fn see(world: &mut SimulatedWorld, number: usize, seen: Seen) {
        let run = world.boxes[number].run;
        world.books.now = world.time();
        match seen {
            Seen::Stored(release) => {
                let (document, tap) = (&release.document.uuid, release.tap);
                tell!(world, "box {number}: release of {document} stored, tap {tap}");
                world.books.releases += 1;
                world.books.release(number, run, &release).outcome = None;
            }
            Seen::Replaced(stored) => {
                let release = &stored.release;
                tell!(world, "box {number}: release of {} by tap {} replaced", release.document.uuid, release.tap);
                world.books.release(number, run, release).replaced = true;
            }
            Seen::Ended(stored, outcome) => {
                let release = &stored.release;
                let (document, tap) = (&release.document.uuid, release.tap);
                let reason = outcome.reason().map(|reason| reason.word().to_owned()).unwrap_or_default();
                tell!(world, "box {number}: release of {document} by tap {tap} ended: {} {reason}", outcome.word());
                world.books.release(number, run, release).outcome = Some(outcome);
            }
            Seen::Buried(id, record) => {
                world.books.buried.insert((number, id));
                tell!(world, "box {number}: record of {} buried", record.document);
            }
            Seen::EventStored(id, payload) => {
                world.books.events.entry(number).or_default().insert(id);
                world.books.told(number, run, &payload);
            }
        }
    }

    fn release(&mut self, number: usize, run: u32, release: &Release) -> &mut ReleaseBook {
        let stored_at = self.now;
        let book = self.documents.entry(serial(&release.document.uuid)).or_default();
        book.releases.entry(release.tap).or_insert_with(|| {
            let (record, retain) = (release.record, release.retain);
            ReleaseBook { number, run, record, retain, outcome: None, replaced: false, stored_at }
        })
    }

    fn told(&mut self, number: usize, run: u32, payload: &str) {
        let Ok(event) = serde_json::from_str::<Value>(payload) else { return };
        if event["event"] == "reader" {
            return;
        }
        let book = self.told.entry(event["id"].as_str().unwrap_or_default().to_owned()).or_default();
        book.documents += event["documents"].as_u64().unwrap_or(0);
        book.unknown |= event["event"] == "unknown";
        // An event of the recovery took no time and is no tap's; a card that is refused takes none either.
        if event["duration_ms"] != 0 || event["event"] == "refused" {
            self.taken.entry((number, run)).or_default().1 += 1;
        }
    }

    /// A job record has come to the history.
    /// It says whether the same record has come before.
    pub(super) fn row(&mut self, serial: u32, from: usize, port: &str, record: Option<(u64, String)>) -> bool {
        let book = self.documents.entry(serial).or_default();
        *book.rows.entry(from).or_default() += 1;
        book.ports.insert(port.to_owned());
        let Some((id, station)) = record else { return false };
        let order = self.orders.entry((from, station)).or_default();
        let newest = order.last().copied().unwrap_or(0);
        let is_new = order.insert(id);
        // A dead letter is out of the order, and may have come to the history by its first attempt.
        if is_new && id < newest && !self.buried.contains(&(from, id)) {
            let what = format!("the record of doc-{serial} came after a later one of its station");
            self.defect(what, &[format!("doc-{serial}")]);
        }
        !is_new
    }
}

/// Closes the books after a calm: all of it must agree.
pub(super) fn close(world: &mut SimulatedWorld) {
    world.books.closings += 1;
    let counted: Vec<Counted> = world.boxes.iter().map(|it| it.counted()).collect();
    let mut found: Vec<(String, Vec<String>)> = Vec::new();
    waiting(world, &mut found);
    unknown_paper(world, &mut found);
    let mut surplus = Vec::new();
    let documents = std::mem::take(&mut world.books.documents);
    for (serial, book) in &documents {
        for what in document(world, *serial, (book, &documents), &counted, &mut surplus) {
            found.push((format!("doc-{serial}: {what}"), vec![format!("doc-{serial}")]));
        }
    }
    counted_duplicates(world, surplus, &counted, &mut found);
    told(world, &documents, &counted, &mut found);
    taps(world, &counted, &mut found);
    events(world, &counted, &mut found);
    world.books.documents = documents;
    world.books.counted = counted;
    for (what, about) in found {
        tell!(world, "DEFECT: {what}");
        world.books.defect(what, &about);
    }
}

/// After the calm nothing waits any more.
fn waiting(world: &SimulatedWorld, found: &mut Vec<(String, Vec<String>)>) {
    for (number, it) in world.boxes.iter().enumerate() {
        for stored in it.disk.records.values() {
            let document = &stored.record.document;
            found.push((format!("box {number} has not delivered the record of {document}"), vec![document.clone()]));
        }
        for stored in it.disk.releases.values().filter(|stored| stored.outcome.is_none()) {
            let document = &stored.release.document.uuid;
            found.push((format!("box {number} has left the release of {document} open"), vec![document.clone()]));
        }
    }
}

/// Every sheet that is to be recorded belongs to a release that a journal knows.
fn unknown_paper(world: &SimulatedWorld, found: &mut Vec<(String, Vec<String>)>) {
    for (serial, document) in world.server.printed() {
        let is_recorded = document.prints.iter().any(|print| world.records_at(&print.port));
        if is_recorded && world.books.documents.get(&serial).is_none_or(|book| book.releases.is_empty()) {
            found.push((
                format!("doc-{serial}: it came out, and no journal knows of it"),
                vec![format!("doc-{serial}")],
            ));
        }
    }
}

/// Paper, outcomes and records of one document.
fn document(
    world: &SimulatedWorld,
    serial: u32,
    (book, documents): (&DocumentBook, &BTreeMap<u32, DocumentBook>),
    counted: &[Counted],
    surplus: &mut Vec<(usize, u32, u64, u64)>,
) -> Vec<String> {
    let mut found = Vec::new();
    let Some(document) = world.server.document(serial) else { return found };
    let mut boxes: BTreeSet<usize> = book.releases.values().map(|release| release.number).collect();
    boxes.extend(document.prints.iter().map(|print| print.by));
    let prints = document.prints.len() as u64;
    let releases = || book.releases.values();
    let accepted = releases().filter(|it| it.is_released()).count() as u64;
    let unknown = releases().filter(|it| matches!(it.outcome, Some(Outcome::Unknown(_)))).count() as u64;
    let retained = releases().any(|it| it.retain);
    // A release without an entry is counted, and the journal knows nothing of it; only one that is not recorded is sent so.
    let may_be_unstored = document.prints.iter().any(|print| !world.records_at(&print.port));
    let unstored = boxes.iter().filter(|_| may_be_unstored).map(|number| counted[*number].unstored).sum::<u64>();
    let outcomes: Vec<String> =
        releases().map(|it| it.outcome.as_ref().map_or("open".to_owned(), |it| it.word().to_owned())).collect();
    let last = releases().map(|it| it.stored_at).max().unwrap_or_default();
    let late = |print: &&Print| print.at.duration_since(last) > LATEST;
    if let Some(print) = document.prints.iter().find(late).filter(|_| !book.releases.is_empty()) {
        found.push(format!("it came out at {} when the person had long gone", print.at));
    }
    // Two boxes cannot know of each other.
    if boxes.len() == 1 {
        if prints > 1 && !retained && prints > 1 + unknown {
            found.push(format!("{prints} sheets came out"));
        }
        if prints < accepted {
            found.push(format!("{accepted} were told as released and {prints} came out"));
        }
        if let Some(port) = book.ports.iter().find(|port| document.prints.iter().all(|print| print.port != **port)) {
            found.push(format!("it is recorded at {port}, where it never came out"));
        }
        if prints > accepted + unknown + unstored {
            found.push(format!("{prints} came out, and its releases ended as {outcomes:?}"));
        }
    }
    for number in boxes.iter().copied() {
        let (rows, dead, wanted) = records(world, number, serial, book);
        if rows + dead < wanted && !is_made_up_for(world, number, serial, documents) {
            found.push(format!("{wanted} were to be recorded, {rows} are in the history and {dead} are dead letters"));
        }
        // A dead letter may have come to the history by an earlier attempt.
        // Nor can a box know at which port one that stays at the server came out last, so it may not know its own row.
        if rows > wanted && !retained {
            let before = world.books.surplus.get(&(number, serial)).copied().unwrap_or(0);
            if rows - wanted > before {
                surplus.push((number, serial, rows - wanted, before));
            }
        }
    }
    found
}

/// The rows in the history, the dead letters, and the records that were to be made, of one document and one box.
fn records(world: &SimulatedWorld, number: usize, serial: u32, book: &DocumentBook) -> (u64, u64, u64) {
    let due = |it: &&ReleaseBook| it.number == number && it.record && it.is_released();
    let wanted = book.releases.values().filter(due).count() as u64;
    let is_it = |letter: &&DeadLetter| letter.record.document == format!("doc-{serial}");
    let dead = world.boxes[number].disk.dead.values().filter(is_it).count() as u64;
    (book.rows.get(&number).copied().unwrap_or(0), dead, wanted)
}

/// Whether a row more of a record that looks the same stands for the one that is missing: in the history nobody tells the
/// records of one box with one user, title and pages apart, and the accounts add up.
fn is_made_up_for(world: &SimulatedWorld, number: usize, serial: u32, documents: &BTreeMap<u32, DocumentBook>) -> bool {
    let look = |serial| world.server.document(serial).map(|document| (document.user, document.title, document.pages));
    let alike = documents.iter().filter(|(other, _)| look(**other) == look(serial));
    let sums = alike.map(|(other, book)| records(world, number, *other, book));
    let (there, wanted) = sums.fold((0, 0), |sum, (rows, dead, wanted)| (sum.0 + rows + dead, sum.1 + wanted));
    there >= wanted
}

/// A record that is in the history twice was counted as possible.
fn counted_duplicates(
    world: &mut SimulatedWorld,
    surplus: Vec<(usize, u32, u64, u64)>,
    counted: &[Counted],
    found: &mut Vec<(String, Vec<String>)>,
) {
    let mut rows: BTreeMap<usize, (u64, Vec<String>)> = BTreeMap::new();
    for (number, serial, now, before) in surplus {
        let (many, names) = rows.entry(number).or_default();
        *many += now - before;
        names.push(format!("doc-{serial}"));
        world.books.surplus.insert((number, serial), now);
    }
    for (number, it) in world.boxes.iter().enumerate() {
        let so_far = counted[number].possible_duplicates + it.killed_while_recording;
        let allowed = so_far - world.books.allowed.insert(number, so_far).unwrap_or(0);
        let (rows, names) = rows.remove(&number).unwrap_or_default();
        if rows > allowed {
            found.push((
                format!("box {number} recorded {rows} too many and counted {allowed}: {}", names.join(" ")),
                names,
            ));
        }
    }
}

/// The events say what the journal says.
fn told(
    world: &mut SimulatedWorld,
    documents: &BTreeMap<u32, DocumentBook>,
    counted: &[Counted],
    found: &mut Vec<(String, Vec<String>)>,
) {
    let mut taps: BTreeMap<TapId, (u64, u64, usize, u32, Vec<String>)> = BTreeMap::new();
    for (serial, book) in documents {
        for (tap, release) in &book.releases {
            let entry = taps.entry(*tap).or_insert((0, 0, release.number, release.run, Vec::new()));
            entry.0 += u64::from(release.outcome.as_ref().is_some_and(Outcome::is_released));
            entry.1 += u64::from(matches!(release.outcome, Some(Outcome::Unknown(_))) && !release.replaced);
            entry.4.push(format!("doc-{serial}"));
        }
    }
    for (tap, (accepted, unknown, number, run, names)) in taps {
        let lost = counted[number].events_lost > 0 || counted[number].unstored > 0;
        if lost || world.books.killed.contains(&(number, run)) {
            continue;
        }
        let told = world.books.told.get(&tap.to_string());
        let (documents, says_unknown) = told.map_or((0, false), |told| (told.documents, told.unknown));
        if documents != accepted {
            found.push((format!("tap {tap} released {accepted} and {documents} were told"), names));
        } else if unknown > 0 && !says_unknown {
            found.push((format!("tap {tap} has {unknown} of unknown outcome and that was not told"), names));
        }
    }
}

/// Every card that was taken has one end that was told.
fn taps(world: &mut SimulatedWorld, counted: &[Counted], found: &mut Vec<(String, Vec<String>)>) {
    for (number, it) in world.boxes.iter().enumerate() {
        world.books.taken.entry((number, it.run)).or_default().0 = it.cards();
    }
    for ((number, run), (cards, told)) in std::mem::take(&mut world.books.taken) {
        let is_over = !world.is_alive(number, run);
        if cards != told && counted[number].events_lost == 0 && !world.books.killed.contains(&(number, run)) {
            found.push((
                format!("box {number} took {cards} cards in run {run} and told the end of {told}"),
                vec![format!("box {number}")],
            ));
        }
        if !is_over {
            world.books.taken.insert((number, run), (cards, told));
        }
    }
}

/// Every event that was stored has come to the broker.
fn events(world: &mut SimulatedWorld, _: &[Counted], found: &mut Vec<(String, Vec<String>)>) {
    for (number, stored) in &world.books.events {
        let came = world.broker.events.get(number);
        for id in stored.iter().filter(|id| came.is_none_or(|came| !came.contains(id))) {
            found.push((
                format!("event {id} of box {number} never came to the broker"),
                vec![format!("event {id} of box {number}")],
            ));
        }
    }
    world.books.events.clear();
}

/// Forgets documents that the server has forgotten.
pub(super) fn forget(world: &mut SimulatedWorld) {
    let kept = world.time().checked_sub(super::server::KEPT_FOR).unwrap_or_default();
    world.server.forget_before(kept);
    let gone: Vec<u32> =
        world.books.documents.keys().copied().filter(|serial| world.server.document(*serial).is_none()).collect();
    for serial in gone {
        world.books.documents.remove(&serial);
    }
}
