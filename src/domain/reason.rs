//! Why something ended as it did: a closed set of words, the same on disk, in events, in metrics and in lists.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Cause, Who};

/// Declares [`Reason`] from one table, so that a word stands in one place only.
macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident => $word:literal,)+) => {
        /// Why a tap or a release ended as it did: docs/operating.md, "Reasons". Lights and verdicts match on it; the
        /// details of a failure go to the log only.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Reason {
            $($(#[$doc])* $name,)+
            /// A word that this version does not know, kept as it was read: a newer agent may have written it.
            Other(Arc<str>),
        }

        impl Reason {
            /// Every reason that this version gives.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// The reason as it is written down and told.
            pub fn word(&self) -> &str {
                match self {
                    $(Self::$name => $word,)+
                    Self::Other(word) => word,
                }
            }
        }
    };
}

reasons! {
    /// The server does not know the card.
    UnknownCard => "unknown-card",
    /// The server refused a login that may have been refused for the API key as well.
    LoginRefused => "login-refused",
    /// The server does not accept the API key.
    ApiKeyRefused => "api-key-refused",
    /// The API key may not be used from this box's address.
    AddressNotAllowed => "address-not-allowed",
    /// This box is no trusted device of the server.
    DeviceNotTrusted => "device-not-trusted",
    /// The time of the user's or the device's token is over, and there is no newer one.
    TokenExpired => "token-expired",
    /// The person has not the right to list or release documents.
    NotPermitted => "not-permitted",
    /// The token was refused, or a right is missing, and the server does not say which.
    NotAllowed => "not-allowed",
    /// The server does not know the document or the port.
    NotFound => "not-found",
    /// The printer or the document is not ready (errorCode 1042).
    NotReady => "not-ready",
    /// The server refused the request for good.
    Rejected => "rejected",
    /// No connection could be made.
    ServerUnreachable => "server-unreachable",
    /// The request was sent, and no answer came.
    AnswerLost => "answer-lost",
    /// An answer came that nobody can read.
    MalformedAnswer => "malformed-answer",
    /// The server asked for patience.
    ServerOverloaded => "server-overloaded",
    /// The disk did not take the journal's entry.
    Storage => "storage",
    /// It was not sent in time, so it was never sent.
    Deadline => "deadline",
    /// The server gave up on the document.
    AtTheServer => "at the server",
    /// The document was to stay at the server, so its place in the list tells nothing.
    Retained => "retained",
    /// Another tap of this box is releasing the document.
    AtAnotherStation => "at-another-station",
    /// The server still converts everything that waits for this person.
    Converting => "converting",
    /// The document is on a computer that is off.
    ComputerOff => "computer-off",
    /// Everything that one tap may release was released, and more waits.
    MoreRemain => "more-remain",
    /// Nothing waits for this person.
    NoDocuments => "no-documents",
    /// Too many taps are under way at this station.
    Busy => "busy",
    /// Many different cards were refused at this station a moment ago, so it takes a read only now and then.
    TooManyRefused => "too-many-refused",
    /// The agent is being stopped.
    Stopping => "stopping",
    /// The read does not fit the station's conversion.
    CardNotConverted => "card-not-converted",
    /// The card's number is all zero, which no card has.
    AllZero => "all-zero",
    /// The card gives another number each time (ISO 14443-3: it begins with 08).
    RandomUid => "random-uid",
    /// The reader gave half of a longer number (ISO 14443-3: it begins with the cascade tag 88).
    IncompleteUid => "incomplete-uid",
    /// A stop, a kill or a power cut came before the release was sent, or before it had an effect.
    Interrupted => "interrupted",
    /// A later tap released the document instead.
    Superseded => "superseded",
    /// The server lists the document nowhere.
    NotListed => "not-listed",
    /// It became known after a restart that the release had worked.
    AfterRestart => "after-restart",
    /// It became known after the tap that the release had worked.
    AfterDoubt => "after-doubt",
    /// The history may not be read.
    HistoryNotAllowed => "history: not-allowed",
    /// The server refused the question to its history.
    HistoryRejected => "history: rejected",
    /// The server has no history.
    HistoryNotFound => "history: not-found",
    /// An answer came that fits no phase of the tap: a fault of this program.
    UnexpectedAnswer => "unexpected-answer",
    /// The reader's device was opened.
    Connected => "connected",
    /// The reader's device is gone.
    Disconnected => "disconnected",
}

impl Reason {
    /// False for a reason that is given only to a reader, or to a release whose tap is over.
    pub(crate) fn can_end_a_tap(&self) -> bool {
        !matches!(
            self,
            Self::Connected
                | Self::Disconnected
                | Self::Superseded
                | Self::Interrupted
                | Self::AfterRestart
                | Self::AfterDoubt
                | Self::HistoryNotAllowed
                | Self::HistoryRejected
                | Self::HistoryNotFound
        )
    }
}

impl From<Cause> for Reason {
    fn from(cause: Cause) -> Self {
        match cause {
            Cause::Refused(Who::Login) => Self::UnknownCard,
            Cause::Refused(Who::UnprovenLogin) => Self::LoginRefused,
            Cause::Refused(Who::Key) => Self::ApiKeyRefused,
            Cause::Refused(Who::Address) => Self::AddressNotAllowed,
            Cause::Refused(Who::Device) => Self::DeviceNotTrusted,
            Cause::Refused(Who::Expired) => Self::TokenExpired,
            Cause::Refused(Who::Right) => Self::NotPermitted,
            Cause::Refused(Who::Token) => Self::NotAllowed,
            Cause::NotFound => Self::NotFound,
            Cause::NotReady => Self::NotReady,
            Cause::Rejected => Self::Rejected,
            Cause::Unreachable => Self::ServerUnreachable,
            Cause::Lost { .. } => Self::AnswerLost,
            Cause::Malformed => Self::MalformedAnswer,
            Cause::Overloaded { .. } => Self::ServerOverloaded,
            Cause::Storage => Self::Storage,
        }
    }
}

impl From<&str> for Reason {
    fn from(word: &str) -> Self {
        Self::ALL.iter().find(|reason| reason.word() == word).cloned().unwrap_or_else(|| Self::Other(word.into()))
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl Serialize for Reason {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.word())
    }
}

impl<'de> Deserialize<'de> for Reason {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::from(String::deserialize(deserializer)?.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_reason_has_a_word_of_its_own_and_comes_back_from_the_disk() {
        let words: BTreeSet<_> = Reason::ALL.iter().map(Reason::word).collect();
        assert_eq!(words.len(), Reason::ALL.len());
        for reason in Reason::ALL {
            let written = serde_json::to_string(reason).unwrap();
            assert_eq!(serde_json::from_str::<Reason>(&written).unwrap(), *reason);
        }
    }

    #[test]
    fn a_word_of_a_newer_version_is_kept_as_it_stands() {
        let newer: Reason = serde_json::from_str("\"toner-was-stolen\"").unwrap();
        assert_eq!(newer, Reason::Other("toner-was-stolen".into()));
        assert_eq!(serde_json::to_string(&newer).unwrap(), "\"toner-was-stolen\"");
    }
}
