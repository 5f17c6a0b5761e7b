//! `directory zops`: an identity for this box, undone step by step where one fails.

use std::fs;
use std::time::Duration;

use print_release_agent::demo::directory::{HeaderStyle, NeighbourFault, NeighbourFaultKind};
use serde_json::json;

use super::Site;
use crate::support::table::Row;
use crate::support::{dice, limit, limit_of_campaign, soon};

const FAILED: NeighbourFaultKind = NeighbourFaultKind::Status { code: 500, retry_after: None };
const PROJECT: &str = "1aa36f61f9c14156a900921abb04af56";
/// The number of kills, unless `PRINT_RELEASE_KILLS` says otherwise.
const KILLS: u32 = 20;

/// The numbers of consumers, of those that are attached, and of open sessions.
fn made(site: &Site) -> (usize, usize, usize) {
    let zops = &site.server.world().zops;
    (zops.consumers.len(), zops.attached.len(), zops.sessions.len())
}

#[tokio::test]
async fn a_box_is_enrolled_shown_and_revoked_and_enrolled_again() {
    let _limit = limit();
    let site = Site::new().await;
    for round in 1..=2 {
        let plan = site.run(&["zops", "enroll", "--dry-run", "--json"]).await;
        assert_eq!((plan.code, made(&site)), (Some(0), (round - 1, 0, 0)), "{plan:?}");
        let enrolled = site.run(&["zops", "enroll", "--json"]).await;
        assert_eq!((enrolled.code, made(&site)), (Some(0), (round, 1, 0)), "{enrolled:?}");
        assert_eq!(enrolled.json()["plan"], plan.json()["plan"]);
        let consumer = enrolled.json()["consumer"].as_str().unwrap().to_owned();
        let status = site.run(&["zops", "status", "--json"]).await.json();
        assert_eq!((&status["consumer"], &status["enrolled"]), (&json!(consumer), &json!(true)));
        assert!(site.run(&["zops", "status"]).await.stdout.contains("lives one minute"));
        let token = site.server.world().zops.issued.last().unwrap().clone();
        assert!(fs::read_to_string(site.file("state/zops.json")).unwrap().contains(&token), "its token is stored");
        // The program that the token was handed to has exchanged it.
        site.server.world().zops.exchanged.insert(token);
        let plan = site.run(&["zops", "revoke", "--dry-run", "--json"]).await;
        assert_eq!((plan.code, made(&site)), (Some(0), (round, 1, 0)), "{plan:?}");
        let revoked = site.run(&["zops", "revoke", "--json"]).await;
        assert_eq!((revoked.code, made(&site)), (Some(0), (round, 0, 0)), "{revoked:?}");
        assert_eq!((&revoked.json()["plan"], &revoked.json()["consumer"]), (&plan.json()["plan"], &json!(consumer)));
        assert_eq!(site.run(&["zops", "status", "--json"]).await.json()["consumer"], json!(null));
    }
    assert_eq!(site.run(&["zops", "revoke"]).await.code, Some(0), "nothing to take back is no failure");
    let world = site.server.world();
    let read_first: Vec<_> = world.calls.iter().take(5).map(|call| call.request.name()).collect();
    let below = |path: &str| format!("/zops/api/v1{path}");
    let expected = ["POST /session", "GET /me", "GET /projects", "GET /services", "DELETE /session/logout"];
    assert_eq!(
        read_first,
        expected.map(|call| call.replacen('/', &below("/"), 1)),
        "a dry run logs in, reads and logs out"
    );
    assert!(world.calls.iter().all(|call| call.request.query.is_empty()), "nobody else's session is closed");
}

#[tokio::test]
async fn every_variant_of_the_document_is_understood() {
    let _limit = limit();
    for (style, envelope, expired_is_400) in
        [(HeaderStyle::Bare, false, false), (HeaderStyle::Word, true, false), (HeaderStyle::Word, false, true)]
    {
        let site = Site::new().await;
        {
            let zops = &mut site.server.world().zops;
            (zops.style, zops.envelope, zops.expired_is_400) = (style, envelope, expired_is_400);
        }
        let enrolled = site.run(&["zops", "enroll", "--json"]).await;
        assert_eq!((enrolled.code, made(&site)), (Some(0), (1, 1, 0)), "{style:?} {envelope} {enrolled:?}");
        let revoked = site.run(&["zops", "revoke", "--json"]).await;
        assert_eq!((revoked.code, made(&site)), (Some(0), (1, 0, 0)), "{style:?} {envelope} {revoked:?}");
        let sent =
            site.server.world().calls_of("GET /zops/api/v1/projects").next().unwrap().request.headers["authorization"]
                .clone();
        assert_eq!(sent.starts_with("Token "), style == HeaderStyle::Word, "nothing but `Token` before it");
    }
}

#[tokio::test]
async fn a_step_that_fails_is_undone_and_the_consumer_that_stays_is_told_and_used_again() {
    let _limit = limit();
    let calls = ["POST /zops/api/v1/projects", "POST /zops/api/v1/consumer-tokens"];
    for call in calls {
        for kind in [FAILED, NeighbourFaultKind::CutAfter, NeighbourFaultKind::Garbage] {
            let site = Site::new().await;
            site.server.befall(call, 1, kind.clone());
            let failed = site.run(&["zops", "enroll", "--json"]).await;
            assert_eq!((failed.code, made(&site)), (Some(1), (1, 0, 0)), "{call} {kind:?} {failed:?}");
            let consumer = site.server.world().zops.consumers.first().unwrap().clone();
            assert_eq!((&failed.json()["consumer"], &failed.json()["enrolled"]), (&json!(consumer), &json!(false)));
            assert!(failed.stderr.contains(&format!("the consumer {consumer} stays")), "{failed:?}");
            assert_eq!(site.run(&["zops", "status", "--json"]).await.json()["enrolled"], json!(false));
            let again = site.run(&["zops", "enroll", "--json"]).await;
            assert_eq!((again.code, made(&site)), (Some(0), (1, 1, 0)), "{call} {kind:?} {again:?}");
        }
    }
}

#[tokio::test]
async fn nothing_is_made_where_something_is_missing() {
    let _limit = limit();
    let site = Site::new().await;
    site.server.world().zops.catalogue = vec!["push".to_owned()];
    let ended = site.run(&["zops", "enroll", "--json"]).await;
    assert!(ended.code == Some(1) && ended.json()["error"].as_str().unwrap().contains("no service roc"), "{ended:?}");
    site.server.world().zops.projects[0].0 = "another".to_owned();
    let ended = site.run(&["zops", "enroll", "--json"]).await;
    assert!(ended.code == Some(1) && ended.json()["error"].as_str().unwrap().contains(PROJECT), "{ended:?}");
    site.server.befall("GET /zops/api/v1/services", 1, FAILED);
    site.run(&["zops", "enroll"]).await;
    site.server.befall("GET /zops/api/v1/me", 2, NeighbourFaultKind::Status { code: 401, retry_after: None });
    site.run(&["zops", "enroll"]).await;
    site.server.world().zops.account.1 = "another".to_owned();
    let ended = site.run(&["zops", "enroll", "--json"]).await;
    assert!(ended.code == Some(1) && ended.json()["error"].as_str().unwrap().contains("password_file"), "{ended:?}");
    assert_eq!((made(&site), site.count("POST /zops/api/v1/consumers")), ((0, 0, 0), 0), "and every session is closed");
}

#[tokio::test]
async fn a_session_that_ends_midway_is_opened_again_once() {
    let _limit = limit();
    for code in [400, 401] {
        let site = Site::new().await;
        let kind = NeighbourFaultKind::Status { code, retry_after: None };
        site.server.befall("POST /zops/api/v1/consumers", 1, kind);
        let ended = site.run(&["zops", "enroll", "--json"]).await;
        assert_eq!((ended.code, made(&site)), (Some(0), (1, 1, 0)), "{code} {ended:?}");
        assert_eq!(site.count("POST /zops/api/v1/session"), 2);
    }
}

#[tokio::test]
async fn a_revocation_that_fails_keeps_the_identity_for_the_next_one() {
    let _limit = limit();
    let site = Site::new().await;
    assert_eq!(site.run(&["zops", "enroll"]).await.code, Some(0));
    site.server.befall("DELETE /zops/api/v1/projects", 1, FAILED);
    assert_eq!(site.run(&["zops", "revoke", "--json"]).await.code, Some(1));
    assert_eq!(site.run(&["zops", "status", "--json"]).await.json()["enrolled"], json!(true));
    assert_eq!(site.run(&["zops", "revoke", "--json"]).await.code, Some(0));
    assert_eq!(made(&site), (1, 0, 0));
}

#[tokio::test]
async fn a_box_that_is_enrolled_already_gets_a_new_token_and_stays_the_same_consumer() {
    let _limit = limit();
    let site = Site::new().await;
    let first = site.run(&["zops", "enroll", "--json"]).await.json();
    site.server.world().faults.push(NeighbourFault {
        call: "POST /zops/api/v1/consumer-tokens",
        after: 1,
        times: 1,
        kind: FAILED,
    });
    let second = site.run(&["zops", "enroll", "--json"]).await.json();
    assert_eq!((&second["consumer"], made(&site)), (&first["consumer"], (1, 1, 0)));
    assert_eq!(site.server.world().zops.tokens.len(), 2);
    assert_eq!(site.run(&["zops", "enroll"]).await.code, Some(1));
    assert_eq!(made(&site), (1, 1, 0), "a renewal that fails costs nothing");
}

#[tokio::test]
async fn an_enrolment_that_is_killed_at_any_moment_is_ended_by_the_next_one() {
    let _limit = limit_of_campaign("PRINT_RELEASE_KILLS");
    let kills = std::env::var("PRINT_RELEASE_KILLS").map_or(KILLS, |number| number.parse().unwrap());
    let mut dice = dice();
    let site = Site::new().await;
    for kill in 0..kills {
        let before = site.server.world().calls.len();
        let mut child = site.command(&["zops", "enroll"]).spawn().unwrap();
        let wanted = before + 1 + usize::try_from(dice.roll(7)).unwrap();
        soon(site.server.wait_until(|world| world.calls.len() >= wanted)).await;
        // This waits for no event: the random moment is the point of the test.
        tokio::time::sleep(Duration::from_micros(dice.roll(5_000))).await;
        child.kill().await.unwrap();
        let ended = site.run(&["zops", "enroll", "--json"]).await;
        assert_eq!((ended.code, made(&site).1), (Some(0), 1), "kill {kill}: {ended:?}");
        assert_eq!(site.run(&["zops", "revoke"]).await.code, Some(0), "kill {kill}");
        assert_eq!(made(&site).1, 0, "kill {kill}");
    }
    Row::held("kills of an enrolment at zops", usize::try_from(kills).unwrap()).tell();
}
