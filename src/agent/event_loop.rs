//! The one loop: an event comes in, a station decides, its effects are carried out.
//!
//! It owns the stations and awaits nothing but its inbox and its tasks.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinError, JoinSet};

use super::message::{LoopMessage, TapOf};
use super::parts::Login;
use super::release::register::{EndedRelease, Register};
use super::reporter::Reporter;
use super::stoppable::until;
use super::tasks;
use crate::domain::{EntryId, Now, Outcome, Reason, Release, ReleaseOptions, StationName, TapId, User};
use crate::feedback::Signal;
use crate::print_server::{Client, Session};
use crate::random;
use crate::reader::{Fault, ReaderEvent};
use crate::station::{Effect, Event, Policy, Station, TapAnswer};
use crate::status::{Board, ReaderState, Stage};

/// The longest wait for releases in flight at the end: docs/operating.md, "Commands".
pub(super) const DRAIN_LIMIT: Duration = Duration::from_secs(10);

/// The loop's owner while it runs.
pub(crate) trait Supervisor {
    /// The loop is up and every reader was tried once.
    fn ready(&mut self);
    /// The loop is alive. Called between two messages, at least as often as [`Supervisor::watchdog_interval`].
    fn keep_alive(&mut self);
    /// The longest pause between two calls of [`Supervisor::keep_alive`].
    fn watchdog_interval(&self) -> Duration;
}

/// A station with the resources of its taps.
pub(super) struct StationSlot {
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

/// The loop with all that it owns.
pub(super) struct EventLoop {
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

impl EventLoop {
    /// A loop over these stations, which no event has reached yet.
    pub(super) fn new(
        slots: BTreeMap<StationName, StationSlot>,
        client: Client,
        register: Arc<Register>,
        reporter: Reporter,
        board: Board,
        inbox: mpsc::Receiver<(StationName, ReaderEvent)>,
    ) -> Self {
        let (tasks, working_for) = (JoinSet::new(), HashMap::new());
        Self { slots, client, register, reporter, board, inbox, tasks, working_for, stopping: None }
    }

    /// Runs until `stop` completes and nothing is in flight any more. Its tasks have ended when it returns.
    pub(super) async fn run(
        mut self,
        supervisor: &mut impl Supervisor,
        stop: impl Future<Output = ()>,
        readers: &mut JoinSet<()>,
    ) {
        self.serve(supervisor, stop, readers).await;
        // Awaited: nothing of this round may still send when another one asks how its releases ended.
        readers.shutdown().await;
        self.tasks.shutdown().await;
    }

    async fn serve(
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
            Effect::LeaveOpen { tap, id, release, reason } => self.leave_open(of(tap), id, *release, reason),
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

    fn leave_open(&mut self, of: TapOf, id: Option<EntryId>, release: Release, reason: Reason) {
        let (station, tap, document, why) = (&of.station, of.tap, &release.document.uuid, reason.word());
        tracing::warn!(station = &**station, %tap, document, reason = why, "nobody knows yet how a release ended");
        if id.is_none() {
            // The recovery counts the others when it knows how they ended.
            self.reporter.count_document(station, &Outcome::Unknown(reason));
        }
        if !self.register.leave_open(id, release) {
            self.board.metrics.recovery_postponed();
        }
        self.start(of.clone(), async move { LoopMessage::Answer(of, TapAnswer::Ended) });
    }
}

impl StationSlot {
    /// A station that waits for its first card, with the way to its light.
    pub(super) fn new(policy: Policy, login: Login, signal: watch::Sender<Signal>) -> Self {
        let options = policy.options;
        Self { station: Station::new(policy), login, options, taps: BTreeMap::new(), signal, reader_tried: false }
    }

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
    use crate::agent::reporter::UserNames;
    use crate::clock::Sequence;
    use crate::domain::{OutputPort, Read, Secret};
    use crate::journal::{Journal, Limits};
    use crate::print_server::ClientSettings;
    use crate::station::Select;

    struct Nobody;

    impl Supervisor for Nobody {
        fn ready(&mut self) {}
        fn keep_alive(&mut self) {}
        fn watchdog_interval(&self) -> Duration {
            Duration::from_secs(1)
        }
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
            tag: false,
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
        crate::tls::install_provider();
        let client = Client::new(ClientSettings::nobody()).unwrap();
        let mut slot = StationSlot::new(policy(), Login::Card, signal);
        let tap = TapId::new(Timestamp::now(), random::bits());
        let now = Now { monotonic: Instant::now(), wall: Timestamp::now() };
        drop(slot.station.handle(Event::Read { read: Read(Secret::new("04A1")), tap }, now));
        let slots = BTreeMap::from([(name.clone(), slot)]);
        let (_inbox, inbox) = mpsc::channel(8);
        let mut agent = EventLoop::new(slots, client, register, reporter, board, inbox);
        // In place of the login that the station asked for.
        agent.start(TapOf { station: name, tap }, async { panic!("a defect somewhere below") });
        let mut readers = JoinSet::new();
        let mut nobody = Nobody;
        let run = agent.serve(&mut nobody, std::future::pending(), &mut readers);
        drop(tokio::time::timeout(Duration::from_secs(2), run).await);
        assert!(!agent.slots.values().any(|slot| slot.station.is_busy()), "the tap is under way for ever");
    }
}
