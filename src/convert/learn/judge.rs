//! Judges a conversion: its simplicity, the part of the numbers that it explains, and the note about it for people.

use super::{CardExample, LearnedConversion};
use crate::convert::Conversion;
use crate::convert::number::Base;
use crate::convert::step::{ConversionStep, Op};
use crate::convert::wiegand::{self, Align, Field};

/// Every step must explain so many characters of the numbers; otherwise some steps would fit by chance.
const LEAST_A_STEP: usize = 2;
/// Fewer explained characters of all numbers together may be chance.
const LEAST_TO_TRUST: usize = 8;

/// The order of conversions; the simplest is the least.
///
/// It compares the length of constants, then the number of steps, the number of things that their arguments fix, the
/// characters of the read that they drop, and at last their text.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Complexity {
    constant: usize,
    steps: usize,
    fixed: usize,
    dropped: usize,
    text: (usize, String),
}

impl Complexity {
    pub(super) fn of(conversion: &Conversion, read: &str) -> Self {
        let text = conversion.to_string();
        Self {
            constant: constant(conversion),
            steps: conversion.steps().count(),
            fixed: conversion.steps().map(|step| fixed(&step.op)).sum(),
            dropped: lengths(conversion, read)
                .filter(|(step, ..)| matches!(step.op, Op::Slice(_)))
                .map(|(_, before, after)| before - after)
                .sum(),
            text: (text.len(), text),
        }
    }
}

/// The number of characters that a conversion adds to every number alike.
pub(super) fn constant(conversion: &Conversion) -> usize {
    let added = conversion.steps().map(|step| match &step.op {
        Op::Prepend(text) | Op::Append(text) => text.chars().count(),
        _ => 0,
    });
    added.sum()
}

/// The number of things that the arguments of a step fix.
fn fixed(op: &Op) -> usize {
    match op {
        Op::Slice(slice) => {
            let half_bytes = slice.from % 2 != 0 || slice.to.is_some_and(|to| to % 2 != 0);
            1 + usize::from(slice.from != 0 && slice.to.is_some()) + usize::from(half_bytes)
        }
        Op::Strip(_) | Op::PadLeft { .. } | Op::Em4100(_) => 1,
        // The list begins with the most common formats.
        Op::Wiegand(wiegand) => {
            let rank =
                wiegand::FORMATS.iter().position(|format| format.name == wiegand.format.name).unwrap_or_default();
            1 + rank + usize::from(wiegand.align == Align::Left)
        }
        Op::Match(_) => 3,
        _ => 0,
    }
}

/// Each step with the number of characters before and after it, up to the first step that fails.
fn lengths<'a>(
    conversion: &'a Conversion,
    read: &str,
) -> impl DoubleEndedIterator<Item = (&'a ConversionStep, usize, usize)> {
    let results = conversion.trace(read).into_iter().map_while(|(_, result)| result.ok());
    let lengths: Vec<usize> = [read.to_owned()].into_iter().chain(results).map(|text| text.chars().count()).collect();
    let spans: Vec<_> =
        conversion.steps().zip(lengths.windows(2)).map(|(step, span)| (step, span[0], span[1])).collect();
    spans.into_iter()
}

/// Describes `conversion`, if it fits by more than chance.
pub(super) fn answer(conversion: &Conversion, pairs: &[CardExample]) -> Option<LearnedConversion> {
    let explained = pairs.iter().map(|pair| explained(conversion, pair));
    let digits = explained.clone().min()?;
    let evidence: usize = explained.sum();
    if digits == 0 || evidence < LEAST_A_STEP * conversion.steps().count() {
        return None;
    }
    let (read, _) = pairs.first()?;
    let mut notes = vec![summary(conversion)];
    notes.extend(warnings(conversion, read));
    if evidence < LEAST_TO_TRUST {
        notes.push("few characters, so perhaps chance: add a pair".to_owned());
    }
    Some(LearnedConversion { conversion: conversion.clone(), digits, note: notes.join("; ") })
}

/// The number of characters of the number that come from the read: all but those that the last steps add.
fn explained(conversion: &Conversion, (read, number): &CardExample) -> usize {
    let adds = |op: &Op| matches!(op, Op::PadLeft { .. } | Op::Prepend(_) | Op::Append(_));
    let last = lengths(conversion, read).rev().take_while(|(step, ..)| adds(&step.op));
    let added: usize = last.map(|(_, before, after)| after - before).sum();
    number.chars().count().saturating_sub(added)
}

/// A sentence that explains the conversion by its most telling steps.
fn summary(conversion: &Conversion) -> String {
    let mut said: Vec<String> = Vec::new();
    let mut base = None;
    for step in conversion.steps() {
        let words = match &step.op {
            Op::Recode { to, .. } => {
                base = Some(*to);
                continue;
            }
            Op::Em4100(format) if format.name == "8H10D" => "the usual 8H10D print of an EM4100 tag".to_owned(),
            Op::Em4100(format) => format!("the {} print of an EM4100 tag", format.name),
            Op::Wiegand(wiegand) => {
                let field = match wiegand.field {
                    Field::Card => "card number",
                    Field::Facility => "facility code",
                    Field::Both => "facility code and card number",
                };
                format!("the {field} of a Wiegand {} card", wiegand.format.name)
            }
            Op::AsciiDecode => "ASCII text that the reader sends in hexadecimal".to_owned(),
            Op::ReverseBytes => "bytes in the other order".to_owned(),
            Op::ReverseBits => "bits in the other order within each byte".to_owned(),
            Op::Complement => "all bits inverted".to_owned(),
            _ => continue,
        };
        if matches!(step.op, Op::Em4100(_) | Op::Wiegand(_)) {
            base = None;
        }
        said.push(words);
    }
    if said.is_empty() {
        let part = conversion.steps().any(|step| matches!(step.op, Op::Slice(_) | Op::Match(_)));
        said.push(if part { "a part of the read" } else { "the read" }.to_owned());
    }
    said.extend(base.map(|base| format!("in {base}")));
    said.join(", ")
}

/// The warnings for the person who chooses the conversion.
fn warnings(conversion: &Conversion, read: &str) -> Vec<String> {
    let mut bits = false;
    let warning = |(step, before, after): (&ConversionStep, usize, usize)| match &step.op {
        Op::Recode { to, .. } => {
            bits = *to == Base::Binary;
            None
        }
        Op::Slice(_) if bits => Some(format!("leaves out {} of {before} bits", before - after)),
        Op::Slice(_) => Some(format!("drops {} of {before} characters: two cards may share a number", before - after)),
        Op::Em4100(format) if format.unused_bytes() > 0 => {
            Some(format!("drops {} of 5 bytes, as these prints do", format.unused_bytes()))
        }
        Op::Wiegand(wiegand) => match (wiegand.field, wiegand.format.has_facility()) {
            (Field::Card, true) => Some("without the facility code two cards may share a number".to_owned()),
            (Field::Facility, _) => Some("all cards of a site share it".to_owned()),
            _ => None,
        },
        Op::Prepend(_) | Op::Append(_) => Some("adds a constant: check it with another card".to_owned()),
        _ => None,
    };
    lengths(conversion, read).filter_map(warning).collect()
}
