//! docs/configuration.md and the code tell the same keys, defaults, limits and words.

use std::collections::{BTreeMap, BTreeSet};

use toml::{Table, Value};

use super::keys::{REQUIRED, keys_of_the_code};
use super::{SMALLEST, Site, edited, problems};
use crate::config::not_built::NOT_BUILT;

const DOCUMENT: &str = include_str!("../../../docs/configuration.md");

/// The rows of the document by section and key: the default, and the whole row.
fn rows() -> BTreeMap<&'static str, BTreeMap<&'static str, (&'static str, &'static str)>> {
    let mut sections = BTreeMap::new();
    let mut section = "";
    for line in DOCUMENT.lines() {
        if let Some(heading) = line.strip_prefix("## ").or(line.strip_prefix("### ")) {
            section = heading.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or_default();
            if !section.is_empty() {
                sections.entry(section).or_insert_with(BTreeMap::new);
            }
        } else if line.starts_with("| `") {
            let mut cells = line.split('|').skip(1).map(|cell| cell.trim().trim_matches('`'));
            let (key, default) = (cells.next().expect("a key"), cells.next().expect("a default"));
            let rows = sections.get_mut(section).expect("a section above the row");
            assert!(rows.insert(key, (default, line)).is_none(), "[{section}] {key} stands there twice");
        }
    }
    sections
}

/// Section, key, default and row of every key.
fn documented() -> impl Iterator<Item = (&'static str, &'static str, &'static str, &'static str)> {
    let sections = rows().into_iter();
    sections.flat_map(|(section, rows)| rows.into_iter().map(move |(key, (default, row))| (section, key, default, row)))
}

#[test]
fn the_document_has_exactly_the_keys_that_are_read() {
    let mut keys: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (section, rows) in rows() {
        let (parent, name) = section.rsplit_once('.').unwrap_or(("", section));
        keys.entry(parent.to_owned()).or_default().insert(name.to_owned());
        keys.entry(section.to_owned()).or_default().extend(rows.into_keys().map(str::to_owned));
    }
    assert_eq!(keys, keys_of_the_code());
}

#[test]
fn the_document_has_the_defaults_of_the_code() {
    let this = Site::new();
    let as_value = |text: &str| format!("value = {text}").parse::<Table>().expect(text)["value"].clone();
    let defaults = documented().filter(|(_, _, default, _)| *default != "required");
    let mut edits: Vec<(&str, &str, Value)> =
        defaults.map(|(section, key, default, _)| (section, key, as_value(default))).collect();
    edits.extend(REQUIRED.map(|(section, key, value)| (section, key, value.into())));
    edits.push(("mqtt", "url", "mqtt://broker.example.com:1883".into()));
    let key_file = this.directory.path().join("api-key");
    edits.push(("server", "api_key_file", key_file.to_str().expect("a path").into()));
    let documented = this.parse(&edited("[[station]]", &edits)).expect("the defaults of the document");
    let smallest = this.parse(&this.smallest()).expect("the smallest file");
    assert_eq!(format!("{documented:#?}"), format!("{smallest:#?}"));
}

#[test]
fn the_document_marks_what_is_required() {
    let asked = problems(Site::new().parse("[[station]]"));
    let asked: BTreeSet<_> = asked.iter().filter_map(|line| line.strip_suffix(": is required")).collect();
    let marked = documented().filter(|(_, _, default, _)| *default == "required");
    let marked: Vec<_> = marked.map(|(section, key, ..)| format!("[{section}] {key}")).collect();
    assert_eq!(asked.len(), marked.len(), "{asked:?} {marked:?}");
    for key in marked {
        assert!(asked.iter().any(|line| line.ends_with(&key)), "{key} is not required: {asked:?}");
    }
}

#[test]
fn the_document_has_the_limits_and_the_words_of_the_code() {
    let this = Site::new();
    let wrong = Value::Datetime("1979-05-27".parse().expect("a date"));
    let quoted = |text: &str| text.split('"').skip(1).step_by(2).map(str::to_owned).collect::<BTreeSet<_>>();
    let mut compared = 0;
    for (section, key, _, row) in documented() {
        let label = format!("[{section}] {key}: ");
        let lines = this.problems_with(&[(section, key, wrong.clone())]);
        let (_, expected) = lines.iter().find_map(|line| line.split_once(&label)).expect(&label);
        if let Some((_, range)) = expected.split_once(" from ") {
            assert!(row.replace('`', "").contains(range), "{label}{range}");
        } else if let Some((_, list)) = expected.split_once("one of ") {
            let is_missing = |word: &&str| !row.contains(word.trim_matches('"'));
            assert_eq!(list.split(", ").find(is_missing), None, "{label}{list}");
            assert!(!list.contains('"') || quoted(row) == quoted(list), "{label}{list}");
        } else {
            continue;
        }
        compared += 1;
    }
    assert!(compared > 20, "only {compared} keys have limits");
}

#[test]
fn the_document_tells_what_is_not_built() {
    let marked: BTreeSet<_> = documented().filter(|(.., row)| row.to_lowercase().contains("not built yet")).collect();
    let marked: BTreeSet<_> = marked.into_iter().map(|(section, key, ..)| (section, key)).collect();
    assert_eq!(marked, NOT_BUILT.iter().map(|(section, key, _)| (*section, *key)).collect());
}

#[test]
fn the_smallest_file_of_the_document_is_the_one_that_is_tested() {
    let (_, text) = DOCUMENT.split_once("```toml\n").expect("a file");
    let (text, _) = text.split_once("```").expect("its end");
    assert_eq!(text, SMALLEST.replace("KEY_FILE", "/etc/print-release-agent/api-key"));
}
