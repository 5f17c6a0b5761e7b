//! What the person beside the printer is told: one vocabulary for every reader and lamp (design, section 7).
//!
//! The words, colours and patterns are data; a reader's profile or a lamp says how they are shown.

use std::time::Duration;

/// One thing to tell, by light and beep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Hold a card.
    Ready,
    /// A card was read; wait.
    Reading,
    /// Everything was released.
    Done,
    /// Nothing waits.
    NoDocuments,
    /// The server does not know the card.
    UnknownCard,
    /// Policy, printer or box does not allow it now.
    Refused,
    /// The server did not answer.
    ServerUnreachable,
    /// Some documents were released, some were not.
    Partly,
    /// The card was not read rightly; hold it again.
    ReadError,
}

/// The light that goes with a signal. Amber is green and red together where there are two lamps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    /// All is well.
    Green,
    /// Wait, or look what came out.
    Amber,
    /// It did not work.
    Red,
}

/// A short or a long one: of light or of sound.
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
    /// The signal's word, as it is shown and logged.
    pub fn word(self) -> &'static str {
        self.entry().1
    }

    /// Its light.
    pub fn colour(self) -> Colour {
        self.entry().2
    }

    /// Its pattern: `.` short, `-` long; empty for a steady light.
    pub fn pattern(self) -> &'static str {
        self.entry().3
    }

    /// Its pattern, mark by mark.
    pub fn marks(self) -> impl Iterator<Item = Mark> {
        self.pattern().chars().map(|mark| if mark == '-' { Mark::Long } else { Mark::Short })
    }

    fn entry(self) -> (Signal, &'static str, Colour, &'static str) {
        VOCABULARY.into_iter().find(|(signal, ..)| *signal == self).unwrap_or((self, "", Colour::Red, ""))
    }
}

impl Mark {
    /// Between two marks.
    pub const GAP: Duration = Duration::from_millis(150);

    /// How long it is to be seen or heard.
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
