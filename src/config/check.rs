//! Checks that turn a TOML value into a checked type, or into a message of what is expected instead.
//!
//! The message of a refusal is a fragment that fits after `[table] key:`. No message quotes the value.

use std::{net::SocketAddr, ops::RangeInclusive, path::PathBuf, time::Duration};

use toml::de::DeValue;

/// A value, or a message of what is expected instead.
pub(super) type Checked<T> = Result<T, String>;

/// Longest name of an agent or a station: it is a level of an MQTT topic and a label of a metric.
pub(super) const MAX_NAME: usize = 32;

/// The baud rates that readers offer.
const BAUDS: [u32; 12] = [300, 600, 1_200, 2_400, 4_800, 9_600, 14_400, 19_200, 38_400, 57_600, 115_200, 230_400];

/// Units of a duration and their milliseconds, largest first.
const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Text in quotes that `check` accepts. Control characters never belong into a setting.
pub(super) fn text<T>(check: impl FnOnce(&str) -> Checked<T>) -> impl FnOnce(&DeValue<'_>) -> Checked<T> {
    move |value| match value.as_str() {
        None => Err(format!("must be text in quotes, this is of type {}", value.type_str())),
        Some(text) if text.contains(char::is_control) => {
            Err("must not contain line breaks or other control characters".to_owned())
        }
        Some(text) => check(text),
    }
}

/// Applies `check`, but reads the empty text as "off".
pub(super) fn off_or<T>(
    check: impl FnOnce(&DeValue<'_>) -> Checked<T>,
) -> impl FnOnce(&DeValue<'_>) -> Checked<Option<T>> {
    |value| match value.as_str() {
        Some("") => Ok(None),
        _ => check(value).map(Some),
    }
}

/// `true` or `false`.
pub(super) fn boolean(value: &DeValue<'_>) -> Checked<bool> {
    value.as_bool().ok_or_else(|| format!("must be true or false without quotes, this is of type {}", value.type_str()))
}

/// A whole number within `range`.
pub(super) fn integer<T>(range: RangeInclusive<T>) -> impl FnOnce(&DeValue<'_>) -> Checked<T>
where
    T: TryFrom<i64> + PartialOrd + std::fmt::Display,
{
    move |value| {
        whole_number(value)
            .filter(|number| range.contains(number))
            .ok_or_else(|| format!("must be a whole number from {} to {}", range.start(), range.end()))
    }
}

/// A usual baud rate.
pub(super) fn baud(value: &DeValue<'_>) -> Checked<u32> {
    whole_number(value).filter(|rate| BAUDS.contains(rate)).ok_or_else(|| {
        let rates: Vec<_> = BAUDS.iter().map(u32::to_string).collect();
        format!("must be one of {}", rates.join(", "))
    })
}

fn whole_number<T: TryFrom<i64>>(value: &DeValue<'_>) -> Option<T> {
    let integer = value.as_integer()?;
    let number = i64::from_str_radix(integer.as_str(), integer.radix()).ok()?;
    T::try_from(number).ok()
}

/// A duration within `range`, written like `10s`, `500ms` or `1m30s`.
pub(super) fn duration(range: RangeInclusive<Duration>) -> impl FnOnce(&DeValue<'_>) -> Checked<Duration> {
    move |value| {
        let duration = value.as_str().and_then(parse_duration);
        duration.filter(|duration| range.contains(duration)).ok_or_else(|| {
            let [from, to] = [range.start(), range.end()].map(|limit| show_duration(*limit));
            format!("must be a duration in quotes (units ms, s, m, h, d) from \"{from}\" to \"{to}\"")
        })
    }
}

fn parse_duration(text: &str) -> Option<Duration> {
    let mut millis = 0_u64;
    let mut rest = Some(text);
    while let Some(part) = rest {
        let (number, part) = part.split_at(part.find(|c: char| !c.is_ascii_digit())?);
        let end = part.find(|c: char| c.is_ascii_digit());
        let (unit, tail) = part.split_at(end.unwrap_or(part.len()));
        let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit)?;
        millis = millis.checked_add(number.parse::<u64>().ok()?.checked_mul(*factor)?)?;
        rest = end.map(|_| tail);
    }
    Some(Duration::from_millis(millis))
}

/// The shortest text that `parse_duration` reads as `duration`, to the millisecond.
fn show_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    if millis == 0 {
        return "0s".to_owned();
    }
    let whole = |(name, factor): &(&str, u64)| {
        let factor = u128::from(*factor);
        millis.is_multiple_of(factor).then(|| format!("{}{name}", millis / factor))
    };
    UNITS.iter().find_map(whole).unwrap_or_default()
}

/// One of `words`; a word like `true` may stand without quotes.
pub(super) fn one_of<T: Copy>(words: &[(&str, T)]) -> impl FnOnce(&DeValue<'_>) -> Checked<T> {
    move |value| {
        let found = words.iter().find(|(word, _)| *word == spelling(value));
        found.map(|(_, meaning)| *meaning).ok_or_else(|| {
            let words: Vec<_> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
            format!("must be one of {}", words.join(", "))
        })
    }
}

/// The spelling of a word of the configuration, with or without quotes; empty for any other value.
pub(super) fn spelling<'v>(value: &'v DeValue<'_>) -> &'v str {
    match value {
        DeValue::String(text) => text,
        DeValue::Boolean(true) => "true",
        DeValue::Boolean(false) => "false",
        _ => "",
    }
}

/// Any text but the empty one.
pub(super) fn some(text: &str) -> Checked<String> {
    match text {
        "" => Err("must not be empty".to_owned()),
        _ => Ok(text.to_owned()),
    }
}

/// Text that can be one segment of a URL's path, which loses segments of dots.
pub(super) fn path_segment(text: &str) -> Checked<String> {
    match text {
        "." | ".." => {
            Err("must be an address or a serial number; dots alone cannot stand in the path of a URL".to_owned())
        }
        _ => some(text),
    }
}

/// The name of an agent or a station.
pub(super) fn name(text: &str) -> Checked<String> {
    if (1..=MAX_NAME).contains(&text.len()) && text.bytes().all(is_name_byte) {
        Ok(text.to_owned())
    } else {
        Err(format!("must be 1 to {MAX_NAME} characters of a-z, 0-9 and -"))
    }
}

/// Whether a name may hold this byte.
pub(super) fn is_name_byte(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-')
}

/// An absolute path: the daemon has no working directory that a technician would know.
pub(super) fn path(text: &str) -> Checked<PathBuf> {
    match text.starts_with('/') {
        true => Ok(PathBuf::from(text)),
        false => Err("must be a path that starts with /".to_owned()),
    }
}

/// An address to listen on.
pub(super) fn socket_address(text: &str) -> Checked<SocketAddr> {
    let text = text.strip_prefix("localhost:").map_or_else(|| text.to_owned(), |port| format!("127.0.0.1:{port}"));
    text.parse().map_err(|_| {
        "must be an IP address or localhost, and a port, for example 127.0.0.1:8631 or [::]:8631".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// `check` applied to a value as it stands in a file.
    fn checked<T>(toml: &str, check: impl FnOnce(&DeValue<'_>) -> Checked<T>) -> Checked<T> {
        check(DeValue::parse(toml).expect("a TOML value").get_ref())
    }

    #[test]
    fn durations_are_read_with_all_units_and_combined() {
        for (text, millis) in [
            ("500ms", 500),
            ("10s", 10_000),
            ("5m", 300_000),
            ("1h", 3_600_000),
            ("30d", 2_592_000_000),
            ("1m30s", 90_000),
            ("0s", 0),
        ] {
            assert_eq!(parse_duration(text), Some(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in
            ["", "10", "s", "1 s", "1.5s", "-1s", "1w", "1S", "1s5", "99999999999999999999s", "99999999999999999d"]
        {
            assert_eq!(parse_duration(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_refused_duration_names_its_limits() {
        let limits = Duration::from_millis(100)..=Duration::from_secs(90);
        for toml in ["\"99ms\"", "\"91s\"", "10"] {
            let refusal = checked(toml, duration(limits.clone())).expect_err(toml);
            assert!(refusal.contains("from \"100ms\" to \"90s\""), "{refusal}");
        }
        assert_eq!(checked("\"1m\"", duration(limits)), Ok(Duration::from_secs(60)));
    }

    proptest! {
        #[test]
        fn a_shown_duration_reads_as_the_same_duration(millis in any::<u32>()) {
            let duration = Duration::from_millis(millis.into());
            prop_assert_eq!(parse_duration(&show_duration(duration)), Some(duration));
        }

        #[test]
        fn no_text_makes_a_check_panic(text in ".*") {
            let _ = (parse_duration(&text), name(&text), path(&text), socket_address(&text));
        }
    }

    #[test]
    fn integers_keep_to_their_range_in_every_notation() {
        assert_eq!(checked("16", integer(1..=16_u8)), Ok(16));
        assert_eq!(checked("0x10", integer(1..=16_u8)), Ok(16));
        assert_eq!(checked("100_000", integer(1..=1_000_000_u32)), Ok(100_000));
        for toml in ["0", "17", "-1", "1.0", "\"1\"", "true", "99999999999999999999"] {
            let refusal = checked(toml, integer(1..=16_u8)).expect_err(toml);
            assert_eq!(refusal, "must be a whole number from 1 to 16");
        }
    }

    #[test]
    fn only_usual_baud_rates_are_accepted() {
        assert_eq!(checked("115200", baud), Ok(115_200));
        assert!(checked("9601", baud).is_err_and(|refusal| refusal.contains("9600")));
    }

    #[test]
    fn a_word_outside_the_list_is_answered_with_the_list() {
        let words = [("as-submitted", None), ("true", Some(true))];
        assert_eq!(checked("\"as-submitted\"", one_of(&words)), Ok(None));
        assert_eq!(checked("\"true\"", one_of(&words)), Ok(Some(true)));
        assert_eq!(checked("true", one_of(&words)), Ok(Some(true)));
        for toml in ["\"True\"", "1", "\"\""] {
            let refusal = checked(toml, one_of(&words)).expect_err(toml);
            assert_eq!(refusal, "must be one of \"as-submitted\", \"true\"");
        }
    }

    #[test]
    fn control_characters_are_refused_in_every_text() {
        assert!(checked("\"a\\nb\"", text(some)).is_err());
        assert_eq!(checked("\"a b\"", text(some)), Ok("a b".to_owned()));
    }

    #[test]
    fn dots_alone_are_no_segment_of_a_path() {
        for (text, fits) in
            [(".", false), ("..", false), ("", false), ("...", true), ("192.0.2.10", true), ("a/b", true)]
        {
            assert_eq!(path_segment(text).is_ok(), fits, "{text:?}");
        }
    }

    #[test]
    fn names_keep_to_their_alphabet_and_length() {
        let longest = "a".repeat(MAX_NAME);
        for good in ["lobby", "box-7", longest.as_str()] {
            assert_eq!(name(good).as_deref(), Ok(good));
        }
        for bad in ["", "Lobby", "a_b", "a/b", "lobby ", "ü", &"a".repeat(MAX_NAME + 1)] {
            assert!(name(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn addresses_to_listen_on_are_ip_and_port() {
        for good in ["127.0.0.1:8631", "[::1]:80", "localhost:8631"] {
            assert!(socket_address(good).is_ok(), "{good}");
        }
        for bad in ["", "localhost", "box:80", "127.0.0.1", "127.0.0.1:65536", "::1:80"] {
            assert!(socket_address(bad).is_err(), "{bad:?}");
        }
    }
}
