//! `history export` with the real program against the embedded server: each row once, whatever is killed or changes meanwhile.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use print_release_agent::demo::scene::Scene;
use print_release_agent::demo::server::{AUTO_TRUST_KEY, Call, Kind, ServerDocument, Status, TRUSTED_KEY};
use serde_json::Value;
use tokio::process::Command;

use crate::support::{dice, limit, limit_of, program, soon};

const DAY: SignedDuration = SignedDuration::from_hours(24);

/// The days of the history.
const DAYS: i32 = 10;

fn command(scene: &Scene, arguments: &[&str]) -> Command {
    let mut command = Command::new(program());
    command.arg("--config").arg(scene.config()).args(["history", "export"]).args(arguments).kill_on_drop(true);
    command
}

async fn export(scene: &Scene, arguments: &[&str]) -> Output {
    soon(command(scene, arguments).output()).await.unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[track_caller]
fn done(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    text(&output.stdout)
}

/// Fills the history from the returned time on: `rows` documents, and one at each border of two days.
fn fill(scene: &Scene, rows: i32) -> Timestamp {
    let mut world = scene.server.world();
    world.documents.clear();
    let now = world.now();
    let from = Timestamp::from_second((now - DAY * DAYS).as_second()).unwrap();
    let step = (DAY * DAYS) / (rows + 1);
    let times = (0..rows).map(|number| from + step * number).chain((1..DAYS).map(|day| from + DAY * day));
    for (number, time) in times.enumerate() {
        let user = if number % 2 == 0 { "ada" } else { "grace" };
        let document = ServerDocument::new(user, &format!("=Title, \"{number}\""), 1, time);
        if number % 3 == 0 { world.records.push(document) } else { world.documents.push(document) }
    }
    from
}

/// The uuids of all rows up to a time.
fn wanted(scene: &Scene, to: Timestamp) -> BTreeSet<String> {
    let world = scene.server.world();
    let all = world.documents.iter().chain(&world.records).filter(|row| row.date_time <= to);
    all.map(|row| row.uuid.clone()).collect()
}

/// The uuids of JSON lines, each once.
#[track_caller]
fn uuids(lines: &str) -> BTreeSet<String> {
    let rows: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let found: BTreeSet<_> = rows.iter().map(|row| row["uuid"].as_str().unwrap().to_owned()).collect();
    assert_eq!(found.len(), rows.len(), "a row stands there twice");
    found
}

fn beside(out: &Path, end: &str) -> PathBuf {
    PathBuf::from(format!("{}{end}", out.display()))
}

fn state(out: &Path) -> Value {
    std::fs::read(beside(out, ".state")).map_or(Value::Null, |bytes| serde_json::from_slice(&bytes).unwrap())
}

#[tokio::test]
async fn an_export_has_each_row_once_in_every_form() {
    let _limit = limit();
    let scene = Scene::set(program()).await.unwrap();
    let from = fill(&scene, 3_000).to_string();
    let now = scene.server.world().now();
    let all = wanted(&scene, now);
    assert_eq!(uuids(&done(&export(&scene, &["--from", &from]).await)), all);
    assert_eq!(uuids(&done(&export(&scene, &["--from", &from, "--format", "json"]).await)), all);

    let document: Value = serde_json::from_str(&done(&export(&scene, &["--from", &from, "--json"]).await)).unwrap();
    let rows = document["rows"].as_array().unwrap();
    assert_eq!((rows.len(), &document["doubts"]), (all.len(), &0.into()));

    let csv = done(&export(&scene, &["--from", &from, "--format", "csv"]).await);
    let mut lines = csv.lines();
    assert!(lines.next().unwrap().starts_with("time,document,user,provider,title,status,"), "{csv}");
    let found: BTreeSet<_> = lines.clone().map(|line| line.split(',').nth(1).unwrap().to_owned()).collect();
    assert_eq!((lines.clone().count(), found), (all.len(), all.clone()));
    assert!(lines.all(|line| line.contains(",\"'=Title, \"\"")), "a title is no formula: {csv}");

    let of_ada = uuids(&done(&export(&scene, &["--from", &from, "--user", "ada"]).await));
    assert!(of_ada.len() < all.len() && of_ada.is_subset(&all));
    let to = (from.parse::<Timestamp>().unwrap() + DAY).to_string();
    let first_day = uuids(&done(&export(&scene, &["--from", &from, "--to", &to]).await));
    assert_eq!(first_day, wanted(&scene, to.parse().unwrap()));
    let never = done(&export(&scene, &["--from", "2020-01-01", "--to", "2020-01-20", "--json"]).await);
    assert_eq!(serde_json::from_str::<Value>(&never).unwrap()["rows"], serde_json::json!([]));
}

#[tokio::test]
async fn an_export_that_is_killed_again_and_again_while_the_history_changes_has_each_row_once() {
    let _limit = limit_of(Duration::from_secs(300));
    let mut dice = dice();
    for format in ["jsonl", "csv"] {
        let scene = Scene::set(program()).await.unwrap();
        let from = fill(&scene, 15_000).to_string();
        scene.befall(Call::History, usize::MAX, Kind::Delay(Duration::from_millis(5)));
        let out = scene.dir().join("history");
        let arguments = ["--from", &from, "--format", format, "--out", out.to_str().unwrap(), "--resume"];
        let (mut kills, mut went_on) = (0_u32, BTreeSet::new());
        loop {
            // The kill comes some pages later, or when a page is written or synced.
            let pages = scene.server.world().count(Call::History) + 1 + usize::try_from(dice.roll(5)).unwrap();
            let later = Duration::from_micros(dice.roll(8_000));
            let mut child = command(&scene, &arguments).spawn().unwrap();
            tokio::select! {
                ended = child.wait() => {
                    assert!(ended.unwrap().success());
                    break;
                }
                () = async {
                    scene.until(|world| world.count(Call::History) >= pages).await.unwrap();
                    tokio::time::sleep(later).await;
                } => child.kill().await.unwrap(),
            }
            kills += 1;
            assert!(!out.exists() || state(&out)["whole"] == true, "a part looks like the whole");
            went_on.insert(state(&out)["next"].as_str().unwrap_or_default().to_owned());
            let mut world = scene.server.world();
            let now = world.now();
            world.documents.push(ServerDocument::new("ada", "too late", 1, now));
            let changed = usize::try_from(dice.roll(3_000)).unwrap();
            world.documents[changed].status = Status::Printed;
        }
        println!("{format}: {kills} kills, {} places to go on from", went_on.len());
        assert!(went_on.len() > 1, "the kills came at the begin or at the end only");
        let to = state(&out)["query"]["to"].as_str().unwrap().parse().unwrap();
        let written = std::fs::read_to_string(&out).unwrap();
        let found = match format {
            "jsonl" => uuids(&written),
            _ => {
                let rows: Vec<_> =
                    written.lines().skip(1).map(|line| line.split(',').nth(1).unwrap().to_owned()).collect();
                let found: BTreeSet<_> = rows.iter().cloned().collect();
                assert_eq!(found.len(), rows.len(), "a row stands there twice");
                found
            }
        };
        let all = wanted(&scene, to);
        assert!(all.len() > 15_000);
        assert!(found == all, "{} rows of {}", found.len(), all.len());
        assert!(!beside(&out, ".part").exists());
        // A receipt answers without the server.
        scene.server.stop();
        assert!(done(&export(&scene, &arguments).await).contains(&format!("{} rows", all.len())));
    }
}

#[tokio::test]
async fn a_file_is_never_overwritten_and_another_question_goes_on_with_nothing() {
    let _limit = limit();
    let scene = Scene::set(program()).await.unwrap();
    let from = fill(&scene, 100).to_string();
    let out = scene.dir().join("history.csv");
    let name = out.to_str().unwrap();
    let fails = async |arguments: &[&str], code: i32, told: &str| {
        let output = export(&scene, arguments).await;
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {error}");
        assert!(error.contains(told), "{arguments:?}: {error}");
    };
    fails(&["--from", &from, "--json", "--format", "csv"], 64, "exclude each other").await;
    fails(&["--from", &from, "--resume"], 64, "--out").await;
    fails(&["--from", "2026-13-01"], 64, "neither a day").await;
    fails(&["--from", "2026-11-02", "--to", "2026-11-01"], 64, "before --to").await;
    fails(&["--from", "2999-01-01"], 64, "before now").await;
    fails(&["--from", &from, "--out", "/no/such/folder/history"], 74, "/no/such/folder").await;

    // The server breaks down in the middle of the first window.
    scene.befall(Call::History, usize::MAX, Kind::Status { code: 500, retry_after: None });
    fails(&["--from", &from, "--out", name], 69, "500").await;
    assert!(!out.exists());
    scene.server.world().faults.clear();
    fails(&["--from", &from, "--out", name], 1, "--resume goes on").await;
    fails(&["--from", "2026-11-02", "--out", name, "--resume"], 64, "other options").await;
    fails(&["--from", &from, "--out", name, "--resume", "--format", "csv"], 64, "other options").await;
    let printed = done(&export(&scene, &["--from", &from, "--out", name, "--resume", "--json"]).await);
    let printed: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!((&printed["rows"], &printed["file"]), (&109.into(), &name.into()));
    fails(&["--from", &from, "--out", name], 1, "it is there").await;
    // Its receipt alone stands in nobody's way.
    std::fs::remove_file(&out).unwrap();
    done(&export(&scene, &["--from", &from, "--out", name]).await);
    scene.server.stop();
    fails(&["--from", &from], 69, "").await;
}

#[tokio::test]
async fn a_part_that_lost_rows_is_not_gone_on_with_and_a_second_export_to_it_is_locked_out() {
    let _limit = limit();
    let scene = Scene::set(program()).await.unwrap();
    let from = fill(&scene, 1_000).to_string();
    let out = scene.dir().join("history");
    let arguments = ["--from", &from, "--out", out.to_str().unwrap(), "--resume"];
    let mut first = command(&scene, &arguments).spawn().unwrap();
    scene.befall(Call::History, usize::MAX, Kind::Delay(Duration::from_millis(200)));
    scene.until(|world| world.count(Call::History) >= 3).await.unwrap();
    let second = export(&scene, &arguments).await;
    assert_eq!(second.status.code(), Some(1), "{}", text(&second.stderr));
    assert!(text(&second.stderr).contains("another export is writing"), "{}", text(&second.stderr));
    first.kill().await.unwrap();
    let bytes = state(&out)["bytes"].as_u64().unwrap();
    let part = std::fs::File::options().write(true).open(beside(&out, ".part")).unwrap();
    assert!(bytes > 0 && part.metadata().unwrap().len() >= bytes, "the state counts rows that are not there");
    part.set_len(bytes - 1).unwrap();
    let damaged = export(&scene, &arguments).await;
    assert_eq!(damaged.status.code(), Some(1), "{}", text(&damaged.stderr));
    assert!(text(&damaged.stderr).contains("shorter than"), "{}", text(&damaged.stderr));
}

#[tokio::test]
async fn a_key_without_the_right_is_told_which_one_is_missing() {
    let _limit = limit();
    let scene = Scene::set(program()).await.unwrap();
    scene.write_secret("api-key", AUTO_TRUST_KEY).unwrap();
    let output = export(&scene, &["--from", "2026-11-01"]).await;
    let error = text(&output.stderr);
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(1), [].as_slice()), "{error}");
    assert!(error.contains("ViewReport") && error.contains("API key") && error.contains("403"), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
}

#[tokio::test]
async fn the_device_token_is_that_of_the_agent_and_is_refreshed_only_where_no_agent_runs() {
    let _limit = limit();
    let scene = Scene::set(program()).await.unwrap();
    scene.write_secret("api-key", TRUSTED_KEY).unwrap();
    scene.configure("", &["[server.device]\nregister = true"]).unwrap();
    let output = export(&scene, &["--from", "2026-11-01", "--out", scene.dir().join("early").to_str().unwrap()]).await;
    assert_eq!(output.status.code(), Some(0), "the key alone may read: {}", text(&output.stderr));
    assert_eq!(scene.server.world().count(Call::Register), 0, "an export registers nobody");

    let agent = scene.start().await.unwrap();
    let standing = async |word: &str| scene.status(&agent, |status| status["server"]["device"] == word).await.unwrap();
    standing("waiting-for-approval").await;
    assert!(scene.server.world().approve("demo"));
    standing("trusted").await;
    let refreshes = || scene.server.world().count(Call::Token);
    let before = refreshes();
    done(&export(&scene, &["--from", "2026-11-01"]).await);
    assert_eq!(refreshes(), before, "the agent keeps its token fresh by itself");
    // The server no longer takes that token, and the agent is not there to get another one.
    agent.terminate().await.unwrap();
    scene.server.world().tokens.expire_devices();
    let before = refreshes();
    done(&export(&scene, &["--from", "2026-11-01"]).await);
    assert!(refreshes() > before);
    let agent = scene.start().await.unwrap();
    scene.status(&agent, |status| status["server"]["device"] == "trusted").await.unwrap();
    assert_eq!(scene.server.world().count(Call::Register), 1);
}
