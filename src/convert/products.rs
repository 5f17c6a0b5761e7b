//! Parses whole conversions as other products write them, after `papercut:`, `safeq:` or `myq:`.
//!
//! Only the commands that the products' documents show are known (docs/conversion.md, "Other products' strings");
//! anything else is an error. A read that a command cannot take whole is an error too, although the product might
//! cut it or keep it as it is.

use super::MAX_CHARS;
use super::error::{BadStep, ParseError};
use super::parse::{self, StepArguments, Vocabulary, pad_left, recoding, step_of};
use super::step::{ConversionStep, Op, Slice};

/// The products, each with its commands.
pub(super) const PRODUCTS: [(&str, &Vocabulary); 3] = [("papercut", &PAPERCUT), ("safeq", &SAFEQ), ("myq", &MYQ)];

const PAPERCUT: Vocabulary = Vocabulary(&["ascii-enc", "hex2dec", "dec2hex"]);
const SAFEQ: Vocabulary = Vocabulary(&[
    "ASCII2Hex",
    "Bin2Dec",
    "CardNo",
    "Const(TEXT)",
    "Dec2Bin",
    "Dec2Hex",
    "Hex2Dec",
    "LeftAppend(TEXT)",
    "LeftPadding(CHAR,WIDTH), as in LeftPadding(0,10)",
    "RightAppend(TEXT)",
    "Substring(FROM) or Substring(FROM,TO), as in Substring(-8) or Substring(2,6)",
]);
const MYQ: Vocabulary = Vocabulary(&[
    "ltrim(COUNT)",
    "rtrim(COUNT)",
    "left(COUNT)",
    "right(COUNT)",
    "mid(LEFT,RIGHT), which removes so many on either side",
    "prepend(TEXT)",
    "append(TEXT)",
    "lpad(WIDTH,CHAR), as in lpad(12,0)",
    "hex2dec()",
    "dec2hex()",
    "hex2bin()",
    "bin2hex()",
    "dec2bin()",
    "bin2dec()",
    "reverse()",
]);

/// Parses the chains of a product's string; `None` if `text` is no such string.
pub(super) fn chains(text: &str) -> Option<Result<Vec<Vec<ConversionStep>>, ParseError>> {
    let (product, rest) = text.split_once(':')?;
    match product {
        "papercut" => Some(chain(0, rest, &['|'], papercut).map(|chain| vec![chain])),
        // The documents do not show which character separates MyQ's commands, so both usual ones are taken.
        "myq" => Some(chain(0, rest, &[';', '|'], myq).map(|chain| vec![chain])),
        "safeq" => Some(safeq_chains(rest)),
        _ => None,
    }
}

/// Parses the sides of SAFEQ's `+`, each of which runs on the read.
fn safeq_chains(text: &str) -> Result<Vec<Vec<ConversionStep>>, ParseError> {
    let mut chains: Vec<Vec<ConversionStep>> = Vec::new();
    for side in split_outside(text, &['+']) {
        let before = chains.iter().map(Vec::len).sum();
        chains.push(chain(before, side, &[';'], safeq)?);
    }
    Ok(chains)
}

/// Parses the steps of one chain; `before` is the number of steps in the chains before it.
fn chain(
    before: usize,
    text: &str,
    separators: &[char],
    op: fn(&str, StepArguments<'_>) -> Result<Op, BadStep>,
) -> Result<Vec<ConversionStep>, ParseError> {
    let parts = split_outside(text, separators);
    parts.into_iter().enumerate().map(|(place, part)| step_of(before + place + 1, part, op)).collect()
}

/// Splits `text` at the separators outside of parentheses.
fn split_outside<'a>(text: &'a str, separators: &[char]) -> Vec<&'a str> {
    let mut depth = 0_usize;
    let outside = |character: char| {
        match character {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth == 0 && separators.contains(&character)
    };
    text.split(outside).collect()
}

fn papercut(name: &str, arguments: StepArguments<'_>) -> Result<Op, BadStep> {
    if name.starts_with("javascript:") {
        return Err(BadStep::Script);
    }
    let wrong = BadStep::Arguments { usage: PAPERCUT.usage(name)? };
    match name {
        _ if !arguments.is_empty() => Err(wrong),
        "ascii-enc" => Ok(Op::AsciiDecode),
        _ => recoding(name).ok_or(wrong),
    }
}

fn safeq(name: &str, arguments: StepArguments<'_>) -> Result<Op, BadStep> {
    let usage = SAFEQ.usage(name)?;
    let wrong = BadStep::Arguments { usage };
    match name {
        "Const" => arguments.whole(usage).map(Op::Constant),
        "LeftAppend" => arguments.whole(usage).map(Op::Prepend),
        "RightAppend" => arguments.whole(usage).map(Op::Append),
        "LeftPadding" => match &arguments.list()?[..] {
            [fill, width] => pad_left(width, fill).ok_or(wrong),
            _ => Err(wrong),
        },
        "Substring" => parse::slice(arguments, usage).map(Op::Slice),
        _ if !arguments.is_empty() => Err(wrong),
        "ASCII2Hex" => Op::safeq_ascii(),
        "CardNo" => Ok(Op::Read),
        _ => recoding(&name.to_ascii_lowercase()).ok_or(wrong),
    }
}

fn myq(name: &str, arguments: StepArguments<'_>) -> Result<Op, BadStep> {
    let usage = MYQ.usage(name)?;
    let wrong = BadStep::Arguments { usage };
    match name {
        "prepend" => arguments.whole(usage).map(Op::Prepend),
        "append" => arguments.whole(usage).map(Op::Append),
        "lpad" => match &arguments.list()?[..] {
            [width, fill] => pad_left(width, fill).ok_or(wrong),
            _ => Err(wrong),
        },
        "ltrim" | "rtrim" | "left" | "right" | "mid" => cut(name, &arguments.list()?).map(Op::Slice).ok_or(wrong),
        _ if !arguments.is_empty() => Err(wrong),
        "reverse" => Ok(Op::ReverseBytes),
        _ => recoding(name).ok_or(wrong),
    }
}

/// The slice of a MyQ command that takes a part of the text.
fn cut(name: &str, arguments: &[String]) -> Option<Slice> {
    let count = |text: &String| text.parse().ok().filter(|count| (0..=MAX_CHARS.cast_signed()).contains(count));
    let without_last = |count: isize| (count > 0).then_some(-count);
    let slice = match arguments {
        [one] => {
            let count = count(one)?;
            match name {
                "ltrim" => Slice { from: count, to: None },
                "rtrim" => Slice { from: 0, to: without_last(count) },
                "left" => Slice { from: 0, to: Some(count) },
                "right" => Slice { from: without_last(count)?, to: None },
                _ => return None,
            }
        }
        [left, right] if name == "mid" => Slice { from: count(left)?, to: without_last(count(right)?) },
        _ => return None,
    };
    slice.can_give().then_some(slice)
}
