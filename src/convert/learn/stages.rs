//! The stages of the search, which limit the steps that are tried at each position of a conversion.
//!
//! A conversion takes the number out of its wrapping, finds out in which digits it is written, cuts the bytes, turns them,
//! decodes them, and gives the letters their case. At every stage it may also do nothing.

use std::ops::RangeInclusive;

use super::CardExample;
use crate::convert::number::{Base, recode};
use crate::convert::{em4100, parse, wiegand};

/// Longer values are not cut, turned or decoded, because no card has so many digits.
const MAX_DIGITS: usize = 40;
/// A text of zeros and ones with so many digits is taken for bits and not for a number.
const BITS: RangeInclusive<usize> = 16..=64;
/// The most delimiters of a read that are tried as the ends of its number.
const MAX_DELIMITERS: usize = 4;
/// The fewest hexadecimal digits that a cut leaves.
const LEAST_DIGITS: usize = 4;
/// The numbers of hexadecimal digits of UIDs and tags, which have 3, 4, 5, 7, 8 or 10 bytes.
const WIDTHS: [usize; 6] = [6, 8, 10, 14, 16, 20];
/// The lengths of those Wiegand cards of which some installations take all bits but the first and the last as one number.
const FRAMES: [usize; 2] = [26, 34];

/// Gives the options of a stage for a value; each option is a text of steps.
pub(super) type SearchStage = fn(&Aim<'_>, &str) -> Vec<String>;

/// All stages, in their order.
pub(super) const STAGES: &[SearchStage] = &[undress, spell, cut, turn, decode, letters];
/// The positions of those stages that later stages look back at.
const SPELL: usize = 1;
const CUT: usize = 2;
const TURN: usize = 3;
const DECODE: usize = 4;
const LETTERS: usize = 5;

/// The goal of the search, and the path to the current value.
pub(super) struct Aim<'a> {
    pub(super) number: &'a str,
    /// The case that the letters of all numbers have in common, if there are letters.
    case: Option<Case>,
    /// The lengths of the numbers, each once.
    pub(super) widths: Vec<usize>,
    /// All reads have the same length, so that it does not matter from which end a slice counts.
    pub(super) one_length: bool,
    /// The option that was taken at each stage so far.
    pub(super) path: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Case {
    Upper,
    Lower,
}

impl<'a> Aim<'a> {
    pub(super) fn new(number: &'a str, pairs: &[CardExample]) -> Self {
        let any = |wanted: fn(char) -> bool| pairs.iter().any(|(_, number)| number.contains(wanted));
        let case = match (any(|letter| letter.is_ascii_uppercase()), any(|letter| letter.is_ascii_lowercase())) {
            (true, false) => Some(Case::Upper),
            (false, true) => Some(Case::Lower),
            _ => None,
        };
        let mut widths: Vec<usize> = pairs.iter().map(|(_, number)| number.chars().count()).collect();
        widths.sort_unstable();
        widths.dedup();
        let mut lengths = pairs.iter().map(|(read, _)| read.chars().count());
        let first = lengths.next();
        Self { number, case, widths, one_length: lengths.all(|length| Some(length) == first), path: Vec::new() }
    }

    /// True if the value is a number without leading zeros: the result of a change of base, or one field of a card.
    pub(super) fn is_shortest(&self) -> bool {
        let last = self.path.iter().take(LETTERS).rev().find(|option| !option.is_empty());
        let step = last.and_then(|option| option.rsplit('|').next()).unwrap_or_default();
        parse::recoding(step).is_some() || step.starts_with("wiegand") && !step.contains("fc-cn")
    }

    /// True if the digits are the shortest form of a decimal number, so that the position of a digit means nothing.
    fn is_unpadded(&self) -> bool {
        self.path[SPELL] == "dec2hex"
    }

    /// True if leading zeros were added to the digits.
    fn is_padded(&self) -> bool {
        self.path[SPELL].starts_with("pad-left")
    }

    /// True if the digits became the bits of a Wiegand card.
    fn is_frame(&self) -> bool {
        self.path[SPELL].starts_with("hex2bin")
    }

    /// True if leading zeros were added but no later stage used them, so that the value is the same as without them.
    pub(super) fn is_idle(&self) -> bool {
        self.is_padded() && self.is_untouched() && self.path[DECODE].is_empty()
    }

    fn is_untouched(&self) -> bool {
        self.path[CUT..=TURN].iter().all(String::is_empty)
    }

    fn number_is_all(&self, wanted: &str) -> bool {
        self.number.chars().all(|character| wanted.contains(character))
    }
}

fn is_hexadecimal(value: &str) -> bool {
    value.len() <= MAX_DIGITS && value.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn is_decimal(value: &str) -> bool {
    value.len() <= MAX_DIGITS && value.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_bits(value: &str) -> bool {
    BITS.contains(&value.len()) && value.bytes().all(|byte| matches!(byte, b'0' | b'1'))
}

/// Removes separators, takes the part before or after a delimiter, or decodes the hexadecimal form of text.
fn undress(_: &Aim<'_>, read: &str) -> Vec<String> {
    let mut options = vec!["ascii-decode".to_owned()];
    if read.trim() != read {
        options.push("trim".to_owned());
    }
    let mut delimiters: Vec<char> = read.chars().filter(char::is_ascii_punctuation).collect();
    delimiters.extend(read.trim().contains(' ').then_some(' '));
    delimiters.sort_unstable();
    delimiters.dedup();
    if !delimiters.is_empty() {
        let strip = with_text("strip", &delimiters.iter().collect::<String>());
        options.push(format!("{strip}|ascii-decode"));
        options.push(strip);
    }
    for delimiter in delimiters.into_iter().take(MAX_DELIMITERS) {
        let delimiter = regex::escape(&delimiter.to_string());
        options.push(format!("match(^([^{delimiter}]+){delimiter})"));
        options.push(format!("match({delimiter}([0-9A-Za-z]+))"));
    }
    options
}

/// Writes a decimal number in hexadecimal digits, restores lost leading zeros, or writes the bits of a Wiegand card.
fn spell(_: &Aim<'_>, value: &str) -> Vec<String> {
    let widths = |length: usize| WIDTHS.into_iter().filter(move |width| (length..=length.max(8) + 2).contains(width));
    let mut options = Vec::new();
    if is_decimal(value)
        && let Ok(hexadecimal) = recode(value, Base::Decimal, Base::Hexadecimal)
    {
        options.push("dec2hex".to_owned());
        options.extend(widths(hexadecimal.len()).map(|width| format!("dec2hex|pad-left({width},0)")));
    }
    if is_hexadecimal(value)
        && let Ok(bits) = recode(value, Base::Hexadecimal, Base::Binary)
    {
        options.extend(widths(value.len() + 1).next().map(|width| format!("pad-left({width},0)")));
        let frames = FRAMES.into_iter().filter(|frame| frame / 2 <= bits.len());
        options.extend(frames.map(|frame| match bits.len() {
            length if length <= frame => format!("hex2bin|pad-left({frame},0)"),
            // A header or a sentinel bit is in front.
            _ => format!("hex2bin|slice(-{frame})"),
        }));
    }
    options
}

/// Takes whole bytes from anywhere, half bytes from the ends, and of bits the inside of a Wiegand card.
fn cut(aim: &Aim<'_>, value: &str) -> Vec<String> {
    let length = value.len();
    if is_bits(value) {
        return slices(1, length - 1, length, aim.one_length);
    }
    if !is_hexadecimal(value) || aim.is_unpadded() || aim.is_padded() {
        return Vec::new();
    }
    let spans = (0..length).flat_map(|from| (from + LEAST_DIGITS..=length).map(move |to| (from, to)));
    let wanted = |&(from, to): &(usize, usize)| {
        let whole_bytes = from.is_multiple_of(2) && to.is_multiple_of(2);
        to - from < length && (whole_bytes || from == 0 || to == length)
    };
    spans.filter(wanted).flat_map(|(from, to)| slices(from, to, length, aim.one_length)).collect()
}

/// Turns the bytes or the bits around, or inverts them.
fn turn(aim: &Aim<'_>, value: &str) -> Vec<String> {
    let whole_bytes = value.len().is_multiple_of(2) && value.len() >= LEAST_DIGITS;
    if !is_hexadecimal(value) || is_bits(value) || !whole_bytes || aim.is_unpadded() {
        return Vec::new();
    }
    let (bytes, bits, inverse) = ("reverse-bytes", "reverse-bits", "complement");
    let both = [[bytes, bits], [bytes, inverse], [bits, inverse]].map(|steps| steps.join("|"));
    let all = [bytes, bits, inverse].join("|");
    [bytes, bits, inverse].map(str::to_owned).into_iter().chain(both).chain([all]).collect()
}

/// Decodes the digits: another base, the print of a tag, or the fields of a card.
fn decode(aim: &Aim<'_>, value: &str) -> Vec<String> {
    let mut options = Vec::new();
    if aim.is_unpadded() || aim.is_frame() && aim.is_untouched() {
        return options;
    }
    if is_bits(value) {
        options.extend(["bin2dec", "bin2hex"].map(str::to_owned));
    } else if is_hexadecimal(value) && aim.number_is_all("01") {
        options.extend(is_decimal(value).then(|| "dec2bin".to_owned()));
        options.push("hex2bin".to_owned());
    } else if is_hexadecimal(value) && aim.number_is_all("0123456789,.-") {
        // Otherwise this step would only undo the option of `spell`.
        let changed = aim.path[SPELL].is_empty() || !aim.is_untouched();
        options.extend(changed.then(|| "hex2dec".to_owned()));
        options.extend(tags(value));
    }
    if aim.number_is_all("0123456789-") && !aim.is_padded() && !aim.is_frame() {
        options.extend(cards(aim, value));
    }
    options
}

/// The prints of an EM4100 tag. If its first bytes are missing, only those prints that no other step makes.
fn tags(value: &str) -> Vec<String> {
    match value.len() {
        10 => em4100::FORMATS.map(|format| format!("em4100({})", format.name)).to_vec(),
        6 | 8 => ["2H4H", "4H4H"].map(|name| format!("pad-left(10,0)|em4100({name})")).to_vec(),
        _ => Vec::new(),
    }
}

/// Decodes a Wiegand card from the whole value, or from the value without the count of padding bits that PACS data puts
/// before it.
fn cards(aim: &Aim<'_>, value: &str) -> Vec<String> {
    let whole = aim.path[CUT].is_empty();
    let pacs = aim.path[CUT] == format!("slice(-{})", value.len());
    if !(is_hexadecimal(value) || is_bits(value)) || !(whole || pacs) {
        return Vec::new();
    }
    let fields: &[&str] = if aim.number.contains('-') { &["fc-cn"] } else { &["cn", "fc"] };
    // N10002 has the same layout as H10306.
    let formats = wiegand::FORMATS.iter().map(|format| format.name).filter(|name| *name != "N10002");
    let mut options = Vec::new();
    for (name, field) in formats.flat_map(|name| fields.iter().map(move |field| (name, *field))) {
        let right = if field == "cn" { format!("wiegand({name})") } else { format!("wiegand({name},{field})") };
        options.extend(whole.then_some(right));
        options.push(format!("wiegand({name},{field},left)"));
    }
    options
}

/// Changes the case of the letters to that of the numbers, if it differs.
fn letters(aim: &Aim<'_>, value: &str) -> Vec<String> {
    let upper = value.contains(|letter: char| letter.is_ascii_uppercase());
    let lower = value.contains(|letter: char| letter.is_ascii_lowercase());
    let step = match aim.case {
        Some(Case::Upper) if lower || !upper => Some("upper"),
        Some(Case::Lower) if upper || !lower => Some("lower"),
        _ => None,
    };
    step.map(str::to_owned).into_iter().collect()
}

/// Writes a step with the argument `text`, in quotes if it might be misread.
pub(super) fn with_text(step: &str, text: &str) -> String {
    if text.contains(['"', ')', '|']) {
        format!("{step}(\"{}\")", text.replace('"', "\"\""))
    } else {
        format!("{step}({text})")
    }
}

/// The slices that take the characters from `from` to `to` out of a text of `length` characters. If all reads have the same
/// length, one form is enough; otherwise there is one for every end from which it may count.
pub(super) fn slices(from: usize, to: usize, length: usize, one_length: bool) -> Vec<String> {
    let (from_end, to_end) = (length - from, length - to);
    let mut forms = match (from, to_end) {
        (_, 0) => vec![format!("slice(-{from_end})"), format!("slice({from})")],
        (0, _) => vec![format!("slice(0,{to})"), format!("slice(0,-{to_end})")],
        _ => vec![
            format!("slice({from},{to})"),
            format!("slice(-{from_end},-{to_end})"),
            format!("slice({from},-{to_end})"),
        ],
    };
    forms.truncate(if one_length { 1 } else { forms.len() });
    forms
}
