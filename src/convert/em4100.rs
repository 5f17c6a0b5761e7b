//! The numbers that are printed on EM4100 tags, from the tag's five bytes.
//!
//! A name tells which hexadecimal digits become how many decimal ones (readers.md, section 5; Proxmark3
//! `printEM410x` for DEZ3.5). All but 10H13D leave out one or two bytes.

use super::error::{BadStep, Fault};
use super::hex;

/// Bytes of a tag.
const BYTES: usize = 5;

/// How a tag is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Format {
    pub(super) name: &'static str,
    /// What is printed before the separator, if anything is.
    head: Option<Part>,
    separator: &'static str,
    tail: Part,
}

/// Neighbouring bytes of the tag as one decimal number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Part {
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

    /// How many bytes of the tag make no difference.
    pub(super) fn unused_bytes(self) -> usize {
        BYTES - self.head.map_or(0, |part| part.to - part.from) - (self.tail.to - self.tail.from)
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
                let encoded = encode(format.name, &format.print(&text).expect("it is a tag"));
                let same = |(told, digit): (char, char)| told == '?' || told == digit;
                prop_assert_eq!(encoded.len(), text.len());
                prop_assert!(encoded.chars().zip(text.chars()).all(same), "{} {}", format.name, encoded);
            }
        }
    }

    /// The tag with this print, worked out from the format's name alone; `?` for what is not printed.
    fn encode(name: &str, printed: &str) -> String {
        let (head, tail) = printed.split_once([',', '.']).unwrap_or(("0", printed));
        let hexadecimal = |digits: &str, width: usize| {
            let value: u64 = digits.parse().expect("it is printed in decimal");
            format!("{value:0width$X}")
        };
        match name {
            "8H10D" => "??".to_owned() + &hexadecimal(tail, 8),
            "6H8D" => "????".to_owned() + &hexadecimal(tail, 6),
            "10H13D" => hexadecimal(tail, 10),
            "4H4H" => "??".to_owned() + &hexadecimal(head, 4) + &hexadecimal(tail, 4),
            "DEZ3.5A" => hexadecimal(head, 2) + "????" + &hexadecimal(tail, 4),
            "DEZ3.5B" => "??".to_owned() + &hexadecimal(head, 2) + "??" + &hexadecimal(tail, 4),
            _ => "????".to_owned() + &hexadecimal(head, 2) + &hexadecimal(tail, 4),
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
    fn only_10h13d_prints_every_byte() {
        assert_eq!(FORMATS.map(Format::unused_bytes), [1, 2, 2, 1, 0, 2, 2, 2]);
    }
}
