//! `directory orbix push`: the whole file or nothing, person by person, through failures, throttling and kills.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use print_release_agent::demo::directory::NeighbourFaultKind;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use super::Site;
use crate::support::table::Row;
use crate::support::{dice, limit, limit_of_campaign, soon};

const PUSH: &str = "POST /orbix/v1/groups/users";
const HEADER: &str = "group,description,logon,domain,name,email";
/// The number of kills, unless `PRINT_RELEASE_KILLS` says otherwise.
const KILLS: u32 = 20;
/// The memberships of one request in the campaign of kills: five groups of ten users.
const OF_A_REQUEST: usize = 50;

/// Writes `people.csv` with these lines below its header.
fn people(site: &Site, lines: &[String]) -> String {
    let path = site.file("people.csv");
    fs::write(&path, format!("{HEADER}\n{}\n", lines.join("\n"))).unwrap();
    path
}

fn two_groups() -> Vec<String> {
    [
        "Group 1,Group 1 description,carlos.silva,NDD,Carlos Silva,carlos.silva@ndd.tech",
        "Group 1,,joao.souza,NDD,João Souza,",
        "Group 2,,maria.oliveira,NDD,,maria.oliveira@ndd.tech",
        "Group 2,,joana.pereira,NDD,Joana Pereira,joana.pereira@ndd.tech",
    ]
    .map(str::to_owned)
    .to_vec()
}

/// Users in groups of different sizes.
fn crowd(users: usize, groups: usize) -> Vec<String> {
    let line = |user: usize| format!("Group {:03},,user{user},NDD,User {user},", user % groups);
    (0..users).map(line).collect()
}

/// The numbers of memberships that the server took once, and more than once.
fn taken(site: &Site) -> (usize, usize) {
    let world = site.server.world();
    let twice = world.orbix.taken.values().filter(|times| **times > 1).count();
    (world.orbix.taken.len(), twice)
}

#[tokio::test]
async fn people_are_pushed_once_and_a_completed_file_sends_nothing() {
    let _limit = limit();
    let site = Site::new().await;
    let file = people(&site, &two_groups());
    let plan = site.run(&["orbix", "push", &file, "--dry-run", "--json"]).await;
    assert_eq!((plan.code, site.count(PUSH)), (Some(0), 0), "{plan:?}");
    assert!(!fs::exists(site.file("people.csv.journal")).unwrap(), "a dry run writes nothing");
    let pushed = site.run(&["orbix", "push", &file, "--json"]).await;
    assert_eq!((pushed.code, site.count(PUSH)), (Some(0), 1), "{pushed:?}");
    assert_eq!(pushed.json()["plan"], plan.json()["plan"], "the plan is the same both times");
    assert_eq!(pushed.json()["plan"]["total"], 4);
    assert_eq!(pushed.json()["result"]["total"], 4);
    assert_eq!(pushed.json()["result"]["groups"][1]["group"], "Group 2");
    {
        let world = site.server.world();
        assert_eq!(world.orbix.descriptions["Group 1"].as_deref(), Some("Group 1 description"));
        assert_eq!(world.orbix.people["NDD//joao.souza"], (Some("João Souza".to_owned()), None), "no empty e-mail");
    }
    let again = site.run(&["orbix", "push", &file, "--json"]).await;
    assert_eq!((again.code, site.count(PUSH)), (Some(0), 1), "{again:?}");
    assert_eq!((&again.json()["result"]["already"], &again.json()["result"]["succeeded"]), (&json!(4), &json!(0)));
}

#[tokio::test]
async fn the_plan_for_a_person_is_the_same_with_and_without_sending() {
    let _limit = limit();
    let site = Site::new().await;
    let file = people(&site, &two_groups());
    let (dry, real) =
        (site.run(&["orbix", "push", "--dry-run", &file]).await, site.run(&["orbix", "push", &file]).await);
    let plan: Vec<_> = dry.stdout.lines().collect();
    assert!(plan.len() == 3 && plan[0].contains(" 4 users"), "{dry:?}");
    assert_eq!(plan, real.stdout.lines().take(3).collect::<Vec<_>>());
}

#[tokio::test]
async fn one_bad_line_sends_nothing_and_is_told_with_its_number() {
    let _limit = limit();
    let site = Site::new().await;
    let mut lines = two_groups();
    lines[1] = "Group 1,,joão souza,NDD,,".to_owned();
    let file = people(&site, &lines);
    for arguments in [["--dry-run"], ["--json"]] {
        let ended = site.run(&[&["orbix", "push", &file], &arguments[..]].concat()).await;
        assert_eq!((ended.code, site.count(PUSH)), (Some(1), 0), "{ended:?}");
        assert!(ended.text().contains("line 3: logon has the accent"), "{ended:?}");
    }
    let ended = site.run(&["orbix", "push", &file, "--json"]).await;
    assert_eq!(ended.json()["problems"][0]["line"], 3);
}

#[tokio::test]
async fn a_partial_failure_is_told_person_by_person_and_only_those_are_sent_again() {
    let _limit = limit();
    let site = Site::new().await;
    site.server.world().orbix.refused_logons.insert("joana.pereira".to_owned());
    site.server.world().orbix.refused_groups.insert("Group 1".to_owned());
    let file = people(&site, &two_groups());
    let ended = site.run(&["orbix", "push", &file, "--json"]).await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let failures = ended.json()["result"]["failures"].clone();
    let expected = json!([
        { "line": 2, "group": "Group 1", "user": "NDD//carlos.silva", "error": "Group Name is too long." },
        { "line": 3, "group": "Group 1", "user": "NDD//joao.souza", "error": "Group Name is too long." },
        { "line": 5, "group": "Group 2", "user": "NDD//joana.pereira", "error": "Logon is not valid." },
    ]);
    assert_eq!(failures, expected);
    let text = site.run(&["orbix", "push", &file]).await.text();
    assert!(text.contains("NDD//joana.pereira in \"Group 2\": Logon is not valid."), "{text}");
    let last = site.server.world().calls.last().unwrap().request.body.clone();
    let last: Value = serde_json::from_slice(&last).unwrap();
    let logons = last["Groups"].as_array().unwrap().iter().flat_map(|group| group["Users"].as_array().unwrap());
    let logons: BTreeSet<_> = logons.map(|user| user["Logon"].as_str().unwrap()).collect();
    assert_eq!(logons, ["carlos.silva", "joao.souza", "joana.pereira"].into(), "exactly those that failed");
    site.server.world().orbix.refused_logons.clear();
    site.server.world().orbix.refused_groups.clear();
    assert_eq!(site.run(&["orbix", "push", &file]).await.code, Some(0));
    assert_eq!(taken(&site), (4, 0));
}

#[tokio::test]
async fn a_refusal_of_all_is_told_and_the_other_requests_are_sent_all_the_same() {
    let _limit = limit();
    let site = Site::new().await;
    site.server.world().orbix.refused_groups.extend((0..5).map(|group| format!("Group {group:03}")));
    let file = people(&site, &crowd(8, 8));
    let ended = site.run(&["orbix", "push", &file, "--json"]).await;
    let result = ended.json()["result"].clone();
    assert_eq!((ended.code, &result["failed"], &result["succeeded"]), (Some(1), &json!(5), &json!(3)), "{ended:?}");
    assert_eq!(result["failures"][0]["error"], "All groups are invalid.");
}

#[tokio::test]
async fn twenty_thousand_users_in_three_hundred_groups_go_one_request_at_a_time() {
    let _limit = limit();
    let site = Site::new().await;
    let mut lines = crowd(17_500, 299);
    lines.extend((0..2_500).map(|user| format!("Everybody,,all{user},NDD,,")));
    let file = people(&site, &lines);
    let ended = site.run(&["orbix", "push", &file, "--json"]).await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!((&ended.json()["plan"]["total"], taken(&site)), (&json!(20_000), (20_000, 0)));
    assert_eq!(ended.json()["result"]["groups"].as_array().unwrap().len(), 300);
    assert!(ended.stderr.contains("20000 of 20000 users"), "{}", ended.stderr);
}

#[tokio::test]
async fn a_service_that_asks_for_patience_gets_it() {
    let _limit = limit();
    let site = Site::new().await;
    let file = people(&site, &two_groups());
    for code in [429, 503] {
        site.server.befall(PUSH, 1, NeighbourFaultKind::Status { code, retry_after: Some(1) });
    }
    let begun = std::time::Instant::now();
    let ended = site.run(&["orbix", "push", &file]).await;
    assert_eq!((ended.code, site.count(PUSH), taken(&site)), (Some(0), 3, (4, 0)), "{ended:?}");
    assert!(begun.elapsed() >= Duration::from_secs(2), "it waits as long as it is told to");
}

#[tokio::test]
async fn an_answer_that_is_none_ends_the_push_and_the_next_one_goes_on_there() {
    let _limit = limit();
    let failed = |code, retry_after| NeighbourFaultKind::Status { code, retry_after };
    for kind in [
        NeighbourFaultKind::CutBefore,
        NeighbourFaultKind::CutAfter,
        NeighbourFaultKind::Garbage,
        failed(500, None),
        failed(403, None),
        failed(429, Some(100_000)),
    ] {
        let site = Site::new().await;
        let file = people(&site, &crowd(12, 12));
        site.server.world().faults.push(print_release_agent::demo::directory::NeighbourFault {
            call: PUSH,
            after: 1,
            times: 1,
            kind: kind.clone(),
        });
        let ended = site.run(&["orbix", "push", &file, "--json"]).await;
        let result = ended.json()["result"].clone();
        assert_eq!(
            (ended.code, &result["succeeded"], &result["not_sent"]),
            (Some(1), &json!(5), &json!(2)),
            "{kind:?} {ended:?}"
        );
        assert_eq!(site.run(&["orbix", "push", &file]).await.code, Some(0), "{kind:?}");
        let first_five = site.server.world().orbix.taken.values().take(5).all(|times| *times == 1);
        assert!(first_five && taken(&site).0 == 12, "{kind:?}: what was acknowledged is never sent again");
    }
}

#[tokio::test]
async fn a_service_that_is_not_there_is_told_apart() {
    let _limit = limit();
    let site = Site::new().await;
    let file = people(&site, &two_groups());
    let config = fs::read_to_string(site.config()).unwrap();
    fs::write(site.config(), config.replace(&format!("{}/orbix", site.server.base()), "http://127.0.0.1:9/orbix"))
        .unwrap();
    let ended = site.run(&["orbix", "push", &file, "--json"]).await;
    assert_eq!((ended.code, &ended.json()["result"]["succeeded"]), (Some(69), &json!(0)), "{ended:?}");
}

#[tokio::test]
async fn a_bearer_comes_from_the_token_service_and_is_replaced_when_it_is_refused() {
    let _limit = limit();
    let site = Site::new().await;
    let client = "token_url = \"BASE/auth/connect/token\"\nclient_id = \"orbix-client\"\n\
                  client_secret_file = \"DIR/orbix-secret\"\nscope = \"a b\"";
    site.configure(client, "");
    let file = people(&site, &two_groups());
    site.server.befall(PUSH, 1, NeighbourFaultKind::Status { code: 401, retry_after: None });
    let ended = site.run(&["orbix", "push", &file, "--json"]).await;
    assert_eq!((ended.code, site.count("POST /auth/connect/token")), (Some(0), 2), "{ended:?}");
    let form = site.server.world().calls[0].request.body.clone();
    let form = String::from_utf8(form).unwrap();
    assert_eq!(
        form,
        "grant_type=client_credentials&scope=a+b&client_id=orbix-client&client_secret=orbix-secret-0123456789"
    );
    site.server.world().orbix.client.1 = "another".to_owned();
    people(&site, &crowd(1, 1));
    let refused = site.run(&["orbix", "push", &file, "--json"]).await;
    assert!(refused.code == Some(1) && refused.json()["error"].as_str().unwrap().contains("client_secret_file"));
}

#[tokio::test]
async fn a_secret_that_others_may_read_sends_nothing() {
    let _limit = limit();
    let site = Site::new().await;
    let file = people(&site, &two_groups());
    fs::set_permissions(site.file("orbix-token"), std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let ended = site.run(&["orbix", "push", &file, "--json"]).await;
    assert_eq!((ended.code, site.count("POST")), (Some(64), 0), "{ended:?}");
    assert!(ended.json()["error"].as_str().unwrap().contains("chmod 600"), "{ended:?}");
}

#[tokio::test]
async fn people_come_from_standard_input_too() {
    let _limit = limit();
    let site = Site::new().await;
    for (expected, requests) in [("4 taken now", 1), ("4 taken before", 1)] {
        let mut child = site.command(&["orbix", "push", "-"]).stdin(std::process::Stdio::piped()).spawn().unwrap();
        let text = format!("{HEADER}\n{}", two_groups().join("\n"));
        child.stdin.take().unwrap().write_all(text.as_bytes()).await.unwrap();
        let output = child.wait_with_output().await.unwrap();
        let stdout = String::from_utf8(output.stdout).unwrap();
        assert!(stdout.contains(expected), "{stdout}");
        assert_eq!(site.count(PUSH), requests);
    }
}

#[tokio::test]
async fn a_push_that_is_killed_at_any_moment_is_ended_by_the_next_one() {
    let _limit = limit_of_campaign("PRINT_RELEASE_KILLS");
    let kills = std::env::var("PRINT_RELEASE_KILLS").map_or(KILLS, |number| number.parse().unwrap());
    let mut dice = dice();
    let site = Site::new().await;
    let groups = 40;
    let file = people(&site, &crowd(400, groups));
    for kill in 0..kills {
        let before = site.count(PUSH);
        let mut child = site.command(&["orbix", "push", &file, "--json"]).spawn().unwrap();
        let wanted = before + 1 + usize::try_from(dice.roll(3)).unwrap();
        let arrived = site.server.wait_until(|world| world.calls_of(PUSH).count() >= wanted);
        let ended = soon(async {
            tokio::select! {
                () = arrived => None,
                status = child.wait() => Some(status.unwrap()),
            }
        });
        if ended.await.is_some() {
            // Everything was sent: begin with new people.
            let round = site.server.world().orbix.taken.len();
            let lines = crowd(400, groups).into_iter().map(|line| line.replace("user", &format!("user{round}x")));
            people(&site, &lines.collect::<Vec<_>>());
            continue;
        }
        // This waits for no event: the random moment is the point of the test.
        tokio::time::sleep(Duration::from_micros(dice.roll(4_000))).await;
        child.kill().await.unwrap();
        let acknowledged = fs::read_to_string(site.file("people.csv.journal")).unwrap_or_default();
        let lines = acknowledged.lines().filter(|line| line.ends_with('}')).count();
        assert!(lines <= site.count(PUSH), "kill {kill}: no more is noted than was sent");
    }
    assert_eq!(site.run(&["orbix", "push", &file]).await.code, Some(0));
    let twice: usize = site.server.world().orbix.taken.values().map(|times| times - 1).sum();
    let calls = site.count(PUSH);
    assert_eq!(site.run(&["orbix", "push", &file]).await.code, Some(0));
    assert_eq!(site.count(PUSH), calls, "a completed file sends nothing");
    let most = usize::try_from(kills).unwrap() * OF_A_REQUEST;
    assert!(twice <= most, "only the request without an answer is sent again: {twice} of {most}");
    Row::held("kills of a push to Orbix", usize::try_from(kills).unwrap()).tell();
}
