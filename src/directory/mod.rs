//! The neighbours of the print server: people and groups in ezeep, print queue users in NDD Orbix, identities in zops
//! (docs/directory.md).
//!
//! - [`http`]: the one HTTP client. [`paging`]: which page comes next. Pure. [`lock`]: one process at a time. `csv`: files of people.
//! - [`ezeep`], [`orbix`], [`zops`]: a module each. Requests, answers and decisions are pure; a thin part carries them out.
//!
//! Invariants: nothing of the tap knows this module; no secret is in a log or an error; a request that may have had an effect
//! is never sent again by itself.

mod csv;
pub mod ezeep;
pub mod http;
pub mod lock;
pub mod orbix;
pub mod paging;
pub mod zops;

use std::io;
use std::path::Path;

use crate::domain::{Cause, Failure};

/// Why a command could not do its work.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// A key of the configuration that this command needs is empty.
    #[error("use {table}: set {key} in its table [directory.{table}]")]
    Unset {
        /// The table below `directory`.
        table: &'static str,
        /// The key.
        key: &'static str,
    },
    /// The configuration names a secret that cannot be used.
    #[error("use [directory.{table}] {why}")]
    Secret {
        /// The table below `directory`.
        table: &'static str,
        /// The key and what is wrong with its file.
        why: String,
    },
    /// The HTTP client cannot be set up.
    #[error("set up the HTTP client: {0}")]
    Setup(String),
    /// A request had no good answer.
    #[error("{call}: {failure}")]
    Exchange {
        /// The words for the request.
        call: &'static str,
        /// Why there is no answer.
        failure: Failure,
    },
    /// The tokens are lost, refused or were never there.
    #[error("use ezeep: {0}; pair again with `directory ezeep pair`")]
    PairAgain(String),
    /// The pages of a list lead astray.
    #[error("{call}: {why}")]
    Pages {
        /// The list.
        call: &'static str,
        /// The refusal.
        why: paging::PagingError,
    },
    /// The thing that was named is not there, or is not as it has to be.
    #[error("{0}")]
    Unfit(String),
    /// A file cannot be read or written.
    #[error("use {path}: {detail}")]
    Disk {
        /// The file.
        path: String,
        /// The system's message.
        detail: String,
    },
}

impl DirectoryError {
    pub(crate) fn disk(path: &Path, error: &io::Error) -> Self {
        Self::Disk { path: path.display().to_string(), detail: error.to_string() }
    }

    /// An answer that is none.
    fn malformed(call: &'static str, why: &str) -> Self {
        Self::Exchange { call, failure: Failure::new(Cause::Malformed, why) }
    }

    /// The cause, if an exchange failed.
    pub fn cause(&self) -> Option<Cause> {
        match self {
            Self::Exchange { failure, .. } => Some(failure.cause),
            _ => None,
        }
    }
}
