//! What a reader sends and understands, as data: the files of `firmware-config/readers/`, built in, or a file of one's
//! own. `line.toml` there explains every key.

use std::path::Path;
use std::time::Duration;

use regex::bytes::{Regex, RegexBuilder};
use serde::Deserialize;

macro_rules! built_in {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../firmware-config/readers/", $name, ".toml")))),*]
    };
}

/// The profiles that come with the program: name and text.
pub const BUILT_IN: &[(&str, &str)] = built_in![
    "line",
    "acr122u",
    "aeg-id",
    "brady-wavepoint",
    "codatex",
    "em18",
    "gwiot-7941e",
    "gwiot-7941w",
    "id-12la",
    "idteck-rfk101",
    "keyboard",
    "keyboard-no-enter",
    "parallax",
    "pn532",
    "promag-mf7",
    "rdm6300",
    "rfideas-acp",
    "rfideas-cdc",
    "twn4-simple",
];

/// The longest read that a profile may ask for.
const MAX_BYTES_LIMIT: usize = 1024;

/// The longest silence inside a read that a profile may allow.
const IDLE_LIMIT: Duration = Duration::from_secs(5);

/// Between two questions: quicker than a person notices, slower than a busy loop.
const INTERVAL_LIMIT: std::ops::RangeInclusive<u64> = 20..=5_000;

/// How long an answer may be waited for.
const TIMEOUT_LIMIT: std::ops::RangeInclusive<u64> = 50..=10_000;

/// The most commands in one list, and the most bytes of one.
const COMMAND_LIMIT: usize = 64;

/// Why there is no such profile.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// Neither built in nor a file.
    #[error("find profile {name:?}: built in are {known}; or give the path of a file")]
    Unknown {
        /// As configured.
        name: String,
        /// What there is.
        known: String,
    },
    /// The file does not say what a profile says.
    #[error("read profile {name:?}: {detail}")]
    Invalid {
        /// As configured.
        name: String,
        /// What is wrong, with its line.
        detail: String,
    },
}

/// How a reader's bytes become reads, and how it is spoken to.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// For people.
    pub description: String,
    /// Bits a second, as the reader leaves its factory.
    pub baud: Option<u32>,
    /// Where a read begins and ends.
    pub frame: FrameFormat,
    /// Only for a reader that has to be asked.
    pub poll: Option<PollFormat>,
    /// Its own light and beep.
    pub signal: Option<SignalFormat>,
}

/// Where a read begins and ends, and what is one.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FrameFormat {
    /// Begins a frame; what stands before it is noise.
    #[serde(default)]
    pub start: Bytes,
    /// Any of these characters ends a frame.
    #[serde(default)]
    pub end: Vec<char>,
    /// So many bytes follow the end.
    #[serde(default)]
    pub end_more: usize,
    /// Instead of `end`.
    pub length: Option<Length>,
    /// Silence ends a frame too.
    #[serde(default)]
    pub gap_ends: bool,
    /// All between start and end. The first group that took part is the read.
    pub pattern: Option<Pattern>,
    /// The groups are bytes, not digits.
    #[serde(default)]
    pub raw: bool,
    /// How the group `check` is made.
    pub check: Option<Check>,
    /// Only two equal frames in a row are a read: for readers whose phantoms pass the checksum.
    #[serde(default)]
    pub twice: bool,
    /// Reads of 4 bytes are ISO 14443 UIDs.
    #[serde(default)]
    pub uid: bool,
    /// A longer read is noise.
    pub max_bytes: usize,
    /// Milliseconds of silence after which half a read is dropped.
    pub idle_ms: u64,
}

/// How many bytes a frame has, with its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Length {
    /// As many as this byte behind the start says ...
    pub at: Option<usize>,
    /// ... and so many more.
    pub plus: usize,
}

/// How a check byte is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Check {
    /// The xor of the read's bytes.
    XorRead,
    /// The xor of everything behind the start and before it.
    XorBody,
    /// Everything behind the start, with it, adds up to 0 in a byte.
    SumBody,
}

/// A reader that speaks only when it is asked.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PollFormat {
    /// Said once, in order.
    #[serde(default)]
    pub start: Vec<Bytes>,
    /// Said in turn.
    pub ask: Vec<Bytes>,
    /// Milliseconds from an answer to the next question.
    pub interval_ms: u64,
    /// Milliseconds that an answer may take.
    pub timeout_ms: u64,
}

/// A reader's own light and beep: what to send for each.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignalFormat {
    /// Makes the light green.
    pub green: Vec<Bytes>,
    /// Makes it amber.
    pub amber: Vec<Bytes>,
    /// Makes it red.
    pub red: Vec<Bytes>,
    /// One short beep.
    pub short: Bytes,
    /// One long beep.
    pub long: Bytes,
}

/// Bytes, written as text whose characters up to U+00FF stand for one byte each.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Bytes(pub Vec<u8>);

impl TryFrom<String> for Bytes {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let bytes = text.chars().map(u8::try_from).collect::<Result<_, _>>();
        bytes.map(Self).map_err(|_| format!("{text:?} has a character that is no byte; write \"\\x00\" to \"\\xFF\""))
    }
}

/// A regular expression on bytes that has to match all of them.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String")]
pub struct Pattern {
    text: String,
    regex: Regex,
}

/// The group names that a pattern may have.
const GROUPS: [&str; 2] = ["check", "count"];

impl Pattern {
    /// The regular expression.
    pub fn regex(&self) -> &Regex {
        &self.regex
    }

    fn has(&self, group: &str) -> bool {
        self.regex.capture_names().flatten().any(|name| name == group)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Pattern {}

impl TryFrom<String> for Pattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let whole = format!("^(?:{text})$");
        let regex = RegexBuilder::new(&whole).unicode(false).dot_matches_new_line(true).build();
        let regex = regex.map_err(|error| error.to_string())?;
        if let Some(name) = regex.capture_names().flatten().find(|name| !GROUPS.contains(name)) {
            return Err(format!("a group is called {name:?}; write {}, or no name for the read", GROUPS.join(" or ")));
        }
        if regex.capture_names().skip(1).all(|name| name.is_some()) {
            return Err("no group holds the read; put it in parentheses".to_owned());
        }
        Ok(Self { text, regex })
    }
}

impl FrameFormat {
    /// The silence after which half a read is dropped.
    pub fn idle(&self) -> Duration {
        Duration::from_millis(self.idle_ms)
    }

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
    fn check(&self) -> Result<(), String> {
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

/// The profile of this name, or in the file of this path.
///
/// # Errors
/// Permanent until somebody mends the configuration or the file.
pub fn load(name: &str) -> Result<Profile, ProfileError> {
    let built_in = BUILT_IN.iter().find(|(known, _)| *known == name).map(|(_, text)| (*text).to_owned());
    let text = match built_in {
        Some(text) => text,
        None if Path::new(name).is_file() => std::fs::read_to_string(name)
            .map_err(|error| ProfileError::Invalid { name: name.to_owned(), detail: error.to_string() })?,
        None => {
            let known: Vec<_> = BUILT_IN.iter().map(|(known, _)| *known).collect();
            return Err(ProfileError::Unknown { name: name.to_owned(), known: known.join(", ") });
        }
    };
    parse(&text).map_err(|detail| ProfileError::Invalid { name: name.to_owned(), detail })
}

fn parse(text: &str) -> Result<Profile, String> {
    let profile: Profile = toml::from_str(text).map_err(|error| error.to_string())?;
    profile.check()?;
    Ok(profile)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "description = \"x\"\n[frame]\nend = [\"\\r\"]\nmax_bytes = 9\nidle_ms = 5\n";

    #[test]
    fn every_built_in_profile_is_valid() {
        for (name, _) in BUILT_IN {
            load(name).unwrap();
        }
    }

    #[test]
    fn every_file_of_the_folder_is_built_in() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("firmware-config/readers");
        for file in std::fs::read_dir(folder).unwrap().flatten() {
            let path = file.path();
            let name = path.file_stem().unwrap().to_str().unwrap();
            assert!(BUILT_IN.iter().any(|(known, _)| *known == name), "{name}");
        }
    }

    #[test]
    fn a_profile_of_ones_own_is_read_from_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mine.toml");
        std::fs::write(&path, GOOD).unwrap();
        assert_eq!(load(path.to_str().unwrap()).unwrap().frame.max_bytes, 9);
    }

    #[test]
    fn what_is_wrong_with_a_profile_is_told() {
        for (from, to, told) in [
            ("max_bytes = 9", "max_bytes = 0", "max_bytes must be 1 to 1024"),
            ("idle_ms = 5", "idle_ms = 0", "idle_ms must be 1 to 5000"),
            ("end = [\"\\r\"]\n", "", "either end or length"),
            ("end = [\"\\r\"]", "end = [\"€\"]", "one byte each"),
            ("max_bytes", "start = \"€\"\nmax_bytes", "no byte"),
            ("max_bytes", "pattern = '(.'\nmax_bytes", "unclosed group"),
            ("max_bytes", "pattern = 'x'\nmax_bytes", "no group holds the read"),
            ("max_bytes", "pattern = '(?<id>x)'\nmax_bytes", "a group is called \"id\""),
            ("max_bytes", "check = \"xor-read\"\nmax_bytes", "belong together"),
            ("max_bytes", "raw = true\nmax_bytes", "raw needs a pattern"),
            ("max_bytes", "length = { plus = 3 }\nmax_bytes", "either end or length"),
            ("max_bytes", "end_more = 9\nmax_bytes", "leaves no room"),
            ("[frame]", "[poll]\nask = []\ninterval_ms = 50\ntimeout_ms = 50\n[frame]", "at least one command"),
            ("[frame]", "[poll]\nask = [\"\"]\ninterval_ms = 50\ntimeout_ms = 50\n[frame]", "of 1 to 64 bytes"),
            ("[frame]", "[poll]\nask = [\"a\"]\ninterval_ms = 5\ntimeout_ms = 50\n[frame]", "interval_ms must be 20"),
        ] {
            let error = parse(&GOOD.replace(from, to)).unwrap_err();
            assert!(error.contains(told), "{to}: {error}");
        }
    }

    #[test]
    fn an_unknown_profile_names_those_that_there_are() {
        assert!(load("lime").unwrap_err().to_string().contains("built in are line"));
    }

    #[test]
    fn the_lights_of_an_acr122u_are_those_of_the_signal_and_its_long_beep_is_longer() {
        let signal = load("acr122u").unwrap().signal.unwrap();
        let fields = |command: &Bytes| <[u8; 9]>::try_from(&command.0[..]).unwrap();
        for (commands, red, green) in [(&signal.green, 0, 1), (&signal.amber, 1, 1), (&signal.red, 1, 0)] {
            let [command] = &commands[..] else { panic!("one command sets both lights") };
            let both_count = 0b1100;
            assert_eq!(fields(command), [0xFF, 0, 0x40, both_count | green << 1 | red, 4, 0, 0, 0, 0]);
        }
        let [short, long] = [&signal.short, &signal.long].map(fields);
        for [class, ins, p1, lights, length, on, _, times, beep] in [short, long] {
            assert_eq!([class, ins, p1, lights, length, times, beep], [0xFF, 0, 0x40, 0, 4, 1, 1]);
            assert!(on > 0);
        }
        assert!(short[5] * 2 <= long[5]);
    }

    #[test]
    fn the_frames_that_are_sent_to_a_pn532_add_up() {
        let poll = load("pn532").unwrap().poll.unwrap();
        for command in poll.start.iter().chain(&poll.ask) {
            let begin = command.0.windows(2).position(|pair| pair == [0, 0xFF]).unwrap() + 2;
            let (length, data) = (usize::from(command.0[begin]), &command.0[begin + 2..]);
            assert_eq!(command.0[begin].wrapping_add(command.0[begin + 1]), 0);
            assert_eq!(data[..=length].iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)), 0);
            assert_eq!(&data[length + 1..], [0]);
        }
    }
}
