//! Makes up reads of the same shape as real ones, to check whether two conversions are the same to such cards.

use super::CardExample;
use crate::convert::hex;

/// The number of real reads whose shape is used.
const MAX_SHAPES: usize = 2;
/// The number of positions of a read that are changed one by one.
const MAX_POSITIONS: usize = 24;
/// The number of made-up reads of one shape that have many digits changed.
const MIXED: usize = 16;
/// The sets of digits that reads are written in; the first set with all digits of a read is used.
const DIGITS: [&str; 4] = ["01", "0123456789", "0123456789ABCDEF", "0123456789abcdef"];

/// Makes up reads like those of `pairs`.
pub(super) fn reads(pairs: &[CardExample]) -> Vec<String> {
    let mut dice = ProbeDice(1);
    let like = |(read, _): &CardExample| match hex::ascii(read) {
        // The read is the hexadecimal form of text, so only the digits of that text may change.
        Ok(inner) if inner.chars().all(|character| character.is_ascii_hexdigit()) => {
            reads_like(&inner, &mut dice).into_iter().map(|read| hex::text(read.into_bytes())).collect()
        }
        _ => reads_like(read, &mut dice),
    };
    pairs.iter().take(MAX_SHAPES).flat_map(like).collect()
}

/// Makes up reads like `read` with one digit changed, with zeros at the start, with many digits changed, and, if the read
/// has delimiters that show the end of a number, with one digit more.
fn reads_like(read: &str, dice: &mut ProbeDice) -> Vec<String> {
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

/// Replaces the digits at the `chosen` positions of `read` by other digits of the same kind.
fn vary(read: &str, chosen: impl Fn(usize) -> bool, dice: &mut ProbeDice) -> String {
    let holds = |digits: &&str| read.chars().all(|digit| !digit.is_ascii_hexdigit() || digits.contains(digit));
    let digits = DIGITS.into_iter().find(holds).unwrap_or(DIGITS[1]).as_bytes();
    with(read, |position, digit| if chosen(position) { char::from(digits[dice.roll() % digits.len()]) } else { digit })
}

/// Replaces the digits of `read` and keeps all other characters.
fn with(read: &str, mut replace: impl FnMut(usize, char) -> char) -> String {
    let characters = read.chars().enumerate();
    characters
        .map(|(place, character)| if character.is_ascii_hexdigit() { replace(place, character) } else { character })
        .collect()
}

/// Random numbers that are the same in every run, so that the same cards always give the same conversions (a linear
/// congruential generator with the constants of Numerical Recipes).
struct ProbeDice(u32);

impl ProbeDice {
    fn roll(&mut self) -> usize {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.0 >> 16) as usize
    }
}
