//! The one loop: an event comes in, a station decides, its effects are carried out.
//!
//! The loop owns the stations and awaits nothing but its inbox and its tasks: everything that takes time is a task of its
//! own ([`tasks`]), whose result is a message. Each part beside it holds what it needs and no more:
//!
//! - [`release`]: whose a document is, whether it is sent, how it ended; the recovery of releases that were left open.
//! - [`record`]: brings job records to the server.
//! - [`reporter`], [`event_writer`], [`mqtt_publisher`]: counters, events and states, from here to the broker.
//! - [`mirror`], [`probe`], [`clock`]: bring journal and server to the board, ask whether the server is there, note the time.
//! - [`control`], [`reader_watch`]: the control socket, and readers that are watched.

mod clock;
pub mod control;
mod event_writer;
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

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinError, JoinSet};

use crate::domain::{Now, Outcome, Reason, ReleaseOptions, StationName, TapId, User};
use crate::feedback::Signal;
use crate::print_server::{Client, Session};
use crate::random;
use crate::reader::{self, Fault, ReaderEvent};
use crate::station::{Effect, Event, Station, TapAnswer};
use crate::status::{Board, ReaderState, Stage};
use event_writer::EventWriter;
use message::{LoopMessage, TapOf};
use mqtt_publisher::MqttPublisher;
pub(crate) use parts::{Login, MqttSetup, OutboxSetup, Parts, StationSetup};
use record::outbox::OutboxTask;
use release::recover::Recovery;
use release::register::{EndedRelease, Register};
use reporter::Reporter;
pub(crate) use reporter::UserNames;
use stoppable::{StoppableTask, until};

/// Reader events that may wait for the loop; then those who send wait.
const INBOX_LIMIT: usize = 256;

/// The longest wait for releases in flight at the end: docs/operating.md, "Commands".
const DRAIN_LIMIT: Duration = Duration::from_secs(10);

/// A station with the resources of its taps.
struct StationSlot {
    station: Station,
    login: Login,
    options: ReleaseOptions,
    /// Of each tap under way.
    taps: BTreeMap<TapId, TapResources>,
    /// The light that the person sees; nobody waits until it is shown.
    signal: watch::Sender<Signal>,
    /// Whether its reader was tried once.
    reader_tried: bool,
}

/// The resources of a tap under way.
#[derive(Default)]
struct TapResources {
    session: Option<Arc<Session>>,
    /// Its releases on their way.
    sending: Vec<AbortHandle>,
}

/// The loop's owner while it runs.
pub(crate) trait Supervisor {
    /// The loop is up and every reader was tried once.
    fn ready(&mut self);
    /// The loop is alive. Called between two messages, at least as often as [`Supervisor::watchdog_interval`].
    fn keep_alive(&mut self);
    /// The longest pause between two calls of [`Supervisor::keep_alive`].
    fn watchdog_interval(&self) -> Duration;
}

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
        let StationSetup { policy, login, .. } = setup;
        let (options, name) = (policy.options, policy.name.clone());
        let station = Station::new(policy);
        slots.insert(name, StationSlot { station, login, options, taps: BTreeMap::new(), signal, reader_tried: false });
    }

    let outbox = OutboxTask::new(client.clone(), journal.clone(), board.clone(), outbox, started);
    let outbox = StoppableTask::spawn(|stopped| outbox.run(stopped));
    let writer = EventWriter { journal: journal.clone(), board: board.clone(), has_broker: mqtt.is_some() };
    let writer = StoppableTask::spawn(|stopped| writer.run(written, stopped));
    let mut helpers = JoinSet::new();
    let recovery = Recovery { register: register.clone(), client: client.clone(), reporter: reporter.clone() };
    let recovery = helpers.spawn(recovery.run(doubted));
    helpers.spawn(probe::run(client.clone(), board.clone()));
    helpers.spawn(mirror::server(board.clone(), client.clone()));
    helpers.spawn(mirror::journal(board.clone(), journal.clone()));
    helpers.spawn(clock::run(journal.clone(), board.clone(), clock.clone()));
    if let Some(keeper) = device {
        helpers.spawn(mirror::device(board.clone(), keeper));
    }
    let broker = mqtt.map(|MqttSetup { mqtt, notices, topics }| {
        let publisher = MqttPublisher { board: board.clone(), journal, mqtt: mqtt.clone(), topics };
        helpers.spawn(publisher.run(notices));
        mqtt
    });

    let tasks = JoinSet::new();
    let mut agent = AgentLoop {
        slots,
        client,
        register,
        reporter,
        board: board.clone(),
        inbox,
        tasks,
        working_for: HashMap::new(),
        stopping: None,
    };
    agent.run(supervisor, stop, &mut readers).await;
    // Awaited: nothing of this round may still send when another one asks how its releases ended.
    readers.shutdown().await;
    agent.tasks.shutdown().await;
    clock::note(&board, clock, true).await;
    // Before the writer: the recovery has events to write, too.
    recovery.abort();
    outbox.stop(DRAIN_LIMIT).await;
    writer.stop(DRAIN_LIMIT).await;
    helpers.shutdown().await;
    if let Some(mqtt) = broker {
        mqtt.stop().await;
    }
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

struct AgentLoop {
    slots: BTreeMap<StationName, StationSlot>,
    client: Client,
    register: Arc<Register>,
    reporter: Reporter,
    board: Board,
    /// From the readers.
    inbox: mpsc::Receiver<(StationName, ReaderEvent)>,
    /// Everything that takes time.
    tasks: JoinSet<LoopMessage>,
    /// The taps that tasks work for.
    working_for: HashMap<tokio::task::Id, TapOf>,
    /// When the stop began; `None` before.
    stopping: Option<Instant>,
}

impl AgentLoop {
    async fn run(
        &mut self,
        supervisor: &mut impl Supervisor,
        stop: impl Future<Output = ()>,
        readers: &mut JoinSet<()>,
    ) {
        let mut watchdog = tokio::time::interval(supervisor.watchdog_interval());
        let mut ready = false;
        tokio::pin!(stop);
        loop {
            supervisor.keep_alive();
            if !ready && self.slots.values().all(|slot| slot.reader_tried) {
                ready = true;
                supervisor.ready();
            }
            let drained = self.stopping.map(|since| since + DRAIN_LIMIT);
            if drained.is_some() && !self.slots.values().any(|slot| slot.station.is_busy()) {
                return;
            }
            tokio::select! {
                biased;
                () = &mut stop, if drained.is_none() => {
                    readers.abort_all();
                    self.stop();
                }
                () = until(drained) => {
                    tracing::warn!("releases are still in flight; the next start asks the server how they ended");
                    self.tasks.abort_all();
                    self.decide_everywhere(&Event::GiveUp);
                    return;
                }
                Some(done) = self.tasks.join_next_with_id() => self.done(done),
                Some((station, event)) = self.inbox.recv() => self.handle(LoopMessage::Reader(station, event)),
                _ = watchdog.tick() => {}
            }
        }
    }

    fn stop(&mut self) {
        self.stopping = Some(Instant::now());
        self.decide_everywhere(&Event::Stop);
    }

    fn decide_everywhere(&mut self, event: &Event) {
        let names: Vec<_> = self.slots.keys().cloned().collect();
        for name in names {
            self.decide(&name, event.clone());
        }
    }

    /// A task has come to its end. One that panicked has no answer, and its tap must not wait for it.
    fn done(&mut self, done: Result<(tokio::task::Id, LoopMessage), JoinError>) {
        let id = match &done {
            Ok((id, _)) => *id,
            Err(error) => error.id(),
        };
        let of = self.working_for.remove(&id);
        match (done, of) {
            (Ok((_, message)), _) => self.handle(message),
            (Err(error), Some(of)) if error.is_panic() => {
                tracing::error!(station = &*of.station, tap = %of.tap, %error, "a task of a tap has failed");
                self.handle(LoopMessage::Answer(of, TapAnswer::Lost));
            }
            (Err(_), _) => {}
        }
    }

    /// Starts a task that works for a tap.
    fn start(&mut self, of: TapOf, task: impl Future<Output = LoopMessage> + Send + 'static) -> AbortHandle {
        let started = self.tasks.spawn(task);
        self.working_for.insert(started.id(), of);
        started
    }

    fn handle(&mut self, message: LoopMessage) {
        match message {
            LoopMessage::Reader(name, event) => self.reader(&name, event),
            LoopMessage::Answer(TapOf { station, tap }, answer) => self.decide(&station, Event::Answer { tap, answer }),
            LoopMessage::LoggedIn(TapOf { station, tap }, result) => {
                let result = result.map(|session| self.logged_in(&station, tap, session));
                self.decide(&station, Event::Answer { tap, answer: TapAnswer::LoggedIn(result) });
            }
            LoopMessage::Version(Some(version)) => self.board.update(|state| state.server.version = version),
            LoopMessage::Version(None) => {}
        }
    }

    fn logged_in(&mut self, station: &StationName, tap: TapId, session: Arc<Session>) -> User {
        if self.board.watch().borrow().server.version.is_empty() {
            self.tasks.spawn(tasks::version(session.clone()));
        }
        let user = session.user().clone();
        if let Some(resources) = self.slots.get_mut(station).and_then(|slot| slot.taps.get_mut(&tap)) {
            resources.session = Some(session);
        }
        user
    }

    fn reader(&mut self, name: &StationName, event: ReaderEvent) {
        if let Some(slot) = self.slots.get_mut(name) {
            slot.reader_tried = true;
        }
        let new_tap = || TapId::new(Timestamp::now(), random::bits());
        match event {
            ReaderEvent::Connected => {
                tracing::info!(station = &**name, "reader connected");
                self.board.update_station(name, |station| station.reader = ReaderState::Connected);
                self.reporter.reader(name, &Reason::Connected);
            }
            ReaderEvent::Disconnected(error) => {
                tracing::warn!(station = &**name, %error, "reader not connected; trying again");
                self.board.update_station(name, |station| station.reader = ReaderState::Disconnected);
                self.reporter.reader(name, &Reason::Disconnected);
            }
            ReaderEvent::Read(read) => self.decide(name, Event::Read { read, tap: new_tap() }),
            ReaderEvent::Unreadable(fault) => match refusal(fault) {
                Some(reason) => self.decide(name, Event::CardRefused { tap: new_tap(), reason }),
                None => {
                    tracing::debug!(station = &**name, fault = fault.word(), "nothing read");
                    self.decide(name, Event::ReadError);
                }
            },
        }
    }

    /// Lets a station decide and carries its decision out.
    fn decide(&mut self, name: &StationName, event: Event) {
        let Some(slot) = self.slots.get_mut(name) else {
            return;
        };
        let now = Now { monotonic: Instant::now(), wall: Timestamp::now() };
        let is_read = matches!(event, Event::Read { .. });
        let is_card = is_read || matches!(event, Event::CardRefused { .. });
        let effects = slot.station.handle(event, now);
        // A debounced repeat produces no effects: it is neither timed nor counted.
        if is_read && !effects.is_empty() {
            self.board.metrics.stage(name, Stage::Convert, now.monotonic.elapsed());
        }
        if is_card && !effects.is_empty() {
            self.reporter.count_tap(name);
        }
        let busy = slot.station.is_busy();
        for effect in effects {
            self.carry_out(name, effect);
        }
        if self.board.watch().borrow().stations.get(name).is_some_and(|station| station.busy != busy) {
            self.board.update_station(name, |station| station.busy = busy);
        }
    }

    fn carry_out(&mut self, name: &StationName, effect: Effect) {
        let Some(slot) = self.slots.get_mut(name) else {
            return;
        };
        let (board, register) = (self.board.clone(), self.register.clone());
        let of = |tap| TapOf { station: name.clone(), tap };
        match effect {
            Effect::Feedback(signal) => slot.show(&board, name, signal),
            Effect::Login { tap, card, until } => {
                slot.taps.insert(tap, TapResources::default());
                let login = tasks::login(self.client.clone(), board, of(tap), slot.login, card, until);
                self.start(of(tap), login);
            }
            Effect::List { tap, until } => match slot.session(tap) {
                Some(session) => drop(self.start(of(tap), tasks::list(session, board, of(tap), until))),
                None => drop(self.start(of(tap), lost(of(tap)))),
            },
            Effect::Store { tap, releases, listed } => {
                self.start(of(tap), tasks::store(register, board, of(tap), releases, listed));
            }
            Effect::Release { tap, release, deadline } => match slot.session(tap) {
                Some(session) => {
                    let sending = tasks::release(register, session, board, *release, slot.options, deadline);
                    let sending = self.start(of(tap), sending);
                    if let Some(resources) = self.slots.get_mut(name).and_then(|slot| slot.taps.get_mut(&tap)) {
                        resources.sending.push(sending);
                    }
                }
                None => drop(self.start(of(tap), lost(of(tap)))),
            },
            Effect::End { tap, id, document, outcome, record } => {
                self.reporter.count_document(name, &outcome);
                let ended = EndedRelease { id, document, outcome, record: record.map(|record| *record) };
                self.start(of(tap), tasks::end(register, of(tap), ended));
            }
            Effect::LeaveOpen { tap, id, release, reason } => {
                let (document, why) = (&release.document.uuid, reason.word());
                tracing::warn!(station = &**name, %tap, document, reason = why, "nobody knows yet how a release ended");
                if id.is_none() {
                    // The recovery counts the others when it knows how they ended.
                    self.reporter.count_document(name, &Outcome::Unknown(reason.clone()));
                }
                if !register.leave_open(id, *release) {
                    board.metrics.recovery_postponed();
                }
                let of = of(tap);
                self.start(of.clone(), async move { LoopMessage::Answer(of, TapAnswer::Ended) });
            }
            Effect::Abandon { tap, phase, answer } => {
                tracing::error!(station = &**name, %tap, phase, answer, "an answer fits no phase of its tap");
                board.metrics.unexpected_answer();
                let sending = slot.taps.remove(&tap).map(|resources| resources.sending).unwrap_or_default();
                sending.iter().for_each(AbortHandle::abort);
            }
            Effect::Report(report) => {
                slot.taps.remove(&report.tap);
                self.reporter.report(name, &report);
            }
        }
    }
}

impl StationSlot {
    /// The session of a tap. A station asks for it only after its login.
    fn session(&self, tap: TapId) -> Option<Arc<Session>> {
        self.taps.get(&tap)?.session.clone()
    }

    fn show(&self, board: &Board, name: &StationName, signal: Signal) {
        self.signal.send_replace(signal);
        tracing::debug!(station = &**name, signal = signal.word(), pattern = signal.pattern(), "feedback");
        board.update_station(name, |station| station.feedback = signal.word());
    }
}

/// Why a card is refused at the reader; `None` where no card was there, but noise.
fn refusal(fault: Fault) -> Option<Reason> {
    match fault {
        Fault::AllZero => Some(Reason::AllZero),
        Fault::RandomUid => Some(Reason::RandomUid),
        Fault::IncompleteUid => Some(Reason::IncompleteUid),
        Fault::Noise | Fault::Checksum => None,
    }
}

/// Stands for a task that could not be started: its tap has no session.
async fn lost(of: TapOf) -> LoopMessage {
    LoopMessage::Answer(of, TapAnswer::Lost)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Sequence;
    use crate::domain::{OutputPort, Read, Secret};
    use crate::journal::{Journal, Limits};
    use crate::print_server::ClientSettings;
    use crate::station::{Policy, Select};
    use crate::tls::Trust;

    struct Nobody;

    impl Supervisor for Nobody {
        fn ready(&mut self) {}
        fn keep_alive(&mut self) {}
        fn watchdog_interval(&self) -> Duration {
            Duration::from_secs(1)
        }
    }

    fn client() -> Client {
        crate::tls::install_provider();
        let settings = ClientSettings {
            url: "http://127.0.0.1:9/api/v1".parse().unwrap(),
            oauth_url: "http://127.0.0.1:9/oauth/v1".parse().unwrap(),
            api_key: Secret::new("key"),
            device_token: None,
            trust: Trust { ca: None, client: None, pins: Vec::new(), floor: Timestamp::UNIX_EPOCH },
            proxy: None,
            connect_timeout: Duration::from_secs(3),
            request_timeout: Duration::from_secs(10),
            history_datetime: false,
        };
        Client::new(settings).unwrap()
    }

    fn policy() -> Policy {
        Policy {
            name: "lobby".into(),
            convert: None,
            debounce: Duration::ZERO,
            select: Select::All,
            limit: 50,
            parallel: 2,
            options: ReleaseOptions::default(),
            hold: false,
            deadline: Duration::from_secs(90),
            record: true,
            port: OutputPort::Serial("DEMO0001".to_owned()),
        }
    }

    /// Panics unwind in this program. Here it is the task of a login; it is the same with every other task.
    #[tokio::test]
    async fn a_tap_whose_task_panics_ends() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::open(dir.path(), Limits::NONE, None).unwrap();
        let name: StationName = "lobby".into();
        let board = Board::new("box", [name.clone()], Timestamp::UNIX_EPOCH);
        let (events, _written) = mpsc::channel(8);
        let reporter = Reporter::new(board.clone(), UserNames::Omit, Arc::new(Sequence::begin()), events);
        let (in_doubt, _doubted) = mpsc::channel(8);
        let register = Arc::new(Register::new(journal, in_doubt, Instant::now()));
        let (signal, _signals) = watch::channel(Signal::Ready);
        let policy = policy();
        let options = policy.options;
        let mut station = Station::new(policy);
        let tap = TapId::new(Timestamp::now(), random::bits());
        let now = Now { monotonic: Instant::now(), wall: Timestamp::now() };
        drop(station.handle(Event::Read { read: Read(Secret::new("04A1")), tap }, now));
        let taps = BTreeMap::from([(tap, TapResources::default())]);
        let slot = StationSlot { station, login: Login::Card, options, taps, signal, reader_tried: true };
        let slots = BTreeMap::from([(name.clone(), slot)]);
        let (_inbox, inbox) = mpsc::channel(8);
        let tasks = JoinSet::new();
        let (working_for, client, stopping) = (HashMap::new(), client(), None);
        let mut agent = AgentLoop { slots, client, register, reporter, board, inbox, tasks, working_for, stopping };
        // In place of the login that the station asked for.
        agent.start(TapOf { station: name, tap }, async { panic!("a defect somewhere below") });
        let mut readers = JoinSet::new();
        let mut nobody = Nobody;
        let run = agent.run(&mut nobody, std::future::pending(), &mut readers);
        drop(tokio::time::timeout(Duration::from_secs(2), run).await);
        assert!(!agent.slots.values().any(|slot| slot.station.is_busy()), "the tap is under way for ever");
    }
}
