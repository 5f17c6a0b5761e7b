//! A run at trace level, with everything that can go wrong, tells nobody a card number, a key or a token.

use std::path::Path;

use print_release_agent::demo::scene::Scene;
use print_release_agent::demo::server::{Call, Kind, OPEN_KEY};

use crate::support::mosquitto::Mosquitto;
use crate::support::{limit, program, soon};

/// Cards of ada, grace and linus, one that nobody knows, and one that cannot be converted.
const CARDS: [&str; 5] = ["0025489530", "2490285352", "1234567", "9988776655", "04A1B2C3D4"];

/// Every file below a folder, with its bytes.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        match entry.file_type().unwrap() {
            kind if kind.is_dir() => found.extend(files(&entry.path())),
            kind if kind.is_file() => {
                found.push((entry.path().display().to_string(), std::fs::read(entry.path()).unwrap()));
            }
            _ => {}
        }
    }
    found
}

#[tokio::test]
async fn no_secret_is_in_any_log_at_trace_level_nor_in_the_state_directory() {
    let _limit = limit();
    let broker = Mosquitto::start("allow_anonymous true");
    let scene = Scene::set(program()).await.unwrap();
    let mqtt = format!("[mqtt]\nurl = \"mqtt://127.0.0.1:{}\"\nusers = \"plain\"", broker.port());
    scene.configure("", &[&mqtt, "[log]\nlevel = \"trace\"\nformat = \"json\""]).unwrap();
    let agent = scene.start().await.unwrap();
    for (call, kind) in [
        (Call::Login, Kind::CutBefore),
        (Call::Login, Kind::Garbage),
        (Call::List, Kind::ExpiredToken),
        (Call::List, Kind::Status { code: 500, retry_after: None }),
        (Call::Release, Kind::ExpiredToken),
        (Call::Token, Kind::Garbage),
        (Call::Record, Kind::WrongType),
    ] {
        scene.befall(call, 1, kind);
        for card in CARDS {
            soon(scene.hold(&agent, card)).await.unwrap();
        }
    }
    soon(scene.settled(&agent)).await.unwrap();
    soon(agent.terminate()).await.unwrap();

    let mut secrets: Vec<String> = CARDS.iter().map(|card| (*card).to_owned()).collect();
    secrets.push(OPEN_KEY.to_owned());
    secrets.extend(scene.server.world().tokens.issued().map(str::to_owned));
    assert!(secrets.len() > 10, "tokens were issued");
    std::fs::remove_file(scene.dir().join("api-key")).unwrap();
    let files = files(scene.dir());
    assert!(files.iter().any(|(name, bytes)| name.ends_with("/log") && !bytes.is_empty()));
    for (name, bytes) in files {
        for secret in &secrets {
            let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found, "{name} holds {secret}");
        }
    }
}
