//! Why an export ended early, and the exit code for it.

use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::cli::Exit;
use crate::domain::{Cause, Failure};

/// The advice where the server refuses the history.
const MISSING_RIGHT: &str = "it needs the right ViewReport: in the print server's settings, give it to the API key of \
                             this box (its advanced API permissions)";

#[derive(Debug, thiserror::Error)]
pub(super) enum ExportError {
    #[error("read the server's history: {MISSING_RIGHT}{device}; the server said: {failure}")]
    Refused { device: &'static str, failure: Failure },
    #[error("read the server's history: only a customer's account has one, and a window that it takes; {0}")]
    Rejected(Failure),
    #[error("read the server's history of the day from {from}: {failure}")]
    Server { from: Timestamp, failure: Failure },
    #[error("write {}: {error}", .path.display())]
    Disk { path: PathBuf, error: std::io::Error },
    #[error("export: {0}")]
    Usage(String),
    #[error("{0}")]
    Failed(String),
}

impl ExportError {
    pub(super) fn disk(path: &Path, error: std::io::Error) -> Self {
        Self::Disk { path: path.to_owned(), error }
    }

    /// A page of the window that begins at `from` was not given.
    pub(super) fn page(from: Timestamp, device: &'static str, failure: Failure) -> Self {
        match failure.cause {
            Cause::Refused(_) => Self::Refused { device, failure },
            Cause::Rejected => Self::Rejected(failure),
            _ => Self::Server { from, failure },
        }
    }

    pub(super) fn exit(&self) -> Exit {
        match self {
            Self::Server { failure, .. } => match failure.cause {
                Cause::Unreachable | Cause::Lost { .. } | Cause::Overloaded { .. } => Exit::Unavailable,
                _ => Exit::Failed,
            },
            Self::Disk { .. } => Exit::Disk,
            Self::Usage(_) => Exit::Usage,
            Self::Refused { .. } | Self::Rejected(_) | Self::Failed(_) => Exit::Failed,
        }
    }
}
