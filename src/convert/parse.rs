//! Parses steps joined by `|`.
//!
//! The arguments of a step are all characters between its first `(` and the `)` before the next `|` or the end. A regular
//! expression may contain `)|` itself, and so may a quoted argument; the step then ends at the first such place that
//! makes it a valid step. `strip`, `prepend`, `append` and `match` take all these characters as one argument, to the
//! letter; the other steps split them at commas and trim the parts. `"..."` quotes an argument, with `""` for a quote
//! inside.

use super::error::{BadStep, ParseError};
use super::number::Base;
use super::step::{ConversionStep, Op, Slice};
use super::wiegand::{self, Wiegand};
use super::{MAX_CHARS, MAX_STEPS, em4100};

/// All steps; docs/conversion.md, "Steps", explains each.
pub(super) const STEPS: Vocabulary = Vocabulary(&[
    "upper",
    "lower",
    "trim",
    "strip(CHARS)",
    "slice(FROM) or slice(FROM,TO), as in slice(-8) or slice(0,2)",
    "prepend(TEXT)",
    "append(TEXT)",
    "pad-left(WIDTH,CHAR), as in pad-left(10,0)",
    "hex2dec",
    "dec2hex",
    "hex2bin",
    "bin2hex",
    "dec2bin",
    "bin2dec",
    "ascii-decode",
    "reverse-bytes",
    "reverse-bits",
    "complement",
    "match(REGEX)",
    "em4100(FORMAT), as in em4100(8H10D)",
    wiegand::USAGE,
]);

/// Parses the steps of `text`; there are none if it is empty.
pub(super) fn steps(text: &str) -> Result<Vec<ConversionStep>, ParseError> {
    let mut steps = Vec::new();
    let mut rest = if text.trim().is_empty() { None } else { Some(text) };
    while let Some(text) = rest {
        if steps.len() == MAX_STEPS {
            return Err(ParseError::TooManySteps);
        }
        let (step, after) = first_step(steps.len() + 1, text)?;
        steps.push(step);
        rest = after;
    }
    Ok(steps)
}

/// The step at the start of `text`, and the text after the `|` that ends the step.
fn first_step(number: usize, text: &str) -> Result<(ConversionStep, Option<&str>), ParseError> {
    let mut failure = None;
    for end in ends(text) {
        let (step, after) = text.split_at(end);
        match step_of(number, step, op) {
            Ok(step) => return Ok((step, after.strip_prefix('|'))),
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    Err(failure.unwrap_or_else(|| bad(number, text, BadStep::Unclosed)))
}

/// The positions at which the first step of `text` may end.
fn ends(text: &str) -> impl Iterator<Item = usize> {
    let arguments = text.find(['(', '|']).filter(|&place| text[place..].starts_with('('));
    let bounds = text.match_indices('|').map(|(place, _)| place).chain([text.len()]);
    let closed = move |&end: &usize| arguments.is_none_or(|open| text[open..end].trim_end().ends_with(')'));
    bounds.filter(closed).take(if arguments.is_none() { 1 } else { usize::MAX })
}

/// Parses one step; `op` finds the operation from its name and its arguments.
pub(super) fn step_of(
    number: usize,
    text: &str,
    op: impl Fn(&str, StepArguments<'_>) -> Result<Op, BadStep>,
) -> Result<ConversionStep, ParseError> {
    let text = text.trim();
    let (name, arguments) = match text.split_once('(') {
        None => (text, None),
        Some((name, rest)) => {
            let arguments = rest.strip_suffix(')').ok_or_else(|| bad(number, text, BadStep::Unclosed))?;
            (name.trim_end(), Some(arguments))
        }
    };
    let op = if text.is_empty() { Err(BadStep::Empty) } else { op(name, StepArguments(arguments)) };
    op.map(|op| ConversionStep { number, text: text.to_owned(), op }).map_err(|problem| bad(number, text, problem))
}

pub(super) fn bad(number: usize, text: &str, problem: BadStep) -> ParseError {
    ParseError::Step { number, text: text.trim().to_owned(), problem }
}

fn op(name: &str, arguments: StepArguments<'_>) -> Result<Op, BadStep> {
    let usage = STEPS.usage(name)?;
    let wrong = BadStep::Arguments { usage };
    match name {
        "strip" => arguments.whole(usage).map(Op::Strip),
        "prepend" => arguments.whole(usage).map(Op::Prepend),
        "append" => arguments.whole(usage).map(Op::Append),
        "match" => Op::matching(&arguments.whole(usage)?),
        "slice" => slice(arguments, usage).map(Op::Slice),
        "pad-left" => match &arguments.list()?[..] {
            [width, fill] => pad_left(width, fill).ok_or(wrong),
            _ => Err(wrong),
        },
        "em4100" => match &arguments.list()?[..] {
            [format] => em4100::Em4100Format::named(format).map(Op::Em4100),
            _ => Err(wrong),
        },
        "wiegand" => match &arguments.list()?[..] {
            [format] => Wiegand::new(format, None, None).map(Op::Wiegand),
            [format, field] => Wiegand::new(format, Some(field), None).map(Op::Wiegand),
            [format, field, align] => Wiegand::new(format, Some(field), Some(align)).map(Op::Wiegand),
            _ => Err(wrong),
        },
        _ if !arguments.is_empty() => Err(wrong),
        _ => plain(name).ok_or(wrong),
    }
}

/// The operation of a step without arguments.
fn plain(name: &str) -> Option<Op> {
    Some(match name {
        "upper" => Op::Upper,
        "lower" => Op::Lower,
        "trim" => Op::Trim,
        "ascii-decode" => Op::AsciiDecode,
        "reverse-bytes" => Op::ReverseBytes,
        "reverse-bits" => Op::ReverseBits,
        "complement" => Op::Complement,
        _ => return recoding(name),
    })
}

/// The operation of a step that changes the base of a number, such as `hex2dec`.
pub(super) fn recoding(name: &str) -> Option<Op> {
    let (from, to) = name.split_once('2')?;
    let base = |name: &str| match name {
        "bin" => Some(Base::Binary),
        "dec" => Some(Base::Decimal),
        "hex" => Some(Base::Hexadecimal),
        _ => None,
    };
    Some(Op::Recode { from: base(from)?, to: base(to)? })
}

/// Parses FROM and TO. A slice that is empty for every text is refused.
pub(super) fn slice(arguments: StepArguments<'_>, usage: &'static str) -> Result<Slice, BadStep> {
    let wrong = BadStep::Arguments { usage };
    let place = |text: &String| text.parse().ok().filter(|place: &isize| place.unsigned_abs() <= MAX_CHARS);
    let slice = match &arguments.list()?[..] {
        [from] => place(from).map(|from| Slice { from, to: None }),
        [from, to] => place(from).zip(place(to)).map(|(from, to)| Slice { from, to: Some(to) }),
        _ => None,
    };
    slice.filter(|slice| slice.can_give()).ok_or(wrong)
}

pub(super) fn pad_left(width: &str, fill: &str) -> Option<Op> {
    let width = width.parse().ok().filter(|width| (1..=MAX_CHARS).contains(width))?;
    let mut characters = fill.chars();
    let fill = characters.next()?;
    characters.next().is_none().then_some(Op::PadLeft { width, fill })
}

/// The steps of a language. Each is given by its usage, which begins with its name.
pub(super) struct Vocabulary(pub(super) &'static [&'static str]);

impl Vocabulary {
    /// The names of all steps.
    pub(super) fn names(&self) -> Vec<&'static str> {
        self.0.iter().map(|usage| first_word(usage)).collect()
    }

    /// The usage of the step `name`.
    pub(super) fn usage(&self, name: &str) -> Result<&'static str, BadStep> {
        let near = self.0.iter().find(|usage| first_word(usage).eq_ignore_ascii_case(name));
        match near {
            Some(usage) if first_word(usage) == name => Ok(usage),
            Some(usage) => Err(BadStep::Case { name: first_word(usage) }),
            None => Err(BadStep::Unknown { known: self.names().join(", ") }),
        }
    }
}

fn first_word(usage: &'static str) -> &'static str {
    usage.split(['(', ' ']).next().unwrap_or_default()
}

/// The text between the parentheses of a step, if it has any.
#[derive(Clone, Copy)]
pub(super) struct StepArguments<'a>(Option<&'a str>);

impl StepArguments<'_> {
    pub(super) fn is_empty(self) -> bool {
        self.0.is_none_or(|text| text.trim().is_empty())
    }

    /// The whole text as one argument, which may not be empty.
    pub(super) fn whole(self, usage: &'static str) -> Result<String, BadStep> {
        let text = self.0.unwrap_or_default();
        let argument = if text.trim().starts_with('"') { unquote(text.trim())? } else { text.to_owned() };
        if argument.is_empty() { Err(BadStep::Arguments { usage }) } else { Ok(argument) }
    }

    /// The arguments between the commas, trimmed.
    pub(super) fn list(self) -> Result<Vec<String>, BadStep> {
        let mut quoted = false;
        let outside = |character: char| {
            quoted ^= character == '"';
            character == ',' && !quoted
        };
        self.0.unwrap_or_default().split(outside).map(|argument| unquote(argument.trim())).collect()
    }
}

/// Removes the quotes around an argument, if it has any.
fn unquote(argument: &str) -> Result<String, BadStep> {
    let Some(rest) = argument.strip_prefix('"') else { return Ok(argument.to_owned()) };
    let inside = rest.strip_suffix('"').ok_or(BadStep::Quotes)?;
    if inside.replace("\"\"", "").contains('"') {
        return Err(BadStep::Quotes);
    }
    Ok(inside.replace("\"\"", "\""))
}
