//! From a world that fails to the shortest story that still fails.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::fleet::{Fleet, LivedWorld, WorldOrder};

/// So long, in real time, a smaller story is looked for.
const PATIENCE: Duration = Duration::from_secs(60);

/// Leaves out one thing after the other while the world still fails in the same way, and tells the story that is left.
pub(super) fn shrink(fleet: &Fleet, (mut order, mut world): (WorldOrder, LivedWorld)) -> String {
    let (began, seed) = (Instant::now(), order.seed);
    let sign = signature(&world);
    let mut take = |smaller: WorldOrder, order: &mut WorldOrder| {
        if began.elapsed() > PATIENCE {
            return false;
        }
        let lived = fleet.live(&smaller);
        let fails = signature(&lived) == sign && lived.hours <= world.hours;
        if fails {
            (world, *order) = (lived, smaller);
        }
        fails
    };
    for users in [3, 8] {
        let smaller = WorldOrder { users, ..order.clone() };
        if users < order.users && take(smaller, &mut order) {
            break;
        }
    }
    for boxes in [1, 2] {
        let smaller = WorldOrder { boxes, ..order.clone() };
        if boxes < order.boxes && take(smaller, &mut order) {
            break;
        }
    }
    // Kinds of fault in halves, then in quarters, and so on.
    let all: Vec<String> = super::weather::FAULTS.iter().map(|fault| fault.name.to_owned()).collect();
    let mut parts = 2;
    loop {
        let there: Vec<String> = all.iter().filter(|name| !order.without.contains(name)).cloned().collect();
        if there.is_empty() {
            break;
        }
        let size = there.len().div_ceil(parts).max(1);
        let mut smaller_now = false;
        for part in there.chunks(size) {
            let without: BTreeSet<String> = order.without.iter().chain(part).cloned().collect();
            let smaller = WorldOrder { without: without.into_iter().collect(), ..order.clone() };
            smaller_now |= take(smaller, &mut order);
        }
        if size == 1 && !smaller_now || began.elapsed() > PATIENCE {
            break;
        }
        parts = (parts * 2).min(all.len());
    }
    let told = fleet.live(&WorldOrder { tell: true, ..order.clone() });
    tell(seed, &order, &told, &all)
}

/// The first defect without its numbers.
fn signature(world: &LivedWorld) -> Option<String> {
    world.defects.first().map(|first| without_numbers(first))
}

/// The kind of a defect: its words, without numbers and the names behind the colon.
pub(super) fn without_numbers(defect: &str) -> String {
    let mut letters: String = defect.chars().filter(|letter| !letter.is_ascii_digit()).collect();
    letters.truncate(letters.find(':').filter(|at| *at > 20).unwrap_or(letters.len()));
    letters
}

fn tell(seed: u64, order: &WorldOrder, world: &LivedWorld, all: &[String]) -> String {
    let faults: Vec<&str> = all.iter().filter(|name| !order.without.contains(name)).map(String::as_str).collect();
    let bug = order.bug.as_ref().map(|bug| format!(" --bug {bug}")).unwrap_or_default();
    let defects = world.defects.join("\n  ");
    let mut text = format!(
        "\nFAILED: seed {seed}{bug}. The shortest story that still fails has {} boxes, {} people a box, {} hours, and of faults only: {}\n\n  {defects}\n\n",
        order.boxes,
        order.users,
        world.hours,
        faults.join(", ")
    );
    for line in &world.story {
        text.push_str(line);
        text.push('\n');
    }
    text
}
