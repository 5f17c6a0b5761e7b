//! The kill campaign: the real program, killed with -9 at random moments while the server misbehaves at random. In the end
//! every document was released at most once, every release is recorded exactly once, and nobody's document is missing.
//!
//! `tests/run nothing-lost --kills N` runs it for as long as wanted and prints the table.

use std::collections::BTreeSet;
use std::time::Duration;

use print_release_agent::demo::process::AgentProcess;
use print_release_agent::demo::scene::Scene;
use print_release_agent::demo::server::{Call, Kind};
use print_release_agent::random;
use serde_json::Value;

use crate::support::table::Row;
use crate::support::{log, program, queue};

/// Without another word; `PRINT_RELEASE_KILLS` says how many.
const KILLS: u64 = 40;

/// The longest that the program lives in the campaign, from its readiness.
const LONGEST_LIFE: u64 = 400;

/// Users of the demo: each has a card and one document a round.
const USERS: [&str; 3] = ["ada", "grace", "linus"];

/// A number below `limit`.
fn below(limit: u64) -> u64 {
    random::word() % limit
}

fn some_fault() -> (Call, Kind) {
    let calls = [Call::Login, Call::List, Call::Release, Call::Release, Call::Record, Call::Record, Call::History];
    let kinds = [
        Kind::CutBefore,
        Kind::CutAfter,
        Kind::HangAfter,
        Kind::Garbage,
        Kind::Delay(Duration::from_millis(below(300))),
        Kind::Status { code: 500, retry_after: None },
        Kind::Status { code: 503, retry_after: None },
    ];
    (calls[below(calls.len() as u64) as usize], kinds[below(kinds.len() as u64) as usize])
}

/// One life of the program: documents, faults, cards, and an end without a warning.
async fn live_and_die(scene: &Scene, agent: AgentProcess, round: u64, uuids: &mut Vec<String>) {
    for user in USERS {
        uuids.push(scene.submit(user, &format!("Round {round} of {user}.pdf")));
    }
    scene.server.world().faults.clear();
    for _ in 0..below(4) {
        let (call, kind) = some_fault();
        scene.befall(call, 1, kind);
    }
    let dies = tokio::time::Instant::now() + Duration::from_millis(below(LONGEST_LIFE));
    for user in USERS {
        scene.present(user).unwrap();
    }
    // A moment in its life, not a state that is waited for.
    tokio::time::sleep_until(dies).await;
    agent.kill().await.unwrap();
}

#[tokio::test]
async fn killed_at_any_moment_nothing_is_lost_released_twice_or_recorded_twice() {
    let kills = std::env::var("PRINT_RELEASE_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(KILLS);
    let scene = Scene::set(program()).await.unwrap();
    scene.server.world().documents.clear();
    let mut uuids = Vec::new();
    for round in 0..kills {
        let agent = scene.start().await.unwrap();
        live_and_die(&scene, agent, round, &mut uuids).await;
    }
    // Peace: everything that is open ends, and what was not released is, by another tap.
    scene.server.world().faults.clear();
    let agent = scene.start().await.unwrap();
    scene.status(&agent, |status| status["outbox"]["pending"] == 0).await.unwrap();
    while queue(&scene).await["releases"].as_array().unwrap().iter().any(|release| release["outcome"].is_null()) {
        scene.server.changed().await;
    }
    scene.settled(&agent).await.unwrap();
    for user in USERS {
        // At most so many documents a tap.
        while scene.server.world().waiting(user).count() > 0 {
            scene.tap(&agent, user).await.unwrap();
        }
    }
    scene.settled(&agent).await.unwrap();
    // What stays listed now ended as unknown: by its document, so that it excuses no other.
    let listed = queue(&scene).await["releases"].clone();
    let document = |release: &Value| release["release"]["document"]["uuid"].as_str().unwrap().to_owned();
    let unknown: BTreeSet<String> = listed.as_array().unwrap().iter().map(document).collect();
    agent.terminate().await.unwrap();

    let counts: Vec<_> = uuids.iter().map(|uuid| scene.counts(uuid)).collect();
    let is_lost = |uuid: &&String| {
        let (released, recorded) = scene.counts(uuid);
        released > recorded && !unknown.contains(*uuid)
    };
    let lost = uuids.iter().filter(is_lost).count();
    let unreleased = counts.iter().filter(|(released, _)| *released == 0).count();
    let released_twice = counts.iter().filter(|(released, _)| *released > 1).count();
    let recorded_twice = counts.iter().filter(|(released, recorded)| recorded > released).count();
    let tried = usize::try_from(kills).unwrap();
    let (lost, unknown) = (lost + unreleased, unknown.len());
    Row { campaign: "kills of the program", tried, lost, released_twice, recorded_twice, unknown }.tell();
    assert_eq!((lost, released_twice, recorded_twice), (0, 0, 0), "{}", log(&scene));
}
