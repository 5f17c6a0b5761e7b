//! `reset`: wipes keys, tokens and journal of a box that is given away, after everything is delivered; or puts the state of the
//! machine whose place this one takes back into use.

use std::fs;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::{Value, json};

use super::{Exit, load, runtime};
use crate::config::Config;
use crate::durable;
use crate::journal::{Journal, JournalError, Limits, Lock};
use crate::machine::{self, MachineHash};

#[derive(clap::Args)]
pub(super) struct ResetArgs {
    /// Give up what waits, too.
    #[arg(long)]
    discard: bool,
    /// This machine takes the place of another one, whose memory card it has: put that one's state back into use.
    #[arg(long)]
    adopt: bool,
    /// Do not ask on a terminal.
    #[arg(long)]
    yes: bool,
}

/// The files that stay: their locks are what keeps two processes apart.
const STAY: [&str; 2] = ["lock", "enroll.lock"];

/// The directory of encrypted credentials, which an administrator may have made.
const CREDENTIALS: &str = "/etc/credstore.encrypted";

pub(super) fn run(path: &Path, json: bool, arguments: &ResetArgs) -> Exit {
    let config = match load(path) {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    match reset(&config, path, json, arguments) {
        Ok(exit) => exit,
        Err(error) => {
            say_error!("failed to {error:#}");
            match error.downcast_ref::<JournalError>().is_some() || error.downcast_ref::<io::Error>().is_some() {
                true => Exit::Disk,
                false => Exit::Failed,
            }
        }
    }
}

fn reset(config: &Config, path: &Path, json: bool, arguments: &ResetArgs) -> anyhow::Result<Exit> {
    let dir = &config.agent.state_dir;
    match dir.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound && !arguments.adopt => {}
        _ => durable::directory(dir).with_context(|| format!("use {}", dir.display()))?,
    }
    let aside = machine::set_aside(dir);
    let adopted = aside.last().filter(|_| arguments.adopt);
    anyhow::ensure!(
        !arguments.adopt || adopted.is_some(),
        "adopt a state: no other machine's is set aside in {}",
        dir.display()
    );
    let waiting = waiting(config, arguments.discard)?;
    let obstacles = obstacles(&waiting, &aside, arguments);
    anyhow::ensure!(
        obstacles.is_empty() || arguments.discard,
        "reset this box: {}; let the agent deliver them and look at `queue list`, or give them up with --discard",
        obstacles.join(", ")
    );
    if !arguments.yes && io::stdin().is_terminal() && !is_confirmed(dir) {
        say_error!("nothing was changed");
        return Ok(Exit::Failed);
    }
    let removed = match dir.exists() {
        true => wipe(dir, adopted)?,
        false => Vec::new(),
    };
    if let Some(aside) = adopted {
        let adopting = machine::adopt(dir, aside, MachineHash::of_this_machine().as_ref());
        adopting.with_context(|| format!("put {} back into use", aside.display()))?;
    }
    tell(&removed, adopted, &waiting, &left(path), json);
    Ok(Exit::Done)
}

/// The entries of the journal that nobody has delivered or looked at.
fn waiting(config: &Config, discard: bool) -> anyhow::Result<Value> {
    let dir = &config.agent.state_dir;
    if !Journal::is_there(dir) {
        return Ok(json!({}));
    }
    // Opened within the runtime, because the journal may wait there for its own thread.
    let counts = runtime()?.block_on(async {
        let journal = Journal::open(dir, Limits::NONE, config.agent.journal_key.as_ref())?;
        let counts = *journal.counts().borrow();
        Ok::<_, JournalError>(counts)
    });
    match counts {
        Ok(counts) => Ok(json!({
            "records": counts.records,
            "releases": counts.releases,
            "dead": counts.dead,
            "unreadable": counts.unreadable,
            "set_aside": counts.set_aside,
            "events": counts.events,
        })),
        Err(error @ JournalError::Locked { .. }) => Err(error.into()),
        Err(error) if discard => {
            say_error!("nobody knows what waited: failed to {error}");
            Ok(json!({ "unknown": true }))
        }
        Err(error) => Err(error.into()),
    }
}

/// The reasons against a reset, for a person. Events are for those who watch, and no reason.
fn obstacles(waiting: &Value, aside: &[PathBuf], arguments: &ResetArgs) -> Vec<String> {
    let kinds = [
        ("records", "job records wait for the server"),
        ("releases", "releases have no outcome yet, or an unknown one"),
        ("dead", "job records were refused by the server"),
        ("unreadable", "entries cannot be read"),
        ("set_aside", "damaged databases are set aside"),
    ];
    let counted = kinds.iter().filter_map(|(kind, what)| {
        waiting[*kind].as_u64().filter(|count| *count > 0).map(|count| format!("{count} {what}"))
    });
    let others = aside.len().saturating_sub(usize::from(arguments.adopt));
    let other = format!("{others} states of other machines are set aside (--adopt puts one back into use)");
    counted.chain((others > 0).then_some(other)).collect()
}

fn is_confirmed(dir: &Path) -> bool {
    say_error!("This wipes keys, tokens and journal in {}. Type yes to go on:", dir.display());
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).is_ok() && answer.trim() == "yes"
}

/// Wipes everything of this box and gives the names. The state that is adopted stays.
fn wipe(dir: &Path, adopted: Option<&PathBuf>) -> anyhow::Result<Vec<String>> {
    let _lock = Lock::acquire(dir)?;
    let mut paths: Vec<_> = fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    paths.retain(|path| {
        let name = path.file_name().unwrap_or_default();
        durable::is_own_name(name) && !STAY.iter().any(|stay| name == *stay) && Some(path) != adopted
    });
    // The secrets first, and the binding last: until then the next start sees a state of this box.
    let rank = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        (name == "machine", name.starts_with("db"), name)
    };
    paths.sort_by_key(rank);
    for path in &paths {
        durable::wipe(path).with_context(|| format!("remove {}", path.display()))?;
    }
    durable::sync_directory(dir)?;
    Ok(paths.iter().filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned())).collect())
}

/// The files of an administrator that hold or may hold secrets: the configuration and those that it names.
fn left(path: &Path) -> Vec<String> {
    let named = fs::read_to_string(path).ok().and_then(|text| text.parse::<toml::Table>().ok()).unwrap_or_default();
    let mut found = vec![path.display().to_string()];
    let mut open: Vec<_> = named.iter().map(|(key, value)| (key.as_str(), value)).collect();
    while let Some((key, value)) = open.pop() {
        match value {
            toml::Value::Table(table) => open.extend(table.iter().map(|(key, value)| (key.as_str(), value))),
            toml::Value::Array(array) => open.extend(array.iter().map(|value| (key, value))),
            toml::Value::String(place) if key.ends_with("_file") => {
                found.push(match place.strip_prefix("credential:") {
                    Some(name) => format!("the credential {name}, such as {}", path.with_file_name(name).display()),
                    None => place.clone(),
                })
            }
            _ => {}
        }
    }
    if Path::new(CREDENTIALS).exists() {
        found.push(CREDENTIALS.to_owned());
    }
    found.sort();
    found
}

fn tell(removed: &[String], adopted: Option<&PathBuf>, waiting: &Value, left: &[String], json: bool) {
    if json {
        let adopted = adopted.map(|path| path.display().to_string());
        say!("{}", json!({ "removed": removed, "adopted": adopted, "given_up": waiting, "left": left }));
        return;
    }
    match removed {
        [] => say!("nothing was there to wipe"),
        removed => say!("wiped: {}", removed.join(", ")),
    }
    if let Some(aside) = adopted {
        say!("the state in {} is this machine's now", aside.display());
        return;
    }
    say!("still there, for you to remove: {}", left.join(", "));
    say!("docs/operating.md, \"A box that is retired or stolen\" says what to revoke at the server and elsewhere");
}
