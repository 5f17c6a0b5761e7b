//! The metrics of `/metrics` (docs/operating.md, "Metrics"). Counters and histograms are written as things happen; gauges
//! are read from the board.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::{BoardState, ReaderState};
use crate::domain::{Outcome, Reason, Verdict};

/// The buckets in seconds, from a warm request on a local network to the deadline of a tap.
const BUCKETS: [f64; 11] = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 90.0];

/// The words of the label `outcome`.
const DOCUMENTS: [&str; 3] = ["accepted", "failed", "unknown"];

/// A part of a tap whose time is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The station's decision about a read, with its conversion to a card number.
    Convert,
    /// The login of the card's holder at the server.
    Login,
    /// The request for the list of waiting documents.
    List,
    /// The durable write of the releases.
    Store,
    /// One release, from the request to its outcome.
    Release,
    /// The delivery of one job record.
    Record,
}

impl Stage {
    /// Every stage, in the order of a tap.
    pub(crate) const ALL: [Self; 6] =
        [Self::Convert, Self::Login, Self::List, Self::Store, Self::Release, Self::Record];

    /// The word of the label `stage`.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Convert => "convert",
            Self::Login => "login",
            Self::List => "list",
            Self::Store => "store",
            Self::Release => "release",
            Self::Record => "record",
        }
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OutcomeLabels {
    station: String,
    outcome: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ReasonLabels {
    station: String,
    reason: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct StageLabels {
    station: String,
    stage: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct StationLabels {
    station: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct StateLabels {
    state: String,
}

/// The counters and histograms: everything here only grows.
#[derive(Debug)]
pub(crate) struct Metrics {
    taps: Family<OutcomeLabels, Counter>,
    tap_reasons: Family<ReasonLabels, Counter>,
    documents: Family<OutcomeLabels, Counter>,
    stages: Family<StageLabels, Histogram, fn() -> Histogram>,
    possible_duplicates: Counter,
    unstored: Counter,
    events_lost: Counter,
    unexpected_answers: Counter,
    recoveries_postponed: Counter,
    refused_rows: Counter,
}

impl Metrics {
    pub(super) fn new() -> Self {
        Self {
            taps: Family::default(),
            tap_reasons: Family::default(),
            documents: Family::default(),
            stages: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
            possible_duplicates: Counter::default(),
            unstored: Counter::default(),
            events_lost: Counter::default(),
            unexpected_answers: Counter::default(),
            recoveries_postponed: Counter::default(),
            refused_rows: Counter::default(),
        }
    }

    /// Adds a station, so that its counters stand at zero before they first count.
    pub(super) fn add_station(&self, station: &str) {
        for verdict in Verdict::ALL {
            drop(self.taps.get_or_create(&outcome_labels(station, verdict.word())));
        }
        for reason in Reason::ALL.iter().filter(|reason| reason.can_end_a_tap()) {
            drop(self.tap_reasons.get_or_create(&reason_labels(station, reason)));
        }
        for outcome in DOCUMENTS {
            drop(self.documents.get_or_create(&outcome_labels(station, outcome)));
        }
        for stage in Stage::ALL {
            drop(self.stages.get_or_create(&stage_labels(station, stage)));
        }
    }

    /// Counts a tap by the words that it ended with.
    pub(crate) fn tap(&self, station: &str, verdict: Verdict, reason: Option<&Reason>) {
        self.taps.get_or_create(&outcome_labels(station, verdict.word())).inc();
        if let Some(reason) = reason {
            self.tap_reasons.get_or_create(&reason_labels(station, reason)).inc();
        }
    }

    /// Counts a release by the word that it ended with.
    pub(crate) fn document(&self, station: &str, outcome: &Outcome) {
        self.documents.get_or_create(&outcome_labels(station, outcome.word())).inc();
    }

    /// Adds the time that a stage took.
    pub(crate) fn stage(&self, station: &str, stage: Stage, took: Duration) {
        self.stages.get_or_create(&stage_labels(station, stage)).observe(took.as_secs_f64());
    }

    /// Counts a record that was sent again although nobody could say whether the first one had arrived.
    pub(crate) fn possible_duplicate(&self) {
        self.possible_duplicates.inc();
    }

    /// Counts releases that were sent without a journal entry, because the disk was full and they needed no record.
    pub(crate) fn unstored(&self, releases: u64) {
        self.unstored.inc_by(releases);
    }

    pub(super) fn add_events_lost(&self, events: u64) {
        self.events_lost.inc_by(events);
    }

    pub(super) fn events_lost(&self) -> u64 {
        self.events_lost.get()
    }

    /// Counts a release in doubt for which the recovery had no room: the next start asks how it ended.
    pub(crate) fn recovery_postponed(&self) {
        self.recoveries_postponed.inc();
    }

    /// Counts rows of the server's lists that were skipped, because an identifier could not be kept exactly.
    pub(crate) fn rows_refused(&self, rows: u64) {
        self.refused_rows.inc_by(rows);
    }

    /// Counts an answer that fitted no phase of its tap: a fault of this program.
    pub(crate) fn unexpected_answer(&self) {
        self.unexpected_answers.inc();
    }

    pub(super) fn render(&self, state: &BoardState, oldest_s: u64) -> String {
        let mut registry = Registry::with_prefix("print_release");
        registry.register("taps", "Taps by how they ended", self.taps.clone());
        registry.register("tap_reasons", "Taps by the reason that they ended with", self.tap_reasons.clone());
        registry.register("documents", "Documents by how their release ended", self.documents.clone());
        registry.register("stage_seconds", "How long each stage of a tap took", self.stages.clone());
        registry.register(
            "possible_duplicates",
            "Job records sent again without knowing",
            self.possible_duplicates.clone(),
        );
        registry.register("unstored_releases", "Releases sent without a journal entry", self.unstored.clone());
        registry.register("events_lost", "Events not told, because too many waited", self.events_lost.clone());
        let unexpected = self.unexpected_answers.clone();
        registry.register("unexpected_answers", "Answers that fitted no phase of their tap", unexpected);
        let postponed = self.recoveries_postponed.clone();
        registry.register("recoveries_postponed", "Releases in doubt that wait for the next start", postponed);
        let refused = self.refused_rows.clone();
        registry.register("refused_rows", "Rows of lists and history with an identifier that cannot be kept", refused);
        let entries = Family::<StateLabels, Gauge>::default();
        let outbox = &state.outbox;
        for (name, count) in [("pending", outbox.pending), ("in_doubt", outbox.in_doubt), ("dead", outbox.dead)] {
            entries.get_or_create(&StateLabels { state: name.to_owned() }).set(signed(count));
        }
        let journal = &state.journal;
        registry.register("journal_full", "1 when the disk takes nothing new", gauge(u64::from(journal.full)));
        registry.register("journal_set_aside", "Damaged databases that were set aside", gauge(journal.set_aside));
        registry.register("journal_unreadable", "Entries that cannot be read", gauge(journal.unreadable));
        let other = gauge(state.other_machine);
        registry.register("other_machine", "States of other machines that were set aside", other);
        registry.register("outbox_entries", "Job records that wait", entries);
        registry.register("outbox_oldest_seconds", "Age of the oldest job record that waits", gauge(oldest_s));
        registry.register("server_up", "1 when the server answered last", gauge(u64::from(state.server.reachable)));
        registry.register("refused_cards", "Different cards refused in a row", gauge(state.server.refused_cards));
        let readers = Family::<StationLabels, Gauge>::default();
        for (name, station) in &state.stations {
            let up = i64::from(station.reader == ReaderState::Connected);
            readers.get_or_create(&StationLabels { station: name.to_string() }).set(up);
        }
        registry.register("reader_up", "1 when the reader's device is open", readers);
        if let Some(up) = state.mqtt {
            registry.register("mqtt_up", "1 when the broker is connected", gauge(u64::from(up)));
        }
        let written = ConstCounter::new(written_bytes());
        registry.register("disk_written_bytes", "Bytes this program caused to be written to the disk", written);
        registry.register("disk_flushes", "Syncs of the journal to the disk", ConstCounter::new(state.disk_syncs));
        let mut text = String::new();
        encode(&mut text, &registry).expect("writing to a String cannot fail");
        prometheus_text(&text)
    }
}

fn outcome_labels(station: &str, outcome: &str) -> OutcomeLabels {
    OutcomeLabels { station: station.to_owned(), outcome: outcome.to_owned() }
}

fn reason_labels(station: &str, reason: &Reason) -> ReasonLabels {
    ReasonLabels { station: station.to_owned(), reason: reason.word().to_owned() }
}

fn stage_labels(station: &str, stage: Stage) -> StageLabels {
    StageLabels { station: station.to_owned(), stage: stage.word().to_owned() }
}

/// Turns the OpenMetrics text of the library into the text format of Prometheus (version 0.0.4), which has no end mark, and
/// whose counters end in `_total` in the comments too.
fn prometheus_text(open_metrics: &str) -> String {
    let mut lines: Vec<_> = open_metrics.lines().filter(|line| *line != "# EOF").map(str::to_owned).collect();
    let counters: Vec<_> = lines
        .iter()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter").map(str::to_owned))
        .collect();
    for line in lines.iter_mut().filter(|line| line.starts_with('#')) {
        let mut words = line.splitn(4, ' ');
        if let (Some(hash), Some(what), Some(name), Some(rest)) =
            (words.next(), words.next(), words.next(), words.next())
            && counters.iter().any(|counter| counter == name)
        {
            *line = format!("{hash} {what} {name}_total {rest}");
        }
    }
    lines.join("\n") + "\n"
}

fn gauge(value: u64) -> Gauge {
    let gauge = Gauge::default();
    gauge.set(signed(value));
    gauge
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// The bytes that this process has caused to be written to a device (proc(5), "/proc/pid/io"); 0 where the kernel counts none.
fn written_bytes() -> u64 {
    let io = std::fs::read_to_string("/proc/self/io").unwrap_or_default();
    io.lines().find_map(|line| line.strip_prefix("write_bytes: ")?.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::domain::StationName;
    use crate::status::Board;

    #[test]
    fn every_metric_of_the_contract_is_told_under_its_name() {
        let board = Board::new("box", [StationName::from("lobby")], Timestamp::UNIX_EPOCH);
        board.update(|state| state.mqtt = Some(false));
        board.metrics.tap("lobby", Verdict::Released, None);
        board.metrics.document("lobby", &Outcome::Accepted);
        board.metrics.stage("lobby", Stage::Login, std::time::Duration::from_millis(2));
        let text = board.metrics_text(Timestamp::UNIX_EPOCH);
        for line in [
            "print_release_taps_total{station=\"lobby\",outcome=\"released\"} 1",
            "print_release_documents_total{station=\"lobby\",outcome=\"accepted\"} 1",
            "print_release_stage_seconds_count{station=\"lobby\",stage=\"login\"} 1",
            "print_release_outbox_entries{state=\"pending\"} 0",
            "print_release_outbox_oldest_seconds 0",
            "print_release_server_up 0",
            "print_release_reader_up{station=\"lobby\"} 0",
            "print_release_mqtt_up 0",
            "print_release_disk_written_bytes_total ",
            "print_release_disk_flushes_total 0",
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
        for comment in ["# TYPE print_release_taps_total counter", "# TYPE print_release_stage_seconds histogram"] {
            assert!(text.lines().any(|line| line == comment), "{comment} is missing in\n{text}");
        }
        assert!(!text.contains("EOF"), "{text}");
    }

    #[test]
    fn every_stage_is_there_as_zero_under_the_word_of_the_contract() {
        let board = Board::new("box", [StationName::from("lobby")], Timestamp::UNIX_EPOCH);
        let text = board.metrics_text(Timestamp::UNIX_EPOCH);
        for word in ["convert", "login", "list", "store", "release", "record"] {
            let line = format!("print_release_stage_seconds_count{{station=\"lobby\",stage=\"{word}\"}} 0");
            assert!(text.lines().any(|written| written == line), "{line} is missing in\n{text}");
        }
        assert_eq!(text.matches("print_release_stage_seconds_count{").count(), Stage::ALL.len());
    }

    #[test]
    fn the_dashboard_asks_for_metrics_that_there_are() {
        let board = Board::new("box", [StationName::from("lobby")], Timestamp::UNIX_EPOCH);
        board.update(|state| state.mqtt = Some(false));
        let text = board.metrics_text(Timestamp::UNIX_EPOCH);
        let dashboard = include_str!("../../firmware-config/dashboards/grafana.json");
        let is_name = |c: char| c.is_ascii_lowercase() || c == '_';
        let asked = dashboard.match_indices("print_release_").map(|(at, _)| &dashboard[at..]);
        let asked: Vec<_> = asked.map(|text| &text[..text.find(|c| !is_name(c)).unwrap_or(text.len())]).collect();
        assert!(asked.len() > 10);
        for name in asked {
            let is_there =
                text.lines().any(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])));
            assert!(is_there, "{name} is missing in:\n{text}");
        }
    }
}
