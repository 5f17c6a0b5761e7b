//! `directory ezeep`: pairs this box, shows users and groups, and changes groups.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::{CommandEnd, DirectoryConsole, Exit, client};
use crate::config::DirectorySite;
use crate::directory::DirectoryError;
use crate::directory::ezeep::map::LoginMap;
use crate::directory::ezeep::{self, AddStep, Ezeep, EzeepGroupRow, EzeepPairing, EzeepUserRow};
use crate::directory::http::printable;
use crate::durable;
use crate::random;

/// A page of users takes a second or two.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The time for a person to log in with a browser.
const BROWSER_LIMIT: Duration = Duration::from_secs(15 * 60);

/// The interval of the look whether the code was pasted into another process.
const LOOK: Duration = Duration::from_millis(500);

/// The map from login names to users, in the state directory.
const MAP_FILE: &str = "ezeep-map.csv";

/// The most bytes of that map: half a million people.
const MAP_LIMIT: u64 = 64 << 20;

#[derive(clap::Subcommand)]
pub(in crate::cli) enum EzeepCommand {
    /// Log in with a browser and give this box tokens of its own.
    Pair {
        /// The code that the browser came back with, or the whole address.
        #[arg(long, value_name = "URL_OR_CODE")]
        code: Option<String>,
    },
    /// List the groups.
    Groups,
    /// Show one group.
    Group {
        /// Its id.
        id: String,
    },
    /// Create a group.
    GroupCreate {
        /// Its name.
        name: String,
        /// Show what would be done, and do nothing.
        #[arg(long)]
        dry_run: bool,
    },
    /// Delete a group.
    GroupDelete {
        /// Its id.
        id: String,
        /// Show what would be done, and do nothing.
        #[arg(long)]
        dry_run: bool,
    },
    /// Add users to a group, and look whether it had an effect.
    GroupAdd {
        /// The group's id.
        id: String,
        /// The ids of the users.
        #[arg(required = true, value_name = "USER")]
        users: Vec<String>,
        /// Show what would be done, and do nothing.
        #[arg(long)]
        dry_run: bool,
    },
    /// List the users, all or those of a group.
    Users {
        /// The group's id.
        #[arg(long, value_name = "ID")]
        group: Option<String>,
    },
    /// Show one user.
    User {
        /// The id.
        id: String,
    },
    /// Show the map from login names to users, and add the users who are missing in it.
    Map {
        /// Show it, and write nothing.
        #[arg(long)]
        dry_run: bool,
    },
}

pub(super) async fn run(site: &DirectorySite, console: DirectoryConsole, command: &EzeepCommand) -> CommandEnd {
    if let EzeepCommand::Pair { code } = command {
        return pair(&pairing(site)?, console, code.as_deref()).await;
    }
    let ezeep = open(site)?;
    match command {
        EzeepCommand::Pair { .. } => Ok((Exit::Failed, Value::Null)),
        EzeepCommand::Groups => groups(&ezeep, console).await,
        EzeepCommand::Group { id } => show(console, &ezeep.group(id).await?),
        EzeepCommand::GroupCreate { name, dry_run } => create(&ezeep, console, name, *dry_run).await,
        EzeepCommand::GroupDelete { id, dry_run } => delete(&ezeep, console, id, *dry_run).await,
        EzeepCommand::GroupAdd { id, users, dry_run } => add(&ezeep, console, id, users, *dry_run).await,
        EzeepCommand::Users { group } => users(&ezeep, console, group.as_deref()).await,
        EzeepCommand::User { id } => show(console, &ezeep.user(id).await?),
        EzeepCommand::Map { dry_run } => map(&ezeep, console, &map_file(site), *dry_run).await,
    }
}

pub(super) fn pairing(site: &DirectorySite) -> Result<EzeepPairing, DirectoryError> {
    EzeepPairing::new(&site.directory.ezeep, &site.state_dir, client(site, TIMEOUT)?)
}

/// Users and groups, by the pairing of this box.
pub(super) fn open(site: &DirectorySite) -> Result<Ezeep, DirectoryError> {
    Ok(Ezeep::new(pairing(site)?, client(site, TIMEOUT)?))
}

pub(super) fn map_file(site: &DirectorySite) -> PathBuf {
    site.state_dir.join(MAP_FILE)
}

async fn pair(pairing: &EzeepPairing, console: DirectoryConsole, code: Option<&str>) -> CommandEnd {
    if let Some(text) = code {
        pairing.redeem(&ezeep::pasted_code(text, pairing.pending()?.as_deref())?).await?;
        return paired(console);
    }
    let redirect = pairing.redirect_uri().to_owned();
    let listener = match ezeep::loopback(&redirect) {
        Some(address) => TcpListener::bind(address).await.map_err(|error| error.to_string()),
        None => Err("it is not an address of this machine".to_owned()),
    };
    let state = format!("{:032x}", random::bits());
    let url = pairing.begin(&state).await?;
    console.say(&format!("Open this address in a browser and log in:\n\n  {url}\n"));
    let paste = "`directory ezeep pair --code 'ADDRESS'`";
    match listener {
        Ok(listener) => {
            console.say(&format!(
                "This command waits for the browser to come back to {redirect}. A browser on another machine does not \
                 get there: copy the address that it shows then, and pass it to {paste}."
            ));
            let came = tokio::select! {
                code = ezeep::wait_for_code(listener, &redirect, &state, BROWSER_LIMIT) => Some(code?),
                () = ended_elsewhere(pairing, &state) => None,
            };
            if let Some(code) = came {
                pairing.redeem(&code).await?;
            }
            paired(console)
        }
        Err(why) => {
            console.say(&format!(
                "Nothing listens at {redirect} ({why}). Copy the address that the browser shows in the end, and pass \
                 it to {paste}."
            ));
            Ok((Exit::Done, json!({ "paired": false, "authorize_url": url })))
        }
    }
}

/// Waits until another process has ended the pairing with this state.
async fn ended_elsewhere(pairing: &EzeepPairing, state: &str) {
    while pairing.pending().ok().flatten().as_deref() == Some(state) {
        tokio::time::sleep(LOOK).await;
    }
}

fn paired(console: DirectoryConsole) -> CommandEnd {
    console.say("Paired. The running agent keeps the tokens fresh; without it they last an hour.");
    Ok((Exit::Done, json!({ "paired": true })))
}

async fn groups(ezeep: &Ezeep, console: DirectoryConsole) -> CommandEnd {
    let list = ezeep.groups().await?;
    warn_of_count("groups", list.rows.len(), list.count);
    if !console.json {
        list.rows.iter().for_each(|group| say!("{}  {}", group.id, line(&group.name)));
        say!("{} groups", list.rows.len());
    }
    Ok((Exit::Done, json!({ "count": list.rows.len(), "groups": list.rows })))
}

async fn users(ezeep: &Ezeep, console: DirectoryConsole, group: Option<&str>) -> CommandEnd {
    let list = ezeep.users().await?;
    warn_of_count("users", list.rows.len(), list.count);
    let is_wanted = |user: &EzeepUserRow| group.is_none_or(|group| user.is_in(group));
    let users: Vec<_> = list.rows.into_iter().filter(is_wanted).collect();
    if !console.json {
        for user in &users {
            let groups: Vec<_> = user.groups.iter().flatten().map(|group| group.group_id.as_str()).collect();
            say!("{}  {}", user.id, groups.join(" "));
        }
        say!("{} users", users.len());
    }
    Ok((Exit::Done, json!({ "count": users.len(), "users": users })))
}

/// Pages move while people come and go.
fn warn_of_count(what: &str, came: usize, told: Option<usize>) {
    if let Some(told) = told.filter(|told| *told != came) {
        say_error!("{came} {what} came, and ezeep counts {told}: somebody changed them meanwhile");
    }
}

/// A name that somebody at ezeep has chosen, for a terminal.
fn line(name: &str) -> String {
    printable(name, &[])
}

fn show(console: DirectoryConsole, row: &impl serde::Serialize) -> CommandEnd {
    let document = serde_json::to_value(row).unwrap_or_default();
    if !console.json {
        say_json!("{document:#}");
    }
    Ok((Exit::Done, document))
}

async fn create(ezeep: &Ezeep, console: DirectoryConsole, name: &str, dry_run: bool) -> CommandEnd {
    let organization = ezeep.organization()?;
    if !console.json {
        say!("plan: create the group \"{name}\" in the organization {organization}");
    }
    let plan = json!({ "create": name, "organization_id": organization });
    let group = if dry_run { None } else { Some(ezeep.create_group(name).await?) };
    if let (false, Some(group)) = (console.json, &group) {
        say!("created: {}  {}", group.id, line(&group.name));
    }
    Ok((Exit::Done, json!({ "dry_run": dry_run, "plan": plan, "result": group })))
}

async fn delete(ezeep: &Ezeep, console: DirectoryConsole, id: &str, dry_run: bool) -> CommandEnd {
    let group = ezeep.group(id).await?;
    if !console.json {
        let members = group.rest.get("num_members").map_or_else(|| "an unknown number of".to_owned(), Value::to_string);
        say!("plan: delete the group {id} \"{}\" with {members} members", line(&group.name));
    }
    let mut deleted = None;
    if !dry_run {
        ezeep.delete_group(id).await?;
        deleted = Some(json!({ "deleted": id }));
        if !console.json {
            say!("deleted: {id}");
        }
    }
    Ok((Exit::Done, json!({ "dry_run": dry_run, "plan": { "delete": group }, "result": deleted })))
}

async fn add(ezeep: &Ezeep, console: DirectoryConsole, id: &str, users: &[String], dry_run: bool) -> CommandEnd {
    let group = ezeep.group(id).await?;
    let mut plan = Vec::new();
    for user in users {
        let step = ezeep.plan_add(id, user).await?;
        if !console.json {
            say!("plan: {}", planned(&group, user, &step));
        }
        plan.push((user, step));
    }
    let rows: Vec<_> = plan.iter().map(|(user, step)| json!({ "user": user, "step": step })).collect();
    let heading = json!({ "id": group.id, "name": group.name });
    if dry_run {
        return Ok((Exit::Done, json!({ "dry_run": true, "group": heading, "plan": rows, "result": null })));
    }
    let (mut results, mut exit) = (Vec::new(), Exit::Done);
    for (user, step) in plan {
        let (word, error) = match step {
            AddStep::Already => ("already", None),
            AddStep::NotFound => ("failed", Some("ezeep knows no such user".to_owned())),
            AddStep::Add => match ezeep.add(id, user).await {
                Ok(()) => ("added", None),
                Err(error @ DirectoryError::PairAgain(_)) => return Err(error),
                Err(error) => ("failed", Some(error.to_string())),
            },
        };
        if let Some(error) = &error {
            exit = Exit::Failed;
            say_error!("failed to add {user} to {id}: {error}");
        }
        if !console.json {
            say!("{word}: {user}");
        }
        results.push(json!({ "user": user, "result": word, "error": error }));
    }
    Ok((exit, json!({ "dry_run": false, "group": heading, "plan": rows, "result": results })))
}

fn planned(group: &EzeepGroupRow, user: &str, step: &AddStep) -> String {
    let (id, name) = (&group.id, line(&group.name));
    match step {
        AddStep::Add => format!("add {user} to the group {id} \"{name}\""),
        AddStep::Already => format!("leave {user}, who is in the group {id} \"{name}\" already"),
        AddStep::NotFound => format!("leave {user}, whom ezeep does not know"),
    }
}

async fn map(ezeep: &Ezeep, console: DirectoryConsole, path: &Path, dry_run: bool) -> CommandEnd {
    let users = ezeep.users().await?.rows;
    let before = read_map(path)?;
    let map = before.clone().with(&users);
    let gaps = map.gaps(&users);
    if !dry_run && map != before {
        let dir = path.parent().unwrap_or(Path::new("/"));
        let disk = |error: std::io::Error| DirectoryError::disk(path, &error);
        durable::directory(dir).map_err(disk)?;
        durable::write(path, map.text().as_bytes()).map_err(disk)?;
    }
    if !console.json {
        gaps.without_login.iter().for_each(|user| say!("no login name: {user}"));
        gaps.unknown_users.iter().for_each(|user| say!("unknown to ezeep: {user}"));
        let (missing, unknown) = (gaps.without_login.len(), gaps.unknown_users.len());
        say!("{}: {} users, {missing} without a login name, {unknown} unknown to ezeep", path.display(), users.len());
    }
    let document = json!({ "file": path, "dry_run": dry_run, "users": users.len(),
        "without_login": gaps.without_login, "unknown_users": gaps.unknown_users });
    Ok((Exit::Done, document))
}

/// Reads the map; a missing one is empty.
pub(super) fn read_map(path: &Path) -> Result<LoginMap, DirectoryError> {
    let text = match std::fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Ok(metadata) if metadata.len() > MAP_LIMIT => {
            return Err(DirectoryError::Unfit(format!(
                "use the map {}: it has more than {MAP_LIMIT} bytes",
                path.display()
            )));
        }
        _ => std::fs::read_to_string(path).map_err(|error| DirectoryError::disk(path, &error))?,
    };
    LoginMap::read(&text).map_err(|why| DirectoryError::Unfit(format!("use the map {}: {why}", path.display())))
}
