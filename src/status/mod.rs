//! What the box tells the world: the board that everything is written on, and those who show it.
//!
//! The agent writes on the [`Board`]; the page, `/status`, `/metrics`, the control socket and MQTT read it. A reader of
//! the board can never delay a writer.

mod connections;
pub mod control;
pub mod http;
pub mod metrics;
pub mod mqtt;
pub mod topics;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::domain::StationName;
use metrics::Metrics;

/// What a station is up to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Hold a card.
    Ready,
    /// A tap is under way.
    Busy,
    /// The server cannot be reached.
    Offline,
    /// The reader is not there.
    #[default]
    Fault,
}

/// Whether the reader's device is open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ReaderState {
    /// Open.
    Connected,
    /// Not open.
    #[default]
    Disconnected,
}

/// One station's line (design, section 7).
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct StationStatus {
    /// Follows from the rest.
    pub phase: Phase,
    /// The reader.
    pub reader: ReaderState,
    /// The printer, as far as anybody looks.
    pub printer: &'static str,
    /// Cards that were held since the start, also those that were refused.
    pub taps: u64,
    /// Documents that were released.
    pub released: u64,
    /// Documents that were not.
    pub failed: u64,
    /// What the person was told last: a word of the vocabulary.
    pub feedback: &'static str,
    /// How the last tap ended, as its event told.
    pub last: Option<Value>,
    /// A tap is under way.
    #[serde(skip)]
    pub busy: bool,
}

/// Whether the server can be reached.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ServerStatus {
    /// By the last request.
    pub reachable: bool,
    /// For how long that has been so.
    pub since: Timestamp,
    /// What it calls itself; empty until it said so.
    pub version: String,
    /// Where this box stands there as a trusted device: `registering`, `waiting-for-approval`, `trusted` or `refused`;
    /// `none` when it does not register itself.
    pub device: &'static str,
}

/// What waits for the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct OutboxStatus {
    /// Job records that it has not acknowledged.
    pub pending: u64,
    /// Of them, those that may have arrived.
    pub in_doubt: u64,
    /// Job records that it refused for good.
    pub dead: u64,
    /// The age of the oldest that waits, in seconds.
    pub oldest_s: u64,
    /// Entries that had to be dropped.
    pub lost: u64,
    /// When the oldest that waits was made.
    #[serde(skip)]
    pub oldest: Option<Timestamp>,
}

/// How the journal lies on the disk. Nothing is wrong while the first three are zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct JournalStatus {
    /// The disk is full: nothing new is promised, so nothing new is released.
    pub full: bool,
    /// Damaged databases that were set aside, until somebody removes their folders.
    pub set_aside: u64,
    /// Entries that cannot be read.
    pub unreadable: u64,
    /// What lies on the disk is encrypted, with a key that does not lie there.
    pub encrypted: bool,
}

/// Everything on the board.
#[derive(Clone, Debug)]
pub struct State {
    /// The journal.
    pub journal: JournalStatus,
    /// The server.
    pub server: ServerStatus,
    /// The outbox.
    pub outbox: OutboxStatus,
    /// Whether the broker is connected; `None` without a broker.
    pub mqtt: Option<bool>,
    /// It is later than this; a clock that says otherwise is wrong.
    pub time_floor: Timestamp,
    /// The server's clock shows another time: one of the two is wrong.
    pub clock_disputed: bool,
    /// Syncs to the disk since the start.
    pub disk_syncs: u64,
    /// Every station.
    pub stations: BTreeMap<StationName, StationStatus>,
    /// Grows with every change.
    pub revision: u64,
}

impl State {
    /// Brings every station's phase in line with what is known.
    fn settle(&mut self) {
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

/// Where everything is written down for those who ask. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Board {
    agent: Arc<str>,
    started: Instant,
    state: watch::Sender<State>,
    /// The counters and histograms behind `/metrics`.
    pub metrics: Arc<Metrics>,
}

impl Board {
    /// A board on which nothing has happened yet.
    pub fn new(agent: &str, stations: impl IntoIterator<Item = StationName>, now: Timestamp) -> Self {
        let unseen = StationStatus { printer: "unknown", ..StationStatus::default() };
        let state = State {
            journal: JournalStatus::default(),
            server: ServerStatus { reachable: false, since: now, version: String::new(), device: "none" },
            outbox: OutboxStatus::default(),
            mqtt: None,
            time_floor: Timestamp::UNIX_EPOCH,
            clock_disputed: false,
            disk_syncs: 0,
            stations: stations.into_iter().map(|name| (name, unseen.clone())).collect(),
            revision: 0,
        };
        let metrics = Metrics::new();
        state.stations.keys().for_each(|name| metrics.station(name));
        Self {
            agent: agent.into(),
            started: Instant::now(),
            state: watch::Sender::new(state),
            metrics: Arc::new(metrics),
        }
    }

    /// The board for a configuration that was read again: what was counted of its stations goes on, everything else is found
    /// out anew. In `/metrics` stations that are gone stay as they were.
    pub fn reloaded(&self, agent: &str, stations: impl IntoIterator<Item = StationName>) -> Self {
        let fresh = Self::new(agent, stations, Timestamp::now());
        let before = self.state.borrow().clone();
        fresh.update(|state| {
            state.revision = before.revision;
            for (name, station) in &mut state.stations {
                self.metrics.station(name);
                if let Some(known) = before.stations.get(name) {
                    (station.taps, station.released, station.failed) = (known.taps, known.released, known.failed);
                    (station.feedback, station.last) = (known.feedback, known.last.clone());
                }
            }
        });
        Self { started: self.started, metrics: self.metrics.clone(), ..fresh }
    }

    /// Changes something and wakes those who watch.
    pub fn update(&self, change: impl FnOnce(&mut State)) {
        self.state.send_modify(|state| {
            change(state);
            state.settle();
            state.revision += 1;
        });
    }

    /// Changes one station's line.
    pub fn update_station(&self, name: &StationName, change: impl FnOnce(&mut StationStatus)) {
        self.update(|state| {
            if let Some(station) = state.stations.get_mut(name) {
                change(station);
            }
        });
    }

    /// The state, and a way to wait for its changes.
    pub fn watch(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    /// The status document (design, section 7).
    pub fn document(&self, now: Timestamp) -> Value {
        let state = self.state.borrow().clone();
        let mut outbox = state.outbox;
        outbox.oldest_s = age_s(outbox.oldest, now);
        json!({
            "agent": &*self.agent,
            "version": env!("CARGO_PKG_VERSION"),
            "time": now,
            "time_uncertain": now < state.time_floor || state.clock_disputed,
            "uptime_s": self.started.elapsed().as_secs(),
            "server": state.server,
            "outbox": outbox,
            "journal": state.journal,
            "stations": state.stations,
        })
    }

    /// `/metrics`.
    pub fn metrics_text(&self, now: Timestamp) -> String {
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
    fn a_reload_goes_on_counting_and_asks_anew_what_is_connected() {
        let board = board();
        board.update_station(&StationName::from("lobby"), |station| {
            station.reader = ReaderState::Connected;
            station.taps = 7;
        });
        board.metrics.tap("lobby", "released");
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
