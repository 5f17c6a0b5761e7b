//! What a station hears, and what it wants done about it.

use std::time::{Duration, Instant};

use crate::domain::{CardNumber, Document, EntryId, Failure, JobRecord, Outcome, Read, Release, TapId, User};
use crate::feedback::Signal;

/// Whether a release may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It is durable, under this number.
    Stored(EntryId),
    /// The disk is full, and nobody wants a record of it: it may be sent without an entry (design, promise 7).
    Unstored,
    /// Another tap of this box is at the document: it is not this one's to send.
    Elsewhere,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// A card was held to the reader.
    Read {
        /// What the reader delivered.
        read: Read,
        /// The tap's id, should the read become one.
        tap: TapId,
    },
    /// The reader delivered something that is no read.
    ReadError,
    /// The reader delivered a card that no station may take, and why in a word.
    CardRefused {
        /// The tap's id, should it become one.
        tap: TapId,
        /// For the operator.
        reason: &'static str,
    },
    /// The answer to [`Effect::Login`].
    LoggedIn {
        /// Of this tap.
        tap: TapId,
        /// Who it is.
        result: Result<User, Failure>,
    },
    /// The answer to [`Effect::List`].
    Listed {
        /// Of this tap.
        tap: TapId,
        /// What waits.
        result: Result<Vec<Document>, Failure>,
    },
    /// The answer to [`Effect::Store`]: what may be sent is durable.
    Stored {
        /// Of this tap.
        tap: TapId,
        /// Which may be sent, in order.
        result: Result<Vec<Admission>, Failure>,
    },
    /// The answer to [`Effect::Release`].
    Released {
        /// Of this tap.
        tap: TapId,
        /// Of which document.
        document: String,
        /// How it ended.
        outcome: Outcome,
    },
    /// The answer to [`Effect::End`] and [`Effect::FindOut`]. A failure is told, but changes nothing: the journal still holds the release, and
    /// the next start asks the server how it ended.
    Ended {
        /// Of this tap.
        tap: TapId,
    },
    /// No more taps: the one at work ends, those that wait are refused.
    Stop,
}

/// What to do about it.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Tell the person.
    Feedback(Signal),
    /// Log in at the server.
    Login {
        /// For this tap.
        tap: TapId,
        /// With this card.
        card: CardNumber,
        /// While the server is away, try again until then.
        until: Option<Instant>,
    },
    /// Ask which documents wait, as the user who logged in.
    List {
        /// For this tap.
        tap: TapId,
        /// While the server is away, try again until then.
        until: Option<Instant>,
    },
    /// Make all of these durable in one write.
    Store {
        /// For this tap.
        tap: TapId,
        /// In the order in which they will be sent.
        releases: Vec<Release>,
    },
    /// Hand one to the output port, but not after `deadline`.
    Release {
        /// For this tap.
        tap: TapId,
        /// What and where to.
        release: Box<Release>,
        /// Not sent after this.
        deadline: Instant,
    },
    /// Make an outcome durable, and the job record that follows from it, in one transaction.
    End {
        /// For this tap.
        tap: TapId,
        /// The journal's number, if it has an entry.
        id: Option<EntryId>,
        /// Of which document.
        document: String,
        /// How it ended.
        outcome: Outcome,
        /// What the server is to be told.
        record: Option<Box<JobRecord>>,
    },
    /// The tap does not know how a release ended: leave it open, and find out.
    FindOut {
        /// For this tap.
        tap: TapId,
        /// The journal's number.
        id: EntryId,
        /// What was perhaps released.
        release: Box<Release>,
    },
    /// Tell the operator; the tap is over, its session can be forgotten.
    Report(Report),
}

/// How a tap ended: one line of the audit.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Which tap.
    pub tap: TapId,
    /// In one word.
    pub verdict: Verdict,
    /// Why, in a word or a short sentence without secrets; empty when all is well.
    pub reason: String,
    /// Who it was, when that is known.
    pub user: Option<User>,
    /// How each release ended.
    pub outcomes: Vec<Outcome>,
    /// Pages of the documents that were released.
    pub pages: u32,
    /// From the read to the end.
    pub duration: Duration,
}

/// The word for a tap in events and metrics (design, section 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All that waited was released (perhaps nothing waited).
    Released,
    /// The card, the person or the moment was not accepted; nothing was released.
    Refused,
    /// Something that should have been released was not.
    Failed,
    /// For at least one document nobody can say.
    Unknown,
}

impl Verdict {
    /// As it is written in events and metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::Released => "released",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
        }
    }
}
