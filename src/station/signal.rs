//! The light that a tap ends with. Every reason stands here: a new one does not compile until somebody has decided.

use crate::domain::{Cause, Reason, Verdict, Who};
use crate::feedback::Signal;

/// The light after the login failed, and the tap's verdict. Only there 404 speaks of the person.
pub(super) fn after_login(cause: Cause) -> (Signal, Verdict) {
    match cause {
        Cause::NotFound => (Signal::UnknownCard, Verdict::Refused),
        cause => after_failure(cause),
    }
}

/// The light after the list or the store failed, and the tap's verdict.
pub(super) fn after_failure(cause: Cause) -> (Signal, Verdict) {
    match cause {
        Cause::Refused(Who::Login | Who::UnprovenLogin) => (Signal::UnknownCard, Verdict::Refused),
        Cause::Refused(Who::Key | Who::Address | Who::Device | Who::Expired | Who::Right | Who::Token)
        | Cause::NotFound
        | Cause::NotReady
        | Cause::Rejected => (Signal::Refused, Verdict::Refused),
        Cause::Storage => (Signal::Refused, Verdict::Failed),
        Cause::Unreachable | Cause::Lost { .. } | Cause::Malformed | Cause::Overloaded { .. } => {
            (Signal::ServerUnreachable, Verdict::Failed)
        }
    }
}

/// The light after some release did not work for this reason.
pub(super) fn after_releases(some_came: bool, reason: &Reason) -> Signal {
    if some_came { Signal::Partly } else { of_reason(reason) }
}

/// The light for a reason where nothing was released.
pub(super) fn of_reason(reason: &Reason) -> Signal {
    match reason {
        Reason::NoDocuments => Signal::NoDocuments,
        Reason::UnknownCard | Reason::LoginRefused => Signal::UnknownCard,
        Reason::MoreRemain => Signal::Partly,
        Reason::CardNotConverted => Signal::ReadError,
        // An answer of the server, or a decision of this box.
        Reason::NotReady
        | Reason::Rejected
        | Reason::ApiKeyRefused
        | Reason::AddressNotAllowed
        | Reason::DeviceNotTrusted
        | Reason::TokenExpired
        | Reason::NotPermitted
        | Reason::NotAllowed
        | Reason::Converting
        | Reason::ComputerOff
        | Reason::NotFound
        | Reason::AtTheServer
        | Reason::Retained
        | Reason::AtAnotherStation
        | Reason::Busy
        | Reason::TooManyRefused
        | Reason::Stopping
        | Reason::AllZero
        | Reason::RandomUid
        | Reason::IncompleteUid
        | Reason::UnexpectedAnswer => Signal::Refused,
        // The server's silence, or its absence.
        Reason::ServerUnreachable
        | Reason::AnswerLost
        | Reason::MalformedAnswer
        | Reason::ServerOverloaded
        | Reason::Storage
        | Reason::Deadline
        | Reason::NotListed
        | Reason::Interrupted
        | Reason::Superseded
        | Reason::AfterRestart
        | Reason::AfterDoubt
        | Reason::HistoryNotAllowed
        | Reason::HistoryRejected
        | Reason::HistoryNotFound
        | Reason::Connected
        | Reason::Disconnected
        | Reason::Other(_) => Signal::ServerUnreachable,
    }
}
