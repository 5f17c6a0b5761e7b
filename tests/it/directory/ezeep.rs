//! `directory ezeep`: pairing, single-use tokens through faults and kills, lists, groups.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::time::Duration;

use print_release_agent::demo::directory::{
    EzeepGroup, EzeepUser, IdSlash, NeighbourFaultKind, NeighbourWorld, NextLink,
};
use print_release_agent::demo::process::AgentProcess;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use super::Site;
use crate::support::mosquitto::free_port;
use crate::support::table::Row;
use crate::support::{dice, limit, limit_of_campaign, program, soon};

const TOKEN: &str = "POST /account/oauth/access_token/";
/// The number of kills, unless `PRINT_RELEASE_KILLS` says otherwise.
const KILLS: u32 = 20;
/// A kill comes within so many microseconds after a request for tokens arrived: while it is answered, stored or used.
const KILL_WINDOW_US: u64 = 15_000;

/// A site that is paired, with users in groups.
async fn paired() -> Site {
    let site = Site::new().await;
    {
        let ezeep = &mut site.server.world().ezeep;
        for (number, name) in ["Everybody", "Some", "Nobody"].iter().enumerate() {
            ezeep.groups.push(EzeepGroup { id: format!("g{number}"), name: (*name).to_owned(), local_printing: false });
        }
        let groups = |user: usize| {
            if user.is_multiple_of(5) { vec!["g0".to_owned(), "g1".to_owned()] } else { vec!["g0".to_owned()] }
        };
        ezeep.users.extend((0..45).map(|user| EzeepUser { id: format!("u{user:02}"), groups: groups(user) }));
    }
    pair(&site).await;
    site
}

async fn pair(site: &Site) {
    let code = site.server.world().ezeep.code();
    let ended = site.run(&["ezeep", "pair", "--code", &code]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

fn expire(site: &Site) {
    site.server.world().ezeep.expire();
}

fn ids(document: &Value, key: &str) -> Vec<String> {
    document[key].as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect()
}

fn groups_of(site: &Site, user: &str) -> Vec<String> {
    let world = site.server.world();
    world.ezeep.users.iter().find(|row| row.id == user).unwrap().groups.clone()
}

/// No refresh token was shown to the service a second time.
fn shown_once(world: &NeighbourWorld) -> bool {
    let shown = &world.ezeep.shown_refresh_tokens;
    shown.iter().collect::<BTreeSet<_>>().len() == shown.len()
}

/// One GET by a browser, and the status of its answer.
async fn browse(port: u16, target: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let request = format!("GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer.split(' ').nth(1).unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_browser_brings_the_code_and_only_with_the_state_of_this_pairing() {
    let _limit = limit();
    let site = Site::new().await;
    let port = free_port();
    let redirect = format!("http://127.0.0.1:{port}/back");
    site.configure("", &format!("redirect_uri = \"{redirect}\""));
    site.server.world().ezeep.redirect_uri.clone_from(&redirect);
    let mut child = site.command(&["ezeep", "pair"]).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let url = loop {
        let line = soon(lines.next_line()).await.unwrap().expect("it prints the address");
        if line.trim().starts_with("http") {
            break line.trim().to_owned();
        }
    };
    let url = reqwest::Url::parse(&url).unwrap();
    let of = |name: &str| url.query_pairs().find(|(key, _)| key == name).unwrap().1.into_owned();
    assert_eq!(
        (url.path(), of("client_id"), of("redirect_uri")),
        ("/account/oauth/authorize", "ezeep-client".into(), redirect)
    );
    let (code, state) = (site.server.world().ezeep.code(), of("state"));
    for wrong in [format!("/back?code={code}&state=x"), format!("/back?code={code}")] {
        assert_eq!(soon(browse(port, &wrong)).await, "400", "{wrong}");
    }
    assert_eq!(soon(browse(port, "/favicon.ico")).await, "404");
    assert_eq!(soon(browse(port, &format!("/back?code={code}&state={state}"))).await, "200");
    assert!(soon(child.wait()).await.unwrap().success());
    assert_eq!(site.count(TOKEN), 1, "no wrong code was redeemed");
    assert_eq!(site.run(&["ezeep", "groups"]).await.code, Some(0));
}

#[tokio::test]
async fn a_headless_box_takes_the_pasted_address_and_refuses_that_of_another_pairing() {
    let _limit = limit();
    let site = Site::new().await;
    site.configure("", "redirect_uri = \"https://www.ezeep.com\"");
    site.server.world().ezeep.redirect_uri = "https://www.ezeep.com".to_owned();
    let begun = site.run(&["ezeep", "pair", "--json"]).await;
    let url = reqwest::Url::parse(begun.json()["authorize_url"].as_str().unwrap()).unwrap();
    let state = url.query_pairs().find(|(key, _)| key == "state").unwrap().1.into_owned();
    let code = site.server.world().ezeep.code();
    for wrong in [format!("https://www.ezeep.com/?code={code}&state=x"), format!("https://www.ezeep.com/?code={code}")]
    {
        let ended = site.run(&["ezeep", "pair", "--json", "--code", &wrong]).await;
        assert_eq!((ended.code, site.count(TOKEN)), (Some(1), 0), "{ended:?}");
        assert!(!ended.text().contains(&code), "{ended:?}");
    }
    let right = format!("https://www.ezeep.com/?code={code}&state={state}");
    assert_eq!(site.run(&["ezeep", "pair", "--code", &right]).await.code, Some(0));
    let used = site.run(&["ezeep", "pair", "--code", &code]).await;
    assert!(used.code == Some(1) && used.stderr.contains("good once"), "{used:?}");
    assert_eq!(site.run(&["ezeep", "groups"]).await.code, Some(0), "a code that fails leaves the pairing as it was");
}

#[tokio::test]
async fn lists_are_walked_to_their_end_at_the_configured_address_and_each_row_counts_once() {
    let _limit = limit();
    let site = paired().await;
    for next in [NextLink::Documented, NextLink::Own, NextLink::Shifted] {
        site.server.world().ezeep.next = next;
        let ended = site.run(&["ezeep", "users", "--json"]).await;
        let users = ids(&ended.json(), "users");
        assert_eq!((users.len(), users.iter().collect::<BTreeSet<_>>().len()), (45, 45), "{next:?} {ended:?}");
        assert_eq!(ended.json()["count"], 45);
    }
    let some = site.run(&["ezeep", "users", "--group", "g1", "--json"]).await;
    assert_eq!(ids(&some.json(), "users").len(), 9, "{some:?}");
    assert_eq!(ids(&site.run(&["ezeep", "groups", "--json"]).await.json(), "groups"), ["g0", "g1", "g2"]);
    let world = site.server.world();
    assert!(world.calls_of("GET").all(|call| call.request.body.is_empty()), "no GET has a body");
}

#[tokio::test]
async fn a_link_to_another_host_or_in_a_circle_ends_the_list_and_nobody_else_is_asked() {
    let _limit = limit();
    let site = paired().await;
    let stranger = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    stranger.set_nonblocking(true).unwrap();
    site.server.world().ezeep.next = NextLink::Foreign(stranger.local_addr().unwrap().port());
    let ended = site.run(&["ezeep", "users", "--json"]).await;
    assert!(ended.code == Some(1) && ended.json()["error"].as_str().unwrap().contains("another host"), "{ended:?}");
    assert!(stranger.accept().is_err_and(|error| error.kind() == ErrorKind::WouldBlock), "nobody else is asked");
    site.server.world().ezeep.next = NextLink::Loop;
    let ended = site.run(&["ezeep", "users", "--json"]).await;
    assert!(ended.code == Some(1) && ended.json()["error"].as_str().unwrap().contains("circle"), "{ended:?}");
}

#[tokio::test]
async fn groups_are_created_shown_and_deleted_and_a_dry_run_only_says_so() {
    let _limit = limit();
    let site = paired().await;
    let plan = site.run(&["ezeep", "group-create", "print", "--json", "--dry-run"]).await;
    assert_eq!((plan.code, site.count("POST /printing")), (Some(0), 0), "{plan:?}");
    let created = site.run(&["ezeep", "group-create", "--json", "print"]).await;
    assert_eq!(created.json()["plan"], plan.json()["plan"]);
    let id = created.json()["result"]["id"].as_str().unwrap().to_owned();
    for slash in [IdSlash::Either, IdSlash::Redirect] {
        site.server.world().ezeep.id_slash = slash;
        let shown = site.run(&["ezeep", "group", &id, "--json"]).await;
        assert_eq!(shown.json()["name"], "Print", "{slash:?} {shown:?}");
        assert_eq!(site.run(&["ezeep", "user", "u01", "--json"]).await.json()["groups"], json!([{ "group_id": "g0" }]));
    }
    let plan = site.run(&["ezeep", "group-delete", &id, "--dry-run", "--json"]).await;
    assert_eq!((plan.code, site.count("DELETE")), (Some(0), 0), "{plan:?}");
    let deleted = site.run(&["ezeep", "group-delete", &id, "--json"]).await;
    assert_eq!((deleted.code, &deleted.json()["plan"]), (Some(0), &plan.json()["plan"]), "{deleted:?}");
    let gone = site.run(&["ezeep", "group", &id, "--json"]).await;
    assert_eq!(gone.code, Some(1), "{gone:?}");
}

#[tokio::test]
async fn a_user_who_is_added_keeps_every_other_group() {
    let _limit = limit();
    let site = paired().await;
    let plan = site.run(&["ezeep", "group-add", "--json", "--dry-run", "g1", "u01", "u05", "nobody"]).await;
    let expected = json!([{ "user": "u01", "step": "add" }, { "user": "u05", "step": "already" },
        { "user": "nobody", "step": "not-found" }]);
    assert_eq!((plan.code, &plan.json()["plan"], site.count("PUT")), (Some(0), &expected, 0), "{plan:?}");
    let added = site.run(&["ezeep", "group-add", "g1", "u01", "u05", "nobody", "--json"]).await;
    assert_eq!((added.code, &added.json()["plan"], site.count("PUT")), (Some(1), &expected, 1), "{added:?}");
    let words: Vec<_> = added.json()["result"].as_array().unwrap().iter().map(|row| row["result"].clone()).collect();
    assert_eq!(words, ["added", "already", "failed"]);
    assert_eq!(groups_of(&site, "u01"), ["g0", "g1"]);
    let put = site.server.world().calls_of("PUT").next().unwrap().request.clone();
    assert_eq!(put.body, br#"{"groups":[{"group_id":"g0"},{"group_id":"g1"}]}"#, "the groups and nothing else");
}

#[tokio::test]
async fn a_change_without_effect_is_told_with_the_user() {
    let _limit = limit();
    let site = paired().await;
    site.server.world().ezeep.stubborn.push("u02".to_owned());
    let ended = site.run(&["ezeep", "group-add", "g1", "u02", "u03", "--json"]).await;
    assert!(ended.code == Some(1) && ended.stderr.contains("u02") && ended.stderr.contains("no effect"), "{ended:?}");
    assert_eq!(groups_of(&site, "u03"), ["g0", "g1"], "the others are added all the same");
}

#[tokio::test]
async fn a_401_is_one_refresh_and_one_repeat() {
    let _limit = limit();
    let site = paired().await;
    expire(&site);
    assert_eq!(site.run(&["ezeep", "groups"]).await.code, Some(0));
    assert_eq!((site.count("GET"), site.count(TOKEN)), (2, 2));
    site.server.befall("GET", usize::MAX, NeighbourFaultKind::Status { code: 401, retry_after: None });
    let ended = site.run(&["ezeep", "groups", "--json"]).await;
    assert_eq!((ended.code, site.count("GET"), site.count(TOKEN)), (Some(1), 4, 3), "{ended:?}");
}

#[tokio::test]
async fn a_lost_answer_costs_the_pairing_and_the_command_says_so() {
    let _limit = limit();
    for kind in [NeighbourFaultKind::CutAfter, NeighbourFaultKind::Garbage, NeighbourFaultKind::CutBefore] {
        let site = paired().await;
        expire(&site);
        site.server.befall(TOKEN, 1, kind.clone());
        for _ in 0..2 {
            let ended = site.run(&["ezeep", "groups", "--json"]).await;
            assert!(
                ended.code == Some(1) && ended.json()["error"].as_str().unwrap().contains("pair again"),
                "{kind:?} {ended:?}"
            );
        }
        assert!(shown_once(&site.server.world()), "{kind:?}: a token whose answer was lost is not shown again");
        pair(&site).await;
        assert_eq!(site.run(&["ezeep", "groups"]).await.code, Some(0), "{kind:?}");
    }
}

#[tokio::test]
async fn a_service_that_is_away_or_busy_costs_no_pairing() {
    let _limit = limit();
    let site = paired().await;
    expire(&site);
    site.server.befall(TOKEN, 1, NeighbourFaultKind::Status { code: 429, retry_after: Some(1) });
    assert_eq!(site.run(&["ezeep", "groups"]).await.code, Some(0));
    let config = fs::read_to_string(site.config()).unwrap();
    expire(&site);
    site.server.befall(TOKEN, 1, NeighbourFaultKind::Status { code: 429, retry_after: Some(100_000) });
    site.server.befall(TOKEN, 1, NeighbourFaultKind::Status { code: 503, retry_after: None });
    for _ in 0..2 {
        let ended = site.run(&["ezeep", "groups"]).await;
        assert!(ended.code == Some(1) && !ended.stderr.contains("pair again"), "{ended:?}");
    }
    assert_eq!(site.run(&["ezeep", "groups"]).await.code, Some(0));
    fs::write(site.config(), config.replace("ezeep-client", "another-client")).unwrap();
    let ended = site.run(&["ezeep", "groups"]).await;
    assert!(ended.code == Some(1) && ended.stderr.contains("another client_id"), "{ended:?}");
}

#[tokio::test]
async fn a_disk_that_takes_nothing_spends_no_token() {
    let _limit = limit();
    let site = paired().await;
    expire(&site);
    // A directory in the way of the new file stops even root.
    fs::create_dir(site.file("state/ezeep.json.new")).unwrap();
    let ended = site.run(&["ezeep", "groups", "--json"]).await;
    assert_eq!((ended.code, site.count(TOKEN)), (Some(74), 1), "{ended:?}");
    fs::remove_dir(site.file("state/ezeep.json.new")).unwrap();
    assert_eq!(site.run(&["ezeep", "groups"]).await.code, Some(0));
}

#[tokio::test]
async fn many_commands_at_once_use_each_refresh_token_once() {
    let _limit = limit();
    let site = paired().await;
    for _ in 0..5 {
        expire(&site);
        let runs: Vec<_> = (0..6).map(|_| site.command(&["ezeep", "groups"]).spawn().unwrap()).collect();
        for run in runs {
            let output = soon(run.wait_with_output()).await.unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
    }
    let world = site.server.world();
    assert!(shown_once(&world));
    assert_eq!(world.calls_of(TOKEN).count(), 1 + 5, "one refresh is enough for all");
}

#[tokio::test]
async fn killed_at_any_moment_of_a_refresh_the_box_stays_paired_unless_the_answer_was_lost() {
    let _limit = limit_of_campaign("PRINT_RELEASE_KILLS");
    let kills = std::env::var("PRINT_RELEASE_KILLS").map_or(KILLS, |number| number.parse().unwrap());
    let mut dice = dice();
    let site = paired().await;
    let mut lost = 0;
    for kill in 0..kills {
        expire(&site);
        let before = site.count(TOKEN);
        let mut child = site.command(&["ezeep", "groups"]).spawn().unwrap();
        if kill % 4 != 3 {
            soon(site.server.wait_until(|world| world.calls_of(TOKEN).count() > before)).await;
        }
        // This waits for no event: the random moment is the point of the test.
        tokio::time::sleep(Duration::from_micros(dice.roll(KILL_WINDOW_US))).await;
        child.kill().await.unwrap();
        let asked = site.count(TOKEN) > before;
        let ended = site.run(&["ezeep", "groups"]).await;
        if ended.code != Some(0) {
            assert!(asked, "kill {kill}: a pairing is lost only with an answer: {ended:?}");
            assert!(ended.stderr.contains("pair again"), "kill {kill}: {ended:?}");
            lost += 1;
            pair(&site).await;
        }
    }
    println!("{lost} of {kills} kills came between the answer and the disk");
    assert_eq!(site.run(&["ezeep", "groups"]).await.code, Some(0));
    Row::held("kills during a refresh at ezeep", usize::try_from(kills).unwrap()).tell();
}

#[tokio::test]
async fn the_running_agent_keeps_an_idle_pairing_alive() {
    let _limit = limit();
    let site = paired().await;
    site.server.world().ezeep.lifetime = Duration::from_secs(2);
    pair(&site).await;
    let directory = fs::read_to_string(site.config()).unwrap();
    let key = site.secret("api-key", "key");
    let rest = format!(
        "[server]\nurl = \"http://127.0.0.1:9/api/v1\"\napi_key_file = \"{}\"\n[[station]]\nname = \"lobby\"\n\
         [station.reader]\ntype = \"serial\"\ndevice = \"{}\"\n[station.printer]\noutput_port = \"192.0.2.10\"\n\
         [http]\nlisten = \"127.0.0.1:0\"\n",
        key.display(),
        site.file("no-reader")
    );
    let socket = format!("[agent]\ncontrol_socket = \"{}\"\n", site.file("control.sock"));
    fs::write(site.config(), directory.replace("[agent]\n", &socket) + &rest).unwrap();
    let log = fs::File::create(site.file("log")).unwrap();
    let agent = AgentProcess::start(program(), &site.config(), log.into()).await.unwrap();
    let before = site.count(TOKEN);
    soon(site.server.wait_until(|world| world.calls_of(TOKEN).count() >= before + 3)).await;
    assert!(shown_once(&site.server.world()));
    assert_eq!(site.run(&["ezeep", "groups"]).await.code, Some(0), "three lifetimes later");
    soon(agent.terminate()).await.unwrap();
}

#[tokio::test]
async fn the_map_shows_who_has_no_login_name_and_orbix_gets_the_others() {
    let _limit = limit();
    let site = paired().await;
    site.server.world().ezeep.users.truncate(3);
    let dry = site.run(&["ezeep", "map", "--dry-run", "--json"]).await;
    assert_eq!(dry.json()["without_login"], json!(["u00", "u01", "u02"]), "{dry:?}");
    let map = site.file("state/ezeep-map.csv");
    assert!(!fs::exists(&map).unwrap());
    assert_eq!(site.run(&["ezeep", "map"]).await.code, Some(0));
    assert_eq!(fs::read_to_string(&map).unwrap(), "login,user\n,u00\n,u01\n,u02\n");
    fs::write(&map, "login,user\nNDD\\ana,u00\n,u01\nNDD\\old,u99\n").unwrap();
    let shown = site.run(&["ezeep", "map", "--json"]).await.json();
    assert_eq!((&shown["without_login"], &shown["unknown_users"]), (&json!(["u01", "u02"]), &json!(["u99"])));
    site.configure("token_file = \"DIR/orbix-token\"", "");
    let pushed = site.run(&["orbix", "push", "--from", "ezeep", "--json"]).await;
    assert_eq!(pushed.code, Some(0), "{pushed:?}");
    assert!(pushed.stderr.contains("2 users of ezeep are not sent"), "{pushed:?}");
    let taken: Vec<_> = site.server.world().orbix.taken.keys().cloned().collect();
    assert_eq!(taken, [("Everybody".to_owned(), "NDD//ana".to_owned()), ("Some".to_owned(), "NDD//ana".to_owned())]);
}
