//! People with cards and documents, and the readers that they hold their cards to.

use super::boxes::address;
use super::dice::WorldDice;
use super::world::{pause, tell, world};
use crate::domain::{Read, Secret};
use crate::feedback::Signal;
use crate::reader::{EventSender, Fault, ReaderEvent, SignalReceiver};

/// The reader of a station: people reach it as long as the agent listens.
pub(crate) async fn be_a_reader(host: &str, index: u16, events: EventSender, mut signals: SignalReceiver) {
    let (number, run) = address(host);
    if events.send(ReaderEvent::Connected).await.is_err() {
        return;
    }
    {
        let mut world = world();
        if world.is_alive(number, run) {
            world.boxes[number].stations[usize::from(index)].reader = Some(events.clone());
        }
    }
    loop {
        tokio::select! {
            biased;
            () = events.closed() => return,
            changed = signals.changed() => {
                if changed.is_err() {
                    return;
                }
                let signal = *signals.borrow_and_update();
                let mut world = world();
                if world.is_alive(number, run) {
                    let station = &mut world.boxes[number].stations[usize::from(index)];
                    station.light = signal;
                    let name = station.name;
                    tell!(world, "box {number} {name}: light {}", signal.word());
                }
            }
        }
    }
}

/// A place where a card can be held.
#[derive(Clone, Copy, Debug)]
struct Place {
    number: usize,
    index: usize,
}

/// People come to a station for as long as the world lasts.
pub(super) async fn come(number: usize, index: usize) {
    let (mut dice, stations, users) = {
        let world = world();
        let dice = WorldDice::new(world.settings.seed, &format!("people {number} {index}"));
        (dice, world.boxes[number].stations.len() as u64, world.settings.users_of_a_box)
    };
    loop {
        // About 250 a day and box.
        pause(dice.between(20_000, 600_000 * stations)).await;
        if world().weather.quiet {
            continue;
        }
        let boxes = world().boxes.len();
        let home = if dice.percent(95) { number } else { dice.index(boxes) };
        // A few people come often, most seldom.
        let few = dice.roll(users as u64).min(dice.roll(users as u64)) as usize;
        let user = home * users + few;
        tokio::spawn(visit(dice.word(), Place { number, index }, user));
    }
}

/// One person prints at a desk, walks to a station and holds a card, perhaps again.
async fn visit(seed: u64, mut at: Place, user: usize) {
    let mut dice = WorldDice::new(seed, "visit");
    for _ in 0..[1, 1, 1, 1, 1, 2, 2, 3, 0, 0][dice.index(10)] {
        submit(user, &mut dice);
        pause(dice.between(10, 3_000)).await;
    }
    if dice.percent(2) {
        return hold(at, &mut dice, "nobody-9");
    }
    if dice.percent(1) {
        return disturb(at, &mut dice);
    }
    let card = format!("card-{user}-{}", dice.roll(2));
    hold(at, &mut dice, &card);
    for _ in 0..3 {
        let soon = if dice.percent(40) { dice.between(1_050, 3_000) } else { dice.between(3_000, 25_000) };
        pause(soon).await;
        let light = world().boxes[at.number].stations[at.index].light;
        let failed = matches!(light, Signal::ServerUnreachable | Signal::Refused | Signal::Partly);
        let again = if failed { 85 } else { 12 };
        if !dice.percent(again) {
            return;
        }
        if failed && dice.percent(50) {
            // After a cup of coffee.
            pause(dice.between(40_000, 300_000)).await;
        }
        if dice.percent(35) {
            // To the other station of the box, or sometimes to another box.
            let stations = world().boxes[at.number].stations.len();
            at.index = dice.index(stations);
            if dice.percent(10) {
                at = Place { number: dice.index(world().boxes.len()), index: 0 };
                pause(dice.between(5_000, 60_000)).await;
            }
        }
        if dice.percent(20) {
            submit(user, &mut dice);
        }
        hold(at, &mut dice, &card);
    }
}

fn submit(user: usize, dice: &mut WorldDice) {
    let mut world = world();
    let now = world.time();
    let serial = world.server.submit(user, dice.word() >> 3, now);
    tell!(world, "user-{user} submits doc-{serial}");
}

fn hold(at: Place, dice: &mut WorldDice, card: &str) {
    let strike = {
        let mut world = world();
        let run = world.boxes[at.number].run;
        let Some(station) = world.boxes[at.number].stations.get(at.index) else { return };
        let (name, reader) = (station.name, station.reader.clone());
        let Some(reader) = reader else { return };
        tell!(world, "box {} {name}: {card} is held", at.number);
        world.books.taps += 1;
        drop(reader.try_send(ReaderEvent::Read(Read(Secret::new(card)))));
        world.boxes[at.number].stations[at.index].held += 1;
        let held = world.boxes[at.number].stations[at.index].held;
        tokio::spawn(look_at_the_light(at, run, held));
        world.weather.take_strike(at.number)
    };
    // Some faults wait until somebody is at work.
    if let Some(order) = strike {
        let longest = if dice.percent(80) { 400 } else { 12_000 };
        let delay = dice.roll(longest);
        tokio::spawn(async move {
            pause(delay).await;
            world().boxes[at.number].order(order);
        });
    }
}

/// Nobody waits longer than this for the end of a tap: the deadline, and the last requests after it.
const PATIENCE: u64 = 180_000;

/// A light that still says "wait" after that, when nobody has come since, is a defect.
async fn look_at_the_light(at: Place, run: u32, held: u64) {
    pause(PATIENCE).await;
    let mut world = world();
    let station = &world.boxes[at.number].stations[at.index];
    let is_stuck = station.held == held && station.light == Signal::Reading;
    if is_stuck && world.is_alive(at.number, run) {
        let (number, name) = (at.number, station.name);
        world
            .books
            .defect(format!("box {number} {name}: the light says reading for ever"), &[format!("box {number} {name}")]);
    }
}

fn disturb(at: Place, dice: &mut WorldDice) {
    let world = world();
    let reader = world.boxes[at.number].stations.get(at.index).and_then(|station| station.reader.clone());
    let fault = [Fault::Noise, Fault::RandomUid, Fault::AllZero][dice.index(3)];
    if let Some(reader) = reader {
        drop(reader.try_send(ReaderEvent::Unreadable(fault)));
    }
}
