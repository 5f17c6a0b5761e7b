//! Takes the fields out of Wiegand cards. Bit 0 is the first one sent.
//!
//! docs/conversion.md, "Wiegand formats", has the layouts and their sources. Parity is always checked, because nothing
//! else tells a wrong format from the right one.

use std::ops::Range;

use super::error::{BadStep, StepFault};
use super::hex;

/// The usage of the step.
pub(super) const USAGE: &str = "wiegand(FORMAT,FIELD,ALIGN), where FIELD is cn, fc or fc-cn, and ALIGN right or left; the last two may be left out";

/// HID readers put a 1 into this bit, counted from the last, of frames shorter than it (Proxmark3 `2006F623AE`).
const HID_HEADER: usize = 37;

/// A layout of a card's bits.
#[derive(Debug)]
pub(super) struct WiegandFormat {
    pub(super) name: &'static str,
    bits: usize,
    facility: Range<usize>,
    card: Range<usize>,
    parities: &'static [Parity],
}

/// One parity bit, with the bits whose number of ones it makes odd or even, itself included.
#[derive(Debug)]
struct Parity {
    at: usize,
    odd: bool,
    over: Range<usize>,
    /// Corporate 1000 leaves out every third bit: those whose position is this number modulo 3.
    skip: Option<usize>,
}

const fn even(at: usize, over: Range<usize>) -> Parity {
    Parity { at, odd: false, over, skip: None }
}

const fn odd(at: usize, over: Range<usize>) -> Parity {
    Parity { at, odd: true, over, skip: None }
}

/// All formats, the most common ones first.
pub(super) static FORMATS: [WiegandFormat; 10] = [
    WiegandFormat {
        name: "H10301",
        bits: 26,
        facility: 1..9,
        card: 9..25,
        parities: &[even(0, 1..13), odd(25, 13..25)],
    },
    WiegandFormat {
        name: "H10306",
        bits: 34,
        facility: 1..17,
        card: 17..33,
        parities: &[even(0, 1..17), odd(33, 17..33)],
    },
    WiegandFormat {
        name: "H10304",
        bits: 37,
        facility: 1..17,
        card: 17..36,
        parities: &[even(0, 1..19), odd(36, 18..36)],
    },
    WiegandFormat {
        name: "H10302",
        bits: 37,
        facility: 0..0,
        card: 1..36,
        parities: &[even(0, 1..19), odd(36, 18..36)],
    },
    WiegandFormat {
        name: "C1k35s",
        bits: 35,
        facility: 2..14,
        card: 14..34,
        parities: &[
            Parity { at: 1, odd: false, over: 2..34, skip: Some(1) },
            Parity { at: 34, odd: true, over: 1..34, skip: Some(0) },
            odd(0, 1..35),
        ],
    },
    WiegandFormat {
        name: "C1k48s",
        bits: 48,
        facility: 2..24,
        card: 24..47,
        parities: &[
            Parity { at: 1, odd: false, over: 3..47, skip: Some(2) },
            Parity { at: 47, odd: true, over: 2..47, skip: Some(1) },
            odd(0, 1..48),
        ],
    },
    WiegandFormat {
        name: "D10202",
        bits: 33,
        facility: 1..8,
        card: 8..32,
        parities: &[even(0, 1..17), odd(32, 16..32)],
    },
    WiegandFormat {
        name: "N10002",
        bits: 34,
        facility: 1..17,
        card: 17..33,
        parities: &[even(0, 1..17), odd(33, 17..33)],
    },
    WiegandFormat {
        name: "BQT34",
        bits: 34,
        facility: 1..9,
        card: 9..33,
        parities: &[even(0, 1..17), odd(33, 17..33)],
    },
    WiegandFormat {
        name: "ind26",
        bits: 26,
        facility: 1..13,
        card: 13..25,
        parities: &[even(0, 1..13), odd(25, 13..25)],
    },
];

impl WiegandFormat {
    pub(super) fn has_facility(&self) -> bool {
        !self.facility.is_empty()
    }
}

/// The field of the card that becomes the number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Card,
    Facility,
    /// The facility code and the card number, joined by `-`.
    Both,
}

/// The position of the card's bits in the read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Align {
    /// The card's bits are the last ones; only zeros, a sentinel bit or HID's header may stand before them.
    Right,
    /// The card's bits are the first ones; only zeros may follow.
    Left,
}

/// The operation of the step: a format, a field of it, and the position of the bits.
#[derive(Clone, Debug)]
pub(super) struct Wiegand {
    pub(super) format: &'static WiegandFormat,
    pub(super) field: Field,
    pub(super) align: Align,
}

impl Wiegand {
    /// Checks the arguments of the step.
    pub(super) fn new(format: &str, field: Option<&str>, align: Option<&str>) -> Result<Self, BadStep> {
        let format = FORMATS
            .iter()
            .find(|known| known.name.eq_ignore_ascii_case(format))
            .ok_or_else(|| BadStep::Format { known: super::wiegand_format_names().join(", ") })?;
        let field = match field {
            None | Some("cn") => Field::Card,
            Some("fc") => Field::Facility,
            Some("fc-cn") => Field::Both,
            Some(_) => return Err(BadStep::Arguments { usage: USAGE }),
        };
        let align = match align {
            None | Some("right") => Align::Right,
            Some("left") => Align::Left,
            Some(_) => return Err(BadStep::Arguments { usage: USAGE }),
        };
        if field != Field::Card && !format.has_facility() {
            return Err(BadStep::NoFacility);
        }
        Ok(Self { format, field, align })
    }

    /// The field of the card in `text`, which is read as bits if they are enough for the format, else as hexadecimal digits.
    pub(super) fn decode(&self, text: &str) -> Result<String, StepFault> {
        let frame = self.frame(&bits(text, self.format.bits)?)?;
        if !self.format.parities.iter().all(|parity| parity.holds(&frame)) {
            return Err(StepFault::Parity { format: self.format.name });
        }
        let card = value(&frame[self.format.card.clone()]);
        let facility = value(&frame[self.format.facility.clone()]);
        Ok(match self.field {
            Field::Card => card.to_string(),
            Field::Facility => facility.to_string(),
            Field::Both => format!("{facility}-{card}"),
        })
    }

    /// The bits of the format. All other bits have to be padding, a sentinel or a header.
    fn frame(&self, bits: &[bool]) -> Result<Vec<bool>, StepFault> {
        let (format, needs) = (self.format.name, self.format.bits);
        let (frame, others_are_void) = match self.align {
            Align::Left => {
                let (frame, padding) =
                    bits.split_at_checked(needs).ok_or(StepFault::FewBits { format, needs, has: bits.len() })?;
                (frame.to_vec(), value_is_zero(padding))
            }
            Align::Right => {
                // Shortest-form digits have lost their leading zeros.
                let missing = needs.saturating_sub(bits.len());
                let (head, frame) = bits.split_at(bits.len().saturating_sub(needs));
                (vec![false; missing].into_iter().chain(frame.iter().copied()).collect(), is_header(head, needs))
            }
        };
        if others_are_void { Ok(frame) } else { Err(StepFault::OtherBits { format, needs }) }
    }
}

impl Parity {
    fn holds(&self, frame: &[bool]) -> bool {
        let covered = self.over.clone().filter(|bit| self.skip.is_none_or(|skip| bit % 3 != skip));
        let ones = covered.chain([self.at]).filter(|&bit| frame[bit]).count();
        (ones % 2 == 1) == self.odd
    }
}

/// The bits of a text of at least `least` binary digits, or else of hexadecimal digits.
fn bits(text: &str, least: usize) -> Result<Vec<bool>, StepFault> {
    if text.len() >= least && text.bytes().all(|byte| matches!(byte, b'0' | b'1')) {
        return Ok(text.bytes().map(|byte| byte == b'1').collect());
    }
    let nibbles = hex::nibbles(text)?;
    Ok(nibbles.into_iter().flat_map(|nibble| (0..4).rev().map(move |bit| nibble >> bit & 1 == 1)).collect())
}

fn value(bits: &[bool]) -> u64 {
    bits.iter().fold(0, |value, bit| value << 1 | u64::from(*bit))
}

fn value_is_zero(bits: &[bool]) -> bool {
    !bits.contains(&true)
}

/// True if the bits before a right-aligned card of `length` bits are only zeros, a sentinel bit, or HID's header and a
/// sentinel bit.
fn is_header(head: &[bool], length: usize) -> bool {
    let from_the_last = |(place, bit): (usize, &bool)| bit.then_some(length + place);
    match head.iter().rev().enumerate().filter_map(from_the_last).collect::<Vec<_>>()[..] {
        [] => true,
        [sentinel] => sentinel == length,
        [sentinel, header] => sentinel == length && header == HID_HEADER,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Makes cards: the name of the format, its length, the widths of its two fields, and its parity bits in the order in
    /// which they are made. A parity bit has its position, counted from the last bit, whether it makes odd, and the mask of
    /// the bits that it covers. The masks of the Corporate 1000 cards are those of Proxmark3's encoder; the others
    /// follow the sources in docs/conversion.md.
    type Encoder = (&'static str, u32, u32, u32, &'static [(u32, bool, u64)]);

    const ENCODERS: [Encoder; 10] = [
        ("H10301", 26, 8, 16, &[(25, false, 0x1FF_E000), (0, true, 0x1FFE)]),
        ("ind26", 26, 12, 12, &[(25, false, 0x1FF_E000), (0, true, 0x1FFE)]),
        ("D10202", 33, 7, 24, &[(32, false, 0xFFFF_0000), (0, true, 0x1_FFFE)]),
        ("H10306", 34, 16, 16, &[(33, false, 0x1_FFFE_0000), (0, true, 0x1_FFFE)]),
        ("N10002", 34, 16, 16, &[(33, false, 0x1_FFFE_0000), (0, true, 0x1_FFFE)]),
        ("BQT34", 34, 8, 24, &[(33, false, 0x1_FFFE_0000), (0, true, 0x1_FFFE)]),
        ("C1k35s", 35, 12, 20, &[(33, false, 0x1_B6DB_6DB6), (0, true, 0x3_6DB6_DB6C), (34, true, 0x3_FFFF_FFFF)]),
        ("H10302", 37, 0, 35, &[(36, false, 0xF_FFFC_0000), (0, true, 0x7_FFFE)]),
        ("H10304", 37, 16, 19, &[(36, false, 0xF_FFFC_0000), (0, true, 0x7_FFFE)]),
        (
            "C1k48s",
            48,
            22,
            23,
            &[(46, false, 0x1B6D_B6DB_6DB6), (0, true, 0x36DB_6DB6_DB6C), (47, true, 0x7FFF_FFFF_FFFF)],
        ),
    ];

    fn encode((_, _, _, card_bits, parities): Encoder, facility: u64, card: u64) -> u64 {
        let fields = facility << (card_bits + 1) | card << 1;
        parities.iter().fold(fields, |frame, (at, odd, mask)| {
            let ones = (frame & mask).count_ones() % 2 == 1;
            frame | u64::from(ones != *odd) << at
        })
    }

    fn decode(name: &str, field: &str, align: &str, text: &str) -> Result<String, StepFault> {
        Wiegand::new(name, Some(field), Some(align)).expect("the test names what there is").decode(text)
    }

    fn card() -> impl Strategy<Value = (Encoder, u64, u64)> {
        let fields = |encoder: Encoder| (Just(encoder), 0..1u64 << encoder.2, 0..1u64 << encoder.3);
        prop::sample::select(&ENCODERS[..]).prop_flat_map(fields)
    }

    proptest! {
        #[test]
        fn every_card_is_decoded_wherever_its_bits_are((encoder, facility, card) in card()) {
            let (name, length, facility_bits, ..) = encoder;
            let frame = encode(encoder, facility, card);
            let digits = length.div_ceil(8) as usize * 2;
            let padding = digits as u32 * 4 - length;
            let (width, both) = (length as usize, if facility_bits == 0 { "cn" } else { "fc-cn" });
            let expected = if facility_bits == 0 { card.to_string() } else { format!("{facility}-{card}") };
            let mut right = vec![
                format!("{frame:0width$b}"),
                format!("{frame:x}"),
                format!("{frame:0digits$X}"),
                format!("{:X}", 1 << length | frame),
            ];
            if length < 37 {
                right.push(format!("{:010X}", 1 << 37 | 1 << length | frame));
            }
            for text in right {
                prop_assert_eq!(decode(name, both, "right", &text), Ok(expected.clone()), "{} right", name);
            }
            for text in [format!("{frame:0width$b}"), format!("{frame:0width$b}000"), format!("{:0digits$X}", frame << padding)] {
                prop_assert_eq!(decode(name, both, "left", &text), Ok(expected.clone()), "{} left", name);
            }
            prop_assert_eq!(decode(name, "cn", "right", &format!("{frame:X}")), Ok(card.to_string()));
        }

        #[test]
        fn one_wrong_bit_is_always_found((encoder, facility, card) in card(), bit: prop::sample::Index) {
            let (name, length, ..) = encoder;
            let frame = encode(encoder, facility, card) ^ 1 << bit.index(length as usize);
            let width = length as usize;
            prop_assert_eq!(decode(name, "cn", "right", &format!("{frame:0width$b}")), Err(StepFault::Parity { format: name }));
        }
    }

    #[test]
    fn every_format_has_its_encoder() {
        let sorted = |mut names: [&'static str; 10]| {
            names.sort_unstable();
            names
        };
        assert_eq!(sorted(FORMATS.each_ref().map(|format| format.name)), sorted(ENCODERS.map(|encoder| encoder.0)));
    }

    #[test]
    fn bits_beside_the_frame_are_refused() {
        let fault = Err(StepFault::OtherBits { format: "H10301", needs: 26 });
        for text in ["8000000", "200C000000", "6004000000", "F".repeat(64).as_str()] {
            assert_eq!(decode("H10301", "cn", "right", text), fault, "{text}");
        }
        assert_eq!(decode("H10301", "cn", "left", "8080334001"), fault);
    }

    #[test]
    fn a_left_aligned_card_needs_all_its_bits() {
        let fault = StepFault::FewBits { format: "H10301", needs: 26, has: 24 };
        assert_eq!(decode("H10301", "cn", "left", "808033"), Err(fault));
    }

    #[test]
    fn a_format_without_a_facility_code_cannot_give_one() {
        for field in ["fc", "fc-cn"] {
            assert_eq!(Wiegand::new("H10302", Some(field), None).err(), Some(BadStep::NoFacility));
        }
    }
}
