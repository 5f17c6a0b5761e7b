//! The one loop: an event comes in, a station decides, its effects are carried out.
//!
//! The loop owns the stations and awaits nothing but its inbox: everything that takes time is a task of its own
//! (`work`), whose answer comes back as a message. Beside it run the outbox (`outbox`), the questions about releases
//! that an earlier run or a tap left open (`recover`), the probe that keeps a connection warm (`probe`), the keeper of the device
//! token (`device`), and the relay of events to the broker (`relay`).

mod claims;
mod clock;
pub mod control;
mod device;
mod events;
mod outbox;
mod parts;
mod probe;
pub mod reader_watch;
mod reconcile;
mod recover;
mod relay;
mod work;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::{OnceCell, mpsc, watch};
use tokio::task::JoinSet;

use crate::domain::{Failure, Now, ReleaseOptions, StationName, TapId};
use crate::feedback::Signal;
use crate::print_server::Session;
use crate::random;
use crate::reader::{self, ReaderEvent};
use crate::station::{Effect, Event, Station};
use crate::status::ReaderState;
use claims::Claims;
pub use events::UserNames;
pub use parts::{Login, MqttSetup, OutboxSetup, Parts, StationSetup};
use work::{Ended, Work};

/// Messages that may wait for the loop; then those who send wait.
const INBOX_LIMIT: usize = 256;

/// How long releases in flight are waited for at the end (design, section 6).
const DRAIN_LIMIT: Duration = Duration::from_secs(10);

/// What the loop hears.
#[derive(Debug)]
pub(crate) enum Message {
    /// From a reader.
    Reader(StationName, ReaderEvent),
    /// An answer for a station.
    Answer(StationName, Event),
    /// Somebody logged in, or not.
    LoggedIn(StationName, TapId, Result<Arc<Session>, Failure>),
}

/// A station and what belongs to its tap.
struct Desk {
    station: Station,
    login: Login,
    options: ReleaseOptions,
    session: Option<Arc<Session>>,
    /// What the person is told; nobody waits until it is shown.
    signal: watch::Sender<Signal>,
    /// Whether its reader has told anything yet.
    heard: bool,
}

/// What the loop's owner does while it runs.
pub trait Host {
    /// The loop is up and every reader was tried once.
    fn ready(&mut self);
    /// The loop is alive. Called between two messages, at least as often as [`Host::pulse`].
    fn alive(&mut self);
    /// How often [`Host::alive`] is wanted.
    fn pulse(&self) -> Duration;
}

/// Runs until `stop` completes, and then until no release is in flight, at most ten seconds.
pub async fn run(parts: Parts, host: &mut impl Host, stop: impl Future<Output = ()>) {
    let (sender, inbox) = mpsc::channel(INBOX_LIMIT);
    let (doubts, doubted) = mpsc::channel(recover::DOUBT_LIMIT);
    let (news, heard) = mpsc::channel(events::NEWS_LIMIT);
    let work = Arc::new(Work {
        claims: Claims::default(),
        earlier: OnceCell::new(),
        doubts,
        news,
        started: Instant::now(),
        client: parts.client,
        journal: parts.journal,
        board: parts.board,
        users: parts.users,
        events: parts.mqtt.is_some(),
        sequence: parts.sequence,
        inbox: sender,
    });
    // Before the first card. On a full disk it has to wait, and the recovery tries again.
    drop(work.left_open().await.map(drop));
    let mut readers = JoinSet::new();
    let mut desks = BTreeMap::new();
    for setup in parts.stations {
        let signal = listen(&mut readers, &setup, &work);
        let desk = Desk {
            login: setup.login,
            options: setup.policy.options,
            session: None,
            signal,
            heard: false,
            station: Station::new(setup.policy.clone()),
        };
        desks.insert(setup.policy.name, desk);
    }
    let mut helpers = JoinSet::new();
    let outbox = outbox::spawn(work.clone(), parts.outbox);
    helpers.spawn(recover::run(work.clone(), doubted));
    helpers.spawn(probe::run(work.clone()));
    helpers.spawn(clock::run(work.clone(), parts.clock.clone()));
    if let Some(keeper) = parts.device {
        helpers.spawn(device::run(work.clone(), keeper));
    }
    helpers.spawn(events::watch_counts(work.clone()));
    let told = events::keep(work.clone(), heard);
    let mqtt = parts.mqtt.map(|setup| {
        let mqtt = setup.mqtt.clone();
        helpers.spawn(relay::run(work.clone(), setup));
        mqtt
    });
    let mut agent = Agent { desks, work: work.clone(), inbox, tasks: JoinSet::new(), stopping: None };
    agent.run(host, stop, &mut readers).await;
    // Awaited: nothing of this round may still send when another one asks how its releases ended.
    readers.shutdown().await;
    agent.tasks.shutdown().await;
    clock::note(&work, parts.clock, true).await;
    outbox.stop(DRAIN_LIMIT).await;
    told.stop(DRAIN_LIMIT).await;
    helpers.shutdown().await;
    if let Some(mqtt) = mqtt {
        mqtt.stop().await;
    }
}

/// Starts a station's reader and lamps and brings the reader's events to the inbox. Signals go the other way.
fn listen(readers: &mut JoinSet<()>, setup: &StationSetup, work: &Arc<Work>) -> watch::Sender<Signal> {
    let (events, mut heard) = mpsc::channel(reader::EVENT_LIMIT);
    let (signal, signals) = watch::channel(Signal::Ready);
    readers.spawn(setup.reader.clone().run(events, signals.clone()));
    readers.spawn(setup.lamps.clone().run(signals));
    let (name, inbox) = (setup.policy.name.clone(), work.inbox.clone());
    readers.spawn(async move {
        while let Some(event) = heard.recv().await {
            if inbox.send(Message::Reader(name.clone(), event)).await.is_err() {
                return;
            }
        }
    });
    signal
}

struct Agent {
    desks: BTreeMap<StationName, Desk>,
    work: Arc<Work>,
    inbox: mpsc::Receiver<Message>,
    /// What takes time; each answers through the inbox.
    tasks: JoinSet<()>,
    /// Since when, once it is.
    stopping: Option<tokio::time::Instant>,
}

impl Agent {
    async fn run(&mut self, host: &mut impl Host, stop: impl Future<Output = ()>, readers: &mut JoinSet<()>) {
        let mut pulse = tokio::time::interval(host.pulse());
        let mut ready = false;
        tokio::pin!(stop);
        loop {
            host.alive();
            while self.tasks.try_join_next().is_some() {}
            if !ready && self.desks.values().all(|desk| desk.heard) {
                ready = true;
                host.ready();
            }
            let drained = self.stopping.map(|since| since + DRAIN_LIMIT);
            if drained.is_some() && !self.desks.values().any(|desk| desk.station.is_busy()) {
                return;
            }
            tokio::select! {
                biased;
                () = &mut stop, if drained.is_none() => {
                    readers.abort_all();
                    self.stop();
                }
                () = deadline(drained) => {
                    tracing::warn!("releases are still in flight; the next start asks the server how they ended");
                    return;
                }
                message = self.inbox.recv() => match message {
                    Some(message) => self.handle(message),
                    // The loop holds a sender itself, so the inbox stays open.
                    None => return,
                },
                _ = pulse.tick() => {}
            }
        }
    }

    fn stop(&mut self) {
        self.stopping = Some(tokio::time::Instant::now());
        let names: Vec<_> = self.desks.keys().cloned().collect();
        for name in names {
            self.tell(&name, Event::Stop);
        }
    }

    fn handle(&mut self, message: Message) {
        match message {
            Message::Reader(name, event) => self.reader(&name, event),
            Message::Answer(name, event) => self.tell(&name, event),
            Message::LoggedIn(name, tap, result) => {
                let result = result.map(|session| {
                    let user = session.user().clone();
                    if let Some(desk) = self.desks.get_mut(&name) {
                        desk.session = Some(session);
                    }
                    user
                });
                self.tell(&name, Event::LoggedIn { tap, result });
            }
        }
    }

    fn reader(&mut self, name: &StationName, event: ReaderEvent) {
        if let Some(desk) = self.desks.get_mut(name) {
            desk.heard = true;
        }
        match event {
            ReaderEvent::Connected => {
                tracing::info!(station = &**name, "reader connected");
                self.work.board.update_station(name, |station| station.reader = ReaderState::Connected);
                self.work.reader_event(name, "connected");
            }
            ReaderEvent::Disconnected(error) => {
                tracing::warn!(station = &**name, %error, "reader not connected; trying again");
                self.work.board.update_station(name, |station| station.reader = ReaderState::Disconnected);
                self.work.reader_event(name, "disconnected");
            }
            ReaderEvent::Read(read) => {
                let tap = TapId::new(Timestamp::now(), random::bits());
                self.tell(name, Event::Read { read, tap });
            }
            ReaderEvent::Unreadable(fault) if fault.is_refusal() => {
                let tap = TapId::new(Timestamp::now(), random::bits());
                self.tell(name, Event::CardRefused { tap, reason: fault.word() });
            }
            ReaderEvent::Unreadable(fault) => {
                tracing::debug!(station = &**name, fault = fault.word(), "nothing read");
                self.tell(name, Event::ReadError);
            }
        }
    }

    /// Lets a station decide and carries its decision out.
    fn tell(&mut self, name: &StationName, event: Event) {
        let Some(desk) = self.desks.get_mut(name) else {
            return;
        };
        let now = Now { monotonic: Instant::now(), wall: Timestamp::now() };
        let is_read = matches!(event, Event::Read { .. });
        let is_card = is_read || matches!(event, Event::CardRefused { .. });
        let effects = desk.station.handle(event, now);
        // The same card again, while it is held, has none.
        if is_read && !effects.is_empty() {
            self.work.board.metrics.stage(name, "convert", now.monotonic.elapsed());
        }
        if is_card && !effects.is_empty() {
            self.work.count_tap(name);
        }
        let busy = desk.station.is_busy();
        for effect in effects {
            carry_out(&self.work, &mut self.tasks, name, desk, effect);
        }
        if self.work.board.watch().borrow().stations.get(name).is_some_and(|station| station.busy != busy) {
            self.work.board.update_station(name, |station| station.busy = busy);
        }
    }
}

fn carry_out(work: &Arc<Work>, tasks: &mut JoinSet<()>, name: &StationName, desk: &mut Desk, effect: Effect) {
    let (work, name) = (work.clone(), name.clone());
    match (effect, &desk.session) {
        (Effect::Feedback(signal), _) => feedback(&work, &name, desk, signal),
        (Effect::Login { tap, card, until }, _) => {
            desk.session = None;
            tasks.spawn(work.login(name, tap, desk.login, card, until));
        }
        (Effect::List { tap, until }, Some(session)) => {
            tasks.spawn(work.list(name, tap, session.clone(), until));
        }
        (Effect::Store { tap, releases }, _) => {
            tasks.spawn(work.store(name, tap, releases));
        }
        (Effect::Release { tap, release, deadline }, Some(session)) => {
            tasks.spawn(work.release(tap, *release, desk.options, deadline, session.clone()));
        }
        (Effect::End { tap, id, document, outcome, record }, _) => {
            let ended = Ended { id, document, outcome, record: record.map(|record| *record) };
            tasks.spawn(work.end(name, tap, ended));
        }
        (Effect::FindOut { tap, id, release }, _) => {
            tasks.spawn(work.find_out(tap, id, *release));
        }
        (Effect::Report(report), _) => {
            desk.session = None;
            work.report(&name, &report);
        }
        // A station asks for these only after its login.
        (Effect::List { .. } | Effect::Release { .. }, None) => {}
    }
}

fn feedback(work: &Work, name: &StationName, desk: &Desk, signal: Signal) {
    desk.signal.send_replace(signal);
    tracing::debug!(station = &**name, signal = signal.word(), pattern = signal.pattern(), "feedback");
    work.board.update_station(name, |station| station.feedback = signal.word());
}

async fn deadline(at: Option<tokio::time::Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
