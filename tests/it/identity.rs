//! The box as a trusted device, with the real program against the embedded server: registered, approved, refreshed, cut,
//! killed, and under another key.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use jiff::Timestamp;
use print_release_agent::demo::process::AgentProcess;
use print_release_agent::demo::scene::Scene;
use print_release_agent::demo::server::{
    AUTO_TRUST_KEY, ApiKey, Call, Kind, OPEN_KEY, ServerDocument, ServerFault, TRUSTED_KEY,
};
use print_release_agent::domain::{JobRecord, OutputPort, Secret, TapId, User};
use print_release_agent::print_server::{Client, ClientSettings};
use print_release_agent::random;
use print_release_agent::tls::Trust;
use serde_json::Value;
use tokio::process::Command;
use tokio::time::timeout;

use crate::support::table::Row;

const PROGRAM: &str = env!("CARGO_BIN_EXE_print-release-agent");
const REGISTER: &str = "[server.device]\nregister = true";
const TRACE: &str = "[log]\nlevel = \"trace\"";
/// The device's name: `agent.id` of the scene.
const CLIENT_ID: &str = "demo";
const UNKNOWN_CARDS: [&str; 2] = ["9000000001", "9000000002"];
/// Kills of one run, unless `PRINT_RELEASE_KILLS` says otherwise.
const KILLS: u32 = 40;
/// A kill comes within so many microseconds after a request for tokens arrived: while it is answered, stored or used.
const KILL_WINDOW_US: u64 = 12_000;

/// Fails a test that would hang.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(60), future).await.expect("it happens within a minute")
}

/// A scene whose server knows the box by this key.
async fn scene(api_key: &str, sections: &[&str]) -> Scene {
    print_release_agent::tls::install_provider();
    let scene = Scene::set(Path::new(PROGRAM)).await.unwrap();
    scene.write_secret("api-key", api_key).unwrap();
    scene.configure("", sections).unwrap();
    scene
}

async fn standing(scene: &Scene, agent: &AgentProcess, word: &str) -> Value {
    soon(scene.status(agent, |status| status["server"]["device"] == word)).await.unwrap()
}

/// Holds a card and waits for the end of the tap.
async fn tap(scene: &Scene, agent: &AgentProcess, card: &str) -> Value {
    let last = |status: &Value| status["stations"]["lobby"]["last"].clone();
    let ready = |status: &Value| status["stations"]["lobby"]["phase"] == "ready";
    let before = last(&soon(scene.status(agent, ready)).await.unwrap())["id"].clone();
    scene.reader.hold(card).unwrap();
    let ended = |status: &Value| last(status)["id"] != before && ready(status);
    last(&soon(scene.status(agent, ended)).await.unwrap())
}

/// One more document, its owner's card, and whether it came out. The owners take turns: the same card again at once is
/// no other tap.
async fn releases_one(scene: &Scene, agent: &AgentProcess) -> bool {
    let card = {
        let mut world = scene.server.world();
        let owner = if world.documents.len().is_multiple_of(2) { "ada" } else { "grace" };
        let document = ServerDocument::new(owner, "Note G.pdf", 1, world.now());
        world.documents.push(document);
        world.user(owner).unwrap().cards[0].clone()
    };
    tap(scene, agent, &card).await["event"] == "released"
}

fn approve(scene: &Scene) {
    assert!(scene.server.world().approve(CLIENT_ID), "the device has registered");
}

fn count(scene: &Scene, call: Call) -> usize {
    scene.server.world().count(call)
}

fn befall(scene: &Scene, call: Call, kind: Kind) {
    scene.server.world().faults.push(ServerFault { call, times: 1, kind });
}

/// A box that has registered and was approved.
async fn trusted(scene: &Scene) -> AgentProcess {
    let agent = scene.start().await.unwrap();
    standing(scene, &agent, "waiting-for-approval").await;
    approve(scene);
    standing(scene, &agent, "trusted").await;
    agent
}

async fn enroll(scene: &Scene, arguments: &[&str]) -> Output {
    let mut command = Command::new(PROGRAM);
    command.arg("enroll").arg("--config").arg(scene.config()).args(arguments).kill_on_drop(true);
    soon(command.output()).await.unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[tokio::test]
async fn a_box_registers_waits_for_its_approval_and_then_releases() {
    let scene = scene(TRUSTED_KEY, &[REGISTER]).await;
    let agent = scene.start().await.unwrap();
    standing(&scene, &agent, "waiting-for-approval").await;
    let card = scene.server.world().user("ada").unwrap().cards[0].clone();
    assert_eq!(tap(&scene, &agent, &card).await["reason"], "not-allowed", "it is not the card that is refused");
    approve(&scene);
    standing(&scene, &agent, "trusted").await;
    assert_eq!(tap(&scene, &agent, &card).await["documents"], 4);
    assert_eq!(count(&scene, Call::Register), 1);
}

#[tokio::test]
async fn a_box_that_waits_goes_on_waiting_after_a_restart() {
    let scene = scene(TRUSTED_KEY, &[REGISTER]).await;
    let agent = scene.start().await.unwrap();
    standing(&scene, &agent, "waiting-for-approval").await;
    agent.kill().await.unwrap();
    let agent = scene.start().await.unwrap();
    standing(&scene, &agent, "waiting-for-approval").await;
    approve(&scene);
    standing(&scene, &agent, "trusted").await;
    assert_eq!(count(&scene, Call::Register), 1, "the administrator sees one registration");
}

#[tokio::test]
async fn with_automatic_trust_nobody_has_to_approve() {
    let scene = scene(AUTO_TRUST_KEY, &[REGISTER]).await;
    let agent = scene.start().await.unwrap();
    standing(&scene, &agent, "trusted").await;
    assert!(releases_one(&scene, &agent).await);
}

#[tokio::test]
async fn tokens_expire_and_nobody_notices() {
    let scene = scene(AUTO_TRUST_KEY, &[REGISTER]).await;
    let agent = scene.start().await.unwrap();
    standing(&scene, &agent, "trusted").await;
    for expired in 0..3 {
        assert!(releases_one(&scene, &agent).await, "after {expired} tokens");
        scene.server.world().tokens.expire_devices();
    }
    assert!(releases_one(&scene, &agent).await);
    assert_eq!(count(&scene, Call::Register), 1);
}

#[tokio::test]
async fn a_token_is_refreshed_before_its_time_is_over() {
    let scene = scene(AUTO_TRUST_KEY, &[REGISTER]).await;
    scene.server.world().tokens.access_lifetime = jiff::SignedDuration::from_secs(1);
    let agent = scene.start().await.unwrap();
    soon(scene.server.wait_until(|world| world.count(Call::Token) >= 4)).await;
    let refused = scene.server.world().calls.iter().filter(|call| call.refusal.is_some()).count();
    assert_eq!((refused, count(&scene, Call::Register)), (0, 1));
    scene.server.world().tokens.access_lifetime = jiff::SignedDuration::from_hours(1);
    assert!(releases_one(&scene, &agent).await);
}

#[tokio::test]
async fn unknown_cards_do_not_wear_the_token_out() {
    let scene = scene(AUTO_TRUST_KEY, &[REGISTER]).await;
    let agent = scene.start().await.unwrap();
    standing(&scene, &agent, "trusted").await;
    let before = count(&scene, Call::Token);
    for card in [UNKNOWN_CARDS, UNKNOWN_CARDS].concat() {
        assert_eq!(tap(&scene, &agent, card).await["reason"], "unknown-card");
    }
    assert_eq!(count(&scene, Call::Token), before + 1, "one refresh tells that it is the card");
    assert!(releases_one(&scene, &agent).await);
}

#[tokio::test]
async fn a_refresh_whose_answer_is_lost_heals_without_an_administrator() {
    let scene = scene(TRUSTED_KEY, &[REGISTER]).await;
    let agent = trusted(&scene).await;
    let overloaded = Kind::Status { code: 503, retry_after: Some(1) };
    for kind in [Kind::CutAfter, Kind::CutBefore, Kind::HangAfter, Kind::Garbage, Kind::WrongType, overloaded] {
        befall(&scene, Call::Token, kind);
        scene.server.world().tokens.expire_devices();
        assert!(releases_one(&scene, &agent).await, "{kind:?}");
        assert!(scene.server.world().faults.is_empty(), "{kind:?} befell a refresh");
    }
    assert_eq!(count(&scene, Call::Register), 6, "all but the last were lost, and each of them cost a registration");
    standing(&scene, &agent, "trusted").await;
}

#[tokio::test]
async fn new_tokens_outlive_the_agent_so_that_a_restart_costs_no_registration() {
    let scene = scene(TRUSTED_KEY, &[REGISTER]).await;
    let mut agent = trusted(&scene).await;
    for _ in 0..3 {
        scene.server.world().tokens.expire_devices();
        assert!(releases_one(&scene, &agent).await);
        agent.kill().await.unwrap();
        agent = scene.start().await.unwrap();
    }
    assert!(releases_one(&scene, &agent).await);
    assert_eq!(count(&scene, Call::Register), 1);
}

#[tokio::test]
async fn a_token_that_the_disk_has_not_taken_is_not_used() {
    let scene = scene(TRUSTED_KEY, &[REGISTER]).await;
    let agent = trusted(&scene).await;
    let obstacle = scene.dir().join("state/device.json.new");
    fs::create_dir(&obstacle).unwrap();
    let (before, known) = (stored(&scene), count(&scene, Call::Token));
    scene.server.world().tokens.expire_devices();
    assert!(!releases_one(&scene, &agent).await);
    assert_eq!(
        (count(&scene, Call::Token), stored(&scene)),
        (known + 1, before),
        "given, kept back, and asked for once"
    );
    fs::remove_dir(&obstacle).unwrap();
    assert!(releases_one(&scene, &agent).await);
    assert_eq!((count(&scene, Call::Token), count(&scene, Call::Register)), (known + 1, 1));
}

#[tokio::test]
async fn a_registration_whose_answer_is_lost_is_made_again() {
    let scene = scene(AUTO_TRUST_KEY, &[REGISTER]).await;
    for kind in [Kind::CutAfter, Kind::CutBefore, Kind::Garbage] {
        befall(&scene, Call::Register, kind);
    }
    let agent = scene.start().await.unwrap();
    standing(&scene, &agent, "trusted").await;
    assert!(releases_one(&scene, &agent).await);
    assert_eq!(scene.server.world().devices.len(), 1);
}

#[tokio::test]
async fn a_token_of_the_configuration_is_used_and_never_refreshed() {
    let scene = scene(TRUSTED_KEY, &[]).await;
    let token = scene.server.world().device_token("by hand");
    let path = scene.write_secret("token", &token).unwrap();
    scene.configure(&format!("device_token_file = \"{}\"", path.display()), &[]).unwrap();
    let agent = scene.start().await.unwrap();
    standing(&scene, &agent, "none").await;
    assert!(releases_one(&scene, &agent).await);
    scene.server.world().tokens.expire_devices();
    assert!(!releases_one(&scene, &agent).await);
    assert_eq!((count(&scene, Call::Token), count(&scene, Call::Register)), (0, 0));
}

#[tokio::test]
async fn killed_at_any_moment_of_a_refresh_the_box_stays_who_it_is() {
    let kills = std::env::var("PRINT_RELEASE_KILLS").map_or(KILLS, |number| number.parse().unwrap());
    let scene = scene(TRUSTED_KEY, &[REGISTER]).await;
    scene.server.world().tokens.access_lifetime = jiff::SignedDuration::from_secs(1);
    trusted(&scene).await.kill().await.unwrap();
    for kill in 0..kills {
        let before = count(&scene, Call::Token);
        if kill % 5 == 4 {
            befall(&scene, Call::Token, Kind::CutAfter);
        }
        let log = fs::File::options().append(true).open(scene.log()).unwrap();
        let mut agent = Command::new(PROGRAM)
            .arg("run")
            .arg("--config")
            .arg(scene.config())
            .stderr(Stdio::from(log))
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let wanted = before + 1 + usize::try_from(random::word() % 3).unwrap();
        soon(scene.server.wait_until(|world| world.count(Call::Token) >= wanted)).await;
        // Not a wait for anything: the moment itself is what is random.
        tokio::time::sleep(Duration::from_micros(random::word() % KILL_WINDOW_US)).await;
        agent.kill().await.unwrap();
        let world = scene.server.world();
        let trusted: Vec<_> = world.devices.iter().map(|device| device.approved).collect();
        assert_eq!(trusted, [true], "kill {kill}");
    }
    scene.server.world().faults.clear();
    scene.server.world().tokens.access_lifetime = jiff::SignedDuration::from_hours(1);
    let agent = scene.start().await.unwrap();
    standing(&scene, &agent, "trusted").await;
    assert!(releases_one(&scene, &agent).await);
    Row::held("kills during a refresh", usize::try_from(kills).unwrap()).tell();
}

#[tokio::test]
async fn under_another_api_key_the_box_is_a_new_device() {
    let scene = scene(TRUSTED_KEY, &[REGISTER]).await;
    trusted(&scene).await.terminate().await.unwrap();
    scene.server.world().keys.push(ApiKey::strict("another-key"));
    scene.write_secret("api-key", "another-key").unwrap();
    let agent = scene.start().await.unwrap();
    standing(&scene, &agent, "waiting-for-approval").await;
    assert_eq!(count(&scene, Call::Register), 2);
    approve(&scene);
    standing(&scene, &agent, "trusted").await;
    assert!(releases_one(&scene, &agent).await);
}

#[tokio::test]
async fn a_device_that_the_server_forgot_registers_as_a_new_one() {
    let scene = scene(TRUSTED_KEY, &[REGISTER]).await;
    trusted(&scene).await.kill().await.unwrap();
    scene.server.world().devices.clear();
    let agent = scene.start().await.unwrap();
    standing(&scene, &agent, "waiting-for-approval").await;
    approve(&scene);
    standing(&scene, &agent, "trusted").await;
}

#[tokio::test]
async fn a_key_that_the_server_does_not_know_is_refused_and_told() {
    let scene = scene("no-such-key", &[REGISTER]).await;
    let agent = scene.start().await.unwrap();
    standing(&scene, &agent, "refused").await;
    assert!(scene.server.world().devices.is_empty());
}

#[tokio::test]
async fn what_is_secret_stays_in_files_for_their_owner() {
    let scene = scene(TRUSTED_KEY, &[REGISTER, TRACE]).await;
    let agent = trusted(&scene).await;
    let mut secrets = BTreeSet::from([TRUSTED_KEY.to_owned()]);
    for kind in [None, Some(Kind::CutAfter)] {
        secrets.extend(stored(&scene));
        scene.server.world().faults.extend(kind.map(|kind| ServerFault { call: Call::Token, times: 1, kind }));
        scene.server.world().tokens.expire_devices();
        assert!(releases_one(&scene, &agent).await);
    }
    tap(&scene, &agent, UNKNOWN_CARDS[0]).await;
    secrets.extend(stored(&scene));
    assert!(secrets.len() >= 7, "three pairs and the key");
    let status = standing(&scene, &agent, "trusted").await.to_string();
    agent.terminate().await.unwrap();
    let log = fs::read_to_string(scene.log()).unwrap();
    assert!(log.contains("device trusted"), "{log}");
    for (place, text) in [("log", log), ("status", status)] {
        for secret in &secrets {
            assert!(!text.contains(secret.as_str()), "{place}: {text}");
        }
    }
    for name in ["device.key", "device.json"] {
        let mode = fs::metadata(scene.dir().join("state").join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

/// Every secret in `device.json`.
fn stored(scene: &Scene) -> Vec<String> {
    let file: Value = serde_json::from_slice(&fs::read(scene.dir().join("state/device.json")).unwrap()).unwrap();
    ["code", "access", "refresh"].iter().filter_map(|key| file[key].as_str().map(str::to_owned)).collect()
}

#[tokio::test]
async fn events_are_ordered_without_a_clock_and_the_time_is_remembered_at_the_end() {
    let scene = scene(AUTO_TRUST_KEY, &[REGISTER]).await;
    let agent = scene.start().await.unwrap();
    let status = standing(&scene, &agent, "trusted").await;
    assert_eq!(status["time_uncertain"], false);
    let (one, other) = (tap(&scene, &agent, UNKNOWN_CARDS[0]).await, tap(&scene, &agent, UNKNOWN_CARDS[1]).await);
    assert!(one["seq"].as_u64() < other["seq"].as_u64(), "{one} {other}");
    assert!(one["monotonic_ms"].as_u64() <= other["monotonic_ms"].as_u64(), "{one} {other}");
    assert_eq!(one["boot"], fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap().trim());
    agent.terminate().await.unwrap();
    let seen = fs::read_to_string(scene.dir().join("state/last-seen")).unwrap();
    assert!(seen.trim().parse::<jiff::Timestamp>().is_ok(), "{seen}");
}

#[tokio::test]
async fn a_record_from_before_the_clock_was_known_is_stamped_by_the_server() {
    let scene = scene(OPEN_KEY, &[]).await;
    scene.server.world().history_datetime = true;
    let client = Client::new(ClientSettings {
        url: scene.server.url().parse().unwrap(),
        oauth_url: scene.server.oauth_url().parse().unwrap(),
        api_key: Secret::new(OPEN_KEY),
        device_token: None,
        trust: Trust::default(),
        proxy: None,
        connect_timeout: Duration::from_secs(3),
        request_timeout: Duration::from_secs(10),
        history_datetime: true,
    })
    .unwrap();
    let began = scene.server.world().now();
    let an_hour_ago = began.checked_sub(jiff::SignedDuration::from_hours(1)).unwrap();
    for time in [Timestamp::UNIX_EPOCH, an_hour_ago] {
        client.record(&record(time)).await.unwrap();
    }
    let stamps: Vec<_> = scene.server.world().records.iter().map(|record| record.date_time).collect();
    assert!(stamps[0] >= began, "{stamps:?}");
    assert_eq!(stamps[1].as_second(), an_hour_ago.as_second());
}

fn record(time: Timestamp) -> JobRecord {
    JobRecord {
        tap: TapId::new(time, random::bits()),
        station: "lobby".into(),
        user: User { name: "ada".to_owned(), provider: None },
        document: "0".to_owned(),
        title: "Note G.pdf".to_owned(),
        pages: Some(1),
        color_pages: None,
        paper_size: None,
        long_edge: None,
        port: OutputPort::Address("192.0.2.10".to_owned()),
        time,
    }
}

#[tokio::test]
async fn enroll_says_what_to_do_waits_and_the_agent_uses_what_it_got() {
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
    let scene = scene(TRUSTED_KEY, &[REGISTER]).await;
    let check = async || {
        let mut command = Command::new(PROGRAM);
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
    let other = std::fs::read_to_string(scene.config()).unwrap().replace("id = \"demo\"", "id = \"other\"");
    std::fs::write(scene.config(), other).unwrap();
    assert!(!check().await.0, "what another device was given means nothing");
}
