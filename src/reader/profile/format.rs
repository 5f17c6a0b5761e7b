//! The parts of a profile, as its file writes them.

use std::time::Duration;

use serde::Deserialize;

use super::Pattern;

/// The shape of a read among the bytes of a reader.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FrameFormat {
    /// These bytes begin a frame; bytes before them are noise.
    #[serde(default)]
    pub start: Bytes,
    /// Any of these characters ends a frame.
    #[serde(default)]
    pub end: Vec<char>,
    /// The number of bytes that follow the end character and belong to the frame.
    #[serde(default)]
    pub end_more: usize,
    /// The length of a frame, for a reader whose frames end by their length instead of by a character.
    pub length: Option<Length>,
    /// True if silence ends a frame too.
    #[serde(default)]
    pub gap_ends: bool,
    /// Matches all bytes between start and end. The first group that took part is the read.
    pub pattern: Option<Pattern>,
    /// True if the groups of the pattern are bytes, false if they are digits.
    #[serde(default)]
    pub raw: bool,
    /// The rule by which the reader makes the check byte in the group `check`.
    pub check: Option<Check>,
    /// True if only two equal frames in a row are a read: for readers whose phantom reads pass the checksum.
    #[serde(default)]
    pub twice: bool,
    /// True if reads of 4 bytes are ISO 14443 UIDs.
    #[serde(default)]
    pub uid: bool,
    /// The most bytes of a frame; a longer one is noise.
    pub max_bytes: usize,
    /// The silence after which half a read is dropped, in milliseconds.
    pub idle_ms: u64,
}

/// The number of bytes of a frame, with its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Length {
    /// The position, counted behind the start, of the byte that holds the length. Without it all frames are equally long.
    pub at: Option<usize>,
    /// This number is added to that byte, or is the whole length.
    pub plus: usize,
}

/// The rule by which a check byte is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Check {
    /// The check byte is the xor of the read's bytes.
    XorRead,
    /// The check byte is the xor of all bytes between the start and it.
    XorBody,
    /// All bytes behind the start add up to 0 in a byte, the check byte included.
    SumBody,
}

/// The polls of a reader that speaks only when it is asked.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PollFormat {
    /// Commands that set the reader up, sent once in this order.
    #[serde(default)]
    pub start: Vec<Bytes>,
    /// The questions for a card, sent in turn.
    pub ask: Vec<Bytes>,
    /// The pause from an answer to the next question, in milliseconds.
    pub interval_ms: u64,
    /// The longest wait for an answer, in milliseconds.
    pub timeout_ms: u64,
}

/// The commands for a reader's own light and beep.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignalFormat {
    /// These commands make the light green.
    pub green: Vec<Bytes>,
    /// These commands make the light amber.
    pub amber: Vec<Bytes>,
    /// These commands make the light red.
    pub red: Vec<Bytes>,
    /// This command makes one short beep.
    pub short: Bytes,
    /// This command makes one long beep.
    pub long: Bytes,
}

/// Bytes, written as a text whose characters up to U+00FF stand for one byte each.
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

impl FrameFormat {
    /// The silence after which half a read is dropped.
    pub fn idle(&self) -> Duration {
        Duration::from_millis(self.idle_ms)
    }
}
