//! The parts that run beside the loop, and the order in which they come to their end.

use std::time::Instant;

use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};

use super::clock;
use super::event_loop::DRAIN_LIMIT;
use super::event_writer::EventWriter;
use super::mirror;
use super::mqtt_publisher::MqttPublisher;
use super::parts::{MqttSetup, OutboxSetup};
use super::probe;
use super::record::outbox::OutboxTask;
use super::release::recover::Recovery;
use super::release::register::InDoubtRelease;
use super::reporter::StationEvent;
use super::stoppable::StoppableTask;
use crate::clock::Clock;
use crate::journal::Journal;
use crate::print_server::Client;
use crate::print_server::device::Keeper;
use crate::status::Board;
use crate::status::mqtt::MqttClient;

/// The running helpers, with the parts that most of them need.
pub(super) struct Helpers {
    client: Client,
    journal: Journal,
    board: Board,
    clock: Clock,
    /// Those that can be stopped at any moment.
    running: JoinSet<()>,
    recovery: Option<AbortHandle>,
    outbox: Option<StoppableTask>,
    writer: Option<StoppableTask>,
    broker: Option<MqttClient>,
}

impl Helpers {
    pub(super) fn new(client: Client, journal: Journal, board: Board, clock: Clock) -> Self {
        let (running, recovery, outbox, writer, broker) = (JoinSet::new(), None, None, None, None);
        Self { client, journal, board, clock, running, recovery, outbox, writer, broker }
    }

    /// Brings job records to the server.
    pub(super) fn deliver(&mut self, setup: OutboxSetup, started: Instant) {
        let outbox = OutboxTask::new(self.client.clone(), self.journal.clone(), self.board.clone(), setup, started);
        self.outbox = Some(StoppableTask::spawn(|stopped| outbox.run(stopped)));
    }

    /// Makes events durable and shows them.
    pub(super) fn write_events(&mut self, events: mpsc::Receiver<StationEvent>, has_broker: bool) {
        let writer = EventWriter { journal: self.journal.clone(), board: self.board.clone(), has_broker };
        self.writer = Some(StoppableTask::spawn(|stopped| writer.run(events, stopped)));
    }

    /// Finds out how releases ended that were left open.
    pub(super) fn recover(&mut self, recovery: Recovery, in_doubt: mpsc::Receiver<InDoubtRelease>) {
        self.recovery = Some(self.running.spawn(recovery.run(in_doubt)));
    }

    /// Asks whether the server is there, notes the time while it is, and shows how server and journal stand.
    pub(super) fn watch_server(&mut self) {
        let (client, journal, board) = (&self.client, &self.journal, &self.board);
        self.running.spawn(probe::run(client.clone(), board.clone(), journal.clone()));
        self.running.spawn(mirror::server(board.clone(), client.clone()));
        self.running.spawn(mirror::refused_rows(board.clone(), client.clone()));
        self.running.spawn(mirror::refused_cards(board.clone(), client.clone()));
        self.running.spawn(mirror::journal(board.clone(), journal.clone()));
        self.running.spawn(clock::run(client.clone(), journal.clone(), board.clone(), self.clock.clone()));
    }

    /// Keeps this box a trusted device, if it registers itself.
    pub(super) fn keep_device(&mut self, keeper: Option<Keeper>) {
        if let Some(keeper) = keeper {
            self.running.spawn(mirror::device(self.board.clone(), keeper));
        }
    }

    /// Publishes states and events, if there is a broker.
    pub(super) fn publish(&mut self, setup: Option<MqttSetup>) {
        let Some(MqttSetup { mqtt, notices, topics }) = setup else {
            return;
        };
        let (board, journal) = (self.board.clone(), self.journal.clone());
        self.running.spawn(MqttPublisher { board, journal, mqtt: mqtt.clone(), topics }.run(notices));
        self.broker = Some(mqtt);
    }

    /// Lets each end what it has begun: the recovery and the outbox first, because they have events to write, then the
    /// event writer, then the broker.
    pub(super) async fn stop(mut self) {
        clock::note(&self.client, &self.board, &self.clock).await;
        if let Some(recovery) = self.recovery {
            recovery.abort();
        }
        if let Some(outbox) = self.outbox {
            outbox.stop(DRAIN_LIMIT).await;
        }
        if let Some(writer) = self.writer {
            writer.stop(DRAIN_LIMIT).await;
        }
        self.running.shutdown().await;
        if let Some(broker) = self.broker {
            broker.stop().await;
        }
    }
}
