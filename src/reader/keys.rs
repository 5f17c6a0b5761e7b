//! Decodes the kernel's key events into the bytes that a reader types. Pure.
//!
//! Key codes are positions on a US keyboard, so the console's layout does not matter (linux/input-event-codes.h).
//! Autorepeat and releases type nothing. When the kernel reports lost events, the decoder gives [`LOST`], which no profile
//! accepts in a read, so that half a card number never passes for a whole one.

/// The byte that stands for lost events (the control character CAN).
pub const LOST: u8 = 0x18;

const EV_SYN: u16 = 0;
const EV_KEY: u16 = 1;
const SYN_DROPPED: u16 = 3;
const RELEASED: i32 = 0;
const PRESSED: i32 = 1;
const LEFT_SHIFT: u16 = 42;
const RIGHT_SHIFT: u16 = 54;

/// Each key's code, the character that it types, and the character with shift.
const KEYS: [(u16, u8, u8); 62] = [
    (2, b'1', b'!'),
    (3, b'2', b'@'),
    (4, b'3', b'#'),
    (5, b'4', b'$'),
    (6, b'5', b'%'),
    (7, b'6', b'^'),
    (8, b'7', b'&'),
    (9, b'8', b'*'),
    (10, b'9', b'('),
    (11, b'0', b')'),
    (12, b'-', b'_'),
    (13, b'=', b'+'),
    (15, b'\t', b'\t'),
    (16, b'q', b'Q'),
    (17, b'w', b'W'),
    (18, b'e', b'E'),
    (19, b'r', b'R'),
    (20, b't', b'T'),
    (21, b'y', b'Y'),
    (22, b'u', b'U'),
    (23, b'i', b'I'),
    (24, b'o', b'O'),
    (25, b'p', b'P'),
    (26, b'[', b'{'),
    (27, b']', b'}'),
    (28, b'\n', b'\n'),
    (30, b'a', b'A'),
    (31, b's', b'S'),
    (32, b'd', b'D'),
    (33, b'f', b'F'),
    (34, b'g', b'G'),
    (35, b'h', b'H'),
    (36, b'j', b'J'),
    (37, b'k', b'K'),
    (38, b'l', b'L'),
    (39, b';', b':'),
    (40, b'\'', b'"'),
    (41, b'`', b'~'),
    (43, b'\\', b'|'),
    (44, b'z', b'Z'),
    (45, b'x', b'X'),
    (46, b'c', b'C'),
    (47, b'v', b'V'),
    (48, b'b', b'B'),
    (49, b'n', b'N'),
    (50, b'm', b'M'),
    (51, b',', b'<'),
    (52, b'.', b'>'),
    (53, b'/', b'?'),
    (57, b' ', b' '),
    (71, b'7', b'7'),
    (72, b'8', b'8'),
    (73, b'9', b'9'),
    (75, b'4', b'4'),
    (76, b'5', b'5'),
    (77, b'6', b'6'),
    (79, b'1', b'1'),
    (80, b'2', b'2'),
    (81, b'3', b'3'),
    (82, b'0', b'0'),
    (83, b'.', b'.'),
    (96, b'\n', b'\n'),
];

/// The decoder's state: the shift keys that are held while others are pressed.
#[derive(Debug, Default)]
pub struct KeyDecoder {
    left: bool,
    right: bool,
}

impl KeyDecoder {
    /// The byte that an event types, if it types one. An event is `type`, `code` and `value` of the kernel's
    /// `struct input_event`.
    pub fn event(&mut self, kind: u16, code: u16, value: i32) -> Option<u8> {
        match (kind, code, value) {
            (EV_SYN, SYN_DROPPED, _) => {
                *self = Self::default();
                Some(LOST)
            }
            (EV_KEY, LEFT_SHIFT, _) => {
                self.left = value != RELEASED;
                None
            }
            (EV_KEY, RIGHT_SHIFT, _) => {
                self.right = value != RELEASED;
                None
            }
            (EV_KEY, _, PRESSED) => {
                let (_, plain, shifted) = KEYS.iter().find(|(known, ..)| *known == code)?;
                Some(if self.left || self.right { *shifted } else { *plain })
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::{Read, Secret};
    use crate::reader::frame::{Fault, Frame, Framer};
    use crate::reader::profile;

    /// The events of one key stroke: scan code, press, report, scan code, release, report.
    fn key(code: u16) -> Vec<(u16, u16, i32)> {
        vec![(4, 4, 0x7001e), (EV_KEY, code, 1), (0, 0, 0), (4, 4, 0x7001e), (EV_KEY, code, 0), (0, 0, 0)]
    }

    fn typed(events: &[(u16, u16, i32)]) -> Vec<u8> {
        let mut keys = KeyDecoder::default();
        events.iter().filter_map(|(kind, code, value)| keys.event(*kind, *code, *value)).collect()
    }

    /// `0002008108` and Enter.
    fn sycreader() -> Vec<(u16, u16, i32)> {
        [11, 11, 11, 3, 11, 11, 9, 2, 11, 9, 28].into_iter().flat_map(key).collect()
    }

    fn frames(bytes: &[u8]) -> Vec<Frame> {
        Framer::new(profile::load("keyboard").unwrap().frame).push(bytes)
    }

    #[test]
    fn a_typed_card_is_a_read() {
        assert_eq!(typed(&sycreader()), b"0002008108\n");
        assert_eq!(frames(&typed(&sycreader())), [Frame::Read(Read(Secret::new("0002008108")))]);
    }

    #[test]
    fn the_keypad_and_its_enter_type_the_same() {
        let events: Vec<_> = [82, 82, 82, 80, 82, 82, 72, 79, 82, 72, 96].into_iter().flat_map(key).collect();
        assert_eq!(typed(&events), b"0002008108\n");
    }

    #[test]
    fn shift_makes_capitals_until_it_is_released() {
        let mut events = vec![(EV_KEY, LEFT_SHIFT, 1)];
        events.extend(key(30));
        events.push((EV_KEY, LEFT_SHIFT, 2));
        events.extend(key(48));
        events.push((EV_KEY, LEFT_SHIFT, 0));
        events.extend(key(46));
        assert_eq!(typed(&events), b"ABc");
    }

    #[test]
    fn a_key_that_is_held_types_once() {
        assert_eq!(typed(&[(EV_KEY, 2, 1), (EV_KEY, 2, 2), (EV_KEY, 2, 2), (EV_KEY, 2, 0)]), b"1");
    }

    #[test]
    fn a_card_with_lost_keys_is_dropped_to_its_end() {
        let mut events = sycreader();
        events.splice(20..32, [(EV_SYN, SYN_DROPPED, 0)]);
        events.extend(sycreader());
        assert_eq!(frames(&typed(&events)), [Frame::Fault(Fault::Noise), Frame::Read(Read(Secret::new("0002008108")))]);
    }

    proptest! {
        #[test]
        fn any_events_type_at_most_one_byte_each(events: Vec<(u16, u16, i32)>) {
            prop_assert!(typed(&events).len() <= events.len());
        }
    }
}
