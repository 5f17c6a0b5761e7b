//! The life of one world, from its first day to the last closing of its books.

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};

use serde_json::json;

use super::dice::WorldDice;
use super::world::{Settings, pause, world};
use super::{books, boxes, people, weather};

const HOUR: u64 = 3_600_000;
const DAY: u64 = 24 * HOUR;

/// After a calm of this length nothing waits any more.
const CALM: u64 = 3 * HOUR;

/// Panics of the agent's tasks; each is a defect.
static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Lives through one world and prints what became of it.
pub(super) fn run(settings: Settings) -> ExitCode {
    std::panic::set_hook(Box::new(|panic| {
        PANICS.lock().unwrap_or_else(PoisonError::into_inner).push(panic.to_string().replace('\n', " "));
    }));
    crate::tls::install_provider();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("failed to start the runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    super::world::make(settings);
    runtime.block_on(live());
    let told = summary();
    // The tasks of killed runs wait for ever, so nothing is dropped in order.
    let mut out = std::io::stdout();
    let written = out.write_all(told.as_bytes()).and_then(|()| out.flush());
    let failed = written.is_err() || !world().books.defects.is_empty();
    std::process::exit(i32::from(failed));
}

async fn live() {
    let (seed, days, number_of_boxes) = {
        let world = world();
        (world.settings.seed, world.settings.days, world.boxes.len())
    };
    for number in 0..number_of_boxes {
        tokio::spawn(boxes::live(number));
        let stations = world().boxes[number].stations.len();
        for index in 0..stations {
            tokio::spawn(people::come(number, index));
        }
    }
    for fault in weather::FAULTS {
        tokio::spawn(weather::blow(fault));
    }
    let mut dice = WorldDice::new(seed, "calms");
    let mut lived = 0;
    while lived < days * DAY {
        begin_trouble();
        // The first weeks are short, so that a short world has calms too.
        let longest = if lived < 3 * DAY { 20 * HOUR } else { 6 * DAY };
        let trouble = dice.between(8 * HOUR, longest);
        pause(trouble).await;
        world().weather.quiet = true;
        weather::calm_down();
        pause(CALM).await;
        lived += trouble + CALM;
        let mut world = world();
        note_panics(&mut world.books);
        books::close(&mut world);
        if !world.books.defects.is_empty() {
            return;
        }
        books::forget(&mut world);
    }
}

fn begin_trouble() {
    let mut world = world();
    world.weather.quiet = false;
    world.weather.calm = false;
}

fn note_panics(books: &mut books::Books) {
    for panic in PANICS.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
        books.defect(format!("a task has failed: {panic}"), &[]);
    }
}

/// One line of JSON, and the story behind it where that is wanted.
fn summary() -> String {
    let world = world();
    let books = &world.books;
    let defects: Vec<_> = books.defects.iter().map(|defect| defect.what.clone()).collect();
    let mut about: Vec<String> = books.defects.first().map(|defect| defect.about.clone()).unwrap_or_default();
    // Of many documents the first four show it.
    about.truncate(4);
    about.extend(world.settings.about.iter().cloned());
    let line = json!({
        "seed": world.settings.seed,
        "hash": world.story.hash(),
        "events": world.story.events(),
        "hours": world.age().as_secs() / 3_600,
        "boxes": world.boxes.len(),
        "taps": books.taps,
        "releases": books.releases,
        "closings": books.closings,
        "faults": world.weather.came,
        "defects": defects,
        "story": world.story.about(&about, world.settings.lines),
    });
    format!("{line}\n")
}
