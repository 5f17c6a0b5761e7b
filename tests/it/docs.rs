//! The documents are the contract: everything that they name is there, and they name everything that is there.
//!
//! References from comments lead to headings, links lead to files, and the tables of `docs/operating.md` are compared with
//! the program in both directions.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::fs;
use std::path::{Path, PathBuf};
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

use crate::support::mosquitto::free_port;
use crate::support::program;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).unwrap()
}

/// The files of the repository that `take` wants, by their paths from its root.
fn files(take: impl Fn(&Path) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![root().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            let name = entry.file_name().unwrap().to_string_lossy().into_owned();
            if entry.is_dir() {
                let is_made = ["target", ".git", "artifacts", "corpus"].contains(&&*name);
                folders.extend((!is_made).then_some(entry));
            } else if take(&entry) {
                found.push(entry.strip_prefix(root()).unwrap().display().to_string());
            }
        }
    }
    found.sort();
    found
}

fn has_end(path: &Path, ends: &[&str]) -> bool {
    path.extension().is_some_and(|end| ends.iter().any(|wanted| end == *wanted))
}

/// Sources and everything else that has comments: scripts without an ending too.
fn commented() -> Vec<String> {
    files(|path| {
        let is_script = || fs::read(path).is_ok_and(|bytes| bytes.starts_with(b"#!"));
        has_end(path, &["rs", "toml", "sh", "service", "rules", "conf", "sysusers", "tmpfiles", "js"])
            || path.extension().is_none() && is_script()
    })
}

fn documents() -> Vec<String> {
    files(|path| has_end(path, &["md"]))
}

/// The comments of a file, each with the number of its first line; lines that follow each other are one comment.
fn comments(path: &str, text: &str) -> Vec<(usize, String)> {
    let mark = if path.ends_with(".rs") || path.ends_with(".js") { "//" } else { "#" };
    let mut found: Vec<(usize, String)> = Vec::new();
    let mut goes_on = false;
    for (number, line) in (1..).zip(text.lines()) {
        let own = line.trim_start().strip_prefix(mark);
        // A comment behind code stands after a blank; a URL or a colour does not.
        let behind = || line.split_once(&format!(" {mark} ")).map(|(_, comment)| comment);
        match own.or_else(behind) {
            Some(comment) => {
                let comment = comment.trim_start_matches(['/', '!', '#']).trim();
                match found.last_mut() {
                    Some((_, before)) if goes_on => *before = format!("{before} {comment}"),
                    _ => found.push((number, comment.to_owned())),
                }
                goes_on = own.is_some();
            }
            None => goes_on = false,
        }
    }
    found
}

fn headings(document: &str) -> BTreeSet<String> {
    let text = read(document);
    let mut in_block = false;
    let lines = text.lines().filter(|line| {
        in_block ^= line.trim_start().starts_with("```");
        !in_block && line.starts_with('#')
    });
    lines.map(|line| line.trim_start_matches('#').trim().replace('`', "")).collect()
}

/// Nothing is left over; or the test fails with everything that is.
#[track_caller]
fn nothing<T: Debug>(what: &str, left: &[T]) {
    let lines: Vec<_> = left.iter().map(|problem| format!("  {problem:?}")).collect();
    assert!(left.is_empty(), "{what}:\n{}", lines.join("\n"));
}

/// Both sets are the same; or the test says what is missing on which side.
#[track_caller]
fn same(what: &str, documented: &BTreeSet<String>, real: &BTreeSet<String>) {
    let missing: Vec<_> = real.difference(documented).collect();
    let surplus: Vec<_> = documented.difference(real).collect();
    assert!(missing.is_empty(), "{what}: docs/operating.md lacks {missing:?}");
    assert!(surplus.is_empty(), "{what}: docs/operating.md has {surplus:?}, and the program has not");
}

/// A section of a document, without its heading, up to the next heading of the same or a higher level.
fn section(document: &str, heading: &str) -> String {
    let text = read(document);
    let mut lines =
        text.lines().skip_while(|line| line.trim_start_matches('#').trim() != heading || !line.starts_with('#'));
    let level = |line: &str| line.chars().take_while(|c| *c == '#').count();
    let own = level(lines.next().unwrap_or_else(|| panic!("{document} has no heading {heading:?}")));
    lines.take_while(|line| level(line) == 0 || level(line) > own).map(|line| format!("{line}\n")).collect()
}

/// The rows of the tables of a section of docs/operating.md whose first column has this heading.
fn rows(heading: &str, first: &str) -> Vec<Vec<String>> {
    let section = section("docs/operating.md", heading);
    let mut found = Vec::new();
    let mut wanted = false;
    for line in section.lines() {
        let Some(row) = line.strip_prefix('|').and_then(|row| row.strip_suffix('|')) else {
            wanted = false;
            continue;
        };
        let cells: Vec<String> = row.split('|').map(|cell| cell.trim().to_owned()).collect();
        if cells[0] == first {
            wanted = true;
        } else if wanted && !cells[0].starts_with("--") {
            found.push(cells);
        }
    }
    assert!(!found.is_empty(), "docs/operating.md, {heading:?} has no table of {first:?}");
    found
}

/// The words in backticks.
fn words(text: &str) -> Vec<String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

fn first_words(rows: &[Vec<String>]) -> BTreeSet<String> {
    rows.iter().flat_map(|row| words(&row[0])).collect()
}

fn set<S: Into<String>>(words: impl IntoIterator<Item = S>) -> BTreeSet<String> {
    words.into_iter().map(Into::into).collect()
}

mod references {
    use super::*;

    /// `docs/NAME.md, "Heading"`, also across the lines of a comment; the heading may be left out.
    const REFERENCE: &str = r#"((?:docs/[a-z-]+|README|CONTRIBUTING|SECURITY|CHANGELOG|cross/README|firmware-config/README)\.md)(?:, "([^"]+)")?"#;

    #[test]
    fn every_reference_of_a_comment_leads_to_a_heading_that_is_there() {
        let (reference, mut wrong) = (regex(REFERENCE), Vec::new());
        for path in commented().iter().chain(&documents()) {
            let text = read(path);
            let pieces = if path.ends_with(".md") { vec![(1, text.replace('\n', " "))] } else { comments(path, &text) };
            for (line, comment) in pieces {
                for found in reference.captures_iter(&comment) {
                    let document = &found[1];
                    let heading = found.get(2).map(|heading| heading.as_str().replace('`', ""));
                    let is_there = root().join(document).is_file()
                        && heading.as_ref().is_none_or(|heading| headings(document).contains(heading));
                    if !is_there {
                        wrong.push((format!("{path}:{line}"), document.to_owned(), heading));
                    }
                }
            }
        }
        nothing("references that lead nowhere", &wrong);
    }

    #[test]
    fn no_comment_refers_to_a_document_that_a_clone_does_not_hold() {
        // Put together here, so that this file does not hold them.
        let gone =
            [["design, ", "section"], ["design, ", "promise"], ["api-", "notes"], ["(00", "1"], ["readers", ".md"]];
        let gone = gone.map(|parts| parts.concat());
        let trap = regex(r"(^|[^0-9A-Za-z_`])T[0-9]{1,2}($|[^0-9A-Za-z_`])");
        let mut found = Vec::new();
        for path in commented().iter().chain(&documents()) {
            let text = read(path);
            let is_document = path.ends_with(".md");
            // A profile may have times that its reader's manual calls by a T and a number.
            if !is_document && !path.starts_with("firmware-config/readers/") {
                for (line, comment) in comments(path, &text).into_iter().filter(|(_, comment)| trap.is_match(comment)) {
                    found.push((format!("{path}:{line}"), comment.chars().take(80).collect::<String>()));
                }
            }
            for (number, line) in (1..).zip(text.lines()) {
                if gone.iter().any(|gone| line.contains(gone.as_str())) {
                    found.push((format!("{path}:{number}"), line.trim().to_owned()));
                }
            }
        }
        nothing("references to documents that are not in the repository", &found);
    }

    #[test]
    fn every_link_between_documents_leads_somewhere() {
        let (link, mut wrong) = (regex(r"\]\(([^)]+)\)"), Vec::new());
        let anchor = |heading: &String| -> String {
            let kept = heading
                .to_lowercase()
                .chars()
                .filter(|c| c.is_alphanumeric() || " -_".contains(*c))
                .collect::<String>();
            kept.replace(' ', "-")
        };
        for path in documents() {
            for found in link.captures_iter(&read(&path)) {
                let (file, at) = found[1].split_once('#').map_or((&found[1], None), |(file, at)| (file, Some(at)));
                if file.contains("://") {
                    continue;
                }
                let target = if file.is_empty() { path.clone() } else { beside(&path, file) };
                let is_there = root().join(&target).exists()
                    && at.is_none_or(|at| headings(&target).iter().map(anchor).any(|anchor| anchor == at));
                if !is_there {
                    wrong.push((path.clone(), found[1].to_owned()));
                }
            }
        }
        nothing("links that lead nowhere", &wrong);
    }

    /// A path that is written in `document`, from the root of the repository.
    fn beside(document: &str, file: &str) -> String {
        let mut path = PathBuf::from(document).parent().unwrap().to_owned();
        for part in Path::new(file).components() {
            match part {
                std::path::Component::ParentDir => drop(path.pop()),
                part => path.push(part),
            }
        }
        path.display().to_string()
    }

    /// `file::test` in backticks: a file of tests and a function in it.
    #[test]
    fn every_test_that_a_document_names_is_there() {
        let (test, mut wrong, mut count) = (regex(r"`((?:src|tests)/[a-z0-9_/]+\.rs)::([a-z0-9_]+)`"), Vec::new(), 0);
        for path in documents() {
            for found in test.captures_iter(&read(&path)) {
                count += 1;
                let text = fs::read_to_string(root().join(&found[1])).unwrap_or_default();
                if !text.contains(&format!("fn {}(", &found[2])) {
                    wrong.push((path.clone(), found[0].to_owned()));
                }
            }
        }
        nothing("tests that are not there", &wrong);
        assert!(count > 20, "the promises name their tests: {count}");
    }
}

/// README's tree names every folder of the repository and every part of the program.
#[test]
fn the_tree_of_the_readme_names_what_is_there() {
    let tree = section("README.md", "The tree");
    let mut missing = Vec::new();
    for folder in ["", "src", "tests", "docs"] {
        for entry in fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().path()) {
            let path = entry.strip_prefix(root()).unwrap().display().to_string();
            // Folders of the root, and everything in the others; not the output of the build.
            let counts = entry.is_dir() && path != "target" && !path.starts_with('.') || !folder.is_empty();
            if counts && !tree.contains(&path) {
                missing.push(path);
            }
        }
    }
    nothing("README.md, \"The tree\" lacks", &missing);
}

mod operating {
    use super::*;

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
    fn exit_codes_are_those_of_the_program() {
        let help = help(&[]);
        let line = help.lines().find_map(|line| line.strip_prefix("Exit codes: ")).unwrap();
        let real = set(regex("[0-9]+").find_iter(line).map(|code| code.as_str()));
        same("exit codes", &first_words(&rows("Exit codes", "code")), &real);
    }

    #[test]
    fn topics_are_those_that_the_agent_writes_and_reads() {
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
        real.extend([
            topics.availability(),
            topics.status(),
            topics.station_status("<s>"),
            topics.station_event("<s>"),
        ]);
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
        let (scene, agent) = running().await;
        let mut real = BTreeSet::new();
        fields(&scene.status(&agent, |_| true).await.unwrap(), "", &mut real);
        let real = real.into_iter().map(|field| field.replace("stations.lobby.", "stations.<s>.")).collect();
        same("fields of the status document", &first_words(&rows("Status document", "field")), &real);
    }

    #[tokio::test]
    async fn metrics_and_their_labels_are_those_that_are_told() {
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
        let documented =
            rows("Lights and beeps", "signal").iter().map(|row| row[..3].join(" ").replace('`', "")).collect();
        same("signals", &documented, &signals.map(row).into());
    }

    /// Names of files in the state directory, as the sources have them.
    fn file_names() -> BTreeSet<String> {
        let constant = regex(r#"const (?:[A-Z_]+_)?FILE(?:_NAME)?: &str = "([^"]+)""#);
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
            let of =
                |pattern: &Regex| -> Vec<String> { pattern.captures_iter(code).map(|it| it[1].to_owned()).collect() };
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
        let documented = first_words(&rows("What is kept where", "file"));
        same("files of the state directory", &documented, &file_names());
        let tables = read("src/journal/table.rs");
        let tables = regex(r#"=> "([a-z_]+)""#).captures_iter(&tables).map(|found| found[1].to_owned()).collect();
        same("entries of the journal", &first_words(&rows("What is kept where", "entries of the journal")), &tables);
    }

    #[test]
    fn limits_of_what_is_kept_are_those_of_the_sources() {
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
}

// enabled at the merge: Reason comes with another branch, and so do the files that the documents name.
#[cfg(any())]
mod enabled_at_the_merge {
    use print_release_agent::domain::Reason;

    use super::*;

    #[test]
    fn reasons_are_the_closed_set_of_the_program() {
        let real = set(Reason::ALL.iter().map(Reason::word));
        same("reasons", &first_words(&rows("Reasons", "reason")), &real);
    }

    /// `src/...`, `tests/...` and the like in backticks, with the braces of the shell.
    #[test]
    fn every_file_that_a_document_names_is_there() {
        let top = regex(r"^(src|tests|docs|cross|systemd|firmware-config)/[A-Za-z0-9_./{},-]+$");
        let mut wrong = Vec::new();
        for path in documents() {
            for named in words(&read(&path)).into_iter().filter(|word| top.is_match(word)) {
                let paths = match named.split_once('{').and_then(|(head, rest)| Some((head, rest.split_once('}')?))) {
                    Some((head, (names, end))) => names.split(',').map(|name| format!("{head}{name}{end}")).collect(),
                    None => vec![named],
                };
                wrong.extend(
                    paths.into_iter().filter(|named| !root().join(named).exists()).map(|named| (path.clone(), named)),
                );
            }
        }
        nothing("files that are not there", &wrong);
    }
}
