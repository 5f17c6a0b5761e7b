//! The configuration as a whole: files in, checked values or problems out.

mod documented;
mod files;
mod keys;
mod problems;
mod values;

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use tempfile::TempDir;
use toml::{Table, Value};

use super::{Config, Environment, Problems, parse};

/// The file that is shipped.
const SHIPPED: &str = include_str!("../../../firmware-config/agent.toml");

/// The smallest useful file, of which `KEY_FILE` is a path to be filled in.
const SMALLEST: &str = r#"[server]
url = "https://print.example.com:7300/api/v1"
api_key_file = "KEY_FILE"

[[station]]
name = "lobby"
[station.reader]
type = "serial"
device = "/dev/serial/by-id/usb-OEM_RFID_Device__COM_-if00"
[station.printer]
output_port = "192.0.2.10"

[mqtt]
url = "mqtt://broker.example.com:1883"
"#;

/// A directory with a key file, and configurations that name it.
struct Site {
    directory: TempDir,
}

impl Site {
    fn new() -> Self {
        let this = Self { directory: tempfile::tempdir().expect("a directory") };
        this.file("api-key", "key-in-a-file\n", 0o600);
        this
    }

    /// Writes a file and gives its path.
    fn file(&self, name: &str, content: &str, mode: u32) -> String {
        let path = self.directory.path().join(name);
        fs::write(&path, content).expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("a mode");
        path.to_str().expect("a path").to_owned()
    }

    fn smallest(&self) -> String {
        let key_file = self.directory.path().join("api-key");
        SMALLEST.replace("KEY_FILE", key_file.to_str().expect("a path"))
    }

    /// Parses the smallest file with these keys set.
    fn with(&self, edits: &[(&str, &str, Value)]) -> Result<Config, Problems> {
        self.parse(&edited(&self.smallest(), edits))
    }

    /// The problems of the smallest file with these keys set.
    fn problems_with(&self, edits: &[(&str, &str, Value)]) -> Vec<String> {
        problems(self.with(edits))
    }

    fn parse(&self, text: &str) -> Result<Config, Problems> {
        let credentials = Some(self.directory.path().to_owned());
        let env = Environment { hostname: "Lobby-Box".to_owned(), credentials, beside: std::path::PathBuf::new() };
        parse(text, Path::new("agent.toml"), &env)
    }
}

fn problems(result: Result<Config, Problems>) -> Vec<String> {
    let problems = result.map(drop).expect_err("problems");
    problems.lines().map(str::to_owned).collect()
}

/// `text` with `(table, key, value)` set; a table under `station` is that of the first one.
fn edited(text: &str, edits: &[(&str, &str, Value)]) -> String {
    let mut root: Table = text.parse().expect("TOML");
    for (table, key, value) in edits {
        let path = table.split('.').filter(|part| !part.is_empty());
        let table = path.fold(&mut root, |table, part| {
            let child = table.entry(part).or_insert_with(|| Table::new().into());
            let child = match child {
                Value::Array(stations) => &mut stations[0],
                child => child,
            };
            child.as_table_mut().expect("a table")
        });
        table.insert((*key).to_owned(), value.clone());
    }
    root.to_string()
}
