use proptest::prelude::*;

use std::time::Instant;

use super::super::delivery::Arrival;
use super::super::rows::{OwnDocuments, RowCounts, RowMarks};
use super::*;
use crate::domain::{Document, DocumentStatus, OutputPort, TapId, User};
use crate::print_server::{ClockReading, ServerClock};

/// A second of the day that the tests play on.
fn at(second: i64) -> Timestamp {
    Timestamp::constant(1_790_000_000, 0) + SignedDuration::from_secs(second)
}

fn record(made: i64) -> JobRecord {
    JobRecord {
        tap: TapId::new(at(made), 0),
        station: "lobby".into(),
        user: User { name: "ada".to_owned(), provider: None },
        document: format!("document-{made}"),
        title: "Same.pdf".to_owned(),
        pages: Some(3),
        color_pages: None,
        paper_size: None,
        long_edge: None,
        port: OutputPort::Address("192.0.2.10".to_owned()),
        time: at(made),
    }
}

fn sent(second: i64) -> StoredRecord {
    let (carried_over, made, last_error) = (None, None, None);
    StoredRecord { id: 1, record: record(second - 1), attempted: Some(at(second)), carried_over, made, last_error }
}

fn carried_over(made: i64, damage: i64) -> StoredRecord {
    StoredRecord { attempted: Some(at(made)), carried_over: Some(at(damage)), ..sent(made + 1) }
}

const SETTLED: i64 = 30;

fn clocks(now: i64) -> Clocks {
    Clocks {
        now: at(now),
        ahead: SignedDuration::ZERO,
        settled: Duration::from_secs(SETTLED.unsigned_abs()),
        datetime: false,
    }
}

fn row(second: i64) -> Document {
    Document {
        title: "Same.pdf".to_owned(),
        user: "ada".to_owned(),
        pages: Some(3),
        created: Some(at(second)),
        status: DocumentStatus::Printed,
        port_name: Some("192.0.2.10".to_owned()),
        ..Document::sample(&format!("row-{second}"))
    }
}

/// The judgement about the rows that the server would answer.
fn found(stored: &StoredRecord, equals: &[StoredRecord], rows: &[Document], clocks: &Clocks) -> Arrival {
    let window = HistoryWindow::of(stored, equals, 0, clocks);
    let stands = |row: &&Document| row.created.is_some_and(|at| window.span.from <= at && at <= window.span.to);
    let history: Vec<Document> = rows.iter().filter(stands).cloned().collect();
    let released = OwnDocuments::of(&stored.record, Vec::new());
    let marks = RowMarks { record: &stored.record, released: &released, port_name: None };
    RowCounts::of(&history, &marks).judge(window.known)
}

#[test]
fn a_row_counts_from_the_mark_until_the_server_has_settled() {
    let now = clocks(1_000);
    for (second, expected) in
        [(10, Arrival::Absent), (100, Arrival::Arrived), (100 + SETTLED, Arrival::Arrived), (200, Arrival::Absent)]
    {
        assert_eq!(found(&sent(100), &[], &[row(second)], &now), expected, "{second}");
    }
}

#[test]
fn a_mark_of_a_box_that_did_not_know_the_servers_clock_is_found_by_either_clock() {
    const HOUR: i64 = 3_600;
    // The row stands at 100 by the server's clock, and the mark was written by a clock that was behind, or ahead.
    for behind in [3 * HOUR, -3 * HOUR] {
        let clocks = Clocks { ahead: SignedDuration::from_secs(behind), ..clocks(1_000) };
        assert_eq!(found(&sent(100 - behind), &[], &[row(100)], &clocks), Arrival::Arrived, "{behind}");
        // By the server's clock already, and made by this box's.
        let right = StoredRecord { record: record(99 - behind), ..sent(100) };
        assert_eq!(found(&right, &[], &[row(100)], &clocks), Arrival::Arrived, "{behind}");
    }
    // The clock was ten years ahead, and is right now.
    assert_eq!(found(&sent(10 * 365 * 24 * HOUR), &[], &[row(100)], &clocks(1_000)), Arrival::Arrived);
}

#[test]
fn an_equal_record_at_the_edge_of_the_window_is_counted() {
    // Marked well before, stamped only just before its answer: its row stands among ours.
    let (earlier, ours) = (sent(80), sent(101));
    assert_eq!(found(&ours, std::slice::from_ref(&earlier), &[row(100)], &clocks(1_000)), Arrival::Absent);
    assert_eq!(found(&ours, &[earlier], &[row(100), row(101)], &clocks(1_000)), Arrival::Arrived);
}

#[test]
fn what_comes_from_a_damaged_database_is_looked_for_until_the_damage() {
    const DAY: i64 = 24 * 3600;
    let back = carried_over(0, 9 * DAY);
    let now = clocks(10 * DAY);
    assert_eq!(found(&back, &[], &[row(8 * DAY)], &now), Arrival::Arrived);
    assert_eq!(found(&back, &[], &[row(9 * DAY + 3600)], &now), Arrival::Absent);
    // A second one of two that were delivered; and of one.
    let first = carried_over(0, 9 * DAY);
    assert_eq!(found(&back, std::slice::from_ref(&first), &[row(DAY), row(2 * DAY)], &now), Arrival::Arrived);
    assert_eq!(found(&back, &[first], &[row(DAY)], &now), Arrival::Absent);
    // By a clock that was set since, or by none.
    let set = Clocks { ahead: SignedDuration::from_hours(-3), ..clocks(10 * DAY) };
    assert_eq!(found(&back, &[], &[row(-2 * 3600)], &set), Arrival::Arrived);
    let timeless = StoredRecord { attempted: Some(Timestamp::UNIX_EPOCH), ..back };
    assert_eq!(found(&timeless, &[], &[row(-DAY)], &now), Arrival::Arrived);
}

#[test]
fn a_record_that_names_its_time_stands_there() {
    let named = Clocks { datetime: true, ..clocks(1_000) };
    let late = StoredRecord { attempted: Some(at(900)), ..sent(101) };
    assert_eq!(found(&late, &[], &[row(100)], &named), Arrival::Arrived);
    assert_eq!(found(&late, &[], &[row(900)], &named), Arrival::Absent);
}

#[test]
fn a_record_with_a_tag_is_found_a_day_away() {
    let mut tagged = sent(100);
    tagged.record.title = format!("Same.pdf [{}]", &tagged.record.tap.to_string()[18..]);
    let with_title = |second| Document { title: tagged.record.title.clone(), port_name: None, ..row(second) };
    assert_eq!(found(&tagged, &[], &[with_title(20 * 3_600), row(100)], &clocks(1_000)), Arrival::Arrived);
    assert_eq!(found(&tagged, &[], &[row(100)], &clocks(1_000)), Arrival::Absent);
}

proptest! {
    /// Equal records one after the other, each stamped at any time between its mark and when it has settled. However
    /// the stamps fall, it is known whether the last one arrived.
    #[test]
    fn equal_records_are_counted_right(
        steps in proptest::collection::vec((0..2 * SETTLED, 0..=SETTLED), 1..20),
        arrived in any::<bool>(),
    ) {
        let (mut ledger, mut rows, mut mark) = (Vec::new(), Vec::new(), 0);
        for (wait, delay) in steps {
            // The next one is sent when the answer to this one has come.
            mark += wait;
            ledger.push(sent(mark));
            rows.push(row(mark + delay));
            mark += delay;
        }
        let doubtful = ledger.pop().unwrap();
        if !arrived {
            rows.pop();
        }
        let expected = if arrived { Arrival::Arrived } else { Arrival::Absent };
        prop_assert_eq!(found(&doubtful, &ledger, &rows, &clocks(100_000)), expected);
    }
}

/// Something that happens to the clocks, and the seconds that it takes.
#[derive(Clone, Copy, Debug)]
enum ClockEvent {
    /// Somebody sets this box's clock.
    Step(i64),
    /// The server answers; its `Date` is right, missing, or wrong by so much.
    Answer {
        way: u64,
        date: Option<i64>,
    },
    Wait(u64),
}

fn clock_events() -> impl Strategy<Value = Vec<ClockEvent>> {
    const YEAR: i64 = 365 * 24 * 3_600;
    let odd = prop_oneof![3 => Just(Some(0)), 1 => Just(None), 1 => (-YEAR..40 * YEAR).prop_map(Some)];
    let event = prop_oneof![
        (-YEAR..10 * YEAR).prop_map(ClockEvent::Step),
        Just(ClockEvent::Step(-3_600)),
        (0..8u64, odd).prop_map(|(way, date)| ClockEvent::Answer { way, date }),
        (0..1_000u64).prop_map(ClockEvent::Wait),
    ];
    proptest::collection::vec(event, 0..30)
}

/// A box, a server, and the network between them, for some virtual time.
struct ClockWorld {
    start: Instant,
    second: u64,
    /// This box's clock minus the server's.
    wrong_by: i64,
    clock: ServerClock,
    /// Right answers since the last wrong one: no two in three are wrong.
    right: usize,
}

impl ClockWorld {
    fn moment(&self) -> Instant {
        self.start + Duration::from_secs(self.second)
    }

    fn server(&self) -> Timestamp {
        at(self.second.cast_signed())
    }

    fn wall(&self) -> Timestamp {
        at(self.second.cast_signed() + self.wrong_by)
    }

    fn likely(&self) -> Timestamp {
        self.clock.at(self.moment()).unwrap_or_else(|| self.wall())
    }

    fn happen(&mut self, event: ClockEvent) {
        match event {
            ClockEvent::Step(by) => self.wrong_by = by,
            ClockEvent::Wait(seconds) => self.second += seconds,
            ClockEvent::Answer { way, date } => {
                let asked = self.moment();
                self.second += way;
                let date = date.map(|wrong_by| if self.right < 2 { 0 } else { wrong_by });
                match date {
                    Some(0) => self.right += 1,
                    Some(_) => self.right = 0,
                    None => {}
                }
                let date = date.map(|by| self.server() + SignedDuration::from_secs(by));
                let reading = date.map(|date| ClockReading { date, asked, answered: self.moment() });
                self.clock.heard(reading, true);
            }
        }
    }

    /// As the client does it: it asks until the answers agree.
    fn learn_time(&mut self) {
        for _ in 0..3 {
            if !self.clock.is_known(self.moment()) {
                self.happen(ClockEvent::Answer { way: 1, date: Some(0) });
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// However this box's clock is set, and whatever single answers say of the time: the row of a record stands in the window
    /// in which it is looked for.
    #[test]
    fn the_row_stands_in_the_window_whatever_the_clocks_did(
        before in clock_events(), between in clock_events(), after in clock_events(), delay in 0..=SETTLED,
    ) {
        let start = Instant::now();
        let mut world = ClockWorld { start, second: 0, wrong_by: 0, clock: ServerClock::default(), right: 0 };
        world.happen(ClockEvent::Answer { way: 1, date: Some(0) });
        before.into_iter().for_each(|event| world.happen(event));
        let made = world.wall();
        between.into_iter().for_each(|event| world.happen(event));
        world.learn_time();
        let mark = world.likely();
        let stamp = world.server() + SignedDuration::from_secs(delay);
        after.into_iter().for_each(|event| world.happen(event));
        world.second += SETTLED.unsigned_abs();
        world.learn_time();
        let now = world.likely();
        let clocks = Clocks { now, ahead: world.wall().duration_until(now), ..clocks(0) };
        let mut stored = sent(0);
        (stored.record.time, stored.attempted) = (made, Some(mark));
        let span = HistoryWindow::of(&stored, &[], 0, &clocks).span;
        prop_assert!(span.from <= stamp && stamp <= span.to, "{stamp} is not in {span:?}");
    }
}
