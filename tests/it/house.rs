//! The rules of the house (docs/architecture.md, "Rules of the house"), checked on the sources themselves.

mod source;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use source::{Source, circles, crate_sources};

use crate::support::limit;

/// With this feature a model of the simulated world stands where an adapter meets what is outside.
const SIMULATE: &str = "simulate";

/// Each module with the modules of this crate that it may know. `demo`, `cli` and `simulate` put things together and may know
/// all.
const MAY_KNOW: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("backoff", &["planted"]),
    ("random", &[]),
    ("feedback", &[]),
    ("planted", &[]),
    ("convert", &[]),
    ("station", &["convert", "domain", "feedback", "planted"]),
    ("tls", &["clock", "domain"]),
    ("config", &["convert", "domain", "reader::profile", "station"]),
    ("reader", &["backoff", "domain", "feedback", "random", SIMULATE]),
    ("lamp", &["feedback"]),
    ("durable", &[]),
    ("token_store", &["domain", "durable"]),
    ("machine", &["durable"]),
    ("clock", &["durable"]),
    ("print_server", &["backoff", "clock", "domain", "durable", "planted", "random", SIMULATE, "tls", "token_store"]),
    ("directory", &["config", "domain", "durable", "random", "tls", "token_store"]),
    ("journal", &["clock", "domain", "durable", "planted", "random", SIMULATE]),
    ("status", &["backoff", "domain", SIMULATE]),
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
            "planted",
            "print_server",
            "random",
            "reader",
            "station",
            "status",
        ],
    ),
];

/// Crates that do I/O, tell the time or draw random numbers. A pure module uses none of them.
const IO_CRATES: &[&str] = &[
    "tokio",
    "reqwest",
    "axum",
    "sled",
    "rumqttc",
    "rustls",
    "tokio_serial",
    "serialport",
    "socket2",
    "evdev",
    "ring",
    "rustix",
];

/// The parts that decide, whole modules and single files.
const PURE: &[&str] = &[
    "domain",
    "station",
    "convert",
    "backoff",
    "feedback",
    "agent::release::attempt",
    "agent::release::claims",
    "agent::release::evidence",
    "agent::record::delivery",
    "agent::record::holds",
    "agent::record::rows",
    "agent::record::window",
    "directory::csv",
    "directory::orbix::people",
    "directory::orbix::batches",
    "directory::orbix::wire",
    "directory::orbix::report",
    "directory::ezeep::map",
    "print_server::server_clock",
];

/// The files of a module, given as `a::b`.
fn files_of<'a>(module: &str, sources: &'a [Source]) -> Vec<&'a Source> {
    let module: Vec<_> = module.split("::").map(str::to_owned).collect();
    let files: Vec<_> = sources.iter().filter(|source| source.module.starts_with(&module)).collect();
    assert!(!files.is_empty(), "there is no module {module:?}");
    files
}

#[test]
fn no_module_knows_more_than_it_may() {
    let _limit = limit();
    let sources = crate_sources();
    for (module, allowed) in MAY_KNOW {
        for source in files_of(module, &sources) {
            for known in source.paths.iter().map(|path| path.join("::")) {
                let is_in = |may: &str| known == may || known.starts_with(&format!("{may}::"));
                let granted = is_in(module) || allowed.iter().any(|may| is_in(may));
                assert!(granted, "{} knows crate::{known}", source.path.display());
            }
        }
    }
}

#[test]
fn every_module_of_the_crate_has_its_rule() {
    let _limit = limit();
    let lib = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")).unwrap();
    let modules: Vec<_> = lib.lines().filter_map(|line| line.strip_suffix(';')?.split_once("mod ")).collect();
    for (visibility, module) in &modules {
        assert!(["", "pub ", "pub(crate) "].contains(visibility), "{visibility}mod {module}");
        let ruled = MAY_KNOW.iter().any(|(ruled, _)| ruled == module) || ["cli", "demo", SIMULATE].contains(module);
        assert!(ruled, "{module} has no rule here");
    }
    assert!(modules.len() > MAY_KNOW.len(), "{modules:?}");
}

#[test]
fn decisions_have_no_io() {
    let _limit = limit();
    let sources = crate_sources();
    for source in PURE.iter().flat_map(|module| files_of(module, &sources)) {
        let code = &source.code;
        for banned in IO_CRATES {
            let found = code
                .match_indices(&format!("{banned}::"))
                .any(|(at, _)| !code[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_'));
            assert!(!found, "{} uses {banned}", source.path.display());
        }
        for clock in ["Instant::now", "Timestamp::now", "SystemTime", "std::fs", "std::net", "std::env"] {
            assert!(!code.contains(clock), "{} uses {clock}", source.path.display());
        }
    }
}

#[test]
fn no_files_of_the_agent_of_the_journal_or_of_the_neighbours_stand_in_a_circle() {
    let _limit = limit();
    let sources = crate_sources();
    let circles = ["agent", "journal", "directory"].map(|module| circles(module, &sources)).concat();
    assert!(circles.is_empty(), "these files name each other: {circles:#?}");
}

/// A builder with an older compiler goes by `rust-version` in Cargo.toml. Clippy (`incompatible_msrv`) holds this crate's own use of
/// the standard library to it.
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

/// Major and minor version: "1.88.0" is "1.88".
fn version(text: &str) -> Vec<u32> {
    text.split('.').take(2).map(|number| number.parse().unwrap()).collect()
}
