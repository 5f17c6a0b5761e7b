//! The problems of a configuration file, each with its place.
//!
//! A problem names a key and says what is expected; it never quotes a value, because any value may be a secret in the
//! wrong place.

use std::{
    error::Error,
    fmt,
    path::{Path, PathBuf},
};

/// A place in the text; both count from 1, columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position {
    pub(super) line: usize,
    column: usize,
}

impl Position {
    /// The place of the byte `offset` of `text`.
    pub(super) fn of(offset: usize, text: &str) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Self { line: before.matches('\n').count() + 1, column: before[line_start..].chars().count() + 1 }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// Everything that is wrong with a configuration file, in the order of the file.
///
/// `Display` gives one line a problem: `agent.toml:12:7: [server] url: must end in /api/v1 (...)`.
#[derive(Debug)]
pub struct Problems(Vec<String>);

impl Problems {
    /// The whole file cannot be used.
    pub(super) fn unreadable(source: &Path, why: &str) -> Self {
        Self(vec![format!("{}: {why}", source.display())])
    }

    /// One line a problem.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl Error for Problems {}

/// Notes about one file, collected until they are shown in order.
pub(super) struct Notes {
    source: PathBuf,
    notes: Vec<(Position, String)>,
}

impl Notes {
    pub(super) fn about(source: &Path) -> Self {
        Self { source: source.to_owned(), notes: Vec::new() }
    }

    pub(super) fn add(&mut self, at: Position, note: String) {
        self.notes.push((at, note));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.notes.is_empty()
    }

    /// One line a note, in the order of the file.
    pub(super) fn into_lines(mut self) -> Vec<String> {
        self.notes.sort_by_key(|(at, _)| *at);
        let source = self.source.display();
        self.notes.iter().map(|(at, note)| format!("{source}:{at}: {note}")).collect()
    }
}

impl From<Notes> for Problems {
    fn from(notes: Notes) -> Self {
        Self(notes.into_lines())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_counts_lines_and_characters_from_one() {
        let text = "a = 1\nü = \"x\"\n";
        assert_eq!(Position::of(0, text).to_string(), "1:1");
        assert_eq!(Position::of(6, text).to_string(), "2:1");
        assert_eq!(Position::of(11, text).to_string(), "2:5");
    }

    #[test]
    fn an_offset_outside_the_text_or_inside_a_character_does_no_harm() {
        assert_eq!(Position::of(99, "a\nb").to_string(), "2:2");
        assert_eq!(Position::of(1, "ü").to_string(), "1:2");
    }

    #[test]
    fn notes_are_told_in_the_order_of_the_file() {
        let mut notes = Notes::about(Path::new("agent.toml"));
        notes.add(Position::of(4, "a\nb\nc"), "third".to_owned());
        notes.add(Position::of(0, "a\nb\nc"), "first".to_owned());
        assert_eq!(Problems::from(notes).to_string(), "agent.toml:1:1: first\nagent.toml:3:1: third");
    }
}
