//! A record that waits says why and until when; dead letters go back all at once; the log of a drop names nobody.

use std::path::Path;
use std::process::{Output, Stdio};

use jiff::Timestamp;
use print_release_agent::demo::scene::Scene;
use print_release_agent::demo::server::{Call, Kind};
use print_release_agent::domain::EntryId;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use crate::support::journal::{close, config, open, records, store_record};
use crate::support::{limit, log, playing, program, queue, soon};

/// More dead letters than two pages of a listing hold.
const DEAD: u64 = 250;

fn command(config: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(program());
    command.arg("--config").arg(config).args(arguments).kill_on_drop(true);
    command
}

async fn run(config: &Path, arguments: &[&str]) -> Output {
    soon(command(config, arguments).output()).await.unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[tokio::test]
async fn a_record_that_waits_says_why_and_until_when_in_list_status_and_export() {
    let _limit = limit();
    let (scene, agent) = playing().await;
    scene.befall(Call::Record, usize::MAX, Kind::Status { code: 403, retry_after: None });
    scene.tap(&agent, "ada").await.unwrap();
    let waits = |status: &Value| status["outbox"]["waiting"][0]["last_error"] == "not-allowed";
    let status = scene.status(&agent, waits).await.unwrap();
    let waiting = status["outbox"]["waiting"].as_array().unwrap();
    assert_eq!((waiting.len(), &waiting[0]["station"]), (1, &"lobby".into()), "the oldest of the station alone");
    assert!(!status.to_string().contains("\"ada\""), "{status}");
    let listed = queue(&scene).await;
    let listed = listed["records"].as_array().unwrap();
    assert!(listed.len() > 1, "{listed:?}");
    assert_eq!(listed[0]["id"], waiting[0]["id"]);
    assert!(listed[0]["last_error"].as_str().unwrap().contains("403"), "{listed:?}");
    assert!(listed[1]["last_error"].is_null(), "it was not tried yet: {listed:?}");
    for record in listed {
        let next: Timestamp = record["next_attempt"].as_str().unwrap().parse().unwrap();
        assert!(next > record["record"]["time"].as_str().unwrap().parse().unwrap(), "{record}");
    }
    let id = listed[0]["id"].to_string();
    let shown = text(&run(&scene.config(), &["queue", "show", &id]).await.stdout);
    assert!(shown.contains("\"next_attempt\": \"20") && shown.contains("403"), "{shown}");
    let lines = text(&run(&scene.config(), &["queue", "list"]).await.stdout);
    assert!(lines.lines().next().unwrap().contains("403") && lines.contains("; next attempt 20"), "{lines}");
    let csv = text(&run(&scene.config(), &["queue", "export", "--format", "csv"]).await.stdout);
    assert!(csv.lines().nth(1).unwrap().contains("403") && csv.contains(",192.0.2.10,"), "{csv}");
    let summary = text(&run(&scene.config(), &["status"]).await.stdout);
    assert!(summary.contains("waiting  lobby: record") && summary.contains("not-allowed"), "{summary}");

    // The error outlives the agent; the next attempt does not.
    agent.kill().await.unwrap();
    let offline = queue(&scene).await;
    assert!(offline["records"][0]["last_error"].as_str().unwrap().contains("403"), "{offline}");
    assert!(offline["records"][0]["next_attempt"].is_null(), "{offline}");
    scene.server.world().faults.clear();
    let agent = scene.start().await.unwrap();
    scene.settled(&agent).await.unwrap();
    scene.status(&agent, |status| status["outbox"]["waiting"] == serde_json::json!([])).await.unwrap();
}

#[tokio::test]
async fn the_log_of_a_drop_names_neither_a_person_nor_a_title() {
    let _limit = limit();
    let (scene, agent) = playing().await;
    let (user, title) = ("linus", "Secret plan of the linus group.pdf");
    scene.server.world().documents.clear();
    let uuid = scene.submit(user, title);
    scene.befall(Call::Record, 1, Kind::ErrorCode(4711));
    let tap = scene.tap(&agent, user).await.unwrap()["id"].as_str().unwrap().to_owned();
    scene.status(&agent, |status| status["outbox"]["dead"] == 1).await.unwrap();
    let id = queue(&scene).await["dead"][0]["id"].to_string();
    let dropped = text(&run(&scene.config(), &["queue", "drop", &id]).await.stdout);
    assert!(dropped.contains(title), "the person who drops it sees it: {dropped}");
    let log = log(&scene);
    let line = log.lines().find(|line| line.contains("entry dropped by hand")).unwrap();
    assert!(line.contains(&tap) && line.contains("dead") && line.contains("lobby") && line.contains(&id), "{line}");
    for named in [user, title, &uuid] {
        assert!(!log.contains(named), "{named} in\n{log}");
    }
}

/// Dead letters in the state directory `dir`, and the numbers of the first and the last.
async fn fill(dir: &Path) -> (EntryId, EntryId) {
    let journal = open(dir);
    let mut ids = Vec::new();
    for number in 0..DEAD {
        store_record(&journal, number).await;
        let id = journal.oldest_record().await.unwrap().unwrap().id;
        journal.bury_record(id, "no such printer".to_owned()).await.unwrap();
        ids.push(id);
    }
    close(journal, dir);
    (ids[0], *ids.last().unwrap())
}

#[tokio::test]
async fn all_dead_letters_go_back_in_their_order_also_after_a_kill() {
    let _limit = limit();
    let dir = tempfile::tempdir().unwrap();
    let (first, last) = fill(dir.path()).await;
    let config = config(dir.path());
    let mut retry = command(&config, &["queue", "retry", "--all"]).stderr(Stdio::piped()).spawn().unwrap();
    let mut told = BufReader::new(retry.stderr.take().unwrap()).lines();
    let line = soon(told.next_line()).await.unwrap().unwrap();
    retry.kill().await.unwrap();
    assert_eq!(line, format!("100 of {DEAD} dead letters are put back"));
    let listed: Value = serde_json::from_slice(&run(&config, &["queue", "list", "--json"]).await.stdout).unwrap();
    let [dead, waiting] = ["dead", "records"].map(|kind| listed[kind].as_array().unwrap().len() as u64);
    assert!(waiting >= 100 && dead + waiting == DEAD, "{dead} and {waiting}");

    let output = run(&config, &["queue", "retry", "--all", "--json"]).await;
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&told["retried"], &told["gone"]), (&dead.into(), &0.into()));
    let journal = open(dir.path());
    let found = records(&journal).await;
    let documents: Vec<_> = found.iter().map(|(_, document)| document.clone()).collect();
    assert_eq!(documents, (0..DEAD).map(|number| format!("document-{number}")).collect::<Vec<_>>());
    assert!(found.iter().all(|(id, _)| *id > last), "{first} to {last}");
    close(journal, dir.path());
    let output = run(&config, &["queue", "retry", "--all"]).await;
    assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(0), "0 dead letters are sent again\n"));
    for wrong in [&["queue", "retry"][..], &["queue", "retry", "7", "--all"]] {
        assert_eq!(run(&config, wrong).await.status.code(), Some(64), "{wrong:?}");
    }
}

#[tokio::test]
async fn letters_that_are_refused_again_meanwhile_are_put_back_once() {
    let _limit = limit();
    let scene = Scene::set(program()).await.unwrap();
    fill(&scene.dir().join("state")).await;
    scene.befall(Call::Record, usize::MAX, Kind::ErrorCode(4711));
    let agent = scene.start().await.unwrap();
    let output = run(&scene.config(), &["queue", "retry", "--all"]).await;
    assert!(text(&output.stdout).starts_with(&format!("{DEAD} dead letters")), "{}", text(&output.stderr));
    let settled = |status: &Value| status["outbox"]["dead"] == DEAD && status["outbox"]["pending"] == 0;
    scene.status(&agent, settled).await.unwrap();
    assert_eq!(scene.server.world().count(Call::Record) as u64, DEAD, "each once");
    let dead = queue(&scene).await["dead"].clone();
    assert!(
        dead.as_array().unwrap().iter().all(|letter| letter["reason"].as_str().unwrap().contains("4711")),
        "{dead}"
    );
}
