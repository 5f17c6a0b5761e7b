//! The signals to the person beside the printer: one vocabulary of lights and beeps for every reader and lamp
//! (docs/operating.md, "Lights and beeps").
//!
//! The words, colours and patterns are data; a reader's profile or a lamp turns them into commands.

use std::time::Duration;

/// One message to the person, shown by light and beep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// The station waits for a card.
    Ready,
    /// A card was read, and the person has to wait.
    Reading,
    /// Every document was released.
    Done,
    /// No document waits for the person.
    NoDocuments,
    /// The server does not know the card.
    UnknownCard,
    /// The policy, the printer or the box does not allow it now.
    Refused,
    /// The server did not answer.
    ServerUnreachable,
    /// Some documents were released, some were not.
    Partly,
    /// The card was not read correctly and has to be held again.
    ReadError,
}

/// The light of a signal. A station with two lamps shows amber as green and red together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    /// All is well.
    Green,
    /// The person has to wait, or to check the documents that came out.
    Amber,
    /// The tap failed.
    Red,
}

/// One element of a pattern, of light or of sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// `.`
    Short,
    /// `-`
    Long,
}

/// Every signal with its word, its light and its pattern (`.` short, `-` long).
const VOCABULARY: [(Signal, &str, Colour, &str); 9] = [
    (Signal::Ready, "ready", Colour::Green, ""),
    (Signal::Reading, "reading", Colour::Amber, ""),
    (Signal::Done, "done", Colour::Green, ".."),
    (Signal::NoDocuments, "no-documents", Colour::Green, "--"),
    (Signal::UnknownCard, "unknown-card", Colour::Red, "-.-"),
    (Signal::Refused, "refused", Colour::Red, ".--"),
    (Signal::ServerUnreachable, "server-unreachable", Colour::Red, "---"),
    (Signal::Partly, "partly", Colour::Amber, "..-"),
    (Signal::ReadError, "read-error", Colour::Red, "-"),
];

impl Signal {
    /// The word for the signal in the status and the log.
    pub fn word(self) -> &'static str {
        self.entry().1
    }

    /// The light of the signal.
    pub fn colour(self) -> Colour {
        self.entry().2
    }

    /// The pattern of the signal: `.` is short, `-` is long; empty for a steady light.
    pub fn pattern(self) -> &'static str {
        self.entry().3
    }

    /// The elements of the pattern in their order.
    pub fn marks(self) -> impl Iterator<Item = Mark> {
        self.pattern().chars().map(|mark| if mark == '-' { Mark::Long } else { Mark::Short })
    }

    fn entry(self) -> (Signal, &'static str, Colour, &'static str) {
        VOCABULARY.into_iter().find(|(signal, ..)| *signal == self).unwrap_or((self, "", Colour::Red, ""))
    }
}

impl Mark {
    /// The pause between two elements of a pattern.
    pub const GAP: Duration = Duration::from_millis(150);

    /// The time for which it is seen or heard.
    pub fn length(self) -> Duration {
        match self {
            Self::Short => Duration::from_millis(150),
            Self::Long => Duration::from_millis(350),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_signal_that_ends_a_tap_has_a_pattern_of_its_own() {
        let patterns: std::collections::BTreeSet<_> =
            VOCABULARY.iter().map(|(signal, ..)| signal.pattern()).filter(|pattern| !pattern.is_empty()).collect();
        assert_eq!(patterns.len(), VOCABULARY.len() - 2, "only ready and reading are steady lights");
    }

    #[test]
    fn a_pattern_is_played_mark_by_mark() {
        assert_eq!(Signal::Refused.marks().collect::<Vec<_>>(), [Mark::Short, Mark::Long, Mark::Long]);
        assert!(Mark::Short.length() * 2 < Mark::Long.length(), "a short one can be told from a long one");
    }
}
