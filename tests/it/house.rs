//! The rules of the house (design, section 2), drawn from the sources themselves.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::support::limit;

/// Which modules of this crate each module may know. `demo` and `cli` put things together and may know all.
const MAY_KNOW: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("backoff", &[]),
    ("random", &[]),
    ("feedback", &[]),
    ("convert", &[]),
    ("station", &["convert", "domain", "feedback"]),
    ("tls", &["domain"]),
    ("config", &["convert", "domain", "reader::profile", "station"]),
    ("reader", &["backoff", "domain", "feedback", "random"]),
    ("lamp", &["feedback"]),
    ("durable", &[]),
    ("clock", &["durable"]),
    ("print_server", &["backoff", "clock", "domain", "durable", "random", "tls"]),
    ("journal", &["clock", "domain", "durable", "random"]),
    ("status", &["backoff", "domain"]),
    (
        "agent",
        &[
            "backoff",
            "clock",
            "config",
            "convert",
            "domain",
            "feedback",
            "journal",
            "lamp",
            "print_server",
            "random",
            "reader",
            "station",
            "status",
        ],
    ),
];

/// Crates that do I/O, or tell the time, or draw lots: nothing for a pure module.
const IO_CRATES: &[&str] = &["tokio", "reqwest", "axum", "sled", "rumqttc", "rustls", "tokio_serial", "ring", "rustix"];

const PURE: &[&str] = &["domain", "station", "convert", "backoff", "feedback"];

fn sources(module: &str) -> Vec<PathBuf> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let file = src.join(format!("{module}.rs"));
    let mut found = Vec::new();
    let mut folders = vec![src.join(module)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                found.push(path);
            }
        }
    }
    found.extend(file.is_file().then_some(file));
    assert!(!found.is_empty(), "there is no module {module}");
    found
}

/// The code of a file without its tests and comments.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// Every `crate::a::b` of a text.
fn known(text: &str) -> BTreeSet<String> {
    assert!(!text.contains("crate::{"), "one `use` a module, so that this test can read it");
    text.match_indices("crate::")
        .map(|(at, found)| {
            let path = text[at + found.len()..].chars();
            path.take_while(|c| c.is_alphanumeric() || *c == '_' || *c == ':').collect::<String>()
        })
        .map(|path| path.trim_end_matches(':').to_owned())
        .collect()
}

#[test]
fn no_module_knows_more_than_it_may() {
    let _limit = limit();
    for (module, allowed) in MAY_KNOW {
        for path in sources(module).iter().filter(|path| !path.components().any(|part| part.as_os_str() == "tests")) {
            for known in known(&code(path)) {
                let own = known == *module || known.starts_with(&format!("{module}::"));
                let granted = allowed.iter().any(|may| known == *may || known.starts_with(&format!("{may}::")));
                assert!(own || granted, "{} knows crate::{known}", path.display());
            }
        }
    }
}

#[test]
fn every_module_of_the_crate_has_its_rule() {
    let _limit = limit();
    let lib = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")).unwrap();
    for line in lib.lines().filter_map(|line| line.strip_prefix("pub mod ")) {
        let module = line.trim_end_matches(';');
        let ruled = MAY_KNOW.iter().any(|(ruled, _)| *ruled == module) || ["cli", "demo"].contains(&module);
        assert!(ruled, "{module} has no rule here");
    }
}

#[test]
fn decisions_have_no_io() {
    let _limit = limit();
    for module in PURE {
        for path in sources(module) {
            let code = code(&path);
            for banned in IO_CRATES {
                let found = code
                    .match_indices(&format!("{banned}::"))
                    .any(|(at, _)| !code[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_'));
                assert!(!found, "{} uses {banned}", path.display());
            }
            for clock in ["Instant::now", "Timestamp::now", "SystemTime", "std::fs", "std::net", "std::env"] {
                let is_test = path.ends_with("tests.rs");
                assert!(is_test || !code.contains(clock), "{} uses {clock}", path.display());
            }
        }
    }
}

/// `rust-version` in Cargo.toml is what a builder with an older compiler goes by. What this crate itself uses of the
/// standard library is held to it by clippy (`incompatible_msrv`).
#[test]
fn no_dependency_needs_a_newer_compiler_than_cargo_toml_promises() {
    let _limit = limit();
    let platform = ["--filter-platform", "aarch64-unknown-linux-gnu", "--all-features"];
    let metadata = Command::new(env!("CARGO"))
        .args(["metadata", "--locked", "--format-version", "1"])
        .args(platform)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let metadata: Value = serde_json::from_slice(&metadata.stdout).unwrap();
    let used: BTreeSet<_> =
        metadata["resolve"]["nodes"].as_array().unwrap().iter().map(|node| &node["id"]).map(Value::as_str).collect();
    let packages =
        metadata["packages"].as_array().unwrap().iter().filter(|package| used.contains(&package["id"].as_str()));
    let promised = version(env!("CARGO_PKG_RUST_VERSION"));
    for package in packages {
        if let Some(needed) = package["rust_version"].as_str() {
            assert!(version(needed) <= promised, "{} needs Rust {needed}", package["name"]);
        }
    }
}

/// Major and minor: "1.88.0" is "1.88".
fn version(text: &str) -> Vec<u32> {
    text.split('.').take(2).map(|number| number.parse().unwrap()).collect()
}
