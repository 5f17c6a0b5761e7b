//! Whole numbers of up to 256 bits, because a 10-byte UID does not fit into the integers of the machine.

use std::fmt;

use super::error::StepFault;

/// The most bits of a number.
pub(super) const MAX_BITS: usize = 256;
const LIMBS: usize = MAX_BITS / 32;
const DIGITS: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F'];

/// The base in which a number is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base {
    /// Base 2.
    Binary,
    /// Base 10.
    Decimal,
    /// Base 16. Both cases are read, and upper case is written.
    Hexadecimal,
}

impl Base {
    fn radix(self) -> u32 {
        match self {
            Self::Binary => 2,
            Self::Decimal => 10,
            Self::Hexadecimal => 16,
        }
    }
}

impl fmt::Display for Base {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Binary => "binary",
            Self::Decimal => "decimal",
            Self::Hexadecimal => "hexadecimal",
        })
    }
}

/// Writes `text`, a number in base `from`, in the shortest form of base `to`.
pub(super) fn recode(text: &str, from: Base, to: Base) -> Result<String, StepFault> {
    Ok(write(read(text, from)?, to))
}

/// The limbs of a number, least significant first.
fn read(text: &str, base: Base) -> Result<[u32; LIMBS], StepFault> {
    let mut limbs = [0; LIMBS];
    for character in text.chars() {
        let mut carry = u64::from(character.to_digit(base.radix()).ok_or(StepFault::NotDigits(base))?);
        for limb in &mut limbs {
            carry += u64::from(*limb) * u64::from(base.radix());
            *limb = carry as u32;
            carry >>= 32;
        }
        if carry != 0 {
            return Err(StepFault::TooBig);
        }
    }
    Ok(limbs)
}

fn write(mut limbs: [u32; LIMBS], base: Base) -> String {
    let radix = u64::from(base.radix());
    let mut digits = Vec::new();
    loop {
        let mut remainder = 0;
        for limb in limbs.iter_mut().rev() {
            let value = remainder << 32 | u64::from(*limb);
            *limb = (value / radix) as u32;
            remainder = value % radix;
        }
        digits.push(DIGITS[remainder as usize]);
        if limbs == [0; LIMBS] {
            return digits.into_iter().rev().collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BASES: [Base; 3] = [Base::Binary, Base::Decimal, Base::Hexadecimal];

    #[test]
    fn the_largest_number_is_two_to_the_256_less_one() {
        let largest = "115792089237316195423570985008687907853269984665640564039457584007913129639935";
        assert_eq!(recode(largest, Base::Decimal, Base::Hexadecimal), Ok("F".repeat(64)));
        let next = "115792089237316195423570985008687907853269984665640564039457584007913129639936";
        assert_eq!(recode(next, Base::Decimal, Base::Hexadecimal), Err(StepFault::TooBig));
        assert_eq!(recode(&"1".repeat(257), Base::Binary, Base::Decimal), Err(StepFault::TooBig));
    }

    #[test]
    fn leading_zeros_do_not_count_as_bits() {
        assert_eq!(recode(&"0".repeat(1000), Base::Hexadecimal, Base::Decimal).as_deref(), Ok("0"));
    }

    #[test]
    fn a_digit_of_another_base_or_script_is_refused() {
        for (text, base) in [("102", Base::Binary), ("12A", Base::Decimal), ("12G4", Base::Hexadecimal)] {
            assert_eq!(recode(text, base, Base::Decimal), Err(StepFault::NotDigits(base)));
        }
        assert_eq!(recode("١٢", Base::Decimal, Base::Decimal), Err(StepFault::NotDigits(Base::Decimal)));
    }

    proptest! {
        #[test]
        fn every_base_agrees_with_the_machine(value: u128) {
            let forms = [format!("{value:b}"), format!("{value}"), format!("{value:X}")];
            for (from, text) in BASES.into_iter().zip(&forms) {
                for (to, expected) in BASES.into_iter().zip(&forms) {
                    prop_assert_eq!(&recode(text, from, to).expect("128 bits fit"), expected);
                }
            }
        }

        #[test]
        fn long_numbers_survive_the_way_there_and_back(text in "[1-9A-F][0-9A-F]{32,63}") {
            for to in BASES {
                let there = recode(&text, Base::Hexadecimal, to).expect("256 bits fit");
                prop_assert_eq!(&recode(&there, to, Base::Hexadecimal).expect("it came from 256 bits"), &text);
            }
        }
    }
}
