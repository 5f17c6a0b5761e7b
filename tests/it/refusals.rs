//! Each refusal has a reason of its own, in the event, the metrics, the status and the log, and the light that helps the person:
//! the real program against the embedded server, once with bodies that say why and once without.

use print_release_agent::demo::process::AgentProcess;
use print_release_agent::demo::scene::Scene;
use print_release_agent::demo::server::{Call, Kind, OPEN_KEY, Permission, Status, TRUSTED_KEY, World};
use serde_json::Value;

use crate::support::{limit, log, playing, program};

const STRANGERS: [&str; 6] = ["9000000001", "9000000002", "9000000003", "9000000004", "9000000005", "9000000006"];

/// A change of the world that makes a tap fail.
type Mischief = fn(&mut World);

fn light(status: &Value) -> String {
    status["stations"]["lobby"]["feedback"].as_str().unwrap().to_owned()
}

/// The reason of the last tap in the status and the metrics, which has to be that of the event.
async fn told_everywhere(scene: &Scene, agent: &AgentProcess, event: &Value) -> Value {
    let reason = event["reason"].as_str().unwrap();
    let status = scene.status(agent, |status| status["stations"]["lobby"]["last"]["id"] == event["id"]).await.unwrap();
    assert_eq!(status["stations"]["lobby"]["last"]["reason"], reason);
    let metrics = scene.get(agent, "/metrics").await.unwrap();
    let counted = format!("print_release_tap_reasons_total{{station=\"lobby\",reason=\"{reason}\"}}");
    let line =
        metrics.lines().find(|line| line.starts_with(&counted)).unwrap_or_else(|| panic!("{counted}: {metrics}"));
    assert!(!line.ends_with(" 0"), "{line}");
    assert!(log(scene).contains(reason), "{reason}: {}", log(scene));
    status
}

fn of(world: &mut World, user: &str, change: impl Fn(&mut print_release_agent::demo::server::ServerDocument)) {
    world.documents.iter_mut().filter(|document| document.user_name == user).for_each(change);
}

fn lacks(world: &mut World, permission: Permission) {
    let user = world.users.iter_mut().find(|user| user.name == "linus").unwrap();
    user.permissions.remove(&permission);
}

/// The mischief, the reason where the server says why, the reason where it does not, and the light.
const REFUSALS: &[(&str, Mischief, &str, &str, &str)] = &[
    ("a key that is unknown", |w| w.keys.clear(), "api-key-refused", "unknown-card", "refused"),
    ("a key that has expired", |w| w.keys[0].expired = true, "api-key-refused", "unknown-card", "refused"),
    ("an address", |w| w.keys[0].address_refused = true, "address-not-allowed", "unknown-card", "refused"),
    (
        "a device that is not trusted",
        |w| w.keys[0].allow_untrusted_endpoints = false,
        "device-not-trusted",
        "unknown-card",
        "refused",
    ),
    ("no right to list", |w| lacks(w, Permission::ViewJob), "not-permitted", "not-permitted", "refused"),
    ("no right to release", |w| lacks(w, Permission::ReleaseJob), "not-permitted", "not-permitted", "refused"),
    ("received", |w| of(w, "linus", |it| it.status = Status::Received), "converting", "converting", "refused"),
    ("converting", |w| of(w, "linus", |it| it.status = Status::Converting), "converting", "converting", "refused"),
    (
        "a computer that is off",
        |w| of(w, "linus", |it| it.storage_online = false),
        "computer-off",
        "computer-off",
        "refused",
    ),
];

#[tokio::test]
async fn every_refusal_has_a_reason_of_its_own_everywhere_and_a_light() {
    let _limit = limit();
    for (what, mischief, told, silent, shown) in REFUSALS {
        for (is_silent, expected) in [(false, told), (true, silent)] {
            let (scene, agent) = playing().await;
            assert_eq!(scene.tap(&agent, "grace").await.unwrap()["event"], "released");
            {
                let mut world = scene.server.world();
                world.silent_refusals = is_silent;
                mischief(&mut world);
            }
            let event = scene.tap(&agent, "linus").await.unwrap();
            assert_eq!(event["reason"], *expected, "{what}, silent: {is_silent}: {}", log(&scene));
            assert_eq!(event["documents"], 0, "{what}");
            let status = told_everywhere(&scene, &agent, &event).await;
            let expected = if *expected == "unknown-card" { "unknown-card" } else { shown };
            assert_eq!(light(&status), expected, "{what}, silent: {is_silent}");
        }
    }
}

#[tokio::test]
async fn a_login_that_is_over_and_cannot_be_renewed_is_an_expired_token() {
    let _limit = limit();
    for silent in [false, true] {
        let (scene, agent) = playing().await;
        scene.server.world().silent_refusals = silent;
        scene.befall(Call::List, 1, Kind::CutBefore);
        scene.server.world().tokens.access_lifetime = jiff::SignedDuration::ZERO;
        scene.server.world().tokens.refresh_lifetime = jiff::SignedDuration::ZERO;
        let event = scene.tap(&agent, "linus").await.unwrap();
        assert_eq!(event["reason"], "token-expired", "{}", log(&scene));
        told_everywhere(&scene, &agent, &event).await;
    }
}

#[tokio::test]
async fn a_refused_login_may_be_the_key_until_one_has_succeeded() {
    let _limit = limit();
    let (scene, agent) = playing().await;
    let event = scene.hold(&agent, STRANGERS[0]).await.unwrap();
    assert_eq!(event["reason"], "login-refused");
    assert_eq!(light(&told_everywhere(&scene, &agent, &event).await), "unknown-card");
    scene.tap(&agent, "grace").await.unwrap();
    let event = scene.hold(&agent, STRANGERS[0]).await.unwrap();
    assert_eq!(event["reason"], "unknown-card");
    told_everywhere(&scene, &agent, &event).await;
}

#[tokio::test]
async fn many_different_cards_refused_in_a_row_are_an_alarm_and_no_strangers() {
    let _limit = limit();
    let (scene, agent) = playing().await;
    scene.tap(&agent, "grace").await.unwrap();
    let mut reasons = Vec::new();
    for card in STRANGERS {
        reasons.push(scene.hold(&agent, card).await.unwrap()["reason"].as_str().unwrap().to_owned());
    }
    assert_eq!(reasons[..4], ["unknown-card"; 4]);
    assert_eq!(reasons[4..], ["login-refused"; 2]);
    scene.status(&agent, |status| status["server"]["refused_cards"] == 6).await.unwrap();
    let metrics = scene.get(&agent, "/metrics").await.unwrap();
    assert!(metrics.contains("print_release_refused_cards 6\n"), "{metrics}");
    let alarms = log(&scene).matches("different cards refused in a row and none accepted").count();
    assert_eq!(alarms, 1, "{}", log(&scene));
    scene.tap(&agent, "linus").await.unwrap();
    scene.status(&agent, |status| status["server"]["refused_cards"] == 0).await.unwrap();
    assert_eq!(scene.hold(&agent, STRANGERS[0]).await.unwrap()["reason"], "unknown-card");
}

#[tokio::test]
async fn a_box_without_a_trusted_device_is_told_so() {
    let _limit = limit();
    let scene = Scene::set(program()).await.unwrap();
    scene.write_secret("api-key", TRUSTED_KEY).unwrap();
    let agent = scene.start().await.unwrap();
    assert_eq!(scene.tap(&agent, "linus").await.unwrap()["reason"], "device-not-trusted");
    scene.server.world().silent_refusals = true;
    assert_eq!(scene.tap(&agent, "linus").await.unwrap()["reason"], "login-refused", "nothing tells it");
}

#[tokio::test]
async fn more_documents_than_the_limit_remain_and_the_person_is_told() {
    let _limit = limit();
    let scene = Scene::set(program()).await.unwrap();
    let config = std::fs::read_to_string(scene.config()).unwrap();
    let config = config.replace("[outbox]", "[station.release]\nlimit = 2\n[outbox]");
    std::fs::write(scene.config(), config).unwrap();
    let agent = scene.start().await.unwrap();
    let event = scene.tap(&agent, "grace").await.unwrap();
    assert_eq!(
        (&event["event"], &event["reason"], &event["documents"]),
        (&"released".into(), &"more-remain".into(), &2.into())
    );
    assert_eq!(light(&told_everywhere(&scene, &agent, &event).await), "partly");
    let event = scene.tap(&agent, "grace").await.unwrap();
    assert_eq!((&event["reason"], &event["documents"]), (&"".into(), &1.into()));
    assert_eq!(scene.tap(&agent, "grace").await.unwrap()["reason"], "no-documents");
}

#[tokio::test]
async fn a_list_that_is_not_found_is_no_unknown_card() {
    let _limit = limit();
    let (scene, agent) = playing().await;
    scene.befall(Call::List, 1, Kind::Status { code: 404, retry_after: None });
    let event = scene.tap(&agent, "linus").await.unwrap();
    assert_eq!(event["reason"], "not-found");
    assert_eq!(light(&told_everywhere(&scene, &agent, &event).await), "refused");
}

#[tokio::test]
async fn the_servers_message_reaches_the_log_and_a_refused_release_names_the_port() {
    let _limit = limit();
    let (scene, agent) = playing().await;
    scene.server.world().ports.clear();
    assert_eq!(scene.tap(&agent, "linus").await.unwrap()["reason"], "rejected");
    let told = log(&scene);
    let line = told.lines().find(|line| line.contains("release not acknowledged")).unwrap();
    assert!(line.contains("no output port has this address") && line.contains("192.0.2.10"), "{line}");
    assert!(line.contains("output_port"), "{line}");
    assert!(!told.contains(OPEN_KEY) && !told.contains("1234567"), "{told}");
}

#[tokio::test]
async fn an_odd_row_is_skipped_and_counted_and_the_others_are_released() {
    let _limit = limit();
    let (scene, agent) = playing().await;
    // The titles are those of the demo; a port and a document of dots would be another call.
    for (index, uuid) in ["..", ".", ""].into_iter().enumerate() {
        let own = scene.submit("linus", &format!("Row {index}.pdf"));
        of(&mut scene.server.world(), "linus", |it| {
            if it.uuid == own {
                uuid.clone_into(&mut it.uuid);
            }
        });
    }
    let event = scene.tap(&agent, "linus").await.unwrap();
    assert_eq!((&event["event"], &event["documents"]), (&"released".into(), &1.into()), "{}", log(&scene));
    let metrics = scene.get(&agent, "/metrics").await.unwrap();
    assert!(metrics.contains("print_release_refused_rows_total 3\n"), "{metrics}");
    assert!(scene.server.world().calls.iter().all(|call| !call.path.contains("..")), "no path has dots");
}
