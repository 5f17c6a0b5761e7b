//! `history export`: writes the rows of the server's history for an auditor, as CSV or JSON lines.
//!
//! Invariants:
//! - Each row stands in the output once, although adjoining windows share their border and a page may repeat rows of the one before.
//! - An export to a file that was broken off, by a kill or a power cut too, goes on at the window where it ended ([`output`]).
//! - One page of rows is in memory at a time, and 16 bytes for each row of a window.

mod access;
mod error;
mod export;
mod output;
mod query;
mod row;
mod window;

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde_json::json;

use super::queue::ExportFormat;
use super::{Exit, identity, load, runtime};
use error::ExportError;
use export::Exported;

#[derive(clap::Subcommand)]
pub(super) enum HistoryCommand {
    /// Write the server's history of a time: documents of every status and job records.
    Export(ExportArgs),
}

#[derive(clap::Args)]
pub(super) struct ExportArgs {
    /// Rows from this time on: a day (2026-11-01, which begins at midnight UTC) or a moment (2026-11-01T08:00:00+01:00).
    #[arg(long, value_name = "TIME", value_parser = query::time)]
    from: Timestamp,
    /// Rows up to this time. The present time, by the server's clock, if it is left out or lies in the future.
    #[arg(long, value_name = "TIME", value_parser = query::time)]
    to: Option<Timestamp>,
    /// Rows of this login name only.
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// JSON, one line a row as the server gave it (jsonl, the default), or CSV with a header.
    #[arg(long, value_enum)]
    format: Option<ExportFormat>,
    /// Write into this file, which appears when it is whole; until then it is FILE.part.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Go on where an export to the same file was broken off; begin it if there is none.
    #[arg(long)]
    resume: bool,
}

pub(super) fn run(path: &Path, json: bool, command: &HistoryCommand) -> Exit {
    let HistoryCommand::Export(arguments) = command;
    if json && arguments.out.is_none() && arguments.format.is_some() {
        say_error!("--json and --format exclude each other without --out: leave one out");
        return Exit::Usage;
    }
    if arguments.resume && arguments.out.is_none() {
        say_error!("--resume needs --out, the file of the export that was broken off");
        return Exit::Usage;
    }
    let mut config = match load(path) {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    identity::take_names(&mut config);
    let exported = match runtime() {
        Ok(runtime) => runtime.block_on(export::run(&config, json, arguments)),
        Err(error) => Err(ExportError::Failed(format!("start the runtime: {error}"))),
    };
    match exported {
        Ok(exported) => report(&exported, json, arguments),
        Err(error) => {
            say_error!("failed to {error}");
            error.exit()
        }
    }
}

/// Says what was written. Beside rows on standard output only a doubt is told.
fn report(exported: &Exported, json: bool, arguments: &ExportArgs) -> Exit {
    let Exported { query, rows, doubts } = exported;
    if let Some(out) = &arguments.out {
        let (from, to, file) = (query.from, query.to, out.display().to_string());
        if json {
            say_json!("{}", json!({ "file": file, "from": from, "to": to, "rows": rows, "doubts": doubts }));
        } else {
            say!("{rows} rows from {from} to {to} in {file}");
        }
    }
    if *doubts == 0 {
        return Exit::Done;
    }
    say_error!(
        "in {doubts} windows the server gave the same page again and again instead of the next one: rows may be missing"
    );
    Exit::Failed
}
