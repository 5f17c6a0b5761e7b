//! The tables of `docs/operating.md` and the program say the same.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;

use jiff::SignedDuration;
use print_release_agent::demo::process::AgentProcess;
use print_release_agent::demo::scene::Scene;
use print_release_agent::feedback::{Colour, Signal};
use print_release_agent::journal::{
    ASIDE_LIMIT, ENTRY_LIMIT, EVENT_LIMIT, LEDGER_AGE, LEDGER_LIMIT, PAYLOAD_LIMIT, RESERVE_BYTES,
};
use print_release_agent::status::topics::Topics;
use regex::Regex;
use serde_json::Value;

use super::{files, first_words, has_end, read, regex, rows, same, section, set, words};
use crate::support::mosquitto::free_port;
use crate::support::{limit, program};

fn help(arguments: &[&str]) -> String {
    let output = Command::new(program()).args(arguments).arg("--help").output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// The commands below `path`, as `--help` lists them.
fn below(path: &[&str]) -> Vec<String> {
    let help = help(path);
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let names = listed.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help");
    names.map(str::to_owned).collect()
}

#[test]
fn commands_and_their_options_are_those_of_the_program() {
    let _limit = limit();
    let mut real = BTreeSet::new();
    for name in below(&[]) {
        let inner = below(&[&name]);
        real.extend(inner.iter().map(|inner| format!("{name} {inner}")));
        real.extend(inner.is_empty().then_some(name));
    }
    let rows = rows("Commands", "command");
    same("commands", &first_words(&rows), &real);
    // An option begins its line in `--help`, behind its short form if it has one.
    let option = regex(r"(?m)^ +(?:-[a-z], )?(--[a-z-]+)");
    let general = ["--config", "--json", "--help", "--version"];
    for row in rows {
        let command = words(&row[0]).pop().unwrap();
        let help = help(&command.split(' ').collect::<Vec<_>>());
        let real = option.captures_iter(&help).map(|found| found[1].to_owned());
        let real: BTreeSet<_> = real.filter(|option| !general.contains(&&**option)).collect();
        let documented = words(&row[1]).into_iter().filter_map(|word| word.split(' ').next().map(str::to_owned));
        let documented = documented.filter(|word| word.starts_with("--")).collect();
        same(&format!("options of {command}"), &documented, &real);
    }
}

#[test]
fn commands_of_the_neighbours_and_their_options_are_those_of_the_program() {
    let _limit = limit();
    let mut real = BTreeSet::new();
    for neighbour in below(&["directory"]) {
        real.extend(below(&["directory", &neighbour]).iter().map(|inner| format!("{neighbour} {inner}")));
    }
    let rows = rows("Commands", "neighbour");
    same("commands of the neighbours", &first_words(&rows), &real);
    let option = regex(r"(?m)^ +(?:-[a-z], )?(--[a-z-]+)");
    let general = ["--config", "--json", "--help", "--version"];
    for row in rows {
        let command = words(&row[0]).pop().unwrap();
        let help = help(&["directory"].into_iter().chain(command.split(' ')).collect::<Vec<_>>());
        let real = option.captures_iter(&help).map(|found| found[1].to_owned());
        let real: BTreeSet<_> = real.filter(|option| !general.contains(&&**option)).collect();
        let documented = words(&row[1]).into_iter().filter_map(|word| word.split(' ').next().map(str::to_owned));
        let documented = documented.filter(|word| word.starts_with("--")).collect();
        same(&format!("options of directory {command}"), &documented, &real);
    }
}

#[test]
fn exit_codes_are_those_of_the_program() {
    let _limit = limit();
    let help = help(&[]);
    let line = help.lines().find_map(|line| line.strip_prefix("Exit codes: ")).unwrap();
    let real = set(regex("[0-9]+").find_iter(line).map(|code| code.as_str()));
    same("exit codes", &first_words(&rows("Exit codes", "code")), &real);
}

#[test]
fn topics_are_those_that_the_agent_writes_and_reads() {
    let _limit = limit();
    let topics = Topics::new("<t>", "<a>", "<d>");
    let discovery = topics.discovery("<s>").into_iter().map(|(topic, _)| topic);
    let (entities, discovery): (BTreeSet<_>, BTreeSet<_>) = discovery
        .map(|topic| {
            let parts: Vec<_> = topic.split('/').collect();
            let key = parts[2].rsplit_once('_').unwrap().1;
            let generic = topic.replace(parts[1], "<component>").replace(&format!("_{key}/"), "_<key>/");
            (format!("{} {key}", parts[1]), generic)
        })
        .unzip();
    let mut real = discovery;
    real.extend([topics.availability(), topics.status(), topics.station_status("<s>"), topics.station_event("<s>")]);
    real.extend(topics.discovery_status());
    same("topics", &first_words(&rows("MQTT topics", "topic")), &real);
    // One that is added must be asked for here.
    let source = read("src/status/topics.rs");
    let asked = regex(r"pub fn ([a-z_]+)\(&self").captures_iter(&source).map(|found| found[1].to_owned()).collect();
    let known = set(["availability", "status", "station_status", "station_event", "discovery_status", "discovery"]);
    same("functions of src/status/topics.rs", &known, &asked);

    let documented =
        rows("Home Assistant", "component").iter().map(|row| words(&row[..2].join(" ")).join(" ")).collect();
    same("entities of Home Assistant", &documented, &entities);
}

/// The real program with a broker that is not there: then it tells everything that it ever tells.
async fn running() -> (Scene, AgentProcess) {
    let scene = Scene::set(program()).await.unwrap();
    scene.configure("", &[&format!("[mqtt]\nurl = \"mqtt://127.0.0.1:{}\"", free_port())]).unwrap();
    let agent = scene.start().await.unwrap();
    (scene, agent)
}

/// The paths of all values that hold no others.
fn fields(value: &Value, path: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                fields(value, &path, found);
            }
        }
        _ => drop(found.insert(path.to_owned())),
    }
}

#[tokio::test]
async fn the_status_document_has_the_fields_that_are_written() {
    let _limit = limit();
    let (scene, agent) = running().await;
    let mut real = BTreeSet::new();
    fields(&scene.status(&agent, |_| true).await.unwrap(), "", &mut real);
    let real = real.into_iter().map(|field| field.replace("stations.lobby.", "stations.<s>.")).collect();
    same("fields of the status document", &first_words(&rows("Status document", "field")), &real);
}

#[tokio::test]
async fn metrics_and_their_labels_are_those_that_are_told() {
    let _limit = limit();
    let (scene, agent) = running().await;
    let text = scene.get(&agent, "/metrics").await.unwrap();
    let label = regex(r#"([a-z_]+)="([^"]*)""#);
    let mut real: BTreeMap<String, (String, BTreeSet<String>)> = BTreeMap::new();
    for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = line.split_once(' ').unwrap();
        real.insert(name.to_owned(), (kind.to_owned(), BTreeSet::new()));
    }
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let sample = line.split(['{', ' ']).next().unwrap();
        let part = ["_bucket", "_sum", "_count"].iter().find_map(|end| sample.strip_suffix(end));
        let name = part.filter(|name| real.contains_key(*name)).unwrap_or(sample);
        let (_, labels) = real.get_mut(name).unwrap_or_else(|| panic!("{sample} has no type"));
        for found in label.captures_iter(line).filter(|found| &found[1] != "le") {
            labels.insert(found[1].to_owned());
            labels.extend((&found[1] != "station").then(|| found[2].to_owned()));
        }
    }
    let rows = rows("Metrics", "metric");
    same("metrics", &first_words(&rows), &real.keys().cloned().collect());
    for row in rows {
        let name = words(&row[0]).pop().unwrap();
        let (kind, labels) = &real[&name];
        assert_eq!(&row[1], kind, "{name}");
        same(&format!("labels of {name}"), &set(words(&row[2])), labels);
    }
}

#[test]
fn lights_and_beeps_are_those_of_the_vocabulary() {
    let _limit = limit();
    let signals = [
        Signal::Ready,
        Signal::Reading,
        Signal::Done,
        Signal::NoDocuments,
        Signal::UnknownCard,
        Signal::Refused,
        Signal::ServerUnreachable,
        Signal::Partly,
        Signal::ReadError,
    ];
    let row = |signal: Signal| {
        let colour = match signal.colour() {
            Colour::Green => "green",
            Colour::Amber => "amber",
            Colour::Red => "red",
        };
        let pattern = if signal.pattern().is_empty() { "steady" } else { signal.pattern() };
        format!("{} {colour} {pattern}", signal.word())
    };
    let documented = rows("Lights and beeps", "signal").iter().map(|row| row[..3].join(" ").replace('`', "")).collect();
    same("signals", &documented, &signals.map(row).into());
}

/// Names of files in the state directory, as the sources have them.
fn file_names() -> BTreeSet<String> {
    let constant = regex(r#"const (?:[A-Z_]+_)?(?:FILE(?:_NAME)?|DIR): &str = "([^"]+)""#);
    let joined = regex(r#"state_dir\.join\("([a-z.-]+)"\)"#);
    let sibling = regex(r#"sibling\("([a-z]+)"\)"#);
    let aside = regex(r#"const DAMAGED[A-Z_]*: &str = "([^"]+)""#);
    let mut names = BTreeSet::new();
    for path in files(|path| has_end(path, &["rs"])).iter().filter(|path| path.starts_with("src/")) {
        let text = read(path);
        let code = text.split("#[cfg(test)]").next().unwrap();
        if path.starts_with("src/demo/") || path.contains("/tests") {
            continue;
        }
        let of = |pattern: &Regex| -> Vec<String> { pattern.captures_iter(code).map(|it| it[1].to_owned()).collect() };
        names.extend(of(&constant));
        if path.starts_with("src/journal/") {
            names.extend(of(&joined));
            names.extend(of(&sibling).into_iter().map(|end| format!("db.{end}")));
            names.extend(of(&aside).into_iter().map(|start| format!("{start}<time>")));
        }
    }
    // `db.damaged` alone is only ever the way out of an endless search for a free name.
    names.remove("db.damaged");
    names
}

#[test]
fn files_of_the_state_directory_are_those_of_the_sources() {
    let _limit = limit();
    let documented = first_words(&rows("What is kept where", "file"));
    same("files of the state directory", &documented, &file_names());
    let tables = read("src/journal/table.rs");
    let tables = regex(r#"=> "([a-z_]+)""#).captures_iter(&tables).map(|found| found[1].to_owned()).collect();
    same("entries of the journal", &first_words(&rows("What is kept where", "entries of the journal")), &tables);
}

#[test]
fn limits_of_what_is_kept_are_those_of_the_sources() {
    let _limit = limit();
    let text = section("docs/operating.md", "What is kept where").replace('\n', " ");
    let days = LEDGER_AGE.as_hours() / 24;
    assert_eq!(LEDGER_AGE, SignedDuration::from_hours(24 * days));
    let thousands = |number: usize| {
        if number < 1_000 { number.to_string() } else { format!("{},{:03}", number / 1_000, number % 1_000) }
    };
    for said in [
        format!("{days} days, counted back from the newest, and {} entries", thousands(LEDGER_LIMIT)),
        format!("The broker has acknowledged them; at most {}.", thousands(EVENT_LIMIT)),
        format!("Beyond {ASIDE_LIMIT} the oldest goes"),
        format!("{} MiB of room", RESERVE_BYTES >> 20),
        format!("{} MiB bound the bytes of all entries", PAYLOAD_LIMIT >> 20),
        format!("An entry has at most {} KiB", ENTRY_LIMIT >> 10),
    ] {
        assert!(text.contains(&said), "docs/operating.md does not say: {said}");
    }
}

#[tokio::test]
async fn an_event_has_the_fields_and_a_state_directory_the_files_that_are_documented() {
    let _limit = limit();
    let (scene, agent) = running().await;
    let mut real = BTreeSet::new();
    fields(&scene.tap(&agent, "grace").await.unwrap(), "", &mut real);
    same("fields of an event", &first_words(&rows("Events", "field")), &real);
    scene.settled(&agent).await.unwrap();
    agent.terminate().await.unwrap();

    let config = fs::read_to_string(scene.config()).unwrap();
    let state_dir = regex(r#"state_dir = "([^"]+)""#).captures(&config).unwrap()[1].to_owned();
    let found = fs::read_dir(state_dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let (found, documented): (BTreeSet<_>, _) = (found.collect(), first_words(&rows("What is kept where", "file")));
    assert!(found.len() > 3 && found.is_subset(&documented), "{found:?}, and documented are {documented:?}");
}
