//! The identity of this box: the names under which it goes about, and a state directory that is its own.

use std::path::PathBuf;

use crate::config::Config;
use crate::durable;
use crate::journal::{JournalError, Lock};
use crate::machine::{self, BindingState, BoxNames, MachineHash};

/// Binds the state directory to this machine before anything in it is used, and gives the configuration the names that this box
/// goes about under. The state of another machine is set aside.
///
/// # Errors
/// Another process uses the state directory, or the disk.
pub(super) fn settle(config: &mut Config) -> Result<(), JournalError> {
    let dir = &config.agent.state_dir;
    let disk = |error: std::io::Error| JournalError::Disk(format!("use {}: {error}", dir.display()));
    durable::directory(dir).map_err(disk)?;
    let lock = Lock::acquire(dir)?;
    let this = MachineHash::of_this_machine();
    if let Some(aside) = machine::bind(dir, this.as_ref(), &configured(config)).map_err(disk)? {
        tracing::error!(
            aside = %aside.display(),
            "this state directory is a copy of another machine's: this box makes its own identity and journal; the original \
             keeps its own; if this machine takes the place of the original: stop the agent, `print-release-agent reset --adopt`"
        );
    }
    drop(lock);
    take_names(config);
    Ok(())
}

/// Gives the configuration the names that this box goes about under.
pub(super) fn take_names(config: &mut Config) {
    let this = MachineHash::of_this_machine();
    let BoxNames { agent, device } = machine::names(&config.agent.state_dir, this.as_ref(), configured(config));
    if agent != config.agent.id {
        tracing::warn!(
            configured = config.agent.id,
            agent,
            "agent.id was copied from another box; give this one its own"
        );
    }
    (config.agent.id, config.server.device.client_id) = (agent, device);
}

fn configured(config: &Config) -> BoxNames {
    BoxNames { agent: config.agent.id.clone(), device: config.server.device.client_id.clone() }
}

/// The binding of the state directory, for a person. It changes nothing.
pub(super) fn describe(config: &Config) -> Result<String, String> {
    let dir = &config.agent.state_dir;
    let aside =
        machine::set_aside(dir).iter().map(PathBuf::as_path).map(|it| it.display().to_string()).collect::<Vec<_>>();
    let advice =
        "remove it when the original has delivered what waits in it, or `reset --adopt` if this machine replaces it";
    match machine::standing(dir, MachineHash::of_this_machine().as_ref()) {
        BindingState::Copy => {
            Err(format!("{} is a copy of another machine's; the next start sets it aside", dir.display()))
        }
        _ if !aside.is_empty() => {
            Err(format!("state of another machine is set aside in {}: {advice}", aside.join(", ")))
        }
        BindingState::Own => {
            Ok(format!("the state directory is bound to this machine, agent.id is {}", config.agent.id))
        }
        BindingState::Unbound => Ok("the first start binds the state directory to this machine".to_owned()),
        BindingState::NoId => Ok("this machine has no id, so a copied state directory cannot be told".to_owned()),
    }
}
