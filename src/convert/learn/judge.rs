//! How simple a conversion is, how much of the numbers it explains, and what to tell about it.

use super::{Answer, Pair};
use crate::convert::Conversion;
use crate::convert::number::Base;
use crate::convert::step::{Op, Step};
use crate::convert::wiegand::{Align, Field};

/// Every step must explain so many characters of the numbers: else some steps or other would fit by chance.
const LEAST_A_STEP: usize = 2;
/// Fewer characters of all numbers together may be chance.
const LEAST_TO_TRUST: usize = 8;

/// Sorts conversions: first without constants, then by steps, then by what the arguments fix, then by length.
pub(super) fn complexity(conversion: &Conversion) -> (usize, usize, usize, usize, String) {
    let text = conversion.to_string();
    let fixed = conversion.steps().map(|step| fixed(&step.op)).sum();
    let constant = conversion.steps().filter_map(|step| match &step.op {
        Op::Prepend(text) | Op::Append(text) => Some(text.len()),
        _ => None,
    });
    (constant.sum(), conversion.steps().count(), fixed, text.len(), text)
}

/// How specific a step's arguments are.
fn fixed(op: &Op) -> usize {
    match op {
        Op::Slice(slice) => 1 + usize::from(slice.from != 0 && slice.to.is_some()),
        Op::Strip(_) | Op::PadLeft { .. } | Op::Em4100(_) => 1,
        Op::Wiegand(wiegand) => 1 + usize::from(wiegand.align == Align::Left),
        Op::Match(_) => 3,
        _ => 0,
    }
}

/// The answer that `conversion` is, if it fits by more than chance.
pub(super) fn answer(conversion: &Conversion, pairs: &[Pair]) -> Option<Answer> {
    let digits = pairs.iter().map(|pair| explained(conversion, pair)).min()?;
    let evidence = digits * pairs.len();
    if digits == 0 || evidence < LEAST_A_STEP * conversion.steps().count() {
        return None;
    }
    let (read, _) = pairs.first()?;
    let mut notes = vec![what(conversion)];
    notes.extend(beware(conversion, read));
    if evidence < LEAST_TO_TRUST {
        notes.push("few characters, so perhaps chance: add a pair".to_owned());
    }
    Some(Answer { conversion: conversion.clone(), digits, note: notes.join("; ") })
}

/// How many characters of the number come from the read: all but what the last steps add.
fn explained(conversion: &Conversion, (read, number): &Pair) -> usize {
    let trace = conversion.trace(read);
    let lengths = trace.iter().map(|(_, result)| result.as_ref().map_or(0, |text| text.chars().count()));
    let lengths: Vec<usize> = std::iter::once(read.chars().count()).chain(lengths).collect();
    let steps: Vec<&Step> = conversion.steps().collect();
    let adds = |op: &Op| matches!(op, Op::PadLeft { .. } | Op::Prepend(_) | Op::Append(_));
    let added = steps.iter().zip(lengths.windows(2)).rev().take_while(|(step, _)| adds(&step.op));
    number.chars().count().saturating_sub(added.map(|(_, lengths)| lengths[1].saturating_sub(lengths[0])).sum())
}

/// What the conversion is, by its most telling step.
fn what(conversion: &Conversion) -> String {
    let mut said = Vec::new();
    for step in conversion.steps() {
        said.push(match &step.op {
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
            Op::Recode { to: Base::Decimal, .. } => "in decimal".to_owned(),
            Op::Recode { to: Base::Hexadecimal, .. } => "in hexadecimal".to_owned(),
            Op::Recode { to: Base::Binary, .. } => "in binary".to_owned(),
            _ => continue,
        });
    }
    if said.is_empty() { "the read itself".to_owned() } else { said.join(", ") }
}

/// What the person who chooses the conversion should know.
fn beware(conversion: &Conversion, read: &str) -> Vec<String> {
    let mut notes = Vec::new();
    let mut before = read.chars().count();
    for ((_, result), step) in conversion.trace(read).iter().zip(conversion.steps()) {
        let after = result.as_ref().map_or(0, |text| text.chars().count());
        match &step.op {
            Op::Slice(_) => {
                notes.push(format!("drops {} of {before} characters: two cards may share a number", before - after))
            }
            Op::Em4100(format) if format.unused_bytes() > 0 => {
                notes.push(format!("drops {} of 5 bytes, as these prints do", format.unused_bytes()));
            }
            Op::Wiegand(wiegand) if wiegand.field != Field::Both => {
                notes.push("cards of two sites may share it".to_owned())
            }
            Op::Prepend(_) | Op::Append(_) => notes.push("adds a constant: check it with another card".to_owned()),
            _ => {}
        }
        before = after;
    }
    notes
}
