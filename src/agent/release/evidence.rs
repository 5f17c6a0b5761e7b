//! The meaning of a document's status for its release: one table, for a tap's list and for the recovery's history. Pure.

use crate::domain::DocumentStatus;
use crate::planted;

/// The server's word for a document, as far as it tells about its release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Evidence {
    /// The server released it.
    Released,
    /// The server gave up on it.
    GivenUp,
    /// It still waits: no request that has settled released it.
    Waiting,
    /// It was to stay at the server, which shows it so whether it was printed or not.
    Retained,
    /// Nothing that decides.
    None,
}

/// The table. `status` is `None` where the server does not list the document; `retain`: it was asked to keep it.
pub(super) fn evidence(status: Option<DocumentStatus>, retain: bool) -> Evidence {
    match (status, retain && !planted::is("retained-is-waiting")) {
        // A release with `retain` leaves it READY: anything else comes from somebody else's release.
        (Some(DocumentStatus::Ready | DocumentStatus::Printed), true) => Evidence::Retained,
        (Some(DocumentStatus::Ready), false) => Evidence::Waiting,
        (Some(DocumentStatus::Printed), false) => Evidence::Released,
        (Some(DocumentStatus::Failed), _) => Evidence::GivenUp,
        (Some(DocumentStatus::Gone | DocumentStatus::Coming | DocumentStatus::Other) | None, _) => Evidence::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_means_the_same_to_a_tap_and_to_the_recovery() {
        use DocumentStatus::{Coming, Failed, Gone, Other, Printed, Ready};
        for (status, taken, kept) in [
            (Some(Ready), Evidence::Waiting, Evidence::Retained),
            (Some(Printed), Evidence::Released, Evidence::Retained),
            (Some(Failed), Evidence::GivenUp, Evidence::GivenUp),
            (Some(Gone), Evidence::None, Evidence::None),
            (Some(Coming), Evidence::None, Evidence::None),
            (Some(Other), Evidence::None, Evidence::None),
            (None, Evidence::None, Evidence::None),
        ] {
            assert_eq!((evidence(status, false), evidence(status, true)), (taken, kept), "{status:?}");
        }
    }
}
