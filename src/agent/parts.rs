//! The parts of an agent. The command line puts them together from the configuration.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::reporter::UserNames;
use crate::clock::{Clock, Sequence};
use crate::config::InDoubt;
use crate::journal::Journal;
use crate::lamp::Lamps;
use crate::print_server::Client;
use crate::print_server::device::Keeper;
use crate::reader::Reader;
use crate::station::Policy;
use crate::status::Board;
use crate::status::mqtt::{MqttClient, MqttNotice};
use crate::status::topics::Topics;

/// The way in which a station's person logs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Login {
    Card,
    /// The number is a short id.
    ShortId,
}

/// One station, ready to be started.
#[derive(Clone, Debug)]
pub(crate) struct StationSetup {
    pub(crate) policy: Policy,
    pub(crate) login: Login,
    pub(crate) reader: Reader,
    /// The lights of the box that belong to it.
    pub(crate) lamps: Lamps,
}

/// The delivery of job records.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OutboxSetup {
    /// The rule for a record whose answer was lost.
    pub(crate) in_doubt: InDoubt,
    /// The shortest wait after a failure.
    pub(crate) retry_min: Duration,
    pub(crate) retry_max: Duration,
    /// True: the server stamps a record with the time that it names.
    pub(crate) datetime: bool,
}

/// The connection to a broker.
#[derive(Debug)]
pub(crate) struct MqttSetup {
    pub(crate) mqtt: MqttClient,
    /// The client's reports: connected, acknowledged, and so on.
    pub(crate) notices: mpsc::Receiver<MqttNotice>,
    pub(crate) topics: Topics,
}

/// Everything that the agent is made of.
#[derive(Debug)]
pub(crate) struct Parts {
    /// At least one.
    pub(crate) stations: Vec<StationSetup>,
    pub(crate) client: Client,
    /// Keeps the client's device token fresh, if this box registers itself.
    pub(crate) device: Option<Keeper>,
    pub(crate) clock: Clock,
    pub(crate) journal: Journal,
    pub(crate) board: Board,
    pub(crate) sequence: Arc<Sequence>,
    /// The form in which events name people.
    pub(crate) users: UserNames,
    pub(crate) outbox: OutboxSetup,
    /// The broker, if there is one.
    pub(crate) mqtt: Option<MqttSetup>,
}
