//! Which rows of the server's history are the row of one job record? Pure.
//!
//! A record has no key of its own at the server, so it is known by its content: user, title, pages, and printer. Without the printer
//! another box may have written the row, for the same user and title. A record with a tag (`outbox.tag` in docs/configuration.md) is known
//! by its title alone.
//!
//! A row names its printer by the output port's name, and a record by address or serial number. The name of the record's own
//! port stands in the rows of documents that this box released to it.

use std::collections::HashSet;

use super::delivery::Arrival;
use crate::domain::{Document, DocumentStatus, JobRecord, OutputPort};
use crate::planted;

/// A server that cuts a title leaves at least so many of its letters.
const CUT_TITLE: usize = 60;

/// The documents that this box has released, or perhaps released: they stand in the history too.
#[derive(Debug)]
pub(super) struct OwnDocuments {
    all: HashSet<String>,
    /// Those that went to the port of the record: its own document, and those that went to no other.
    here: HashSet<String>,
}

impl OwnDocuments {
    /// `others` are documents of other releases and records, with their ports.
    pub(super) fn of(record: &JobRecord, others: Vec<(String, OutputPort)>) -> Self {
        let (here, elsewhere): (Vec<_>, Vec<_>) = others.into_iter().partition(|(_, port)| *port == record.port);
        let uuids = |documents: Vec<(String, OutputPort)>| documents.into_iter().map(|(uuid, _)| uuid).collect();
        let (mut here, mut all): (HashSet<String>, HashSet<String>) = (uuids(here), uuids(elsewhere));
        // One that was kept at the server may have gone to another port since, and names that.
        here.insert(record.document.clone());
        here.retain(|uuid| !all.contains(uuid));
        all.extend(here.iter().cloned());
        Self { all, here }
    }

    /// The server's name of the record's port, if all these rows agree on it. A document that was kept at the server
    /// (`release.retain`) may have been printed elsewhere since, and disagrees.
    pub(super) fn port_name<'a>(&self, history: &'a [Document]) -> Option<&'a str> {
        let mut names = history.iter().filter(|row| self.here.contains(&row.uuid)).filter_map(port_of);
        let name = names.next()?;
        names.all(|other| other == name).then_some(name)
    }
}

/// Whether a server may have made `theirs` of our title, by cutting it or by leaving spaces and control characters out.
fn is_altered(theirs: &str, ours: &str) -> bool {
    let letters = |title: &str| title.chars().filter(|c| !c.is_whitespace() && !c.is_control()).collect::<String>();
    let (theirs, ours) = (letters(theirs), letters(ours));
    theirs == ours || (theirs.chars().count() >= CUT_TITLE && ours.starts_with(&theirs))
}

/// The name of the port that a row gives.
fn port_of(row: &Document) -> Option<&str> {
    row.port_name.as_deref().filter(|name| !name.is_empty())
}

/// The origin of a row, as far as its content tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RowOrigin {
    /// It says all that the record says.
    Ours,
    /// It says nothing else, but leaves something out by which another box's row would differ.
    Perhaps,
    /// It says the same of another printer.
    Elsewhere,
    Other,
}

/// The marks by which the row of a record is known.
#[derive(Debug)]
pub(super) struct RowMarks<'a> {
    pub(super) record: &'a JobRecord,
    pub(super) released: &'a OwnDocuments,
    /// The server's name of the record's port, if it is known.
    pub(super) port_name: Option<&'a str>,
}

impl RowMarks<'_> {
    fn origin(&self, row: &Document) -> RowOrigin {
        let record = self.record;
        let is_tagged = record.is_tagged();
        // A server may trim a title.
        let is_title = if is_tagged { row.title.trim() == record.title.trim() } else { row.title == record.title };
        let contradicts = (self.released.all.contains(&row.uuid) && !planted::is("a-document-is-a-record"))
            || !matches!(row.status, DocumentStatus::Printed | DocumentStatus::Other)
            || !(row.user.is_empty() || row.user == record.user.name)
            || !(row.title.is_empty() || is_title || is_altered(&row.title, &record.title))
            || matches!((row.pages, record.pages), (Some(theirs), Some(ours)) if theirs != ours)
            || matches!((&row.paper_size, &record.paper_size), (Some(theirs), Some(ours)) if theirs != ours);
        // A job record has no bytes, so a row with bytes is hardly one.
        let is_whole =
            is_title && row.user == record.user.name && row.pages == record.pages && row.storage_online != Some(true);
        match self.is_our_port(row) {
            _ if contradicts => RowOrigin::Other,
            _ if is_tagged && is_title => RowOrigin::Ours,
            Some(false) => RowOrigin::Elsewhere,
            Some(true) if is_whole => RowOrigin::Ours,
            Some(true) | None => RowOrigin::Perhaps,
        }
    }

    /// Whether the row names the record's port; `None` if nobody can tell.
    fn is_our_port(&self, row: &Document) -> Option<bool> {
        if planted::is("every-port-is-ours") {
            return Some(true);
        }
        let name = port_of(row)?;
        if name == self.record.port.name() || self.port_name == Some(name) {
            return Some(true);
        }
        self.port_name.map(|_| false)
    }
}

/// Look-alikes of a record that this box itself has sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct LookAlikes {
    /// They certainly stand in the history, and name the same port.
    pub(super) here: usize,
    /// They certainly stand there, and name another port, which may be the same printer.
    pub(super) elsewhere: usize,
    /// They may stand there: they are in doubt themselves.
    pub(super) in_doubt: usize,
}

/// The rows of the history that look like the record, counted by their origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RowCounts {
    ours: usize,
    perhaps: usize,
    elsewhere: usize,
}

impl RowCounts {
    pub(super) fn of(history: &[Document], marks: &RowMarks<'_>) -> Self {
        let count = |origin| history.iter().filter(|row| marks.origin(row) == origin).count();
        let [ours, perhaps, elsewhere] = [RowOrigin::Ours, RowOrigin::Perhaps, RowOrigin::Elsewhere].map(count);
        Self { ours, perhaps, elsewhere }
    }

    /// Equal records are counted, not merged: there must be one row more than the known ones. If there are still more, somebody
    /// else writes such rows, and ours may not be among them.
    pub(super) fn judge(self, known: LookAlikes) -> Arrival {
        let accounted = known.here + known.elsewhere;
        if planted::is("ambiguous-has-arrived") && self.ours + self.perhaps > accounted {
            return Arrival::Arrived;
        }
        if (accounted + 1..=accounted + 1 + known.in_doubt).contains(&self.ours) {
            return Arrival::Arrived;
        }
        // Known ones at another port are not among the candidates if their rows name that port.
        let certainly_known = known.here + known.elsewhere.saturating_sub(self.elsewhere);
        if self.ours + self.perhaps <= certainly_known { Arrival::Absent } else { Arrival::Ambiguous }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use proptest::prelude::*;

    use super::*;
    use crate::domain::Release;

    fn record(tag: bool) -> JobRecord {
        let mut release = Release { tag, ..Release::sample("document-0", 7) };
        (release.document.title, release.document.pages) = ("Document1".to_owned(), Some(3));
        JobRecord::of(&release, Timestamp::UNIX_EPOCH)
    }

    /// The row that such a record leaves on a server that names the port.
    fn row() -> Document {
        Document {
            title: "Document1".to_owned(),
            user: "ada".to_owned(),
            pages: Some(3),
            status: DocumentStatus::Printed,
            port_name: Some("Lobby".to_owned()),
            ..Document::sample("row")
        }
    }

    /// The judgement of a box whose port has the name `Lobby` at the server.
    fn judged(record: &JobRecord, known: LookAlikes, rows: &[Document]) -> Arrival {
        let released = OwnDocuments::of(record, Vec::new());
        RowCounts::of(rows, &RowMarks { record, released: &released, port_name: Some("Lobby") }).judge(known)
    }

    #[test]
    fn a_row_counts_only_if_it_says_all_that_the_record_says() {
        let user = |name: &str| Document { user: name.to_owned(), ..row() };
        let port = |name: Option<&str>| Document { port_name: name.map(str::to_owned), ..row() };
        for (what, row, expected) in [
            ("the same", row(), Arrival::Arrived),
            ("the port by the name that the record sends", port(Some("DEMO0001")), Arrival::Arrived),
            ("another port", port(Some("Attic")), Arrival::Absent),
            ("no port", port(None), Arrival::Ambiguous),
            ("an empty port", port(Some("")), Arrival::Ambiguous),
            ("another user", user("grace"), Arrival::Absent),
            ("a user who is spelled otherwise", user("Ada"), Arrival::Absent),
            ("no user", user(""), Arrival::Ambiguous),
            ("another title", Document { title: "Document2".to_owned(), ..row() }, Arrival::Absent),
            ("no title", Document { title: String::new(), ..row() }, Arrival::Ambiguous),
            ("other pages", Document { pages: Some(4), ..row() }, Arrival::Absent),
            ("no pages", Document { pages: None, ..row() }, Arrival::Ambiguous),
            ("a document that still waits", Document { status: DocumentStatus::Ready, ..row() }, Arrival::Absent),
            ("a document with its bytes", Document { storage_online: Some(true), ..row() }, Arrival::Ambiguous),
            ("our own document", Document { uuid: "document-0".to_owned(), ..row() }, Arrival::Absent),
        ] {
            assert_eq!(judged(&record(false), LookAlikes::default(), &[row]), expected, "{what}");
        }
    }

    #[test]
    fn a_title_that_the_server_cut_or_cleaned_leaves_a_doubt() {
        let long = format!("{}\u{1b}[2J the report", "a".repeat(100));
        let record = JobRecord { title: long.clone(), ..record(false) };
        for (title, expected) in [
            (long.clone(), Arrival::Arrived),
            (long.chars().take(80).collect(), Arrival::Ambiguous),
            (long.replace('\u{1b}', ""), Arrival::Ambiguous),
            (long.chars().take(CUT_TITLE - 1).collect(), Arrival::Absent),
            (format!("{}b", "a".repeat(80)), Arrival::Absent),
        ] {
            let row = Document { title: title.clone(), ..row() };
            assert_eq!(judged(&record, LookAlikes::default(), &[row]), expected, "{title:?}");
        }
    }

    #[test]
    fn a_port_whose_name_is_not_known_tells_nothing() {
        let record = record(false);
        let released = OwnDocuments::of(&record, Vec::new());
        let counts = RowCounts::of(&[row()], &RowMarks { record: &record, released: &released, port_name: None });
        assert_eq!(counts.judge(LookAlikes::default()), Arrival::Ambiguous);
    }

    #[test]
    fn the_name_of_a_port_is_that_in_the_rows_of_documents_that_were_released_to_it() {
        let record = record(false);
        let attic = OutputPort::Serial("DEMO0002".to_owned());
        let document =
            |uuid: &str, port: Option<&str>| Document { port_name: port.map(str::to_owned), ..Document::sample(uuid) };
        let [own, here] = ["document-0", "here"].map(|uuid| document(uuid, Some("Lobby")));
        let [moved, there, strange] = ["here", "there", "strange"].map(|uuid| document(uuid, Some("Attic")));
        let others = [("here", record.port.clone()), ("there", attic), ("there", record.port.clone())];
        let others = others.map(|(uuid, port)| (uuid.to_owned(), port)).to_vec();
        for (rows, expected) in [
            (vec![own.clone(), there.clone(), strange.clone()], Some("Lobby")),
            (vec![here], Some("Lobby")),
            (vec![own, moved], None),
            (vec![document("document-0", None)], None),
            (vec![there, strange], None),
        ] {
            assert_eq!(OwnDocuments::of(&record, others.clone()).port_name(&rows), expected, "{rows:?}");
        }
    }

    #[test]
    fn a_tag_is_certain_on_any_server() {
        let record = record(true);
        let nameless = Document { port_name: None, ..row() };
        let ours = Document { title: record.title.clone(), ..nameless.clone() };
        let of_another_tap = Document { title: "Document1 [00000000]".to_owned(), ..nameless.clone() };
        let strangers = [nameless, of_another_tap];
        assert_eq!(judged(&record, LookAlikes::default(), &strangers), Arrival::Absent);
        let with_ours = [strangers.to_vec(), vec![ours.clone()]].concat();
        assert_eq!(judged(&record, LookAlikes::default(), &with_ours), Arrival::Arrived);
        // Two documents of one tap with one title have one tag.
        let twin = LookAlikes { here: 1, ..LookAlikes::default() };
        assert_eq!(judged(&record, twin, std::slice::from_ref(&ours)), Arrival::Absent);
        assert_eq!(judged(&record, twin, &[ours.clone(), ours]), Arrival::Arrived);
    }

    #[test]
    fn rows_beyond_those_that_can_be_ours_are_a_strangers() {
        let nameless = Document { port_name: None, ..row() };
        let attic = Document { port_name: Some("Attic".to_owned()), ..row() };
        let (none, here) = (LookAlikes::default(), LookAlikes { here: 1, ..LookAlikes::default() });
        let elsewhere = LookAlikes { elsewhere: 1, ..none };
        for (known, rows, expected) in [
            (none, vec![row(), row()], Arrival::Ambiguous),
            (LookAlikes { in_doubt: 1, ..none }, vec![row(), row()], Arrival::Arrived),
            (here, vec![row()], Arrival::Absent),
            (here, vec![row(), row()], Arrival::Arrived),
            (here, vec![row(), nameless.clone()], Arrival::Ambiguous),
            (here, vec![nameless.clone()], Arrival::Absent),
            // The other port may be the same printer by another name.
            (elsewhere, vec![row()], Arrival::Absent),
            (elsewhere, vec![row(), attic.clone()], Arrival::Ambiguous),
            (elsewhere, vec![row(), row()], Arrival::Arrived),
            (elsewhere, vec![attic], Arrival::Absent),
            (elsewhere, vec![nameless], Arrival::Absent),
        ] {
            assert_eq!(judged(&record(false), known, &rows), expected, "{known:?} {rows:?}");
        }
    }

    proptest! {
        /// However many rows this box and others wrote at whatever printer, and whether or not the server names printers: a
        /// record that arrived is never taken for absent, and one that did not is only taken for another row at its own printer.
        #[test]
        fn a_record_is_never_lost_to_a_row_of_another_printer(
            arrived in any::<bool>(), here in 0..3usize, elsewhere in 0..3usize, strangers in 0..4usize,
            names_ports in any::<bool>(), knows_name in any::<bool>(), is_one_printer in any::<bool>(),
        ) {
            let at = |port: &str| Document { port_name: names_ports.then(|| port.to_owned()), ..row() };
            let other = if is_one_printer { "Lobby" } else { "Attic" };
            let ours = usize::from(arrived) + here;
            let rows = [vec![at("Lobby"); ours], vec![at(other); elsewhere], vec![at("Cellar"); strangers]].concat();
            let record = record(false);
            let released = OwnDocuments::of(&record, Vec::new());
            let marks = RowMarks { record: &record, released: &released, port_name: knows_name.then_some("Lobby") };
            let arrival = RowCounts::of(&rows, &marks).judge(LookAlikes { here, elsewhere, in_doubt: 0 });
            let wrong = if arrived { Arrival::Absent } else { Arrival::Arrived };
            prop_assert_ne!(arrival, wrong);
            if names_ports && knows_name && elsewhere == 0 {
                let right = if arrived { Arrival::Arrived } else { Arrival::Absent };
                prop_assert_eq!(arrival, right, "it is certain here");
            }
        }
    }
}
