//! The agent: one loop ([`event_loop`]), and the parts that run beside it. Everything that takes time is a task of its own
//! ([`tasks`]), whose result is a message to the loop. Each part holds what it needs and no more:
//!
//! - [`release`]: whose a document is, whether it is sent, how it ended; the recovery of releases that were left open.
//! - [`record`]: brings job records to the server.
//! - [`reporter`], [`event_writer`], [`mqtt_publisher`]: counters, events and states, from here to the broker.
//! - [`mirror`], [`probe`], [`clock`]: bring journal and server to the board, ask whether the server is there, note the time.
//! - [`control`], [`reader_watch`]: the control socket, and readers that are watched.

mod clock;
pub mod control;
mod event_loop;
mod event_writer;
mod helpers;
mod message;
mod mirror;
mod mqtt_publisher;
mod parts;
mod probe;
pub(crate) mod reader_watch;
mod record;
mod release;
mod reporter;

mod stoppable;
mod tasks;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::domain::StationName;
use crate::feedback::Signal;
use crate::reader::{self, ReaderEvent};
pub(crate) use event_loop::Supervisor;
use event_loop::{EventLoop, StationSlot};
use helpers::Helpers;
pub(crate) use parts::{Login, MqttSetup, OutboxSetup, Parts, StationSetup};
use release::recover::Recovery;
use release::register::Register;
use reporter::Reporter;
pub(crate) use reporter::UserNames;

/// Reader events that may wait for the loop; then those who send wait.
const INBOX_LIMIT: usize = 256;

/// Runs until `stop` completes, and then until no release is in flight, at most ten seconds.
pub(crate) async fn run(parts: Parts, supervisor: &mut impl Supervisor, stop: impl Future<Output = ()>) {
    let started = Instant::now();
    let Parts { stations, client, device, clock, journal, board, sequence, users, outbox, mqtt } = parts;
    let (inbox_sender, inbox) = mpsc::channel(INBOX_LIMIT);
    let (in_doubt, doubted) = mpsc::channel(release::register::IN_DOUBT_LIMIT);
    let (events, written) = mpsc::channel(event_writer::EVENT_QUEUE_LIMIT);
    let register = Arc::new(Register::new(journal.clone(), in_doubt, started));
    let reporter = Reporter::new(board.clone(), users, sequence, events);
    // Claims the earlier open releases before the first card. If the disk is full, the recovery tries again.
    drop(register.left_open().await.map(drop));

    let mut readers = JoinSet::new();
    let mut slots = BTreeMap::new();
    for setup in stations {
        let signal = listen(&mut readers, &setup, &inbox_sender);
        slots.insert(setup.policy.name.clone(), StationSlot::new(setup.policy, setup.login, signal));
    }
    let mut helpers = Helpers::new(client.clone(), journal, board.clone(), clock);
    helpers.deliver(outbox, started);
    helpers.write_events(written, mqtt.is_some());
    helpers
        .recover(Recovery { register: register.clone(), client: client.clone(), reporter: reporter.clone() }, doubted);
    helpers.watch_server();
    helpers.keep_device(device);
    helpers.publish(mqtt);
    let event_loop = EventLoop::new(slots, client, register, reporter, board, inbox);
    event_loop.run(supervisor, stop, &mut readers).await;
    helpers.stop().await;
}

/// Starts a station's reader and lamps and brings the reader's events to the inbox. Signals go the other way.
fn listen(
    readers: &mut JoinSet<()>,
    setup: &StationSetup,
    inbox: &mpsc::Sender<(StationName, ReaderEvent)>,
) -> watch::Sender<Signal> {
    let (events, mut heard) = mpsc::channel(reader::EVENT_LIMIT);
    let (signal, signals) = watch::channel(Signal::Ready);
    readers.spawn(setup.reader.clone().run(events, signals.clone()));
    readers.spawn(setup.lamps.clone().run(signals));
    let (name, inbox) = (setup.policy.name.clone(), inbox.clone());
    readers.spawn(async move {
        while let Some(event) = heard.recv().await {
            if inbox.send((name.clone(), event)).await.is_err() {
                return;
            }
        }
    });
    signal
}
