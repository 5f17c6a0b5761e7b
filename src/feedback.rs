//! What the person beside the printer is told: one vocabulary for every reader and lamp (design, section 7).
//!
//! The words and patterns are data; a reader's profile or a lamp says how a short and a long one are made.

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

/// Every signal with its word and its pattern (`.` short, `-` long).
const VOCABULARY: [(Signal, &str, &str); 9] = [
    (Signal::Ready, "ready", ""),
    (Signal::Reading, "reading", ""),
    (Signal::Done, "done", ".."),
    (Signal::NoDocuments, "no-documents", "--"),
    (Signal::UnknownCard, "unknown-card", "-.-"),
    (Signal::Refused, "refused", ".--"),
    (Signal::ServerUnreachable, "server-unreachable", "---"),
    (Signal::Partly, "partly", "..-"),
    (Signal::ReadError, "read-error", "-"),
];

impl Signal {
    /// The signal's word, as it is shown and logged.
    pub fn word(self) -> &'static str {
        self.entry().1
    }

    /// Its pattern: `.` short, `-` long; empty for a steady light.
    pub fn pattern(self) -> &'static str {
        self.entry().2
    }

    fn entry(self) -> (Signal, &'static str, &'static str) {
        VOCABULARY.into_iter().find(|(signal, ..)| *signal == self).unwrap_or((self, "", ""))
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
}
