//! The parts that the tests start, and the limits within which they have to end.

pub mod disk;
pub mod emulator;
pub mod journal;
mod limit;
pub mod link_cutter;
pub mod mosquitto;
pub mod odd_proxy;
pub mod peer;
pub mod platter;
pub mod preload;
pub mod table;
pub mod tls;
#[cfg(feature = "pcsc")]
pub mod vpcd;

use std::future::Future;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Duration;

use print_release_agent::demo::process::AgentProcess;
use print_release_agent::demo::reader::VirtualReader;
use print_release_agent::demo::scene::Scene;
use print_release_agent::random;
use serde_json::Value;

pub use limit::{limit, limit_of, limit_of_campaign};
use platter::Dice;

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

/// A reader for a second station, `attic`, and that station's part of the configuration.
pub fn attic(scene: &Scene) -> (VirtualReader, String) {
    let reader = VirtualReader::plug(&scene.dir().join("attic")).unwrap();
    let section = format!(
        "[[station]]\nname = \"attic\"\n[station.reader]\ntype = \"serial\"\ndevice = \"{}\"\ndebounce = \"100ms\"\n\
         [station.printer]\noutput_port = \"DEMO0001\"",
        reader.path().display()
    );
    (reader, section)
}

/// The output of `queue list --json`, from the running agent or without it.
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

/// Waits for a future that should be ready any moment, or fails the test.
pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("it happens within a minute")
}

/// Waits for a condition that nothing tells of: looks now and then, and not for ever.
pub async fn wait_until(condition: impl Fn() -> bool) {
    let mut ticks = tokio::time::interval(Duration::from_millis(10));
    soon(async {
        while !condition() {
            ticks.tick().await;
        }
    })
    .await;
}

/// The random numbers of a campaign: those of `PRINT_RELEASE_SEED`, or others in each run. The seed is printed, so that a run that
/// failed can be had again.
pub fn dice() -> Dice {
    let given = std::env::var("PRINT_RELEASE_SEED").ok();
    let seed = given.map_or_else(|| random::word() as u32, |seed| seed.parse().expect("a seed is a number of 32 bits"));
    println!("PRINT_RELEASE_SEED={seed}");
    Dice::new(seed)
}

/// The number of tries of a campaign: that of the variable, or the default.
pub fn tries(variable: &str, default: usize) -> usize {
    std::env::var(variable).map_or(default, |tries| tries.parse().expect("a number of tries"))
}

/// Notes that the calling test cannot run here, in the file that `PRINT_RELEASE_SKIPPED` names: `tests/run` prints it at its end.
pub fn skipped(why: &str) {
    let test = std::thread::current().name().unwrap_or("?").to_owned();
    println!("{test} is skipped: {why}");
    if let Some(path) = std::env::var_os("PRINT_RELEASE_SKIPPED") {
        let mut list = std::fs::File::options().append(true).create(true).open(path).unwrap();
        list.write_all(format!("{test}\t{why}\n").as_bytes()).unwrap();
    }
}
