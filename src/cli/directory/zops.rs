//! `directory zops`: this box as a consumer of a project.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;

use super::{CommandEnd, DirectoryConsole, Exit, client, exit_of};
use crate::config::DirectorySite;
use crate::directory::DirectoryError;
use crate::directory::http::printable;
use crate::directory::zops::{EnrollReport, Zops, ZopsIdentity, remembered};

const TIMEOUT: Duration = Duration::from_secs(30);

#[derive(clap::Subcommand)]
pub(in crate::cli) enum ZopsCommand {
    /// Make this box a consumer of the project, or give it a new token.
    Enroll {
        /// Log in and show what would be done, and do nothing.
        #[arg(long)]
        dry_run: bool,
    },
    /// Show the identity of this box.
    Status,
    /// Take the identity of this box back.
    Revoke {
        /// Show what would be done, and do nothing.
        #[arg(long)]
        dry_run: bool,
    },
}

pub(super) async fn run(site: &DirectorySite, console: DirectoryConsole, command: &ZopsCommand) -> CommandEnd {
    match command {
        ZopsCommand::Enroll { dry_run } => enroll(&open(site)?, console, *dry_run).await,
        ZopsCommand::Status => status(site, console),
        ZopsCommand::Revoke { dry_run } => revoke(&open(site)?, console, *dry_run).await,
    }
}

fn open(site: &DirectorySite) -> Result<Zops, DirectoryError> {
    Zops::new(&site.directory.zops, &site.state_dir, client(site, TIMEOUT)?)
}

async fn enroll(zops: &Zops, console: DirectoryConsole, dry_run: bool) -> CommandEnd {
    let report = zops.enroll(dry_run, |plan| tell_plan(console, plan)).await?;
    let EnrollReport { plan, identity, error, session_closed } = report;
    let consumer = identity.as_ref().map(|identity| identity.consumer.clone());
    let exit = error.as_ref().map_or(Exit::Done, exit_of);
    if let Some(error) = &error {
        say_error!("failed to {error}");
        if let Some(consumer) = &consumer {
            say_error!(
                "the consumer {consumer} stays: no documented call deletes it, and the next `enroll` uses it again"
            );
        }
    } else if let Some(identity) = identity.as_ref().filter(|_| !dry_run) {
        console.say(&format!("This box is the consumer {}.", identity.consumer));
        console.say(&format!("{} It is in the state directory, for a program that exchanges it.", life(identity)));
    }
    let document = json!({
        "dry_run": dry_run,
        "plan": plan,
        "consumer": consumer,
        "enrolled": identity.as_ref().is_some_and(ZopsIdentity::is_enrolled),
        "token_until": identity.as_ref().and_then(ZopsIdentity::token_until),
        "session_closed": session_closed,
        "error": error.map(|error| error.to_string()),
    });
    Ok((exit, document))
}

fn tell_plan(console: DirectoryConsole, plan: &[String]) {
    if !console.json {
        plan.iter().for_each(|step| say!("plan: {}", printable(step, &[])));
    }
}

fn life(identity: &ZopsIdentity) -> String {
    match identity.token_until() {
        Some(until) if until > Timestamp::now() => format!("Its token lives one minute, until {until}."),
        Some(until) => format!("Its token lived one minute, until {until}; `enroll` gets a new one."),
        None => "It has no token.".to_owned(),
    }
}

fn status(site: &DirectorySite, console: DirectoryConsole) -> CommandEnd {
    let identity = remembered(&site.directory.zops, &site.state_dir)?;
    if !console.json {
        match &identity {
            None => say!("This box has no identity at zops."),
            Some(identity) => {
                let ZopsIdentity { consumer, project, service, .. } = identity;
                let state = if identity.is_enrolled() { "enrolled" } else { "not enrolled to the end" };
                say!("consumer {consumer}, project {project}, service {service}: {state}");
                say!("{}", life(identity));
            }
        }
    }
    let of = |field: fn(&ZopsIdentity) -> &String| identity.as_ref().map(field);
    let document = json!({
        "enrolled": identity.as_ref().is_some_and(ZopsIdentity::is_enrolled),
        "consumer": of(|identity| &identity.consumer),
        "project": of(|identity| &identity.project),
        "service": of(|identity| &identity.service),
        "attached": identity.as_ref().map(|identity| identity.attached),
        "token_until": identity.as_ref().and_then(ZopsIdentity::token_until),
    });
    Ok((Exit::Done, document))
}

async fn revoke(zops: &Zops, console: DirectoryConsole, dry_run: bool) -> CommandEnd {
    let Some((identity, plan)) = zops.revoke(dry_run, |plan| tell_plan(console, plan)).await? else {
        console.say("This box has no identity at zops; there is nothing to take back.");
        return Ok((Exit::Done, json!({ "dry_run": dry_run, "plan": [], "consumer": null, "revoked": false })));
    };
    if !dry_run {
        let consumer = &identity.consumer;
        console.say(&format!("The consumer {consumer} is detached. It stays at zops: no documented call deletes it."));
    }
    let document = json!({ "dry_run": dry_run, "plan": plan, "consumer": identity.consumer, "revoked": !dry_run });
    Ok((Exit::Done, document))
}
