//! `check`: one line for each thing that the box needs, before somebody stands before it with a card.

use std::path::Path;

use serde_json::{Value, json};

use super::{Exit, assemble, daemon, runtime};
use crate::config::{self, Config};
use crate::domain::{Cause, Failure};
use crate::journal::{Journal, JournalError, Limits};
use crate::print_server::Client;
use crate::print_server::device::{self, Standing};
use crate::status::mqtt;

/// One thing that was tried.
struct Line {
    what: String,
    result: Result<String, String>,
    /// What could not be tried is neither right nor wrong.
    tried: bool,
    /// The exit code when it is wrong.
    exit: Exit,
}

pub(super) fn run(path: &Path, json: bool) -> Exit {
    let (lines, warnings) = match config::load(path) {
        Ok(config) => match runtime() {
            Ok(runtime) => (runtime.block_on(try_everything(&config)), config.warnings),
            Err(error) => {
                eprintln!("failed to start the runtime: {error}");
                return Exit::Failed;
            }
        },
        Err(problems) if json => (problems.lines().map(Line::of_problem).collect(), Vec::new()),
        Err(problems) => {
            eprintln!("{problems}");
            return Exit::Usage;
        }
    };
    if json {
        let rows: Vec<_> = lines.iter().map(Line::document).collect();
        say!("{}", json!({ "checks": rows, "warnings": warnings }));
    } else {
        for warning in &warnings {
            say!("warning  {warning}");
        }
        for line in &lines {
            say!("{}", line.text());
        }
    }
    lines.iter().find(|line| line.result.is_err()).map_or(Exit::Done, |line| line.exit)
}

async fn try_everything(config: &Config) -> Vec<Line> {
    // A running agent holds the journal and the readers: then it is asked instead.
    let running = daemon::get(&config.agent.control_socket, "/status").await.ok().flatten();
    let mut lines = vec![Line::new("configuration", Ok("in order".to_owned()), Exit::Usage)];
    lines.push(Line::new("state directory", state_dir(config), Exit::Disk));
    lines.extend(server(config, running.as_ref()).await);
    for station in &config.stations {
        let state = running.as_ref().and_then(|status| status.pointer(&format!("/stations/{}/reader", station.name)));
        let result = match state.and_then(Value::as_str) {
            Some("connected") => Ok("connected, says the running agent".to_owned()),
            Some(_) => Err("not connected, says the running agent; see its log".to_owned()),
            None => reader(station).await,
        };
        lines.push(Line::new(&format!("reader of {}", station.name), result, Exit::Unavailable));
    }
    if let Some(address) = config.http.filter(|_| running.is_none()) {
        let free = std::net::TcpListener::bind(address).map(|_| format!("{address} is free to listen on"));
        lines.push(Line::new(
            "page",
            free.map_err(|error| format!("{address} (http.listen): {error}")),
            Exit::Unavailable,
        ));
    }
    if let Some(mqtt) = &config.mqtt {
        lines.push(Line::new("broker", broker(config, mqtt).await, Exit::Unavailable));
    }
    lines
}

fn state_dir(config: &Config) -> Result<String, String> {
    let dir = &config.agent.state_dir;
    match Journal::open(dir, Limits::NONE, config.agent.journal_key.as_ref()) {
        Ok(journal) => {
            let counts = *journal.counts().borrow();
            Ok(format!("{}: {} records wait, {} were refused", dir.display(), counts.records, counts.dead))
        }
        Err(JournalError::Locked { .. }) => Ok(format!("{}: in use by the running agent", dir.display())),
        Err(error) => Err(error.to_string()),
    }
}

async fn server(config: &Config, running: Option<&Value>) -> Vec<Line> {
    let client = match assemble::client(config) {
        Ok(client) => client,
        Err(error) => return vec![Line::new("server", Err(error.to_string()), Exit::Usage)],
    };
    let url = &config.server.url;
    let address = format!("{}:{}", url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or_default());
    let account = client.account().await.map(|()| format!("{address} answers, the account is there"));
    let there = account.is_ok();
    let mut lines =
        vec![Line::new("server", account.map_err(|failure| format!("{address}: {failure}")), Exit::Unavailable)];
    if there {
        let line = match client.version().await {
            Ok(info) => Line::new("API key", Ok(format!("accepted, server version {}", info.version)), Exit::Done),
            Err(Failure { cause: Cause::Refused(_), .. }) => {
                let why = "not tried: this server answers only somebody who is logged in; hold a card to try it";
                Line { tried: false, ..Line::new("API key", Ok(why.to_owned()), Exit::Done) }
            }
            Err(failure) => Line::new("API key", Err(failure.to_string()), Exit::Unavailable),
        };
        lines.push(line);
    }
    if config.server.device.register {
        lines.push(Line::new("device", device(config, &client, running), Exit::Unavailable));
    }
    lines
}

/// Where this box stands as a trusted device: by the running agent's word, or as it was when one last ran.
fn device(config: &Config, client: &Client, running: Option<&Value>) -> Result<String, String> {
    let id = &config.server.device.client_id;
    let told = running.and_then(|status| status.pointer("/server/device")).and_then(Value::as_str);
    let remembered = || device::remembered(client, &assemble::device(config)).map(Standing::word);
    let (standing, witness) = match told {
        Some(standing) => (standing, "says the running agent"),
        None => (remembered().map_err(|error| error.to_string())?, "as far as is remembered here"),
    };
    let advice = match standing {
        "trusted" => return Ok(format!("\"{id}\" is trusted, {witness}")),
        "waiting-for-approval" => "an administrator of the print server has to trust it",
        "refused" => "the server refuses it; see the agent's log",
        "none" => "the agent has not read the configuration again yet: reload it",
        _ => "the agent registers it when it runs and reaches the server; so does `enroll`",
    };
    Err(format!("\"{id}\" is {standing}, {witness}: {advice}"))
}

async fn reader(station: &crate::config::StationConfig) -> Result<String, String> {
    let reader = assemble::reader(station).map_err(|error| error.to_string())?;
    reader.probe().await.map_err(|error| error.to_string())
}

async fn broker(config: &Config, mqtt: &crate::config::MqttConfig) -> Result<String, String> {
    let (settings, _) = assemble::broker(config, mqtt).map_err(|error| error.to_string())?;
    let place = format!("{}:{}", settings.host, settings.port);
    match mqtt::probe(&settings).await {
        Ok(()) => Ok(format!("{place} accepts the agent")),
        Err(error) => Err(format!("{place}: {error}")),
    }
}

impl Line {
    fn new(what: &str, result: Result<String, String>, exit: Exit) -> Self {
        Self { what: what.to_owned(), result, tried: true, exit }
    }

    fn of_problem(problem: &str) -> Self {
        Self::new("configuration", Err(problem.to_owned()), Exit::Usage)
    }

    fn text(&self) -> String {
        match &self.result {
            Ok(detail) if self.tried => format!("ok       {}: {detail}", self.what),
            Ok(detail) => format!("?        {}: {detail}", self.what),
            Err(detail) => format!("FAILED   {}: {detail}", self.what),
        }
    }

    fn document(&self) -> Value {
        let detail = self.result.as_ref().unwrap_or_else(|detail| detail);
        json!({ "what": self.what, "ok": self.tried.then_some(self.result.is_ok()), "detail": detail })
    }
}
