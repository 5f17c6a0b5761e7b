//! The numbers that are printed on EM4100 tags, from the tag's five bytes.
//!
//! A name tells which hexadecimal digits become how many decimal ones (readers.md, section 5; Proxmark3
//! `printEM410x` for DEZ3.5). All but 10H13D leave out at least the first byte.

use super::error::{BadStep, Fault};
use super::hex;

/// Bytes of a tag.
const BYTES: usize = 5;

/// How a tag is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Format {
    pub(super) name: &'static str,
    /// The parts before the last, each as its bytes (from, to) and its decimal digits.
    pub(super) head: Option<Part>,
    separator: &'static str,
    tail: Part,
}

/// Neighbouring bytes of the tag as one decimal number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    from: usize,
    to: usize,
    digits: usize,
}

pub(super) const FORMATS: [Format; 8] = [
    Format { name: "8H10D", head: None, separator: "", tail: part(1, 5, 10) },
    Format { name: "6H8D", head: None, separator: "", tail: part(2, 5, 8) },
    Format { name: "2H4H", head: Some(part(2, 3, 3)), separator: ",", tail: part(3, 5, 5) },
    Format { name: "4H4H", head: Some(part(1, 3, 5)), separator: ",", tail: part(3, 5, 5) },
    Format { name: "10H13D", head: None, separator: "", tail: part(0, 5, 13) },
    Format { name: "DEZ3.5A", head: Some(part(0, 1, 3)), separator: ".", tail: part(3, 5, 5) },
    Format { name: "DEZ3.5B", head: Some(part(1, 2, 3)), separator: ".", tail: part(3, 5, 5) },
    Format { name: "DEZ3.5C", head: Some(part(2, 3, 3)), separator: ".", tail: part(3, 5, 5) },
];

const fn part(from: usize, to: usize, digits: usize) -> Part {
    Part { from, to, digits }
}

impl Format {
    pub(super) fn named(name: &str) -> Result<Self, BadStep> {
        let known = || FORMATS.map(|format| format.name).join(", ");
        FORMATS
            .into_iter()
            .find(|format| format.name.eq_ignore_ascii_case(name))
            .ok_or_else(|| BadStep::Format { known: known() })
    }

    /// What is printed on the tag whose ten hexadecimal digits are `text`.
    pub(super) fn print(self, text: &str) -> Result<String, Fault> {
        let tag = hex::bytes(text).ok().filter(|bytes| bytes.len() == BYTES).ok_or(Fault::NotEm4100)?;
        let head = self.head.map(|part| part.print(&tag)).unwrap_or_default();
        Ok(head + self.separator + &self.tail.print(&tag))
    }

    /// How many bytes at the tag's start make no difference.
    pub(super) fn unused_bytes(self) -> usize {
        self.head.unwrap_or(self.tail).from
    }
}

impl Part {
    fn print(self, tag: &[u8]) -> String {
        let value = tag[self.from..self.to].iter().fold(0, |value: u64, byte| value << 8 | u64::from(*byte));
        format!("{value:0digits$}", digits = self.digits)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_tag_can_be_told_from_what_is_printed_on_it(tag in any::<[u8; BYTES]>()) {
            let text = hex::text(tag);
            for format in FORMATS {
                let printed = format.print(&text).expect("it is a tag");
                let expected = encode(format.name, &printed);
                let width = expected.len();
                let mut seen = text.clone();
                if format.name == "DEZ3.5A" {
                    seen.replace_range(2..6, "");
                } else if format.name == "DEZ3.5B" {
                    seen.replace_range(4..6, "");
                }
                prop_assert_eq!(&seen[seen.len() - width..], expected, "{}", format.name);
            }
        }
    }

    /// The hexadecimal digits that a print shows, worked out from the format's name alone.
    fn encode(name: &str, printed: &str) -> String {
        let hexadecimal = |digits: &str, width: usize| {
            let value: u64 = digits.parse().expect("it is printed in decimal");
            format!("{value:0width$X}")
        };
        match name {
            "8H10D" => hexadecimal(printed, 8),
            "6H8D" => hexadecimal(printed, 6),
            "10H13D" => hexadecimal(printed, 10),
            "4H4H" => hexadecimal(&printed[..5], 4) + &hexadecimal(&printed[6..], 4),
            _ => hexadecimal(&printed[..3], 2) + &hexadecimal(&printed[4..], 4),
        }
    }

    #[test]
    fn more_or_less_than_a_tag_is_refused() {
        let format = Format::named("8h10d").expect("names have no case");
        for text in ["", "0F0184F07", "0F0184F07A0", "0F0184F07G", "0F0184F07A00", "\u{e9}F0184F07"] {
            assert_eq!(format.print(text), Err(Fault::NotEm4100));
        }
    }

    #[test]
    fn only_10h13d_and_dez35a_begin_at_the_first_byte() {
        let unused = FORMATS.map(Format::unused_bytes);
        assert_eq!(unused, [1, 2, 2, 1, 0, 0, 1, 2]);
    }
}
