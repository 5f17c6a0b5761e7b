//! Each call of a tap, and each way in which a server can fail it: nothing is released twice, nothing is recorded twice, and every
//! release is recorded, or its record is kept as a dead letter where the server refuses it for good.

use std::time::Duration;

use print_release_agent::demo::process::AgentProcess;
use print_release_agent::demo::scene::Scene;
use print_release_agent::demo::server::{Call, Kind};

use crate::support::table::Row;
use crate::support::{limit, log, playing};

const fn status(code: u16) -> Kind {
    Kind::Status { code, retry_after: None }
}

/// Later than the patience that is asked for, and before the request has settled, which takes three seconds.
const LATER: Duration = Duration::from_millis(2_500);

/// A balancer asks for patience while its back end does the work.
const fn busy_and_done(code: u16, retry_after: Option<u32>, after: Duration) -> Kind {
    Kind::StatusAndWork { code, retry_after, after }
}

/// The ways in which the embedded server can fail. A delay is longer than the agent waits for an answer.
const KINDS: [Kind; 21] = [
    Kind::Delay(Duration::from_millis(1_500)),
    Kind::CutBefore,
    Kind::CutAfter,
    Kind::HangAfter,
    Kind::Garbage,
    Kind::HugeBody,
    Kind::WrongType,
    Kind::ExpiredToken,
    Kind::ErrorCode(1042),
    Kind::ErrorCode(10_000),
    status(400),
    status(401),
    status(403),
    status(404),
    Kind::Status { code: 429, retry_after: Some(1) },
    status(500),
    status(503),
    busy_and_done(429, None, Duration::ZERO),
    busy_and_done(429, Some(1), LATER),
    busy_and_done(503, Some(1), Duration::ZERO),
    busy_and_done(503, None, LATER),
];

/// Lets one fault meet one document; then the fault has passed and the person taps again.
async fn befalls(scene: &Scene, agent: &AgentProcess, call: Call, kind: Kind) {
    let what = format!("{call:?} {kind:?}");
    let uuid = scene.submit("linus", &what);
    scene.befall(call, 1, kind);
    scene.tap(agent, "linus").await.unwrap();
    scene.settled(agent).await.unwrap();
    let dead_before = dead(scene, agent).await;
    let (released, _) = scene.counts(&uuid);
    assert!(released <= 1, "{what}: released {released} times\n{}", log(scene));
    scene.server.world().faults.clear();
    scene.tap(agent, "linus").await.unwrap();
    scene.settled(agent).await.unwrap();
    let (released, recorded) = scene.counts(&uuid);
    assert_eq!(released, 1, "{what}\n{}", log(scene));
    let for_good = call == Call::Record && matches!(kind, Kind::ErrorCode(_) | Kind::Status { code: 400, .. });
    let expected = if for_good { (0, 1) } else { (1, 0) };
    assert_eq!((recorded, u64::from(dead_before > 0)), expected, "{what}\n{}", log(scene));
    if for_good {
        // A dead letter stays one: the second tap adds none.
        assert_eq!(dead(scene, agent).await, dead_before);
    }
}

async fn dead(scene: &Scene, agent: &AgentProcess) -> u64 {
    scene.status(agent, |_| true).await.unwrap()["outbox"]["dead"].as_u64().unwrap()
}

async fn every_fault_befalls(call: Call) {
    for kind in KINDS {
        let (scene, agent) = playing().await;
        scene.tap(&agent, "linus").await.unwrap();
        scene.settled(&agent).await.unwrap();
        befalls(&scene, &agent, call, kind).await;
    }
    Row::held("faults of the server", KINDS.len()).tell();
}

#[tokio::test]
async fn no_fault_of_a_login_loses_or_doubles_anything() {
    let _limit = limit();
    every_fault_befalls(Call::Login).await;
}

#[tokio::test]
async fn no_fault_of_a_list_loses_or_doubles_anything() {
    let _limit = limit();
    every_fault_befalls(Call::List).await;
}

#[tokio::test]
async fn no_fault_of_a_release_loses_or_doubles_anything() {
    let _limit = limit();
    every_fault_befalls(Call::Release).await;
}

#[tokio::test]
async fn no_fault_of_a_record_loses_or_doubles_anything() {
    let _limit = limit();
    every_fault_befalls(Call::Record).await;
}

#[tokio::test]
async fn a_server_that_cuts_every_connection_is_not_reachable() {
    let _limit = limit();
    let (scene, agent) = playing().await;
    for call in [Call::Account, Call::Login] {
        scene.befall(call, usize::MAX, Kind::CutBefore);
    }
    assert_eq!(scene.tap(&agent, "linus").await.unwrap()["reason"], "answer-lost");
    let status = scene.status(&agent, |status| status["server"]["reachable"] == false).await.unwrap();
    assert_eq!(status["stations"]["lobby"]["phase"], "offline");
    scene.server.world().faults.clear();
    scene.status(&agent, |status| status["server"]["reachable"] == true).await.unwrap();
}

#[tokio::test]
async fn a_server_that_cuts_some_calls_and_answers_others_stays_reachable() {
    let _limit = limit();
    let (scene, agent) = playing().await;
    scene.befall(Call::Record, 3, Kind::CutBefore);
    scene.befall(Call::Account, usize::MAX, status(500));
    assert_eq!(scene.tap(&agent, "linus").await.unwrap()["event"], "released");
    scene.settled(&agent).await.unwrap();
    assert!(!log(&scene).contains("server not reachable"), "{}", log(&scene));
}
