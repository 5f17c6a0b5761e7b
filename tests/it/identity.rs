//! The box as a trusted device, with the real program against the embedded server: registered, approved, refreshed, cut,
//! killed, and under another key.

mod enroll;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::time::Duration;

use jiff::Timestamp;
use print_release_agent::demo::process::AgentProcess;
use print_release_agent::demo::scene::Scene;
use print_release_agent::demo::server::{AUTO_TRUST_KEY, ApiKey, Call, Kind, OPEN_KEY, TRUSTED_KEY};
use print_release_agent::domain::{JobRecord, OutputPort, Secret, TapId, User};
use print_release_agent::print_server::{Client, ClientSettings};
use print_release_agent::tls::Trust;
use serde_json::Value;
use tokio::process::Command;

use crate::support::table::Row;
use crate::support::{dice, limit, limit_of_campaign, program, soon};

const REGISTER: &str = "[server.device]\nregister = true";
const TRACE: &str = "[log]\nlevel = \"trace\"";
/// The device's name: `agent.id` of the scene.
const CLIENT_ID: &str = "demo";
const UNKNOWN_CARDS: [&str; 2] = ["9000000001", "9000000002"];
/// The number of kills, unless `PRINT_RELEASE_KILLS` says otherwise.
const KILLS: u32 = 40;
/// A kill comes within so many microseconds after a request for tokens arrived: while it is answered, stored or used.
const KILL_WINDOW_US: u64 = 12_000;

/// A scene whose server knows the box by this key.
async fn scene(api_key: &str, sections: &[&str]) -> Scene {
    let scene = Scene::set(program()).await.unwrap();
    scene.write_secret("api-key", api_key).unwrap();
    scene.configure("", sections).unwrap();
    scene
}

async fn standing(scene: &Scene, agent: &AgentProcess, word: &str) -> Value {
    soon(scene.status(agent, |status| status["server"]["device"] == word)).await.unwrap()
}

/// Holds a card and gives the event that the tap ended with.
async fn tap(scene: &Scene, agent: &AgentProcess, card: &str) -> Value {
    soon(scene.hold(agent, card)).await.unwrap()
}

/// Submits one more document and tells whether a tap of its owner released it.
async fn releases_one(scene: &Scene, agent: &AgentProcess) -> bool {
    scene.submit("ada", "Note G.pdf");
    soon(scene.tap(agent, "ada")).await.unwrap()["event"] == "released"
}

fn approve(scene: &Scene) {
    assert!(scene.server.world().approve(CLIENT_ID), "the device has registered");
}

fn count(scene: &Scene, call: Call) -> usize {
    scene.server.world().count(call)
}

/// A box that has registered and was approved.
async fn trusted(scene: &Scene) -> AgentProcess {
    let agent = scene.start().await.unwrap();
    standing(scene, &agent, "waiting-for-approval").await;
    approve(scene);
    standing(scene, &agent, "trusted").await;
    agent
}

#[tokio::test]
async fn a_box_registers_waits_for_its_approval_and_then_releases() {
    let _limit = limit();
    let scene = scene(TRUSTED_KEY, &[REGISTER]).await;
    let agent = scene.start().await.unwrap();
    standing(&scene, &agent, "waiting-for-approval").await;
    let card = scene.server.world().user("ada").unwrap().cards[0].clone();
    assert_eq!(tap(&scene, &agent, &card).await["reason"], "device-not-trusted", "it is not the card that is refused");
    approve(&scene);
    standing(&scene, &agent, "trusted").await;
    assert_eq!(tap(&scene, &agent, &card).await["documents"], 4);
    assert_eq!(count(&scene, Call::Register), 1);
}

#[tokio::test]
async fn a_box_that_waits_goes_on_waiting_after_a_restart() {
    let _limit = limit();
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
    let _limit = limit();
    let scene = scene(AUTO_TRUST_KEY, &[REGISTER]).await;
    let agent = scene.start().await.unwrap();
    standing(&scene, &agent, "trusted").await;
    assert!(releases_one(&scene, &agent).await);
}

#[tokio::test]
async fn tokens_expire_and_nobody_notices() {
    let _limit = limit();
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
    let _limit = limit();
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
    let _limit = limit();
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
    let _limit = limit();
    let scene = scene(TRUSTED_KEY, &[REGISTER]).await;
    let agent = trusted(&scene).await;
    let overloaded = Kind::Status { code: 503, retry_after: Some(1) };
    for kind in [Kind::CutAfter, Kind::CutBefore, Kind::HangAfter, Kind::Garbage, Kind::WrongType, overloaded] {
        scene.befall(Call::Token, 1, kind);
        scene.server.world().tokens.expire_devices();
        assert!(releases_one(&scene, &agent).await, "{kind:?}");
        assert!(scene.server.world().faults.is_empty(), "{kind:?} befell a refresh");
    }
    assert_eq!(count(&scene, Call::Register), 6, "all but the last were lost, and each of them cost a registration");
    standing(&scene, &agent, "trusted").await;
}

#[tokio::test]
async fn new_tokens_outlive_the_agent_so_that_a_restart_costs_no_registration() {
    let _limit = limit();
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
    let _limit = limit();
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
    let _limit = limit();
    let scene = scene(AUTO_TRUST_KEY, &[REGISTER]).await;
    for kind in [Kind::CutAfter, Kind::CutBefore, Kind::Garbage] {
        scene.befall(Call::Register, 1, kind);
    }
    let agent = scene.start().await.unwrap();
    standing(&scene, &agent, "trusted").await;
    assert!(releases_one(&scene, &agent).await);
    assert_eq!(scene.server.world().devices.len(), 1);
}

#[tokio::test]
async fn a_token_of_the_configuration_is_used_and_never_refreshed() {
    let _limit = limit();
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
    let _limit = limit_of_campaign("PRINT_RELEASE_KILLS");
    let kills = std::env::var("PRINT_RELEASE_KILLS").map_or(KILLS, |number| number.parse().unwrap());
    let mut dice = dice();
    let scene = scene(TRUSTED_KEY, &[REGISTER]).await;
    scene.server.world().tokens.access_lifetime = jiff::SignedDuration::from_secs(1);
    trusted(&scene).await.kill().await.unwrap();
    for kill in 0..kills {
        let before = count(&scene, Call::Token);
        if kill % 5 == 4 {
            scene.befall(Call::Token, 1, Kind::CutAfter);
        }
        let log = fs::File::options().append(true).open(scene.log()).unwrap();
        let mut agent = Command::new(program())
            .arg("run")
            .arg("--config")
            .arg(scene.config())
            .stderr(Stdio::from(log))
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let wanted = before + 1 + usize::try_from(dice.roll(3)).unwrap();
        soon(scene.server.wait_until(|world| world.count(Call::Token) >= wanted)).await;
        // This waits for no event: the random moment is the point of the test.
        tokio::time::sleep(Duration::from_micros(dice.roll(KILL_WINDOW_US))).await;
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
    let _limit = limit();
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
    let _limit = limit();
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
    let _limit = limit();
    let scene = scene("no-such-key", &[REGISTER]).await;
    let agent = scene.start().await.unwrap();
    standing(&scene, &agent, "refused").await;
    assert!(scene.server.world().devices.is_empty());
}

#[tokio::test]
async fn what_is_secret_stays_in_files_for_their_owner() {
    let _limit = limit();
    let scene = scene(TRUSTED_KEY, &[REGISTER, TRACE]).await;
    let agent = trusted(&scene).await;
    let mut secrets = BTreeSet::from([TRUSTED_KEY.to_owned()]);
    for kind in [None, Some(Kind::CutAfter)] {
        secrets.extend(stored(&scene));
        if let Some(kind) = kind {
            scene.befall(Call::Token, 1, kind);
        }
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
async fn events_are_ordered_without_a_clock_and_plain_http_proves_no_time() {
    let _limit = limit();
    let scene = scene(AUTO_TRUST_KEY, &[REGISTER]).await;
    let agent = scene.start().await.unwrap();
    let status = standing(&scene, &agent, "trusted").await;
    assert_eq!(status["time_uncertain"], false);
    let (one, other) = (tap(&scene, &agent, UNKNOWN_CARDS[0]).await, tap(&scene, &agent, UNKNOWN_CARDS[1]).await);
    assert!(one["seq"].as_u64() < other["seq"].as_u64(), "{one} {other}");
    assert!(one["monotonic_ms"].as_u64() <= other["monotonic_ms"].as_u64(), "{one} {other}");
    assert_eq!(one["boot"], fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap().trim());
    agent.terminate().await.unwrap();
    assert!(!scene.dir().join("state/last-seen").exists());
}

#[tokio::test]
async fn a_record_from_before_the_clock_was_known_is_stamped_by_the_server() {
    let _limit = limit();
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
        tap: TapId::new(time, 1),
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
