//! Tries the dialogue of every profile with bytes, signals and pauses in any order. No answer makes it send commands for ever
//! without a pause, and a timer that is due always has something to do.
#![no_main]

use std::sync::LazyLock;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use print_release_agent::feedback::Signal;
use print_release_agent::reader::dialogue::Dialogue;
use print_release_agent::reader::profile::{self, Profile};
use tokio::time::Instant;

/// More commands than a profile's set-up, a poll and the longest signal need together.
const TICKS_LIMIT: usize = 64;

/// Loaded once, because the target tries the decoder and not the loading of profiles.
static PROFILES: LazyLock<Vec<Profile>> = LazyLock::new(|| {
    let load = |(name, _): &(&str, &str)| profile::load(name).expect("it is built in");
    profile::BUILT_IN.iter().map(load).collect()
});

fuzz_target!(|input: (u8, Vec<(u8, &[u8])>)| {
    let (which, steps) = input;
    let profile = &PROFILES[usize::from(which) % PROFILES.len()];
    let mut now = Instant::now();
    let mut dialogue = Dialogue::new(profile, now);
    for (kind, bytes) in steps {
        match kind % 4 {
            0 | 1 => drop(dialogue.hear(bytes, now)),
            2 => dialogue.signal([Signal::Ready, Signal::Refused, Signal::Partly][bytes.len() % 3]),
            _ => now += Duration::from_millis(u64::from(kind)),
        }
        let mut ticks = 0..TICKS_LIMIT;
        while dialogue.wake().is_some_and(|at| at <= now) {
            ticks.next().expect("it pauses");
            if dialogue.tick(now).is_err() {
                return;
            }
        }
    }
});
