//! Made-up reads of the same shape as real ones, to see whether two conversions are the same to them.

use super::Pair;

/// Reads whose shape is used.
const MAX_SHAPES: usize = 2;
/// Positions of a read that are changed one by one.
const MAX_POSITIONS: usize = 24;
/// Made-up reads of one shape with all or some digits changed.
const MIXED: usize = 16;

/// Reads like those of `pairs`: with one digit changed, with zeros at the start, and with many digits changed.
pub(super) fn reads(pairs: &[Pair]) -> Vec<String> {
    let mut dice = Dice(1);
    let mut reads = Vec::new();
    for (read, _) in pairs.iter().take(MAX_SHAPES) {
        let shape = Shape::of(read);
        let length = read.chars().count();
        for place in 0..length.min(MAX_POSITIONS) {
            reads.push(shape.vary(read, |position| position == place, &mut dice));
            reads.push(
                read.chars()
                    .enumerate()
                    .map(
                        |(position, character)| {
                            if position <= place && character.is_ascii_hexdigit() { '0' } else { character }
                        },
                    )
                    .collect(),
            );
        }
        for turn in 0..MIXED {
            let mut choice = Dice(turn as u32 + 2);
            reads.push(shape.vary(read, |_| choice.roll() % 4 < 1 + turn as u32 % 4, &mut dice));
        }
    }
    reads
}

/// The digits that a read is written in.
struct Shape(&'static str);

impl Shape {
    fn of(read: &str) -> Self {
        let all =
            |digits: &str| read.chars().all(|character| !character.is_ascii_hexdigit() || digits.contains(character));
        Self(
            ["01", "0123456789", "0123456789ABCDEF", "0123456789abcdef"]
                .into_iter()
                .find(|digits| all(digits))
                .unwrap_or("0123456789"),
        )
    }

    /// `read` with other digits at the places that are `chosen`.
    fn vary(&self, read: &str, mut chosen: impl FnMut(usize) -> bool, dice: &mut Dice) -> String {
        let digits = self.0.as_bytes();
        let other = |(position, character): (usize, char)| {
            if character.is_ascii_hexdigit() && chosen(position) {
                char::from(digits[dice.roll() as usize % digits.len()])
            } else {
                character
            }
        };
        read.chars().enumerate().map(other).collect()
    }
}

/// The same numbers in every run (a linear congruential generator with the constants of Numerical Recipes).
struct Dice(u32);

impl Dice {
    fn roll(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        self.0 >> 16
    }
}
