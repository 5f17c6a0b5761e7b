//! Refuses profiles whose parts contradict each other or ask for too much.

use std::time::Duration;

use super::{Bytes, FrameFormat, PollFormat, Profile, SignalFormat};

/// The longest read that a profile may ask for.
const MAX_BYTES_LIMIT: usize = 1024;

/// The longest silence inside of a read that a profile may allow.
const IDLE_LIMIT: Duration = Duration::from_secs(5);

/// The pause between two polls in milliseconds: shorter than a person notices, longer than a busy loop.
const INTERVAL_LIMIT: std::ops::RangeInclusive<u64> = 20..=5_000;

/// The longest wait for an answer in milliseconds.
const TIMEOUT_LIMIT: std::ops::RangeInclusive<u64> = 50..=10_000;

/// The most commands in one list, and the most bytes of one.
const COMMAND_LIMIT: usize = 64;

impl FrameFormat {
    fn check(&self) -> Result<(), String> {
        let ends = [!self.end.is_empty(), self.length.is_some()];
        if ends == [true, true] || (ends == [false, false] && !self.gap_ends) {
            return Err("frame must have either end or length, or else gap_ends".to_owned());
        }
        if !self.end.iter().all(|end| u8::try_from(*end).is_ok()) {
            return Err("frame.end must list characters that are one byte each".to_owned());
        }
        if !(1..=MAX_BYTES_LIMIT).contains(&self.max_bytes) {
            return Err(format!("frame.max_bytes must be 1 to {MAX_BYTES_LIMIT}"));
        }
        if self.start.0.len() + self.end_more >= self.max_bytes {
            return Err("frame.max_bytes leaves no room between start and end".to_owned());
        }
        if self.idle().is_zero() || self.idle() > IDLE_LIMIT {
            return Err(format!("frame.idle_ms must be 1 to {}", IDLE_LIMIT.as_millis()));
        }
        let has_group = self.pattern.as_ref().is_some_and(|pattern| pattern.has("check"));
        if has_group != self.check.is_some() {
            return Err("frame.check and a group <check> in frame.pattern belong together".to_owned());
        }
        if self.raw && self.pattern.is_none() {
            return Err("frame.raw needs a pattern".to_owned());
        }
        Ok(())
    }
}

impl PollFormat {
    fn check(&self) -> Result<(), String> {
        if !INTERVAL_LIMIT.contains(&self.interval_ms) {
            return Err(format!("poll.interval_ms must be {} to {}", INTERVAL_LIMIT.start(), INTERVAL_LIMIT.end()));
        }
        if !TIMEOUT_LIMIT.contains(&self.timeout_ms) {
            return Err(format!("poll.timeout_ms must be {} to {}", TIMEOUT_LIMIT.start(), TIMEOUT_LIMIT.end()));
        }
        if self.ask.is_empty() {
            return Err("poll.ask must list at least one command".to_owned());
        }
        Ok(())
    }
}

impl Profile {
    pub(super) fn check(&self) -> Result<(), String> {
        self.frame.check()?;
        let mut lists: Vec<&[Bytes]> = Vec::new();
        if let Some(poll) = &self.poll {
            poll.check()?;
            lists.extend([&poll.start[..], &poll.ask]);
        }
        if let Some(SignalFormat { green, amber, red, short, long }) = &self.signal {
            let beeps = [std::slice::from_ref(short), std::slice::from_ref(long)];
            lists.extend([&green[..], amber, red].into_iter().chain(beeps));
        }
        let fits = |list: &&[Bytes]| {
            list.len() <= COMMAND_LIMIT && list.iter().all(|command| (1..=COMMAND_LIMIT).contains(&command.0.len()))
        };
        if !lists.iter().all(fits) {
            return Err(format!("poll and signal take up to {COMMAND_LIMIT} commands of 1 to {COMMAND_LIMIT} bytes"));
        }
        Ok(())
    }
}
