//! What an agent is made of. The command line puts it together from the configuration.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::UserNames;
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

/// How a station's person says who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Login {
    /// The card number.
    Card,
    /// The number is a short id.
    ShortId,
}

/// One station, ready to be put up.
#[derive(Clone, Debug)]
pub struct StationSetup {
    /// What it decides by.
    pub policy: Policy,
    /// How it logs in.
    pub login: Login,
    /// Its reader.
    pub reader: Reader,
    /// The lights of the box that belong to it.
    pub lamps: Lamps,
}

/// How the outbox delivers.
#[derive(Clone, Copy, Debug)]
pub struct OutboxSetup {
    /// What to do when an answer was lost.
    pub in_doubt: InDoubt,
    /// The shortest wait after a failure.
    pub retry_min: Duration,
    /// The longest.
    pub retry_max: Duration,
    /// The server stamps a record with the time that it names.
    pub datetime: bool,
}

/// The connection to a broker.
#[derive(Debug)]
pub struct MqttSetup {
    /// The client.
    pub mqtt: MqttClient,
    /// What it tells.
    pub notices: mpsc::Receiver<MqttNotice>,
    /// Where things go.
    pub topics: Topics,
}

/// Everything that the agent is made of.
#[derive(Debug)]
pub struct Parts {
    /// At least one.
    pub stations: Vec<StationSetup>,
    /// The print server.
    pub client: Client,
    /// Keeps the client's device token fresh, if this box registers itself.
    pub device: Option<Keeper>,
    /// What is known of time.
    pub clock: Clock,
    /// What is promised.
    pub journal: Journal,
    /// What is told.
    pub board: Board,
    /// Orders events.
    pub sequence: Arc<Sequence>,
    /// How events name people.
    pub users: UserNames,
    /// How records are delivered.
    pub outbox: OutboxSetup,
    /// The broker, if there is one.
    pub mqtt: Option<MqttSetup>,
}
