//! Makes the numbers that are printed on EM4100 tags from the tag's five bytes.
//!
//! The name of a format says how many hexadecimal digits become how many decimal ones (docs/conversion.md, "EM4100
//! formats"; Proxmark3 `printEM410x` for DEZ3.5). All but 10H13D leave out one or two bytes.

use super::error::{BadStep, StepFault};
use super::hex;

/// The number of bytes of a tag.
const BYTES: usize = 5;

/// A way of printing the number of a tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Em4100Format {
    pub(super) name: &'static str,
    /// The number before the separator, in formats that print two.
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

pub(super) const FORMATS: [Em4100Format; 8] = [
    Em4100Format { name: "8H10D", head: None, separator: "", tail: part(1, 5, 10) },
    Em4100Format { name: "6H8D", head: None, separator: "", tail: part(2, 5, 8) },
    Em4100Format { name: "2H4H", head: Some(part(2, 3, 3)), separator: ",", tail: part(3, 5, 5) },
    Em4100Format { name: "4H4H", head: Some(part(1, 3, 5)), separator: ",", tail: part(3, 5, 5) },
    Em4100Format { name: "10H13D", head: None, separator: "", tail: part(0, 5, 13) },
    Em4100Format { name: "DEZ3.5A", head: Some(part(0, 1, 3)), separator: ".", tail: part(3, 5, 5) },
    Em4100Format { name: "DEZ3.5B", head: Some(part(1, 2, 3)), separator: ".", tail: part(3, 5, 5) },
    Em4100Format { name: "DEZ3.5C", head: Some(part(2, 3, 3)), separator: ".", tail: part(3, 5, 5) },
];

const fn part(from: usize, to: usize, digits: usize) -> Part {
    Part { from, to, digits }
}

impl Em4100Format {
    pub(super) fn named(name: &str) -> Result<Self, BadStep> {
        FORMATS
            .into_iter()
            .find(|format| format.name.eq_ignore_ascii_case(name))
            .ok_or_else(|| BadStep::Format { known: super::em4100_format_names().join(", ") })
    }

    /// The print of the tag whose ten hexadecimal digits are `text`.
    pub(super) fn print(self, text: &str) -> Result<String, StepFault> {
        let tag = hex::bytes(text).ok().filter(|bytes| bytes.len() == BYTES).ok_or(StepFault::NotEm4100)?;
        let head = self.head.map(|part| part.print(&tag)).unwrap_or_default();
        Ok(head + self.separator + &self.tail.print(&tag))
    }

    /// The number of bytes that make no difference to the print.
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

    /// The tag with this print, derived from the format's name alone; `?` stands for a digit that is not printed.
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
        let format = Em4100Format::named("8h10d").expect("names have no case");
        for text in ["", "0F0184F07", "0F0184F07A0", "0F0184F07G", "0F0184F07A00", "\u{e9}F0184F07"] {
            assert_eq!(format.print(text), Err(StepFault::NotEm4100));
        }
    }

    #[test]
    fn only_10h13d_prints_every_byte() {
        assert_eq!(FORMATS.map(Em4100Format::unused_bytes), [1, 2, 2, 1, 0, 2, 2, 2]);
    }
}
