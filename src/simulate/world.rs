//! All that the world holds, behind one lock that nothing holds while it waits.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

use super::books::Books;
use super::boxes::BoxModel;
use super::broker::BrokerModel;
use super::server::ServerModel;
use super::story::Story;
use super::weather::Weather;

/// The right time when the world begins.
const BEGAN: Timestamp = Timestamp::constant(1_790_000_000, 0);

/// One world.
#[derive(Debug)]
pub(super) struct SimulatedWorld {
    pub(super) settings: Settings,
    pub(super) began: Instant,
    pub(super) boxes: Vec<BoxModel>,
    pub(super) server: ServerModel,
    pub(super) broker: BrokerModel,
    pub(super) weather: Weather,
    pub(super) books: Books,
    pub(super) story: Story,
}

/// The number that makes the world, and its size.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) seed: u64,
    pub(super) days: u64,
    pub(super) boxes: usize,
    pub(super) users_of_a_box: usize,
    /// Kinds of fault that do not happen.
    pub(super) without: Vec<String>,
    /// Whether the story is kept to be printed.
    pub(super) tell: bool,
    /// More names that the story is about, and the most lines of it.
    pub(super) about: Vec<String>,
    pub(super) lines: usize,
    /// A directory for the small files of the boxes.
    pub(super) scratch: PathBuf,
}

static WORLD: OnceLock<Mutex<SimulatedWorld>> = OnceLock::new();

/// The world, for a moment.
pub(super) fn world() -> MutexGuard<'static, SimulatedWorld> {
    let world = WORLD.get().expect("the program makes the world before anything lives in it");
    world.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn make(settings: Settings) {
    let seed = settings.seed;
    let boxes = (0..settings.boxes).map(|number| BoxModel::new(number, seed)).collect();
    let server = ServerModel::new(settings.boxes * settings.users_of_a_box);
    let story = Story::new(settings.tell);
    let world = SimulatedWorld {
        settings,
        began: Instant::now(),
        boxes,
        server,
        broker: BrokerModel::default(),
        weather: Weather::new(seed),
        books: Books::default(),
        story,
    };
    drop(WORLD.set(Mutex::new(world)));
}

impl SimulatedWorld {
    /// The time since the world began.
    pub(super) fn age(&self) -> Duration {
        self.began.elapsed()
    }

    /// The right time, which the server shows.
    pub(super) fn time(&self) -> Timestamp {
        BEGAN.saturating_add(SignedDuration::from_millis(self.age().as_millis() as i64)).unwrap_or(BEGAN)
    }

    /// Writes a line of the story.
    pub(super) fn tell(&mut self, line: std::fmt::Arguments<'_>) {
        let age = self.age();
        self.story.add(age, line);
    }
}

/// Writes a line of the story.
macro_rules! tell {
    ($world:expr, $($text:tt)*) => { $world.tell(format_args!($($text)*)) };
}
pub(super) use tell;

pub(super) async fn pause(milliseconds: u64) {
    tokio::time::sleep(Duration::from_millis(milliseconds)).await;
}
