//! The end of a search: checks whether a value contains the number, and finds the last steps that take it out.

use super::stages::{slices, with_text};

/// The numbers of digits of the largest numbers of 3, 4, 5, 7 and 8 bytes, in decimal and in hexadecimal. Numbers of such a
/// width may be padded, although the number of the lead is not.
const WIDTHS: [usize; 9] = [6, 8, 10, 13, 14, 16, 17, 19, 20];
/// A constant may be at most one of so many characters of a number: a longer one would fit any card.
const LEAST_TO_CONSTANT: usize = 3;
/// Fewer agreeing characters than these are probably chance.
const LEAST_AGREEING: usize = 5;

/// A value that the search has reached.
#[derive(Clone, Copy)]
pub(super) struct Value<'a> {
    pub(super) text: &'a str,
    /// The value is a number without leading zeros, so that another card's may be shorter.
    pub(super) shortest: bool,
    /// The lengths of the numbers of all pairs, each once: a number shorter than the lead's may be a padded one.
    pub(super) widths: &'a [usize],
    /// All reads have the same length, so that it does not matter from which end a slice counts.
    pub(super) one_length: bool,
}

/// The steps of which each alone makes `number` out of `value`; the empty one if `value` is the number.
pub(super) fn endings(value: Value<'_>, number: &str) -> Vec<String> {
    let pad = |width: usize| format!("pad-left({width},0)");
    if value.text == number {
        let padded = value.widths.iter().filter(|width| value.shortest && WIDTHS.contains(width));
        return [String::new()].into_iter().chain(padded.map(|width| pad(*width))).collect();
    }
    let width = number.chars().count();
    let mut endings = Vec::new();
    if let Some(start) = number.strip_suffix(value.text) {
        if start.chars().all(|character| character == '0') {
            endings.push(pad(width));
        } else if start.chars().count() * LEAST_TO_CONSTANT <= width {
            endings.push(with_text("prepend", start));
        }
    }
    if let Some(end) = number.strip_prefix(value.text)
        && end.chars().count() * LEAST_TO_CONSTANT <= width
    {
        endings.push(with_text("append", end));
    }
    endings.extend(parts(value, number));
    let separators: String = value.text.chars().filter(|character| matches!(character, ',' | '.' | '-')).collect();
    if !separators.is_empty() && value.text.replace([',', '.', '-'], "") == number {
        endings.push(with_text("strip", &separators));
    }
    endings
}

/// The slices that take `number` out of a longer value.
fn parts(value: Value<'_>, number: &str) -> Vec<String> {
    let length = value.text.chars().count();
    let width = number.chars().count();
    if value.shortest {
        // The position of the first digits of such a number differs from card to card, so only its end is usable.
        let fits = value.text.ends_with(number);
        let padded = WIDTHS.into_iter().find(|width| *width >= length).map(|width| format!("pad-left({width},0)|"));
        let starts = [Some(String::new()), padded].into_iter().flatten();
        return starts.filter(|_| fits).map(|start| format!("{start}slice(-{width})")).collect();
    }
    let places = value.text.match_indices(number).map(|(place, _)| value.text[..place].chars().count());
    places.flat_map(|from| slices(from, from + width, length, value.one_length)).collect()
}

/// The number of first and of last characters that a value has in common with a number.
#[derive(Clone, Copy)]
pub(super) struct Agreement {
    first: usize,
    last: usize,
    width: usize,
}

impl Agreement {
    pub(super) fn of(value: &str, number: &str) -> Self {
        let same = |pair: &(char, char)| pair.0 == pair.1;
        Self {
            first: value.chars().zip(number.chars()).take_while(same).count(),
            last: value.chars().rev().zip(number.chars().rev()).take_while(same).count(),
            width: number.chars().count(),
        }
    }

    /// The agreement that two cards have in common.
    pub(super) fn least(self, other: Self) -> Self {
        Self { first: self.first.min(other.first), last: self.last.min(other.last), width: self.width.max(other.width) }
    }

    /// The number of agreeing characters, and a sentence about them; `None` if they may be chance.
    pub(super) fn describe(self) -> Option<(usize, String)> {
        let (digits, end) = if self.last >= self.first { (self.last, "last") } else { (self.first, "first") };
        let telling = digits >= LEAST_AGREEING && digits * 2 >= self.width && digits < self.width;
        telling.then(|| (digits, format!("the {end} {digits} of {} characters agree", self.width)))
    }
}
