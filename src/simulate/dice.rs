//! The random numbers of the world: the same on every machine.

/// A generator that one number and one name make (SplitMix64). Each part of the world has one of its own, so that one part
/// that draws more does not change the luck of the others.
#[derive(Clone, Debug)]
pub(super) struct WorldDice(u64);

impl WorldDice {
    pub(super) fn new(seed: u64, name: &str) -> Self {
        // FNV-1a: the name only has to be told apart from others.
        let hash = name
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        let mut dice = Self(seed ^ hash.rotate_left(17));
        dice.word();
        dice
    }

    pub(super) fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let word = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// A number below `sides`.
    pub(super) fn roll(&mut self, sides: u64) -> u64 {
        ((u128::from(self.word()) * u128::from(sides)) >> 64) as u64
    }

    pub(super) fn between(&mut self, least: u64, most: u64) -> u64 {
        least + self.roll(most - least + 1)
    }

    /// True so many times in a hundred.
    pub(super) fn percent(&mut self, chance: u64) -> bool {
        self.roll(100) < chance
    }

    pub(super) fn index(&mut self, of: usize) -> usize {
        self.roll(of as u64) as usize
    }
}
