//! Carries an export out, window by window.

use jiff::{SignedDuration, Timestamp};

use super::access::HistoryAccess;
use super::output::{ExportFiles, ExportOutput, ExportState};
use super::query::ExportQuery;
use super::window::{NextPage, WindowPages};
use super::{ExportArgs, ExportError, row};
use crate::cli::assemble;
use crate::cli::shown::harmless_json;
use crate::config::Config;
use crate::domain::{Cause, Failure};
use crate::print_server::HistoryQuery;

/// A window: a broken export repeats one at most. The server takes up to a week (docs/print-server-api.md, "History").
const WINDOW: SignedDuration = SignedDuration::from_hours(24);

/// The result of an export that came to its end.
pub(super) struct Exported {
    pub(super) query: ExportQuery,
    pub(super) rows: u64,
    /// The windows in which rows may be missing.
    pub(super) doubts: u64,
}

pub(super) async fn run(config: &Config, json: bool, arguments: &ExportArgs) -> Result<Exported, ExportError> {
    let client = assemble::client(config).map_err(|error| ExportError::Usage(error.to_string()))?;
    let files = arguments.out.as_deref().map(ExportFiles::new);
    let begun = files.as_ref().map(|files| files.begun(arguments)).transpose()?.flatten();
    let state = match begun {
        Some(state) => state,
        None => {
            // The server's clock decides which rows are still to come.
            let from = arguments.from;
            client.learn_time().await.map_err(|failure| ExportError::Server { from, failure })?;
            ExportState::new(ExportQuery::new(arguments, client.likely_server_time())?)
        }
    };
    if let (true, Some(files)) = (state.whole, &files) {
        files.finish()?;
        return Ok(Exported { query: state.query, rows: state.rows, doubts: state.doubts });
    }
    let output = match files {
        Some(files) => ExportOutput::open(files, &state)?,
        None => ExportOutput::Stdout,
    };
    let one_document = json && arguments.out.is_none();
    let mut export = HistoryExport { access: HistoryAccess::new(config, client), output, state, one_document };
    export.run().await?;
    let ExportState { query, rows, doubts, .. } = export.state;
    Ok(Exported { query, rows, doubts })
}

struct HistoryExport<'a> {
    access: HistoryAccess<'a>,
    output: ExportOutput,
    state: ExportState,
    /// The rows are one JSON document on standard output.
    one_document: bool,
}

impl HistoryExport<'_> {
    async fn run(&mut self) -> Result<(), ExportError> {
        let ExportQuery { from, to, .. } = self.state.query;
        let mut is_open = false;
        while self.state.next < to {
            let end = self.state.next.saturating_add(WINDOW).map_or(to, |end| end.min(to));
            let rows = self.state.rows;
            self.window(end, &mut is_open).await?;
            self.state.next = end;
            // An empty window costs no write; the next run asks for it again.
            if self.state.rows > rows && end < to {
                self.output.commit(&self.state)?;
            }
        }
        if !is_open {
            self.begin(&mut is_open)?;
        }
        if self.one_document {
            let tail = format!("],\"from\":\"{from}\",\"to\":\"{to}\",\"doubts\":{}}}\n", self.state.doubts);
            self.output.write(&mut self.state, &tail)?;
        }
        self.state.whole = true;
        self.output.commit(&self.state)
    }

    /// Writes what stands before the rows, unless an earlier run has.
    fn begin(&mut self, is_open: &mut bool) -> Result<(), ExportError> {
        let head = match (self.one_document, self.state.bytes) {
            (true, _) => "{\"rows\":[".to_owned(),
            (false, 0) => row::header(self.state.query.format),
            (false, _) => String::new(),
        };
        *is_open = true;
        self.output.write(&mut self.state, &head)
    }

    /// Writes the new rows of the window that begins at `state.next`.
    async fn window(&mut self, end: Timestamp, is_open: &mut bool) -> Result<(), ExportError> {
        let from = self.state.next;
        let query = HistoryQuery { user: self.state.query.user.clone(), from, to: end };
        let mut pages = WindowPages::new(end, &self.state.border());
        let (mut token, mut begins_again) = (None, true);
        loop {
            let page = match self.access.page(&query, token.as_deref()).await {
                Ok(page) => page,
                // A server forgets its page tokens after a while. The rows so far are known and not written again.
                Err(Failure { cause: Cause::Rejected | Cause::NotFound, .. }) if token.is_some() && begins_again => {
                    (token, begins_again) = (None, false);
                    continue;
                }
                Err(failure) => return Err(ExportError::page(from, self.access.device_advice(), failure)),
            };
            if !*is_open {
                self.begin(is_open)?;
            }
            let mut fresh = 0;
            for row in page.rows.iter().filter(|row| pages.is_new(row)) {
                fresh += 1;
                self.write(row)?;
            }
            token = match pages.next(&page, fresh) {
                NextPage::Ask(token) => Some(token),
                NextPage::End => break,
                NextPage::Loop => {
                    self.state.doubts += 1;
                    break;
                }
                NextPage::TooMany => {
                    let detail = format!("read the server's history: the day from {from} has no end");
                    return Err(ExportError::Failed(detail));
                }
            };
        }
        self.state.set_border(&pages.into_border());
        Ok(())
    }

    fn write(&mut self, row: &serde_json::Value) -> Result<(), ExportError> {
        let text = if self.one_document {
            let separator = if self.state.rows == 0 { "" } else { "," };
            format!("{separator}{}", harmless_json(&row.to_string()))
        } else {
            row::line(self.state.query.format, row)
        };
        self.state.rows += 1;
        self.output.write(&mut self.state, &text)
    }
}
