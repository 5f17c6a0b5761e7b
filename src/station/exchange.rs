//! The events that a station is told, and the effects that it asks for.

use std::time::{Duration, Instant};

use crate::convert::ConvertError;
use crate::domain::{
    CardNumber, Document, EntryId, Failure, JobRecord, Outcome, Read, Reason, Release, TapId, User, Verdict,
};
use crate::feedback::Signal;

/// Whether a release may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// It is durable, under this number.
    Stored(EntryId),
    /// The disk is full, and nobody wants a record of it: it may be sent without an entry (docs/architecture.md,
    /// "Promises").
    Unstored,
    /// Another tap of this box is releasing the document.
    Elsewhere,
    /// A tap of this box has released the document since the list was asked for: the list is out of date.
    Outdated,
}

/// The result of an attempt to release a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It has an outcome.
    Ended(Outcome),
    /// It may have been done: the release stays open, and the server's history may still tell.
    LeftOpen(Reason),
}

/// Something that happened.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// A card was held to the reader.
    Read {
        read: Read,
        /// The tap's id, should the read become one.
        tap: TapId,
    },
    /// The reader delivered something that is no read.
    ReadError,
    /// The reader delivered a card that no station may take.
    CardRefused {
        /// The tap's id, should it become one.
        tap: TapId,
        reason: Reason,
    },
    /// The answer to an effect of this tap.
    Answer { tap: TapId, answer: TapAnswer },
    /// No more taps: those at work end, those that wait for an earlier one are refused.
    Stop,
    /// The time for that is over: the taps at work are given up.
    GiveUp,
}

/// The answer to an effect.
#[derive(Clone, Debug)]
pub(crate) enum TapAnswer {
    /// To [`Effect::Login`].
    LoggedIn(Result<User, Failure>),
    /// To [`Effect::List`]: the documents that wait, as they were some time after `asked`.
    Listed { asked: Instant, result: Result<Vec<Document>, Failure> },
    /// To [`Effect::Store`]: its releases in their order, each with the word whether it may be sent.
    Stored(Result<Vec<(Admission, Release)>, Failure>),
    /// To [`Effect::Release`].
    Released { document: String, ending: Ending },
    /// To [`Effect::End`] and [`Effect::LeaveOpen`]. An outcome that the journal did not take is brought to it later: the
    /// tap is over all the same.
    Ended,
    /// To any effect: the task that was to answer has failed. It fits no phase.
    Lost,
}

impl TapAnswer {
    /// The answer's name in the log.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::LoggedIn(_) => "logged-in",
            Self::Listed { .. } => "listed",
            Self::Stored(_) => "stored",
            Self::Released { .. } => "released",
            Self::Ended => "ended",
            Self::Lost => "lost",
        }
    }
}

/// Something to be done.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Effect {
    /// Show it to the person.
    Feedback(Signal),
    /// Log in at the server; while it is away, try again until `until`.
    Login { tap: TapId, card: CardNumber, until: Option<Instant> },
    /// Ask which documents wait, as the user who logged in; while the server is away, try again until `until`.
    List { tap: TapId, until: Option<Instant> },
    /// Make all of these durable in one write, in the order in which they will be sent. The list that they come from was
    /// asked for at `listed`.
    Store { tap: TapId, releases: Vec<Release>, listed: Instant },
    /// Hand one to the output port, but not after `deadline`.
    Release { tap: TapId, release: Box<Release>, deadline: Instant },
    /// Make an outcome durable, and the job record that follows from it, in one transaction.
    End {
        tap: TapId,
        /// The journal's number, if it has an entry.
        id: Option<EntryId>,
        document: String,
        outcome: Outcome,
        record: Option<Box<JobRecord>>,
    },
    /// Leave a release open in the journal, where it has an entry: the recovery finds out how it ended. `reason` is why nobody
    /// knows it yet.
    LeaveOpen { tap: TapId, id: Option<EntryId>, release: Box<Release>, reason: Reason },
    /// Stop sending for this tap at once: an answer came that fits no phase. It is a fault of this program, to be told.
    Abandon { tap: TapId, phase: &'static str, answer: &'static str },
    /// Tell the operator. The tap is over, and its session can be forgotten.
    Report(Report),
}

/// The end of a tap: one line of the audit.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Report {
    pub(crate) tap: TapId,
    pub(crate) verdict: Verdict,
    /// `None` when all is well.
    pub(crate) reason: Option<Reason>,
    /// More for the log, where the reason needs it; it never holds the read.
    pub(crate) detail: Option<ConvertError>,
    /// The person, once that is known.
    pub(crate) user: Option<User>,
    /// One for each release.
    pub(crate) outcomes: Vec<Outcome>,
    /// Pages of the documents that were released.
    pub(crate) pages: u32,
    /// From the read to the end.
    pub(crate) duration: Duration,
}
