//! What the tests start.

pub mod disk;
pub mod emulator;
pub mod journal;
pub mod link_cutter;
pub mod mosquitto;
pub mod peer;
pub mod platter;
pub mod table;
pub mod tls;

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Duration;

use print_release_agent::demo::process::AgentProcess;
use print_release_agent::demo::scene::Scene;
use serde_json::Value;

/// The program under test: the one that was built with the tests, or the one that `PRINT_RELEASE_PROGRAM` names.
pub fn program() -> &'static Path {
    static PROGRAM: LazyLock<PathBuf> = LazyLock::new(|| {
        let built = || env!("CARGO_BIN_EXE_print-release-agent").into();
        std::env::var_os("PRINT_RELEASE_PROGRAM").map_or_else(built, |program| std::path::absolute(program).unwrap())
    });
    &PROGRAM
}

/// A stage with the real program running on it.
pub async fn playing() -> (Scene, AgentProcess) {
    let scene = Scene::set(program()).await.unwrap();
    let agent = scene.start().await.unwrap();
    (scene, agent)
}

/// What `queue list --json` tells, from the running agent or without it.
pub async fn queue(scene: &Scene) -> Value {
    let output = tokio::process::Command::new(program())
        .args(["queue", "list", "--json", "--config"])
        .arg(scene.config())
        .output()
        .await
        .unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The agent's log so far.
pub fn log(scene: &Scene) -> String {
    std::fs::read_to_string(scene.log()).unwrap_or_default()
}

/// What should happen any moment, or the test fails.
pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("it happens within a minute")
}
