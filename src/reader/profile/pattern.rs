//! The pattern of a profile: a regular expression on bytes.

use regex::bytes::{Regex, RegexBuilder};
use serde::Deserialize;

/// A regular expression that has to match all bytes between the start and the end of a frame.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String")]
pub struct Pattern {
    text: String,
    regex: Regex,
}

/// The names that a group may have: the check byte and the number of bytes of the read.
const GROUPS: [&str; 2] = ["check", "count"];

impl Pattern {
    /// The compiled expression.
    pub fn regex(&self) -> &Regex {
        &self.regex
    }

    pub(super) fn has(&self, group: &str) -> bool {
        self.regex.capture_names().flatten().any(|name| name == group)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Pattern {}

impl TryFrom<String> for Pattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let whole = format!("^(?:{text})$");
        let regex = RegexBuilder::new(&whole).unicode(false).dot_matches_new_line(true).build();
        let regex = regex.map_err(|error| error.to_string())?;
        if let Some(name) = regex.capture_names().flatten().find(|name| !GROUPS.contains(name)) {
            return Err(format!("a group is called {name:?}; write {}, or no name for the read", GROUPS.join(" or ")));
        }
        if regex.capture_names().skip(1).all(|name| name.is_some()) {
            return Err("no group holds the read; put it in parentheses".to_owned());
        }
        Ok(Self { text, regex })
    }
}
