//! Made-up reads of the same shape as real ones, to see whether two conversions are the same to such cards.

use super::Pair;
use crate::convert::hex;

/// Reads whose shape is used.
const MAX_SHAPES: usize = 2;
/// Positions of a read that are changed one by one.
const MAX_POSITIONS: usize = 24;
/// Made-up reads of one shape with many digits changed.
const MIXED: usize = 16;
/// The digits that reads are written in; the first set that holds all of a read's.
const DIGITS: [&str; 4] = ["01", "0123456789", "0123456789ABCDEF", "0123456789abcdef"];

/// Reads like those of `pairs`.
pub(super) fn reads(pairs: &[Pair]) -> Vec<String> {
    let mut dice = Dice(1);
    let like = |(read, _): &Pair| match hex::ascii(read) {
        // Digits in the hexadecimal form of text: only the digits can change.
        Ok(inner) if inner.chars().all(|character| character.is_ascii_hexdigit()) => {
            reads_like(&inner, &mut dice).into_iter().map(|read| hex::text(read.into_bytes())).collect()
        }
        _ => reads_like(read, &mut dice),
    };
    pairs.iter().take(MAX_SHAPES).flat_map(like).collect()
}

/// Reads like `read` with one digit changed, with zeros at the start, with many digits changed, and, where delimiters
/// tell where a number ends, with one digit more.
fn reads_like(read: &str, dice: &mut Dice) -> Vec<String> {
    let mut reads = Vec::new();
    for place in 0..read.chars().count().min(MAX_POSITIONS) {
        reads.push(vary(read, |position| position == place, dice));
        reads.push(with(read, |position, digit| if position <= place { '0' } else { digit }));
    }
    for turn in 0..MIXED {
        let chosen: Vec<bool> = read.chars().map(|_| dice.roll() % MIXED <= turn).collect();
        reads.push(vary(read, |position| chosen[position], dice));
    }
    if read.contains(|character: char| character.is_ascii_punctuation()) {
        let digit = |character: char| character.is_ascii_hexdigit();
        let places = [read.find(digit), read.rfind(digit)].into_iter().flatten();
        reads.extend(places.map(|place| format!("{}1{}", &read[..place], &read[place..])));
    }
    reads
}

/// `read` with other digits of its kind at the places that are `chosen`.
fn vary(read: &str, chosen: impl Fn(usize) -> bool, dice: &mut Dice) -> String {
    let holds = |digits: &&str| read.chars().all(|digit| !digit.is_ascii_hexdigit() || digits.contains(digit));
    let digits = DIGITS.into_iter().find(holds).unwrap_or(DIGITS[1]).as_bytes();
    with(read, |position, digit| if chosen(position) { char::from(digits[dice.roll() % digits.len()]) } else { digit })
}

/// `read` with its digits replaced; all else stays.
fn with(read: &str, mut replace: impl FnMut(usize, char) -> char) -> String {
    let characters = read.chars().enumerate();
    characters
        .map(|(place, character)| if character.is_ascii_hexdigit() { replace(place, character) } else { character })
        .collect()
}

/// The same numbers in every run (a linear congruential generator with the constants of Numerical Recipes).
struct Dice(u32);

impl Dice {
    fn roll(&mut self) -> usize {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.0 >> 16) as usize
    }
}
