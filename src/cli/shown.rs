//! Text of others, as a person may see it: on a terminal, in a line of the log, in an error. Anybody can choose a document's title, and a
//! server can say anything. So a character that could end the line, steer the terminal or turn the reading order is written as an
//! escape, and a long text is cut.
//!
//! This is the only place where text is cleaned. Everywhere else, on the disk and towards the server, it is kept as it came.

use std::borrow::Cow;
use std::fmt::{self, Display, Write};

/// The most characters of one line or of one value in the log. The rest is cut, and an ellipsis says so.
pub(super) const SHOWN_LIMIT: usize = 4_096;

/// Writes its content as one harmless piece of text.
pub(super) struct Shown<T>(pub(super) T);

impl<T: Display> Display for Shown<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(TextCleaner { to: f, room: SHOWN_LIMIT, is_cut: false }, "{}", self.0)
    }
}

/// Cleans what is written through it, character by character.
struct TextCleaner<'a, 'f> {
    to: &'a mut fmt::Formatter<'f>,
    /// The characters that still may follow.
    room: usize,
    is_cut: bool,
}

impl Write for TextCleaner<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            if self.is_cut {
                return Ok(());
            } else if self.room == 0 {
                self.is_cut = true;
                self.to.write_char('…')?;
            } else if is_unsafe(character) {
                self.room -= 1;
                write!(self.to, "{}", character.escape_default())?;
            } else {
                self.room -= 1;
                self.to.write_char(character)?;
            }
        }
        Ok(())
    }
}

/// Escapes in a JSON text what a terminal would obey. JSON has escapes of its own, so the values stay exactly the same.
pub(super) fn harmless_json(text: &str) -> Cow<'_, str> {
    // JSON itself forbids the ASCII controls inside of its strings, and outside of them only line breaks are written.
    let is_raw = |character: char| character >= '\u{7f}' && is_unsafe(character);
    if !text.contains(is_raw) {
        return Cow::Borrowed(text);
    }
    let mut harmless = String::with_capacity(text.len());
    for character in text.chars() {
        if is_raw(character) {
            for unit in character.encode_utf16(&mut [0; 2]) {
                harmless.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            harmless.push(character);
        }
    }
    Cow::Owned(harmless)
}

/// Whether a character ends a line, steers a terminal, turns the reading order (Unicode Standard Annex 9), or cannot be seen.
fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{61c}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_character_that_steers_is_written_as_an_escape() {
        for (text, shown) in [
            ("two\nlines", "two\\nlines"),
            ("\u{1b}]52;c;x\u{7}", "\\u{1b}]52;c;x\\u{7}"),
            ("\u{9b}2J", "\\u{9b}2J"),
            ("a\u{202e}b\u{2066}c\u{61c}", "a\\u{202e}b\\u{2066}c\\u{61c}"),
            ("a\u{200b}b\u{2028}c\0", "a\\u{200b}b\\u{2028}c\\u{0}"),
            ("Müller, 猫, \u{1f5a8}", "Müller, 猫, \u{1f5a8}"),
        ] {
            assert_eq!(Shown(text).to_string(), shown);
        }
    }

    #[test]
    fn a_long_text_is_cut_and_says_so() {
        assert_eq!(Shown("x".repeat(SHOWN_LIMIT)).to_string(), "x".repeat(SHOWN_LIMIT));
        assert_eq!(Shown("x".repeat(SHOWN_LIMIT + 2)).to_string(), "x".repeat(SHOWN_LIMIT) + "…");
        let pieces = format!("{}{}", Shown(format_args!("{}{}", "x".repeat(SHOWN_LIMIT), "y")), "z");
        assert!(pieces.ends_with("x…z"), "{pieces}");
    }

    proptest! {
        #[test]
        fn no_text_is_shown_with_a_character_that_steers(text in any::<String>()) {
            prop_assert!(!Shown(&text).to_string().contains(is_unsafe));
        }

        #[test]
        fn json_on_a_terminal_keeps_every_value_and_steers_nothing(text in any::<String>()) {
            let value = serde_json::json!({ "title": text });
            let written = value.to_string();
            let harmless = harmless_json(&written);
            prop_assert!(!harmless.contains(is_unsafe));
            prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&harmless).unwrap(), value);
        }
    }
}
