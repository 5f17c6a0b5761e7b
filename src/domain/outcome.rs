//! The end of a release, and that of a tap.

use serde::{Deserialize, Serialize};

use super::Reason;

/// The end of a release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", content = "reason", rename_all = "lowercase")]
pub enum Outcome {
    /// Paper came out; only a printer that was watched tells.
    Printed,
    /// The server took it; paper not confirmed.
    Accepted,
    /// Nothing was printed, and why.
    Failed(Reason),
    /// Nobody can say, and why.
    Unknown(Reason),
}

impl Outcome {
    /// The outcome's word in metrics, events and lists.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Printed => "printed",
            Self::Accepted => "accepted",
            Self::Failed(_) => "failed",
            Self::Unknown(_) => "unknown",
        }
    }

    /// True when the server has the document's pages to account for.
    pub fn is_released(&self) -> bool {
        matches!(self, Self::Printed | Self::Accepted)
    }

    /// Why it did not work, or why nobody can say; `None` when it worked.
    pub fn reason(&self) -> Option<&Reason> {
        match self {
            Self::Printed | Self::Accepted => None,
            Self::Failed(reason) | Self::Unknown(reason) => Some(reason),
        }
    }
}

/// The end of a tap, in events and metrics: docs/operating.md, "Events".
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
    /// Every verdict.
    pub const ALL: [Self; 4] = [Self::Released, Self::Refused, Self::Failed, Self::Unknown];

    /// The verdict as it is written in events and metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::Released => "released",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
        }
    }
}
