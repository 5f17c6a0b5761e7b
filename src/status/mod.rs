//! Everything that the box shows to the world. The agent writes it on the [`Board`]; the page, `/status`, `/metrics`, the
//! control socket and MQTT read it there. A reader of the board can never delay a writer.

mod bounded_stream;
mod connections;
pub mod control;
pub(crate) mod hosts;
pub(crate) mod http;
mod metrics;
pub mod mqtt;
pub mod topics;
mod waiting;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::domain::StationName;
pub(crate) use metrics::{Metrics, Stage};
pub(crate) use waiting::{WaitingRecord, WaitingRecords};

/// Whether a station can take a card, and why not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Phase {
    /// The station waits for a card.
    Ready,
    /// A tap is under way.
    Busy,
    /// The server cannot be reached.
    Offline,
    /// The reader is not connected.
    #[default]
    Fault,
}

/// Whether the reader's device is open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ReaderState {
    Connected,
    #[default]
    Disconnected,
}

/// The status of one station (docs/operating.md, "Status document").
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct StationStatus {
    /// Follows from the reader, the server and the tap; see [`BoardState::update_phases`].
    pub(crate) phase: Phase,
    pub(crate) reader: ReaderState,
    /// The printer's state; `unknown` as long as nothing looks at the printer.
    pub(crate) printer: &'static str,
    /// Counts the cards since the start, refused ones included.
    pub(crate) taps: u64,
    /// Counts the documents that were released.
    pub(crate) released: u64,
    /// Counts the documents that were not released.
    pub(crate) failed: u64,
    /// The last feedback that the person got: a word of docs/operating.md, "Lights and beeps".
    pub(crate) feedback: &'static str,
    /// The end of the last tap, as its event has it.
    pub(crate) last: Option<Value>,
    /// A tap is under way.
    #[serde(skip)]
    pub(crate) busy: bool,
}

/// Whether the server can be reached.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct ServerStatus {
    /// Whether the server answered the last request.
    pub(crate) reachable: bool,
    /// The time since when `reachable` has its value.
    pub(crate) since: Timestamp,
    /// The version that the server reports; empty until it has reported one.
    pub(crate) version: String,
    /// The standing of this box as a trusted device: `registering`, `waiting-for-approval`, `trusted` or `refused`; `none`
    /// when the box does not register itself.
    pub(crate) device: &'static str,
    /// Counts the different cards whose login was refused since the last one that succeeded.
    pub(crate) refused_cards: u64,
}

/// The job records that wait for the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct OutboxStatus {
    /// Counts the job records that the server has not acknowledged.
    pub(crate) pending: u64,
    /// Counts those of them that may have arrived.
    pub(crate) in_doubt: u64,
    /// Counts the job records that the server refused for good.
    pub(crate) dead: u64,
    /// The age of the oldest pending record in seconds; computed from `oldest` when somebody asks.
    pub(crate) oldest_s: u64,
    /// Counts the entries that had to be dropped.
    pub(crate) lost: u64,
    /// The time of the oldest pending record.
    #[serde(skip)]
    pub(crate) oldest: Option<Timestamp>,
}

/// The journal's condition on the disk. Nothing is wrong while the first three are zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct JournalStatus {
    /// The disk is full: nothing new is promised, so nothing new is released.
    pub(crate) full: bool,
    /// Counts the damaged databases that were set aside, until somebody removes their folders.
    pub(crate) set_aside: u64,
    /// Counts the entries that cannot be read.
    pub(crate) unreadable: u64,
    /// The entries are encrypted, with a key that is not on the same disk.
    pub(crate) encrypted: bool,
}

/// Everything on the board.
#[derive(Clone, Debug)]
pub(crate) struct BoardState {
    pub(crate) journal: JournalStatus,
    pub(crate) server: ServerStatus,
    pub(crate) outbox: OutboxStatus,
    /// The job records that could not be delivered at once.
    pub(crate) waiting: WaitingRecords,
    /// Whether the broker is connected; `None` without a broker.
    pub(crate) mqtt: Option<bool>,
    /// The time is later than this; a clock that shows an earlier one is wrong.
    pub(crate) time_floor: Timestamp,
    /// The server's clock shows another time than ours: one of the two is wrong.
    pub(crate) clock_disputed: bool,
    /// Counts the states of other machines that were set aside, as the start found them.
    pub(crate) other_machine: u64,
    /// Counts the syncs to the disk since the start.
    pub(crate) disk_syncs: u64,
    pub(crate) stations: BTreeMap<StationName, StationStatus>,
    /// Grows with every change.
    pub(crate) revision: u64,
}

impl BoardState {
    /// Derives every station's phase from its reader, the server and its tap.
    fn update_phases(&mut self) {
        for station in self.stations.values_mut() {
            station.phase = if station.reader == ReaderState::Disconnected {
                Phase::Fault
            } else if station.busy {
                Phase::Busy
            } else if self.server.reachable {
                Phase::Ready
            } else {
                Phase::Offline
            };
        }
    }
}

/// The one place where the state of the box is written down for those who ask. A clone shows the same board.
#[derive(Clone, Debug)]
pub struct Board {
    agent: Arc<str>,
    started: Instant,
    state: watch::Sender<BoardState>,
    /// The counters and histograms behind `/metrics`.
    pub(crate) metrics: Arc<Metrics>,
}

impl Board {
    /// Makes a board on which nothing has happened yet.
    pub fn new(agent: &str, stations: impl IntoIterator<Item = StationName>, now: Timestamp) -> Self {
        let unseen = StationStatus { printer: "unknown", ..StationStatus::default() };
        let state = BoardState {
            journal: JournalStatus::default(),
            server: ServerStatus {
                reachable: false,
                since: now,
                version: String::new(),
                device: "none",
                refused_cards: 0,
            },
            outbox: OutboxStatus::default(),
            waiting: WaitingRecords::default(),
            mqtt: None,
            time_floor: Timestamp::UNIX_EPOCH,
            clock_disputed: false,
            other_machine: 0,
            disk_syncs: 0,
            stations: stations.into_iter().map(|name| (name, unseen.clone())).collect(),
            revision: 0,
        };
        let metrics = Metrics::new();
        state.stations.keys().for_each(|name| metrics.add_station(name));
        Self {
            agent: agent.into(),
            started: Instant::now(),
            state: watch::Sender::new(state),
            metrics: Arc::new(metrics),
        }
    }

    /// Makes the board for a reloaded configuration. The counts of its stations go on, and everything else is found out
    /// anew. `/metrics` keeps the counts of stations that are gone.
    pub(crate) fn reloaded(&self, agent: &str, stations: impl IntoIterator<Item = StationName>) -> Self {
        let fresh = Self::new(agent, stations, Timestamp::now());
        let before = self.state.borrow().clone();
        fresh.update(|state| {
            state.revision = before.revision;
            for (name, station) in &mut state.stations {
                self.metrics.add_station(name);
                if let Some(known) = before.stations.get(name) {
                    (station.taps, station.released, station.failed) = (known.taps, known.released, known.failed);
                    (station.feedback, station.last) = (known.feedback, known.last.clone());
                }
            }
        });
        Self { started: self.started, metrics: self.metrics.clone(), ..fresh }
    }

    /// Changes the state and wakes those who watch it.
    pub(crate) fn update(&self, change: impl FnOnce(&mut BoardState)) {
        self.state.send_modify(|state| {
            change(state);
            state.update_phases();
            state.revision += 1;
        });
    }

    /// Changes the status of one station.
    pub(crate) fn update_station(&self, name: &StationName, change: impl FnOnce(&mut StationStatus)) {
        self.update(|state| {
            if let Some(station) = state.stations.get_mut(name) {
                change(station);
            }
        });
    }

    /// Counts events that never reached the disk: too many waited for it, it did not take them, or the agent stopped before.
    pub(crate) fn events_lost(&self, events: u64) {
        self.metrics.add_events_lost(events);
        // Their count is part of the status.
        self.update(|_| {});
    }

    /// Gives the state and a way to wait for its changes.
    pub(crate) fn watch(&self) -> watch::Receiver<BoardState> {
        self.state.subscribe()
    }

    /// Builds the status document (docs/operating.md, "Status document").
    pub(crate) fn document(&self, now: Timestamp) -> Value {
        let state = self.state.borrow().clone();
        let mut outbox = state.outbox;
        outbox.oldest_s = age_s(outbox.oldest, now);
        // The journal counts those that it gave up; these never reached it.
        outbox.lost += self.metrics.events_lost();
        let mut outbox = json!(outbox);
        outbox["waiting"] = state.waiting.rows().into();
        json!({
            "agent": &*self.agent,
            "version": env!("CARGO_PKG_VERSION"),
            "time": now,
            "time_uncertain": now < state.time_floor || state.clock_disputed,
            "other_machine": state.other_machine,
            "uptime_s": self.started.elapsed().as_secs(),
            "server": state.server,
            "outbox": outbox,
            "journal": state.journal,
            "stations": state.stations,
        })
    }

    /// Renders the text of `/metrics`.
    pub(crate) fn metrics_text(&self, now: Timestamp) -> String {
        let state = self.state.borrow().clone();
        self.metrics.render(&state, age_s(state.outbox.oldest, now))
    }
}

fn age_s(since: Option<Timestamp>, now: Timestamp) -> u64 {
    since.map_or(0, |since| u64::try_from(now.duration_since(since).as_secs()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn board() -> Board {
        Board::new("box", [StationName::from("lobby")], Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn the_document_has_every_key_of_the_contract() {
        let document = board().document(Timestamp::UNIX_EPOCH);
        for key in [
            "/agent",
            "/version",
            "/time",
            "/time_uncertain",
            "/uptime_s",
            "/server/reachable",
            "/server/since",
            "/server/version",
            "/server/device",
            "/outbox/pending",
            "/outbox/in_doubt",
            "/outbox/dead",
            "/outbox/oldest_s",
            "/outbox/lost",
            "/outbox/waiting",
            "/stations/lobby/phase",
            "/stations/lobby/reader",
            "/stations/lobby/taps",
            "/stations/lobby/released",
            "/stations/lobby/failed",
        ] {
            assert!(document.pointer(key).is_some(), "{key} is missing in {document}");
        }
    }

    #[test]
    fn a_clock_below_the_floor_is_told() {
        let board = board();
        let floor = Timestamp::constant(1_767_225_600, 0);
        board.update(|state| state.time_floor = floor);
        assert_eq!(board.document(Timestamp::UNIX_EPOCH)["time_uncertain"], true);
        assert_eq!(board.document(floor)["time_uncertain"], false);
        board.update(|state| state.clock_disputed = true);
        assert_eq!(board.document(floor)["time_uncertain"], true);
    }

    #[test]
    fn an_event_that_never_reached_the_disk_counts_as_lost_and_whoever_waits_is_told() {
        let board = board();
        board.update(|state| state.outbox.lost = 2);
        let revision = board.watch().borrow().revision;
        board.events_lost(3);
        assert_eq!(board.document(Timestamp::UNIX_EPOCH)["outbox"]["lost"], 5);
        assert!(board.watch().borrow().revision > revision);
        assert!(board.metrics_text(Timestamp::UNIX_EPOCH).contains("print_release_events_lost_total 3"));
        let reloaded = board.reloaded("box", ["lobby"].map(StationName::from));
        assert_eq!(
            reloaded.document(Timestamp::UNIX_EPOCH)["outbox"]["lost"],
            3,
            "the journal's own are mirrored anew"
        );
    }

    #[test]
    fn a_reload_goes_on_counting_and_asks_anew_what_is_connected() {
        let board = board();
        board.update_station(&StationName::from("lobby"), |station| {
            station.reader = ReaderState::Connected;
            station.taps = 7;
        });
        board.metrics.tap("lobby", crate::domain::Verdict::Released, None);
        let reloaded = board.reloaded("box", ["lobby", "desk"].map(StationName::from));
        let document = reloaded.document(Timestamp::UNIX_EPOCH);
        assert_eq!(document["stations"]["lobby"]["taps"], 7);
        assert_eq!(document["stations"]["lobby"]["reader"], "disconnected");
        assert_eq!(document["stations"]["desk"]["taps"], 0);
        assert!(reloaded.watch().borrow().revision > board.watch().borrow().revision);
        assert!(reloaded.metrics_text(Timestamp::UNIX_EPOCH).contains("outcome=\"released\"} 1"));
    }

    #[test]
    fn a_phase_follows_from_reader_server_and_tap() {
        let board = board();
        let name = StationName::from("lobby");
        let phase = || board.watch().borrow().stations[&name].phase;
        assert_eq!(phase(), Phase::Fault);
        board.update_station(&name, |station| station.reader = ReaderState::Connected);
        assert_eq!(phase(), Phase::Offline);
        board.update(|state| state.server.reachable = true);
        assert_eq!(phase(), Phase::Ready);
        board.update_station(&name, |station| station.busy = true);
        assert_eq!(phase(), Phase::Busy);
    }
}
