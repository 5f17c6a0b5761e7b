//! The shipped file and the code tell the same keys and the same defaults.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use toml::{Table, Value};

use super::{super::section::ConfigFile, SHIPPED, Site, edited, problems};
use crate::config::{Config, Environment, not_built::NOT_BUILT};

/// The keys that a technician must set, with the values of the smallest useful file.
pub(super) const REQUIRED: [(&str, &str, &str); 5] = [
    ("server", "url", "https://print.example.com:7300/api/v1"),
    ("station", "name", "lobby"),
    ("station.reader", "type", "serial"),
    ("station.reader", "device", "/dev/serial/by-id/usb-OEM_RFID_Device__COM_-if00"),
    ("station.printer", "output_port", "192.0.2.10"),
];

/// Every table of the shipped file with its keys.
pub(super) fn shipped_keys() -> BTreeMap<String, BTreeSet<String>> {
    fn collect(name: &str, table: &Table, all: &mut BTreeMap<String, BTreeSet<String>>) {
        for (key, value) in table {
            let child = if name.is_empty() { key.clone() } else { format!("{name}.{key}") };
            match value {
                Value::Table(table) => collect(&child, table, all),
                Value::Array(array) => array.iter().filter_map(Value::as_table).for_each(|table| {
                    collect(&child, table, all);
                }),
                _ => {}
            }
        }
        all.entry(name.to_owned()).or_default().extend(table.keys().cloned());
    }
    let mut all = BTreeMap::new();
    collect("", &SHIPPED.parse().expect("TOML"), &mut all);
    all
}

/// Every table that the code reads with its keys.
pub(super) fn keys_of_the_code() -> BTreeMap<String, BTreeSet<String>> {
    let env = Environment::default();
    let (file, _) = ConfigFile::read(SHIPPED, Path::new("agent.toml"), &env, Config::read);
    let owned = |keys: BTreeSet<&str>| keys.into_iter().map(str::to_owned).collect();
    file.known.into_iter().map(|(table, keys)| (table, owned(keys))).collect()
}

#[test]
fn the_shipped_file_has_exactly_the_keys_that_are_read() {
    assert_eq!(shipped_keys(), keys_of_the_code());
}

#[test]
fn the_shipped_file_has_the_defaults_of_the_code() {
    let this = Site::new();
    let broker = ("mqtt", "url", "mqtt://broker.example.com:1883".into());
    let key_file = this.directory.path().join("api-key");
    let key_file = ("server", "api_key_file", key_file.to_str().expect("a path").into());
    let mut edits: Vec<_> = REQUIRED.map(|(table, key, value)| (table, key, value.into())).into();
    edits.extend([broker, key_file]);
    let shipped = this.parse(&edited(SHIPPED, &edits)).expect("the shipped file, filled in");
    let smallest = this.parse(&this.smallest()).expect("the smallest file");
    assert_eq!(format!("{shipped:#?}"), format!("{smallest:#?}"));
}

#[test]
fn the_shipped_file_asks_for_what_is_required_and_nothing_else() {
    let asked = problems(Site::new().parse(SHIPPED));
    let asked: Vec<_> =
        asked.iter().map(|line| line.split(' ').skip(1).take(2).collect::<Vec<_>>().join(" ")).collect();
    let expected = [
        "[server] url:",
        "[server] api_key_file:",
        "[station] name:",
        "[station.reader] type:",
        "[station.printer] output_port:",
    ];
    assert_eq!(asked, expected);
}

#[test]
fn the_comments_of_the_shipped_file_tell_what_is_not_built() {
    let (mut table, mut comment) = ("", String::new());
    let mut marked = BTreeSet::new();
    for line in SHIPPED.lines() {
        match line.split_once(" = ") {
            _ if line.starts_with('#') => comment.push_str(line),
            _ if line.starts_with('[') => table = line.trim_matches(['[', ']']),
            Some((key, _)) if comment.contains("not built yet") => {
                marked.insert((table, key));
            }
            _ => {}
        }
        if !line.starts_with('#') {
            comment.clear();
        }
    }
    let expected = NOT_BUILT.iter().map(|(table, key, _)| (*table, *key)).collect();
    assert_eq!(marked, expected);
}
