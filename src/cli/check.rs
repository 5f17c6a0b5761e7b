//! `check`: tries everything that the box needs, and prints one line for each, before anybody comes with a card.

use std::path::Path;

use serde_json::{Value, json};

use super::{Exit, assemble, daemon, identity, runtime};
use crate::config::{self, Config};
use crate::domain::{Cause, Failure};
use crate::journal::{Journal, JournalError, Limits};
use crate::print_server::Client;
use crate::print_server::device::{self, Standing};
use crate::status::mqtt;

/// The result of one check.
struct CheckResult {
    what: String,
    result: Result<String, String>,
    /// False when the check could not be made: then nothing is right or wrong.
    tried: bool,
    /// The exit code of the command when `result` is an error.
    exit: Exit,
}

pub(super) fn run(path: &Path, json: bool) -> Exit {
    let (lines, warnings) = match config::load(path) {
        Ok(mut config) => match runtime() {
            Ok(runtime) => {
                identity::take_names(&mut config);
                (runtime.block_on(check_everything(&config)), config.warnings)
            }
            Err(error) => {
                say_error!("failed to start the runtime: {error}");
                return Exit::Failed;
            }
        },
        Err(problems) if json => (problems.lines().map(CheckResult::of_problem).collect(), Vec::new()),
        Err(problems) => {
            super::say_problems(&problems);
            return Exit::Usage;
        }
    };
    if json {
        let rows: Vec<_> = lines.iter().map(CheckResult::document).collect();
        say_json!("{}", json!({ "checks": rows, "warnings": warnings }));
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

async fn check_everything(config: &Config) -> Vec<CheckResult> {
    // A running agent holds the journal and the readers, so it is asked about them.
    let running = daemon::ask_if_running(&config.agent.control_socket, "/status").await.ok().flatten();
    let mut lines = vec![CheckResult::new("configuration", Ok("in order".to_owned()), Exit::Usage)];
    lines.push(CheckResult::new("state directory", check_state_dir(config).await, Exit::Disk));
    lines.push(CheckResult::new("identity", identity::describe(config), Exit::Failed));
    lines.extend(check_server(config, running.as_ref()).await);
    for station in &config.stations {
        let state = running.as_ref().and_then(|status| status.pointer(&format!("/stations/{}/reader", station.name)));
        let result = match state.and_then(Value::as_str) {
            Some("connected") => Ok("connected, says the running agent".to_owned()),
            Some(_) => Err("not connected, says the running agent; see its log".to_owned()),
            None => check_reader(station).await,
        };
        lines.push(CheckResult::new(&format!("reader of {}", station.name), result, Exit::Unavailable));
    }
    if let Some(http) = config.http.as_ref().filter(|_| running.is_none()) {
        let address = http.listen;
        let free = std::net::TcpListener::bind(address).map(|_| format!("{address} is free to listen on"));
        lines.push(CheckResult::new(
            "page",
            free.map_err(|error| format!("{address} (http.listen): {error}")),
            Exit::Unavailable,
        ));
    }
    if let Some(mqtt) = &config.mqtt {
        lines.push(CheckResult::new("broker", check_broker(config, mqtt).await, Exit::Unavailable));
    }
    lines
}

async fn check_state_dir(config: &Config) -> Result<String, String> {
    let dir = &config.agent.state_dir;
    match Journal::open(dir, Limits::NONE, config.agent.journal_key.as_ref()) {
        Ok(journal) => {
            let counts = *journal.counts().borrow();
            journal.close().await;
            Ok(format!("{}: {} records wait, {} were refused", dir.display(), counts.records, counts.dead))
        }
        Err(JournalError::Locked { .. }) => Ok(format!("{}: in use by the running agent", dir.display())),
        Err(error) => Err(error.to_string()),
    }
}

async fn check_server(config: &Config, running: Option<&Value>) -> Vec<CheckResult> {
    let client = match assemble::client(config) {
        Ok(client) => client,
        Err(error) => return vec![CheckResult::new("server", Err(error.to_string()), Exit::Usage)],
    };
    let url = &config.server.url;
    let address = format!("{}:{}", url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or_default());
    let account = client.account().await.map(|()| format!("{address} answers, the account is there"));
    let there = account.is_ok();
    let mut lines =
        vec![CheckResult::new("server", account.map_err(|failure| format!("{address}: {failure}")), Exit::Unavailable)];
    if there {
        let line = match client.version().await {
            Ok(info) => {
                CheckResult::new("API key", Ok(format!("accepted, server version {}", info.version)), Exit::Done)
            }
            Err(Failure { cause: Cause::Refused(_), .. }) => {
                let why = "not tried: this server answers only somebody who is logged in; hold a card to try it";
                CheckResult { tried: false, ..CheckResult::new("API key", Ok(why.to_owned()), Exit::Done) }
            }
            Err(failure) => CheckResult::new("API key", Err(failure.to_string()), Exit::Unavailable),
        };
        lines.push(line);
    }
    if config.server.device.register {
        lines.push(CheckResult::new("device", check_device(config, &client, running), Exit::Unavailable));
    }
    lines
}

/// The standing of this box as a trusted device: the running agent reports it, or else the files of the last run do.
fn check_device(config: &Config, client: &Client, running: Option<&Value>) -> Result<String, String> {
    let id = &config.server.device.client_id;
    let reported = running.and_then(|status| status.pointer("/server/device")).and_then(Value::as_str);
    let remembered = || device::remembered(client, &assemble::device(config)).map(Standing::word);
    let (standing, witness) = match reported {
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

async fn check_reader(station: &crate::config::StationConfig) -> Result<String, String> {
    let reader = assemble::reader(station).map_err(|error| error.to_string())?;
    reader.probe().await.map_err(|error| error.to_string())
}

async fn check_broker(config: &Config, mqtt: &crate::config::MqttConfig) -> Result<String, String> {
    let (settings, _) = assemble::broker(config, mqtt).map_err(|error| error.to_string())?;
    let place = format!("{}:{}", settings.host, settings.port);
    match mqtt::probe(&settings).await {
        Ok(()) => Ok(format!("{place} accepts the agent")),
        Err(error) => Err(format!("{place}: {error}")),
    }
}

impl CheckResult {
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
