//! The faults of the world. Each kind comes at least monthly to a world that lasts so long, and none in a calm.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use super::boxes::{Order, set_clock};
use super::dice::WorldDice;
use super::world::{SimulatedWorld, pause, tell, world};

/// The faults that are there now.
#[derive(Debug)]
pub(super) struct Weather {
    pub(super) dice: WorldDice,
    /// No fault begins.
    pub(super) calm: bool,
    /// Nobody comes.
    pub(super) quiet: bool,
    pub(super) server_away: bool,
    pub(super) cut_off: BTreeSet<usize>,
    /// Of a hundred requests, as the next six.
    pub(super) flapping: u64,
    pub(super) rough: u64,
    pub(super) slow: u64,
    pub(super) overloaded: u64,
    pub(super) odd: u64,
    pub(super) expired_tokens: u64,
    pub(super) history_forbidden: bool,
    pub(super) rows_without_port: bool,
    pub(super) printers_not_ready: bool,
    /// Of a hundred answers, as the next one.
    pub(super) no_date: u64,
    pub(super) other_second: u64,
    pub(super) full_disks: BTreeSet<usize>,
    pub(super) failing_syncs: BTreeSet<usize>,
    pub(super) slow_disks: u64,
    pub(super) broker_away: bool,
    /// Other boxes, which this world does not hold, record the same for the same people.
    pub(super) strangers: bool,
    /// Blows that wait until somebody holds a card at the box.
    strikes: BTreeMap<usize, Order>,
    /// The number of times that each kind came.
    pub(super) came: BTreeMap<&'static str, u64>,
}

/// One kind of fault: how often it comes, in hours, and how long it stays, in seconds. One that stays for no time happens.
pub(super) struct FaultKind {
    pub(super) name: &'static str,
    hours: (u64, u64),
    seconds: (u64, u64),
    begin: fn(&mut SimulatedWorld, &mut WorldDice),
    end: fn(&mut Weather),
}

macro_rules! faults {
    ($($name:literal every $least:literal to $most:literal hours for $short:literal to $long:literal seconds: $begin:expr, $end:expr;)+) => {
        &[$(FaultKind { name: $name, hours: ($least, $most), seconds: ($short, $long), begin: $begin, end: $end }),+]
    };
}

/// All kinds.
pub(super) const FAULTS: &[FaultKind] = faults! {
    "server-away" every 20 to 90 hours for 60 to 7_200 seconds: |world, _| world.weather.server_away = true, |it| it.server_away = false;
    "server-away-for-days" every 150 to 600 hours for 50_000 to 200_000 seconds: |world, _| world.weather.server_away = true, |it| it.server_away = false;
    "link-down" every 15 to 60 hours for 30 to 10_000 seconds: |world, dice| { let number = some_box(world, dice); world.weather.cut_off.insert(number); }, |it| it.cut_off.clear();
    "flapping-links" every 5 to 25 hours for 3_600 to 20_000 seconds: |world, dice| world.weather.flapping = dice.between(10, 40), |it| it.flapping = 0;
    "rough-network" every 4 to 20 hours for 1_800 to 20_000 seconds: |world, dice| world.weather.rough = dice.between(8, 45), |it| it.rough = 0;
    "slow-network" every 10 to 40 hours for 1_800 to 15_000 seconds: |world, dice| world.weather.slow = dice.between(10, 60), |it| it.slow = 0;
    "overloaded-server" every 12 to 50 hours for 1_200 to 9_000 seconds: |world, dice| world.weather.overloaded = dice.between(10, 45), |it| it.overloaded = 0;
    "odd-answers" every 12 to 50 hours for 1_200 to 9_000 seconds: |world, dice| world.weather.odd = dice.between(8, 35), |it| it.odd = 0;
    "expired-tokens" every 40 to 160 hours for 3_600 to 20_000 seconds: |world, dice| world.weather.expired_tokens = dice.between(5, 30), |it| it.expired_tokens = 0;
    "history-forbidden" every 40 to 160 hours for 3_600 to 60_000 seconds: |world, _| world.weather.history_forbidden = true, |it| it.history_forbidden = false;
    "rows-without-port" every 60 to 250 hours for 3_600 to 90_000 seconds: |world, _| world.weather.rows_without_port = true, |it| it.rows_without_port = false;
    "printers-not-ready" every 50 to 200 hours for 600 to 6_000 seconds: |world, _| world.weather.printers_not_ready = true, |it| it.printers_not_ready = false;
    "no-date" every 30 to 100 hours for 3_600 to 40_000 seconds: |world, dice| world.weather.no_date = dice.between(20, 100), |it| it.no_date = 0;
    "other-second" every 30 to 100 hours for 3_600 to 40_000 seconds: |world, _| world.weather.other_second = 50, |it| it.other_second = 0;
    "strangers" every 2 to 12 hours for 3_600 to 20_000 seconds: stranger, |it| it.strangers = false;
    "kills" every 3 to 20 hours for 0 to 0 seconds: |world, dice| strike(world, dice, Order::Kill), |_| {};
    "power-cuts" every 5 to 40 hours for 0 to 0 seconds: |world, dice| strike(world, dice, Order::CutPower), |_| {};
    "restarts" every 10 to 60 hours for 0 to 0 seconds: |world, dice| strike(world, dice, Order::Restart), |_| {};
    "reloads" every 10 to 60 hours for 0 to 0 seconds: |world, dice| strike(world, dice, Order::Reload), |_| {};
    "full-disks" every 40 to 150 hours for 1_800 to 30_000 seconds: |world, dice| { let number = some_box(world, dice); world.weather.full_disks.insert(number); }, |it| it.full_disks.clear();
    "failing-syncs" every 8 to 40 hours for 1_200 to 20_000 seconds: |world, dice| { let number = some_box(world, dice); world.weather.failing_syncs.insert(number); }, |it| it.failing_syncs.clear();
    "slow-disks" every 30 to 120 hours for 1_800 to 15_000 seconds: |world, dice| world.weather.slow_disks = dice.between(5, 30), |it| it.slow_disks = 0;
    "rotten-disks" every 80 to 300 hours for 0 to 0 seconds: rot, |_| {};
    "newer-entries" every 80 to 300 hours for 0 to 0 seconds: |world, dice| { let number = some_box(world, dice); world.boxes[number].disk.newer_entry(); }, |_| {};
    "clock-steps" every 20 to 90 hours for 600 to 90_000 seconds: step_clock, |_| set_clock(SignedDuration::ZERO);
    "no-clock" every 40 to 160 hours for 60 to 4_000 seconds: lose_clock, |_| set_clock(SignedDuration::ZERO);
    "broker-away" every 12 to 60 hours for 60 to 60_000 seconds: |world, _| world.weather.broker_away = true, |it| it.broker_away = false;
};

fn some_box(world: &SimulatedWorld, dice: &mut WorldDice) -> usize {
    dice.index(world.boxes.len())
}

fn strike(world: &mut SimulatedWorld, dice: &mut WorldDice, order: Order) {
    let number = some_box(world, dice);
    world.weather.strikes.insert(number, order);
}

/// Another box, which this world does not hold, records the same title for the same person.
fn stranger(world: &mut SimulatedWorld, dice: &mut WorldDice) {
    world.weather.strangers = true;
    let (user, now) = (dice.index(world.boxes.len() * world.settings.users_of_a_box), world.time());
    world.server.strange_row(user, dice.word(), now);
    tell!(world, "HISTORY: a stranger's record for user-{user}");
}

fn rot(world: &mut SimulatedWorld, dice: &mut WorldDice) {
    let number = some_box(world, dice);
    // By the box's clock, whatever it shows.
    world.boxes[number].disk.rot(Timestamp::now());
    tell!(world, "box {number}: its database is damaged, and carried over");
    world.boxes[number].order(Order::CutPower);
}

fn step_clock(world: &mut SimulatedWorld, dice: &mut WorldDice) {
    let seconds = [1, 7, 60, 600, 3_600, 86_400, 40 * 86_400, 365 * 86_400][dice.index(8)];
    // A year back would be before the program was built, which is another fault.
    let ahead = seconds > 86_400 || dice.percent(50);
    set_clock(SignedDuration::from_secs(if ahead { seconds } else { -seconds }));
    tell!(world, "the clocks of the boxes step by {} s", if ahead { seconds } else { -seconds });
}

fn lose_clock(world: &mut SimulatedWorld, dice: &mut WorldDice) {
    let number = some_box(world, dice);
    set_clock(SignedDuration::from_secs(-1_790_000_000));
    tell!(world, "the boxes do not know the time");
    world.boxes[number].order(Order::CutPower);
}

impl Weather {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            dice: WorldDice::new(seed, "weather"),
            calm: true,
            quiet: false,
            server_away: false,
            cut_off: BTreeSet::new(),
            flapping: 0,
            rough: 0,
            slow: 0,
            overloaded: 0,
            odd: 0,
            expired_tokens: 0,
            history_forbidden: false,
            rows_without_port: false,
            printers_not_ready: false,
            no_date: 0,
            other_second: 0,
            full_disks: BTreeSet::new(),
            failing_syncs: BTreeSet::new(),
            slow_disks: 0,
            broker_away: false,
            strangers: false,
            strikes: BTreeMap::new(),
            came: BTreeMap::new(),
        }
    }

    pub(super) fn take_strike(&mut self, number: usize) -> Option<Order> {
        self.strikes.remove(&number)
    }
}

/// Ends all faults, and lets none begin.
pub(super) fn calm_down() {
    let mut world = world();
    world.weather.calm = true;
    world.weather.strikes.clear();
    for fault in FAULTS {
        (fault.end)(&mut world.weather);
    }
    drop(world);
    set_clock(SignedDuration::ZERO);
}

/// Lets a kind of fault come and go.
pub(super) async fn blow(fault: &'static FaultKind) {
    let (mut dice, stays_away) = {
        let world = world();
        let stays_away = world.settings.without.iter().any(|name| name == fault.name);
        (WorldDice::new(world.settings.seed, fault.name), stays_away)
    };
    if stays_away {
        return;
    }
    loop {
        pause(dice.between(fault.hours.0 * 3_600_000, fault.hours.1 * 3_600_000)).await;
        while world().weather.calm {
            pause(600_000).await;
        }
        {
            let mut world = world();
            tell!(world, "FAULT: {} begins", fault.name);
            *world.weather.came.entry(fault.name).or_default() += 1;
            (fault.begin)(&mut world, &mut dice);
        }
        if fault.seconds.1 > 0 {
            pause(dice.between(fault.seconds.0 * 1_000, fault.seconds.1 * 1_000)).await;
            let mut world = world();
            tell!(world, "FAULT: {} ends", fault.name);
            (fault.end)(&mut world.weather);
        }
    }
}
