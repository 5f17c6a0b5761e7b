//! `enroll`: makes this box a trusted device by hand, and says at each step what happens and what is to be done.
//!
//! While the agent runs and registers itself, only the agent does: then this shows how far it is. An interrupted `enroll`
//! loses nothing: the next one, or the agent, goes on.

use std::fs::File;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use serde_json::{Value, json};

use super::{Exit, assemble, daemon, load, runtime};
use crate::config::Config;
use crate::durable;
use crate::print_server::device::{DeviceError, Enrolment, EnrolmentStep, Pace};
use crate::random;

/// Registrations that are taken and then come to nothing: more are of no use.
const AGAIN_LIMIT: u32 = 5;

/// Held by who enrolls, in the state directory.
const LOCK_FILE: &str = "enroll.lock";

/// What makes the agent use what this command got.
const SWITCH: &str = "[server.device]\nregister = true";

/// How it ended: where the device stands, and what went wrong.
struct End {
    device: &'static str,
    exit: Exit,
    error: Option<String>,
}

/// Talks to a person; on standard error when standard output is for a machine.
#[derive(Clone, Copy)]
struct Dialogue {
    json: bool,
}

impl Dialogue {
    fn say(self, text: &str) {
        if self.json { eprintln!("{text}") } else { say!("{text}") }
    }
}

pub(super) fn run(path: &Path, json: bool) -> Exit {
    let config = match load(path) {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    let dialogue = Dialogue { json };
    let end = match runtime() {
        Ok(runtime) => runtime.block_on(enroll(&config, dialogue)),
        Err(error) => End::failed("none", Exit::Failed, format!("start the runtime: {error}")),
    };
    if let Some(error) = &end.error {
        eprintln!("failed to {error}");
    }
    if json {
        say!(
            "{}",
            json!({
                "device": end.device,
                "client_id": config.server.device.client_id,
                "register": config.server.device.register,
                "error": end.error,
            })
        );
    }
    end.exit
}

async fn enroll(config: &Config, dialogue: Dialogue) -> End {
    match daemon::get(&config.agent.control_socket, "/status").await {
        Ok(Some(status)) if does_it_itself(config, &status) => return show(&status, dialogue),
        Ok(_) => {}
        Err(error) => return End::failed("none", Exit::Failed, format!("ask the running agent: {error:#}")),
    }
    let dir = &config.agent.state_dir;
    if let Err(error) = durable::directory(dir) {
        return End::failed("none", Exit::Disk, format!("make {}: {error}", dir.display()));
    }
    let _lock = match lock(dir) {
        Ok(lock) => lock,
        Err(end) => return end,
    };
    let client = match assemble::client(config) {
        Ok(client) => client,
        Err(error) => return End::failed("none", Exit::Usage, error.to_string()),
    };
    match Enrolment::open(client, &assemble::device(config)) {
        Ok(enrolment) => by_hand(config, enrolment, dialogue).await,
        Err(error) => End::of(&error),
    }
}

/// One at a time: two would spend each other's codes. Held until it is dropped.
fn lock(state_dir: &Path) -> Result<File, End> {
    let path = state_dir.join(LOCK_FILE);
    let disk = |error: std::io::Error| End::failed("none", Exit::Disk, format!("lock {}: {error}", path.display()));
    let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(disk)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let error = "enroll this device: another `enroll` is at it; let it end, or end it".to_owned();
            Err(End::failed("registering", Exit::Failed, error))
        }
        Err(error) => Err(disk(error.into())),
    }
}

/// Whether the running agent registers itself, by its own word or, once it has read it, by the configuration.
fn does_it_itself(config: &Config, status: &Value) -> bool {
    config.server.device.register || status.pointer("/server/device").is_some_and(|device| device != "none")
}

/// What the running agent says.
fn show(status: &Value, dialogue: Dialogue) -> End {
    let (device, exit, advice) = match status.pointer("/server/device").and_then(Value::as_str) {
        Some("trusted") => ("trusted", Exit::Done, "it is a trusted device; there is nothing to do"),
        Some("registering") => ("registering", Exit::Failed, "the server has not answered its registration yet"),
        Some("waiting-for-approval") => {
            ("waiting-for-approval", Exit::Failed, "an administrator of the print server has to trust it")
        }
        Some("refused") => ("refused", Exit::Failed, "the server refuses it; see the agent's log"),
        _ => ("none", Exit::Failed, "it has not read the configuration again yet: reload it"),
    };
    dialogue.say(&format!("The agent runs and does this itself. It says {device}: {advice}."));
    End { device, exit, error: None }
}

async fn by_hand(config: &Config, mut enrolment: Enrolment, dialogue: Dialogue) -> End {
    introduce(config, &enrolment, dialogue);
    let (mut pace, mut again, mut waiting) = (Pace::default(), 0, false);
    loop {
        let result = enrolment.step().await;
        match &result {
            Ok(EnrolmentStep::Trusted(_)) => return done(config, dialogue),
            Ok(EnrolmentStep::Registered) => dialogue.say("The server took the registration."),
            Ok(EnrolmentStep::Waiting) if !waiting => {
                waiting = true;
                ask_for_approval(config, dialogue);
            }
            Ok(EnrolmentStep::Waiting) => {}
            Ok(EnrolmentStep::Again) if again < AGAIN_LIMIT => {
                again += 1;
                dialogue.say("The server does not accept what this box had from before; registering again.");
            }
            Ok(EnrolmentStep::Again) => {
                let error = "become a trusted device: the server takes the registration and then forgets it".to_owned();
                return End::failed("refused", Exit::Failed, error);
            }
            Err(error @ DeviceError::Server(_)) if waiting => {
                dialogue.say(&format!("Failed to {error}; still waiting."));
            }
            Err(error) => return End::of(error),
        }
        tokio::time::sleep(pace.after(&result, random::word())).await;
    }
}

fn introduce(config: &Config, enrolment: &Enrolment, dialogue: Dialogue) {
    let (url, id) = (&config.server.oauth_url, &config.server.device.client_id);
    if enrolment.is_registered() {
        dialogue.say(&format!("This box has registered at {url} as \"{id}\" before; asking for its token."));
    } else {
        dialogue.say(&format!(
            "This box registers at {url} as the device \"{id}\".\nIt sends this name, the public half of its key, the \
             API key, and which program it runs. The private half stays in {}.",
            config.agent.state_dir.display()
        ));
    }
}

fn ask_for_approval(config: &Config, dialogue: Dialogue) {
    dialogue.say(&format!(
        "Now an administrator has to trust the device \"{}\" in the web interface of the print server, in the list of \
         devices that wait for approval.\nThis command waits for that and asks once a minute. It may be interrupted; \
         the next one goes on.",
        config.server.device.client_id
    ));
}

fn done(config: &Config, dialogue: Dialogue) -> End {
    dialogue.say(&format!("Done: \"{}\" is a trusted device.", config.server.device.client_id));
    if !config.server.device.register {
        dialogue.say(&format!(
            "The agent does not use this yet. Remove device_token and device_token_file from agent.toml, add these two \
             lines and reload the agent:\n\n{SWITCH}"
        ));
    }
    End { device: "trusted", exit: Exit::Done, error: None }
}

impl End {
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
