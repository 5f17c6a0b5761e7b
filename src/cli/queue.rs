//! `queue`: what waits for the server, asked of the running agent, or read from the state directory when none runs.

use std::path::Path;

use serde_json::Value;

use super::{Exit, daemon, load, runtime};
use crate::config::Config;
use crate::journal::{Journal, JournalError};

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// Everything that waits: releases without an outcome, job records, and those that the server refused.
    List,
}

pub(super) fn run(path: &Path, json: bool, command: &Command) -> Exit {
    let config = match load(path) {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    let Command::List = command;
    let listing = runtime().map_err(anyhow::Error::from).and_then(|runtime| runtime.block_on(list(&config)));
    match listing {
        Ok(listing) if json => println!("{listing}"),
        Ok(listing) => print!("{}", table(&listing)),
        Err(error) => {
            eprintln!("failed to {error:#}");
            return if error.is::<JournalError>() { Exit::Disk } else { Exit::Failed };
        }
    }
    Exit::Done
}

async fn list(config: &Config) -> anyhow::Result<Value> {
    if let Some(listing) = daemon::get(&config.agent.control_socket, "/queue").await? {
        return Ok(listing);
    }
    let journal = Journal::open(&config.agent.state_dir)?;
    Ok(serde_json::to_value(journal.list().await?)?)
}

/// One line an entry: number, kind, time, station, document.
fn table(listing: &Value) -> String {
    let mut lines = Vec::new();
    for (kind, entry) in [("releases", "release"), ("records", "record"), ("dead", "record")] {
        for row in listing[kind].as_array().into_iter().flatten() {
            let text = |pointer: &str| row.pointer(pointer).and_then(Value::as_str).unwrap_or("-").to_owned();
            let document = if entry == "release" { text("/release/document/uuid") } else { text("/record/document") };
            let state = match kind {
                "releases" => text("/outcome/outcome").replace('-', "open"),
                "dead" => format!("dead: {}", text("/reason")),
                _ if row["attempted"].is_null() => "waiting".to_owned(),
                _ => "in doubt".to_owned(),
            };
            let (time, station) = (text(&format!("/{entry}/time")), text(&format!("/{entry}/station")));
            lines.push(format!("{:>6}  {entry:<8} {time}  {station:<12} {document}  {state}", row["id"]));
        }
    }
    if lines.is_empty() { "nothing waits\n".to_owned() } else { lines.join("\n") + "\n" }
}
