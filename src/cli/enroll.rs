//! `enroll`: makes this box a trusted device by hand, and says at each step what happens and what the person has to do.
//!
//! If the running agent registers the box itself, the command leaves it to the agent and shows how far it is. An interrupted
//! `enroll` loses nothing: the next one, or the agent, goes on.

use std::fs::File;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use serde_json::{Value, json};

use super::{Exit, assemble, daemon, identity, load, runtime};
use crate::config::Config;
use crate::durable;
use crate::print_server::device::{DeviceError, Enrolment, EnrolmentStep, Pace};
use crate::random;

/// The most repeated registrations. After so many that the server accepts and then forgets, another one would not help.
const REPEAT_LIMIT: u32 = 5;

/// The file in the state directory that a running `enroll` holds locked.
const LOCK_FILE: &str = "enroll.lock";

/// The lines of the configuration that make the agent use the device token.
const REGISTER_LINES: &str = "[server.device]\nregister = true";

/// The result of the command: the standing of the device, and the error if there is one.
pub(super) struct EnrollResult {
    device: &'static str,
    exit: Exit,
    error: Option<String>,
}

/// Prints messages for a person; on standard error when standard output is for a machine.
#[derive(Clone, Copy)]
struct Console {
    json: bool,
}

impl Console {
    fn say(self, text: &str) {
        for line in text.lines() {
            if self.json { say_error!("{line}") } else { say!("{line}") }
        }
    }
}

pub(super) fn run(path: &Path, json: bool) -> Exit {
    let mut config = match load(path) {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    let console = Console { json };
    let result = match runtime() {
        Ok(runtime) => runtime.block_on(enroll(&mut config, console)),
        Err(error) => EnrollResult::failed("none", Exit::Failed, format!("start the runtime: {error}")),
    };
    if let Some(error) = &result.error {
        say_error!("failed to {error}");
    }
    if json {
        say_json!(
            "{}",
            json!({
                "device": result.device,
                "client_id": config.server.device.client_id,
                "register": config.server.device.register,
                "error": result.error,
            })
        );
    }
    result.exit
}

async fn enroll(config: &mut Config, console: Console) -> EnrollResult {
    match daemon::ask_if_running(&config.agent.control_socket, "/status").await {
        Ok(Some(status)) if agent_registers(config, &status) => return show_progress(&status, console),
        Ok(Some(_)) => identity::take_names(config),
        Ok(None) => {
            if let Err(error) = identity::settle(config) {
                return EnrollResult::failed("none", Exit::Disk, error.to_string());
            }
        }
        Err(error) => return EnrollResult::failed("none", Exit::Failed, format!("ask the running agent: {error:#}")),
    }
    let config = &*config;
    let dir = &config.agent.state_dir;
    if let Err(error) = durable::directory(dir) {
        return EnrollResult::failed("none", Exit::Disk, format!("use {}: {error}", dir.display()));
    }
    let _lock = match lock(dir) {
        Ok(lock) => lock,
        Err(result) => return result,
    };
    let client = match assemble::client(config) {
        Ok(client) => client,
        Err(error) => return EnrollResult::failed("none", Exit::Usage, error.to_string()),
    };
    match Enrolment::open(client, &assemble::device(config)) {
        Ok(enrolment) => by_hand(config, enrolment, console).await,
        Err(error) => EnrollResult::of(&error),
    }
}

/// Locks out a second `enroll`, which would use up the codes of the first one. The lock ends when the file is dropped.
pub(super) fn lock(state_dir: &Path) -> Result<File, EnrollResult> {
    let path = state_dir.join(LOCK_FILE);
    let disk =
        |error: std::io::Error| EnrollResult::failed("none", Exit::Disk, format!("lock {}: {error}", path.display()));
    let file = durable::options().create(true).truncate(false).open(&path).map_err(disk)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let error = "enroll this device: another `enroll` is at it; let it end, or end it".to_owned();
            Err(EnrollResult::failed("registering", Exit::Failed, error))
        }
        Err(error) => Err(disk(error.into())),
    }
}

/// Whether the running agent registers the box. It says so itself, or the configuration says it and the agent has yet to read
/// that.
fn agent_registers(config: &Config, status: &Value) -> bool {
    config.server.device.register || status.pointer("/server/device").is_some_and(|device| device != "none")
}

/// Prints how far the running agent is with the registration.
fn show_progress(status: &Value, console: Console) -> EnrollResult {
    let (device, exit, advice) = match status.pointer("/server/device").and_then(Value::as_str) {
        Some("trusted") => ("trusted", Exit::Done, "it is a trusted device; there is nothing to do"),
        Some("registering") => ("registering", Exit::Failed, "the server has not answered its registration yet"),
        Some("waiting-for-approval") => {
            ("waiting-for-approval", Exit::Failed, "an administrator of the print server has to trust it")
        }
        Some("refused") => ("refused", Exit::Failed, "the server refuses it; see the agent's log"),
        _ => ("none", Exit::Failed, "it has not read the configuration again yet: reload it"),
    };
    console.say(&format!("The agent runs and does this itself. It says {device}: {advice}."));
    EnrollResult { device, exit, error: None }
}

async fn by_hand(config: &Config, mut enrolment: Enrolment, console: Console) -> EnrollResult {
    introduce(config, &enrolment, console);
    let (mut pace, mut repeats, mut waiting) = (Pace::default(), 0, false);
    loop {
        let result = enrolment.step().await;
        match &result {
            Ok(EnrolmentStep::Trusted(_)) => return done(config, console),
            Ok(EnrolmentStep::Registered) => console.say("The server took the registration."),
            Ok(EnrolmentStep::Waiting) if !waiting => {
                waiting = true;
                ask_for_approval(config, console);
            }
            Ok(EnrolmentStep::Waiting) => {}
            Ok(EnrolmentStep::Again) if repeats < REPEAT_LIMIT => {
                repeats += 1;
                console.say("The server does not accept what this box had from before; registering again.");
            }
            Ok(EnrolmentStep::Again) => {
                let error = "become a trusted device: the server takes the registration and then forgets it".to_owned();
                return EnrollResult::failed("refused", Exit::Failed, error);
            }
            Err(error @ DeviceError::Server(_)) if waiting => {
                console.say(&format!("Failed to {error}; still waiting."));
            }
            Err(error) => return EnrollResult::of(error),
        }
        tokio::time::sleep(pace.after(&result, random::word())).await;
    }
}

fn introduce(config: &Config, enrolment: &Enrolment, console: Console) {
    let (url, id) = (&config.server.oauth_url, &config.server.device.client_id);
    if enrolment.is_registered() {
        console.say(&format!("This box has registered at {url} as \"{id}\" before; asking for its token."));
    } else {
        console.say(&format!(
            "This box registers at {url} as the device \"{id}\".\nIt sends this name, the public half of its key, the \
             API key, and which program it runs. The private half stays in {}.",
            config.agent.state_dir.display()
        ));
    }
}

fn ask_for_approval(config: &Config, console: Console) {
    console.say(&format!(
        "Now an administrator has to trust the device \"{}\" in the web interface of the print server, in the list of \
         devices that wait for approval.\nThis command waits for that and asks once a minute. It may be interrupted; \
         the next one goes on.",
        config.server.device.client_id
    ));
}

fn done(config: &Config, console: Console) -> EnrollResult {
    console.say(&format!("Done: \"{}\" is a trusted device.", config.server.device.client_id));
    if !config.server.device.register {
        console.say(&format!(
            "The agent does not use this yet. Remove device_token and device_token_file from agent.toml, add these two \
             lines and reload the agent:\n\n{REGISTER_LINES}"
        ));
    }
    EnrollResult { device: "trusted", exit: Exit::Done, error: None }
}

impl EnrollResult {
    fn failed(device: &'static str, exit: Exit, error: String) -> Self {
        Self { device, exit, error: Some(error) }
    }

    fn of(error: &DeviceError) -> Self {
        let (device, exit) = match error {
            DeviceError::Disk { .. } | DeviceError::Key { .. } => ("none", Exit::Disk),
            DeviceError::Server(_) => ("registering", Exit::Unavailable),
            DeviceError::Refused(_) => ("refused", Exit::Failed),
        };
        Self::failed(device, exit, error.to_string())
    }
}
