//! `queue`: shows and changes the entries that wait for the server. It asks the running agent, or opens the state directory
//! itself when none runs.

mod retry;

use std::path::Path;

use anyhow::Context;
use serde_json::{Value, json};

use super::daemon::{self, ErrorResponse};
use super::shown::harmless_json;
use super::{Exit, csv, load, runtime};
use crate::config::Config;
use crate::domain::EntryId;
use crate::journal::{Journal, JournalError, Limits, Listing};

#[derive(clap::Subcommand)]
pub(super) enum QueueCommand {
    /// Everything that waits: releases without an outcome, job records, and those that the server refused.
    List,
    /// One entry with all that is known of it.
    Show {
        /// Its number.
        id: EntryId,
    },
    /// Send a job record again that the server refused for good, or all of them.
    Retry {
        /// Its number.
        #[arg(required_unless_present = "all", conflicts_with = "all")]
        id: Option<EntryId>,
        /// Every one that is there now. It may be interrupted; the next one goes on.
        #[arg(long)]
        all: bool,
    },
    /// Give up a refused job record, a release whose outcome is unknown, or an entry that cannot be read.
    Drop {
        /// Its number.
        id: EntryId,
    },
    /// Everything that waits, for other programs.
    Export {
        /// JSON, one line an entry (jsonl, the default), or CSV with a header. With --json it is one document.
        #[arg(long, value_enum)]
        format: Option<ExportFormat>,
    },
    /// Look for damage: every entry, the tally, and what was set aside. Exits with 1 when there is any.
    Verify,
}

/// The form of an export, by the word that the command takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(super) enum ExportFormat {
    #[value(alias = "json")]
    Jsonl,
    Csv,
}

pub(super) fn run(path: &Path, json: bool, command: &QueueCommand) -> Exit {
    if json && matches!(command, QueueCommand::Export { format: Some(_) }) {
        say_error!("--json and --format exclude each other: leave one out");
        return Exit::Usage;
    }
    let config = match load(path) {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    let done = runtime().map_err(anyhow::Error::from).and_then(|runtime| {
        runtime.block_on(async {
            let source = QueueSource::of(&config).await?;
            let done = carry_out(&source, json, command).await;
            if let QueueSource::Journal(journal) = &source {
                journal.close().await;
            }
            done
        })
    });
    match done {
        Ok(exit) => exit,
        Err(error) => {
            say_error!("failed to {error:#}");
            exit_of(&error)
        }
    }
}

/// A mistake of the person is [`Exit::Failed`]; an error of the journal is the disk's.
fn exit_of(error: &anyhow::Error) -> Exit {
    match (error.downcast_ref::<JournalError>(), error.downcast_ref::<ErrorResponse>()) {
        (Some(JournalError::Unknown(_) | JournalError::NotForThis { .. }), _) => Exit::Failed,
        (Some(_), _) => Exit::Disk,
        (None, Some(response)) if response.status.is_server_error() => Exit::Disk,
        _ => Exit::Failed,
    }
}

async fn carry_out(queue: &QueueSource<'_>, json: bool, command: &QueueCommand) -> anyhow::Result<Exit> {
    match command {
        QueueCommand::List | QueueCommand::Export { .. } if json => queue.print_whole().await?,
        QueueCommand::List => {
            let mut any = false;
            let list = |kind: &str, row: &Value| {
                any = true;
                say!("{}", entry_line(kind, row));
            };
            queue.each(list).await?;
            if !any {
                say!("nothing waits");
            }
        }
        QueueCommand::Show { id } => {
            let entry = queue.show(*id).await?;
            say_json!("{}", if json { entry.to_string() } else { format!("{entry:#}") });
        }
        QueueCommand::Retry { id: None, .. } => return retry::all(queue, json).await,
        QueueCommand::Retry { id: Some(id), .. } => {
            let next = queue.retry(*id).await?;
            say_json!("{}", if json { next.to_string() } else { format!("{id} is sent again as {}", next["id"]) });
        }
        QueueCommand::Drop { id } => {
            let dropped = queue.give_up(*id).await?;
            say_json!("{}", if json { dropped.to_string() } else { format!("dropped: {dropped}") });
        }
        QueueCommand::Export { format: None | Some(ExportFormat::Jsonl) } => {
            queue.each(|kind, row| say_json!("{}", json!({ "kind": kind, "entry": row }))).await?;
        }
        QueueCommand::Export { format: Some(ExportFormat::Csv) } => {
            say!("{}", CSV_COLUMNS.map(|(name, _)| name).join(","));
            queue.each(|kind, row| super::print(csv_line(kind, row).as_bytes())).await?;
        }
        QueueCommand::Verify => return Ok(print_verification(&queue.verify().await?, json)),
    }
    Ok(Exit::Done)
}

/// The lists of a page, each with the kind of its entries.
const KINDS: [(&str, &str); 3] = [("releases", "release"), ("records", "record"), ("dead", "dead")];

/// The place where the entries are read and changed.
enum QueueSource<'a> {
    /// The running agent, through its control socket.
    Agent(&'a Path),
    /// The journal, opened by this command.
    Journal(Journal),
    /// Nothing was ever stored, and looking at it must not create a journal.
    Empty,
}

impl<'a> QueueSource<'a> {
    async fn of(config: &'a Config) -> anyhow::Result<Self> {
        let (socket, dir) = (&config.agent.control_socket, &config.agent.state_dir);
        if daemon::is_running(socket).await? {
            return Ok(Self::Agent(socket));
        }
        match std::fs::read_dir(dir) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::Empty),
            entries => drop(entries.with_context(|| format!("look into {}", dir.display()))?),
        }
        Ok(if Journal::is_there(dir) {
            Self::Journal(Journal::open(dir, Limits::NONE, config.agent.journal_key.as_ref())?)
        } else {
            Self::Empty
        })
    }

    async fn page(&self, after: EntryId) -> anyhow::Result<Value> {
        match self {
            Self::Agent(socket) => daemon::ask(socket, &format!("/queue?after={after}")).await,
            Self::Journal(journal) => Ok(serde_json::to_value(journal.list(after).await?)?),
            Self::Empty => Ok(serde_json::to_value(Listing::default())?),
        }
    }

    /// Shows every entry with its kind. Only one page of them is in memory at a time.
    async fn each(&self, mut show: impl FnMut(&str, &Value)) -> anyhow::Result<()> {
        let mut after = 0;
        loop {
            let page = self.page(after).await?;
            for (list, kind) in KINDS {
                page[list].as_array().into_iter().flatten().for_each(|row| show(kind, row));
            }
            match page["next"].as_u64() {
                Some(next) => after = next,
                None => return Ok(()),
            }
        }
    }

    /// Prints every entry as one JSON document. It goes through the pages once for each kind, so that no list is ever in memory;
    /// an entry moves from one kind to the next in their order, so that none is missed.
    async fn print_whole(&self) -> anyhow::Result<()> {
        // An agent or a journal that cannot be asked is found before anything is printed.
        self.page(0).await?;
        let mut opening = '{';
        for (list, wanted) in KINDS {
            super::print(format!("{opening}\"{list}\":[").as_bytes());
            let mut separator = "";
            let print = |kind: &str, row: &Value| {
                if kind == wanted {
                    super::print(format!("{separator}{}", harmless_json(&row.to_string())).as_bytes());
                    separator = ",";
                }
            };
            self.each(print).await?;
            super::print(b"]");
            opening = ',';
        }
        super::print(b"}\n");
        Ok(())
    }

    async fn show(&self, id: EntryId) -> anyhow::Result<Value> {
        match self {
            Self::Agent(socket) => daemon::ask(socket, &format!("/queue/{id}")).await,
            Self::Journal(journal) => Ok(serde_json::to_value(journal.show(id).await?)?),
            Self::Empty => Err(JournalError::Unknown(id).into()),
        }
    }

    async fn retry(&self, id: EntryId) -> anyhow::Result<Value> {
        match self {
            Self::Agent(socket) => daemon::post(socket, &format!("/queue/{id}/retry")).await,
            Self::Journal(journal) => Ok(json!({ "id": journal.retry(id).await? })),
            Self::Empty => Err(JournalError::Unknown(id).into()),
        }
    }

    async fn give_up(&self, id: EntryId) -> anyhow::Result<Value> {
        match self {
            Self::Agent(socket) => daemon::post(socket, &format!("/queue/{id}/drop")).await,
            Self::Journal(journal) => Ok(serde_json::to_value(journal.give_up(id).await?)?),
            Self::Empty => Err(JournalError::Unknown(id).into()),
        }
    }

    async fn verify(&self) -> anyhow::Result<Value> {
        match self {
            Self::Agent(socket) => daemon::ask_with_long_limit(socket, "/queue/verify").await,
            Self::Journal(journal) => Ok(serde_json::to_value(journal.verify().await?)?),
            Self::Empty => Ok(json!({ "entries": 0, "problems": 0, "details": [] })),
        }
    }
}

/// An entry as one line: number, kind, time, station, document, state, last error and next attempt.
fn entry_line(kind: &str, row: &Value) -> String {
    let of = |pointer: &str| row.pointer(pointer).and_then(Value::as_str).unwrap_or("-").to_owned();
    let (part, document) = if kind == "release" { ("release", "document/uuid") } else { ("record", "document") };
    let state = match kind {
        "release" => of("/outcome/outcome").replace('-', "open"),
        "dead" => format!("refused: {}", of("/reason")),
        _ => {
            let state = if row["attempted"].is_null() { "waiting" } else { "in doubt" };
            let next = row["next_attempt"].as_str().map(|next| format!("; next attempt {next}")).unwrap_or_default();
            let error = row["last_error"].as_str().map(|error| format!(": {error}")).unwrap_or_default();
            format!("{state}{error}{next}")
        }
    };
    let (time, station) = (of(&format!("/{part}/time")), of(&format!("/{part}/station")));
    format!("{:>6}  {kind:<8} {time}  {station:<12} {}  {state}", row["id"], of(&format!("/{part}/{document}")))
}

/// Every column, with its place in a record and in a release.
const CSV_COLUMNS: [(&str, [&str; 2]); 21] = [
    ("kind", ["", ""]),
    ("id", ["/id", "/id"]),
    ("time", ["/record/time", "/release/time"]),
    ("tap", ["/record/tap", "/release/tap"]),
    ("station", ["/record/station", "/release/station"]),
    ("user", ["/record/user/name", "/release/user/name"]),
    ("document", ["/record/document", "/release/document/uuid"]),
    ("title", ["/record/title", "/release/document/title"]),
    ("pages", ["/record/pages", "/release/document/pages"]),
    ("reason", ["/reason", "/outcome/reason"]),
    ("provider", ["/record/user/provider", "/release/user/provider"]),
    ("printer", ["/record/port", "/release/port"]),
    ("color_pages", ["/record/color_pages", "/release/document/color_pages"]),
    ("grayscale", ["/record/grayscale", "/release/document/grayscale"]),
    ("copies", ["/record/copies", "/release/document/copies"]),
    ("duplex", ["/record/long_edge", "/release/document/duplex"]),
    ("paper_size", ["/record/paper_size", "/release/document/paper_size"]),
    ("attempted", ["/attempted", "/attempted"]),
    ("last_error", ["/last_error", "/last_error"]),
    ("next_attempt", ["/next_attempt", "/next_attempt"]),
    ("carried_over", ["/carried_over", "/carried_over"]),
];

/// An entry as one line of CSV.
fn csv_line(kind: &str, row: &Value) -> String {
    let values =
        CSV_COLUMNS.map(|(name, [record, release])| match row.pointer(record).or_else(|| row.pointer(release)) {
            _ if name == "kind" => Some(json!(kind)),
            // A record says only over which edge the sheet is turned.
            Some(Value::Bool(long_edge)) if name == "duplex" => {
                Some(json!(if *long_edge { "long-edge" } else { "short-edge" }))
            }
            // A port is an address or a serial number.
            Some(Value::Object(port)) => port.values().next().cloned(),
            value => value.cloned(),
        });
    csv::line(values.iter().map(Option::as_ref))
}

fn print_verification(verified: &Value, json: bool) -> Exit {
    if json {
        say_json!("{verified}");
    } else {
        for detail in verified["details"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            say!("{detail}");
        }
        say!("{} entries read, {} problems", verified["entries"], verified["problems"]);
    }
    if verified["problems"] == 0 { Exit::Done } else { Exit::Failed }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_csv_has_all_that_an_auditor_asks_for() {
        let record = json!({
            "id": 7, "attempted": "2026-11-24T08:15:42Z", "last_error": "no answer, (answer-lost)",
            "next_attempt": "2026-11-24T08:16:00Z", "record": {
                "time": "2026-11-24T08:15:40Z", "tap": "T", "station": "lobby", "user": { "name": "ada", "provider": 65 },
                "document": "u", "title": "=A1, \"x\"\n", "pages": 3, "color_pages": 1, "paper_size": "A4",
                "long_edge": false, "port": { "serial": "DEMO0001" },
            },
        });
        let known = "record,7,2026-11-24T08:15:40Z,T,lobby,ada,u,\"'=A1, \"\"x\"\"\\n\",3,,65,DEMO0001,1,,,short-edge,A4,\
                     2026-11-24T08:15:42Z,\"no answer, (answer-lost)\",2026-11-24T08:16:00Z,\n";
        assert_eq!(csv_line("record", &record), known);
        let release = json!({ "id": 8, "release": {
            "user": { "name": "ada", "provider": null }, "port": { "address": "192.0.2.10" },
            "document": { "uuid": "u", "duplex": "long-edge", "copies": 2, "grayscale": true },
        }, "outcome": { "outcome": "unknown", "reason": "not-listed" } });
        assert_eq!(
            csv_line("release", &release),
            "release,8,,,,ada,u,,,not-listed,,192.0.2.10,,true,2,long-edge,,,,,\n"
        );
    }
}
