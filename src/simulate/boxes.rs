//! The boxes: each runs the real agent, and is killed, cut off its power, stopped and configured anew.

use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use tokio::sync::{mpsc, oneshot};

use super::dice::WorldDice;
use super::disk::DiskModel;
use super::disk_handle::DiskHandle;
use super::network::REQUEST_TIMEOUT;
use super::world::{SimulatedWorld, pause, tell, world};
use crate::agent::{self, Login, MqttSetup, OutboxSetup, Parts, StationSetup, Supervisor, UserNames};
use crate::clock::{Clock, Floor, Moment, Sequence};
use crate::config::InDoubt;
use crate::domain::{OutputPort, ReleaseOptions, Secret, StationName};
use crate::feedback::Signal;
use crate::journal::Journal;
use crate::lamp::Lamps;
use crate::print_server::{Client, ClientSettings};
use crate::reader::{EventSender, Reader, ReaderTransport, profile};
use crate::station::{Policy, Select};
use crate::status::Board;
use crate::status::mqtt::{BrokerSettings, MqttClient};
use crate::status::topics::Topics;
use crate::tls::Trust;

/// A box, with the parts of its agent that people and faults reach.
#[derive(Debug)]
pub(super) struct BoxModel {
    number: usize,
    pub(super) dice: WorldDice,
    pub(super) disk: DiskModel,
    pub(super) stations: Vec<StationModel>,
    /// The number of the present run, or of the last.
    pub(super) run: u32,
    alive: bool,
    boot: u32,
    booted: Instant,
    orders: Option<mpsc::UnboundedSender<Order>>,
    board: Option<Board>,
    /// A job record is on its way.
    pub(super) is_recording: bool,
    /// Runs that were killed just then: what they would have counted is gone with them.
    pub(super) killed_while_recording: u64,
    /// Counted by runs that are over.
    counted: Counted,
}

/// The counters that the books need.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counted {
    pub(super) possible_duplicates: u64,
    pub(super) events_lost: u64,
    pub(super) unstored: u64,
}

/// A station: its rules, and the person's view of it.
#[derive(Clone, Debug)]
pub(super) struct StationModel {
    pub(super) name: &'static str,
    pub(super) port: String,
    retain: bool,
    record: bool,
    /// Records carry the tag of their tap.
    tag: bool,
    /// Not in use after a reload.
    pub(super) removed: bool,
    pub(super) reader: Option<EventSender>,
    pub(super) light: Signal,
    /// Cards that were held.
    pub(super) held: u64,
}

/// The fate of an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Kill,
    CutPower,
    Restart,
    Reload,
}

/// Box and run in a host name such as `box-1-17.invalid`.
pub(super) fn address(host: &str) -> (usize, u32) {
    let mut parts = host.trim_end_matches(".invalid").split('-').skip(1);
    let mut next = || parts.next().and_then(|part| part.parse::<u32>().ok()).unwrap_or(u32::MAX);
    (next() as usize, next())
}

impl BoxModel {
    pub(super) fn new(number: usize, seed: u64) -> Self {
        let station = |name, index: usize| StationModel {
            name,
            port: format!("10.0.{number}.{index}"),
            // The second station of the first box keeps documents at the server, that of the second box records nothing.
            retain: number == 0 && index == 1,
            record: !(number == 1 && index == 1),
            tag: number == 1,
            removed: false,
            reader: None,
            light: Signal::Ready,
            held: 0,
        };
        let mut stations = vec![station("lobby", 0)];
        stations.extend((number < 2).then(|| station("attic", 1)));
        Self {
            number,
            dice: WorldDice::new(seed, &format!("box {number}")),
            disk: DiskModel::new(number),
            stations,
            run: 0,
            alive: false,
            boot: 1,
            booted: Instant::now(),
            orders: None,
            board: None,
            is_recording: false,
            killed_while_recording: 0,
            counted: Counted::default(),
        }
    }

    pub(super) fn moment(&self) -> Moment {
        let monotonic_ms = self.booted.elapsed().as_millis() as u64 + 10_000;
        Moment { boot: format!("boot-{}-{}", self.number, self.boot), monotonic_ms }
    }

    pub(super) fn order(&self, order: Order) {
        if let Some(orders) = &self.orders {
            // A box that has ended takes no orders.
            let _ = orders.send(order);
        }
    }

    /// Cards that this run has taken.
    pub(super) fn cards(&self) -> u64 {
        let board = self.board.as_ref().map(|board| board.watch().borrow().stations.values().map(|it| it.taps).sum());
        board.unwrap_or(0)
    }

    /// The counters of all its runs so far.
    pub(super) fn counted(&self) -> Counted {
        let now = self.board.as_ref().map(counters).unwrap_or_default();
        Counted {
            possible_duplicates: self.counted.possible_duplicates + now.possible_duplicates,
            events_lost: self.counted.events_lost + now.events_lost,
            unstored: self.counted.unstored + now.unstored,
        }
    }
}

fn counters(board: &Board) -> Counted {
    let text = board.metrics_text(Timestamp::UNIX_EPOCH);
    let of = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix("_total "));
        line.and_then(|number| number.trim().parse().ok()).unwrap_or(0)
    };
    Counted {
        possible_duplicates: of("print_release_possible_duplicates"),
        events_lost: of("print_release_events_lost"),
        unstored: of("print_release_unstored_releases"),
    }
}

impl SimulatedWorld {
    /// Whether the station at this port records what it releases.
    pub(super) fn records_at(&self, port: &str) -> bool {
        self.boxes.iter().flat_map(|it| &it.stations).any(|station| station.port == port && station.record)
    }

    /// Whether this run of a box is still the one that runs.
    pub(super) fn is_alive(&self, number: usize, run: u32) -> bool {
        self.boxes.get(number).is_some_and(|it| it.alive && it.run == run)
    }
}

/// No service manager watches.
struct Unwatched;

impl Supervisor for Unwatched {
    fn ready(&mut self) {}
    fn keep_alive(&mut self) {}
    fn watchdog_interval(&self) -> Duration {
        Duration::from_secs(24 * 3600)
    }
}

/// A box from its first boot on.
pub(super) async fn live(number: usize) {
    let (sender, mut orders) = mpsc::unbounded_channel();
    world().boxes[number].orders = Some(sender);
    loop {
        let parts = start(number);
        let (stop, stopped) = oneshot::channel::<()>();
        let mut task = tokio::spawn(async move {
            agent::run(parts, &mut Unwatched, async { drop(stopped.await) }).await;
        });
        let order = tokio::select! {
            biased;
            order = orders.recv() => order,
            ended = &mut task => {
                world().books.defect(format!("the agent of box {number} ended by itself: {ended:?}"), &[]);
                return;
            }
        };
        let Some(order) = order else { return };
        tell!(world(), "box {number}: {order:?}");
        match order {
            Order::Kill | Order::CutPower => {
                end_run(number, order);
                task.abort();
                drop(task.await);
            }
            Order::Restart | Order::Reload => {
                let _ = stop.send(());
                drop(task.await);
                end_run(number, order);
            }
        }
        let down = match order {
            Order::Reload => 0,
            Order::Kill | Order::Restart => world().boxes[number].dice.between(500, 20_000),
            Order::CutPower => world().boxes[number].dice.between(15_000, 900_000),
        };
        pause(down).await;
        while orders.try_recv().is_ok() {}
    }
}

fn end_run(number: usize, order: Order) {
    let mut world = world();
    let (run, cards) = (world.boxes[number].run, world.boxes[number].cards());
    world.books.taken(number, run, cards);
    let it = &mut world.boxes[number];
    it.counted = it.counted();
    it.alive = false;
    let recording = std::mem::take(&mut it.is_recording) && matches!(order, Order::Kill | Order::CutPower);
    it.killed_while_recording += u64::from(recording);
    it.board = None;
    for station in &mut it.stations {
        station.reader = None;
    }
    if order == Order::CutPower {
        it.boot += 1;
    }
    if order == Order::Reload && it.stations.len() > 1 {
        it.stations[1].removed = !it.stations[1].removed;
    }
    if matches!(order, Order::Kill | Order::CutPower) {
        world.books.killed.insert((number, run));
    }
}

fn start(number: usize) -> Parts {
    let (run, state_dir, moment, stations) = {
        let mut world = world();
        let scratch = world.settings.scratch.join(format!("box-{number}"));
        let it = &mut world.boxes[number];
        it.run += 1;
        it.alive = true;
        let rebooted = it.disk.now.as_ref().is_none_or(|now| now.boot != it.moment().boot);
        if rebooted {
            it.booted = Instant::now();
        }
        (it.run, scratch, it.moment(), it.stations.clone())
    };
    let host = format!("box-{number}-{run}.invalid");
    drop(std::fs::create_dir_all(&state_dir));
    let clock = Clock::open(&state_dir);
    let setups: Vec<StationSetup> =
        stations.iter().enumerate().map(|(index, it)| setup(&host, index as u16, it)).collect();
    let setups: Vec<StationSetup> =
        setups.into_iter().zip(&stations).filter(|(_, it)| !it.removed).map(|(it, _)| it).collect();
    let names: Vec<StationName> = setups.iter().map(|setup| setup.policy.name.clone()).collect();
    let board = Board::new(&format!("box-{number}"), names, Timestamp::now());
    board.update(|state| state.time_floor = clock.floor());
    world().boxes[number].board = Some(board.clone());
    let (disk, counts) = DiskHandle::new(number, run);
    let (mqtt, notices) = MqttClient::spawn(BrokerSettings {
        host: host.clone(),
        port: 1883,
        tls: None,
        username: None,
        password: None,
        client_id: host.clone(),
        availability: "availability".to_owned(),
        discovery_status: None,
    });
    let topics = Topics::new("print-release", &format!("box-{number}"), "");
    let outbox = OutboxSetup {
        in_doubt: if number == 2 { InDoubt::Resend } else { InDoubt::Reconcile },
        retry_min: Duration::from_secs(2),
        retry_max: Duration::from_secs(300),
        datetime: false,
    };
    Parts {
        stations: setups,
        client: client(&host, clock.proofs()),
        device: None,
        clock,
        journal: Journal::simulated(disk, counts),
        board,
        sequence: std::sync::Arc::new(Sequence::begin_at(moment)),
        users: UserNames::Plain,
        outbox,
        mqtt: Some(MqttSetup { mqtt, notices, topics }),
    }
}

fn setup(host: &str, index: u16, station: &StationModel) -> StationSetup {
    let policy = Policy {
        name: station.name.into(),
        convert: None,
        debounce: Duration::from_secs(1),
        select: if index == 0 { Select::All } else { Select::Newest },
        limit: 50,
        parallel: if index == 0 { 3 } else { 1 },
        options: ReleaseOptions { retain: station.retain, ..ReleaseOptions::default() },
        hold: index == 0,
        deadline: Duration::from_secs(90),
        record: station.record,
        tag: station.tag,
        port: OutputPort::Address(station.port.clone()),
    };
    let profile = profile::load("line").expect("it is built in");
    let transport = ReaderTransport::TcpConnect { host: host.to_owned(), port: index };
    StationSetup { policy, login: Login::Card, reader: Reader::new(transport, profile, false), lamps: Lamps::default() }
}

fn client(host: &str, floor: Floor) -> Client {
    let url = |path: &str| format!("http://{host}/{path}/v1").parse().expect("it is a URL");
    let settings = ClientSettings {
        url: url("api"),
        oauth_url: url("oauth"),
        api_key: Secret::new("key"),
        device_token: None,
        trust: Trust { floor, ..Trust::default() },
        proxy: None,
        connect_timeout: Duration::from_secs(3),
        request_timeout: Duration::from_millis(REQUEST_TIMEOUT),
        history_datetime: false,
    };
    Client::new(settings).expect("these settings hold")
}

/// The error of the wall clock of all boxes, written where the clock reads it (`tests/simulate/clock.c`).
pub(super) fn set_clock(error: SignedDuration) {
    let Some(path) = std::env::var_os("SIMULATE_CLOCK") else { return };
    let nanoseconds = i64::try_from(error.as_nanos()).unwrap_or(0);
    if let Err(error) = std::fs::OpenOptions::new().write(true).open(path).and_then(|file| {
        use std::os::unix::fs::FileExt;
        file.write_all_at(&nanoseconds.to_ne_bytes(), 0)
    }) {
        world().books.defect(format!("the clock cannot be set: {error}"), &[]);
    }
}
