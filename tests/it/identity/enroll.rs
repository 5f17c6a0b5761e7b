//! `enroll` and `check` of a box that becomes a trusted device.

use std::fs;
use std::process::Output;

use print_release_agent::demo::scene::Scene;
use print_release_agent::demo::server::{AUTO_TRUST_KEY, Call, TRUSTED_KEY};
use serde_json::Value;
use tokio::process::Command;

use super::{REGISTER, approve, count, releases_one, scene, standing};
use crate::support::{limit, program, soon};

async fn enroll(scene: &Scene, arguments: &[&str]) -> Output {
    let mut command = Command::new(program());
    command.arg("enroll").arg("--config").arg(scene.config()).args(arguments).kill_on_drop(true);
    soon(command.output()).await.unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[tokio::test]
async fn enroll_says_what_to_do_waits_and_the_agent_uses_what_it_got() {
    let _limit = limit();
    let scene = scene(TRUSTED_KEY, &[]).await;
    let approved = async {
        scene.server.wait_until(|world| world.count(Call::Token) > 0).await;
        approve(&scene);
    };
    let (output, ()) = tokio::join!(enroll(&scene, &[]), soon(approved));
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let said = stdout(&output);
    for part in ["registers at", "an administrator has to trust the device \"demo\"", "Done", "register = true"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(!said.contains(TRUSTED_KEY), "{said}");

    scene.configure("", &[REGISTER]).unwrap();
    let agent = scene.start().await.unwrap();
    standing(&scene, &agent, "trusted").await;
    assert!(releases_one(&scene, &agent).await);
    assert_eq!(count(&scene, Call::Register), 1);
}

#[tokio::test]
async fn enroll_leaves_it_to_an_agent_that_does_it_itself() {
    let _limit = limit();
    let scene = scene(TRUSTED_KEY, &[REGISTER]).await;
    let agent = scene.start().await.unwrap();
    standing(&scene, &agent, "waiting-for-approval").await;
    let output = enroll(&scene, &["--json"]).await;
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&document["device"], output.status.code()), (&"waiting-for-approval".into(), Some(1)));
    approve(&scene);
    standing(&scene, &agent, "trusted").await;
    let output = enroll(&scene, &["--json"]).await;
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&document["device"], output.status.code()), (&"trusted".into(), Some(0)));
    assert_eq!(count(&scene, Call::Register), 1);
}

#[tokio::test]
async fn enroll_ends_with_a_code_that_tells_why() {
    let _limit = limit();
    let scene = scene("no-such-key", &[]).await;
    let code = async |arguments: &[&str]| {
        let output = enroll(&scene, arguments).await;
        let document: Value = serde_json::from_slice(&output.stdout).unwrap();
        (output.status.code().unwrap(), document["device"].as_str().unwrap().to_owned())
    };
    assert_eq!(code(&["--json"]).await, (1, "refused".to_owned()));
    scene.write_secret("api-key", AUTO_TRUST_KEY).unwrap();
    assert_eq!(code(&["--json"]).await, (0, "trusted".to_owned()));
    scene.server.stop();
    assert_eq!(code(&["--json"]).await, (69, "registering".to_owned()));
    fs::write(scene.dir().join("state/device.key"), "damaged").unwrap();
    assert_eq!(code(&["--json"]).await, (74, "none".to_owned()));
}

#[tokio::test]
async fn of_two_enrolls_at_once_the_second_gives_way() {
    let _limit = limit();
    let scene = scene(TRUSTED_KEY, &[]).await;
    let second = async {
        scene.server.wait_until(|world| world.count(Call::Token) > 0).await;
        let output = enroll(&scene, &["--json"]).await;
        approve(&scene);
        output
    };
    let (first, second) = tokio::join!(enroll(&scene, &[]), soon(second));
    assert_eq!((first.status.code(), second.status.code()), (Some(0), Some(1)), "{first:?} {second:?}");
    assert!(String::from_utf8_lossy(&second.stderr).contains("another `enroll`"), "{second:?}");
    assert_eq!(count(&scene, Call::Register), 1);
}

#[tokio::test]
async fn check_says_where_the_device_stands() {
    let _limit = limit();
    let scene = scene(TRUSTED_KEY, &[REGISTER]).await;
    let check = async || {
        let mut command = Command::new(program());
        command.arg("check").arg("--json").arg("--config").arg(scene.config()).kill_on_drop(true);
        let output = soon(command.output()).await.unwrap();
        let document: Value = serde_json::from_slice(&output.stdout).unwrap();
        let line = document["checks"].as_array().unwrap().iter().find(|line| line["what"] == "device").unwrap().clone();
        (line["ok"].as_bool().unwrap(), line["detail"].as_str().unwrap().to_owned())
    };
    let (ok, detail) = check().await;
    assert!(!ok && detail.contains("registering") && detail.contains("remembered"), "{detail}");
    let agent = scene.start().await.unwrap();
    standing(&scene, &agent, "waiting-for-approval").await;
    let (ok, detail) = check().await;
    assert!(!ok && detail.contains("waiting-for-approval, says the running agent"), "{detail}");
    approve(&scene);
    standing(&scene, &agent, "trusted").await;
    assert!(check().await.0);
    agent.terminate().await.unwrap();
    let (ok, detail) = check().await;
    assert!(ok && detail.contains("remembered"), "{detail}");
    let other = fs::read_to_string(scene.config()).unwrap().replace("id = \"demo\"", "id = \"other\"");
    fs::write(scene.config(), other).unwrap();
    assert!(!check().await.0, "what another device was given means nothing");
}
