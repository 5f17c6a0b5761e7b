//! The steps of a conversion and their effect on a text.

use std::cmp::Ordering;

use regex::bytes::{Regex, RegexBuilder};

use super::em4100;
use super::error::{BadStep, ConvertError, StepFault};
use super::number::{Base, recode};
use super::wiegand::Wiegand;
use super::{MAX_CHARS, hex};

/// The largest compiled regular expression, in bytes.
const MAX_REGEX: usize = 1 << 18;

/// One step of a conversion.
#[derive(Clone, Debug)]
pub(super) struct ConversionStep {
    /// The position in the conversion, counted from 1.
    pub(super) number: usize,
    /// The step as it was written.
    pub(super) text: String,
    pub(super) op: Op,
}

/// The operation of a step.
#[derive(Clone, Debug)]
pub(super) enum Op {
    Upper,
    Lower,
    Trim,
    /// Removes all of these characters.
    Strip(String),
    Slice(Slice),
    Prepend(String),
    Append(String),
    PadLeft {
        width: usize,
        fill: char,
    },
    Recode {
        from: Base,
        to: Base,
    },
    AsciiDecode,
    ReverseBytes,
    ReverseBits,
    Complement,
    Match(Regex),
    Em4100(em4100::Em4100Format),
    Wiegand(Wiegand),
    /// SAFEQ's `ASCII2Hex`: decodes a text that looks like ASCII in hexadecimal, and leaves any other unchanged.
    SafeqAscii(Regex),
    /// SAFEQ's `CardNo`: goes back to the read.
    Read,
    /// SAFEQ's `Const`: replaces the text by a constant.
    Constant(String),
}

/// The positions between which a text is kept. Negative positions count from the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slice {
    pub(super) from: isize,
    pub(super) to: Option<isize>,
}

impl ConversionStep {
    /// Runs the step on `text`, which earlier steps made of `read`.
    pub(super) fn run(&self, text: &str, read: &str) -> Result<String, ConvertError> {
        let result = self.op.run(text, read).and_then(|result| match result.chars().count() {
            0 => Err(StepFault::Empty),
            length if length > MAX_CHARS => Err(StepFault::TooLong),
            _ => Ok(result),
        });
        result.map_err(|fault| ConvertError::Step { number: self.number, name: self.name().to_owned(), fault })
    }

    fn name(&self) -> &str {
        self.text.split('(').next().unwrap_or_default().trim_end()
    }
}

impl Op {
    fn run(&self, text: &str, read: &str) -> Result<String, StepFault> {
        Ok(match self {
            Self::Upper => text.to_ascii_uppercase(),
            Self::Lower => text.to_ascii_lowercase(),
            Self::Trim => text.trim().to_owned(),
            Self::Strip(characters) => text.chars().filter(|&character| !characters.contains(character)).collect(),
            Self::Slice(slice) => slice.of(text)?,
            Self::Prepend(start) => start.clone() + text,
            Self::Append(end) => text.to_owned() + end,
            Self::PadLeft { width, fill } => {
                let missing = width.saturating_sub(text.chars().count());
                fill.to_string().repeat(missing) + text
            }
            Self::Recode { from, to } => recode(text, *from, *to)?,
            Self::AsciiDecode => hex::ascii(text)?,
            Self::ReverseBytes => hex::text(hex::bytes(text)?.into_iter().rev()),
            Self::ReverseBits => hex::text(hex::bytes(text)?.into_iter().map(u8::reverse_bits)),
            Self::Complement => hex::text(hex::bytes(text)?.into_iter().map(|byte| !byte)),
            Self::Match(regex) => first_group(regex, text).ok_or(StepFault::NoMatch)?.to_owned(),
            Self::Em4100(format) => format.print(text)?,
            Self::Wiegand(wiegand) => wiegand.decode(text)?,
            Self::SafeqAscii(regex) => match first_group(regex, text) {
                Some(codes) => hex::ascii(codes)?,
                None => text.to_owned(),
            },
            Self::Read => read.to_owned(),
            Self::Constant(constant) => constant.clone(),
        })
    }

    /// Compiles the expression of a `match`. Look-around and back references are not supported, because they can take
    /// unbounded time.
    pub(super) fn matching(expression: &str) -> Result<Self, BadStep> {
        compile(expression).map(Self::Match)
    }

    /// Matches the form that SAFEQ's `ASCII2Hex` acts on (`^([34][0-9])+([fF]{2})*$` in its documents); the group leaves
    /// out the padding of `FF`.
    pub(super) fn safeq_ascii() -> Result<Self, BadStep> {
        compile("^((?:[34][0-9])+)(?:[fF]{2})*$").map(Self::SafeqAscii)
    }
}

impl Slice {
    /// Takes the slice of a text. Reaching past either end is an error, because half a number must not pass for a whole
    /// one.
    fn of(self, text: &str) -> Result<String, StepFault> {
        let length = text.chars().count();
        let place = |place: isize| match place {
            0.. => Some(place.unsigned_abs()).filter(|place| *place <= length),
            _ => length.checked_sub(place.unsigned_abs()),
        };
        let (from, to) = (place(self.from), self.to.map_or(Some(length), place));
        let (Some(from), Some(to)) = (from, to) else { return Err(StepFault::TooShort { length }) };
        match from.cmp(&to) {
            Ordering::Greater => Err(StepFault::TooShort { length }),
            _ => Ok(text.chars().skip(from).take(to - from).collect()),
        }
    }

    /// True if there is a text of which the slice is not empty.
    pub(super) fn can_give(self) -> bool {
        self.to.is_none_or(|to| (self.from < 0) != (to < 0) || self.from < to)
    }
}

/// Compiles an expression over bytes and without Unicode, as the expressions of other products are meant: `\d` is 0 to 9,
/// and `(?i)` ignores the case of ASCII letters.
fn compile(expression: &str) -> Result<Regex, BadStep> {
    let regex = RegexBuilder::new(expression).unicode(false).size_limit(MAX_REGEX).build();
    regex.map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => BadStep::RegexSize,
        // The engine's message shows the expression first; only its last line says what is wrong.
        other => {
            let message = other.to_string();
            let reason = message.lines().last().unwrap_or_default();
            BadStep::Regex { reason: reason.trim_start_matches("error: ").to_owned() }
        }
    })
}

/// The first group that took part in the match, else the whole match; `None` if it would cut a character in half.
fn first_group<'a>(regex: &Regex, text: &'a str) -> Option<&'a str> {
    let groups = regex.captures(text.as_bytes())?;
    let group = groups.iter().skip(1).flatten().next().or_else(|| groups.get(0))?;
    str::from_utf8(group.as_bytes()).ok()
}
