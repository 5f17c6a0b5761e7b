//! The events of the world, one line each: their hash, and the last of them for a person who reads about a failure.

use std::fmt::Write as _;
use std::time::Duration;

use ring::digest::{Context, SHA256};

/// The lines so far.
pub(super) struct Story {
    hash: Context,
    events: u64,
    /// `None` where nobody will read it.
    lines: Option<Vec<String>>,
    line: String,
}

impl std::fmt::Debug for Story {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Story").field("events", &self.events).finish_non_exhaustive()
    }
}

impl Story {
    pub(super) fn new(kept: bool) -> Self {
        Self { hash: Context::new(&SHA256), events: 0, lines: kept.then(Vec::new), line: String::new() }
    }

    pub(super) fn add(&mut self, age: Duration, text: std::fmt::Arguments<'_>) {
        self.line.clear();
        let (seconds, ms) = (age.as_secs(), age.subsec_millis());
        let (day, hour, minute) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
        let written = writeln!(self.line, "day {day} {hour:02}:{minute:02}:{:02}.{ms:03}  {text}", seconds % 60);
        debug_assert!(written.is_ok(), "a String takes everything");
        self.hash.update(self.line.as_bytes());
        self.events += 1;
        if let Some(lines) = &mut self.lines {
            lines.push(self.line.trim_end().to_owned());
        }
    }

    pub(super) fn events(&self) -> u64 {
        self.events
    }

    /// The hash of all events so far.
    pub(super) fn hash(&self) -> String {
        let digest = self.hash.clone().finish();
        digest.as_ref().iter().take(16).fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
    }

    /// The last lines that name one of these, and between them the faults and the ends of runs.
    pub(super) fn about(&self, names: &[String], most: usize) -> Vec<String> {
        let lines = self.lines.as_deref().unwrap_or_default();
        let tells = |line: &str| names.iter().any(|name| holds(line, name));
        let Some(first) = lines.iter().position(|line| tells(line)) else {
            return Vec::new();
        };
        let is_around = |line: &str| {
            ["FAULT", "Kill", "CutPower", "Restart", "Reload", "clocks"].iter().any(|word| line.contains(word))
        };
        let last = lines.iter().rposition(|line| tells(line) && !line.contains("DEFECT")).unwrap_or(first);
        // The faults between the first event and the last; if the whole is too long, the events alone.
        let all: Vec<&String> = lines[first..=last].iter().filter(|line| tells(line) || is_around(line)).collect();
        let told: Vec<&String> =
            if all.len() > most { all.into_iter().filter(|line| tells(line)).collect() } else { all };
        told[told.len().saturating_sub(most)..].iter().map(|line| (*line).clone()).collect()
    }
}

/// Whether a line holds a name as a whole word.
fn holds(line: &str, name: &str) -> bool {
    let ends = |rest: &str| !rest.starts_with(|next: char| next.is_ascii_alphanumeric());
    line.match_indices(name).any(|(at, _)| ends(&line[at + name.len()..]))
}
