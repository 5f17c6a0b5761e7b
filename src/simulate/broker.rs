//! The broker of the world: it takes events, and sometimes the acknowledgement is lost.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::boxes::address;
use super::world::{pause, tell, world};

/// A link that has nothing to send looks so often whether the broker is there.
pub(crate) const LINK_CHECK: Duration = Duration::from_secs(300);

/// The events that the broker has.
#[derive(Debug, Default)]
pub(super) struct BrokerModel {
    /// Of each box, by the journal's number.
    pub(super) events: BTreeMap<usize, BTreeSet<u64>>,
}

/// Whether the broker answers. It never does to a run that is over.
pub(crate) async fn reach_broker(host: &str) -> bool {
    let (number, run) = address(host);
    pause(15).await;
    let alive = world().is_alive(number, run);
    if alive { !world().weather.broker_away } else { std::future::pending().await }
}

/// Gives the broker a message, and says whether it was acknowledged.
pub(crate) async fn publish(host: &str, event: Option<u64>, topic: &str, payload: &str) -> bool {
    let (number, run) = address(host);
    let Some(id) = event else {
        return !world().weather.broker_away;
    };
    pause(5).await;
    let acknowledged = {
        let mut world = world();
        if world.is_alive(number, run) {
            let away = world.weather.broker_away;
            let arrives = !away || world.weather.dice.percent(20);
            if arrives {
                arrived(&mut world, number, id, topic, payload);
            }
            Some(!away)
        } else {
            None
        }
    };
    match acknowledged {
        Some(acknowledged) => {
            pause(5).await;
            acknowledged
        }
        None => std::future::pending().await,
    }
}

fn arrived(world: &mut super::world::SimulatedWorld, number: usize, id: u64, topic: &str, payload: &str) {
    tell!(world, "BROKER: event {id} of box {number} {topic} {payload}");
    let events = world.broker.events.entry(number).or_default();
    let newest = events.last().copied().unwrap_or(0);
    if events.insert(id) && id < newest {
        world.books.defect(format!("event {id} of box {number} came after event {newest}"), &[]);
    }
}
