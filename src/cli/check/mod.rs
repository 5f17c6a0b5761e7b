//! `check`: tries everything that the box needs, and prints one line for each, before anybody comes with a card.

mod card;
mod eyes;
mod server;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{Exit, assemble, daemon, identity, runtime};
use crate::config::{self, Config, Transport};
use crate::journal::{Journal, JournalError, Limits};
use crate::status::mqtt;
use eyes::ServiceUser;

#[derive(clap::Args)]
pub(super) struct CheckArgs {
    /// Wait for a card at the station, and go the whole way but the release. The name may be left out where there is one station.
    #[arg(long, value_name = "STATION", num_args = 0..=1, default_missing_value = "")]
    card: Option<String>,
}

/// The result of one check.
struct CheckResult {
    what: String,
    result: Result<String, String>,
    /// False when the check could not be made: then nothing is right or wrong.
    tried: bool,
    /// The exit code of the command when `result` is an error.
    exit: Exit,
}

pub(super) fn run(path: &Path, json: bool, arguments: &CheckArgs) -> Exit {
    let (lines, warnings) = match config::load(path) {
        Ok(mut config) => match runtime() {
            Ok(runtime) => {
                identity::take_names(&mut config);
                let lines = runtime.block_on(check_everything(&config, path, arguments));
                let more = server::token_warning(&config);
                (lines, config.warnings.into_iter().chain(more).collect())
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

async fn check_everything(config: &Config, path: &Path, arguments: &CheckArgs) -> Vec<CheckResult> {
    let user = ServiceUser::find();
    // A running agent holds the journal and the readers, so it is asked about them.
    let running = daemon::ask_if_running(&config.agent.control_socket, "/status").await.ok().flatten();
    let in_order = check_devices(config).and_then(|()| check_files(path, user.as_ref()));
    let mut lines = vec![CheckResult::new("configuration", in_order.map(|()| "in order".to_owned()), Exit::Usage)];
    lines.push(CheckResult::new("state directory", check_state_dir(config, user.as_ref()).await, Exit::Disk));
    lines.push(CheckResult::new("identity", identity::describe(config), Exit::Failed));
    lines.extend(server::check_server(config, running.as_ref(), arguments.card.is_some()).await);
    for station in &config.stations {
        let state = running.as_ref().and_then(|status| status.pointer(&format!("/stations/{}/reader", station.name)));
        let result = match state.and_then(Value::as_str) {
            Some("connected") => Ok("connected, says the running agent".to_owned()),
            Some(_) => Err("not connected, says the running agent; see its log".to_owned()),
            None => check_reader(station, user.as_ref()).await,
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
    if let Some(station) = &arguments.card {
        lines.extend(card::check_card(config, station, running.is_some()).await);
    }
    lines
}

/// The device of a station, whatever link in `/dev` names it.
fn device(transport: &Transport) -> Option<PathBuf> {
    match transport {
        Transport::Serial { device, .. } | Transport::Hid { device } => {
            Some(std::fs::canonicalize(device).unwrap_or_else(|_| device.clone()))
        }
        _ => None,
    }
}

/// Two stations on one device take each other's cards.
fn check_devices(config: &Config) -> Result<(), String> {
    let mut seen: HashMap<PathBuf, &str> = HashMap::new();
    for station in &config.stations {
        let Some(device) = device(&station.reader.transport) else { continue };
        if let Some(other) = seen.insert(device.clone(), &station.name) {
            return Err(format!(
                "the stations {other} and {} have the same reader, {}; give each a `device` of its own in [station.reader]",
                station.name,
                device.display()
            ));
        }
    }
    Ok(())
}

/// Whether the service may read the configuration and the files that it names.
fn check_files(path: &Path, user: Option<&ServiceUser>) -> Result<(), String> {
    let Some(user) = user else { return Ok(()) };
    user.may(path, eyes::READ)?;
    let text = std::fs::read_to_string(path).unwrap_or_default();
    eyes::named_files(&text)
        .into_iter()
        .try_for_each(|(key, file)| user.may(&file, eyes::READ).map_err(|why| format!("{key}: {why}")))
}

async fn check_state_dir(config: &Config, user: Option<&ServiceUser>) -> Result<String, String> {
    let dir = &config.agent.state_dir;
    user.map_or(Ok(()), |user| user.may(dir, eyes::READ_WRITE))?;
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

async fn check_reader(station: &config::StationConfig, user: Option<&ServiceUser>) -> Result<String, String> {
    if let (Some(user), Some(device)) = (user, device(&station.reader.transport)) {
        user.may(&device, eyes::READ_WRITE)?;
    }
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

    /// A thing that cannot be tried now, or that is only wanted.
    fn untried(what: &str, why: &str) -> Self {
        Self { tried: false, ..Self::new(what, Ok(why.to_owned()), Exit::Done) }
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
