//! `status`: prints the status of the running agent.

use std::path::Path;

use serde_json::Value;

use super::{Exit, daemon, load, runtime};

pub(super) fn run(path: &Path, json: bool) -> Exit {
    let config = match load(path) {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    let answer = runtime()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(daemon::ask_if_running(&config.agent.control_socket, "/status")));
    match answer {
        Ok(Some(status)) => {
            if json {
                say_json!("{status}");
            } else {
                summary(&status).iter().for_each(|line| say!("{line}"));
            }
            Exit::Done
        }
        Ok(None) => {
            let socket = config.agent.control_socket.display();
            say_error!("no agent answers at {socket}; start it with `print-release-agent run`");
            Exit::Unavailable
        }
        Err(error) => {
            say_error!("failed to ask the agent: {error:#}");
            Exit::Failed
        }
    }
}

/// The status document as lines for a person.
fn summary(status: &Value) -> Vec<String> {
    let text = |pointer: &str| match status.pointer(pointer) {
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
        None => "?".to_owned(),
    };
    let server = if text("/server/reachable") == "true" { "reachable" } else { "not reachable" };
    let mut lines = vec![
        format!("agent    {} {}, up {} s", text("/agent"), text("/version"), text("/uptime_s")),
        format!("server   {server} since {} {}", text("/server/since"), text("/server/version")),
        format!("device   {}", text("/server/device")),
        format!(
            "outbox   {} waiting, {} in doubt, {} refused for good, oldest {} s, {} lost",
            text("/outbox/pending"),
            text("/outbox/in_doubt"),
            text("/outbox/dead"),
            text("/outbox/oldest_s"),
            text("/outbox/lost")
        ),
    ];
    for row in status.pointer("/outbox/waiting").and_then(Value::as_array).into_iter().flatten() {
        let of = |key: &str| row[key].as_str().unwrap_or("?").to_owned();
        lines.push(format!(
            "waiting  {}: record {} of {}, last error {}, next attempt {}",
            of("station"),
            row["id"],
            of("time"),
            of("last_error"),
            of("next_attempt")
        ));
    }
    if text("/other_machine") != "0" {
        lines.push("identity state of another machine was set aside: `check` says more".to_owned());
    }
    if text("/journal/full") == "true" {
        lines.push("journal  the disk is full: nothing is released until there is room".to_owned());
    }
    if text("/journal/set_aside") != "0" || text("/journal/unreadable") != "0" {
        let (aside, unreadable) = (text("/journal/set_aside"), text("/journal/unreadable"));
        lines.push(format!(
            "journal  {aside} damaged databases set aside, {unreadable} entries unreadable: queue verify"
        ));
    }
    for name in status.pointer("/stations").and_then(Value::as_object).into_iter().flat_map(|map| map.keys()) {
        let of = |key: &str| text(&format!("/stations/{name}/{key}"));
        lines.push(format!(
            "station  {name}: {}, reader {}, {} taps, {} documents released, {} not",
            of("phase"),
            of("reader"),
            of("taps"),
            of("released"),
            of("failed")
        ));
    }
    lines
}
