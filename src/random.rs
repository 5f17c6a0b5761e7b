//! Randomness for ids and jitter, from the system. A decision takes it as an argument.

use ring::rand::{SecureRandom, SystemRandom};

/// 128 random bits.
pub fn bits() -> u128 {
    let mut bytes = [0; 16];
    SystemRandom::new().fill(&mut bytes).expect("the system's generator cannot fail once it has been seeded");
    u128::from_le_bytes(bytes)
}

/// 64 random bits, for jitter.
pub fn word() -> u64 {
    (bits() >> 64) as u64
}
