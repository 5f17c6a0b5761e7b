//! A state directory is one machine's, and nobody else's to read: copied, adopted, wiped, and opened under any umask. With the real
//! program.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use print_release_agent::demo::scene::Scene;
use print_release_agent::demo::server::{AUTO_TRUST_KEY, Call, Kind};
use serde_json::Value;

use crate::support::{limit, log, program, queue, skipped, soon};

fn state(scene: &Scene) -> PathBuf {
    scene.dir().join("state")
}

fn run(scene: &Scene, arguments: &[&str]) -> Output {
    Command::new(program()).args(arguments).arg("--config").arg(scene.config()).output().unwrap()
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Makes the state that of another machine, as an image of a memory card does.
fn as_of_another_machine(scene: &Scene) -> bool {
    let path = state(scene).join("machine");
    let Ok(bound) = fs::read_to_string(&path) else {
        skipped("this machine has no id");
        return false;
    };
    let hash = bound.lines().next().unwrap();
    assert_eq!(hash.len(), 64);
    fs::write(path, "0".repeat(64) + "\n").unwrap();
    true
}

/// A box that has registered, with a record that waits for the server; the agent has ended.
async fn used() -> (Scene, String) {
    let scene = Scene::set(program()).await.unwrap();
    scene.write_secret("api-key", AUTO_TRUST_KEY).unwrap();
    scene.configure("", &["[server.device]\nregister = true"]).unwrap();
    let agent = scene.start().await.unwrap();
    soon(scene.status(&agent, |status| status["server"]["device"] == "trusted")).await.unwrap();
    scene.befall(Call::Record, 1_000, Kind::Status { code: 503, retry_after: None });
    let uuid = scene.submit("ada", "Waits.pdf");
    assert_eq!(soon(scene.tap(&agent, "ada")).await.unwrap()["event"], "released");
    soon(scene.status(&agent, |status| status["outbox"]["pending"] != 0)).await.unwrap();
    agent.kill().await.unwrap();
    (scene, uuid)
}

fn keys(at: &Path) -> (Vec<u8>, Vec<u8>) {
    (fs::read(at.join("device.key")).unwrap(), fs::read(at.join("device.json")).unwrap())
}

#[tokio::test]
async fn a_copy_of_a_card_makes_its_own_identity_and_what_it_copied_is_kept() {
    let _limit = limit();
    let (scene, _) = used().await;
    let before = keys(&state(&scene));
    if !as_of_another_machine(&scene) {
        return;
    }
    assert!(text(&run(&scene, &["check"])).contains("FAILED   identity"));
    let tokens = scene.server.world().count(Call::Token);
    let agent = scene.start().await.unwrap();
    let status = soon(scene.status(&agent, |status| status["server"]["device"] == "trusted")).await.unwrap();
    let name = status["agent"].as_str().unwrap().to_owned();
    assert!(name.starts_with("demo-") && name.len() == "demo-".len() + 8, "{name}");
    assert_eq!((&status["other_machine"], &status["outbox"]["pending"]), (&Value::from(1), &Value::from(0)));
    let aside = state(&scene).join("other-machine");
    assert_eq!(keys(&aside), before, "the original's are whole");
    assert_ne!(keys(&state(&scene)).0, before.0);
    let devices: Vec<_> = scene.server.world().devices.iter().map(|device| device.client_id.clone()).collect();
    assert_eq!(devices, ["demo".to_owned(), name.clone()]);
    assert_eq!(scene.server.world().count(Call::Token), tokens + 1, "nothing was refreshed with the copied token");
    assert!(log(&scene).contains("is a copy of another machine's"), "{}", log(&scene));
    agent.terminate().await.unwrap();
    let agent = scene.start().await.unwrap();
    assert_eq!(soon(scene.status(&agent, |_| true)).await.unwrap()["agent"], name, "the next start as well");
    agent.terminate().await.unwrap();
}

#[tokio::test]
async fn a_card_in_a_new_board_keeps_its_state_by_one_command() {
    let _limit = limit();
    let (scene, uuid) = used().await;
    let before = keys(&state(&scene));
    if !as_of_another_machine(&scene) {
        return;
    }
    let agent = scene.start().await.unwrap();
    agent.terminate().await.unwrap();
    let adopted = run(&scene, &["reset", "--adopt"]);
    assert!(adopted.status.success(), "{}", text(&adopted));
    assert!(!state(&scene).join("other-machine").exists());
    assert_eq!(keys(&state(&scene)), before);
    scene.server.world().faults.clear();
    let agent = scene.start().await.unwrap();
    assert_eq!(soon(scene.status(&agent, |_| true)).await.unwrap()["agent"], "demo");
    soon(scene.recorded(&uuid)).await;
    scene.settled(&agent).await.unwrap();
    assert_eq!(scene.counts(&uuid), (1, 1));
}

#[tokio::test]
async fn a_reset_wipes_keys_tokens_and_journal_once_everything_is_delivered() {
    let _limit = limit();
    let (scene, _) = used().await;
    let waiting = queue(&scene).await["records"].as_array().unwrap().len();
    let refused = run(&scene, &["reset"]);
    assert_eq!(refused.status.code(), Some(1), "{}", text(&refused));
    assert!(text(&refused).contains(&format!("{waiting} job records wait")), "{}", text(&refused));
    assert!(state(&scene).join("device.key").exists());
    scene.server.world().faults.clear();
    let agent = scene.start().await.unwrap();
    scene.settled(&agent).await.unwrap();
    let running = run(&scene, &["reset"]);
    assert_eq!(running.status.code(), Some(74), "{}", text(&running));
    agent.terminate().await.unwrap();
    let reset = run(&scene, &["reset"]);
    assert!(reset.status.success(), "{}", text(&reset));
    assert!(text(&reset).contains(&scene.dir().join("api-key").display().to_string()), "{}", text(&reset));
    let left = fs::read_dir(state(&scene)).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(left.into_iter().all(|name| name == "lock"), "{}", text(&reset));
}

#[tokio::test]
async fn a_reset_gives_up_what_waits_only_when_it_is_told_to() {
    let _limit = limit();
    let (scene, _) = used().await;
    let reset = run(&scene, &["reset", "--discard", "--json"]);
    let told: Value = serde_json::from_slice(&reset.stdout).unwrap();
    assert!(told["given_up"]["records"].as_u64() > Some(0), "{told}");
    assert!(told["removed"].as_array().unwrap().contains(&Value::from("device.json")), "{told}");
}

/// Every path below a directory that group or others have a right to.
fn open_to_others(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).chain([folder.clone()]) {
            let mode = fs::symlink_metadata(&entry).unwrap().permissions().mode();
            found.extend((mode & 0o077 != 0).then(|| format!("{} {mode:o}", entry.display())));
            folders.extend((entry.is_dir() && entry != folder).then_some(entry));
        }
    }
    found
}

#[tokio::test]
async fn a_state_directory_that_others_may_read_is_closed_whatever_the_umask() {
    let _limit = limit();
    let scene = Scene::set(program()).await.unwrap();
    let open = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    fs::create_dir(state(&scene)).unwrap();
    open(&state(&scene), 0o755);
    let list = |umask: &str| {
        let line =
            format!("umask {umask}; exec '{}' check --config '{}'", program().display(), scene.config().display());
        Command::new("sh").args(["-c", &line]).output().unwrap()
    };
    list("000");
    assert!(state(&scene).join("db/db").exists());
    assert_eq!(open_to_others(&state(&scene)), Vec::<String>::new());
    for (name, mode) in [("db/db", 0o644), ("mark", 0o666), ("db", 0o755), ("", 0o755)] {
        open(&state(&scene).join(name), mode);
    }
    list("000");
    assert_eq!(open_to_others(&state(&scene)), Vec::<String>::new());
}

#[tokio::test]
async fn a_link_in_the_state_directory_is_refused_and_its_target_stays_as_it_is() {
    let _limit = limit();
    for name in ["mark", "reserve", "device.json", "machine"] {
        let scene = Scene::set(program()).await.unwrap();
        let target = scene.dir().join("target");
        fs::write(&target, "untouched").unwrap();
        fs::create_dir(state(&scene)).unwrap();
        symlink(&target, state(&scene).join(name)).unwrap();
        let refused = run(&scene, &["run"]);
        assert_eq!(refused.status.code(), Some(74), "{}", text(&refused));
        assert!(text(&refused).contains(&format!("{name} in it is a link")), "{}", text(&refused));
        assert_eq!(fs::read_to_string(&target).unwrap(), "untouched");
    }
}
