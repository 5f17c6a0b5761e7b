//! The search: every sensible order of steps on one read, stage by stage.

use super::Pair;
use super::finish::{Agreement, Value, endings};
use crate::convert::step::Step;
use crate::convert::{Conversion, em4100, parse, wiegand};

/// The most values that are looked at.
const MAX_VALUES: usize = 60_000;
/// The most conversions of either kind that are kept for the other pairs to judge.
const MAX_CANDIDATES: usize = 1024;
/// Longer values are not cut, turned or decoded: no card has so many digits.
const MAX_DIGITS: usize = 40;
/// Delimiters of a read that are tried as the ends of its number.
const MAX_DELIMITERS: usize = 4;
/// The fewest hexadecimal digits that a cut leaves.
const LEAST_DIGITS: usize = 4;
/// Bits of a text that is taken for bits, not for a number.
const LEAST_BITS: usize = 16;
/// Hexadecimal digits of UIDs and tags: 3, 4, 5, 7, 8 and 10 bytes.
const HEXADECIMAL_WIDTHS: [usize; 6] = [6, 8, 10, 14, 16, 20];
/// Bits of Wiegand frames whose inside, without the first and the last bit, is a number.
const FRAMES: [usize; 2] = [26, 34];

/// What the search found on the lead.
pub(super) struct Candidates {
    /// Conversions that give the whole number.
    pub(super) whole: Vec<Conversion>,
    /// Conversions that give its start or its end.
    pub(super) near: Vec<Conversion>,
}

/// Searches on the pair at `lead`.
pub(super) fn candidates(lead: usize, pairs: &[Pair]) -> Candidates {
    let Some((read, number)) = pairs.get(lead) else { return Candidates { whole: Vec::new(), near: Vec::new() } };
    let length = read.chars().count();
    let mut search = Search {
        number,
        case: case(pairs),
        one_length: pairs.iter().all(|(read, _)| read.chars().count() == length),
        path: Vec::new(),
        left: MAX_VALUES,
        found: Candidates { whole: Vec::new(), near: Vec::new() },
    };
    if !read.is_empty() && !number.is_empty() {
        search.explore(STAGES, read);
    }
    search.found
}

/// The step that gives all letters of the numbers their case, if there are any and they have one.
fn case(pairs: &[Pair]) -> Option<&'static str> {
    let any = |wanted: fn(char) -> bool| pairs.iter().any(|(_, number)| number.contains(wanted));
    match (any(|letter| letter.is_ascii_uppercase()), any(|letter| letter.is_ascii_lowercase())) {
        (true, false) => Some("upper"),
        (false, true) => Some("lower"),
        _ => None,
    }
}

struct Search<'a> {
    number: &'a str,
    case: Option<&'static str>,
    one_length: bool,
    /// The option of each stage on the way here.
    path: Vec<String>,
    left: usize,
    found: Candidates,
}

/// Steps that may come at this place of a conversion; the empty option leaves the value as it is.
type Stage = fn(&Search<'_>, &str) -> Vec<String>;

/// What a conversion does, in this order: take the number out of its dress, see which digits it is written in, cut
/// the bytes, turn them, decode them, and give the letters their case.
const STAGES: &[Stage] = &[undress, spell, cut, turn, decode, letters];
/// The places of stages that later ones look back at.
const SPELL: usize = 1;
const CUT: usize = 2;

impl Search<'_> {
    fn explore(&mut self, stages: &[Stage], value: &str) {
        let Some(left) = self.left.checked_sub(1) else { return };
        self.left = left;
        let Some((stage, later)) = stages.split_first() else { return self.finish(value) };
        for option in [String::new()].into_iter().chain(stage(self, value)) {
            let Some(result) = run(&option, value) else { continue };
            self.path.push(option);
            self.explore(later, &result);
            self.path.pop();
        }
    }

    fn finish(&mut self, text: &str) {
        let value = Value { text, shortest: self.is_shortest(), one_length: self.one_length };
        let endings = endings(value, self.number);
        let near = endings.is_empty() && Agreement::of(text, self.number).tell().is_some();
        if near && self.found.near.len() < MAX_CANDIDATES {
            self.found.near.extend(self.conversion(""));
        }
        for ending in endings {
            if self.found.whole.len() < MAX_CANDIDATES {
                self.found.whole.extend(self.conversion(&ending));
            }
        }
    }

    fn conversion(&self, ending: &str) -> Option<Conversion> {
        let steps = self.path.iter().map(String::as_str).chain([ending]).filter(|steps| !steps.is_empty());
        steps.collect::<Vec<_>>().join("|").parse().ok()
    }

    /// Whether the last step but for case gives numbers without leading zeros.
    fn is_shortest(&self) -> bool {
        let last = self.path.iter().rev().skip(1).find(|option| !option.is_empty());
        last.and_then(|option| option.rsplit('|').next()).is_some_and(|step| {
            step.starts_with("wiegand") || matches!(step.get(3..4), Some("2")) && step.len() == "hex2dec".len()
        })
    }

    fn number_is_all(&self, wanted: fn(char) -> bool) -> bool {
        self.number.chars().all(wanted)
    }
}

/// The result of `steps`, if they can work on `value`.
fn run(steps: &str, value: &str) -> Option<String> {
    let steps = parse::steps(steps).ok()?;
    steps.iter().try_fold(value.to_owned(), |text, step: &Step| step.run(&text, value)).ok()
}

fn is_hexadecimal(value: &str) -> bool {
    value.len() <= MAX_DIGITS && value.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn is_decimal(value: &str) -> bool {
    value.len() <= MAX_DIGITS && value.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_bits(value: &str) -> bool {
    (LEAST_BITS..=MAX_DIGITS).contains(&value.len()) && value.bytes().all(|byte| matches!(byte, b'0' | b'1'))
}

/// The number without separators, or from one delimiter on or up to it, or hidden in the hexadecimal form of text.
fn undress(_: &Search<'_>, read: &str) -> Vec<String> {
    let mut options = vec!["ascii-decode".to_owned()];
    if read.trim() != read {
        options.push("trim".to_owned());
    }
    let mut delimiters: Vec<char> = read.chars().filter(|character| character.is_ascii_punctuation()).collect();
    delimiters.extend(read.trim().contains(' ').then_some(' '));
    delimiters.sort_unstable();
    delimiters.dedup();
    if !delimiters.is_empty() {
        let strip = constant("strip", &delimiters.iter().collect::<String>());
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

/// Hexadecimal digits for a decimal number, all digits for one that lost its leading zeros, a frame's bits.
fn spell(_: &Search<'_>, value: &str) -> Vec<String> {
    let mut options = Vec::new();
    let padded = |start: &str, length: usize| {
        let widths = HEXADECIMAL_WIDTHS.into_iter().filter(move |width| *width > length && *width <= length.max(8) + 2);
        widths.map(|width| format!("{start}pad-left({width},0)")).collect::<Vec<_>>()
    };
    if is_decimal(value)
        && let Some(hexadecimal) = run("dec2hex", value)
    {
        options.push("dec2hex".to_owned());
        options.extend(padded("dec2hex|", hexadecimal.len().saturating_sub(1)));
    }
    if is_hexadecimal(value) {
        options.extend(padded("", value.len()).into_iter().take(1));
        let bits = run("hex2bin", value).map_or(0, |bits| bits.len());
        let frames = FRAMES.into_iter().filter(|frame| (frame / 2..=*frame).contains(&bits));
        options.extend(frames.map(|frame| format!("hex2bin|pad-left({frame},0)")));
    }
    options
}

/// Whole bytes anywhere, half bytes at the ends; of bits the inside of a frame.
fn cut(search: &Search<'_>, value: &str) -> Vec<String> {
    let length = value.len();
    if search.path[SPELL] == "dec2hex" {
        return Vec::new();
    }
    if is_bits(value) {
        return slices(1, length - 1, length, search.one_length);
    }
    if !is_hexadecimal(value) || length <= LEAST_DIGITS {
        return Vec::new();
    }
    let spans = (0..length).flat_map(|from| (from + LEAST_DIGITS..=length).map(move |to| (from, to)));
    let whole_bytes = |from: usize, to: usize| from % 2 == 0 && (to - from) % 2 == 0;
    let wanted = spans.filter(|&(from, to)| to - from < length && (whole_bytes(from, to) || from == 0 || to == length));
    wanted.flat_map(|(from, to)| slices(from, to, length, search.one_length)).collect()
}

/// Every order of bytes and bits.
fn turn(search: &Search<'_>, value: &str) -> Vec<String> {
    if !is_hexadecimal(value)
        || value.len() % 2 == 1
        || value.len() < LEAST_DIGITS
        || is_bits(value)
        || search.path[SPELL] == "dec2hex"
    {
        return Vec::new();
    }
    let steps = ["reverse-bytes", "reverse-bits", "complement"];
    let chosen =
        |set: usize| steps.iter().enumerate().filter(move |(place, _)| set >> place & 1 == 1).map(|(_, step)| *step);
    (1..1 << steps.len()).map(|set| chosen(set).collect::<Vec<_>>().join("|")).collect()
}

/// What the digits mean.
fn decode(search: &Search<'_>, value: &str) -> Vec<String> {
    let mut options: Vec<String> = Vec::new();
    let decimal = search.number_is_all(|character| character.is_ascii_digit() || ",.-".contains(character));
    let binary = search.number_is_all(|character| matches!(character, '0' | '1'));
    if search.path[SPELL] == "dec2hex" {
        return options;
    }
    if is_bits(value) {
        options.extend(["bin2dec", "bin2hex"].map(str::to_owned));
    } else if binary && is_decimal(value) {
        options.push("dec2bin".to_owned());
    }
    if binary && is_hexadecimal(value) {
        options.push("hex2bin".to_owned());
    }
    if decimal && is_hexadecimal(value) && !is_bits(value) {
        options.push("hex2dec".to_owned());
        let start = match value.len() {
            10 => "",
            6 | 8 => "pad-left(10,0)|",
            _ => return options.into_iter().chain(wiegand_options(search, value)).collect(),
        };
        options.extend(em4100::FORMATS.iter().map(|format| format!("{start}em4100({})", format.name)));
    }
    if decimal {
        options.extend(wiegand_options(search, value));
    }
    options
}

/// Wiegand cards: the whole value, or all of it but the count of padding bits that PACS puts before it.
fn wiegand_options(search: &Search<'_>, value: &str) -> Vec<String> {
    let cut = &search.path[CUT];
    if !(is_hexadecimal(value) || is_bits(value)) || !(cut.is_empty() || *cut == format!("slice(-{})", value.len())) {
        return Vec::new();
    }
    let fields = if search.number.contains('-') { vec!["fc-cn"] } else { vec!["cn", "fc"] };
    let mut options = Vec::new();
    for format in &wiegand::FORMATS {
        for field in &fields {
            let right = if *field == "cn" {
                format!("wiegand({})", format.name)
            } else {
                format!("wiegand({},{field})", format.name)
            };
            options.extend([right, format!("wiegand({},{field},left)", format.name)]);
        }
    }
    options
}

/// The case of the numbers, unless the value has it.
fn letters(search: &Search<'_>, value: &str) -> Vec<String> {
    let changes = |case: &&str| {
        let lettered = value.contains(|character: char| character.is_ascii_alphabetic());
        !lettered || run(case, value).as_deref() != Some(value)
    };
    search.case.filter(changes).map(str::to_owned).into_iter().collect()
}

/// A step whose argument is `text`, quoted if it might be misread.
pub(super) fn constant(step: &str, text: &str) -> String {
    if text.contains(['"', ')', '|']) {
        format!("{step}(\"{}\")", text.replace('"', "\"\""))
    } else {
        format!("{step}({text})")
    }
}

/// The slice from `from` to `to` of a text of `length` characters: from the nearer end, or from either if reads
/// differ in length.
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
