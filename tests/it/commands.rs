//! The commands as somebody types them, their output and their exit codes.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use print_release_agent::demo::process::AgentProcess;
use print_release_agent::demo::scene::Scene;
use print_release_agent::demo::server::{Call, Kind};
use serde_json::Value;

use crate::support::{journal, limit, playing, program, skipped, soon};

/// Runs the program to its end, while the test's runtime goes on serving.
async fn run(arguments: &[&str]) -> Output {
    soon(tokio::process::Command::new(program()).args(arguments).kill_on_drop(true).output()).await.unwrap()
}

async fn with_config(config: &Path, arguments: &[&str]) -> Output {
    let mut all = vec!["--config", config.to_str().unwrap()];
    all.extend(arguments);
    run(&all).await
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test]
async fn two_mistakes_and_a_missing_file_are_named_with_their_lines_at_once() {
    let _limit = limit();
    let scene = Scene::set(program()).await.unwrap();
    let config = std::fs::read_to_string(scene.config()).unwrap();
    let broken = config
        .replace("connect_timeout = \"1s\"", "conect_timeout = \"1s\"")
        .replace("/api-key\"", "/no-such-key\"")
        .replace("type = \"serial\"", "type = \"cereal\"");
    std::fs::write(scene.config(), &broken).unwrap();
    let output = with_config(&scene.config(), &["run"]).await;
    assert_eq!(output.status.code(), Some(64));
    let errors = text(&output.stderr);
    for (word, key) in [("conect_timeout", "conect_timeout"), ("api_key_file", "no-such-key"), ("type", "cereal")] {
        let line = broken.lines().position(|line| line.contains(key)).unwrap() + 1;
        let place = format!("agent.toml:{line}:");
        assert!(errors.lines().any(|line| line.contains(&place) && line.contains(word)), "{place} {word} in\n{errors}");
    }
}

#[tokio::test]
async fn a_missing_configuration_is_named() {
    let _limit = limit();
    let output = with_config(Path::new("/no/such/agent.toml"), &["run"]).await;
    assert_eq!(output.status.code(), Some(64));
    assert!(text(&output.stderr).contains("/no/such/agent.toml"));
}

#[tokio::test]
async fn usage_mistakes_end_with_64_and_help_with_0() {
    let _limit = limit();
    assert_eq!(run(&["no-such-command"]).await.status.code(), Some(64));
    assert_eq!(run(&["queue", "export", "--json", "--format", "csv"]).await.status.code(), Some(64));
    let help = run(&["--help"]).await;
    assert_eq!(help.status.code(), Some(0));
    assert!(text(&help.stdout).contains("64 configuration or usage"), "{}", text(&help.stdout));
    let codes = text(&help.stdout).lines().find(|line| line.starts_with("Exit codes: ")).unwrap().to_owned();
    assert!(include_str!("../../README.md").contains(&codes), "README.md does not say: {codes}");
    assert_eq!(run(&["--version"]).await.status.code(), Some(0));
}

#[tokio::test]
async fn check_tells_one_line_for_each_thing_and_ends_by_what_is_wrong() {
    let _limit = limit();
    let mut scene = Scene::set(program()).await.unwrap();
    let output = with_config(&scene.config(), &["check", "--json"]).await;
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stdout));
    let checks = json(&output)["checks"].as_array().unwrap().clone();
    // The rights of a person can only be tried by somebody who is logged in.
    let untried: Vec<_> = checks.iter().filter(|check| check["ok"] != true).map(|check| &check["what"]).collect();
    assert_eq!(untried, ["rights of the person"], "{checks:?}");
    assert_eq!(checks.len(), 10);
    // Root, who runs this check, may open more than the agent, so the check names the device's group and mode.
    let detail_of_reader =
        checks.iter().find_map(|check| check["detail"].as_str().filter(|detail| detail.contains("can be opened")));
    let device = detail_of_reader.unwrap().split(' ').next().unwrap();
    let stat = std::process::Command::new("stat").args(["-L", "-c", "its group is %G, its mode %a", device]).output();
    assert!(detail_of_reader.unwrap().ends_with(text(&stat.unwrap().stdout).trim()), "{detail_of_reader:?}");
    scene.reader.unplug();
    let output = with_config(&scene.config(), &["check"]).await;
    assert_eq!(output.status.code(), Some(69));
    assert!(text(&output.stdout).contains("FAILED   reader of lobby"), "{}", text(&output.stdout));
    scene.reader.plug_again().unwrap();
    scene.server.stop();
    let output = with_config(&scene.config(), &["check"]).await;
    assert_eq!(output.status.code(), Some(69));
    assert!(text(&output.stdout).contains("FAILED   server"), "{}", text(&output.stdout));
}

#[tokio::test]
async fn check_beside_a_running_agent_disturbs_nothing() {
    let _limit = limit();
    let (scene, agent) = playing().await;
    let output = with_config(&scene.config(), &["check"]).await;
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stdout));
    assert_eq!(scene.tap(&agent, "linus").await.unwrap()["event"], "released");
}

#[tokio::test]
async fn status_shows_what_the_agent_is_up_to_or_that_there_is_none() {
    let _limit = limit();
    let (scene, agent) = playing().await;
    scene.tap(&agent, "linus").await.unwrap();
    let output = with_config(&scene.config(), &["status", "--json"]).await;
    assert_eq!(json(&output)["stations"]["lobby"]["released"], 1);
    let output = with_config(&scene.config(), &["status"]).await;
    assert!(text(&output.stdout).contains("lobby: ready, reader connected, 1 taps"), "{}", text(&output.stdout));
    agent.terminate().await.unwrap();
    assert_eq!(with_config(&scene.config(), &["status"]).await.status.code(), Some(69));
}

#[tokio::test]
async fn queue_list_shows_the_same_beside_the_agent_and_without_it() {
    let _limit = limit();
    let (scene, agent) = playing().await;
    scene.befall(Call::Record, usize::MAX, Kind::Status { code: 503, retry_after: None });
    scene.tap(&agent, "linus").await.unwrap();
    let live = json(&with_config(&scene.config(), &["queue", "list", "--json"]).await);
    assert_eq!(live["records"].as_array().unwrap().len(), 1);
    agent.kill().await.unwrap();
    let offline = json(&with_config(&scene.config(), &["queue", "list", "--json"]).await);
    assert_eq!(live["records"][0]["record"], offline["records"][0]["record"]);
    let lines = text(&with_config(&scene.config(), &["queue", "list"]).await.stdout);
    assert_eq!(lines.lines().count(), 1, "{lines}");
}

#[tokio::test]
async fn card_convert_prints_the_number_or_what_is_wrong() {
    let _limit = limit();
    let convert =
        |with: &'static str, read: &'static str| async move { run(&["card", "convert", "--with", with, read]).await };
    let output = convert("hex2dec", "946EBD28").await;
    assert_eq!((output.status.code(), text(&output.stdout).trim()), (Some(0), "2490285352"));
    assert_eq!(text(&run(&["card", "convert", "04A1"]).await.stdout).trim(), "04A1");
    assert_eq!(convert("hex3dec", "00").await.status.code(), Some(64));
    let refused = convert("hex2dec", "12G4").await;
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("step 1"), "{}", text(&refused.stderr));
}

#[tokio::test]
async fn the_play_holds_for_somebody_who_is_not_root() {
    let _limit = limit();
    let mut play = tokio::process::Command::new(program());
    // Root becomes somebody else; everybody else is not root already.
    if rustix::process::geteuid().is_root() {
        play.uid(65_534).gid(65_534);
    }
    let output = match play.args(["demo", "--headless"]).output().await {
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            return skipped("the program lies where only root may go");
        }
        output => output.unwrap(),
    };
    assert_eq!(output.status.code(), Some(0), "{}{}", text(&output.stdout), text(&output.stderr));
}

/// A pipe that nobody reads any more.
fn closed_pipe() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

/// A file that takes nothing.
fn full_disk() -> Stdio {
    std::fs::File::options().write(true).open("/dev/full").unwrap().into()
}

const PRINTING_COMMANDS: [&[&str]; 17] = [
    &["status"],
    &["status", "--json"],
    &["queue", "list"],
    &["queue", "list", "--json"],
    &["queue", "export", "--format", "csv"],
    &["queue", "verify"],
    &["queue", "retry", "--all"],
    &["history", "export", "--from", "2026-11-01", "--format", "csv"],
    &["history", "export", "--from", "2026-11-01", "--json"],
    &["check"],
    &["check", "--json"],
    &["enroll"],
    &["readers", "list"],
    &["card", "convert", "04A1"],
    &["card", "learn", "04A1=04A1"],
    &["completions", "bash"],
    &["man"],
];

#[tokio::test]
async fn for_every_command_a_closed_output_is_no_mistake_and_a_full_one_is() {
    let _limit = limit();
    let (scene, _agent) = playing().await;
    for arguments in PRINTING_COMMANDS {
        for (output, code) in [(closed_pipe(), 0), (full_disk(), 74)] {
            let mut command = tokio::process::Command::new(program());
            command
                .arg("--config")
                .arg(scene.config())
                .args(arguments)
                .stdout(output)
                .stderr(Stdio::piped())
                .kill_on_drop(true);
            let ended = soon(command.spawn().unwrap().wait_with_output()).await.unwrap();
            let errors = text(&ended.stderr);
            assert_eq!(ended.status.code(), Some(code), "{arguments:?}: {errors}");
            assert!(!errors.contains("panicked"), "{arguments:?}: {errors}");
        }
    }
    for arguments in ["--help", "--version"] {
        let mut command = tokio::process::Command::new(program());
        let ended = soon(command.arg(arguments).stdout(closed_pipe()).status()).await.unwrap();
        assert_eq!(ended.code(), Some(0), "{arguments}");
    }
}

#[tokio::test]
async fn a_mistake_keeps_its_exit_code_where_nobody_reads_the_errors() {
    let _limit = limit();
    let scene = Scene::set(program()).await.unwrap();
    let no_config = Path::new("/no/such/agent.toml");
    let mistakes: [(&[&str], &Path, i32); 5] = [
        (&["status"], &scene.config(), 69),
        (&["queue", "show", "999"], &scene.config(), 1),
        (&["check"], no_config, 64),
        (&["man", "--dir", "/dev/null/pages"], no_config, 1),
        (&["no-such-command"], no_config, 64),
    ];
    for (arguments, config, code) in mistakes {
        let mut command = tokio::process::Command::new(program());
        command
            .arg("--config")
            .arg(config)
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(closed_pipe())
            .kill_on_drop(true);
        assert_eq!(soon(command.status()).await.unwrap().code(), Some(code), "{arguments:?}");
    }
}

#[tokio::test]
async fn the_agent_serves_on_where_nobody_reads_its_log() {
    let _limit = limit();
    let scene = Scene::set(program()).await.unwrap();
    let agent = AgentProcess::start(program(), &scene.config(), closed_pipe()).await.unwrap();
    assert_eq!(scene.tap(&agent, "linus").await.unwrap()["event"], "released");
    assert!(soon(agent.terminate()).await.unwrap().success());
}

#[test]
fn what_may_not_be_read_is_not_called_empty() {
    let _limit = limit();
    let dir = tempfile::tempdir().unwrap();
    let config = journal::config(dir.path());
    let text = std::fs::read_to_string(&config).unwrap();
    let state = dir.path().join("state");
    let of = format!("state_dir = \"{}\"", dir.path().display());
    std::fs::write(&config, text.replace(&of, &format!("state_dir = \"{}\"", state.display()))).unwrap();
    journal::close(journal::open(&state), &state);
    std::fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
    for (command, agent_runs) in [("list", false), ("verify", false), ("export", false), ("list", true)] {
        let socket = dir.path().join("control.sock");
        if agent_runs {
            drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
            std::fs::set_permissions(&socket, Permissions::from_mode(0o600)).unwrap();
        }
        let mut run = Command::new(program());
        // This user may read the configuration and nothing else. Only root can become another user.
        let output = run.arg("--config").arg(&config).args(["queue", command]).uid(65_534).output();
        let output = match output {
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                return skipped("not root, or the program lies where only root may go");
            }
            output => output.unwrap(),
        };
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(1), [].as_slice()), "{command}: {errors}");
        let what = if agent_runs { "control.sock" } else { "state" };
        assert!(errors.contains("ermission denied") && errors.contains(what), "{command}: {errors}");
    }
}
