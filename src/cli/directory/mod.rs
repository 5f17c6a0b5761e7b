//! `directory`: the neighbours ezeep, NDD Orbix and zops, a file each. They need no running agent.
//!
//! With `--json` a command prints one document, also where it fails; the words for a person are on standard error then.

mod ezeep;
mod orbix;
mod zops;

use std::path::Path;
use std::time::Duration;

use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{Exit, log, runtime};
use crate::clock::Clock;
use crate::config::{Config, DirectorySite, load_directory};
use crate::directory::DirectoryError;
use crate::directory::ezeep::keep_fresh;
use crate::directory::http::DirectoryClient;
use crate::domain::Cause;
use crate::tls::Trust;

#[derive(clap::Subcommand)]
pub(super) enum DirectoryCommand {
    /// People and groups in ezeep.
    #[command(subcommand)]
    Ezeep(ezeep::EzeepCommand),
    /// The print queue users of NDD Orbix.
    #[command(subcommand)]
    Orbix(orbix::OrbixCommand),
    /// The identity of this box in zops.
    #[command(subcommand)]
    Zops(zops::ZopsCommand),
}

/// The exit code and the document for a machine.
type CommandEnd = Result<(Exit, Value), DirectoryError>;

/// Says things to a person, on standard error when standard output is for a machine.
#[derive(Clone, Copy)]
struct DirectoryConsole {
    json: bool,
}

impl DirectoryConsole {
    /// The text has lines of its own; nothing that a server said stands in it uncleaned.
    fn say(self, text: &str) {
        for line in text.split('\n') {
            if self.json { say_error!("{line}") } else { say!("{line}") }
        }
    }

    fn lines(self, lines: &[String]) {
        lines.iter().for_each(|line| self.say(line));
    }
}

pub(super) fn run(path: &Path, json: bool, command: &DirectoryCommand) -> Exit {
    // A core file would hold passwords and tokens.
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        return end(json, Exit::Failed, &format!("keep this program's memory out of core files: {error}"));
    }
    let site = match load_directory(path) {
        Ok(site) => site,
        Err(problems) => {
            say_error!("{problems}");
            return print_error(json, Exit::Usage, &problems.to_string());
        }
    };
    log::init(&site.log);
    let console = DirectoryConsole { json };
    let done = match runtime() {
        Ok(runtime) => runtime.block_on(carry_out(&site, console, command)),
        Err(error) => return end(json, Exit::Failed, &format!("start the runtime: {error}")),
    };
    match done {
        Ok((exit, document)) => {
            if json {
                say_json!("{document}");
            }
            exit
        }
        Err(error) => end(json, exit_of(&error), &error.to_string()),
    }
}

async fn carry_out(site: &DirectorySite, console: DirectoryConsole, command: &DirectoryCommand) -> CommandEnd {
    match command {
        DirectoryCommand::Ezeep(command) => ezeep::run(site, console, command).await,
        DirectoryCommand::Orbix(command) => orbix::run(site, console, command).await,
        DirectoryCommand::Zops(command) => zops::run(site, console, command).await,
    }
}

/// Keeps this box paired with ezeep beside the agent, where the configuration names a client.
pub(super) fn keep_paired(config: &Config, tasks: &mut JoinSet<()>) {
    if config.directory.ezeep.client_id.is_none() {
        return;
    }
    let site = DirectorySite {
        state_dir: config.agent.state_dir.clone(),
        log: config.log.clone(),
        directory: config.directory.clone(),
    };
    match ezeep::pairing(&site) {
        Ok(pairing) => drop(tasks.spawn(keep_fresh(pairing))),
        Err(error) => tracing::warn!("failed to {error}; the tokens of ezeep are not kept fresh"),
    }
}

/// A client whose requests may take this long.
fn client(site: &DirectorySite, timeout: Duration) -> Result<DirectoryClient, DirectoryError> {
    let trust = Trust { floor: Clock::open(&site.state_dir).proofs(), ..Trust::default() };
    DirectoryClient::new(&trust, timeout)
}

fn exit_of(error: &DirectoryError) -> Exit {
    match error {
        DirectoryError::Unset { .. } | DirectoryError::Secret { .. } | DirectoryError::Setup(_) => Exit::Usage,
        DirectoryError::Disk { .. } => Exit::Disk,
        _ if error.cause() == Some(Cause::Unreachable) => Exit::Unavailable,
        _ => Exit::Failed,
    }
}

fn end(json: bool, exit: Exit, error: &str) -> Exit {
    say_error!("failed to {error}");
    print_error(json, exit, error)
}

fn print_error(json: bool, exit: Exit, error: &str) -> Exit {
    if json {
        say_json!("{}", json!({ "error": error }));
    }
    exit
}
