//! The question of an export. It stays the same when the export goes on later, so it stands beside the file.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use super::{ExportArgs, ExportError};
use crate::cli::queue::ExportFormat;

/// Reads a day, which begins at midnight UTC, or a moment.
pub(super) fn time(text: &str) -> Result<Timestamp, String> {
    if let Ok(day) = text.parse::<Date>()
        && text.len() == "2026-11-01".len()
    {
        return day.to_zoned(TimeZone::UTC).map(|start| start.timestamp()).map_err(|error| error.to_string());
    }
    text.parse().map_err(|_| "it is neither a day (2026-11-01) nor a moment (2026-11-01T08:00:00Z)".to_owned())
}

/// The rows that are wanted, and the form in which they are written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct ExportQuery {
    pub(super) from: Timestamp,
    /// The end that was asked for.
    asked_to: Option<Timestamp>,
    /// The end of the export: never later than the time of its begin, because later rows may still come.
    pub(super) to: Timestamp,
    pub(super) user: Option<String>,
    pub(super) format: ExportFormat,
}

impl ExportQuery {
    /// The query of these arguments at the time `now` of the server.
    pub(super) fn new(arguments: &ExportArgs, now: Timestamp) -> Result<Self, ExportError> {
        let to = arguments.to.map_or(now, |to| to.min(now));
        if arguments.from >= to {
            let detail = format!("--from ({}) has to lie before --to and before now ({to})", arguments.from);
            return Err(ExportError::Usage(detail));
        }
        Ok(Self {
            from: arguments.from,
            asked_to: arguments.to,
            to,
            user: arguments.user.clone(),
            format: arguments.format.unwrap_or(ExportFormat::Jsonl),
        })
    }

    /// Whether these arguments ask for the same. An end that is not named is that of the begin.
    pub(super) fn is_of(&self, arguments: &ExportArgs) -> bool {
        self.from == arguments.from
            && self.user == arguments.user
            && self.format == arguments.format.unwrap_or(ExportFormat::Jsonl)
            && (arguments.to.is_none() || self.asked_to == arguments.to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_day_or_a_moment() {
        for (text, read) in [
            ("2026-11-01", Some("2026-11-01T00:00:00Z")),
            ("2026-11-01T08:00:00+01:00", Some("2026-11-01T07:00:00Z")),
            ("2026-11-01T08:00:00.5Z", Some("2026-11-01T08:00:00.5Z")),
            ("2026-11-01T08:00:00", None),
            ("2026-13-01", None),
            ("yesterday", None),
            ("", None),
        ] {
            assert_eq!(time(text).ok(), read.map(|read| read.parse().unwrap()), "{text}");
        }
    }
}
