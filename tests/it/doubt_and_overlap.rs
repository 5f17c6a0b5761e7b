//! Releases and records in doubt beside other things: taps that overlap, patience, full disks, reloads, gauges.

use std::time::Duration;

use print_release_agent::demo::process::AgentProcess;
use print_release_agent::demo::scene::Scene;
use print_release_agent::demo::server::{Call, Kind, ServerDocument};
use rustix::process::Signal;
use serde_json::Value;

use crate::support::disk::Disk;
use crate::support::{attic, limit, log, program, wait_until};

const LINUS: &str = "1234567";

/// A little longer than the debounce time of a scene: the same card is a new tap after it.
const CARD_AWAY: Duration = Duration::from_millis(200);

const FORBIDDEN: Kind = Kind::Status { code: 403, retry_after: None };

fn lobby<'a>(status: &'a Value, key: &str) -> &'a Value {
    &status["stations"]["lobby"][key]
}

/// A scene with one document, of linus; `request_timeout` is a second, so a request settles in three.
async fn one_document(sections: &[&str]) -> (Scene, AgentProcess, String) {
    let scene = Scene::set(program()).await.unwrap();
    scene.configure("", sections).unwrap();
    let agent = scene.start().await.unwrap();
    scene.server.world().documents.clear();
    let uuid = scene.submit("linus", "In doubt.pdf");
    (scene, agent, uuid)
}

/// A tap of linus at the lobby whose release is cut and done two seconds later, and whose status may not be asked: it is
/// left in doubt at once.
async fn left_in_doubt(scene: &Scene, agent: &AgentProcess) {
    scene.befall(Call::Release, 1, Kind::Late(Duration::from_secs(2)));
    scene.reader.hold(LINUS).unwrap();
    scene.server.wait_until(|world| world.count(Call::Release) == 1).await;
    scene.befall(Call::List, usize::MAX, FORBIDDEN);
    let status = scene.status(agent, |status| !lobby(status, "last").is_null()).await.unwrap();
    scene.server.world().faults.clear();
    assert_eq!(lobby(&status, "last")["event"], "unknown", "not the case that this is about: {}", log(scene));
}

/// A printed document is recorded in the next 20 seconds, or never.
async fn recorded_soon(scene: &Scene, uuid: &str) {
    drop(tokio::time::timeout(Duration::from_secs(20), scene.recorded(uuid)).await);
}

/// A later tap takes the place of a release in doubt, and its turn comes after its deadline. The first request printed.
#[tokio::test]
async fn a_release_in_doubt_is_not_forgotten_by_a_tap_that_takes_it_over_and_never_sends() {
    let _limit = limit();
    let (scene, agent, uuid) = one_document(&["[station.release]\ndeadline = \"2s\"\nparallel = 1"]).await;
    left_in_doubt(&scene, &agent).await;
    {
        let mut world = scene.server.world();
        let slow = ServerDocument::new("linus", "Slow.pdf", 2, world.now());
        world.documents.insert(0, slow);
    }
    // The first document of the second tap takes longer than the deadline.
    scene.befall(Call::Release, 1, Kind::Delay(Duration::from_secs(3_600)));
    tokio::time::sleep(CARD_AWAY).await;
    scene.reader.hold(LINUS).unwrap();
    recorded_soon(&scene, &uuid).await;
    assert_eq!(scene.counts(&uuid), (1, 1), "{}", log(&scene));
}

/// The release in doubt is one of the lobby, where records are wanted; a tap at the attic, where none are, wants its document.
#[tokio::test]
async fn a_print_of_a_recording_station_is_recorded_whoever_finds_out() {
    let _limit = limit();
    let scene = Scene::set(program()).await.unwrap();
    let (reader, section) = attic(&scene);
    scene.configure("", &[&section, "[station.release]\nrecord = \"never\""]).unwrap();
    let agent = scene.start().await.unwrap();
    scene.server.world().documents.clear();
    let uuid = scene.submit("linus", "In doubt.pdf");
    left_in_doubt(&scene, &agent).await;
    reader.hold(LINUS).unwrap();
    recorded_soon(&scene, &uuid).await;
    assert_eq!(scene.counts(&uuid), (1, 1), "{}", log(&scene));
}

/// The same with records at both stations.
#[tokio::test]
async fn a_record_names_the_port_at_which_the_paper_came_out() {
    let _limit = limit();
    let scene = Scene::set(program()).await.unwrap();
    let (reader, section) = attic(&scene);
    scene.configure("", &[&section.replace("DEMO0001", "ATTIC001")]).unwrap();
    {
        let mut world = scene.server.world();
        let mut port = world.ports[0].clone();
        (port.id, port.name, port.address, port.device_serial) =
            (2, "Attic".to_owned(), "192.0.2.11".to_owned(), "ATTIC001".to_owned());
        world.ports.push(port);
    }
    let agent = scene.start().await.unwrap();
    scene.server.world().documents.clear();
    let uuid = scene.submit("linus", "In doubt.pdf");
    left_in_doubt(&scene, &agent).await;
    reader.hold(LINUS).unwrap();
    recorded_soon(&scene, &uuid).await;
    let world = scene.server.world();
    assert_eq!((world.releases.len(), world.records.len()), (1, 1), "{}", log(&scene));
    assert_eq!(world.records[0].output_port_name.as_deref(), Some(world.releases[0].port.as_str()));
}

#[tokio::test]
async fn a_server_that_asks_for_an_hours_patience_does_not_hold_the_station_up_for_an_hour() {
    let _limit = limit();
    let (scene, agent, _) = one_document(&["[station.release]\ndeadline = \"5s\""]).await;
    scene.submit("grace", "Behind.pdf");
    scene.befall(Call::Release, 1, Kind::Status { code: 429, retry_after: Some(3_600) });
    scene.present("linus").unwrap();
    scene.server.wait_until(|world| world.count(Call::Release) == 1).await;
    scene.present("grace").unwrap();
    let ended = scene.status(&agent, |status| !lobby(status, "last").is_null());
    let ended = tokio::time::timeout(Duration::from_secs(20), ended).await;
    assert!(ended.is_ok(), "neither tap has ended four deadlines later\n{}", log(&scene));
}

/// On a full disk a station without records releases without an entry.
#[tokio::test]
async fn a_release_without_an_entry_is_not_sent_again_while_the_first_may_be_at_work() {
    let _limit = limit();
    let Some((scene, agent, uuid, _disk)) = on_a_full_disk(false).await else { return };
    left_in_doubt(&scene, &agent).await;
    tokio::time::sleep(CARD_AWAY).await;
    scene.reader.hold(LINUS).unwrap();
    scene.status(&agent, |status| lobby(status, "released") == 1).await.unwrap();
    assert!(scene.server.world().repeated.is_empty(), "{uuid} was asked for twice\n{}", log(&scene));
}

/// The run before was killed in the middle of a release, and this one starts on a full disk: it cannot read yet which were
/// left open.
#[tokio::test]
async fn a_release_of_an_earlier_run_is_not_sent_again_unsettled_on_a_full_disk() {
    let _limit = limit();
    let Some((scene, agent, uuid, _disk)) = on_a_full_disk(true).await else { return };
    scene.reader.hold(LINUS).unwrap();
    scene.status(&agent, |status| !lobby(status, "last").is_null()).await.unwrap();
    scene.server.wait_until(|world| !world.releases.is_empty()).await;
    assert!(scene.server.world().repeated.is_empty(), "{uuid} was asked for twice\n{}", log(&scene));
}

/// A station without records on a full disk; `killed`: in the middle of a release that is done later.
async fn on_a_full_disk(killed: bool) -> Option<(Scene, AgentProcess, String, Disk)> {
    let disk = Disk::new(12)?;
    let scene = Scene::set(program()).await.unwrap();
    std::os::unix::fs::symlink(disk.path(), scene.dir().join("state")).unwrap();
    scene.configure("", &["[station.release]\nrecord = \"never\""]).unwrap();
    let agent = scene.start().await.unwrap();
    scene.server.world().documents.clear();
    let uuid = scene.submit("linus", "In doubt.pdf");
    if killed {
        scene.befall(Call::Release, 1, Kind::Late(Duration::from_millis(2_900)));
        scene.reader.hold(LINUS).unwrap();
        scene.server.wait_until(|world| world.count(Call::Release) == 1).await;
        agent.kill().await.unwrap();
    } else {
        agent.terminate().await.unwrap();
    }
    drop(std::fs::remove_file(disk.path().join("reserve")));
    disk.fill(0);
    let agent = scene.start().await.unwrap();
    Some((scene, agent, uuid, disk))
}

/// A scene with one record whose first answer is lost, and that is sent again without a look; the server is gone since.
async fn resending() -> (Scene, AgentProcess) {
    let scene = Scene::set(program()).await.unwrap();
    let config = std::fs::read_to_string(scene.config()).unwrap();
    std::fs::write(scene.config(), config.replace("[outbox]", "[outbox]\nin_doubt = \"resend\"")).unwrap();
    let agent = scene.start().await.unwrap();
    scene.server.world().documents.clear();
    let uuid = scene.submit("linus", "In doubt.pdf");
    scene.befall(Call::Record, usize::MAX, Kind::HangAfter);
    scene.present("linus").unwrap();
    scene.recorded(&uuid).await;
    scene.server.stop();
    scene.status(&agent, |status| status["outbox"]["in_doubt"] == 1).await.unwrap();
    (scene, agent)
}

/// The record may have arrived, and nothing changes that while the server is away.
#[tokio::test]
async fn a_record_in_doubt_is_shown_so_until_it_is_known() {
    let _limit = limit();
    let (scene, agent) = resending().await;
    let denied = scene.status(&agent, |status| status["outbox"]["in_doubt"] == 0);
    let denied = tokio::time::timeout(Duration::from_secs(8), denied).await;
    assert!(denied.is_err(), "it is in doubt still, and the status denies it: {}", denied.unwrap().unwrap()["outbox"]);
}

#[tokio::test]
async fn what_did_not_reach_the_server_is_no_possible_duplicate() {
    let _limit = limit();
    let (scene, agent) = resending().await;
    // Some attempts long: nothing but the agent knows of an attempt that reaches nobody.
    tokio::time::sleep(Duration::from_secs(8)).await;
    let metrics = scene.get(&agent, "/metrics").await.unwrap();
    let counted = metrics.lines().find_map(|line| line.strip_prefix("print_release_possible_duplicates_total "));
    assert!(
        counted.unwrap().parse::<u64>().unwrap() <= 1,
        "one record, no server, and so many duplicates: {counted:?}"
    );
}

/// The tap is held through an outage, so it does not end by itself.
#[tokio::test]
async fn a_tap_that_a_reload_cuts_off_is_told() {
    let _limit = limit();
    let (scene, agent, _) = one_document(&["[station.offline]\npolicy = \"hold\""]).await;
    scene.server.stop();
    scene.present("linus").unwrap();
    scene.status(&agent, |status| lobby(status, "phase") == "busy").await.unwrap();
    agent.signal(Signal::HUP).unwrap();
    wait_until(|| log(&scene).matches("reader connected").count() == 2).await;
    let ended = |status: &Value| !lobby(status, "last").is_null() && lobby(status, "feedback") != "reading";
    let told = tokio::time::timeout(Duration::from_secs(5), scene.status(&agent, ended)).await;
    let status = scene.status(&agent, |_| true).await.unwrap();
    assert!(told.is_ok(), "one tap was counted, and none has ended: {}", status["stations"]["lobby"]);
}

/// The person taps twice, because the first login takes its time; the second tap is quicker and takes the document.
#[tokio::test]
async fn one_document_of_a_person_who_taps_twice_is_counted_once() {
    let _limit = limit();
    let (scene, agent, uuid) = one_document(&[]).await;
    scene.befall(Call::Login, 1, Kind::Delay(Duration::from_millis(800)));
    scene.present("linus").unwrap();
    tokio::time::sleep(CARD_AWAY).await;
    scene.present("linus").unwrap();
    let status = scene.status(&agent, |status| lobby(status, "released") == 1).await.unwrap();
    assert_eq!(scene.counts(&uuid).0, 1);
    assert_eq!(lobby(&status, "failed"), 0, "{}", log(&scene));
}

/// `outbox.retry_max` is the longest wait, whatever the header says.
#[tokio::test]
async fn a_record_is_delivered_though_the_server_once_asked_for_an_hours_patience() {
    let _limit = limit();
    let (scene, agent, uuid) = one_document(&[]).await;
    scene.befall(Call::Record, 1, Kind::Status { code: 429, retry_after: Some(3_600) });
    scene.tap(&agent, "linus").await.unwrap();
    recorded_soon(&scene, &uuid).await;
    assert_eq!(scene.counts(&uuid), (1, 1), "{}", log(&scene));
}

/// The second tap lists while the first still releases a document that stays at the server.
#[tokio::test]
async fn two_taps_of_one_person_where_documents_stay_both_end() {
    let _limit = limit();
    let (scene, agent, uuid) = one_document(&["[station.release]\nretain = true\nparallel = 1"]).await;
    scene.befall(Call::Release, 1, Kind::Delay(Duration::from_millis(700)));
    scene.present("linus").unwrap();
    scene.server.wait_until(|world| world.count(Call::Release) == 1).await;
    tokio::time::sleep(CARD_AWAY).await;
    scene.present("linus").unwrap();
    let both = |status: &Value| lobby(status, "taps") == 2 && lobby(status, "phase") == "ready";
    scene.status(&agent, both).await.unwrap();
    scene.settled(&agent).await.unwrap();
    assert_eq!(scene.counts(&uuid), (1, 1), "{}", log(&scene));
}

/// Three taps of one person at two stations for one document, the first of which is left in doubt: printed once, recorded
/// once.
#[tokio::test]
async fn three_taps_at_two_stations_for_one_document_print_and_record_it_once() {
    let _limit = limit();
    let scene = Scene::set(program()).await.unwrap();
    let (reader, section) = attic(&scene);
    scene.configure("", &[&section]).unwrap();
    let agent = scene.start().await.unwrap();
    scene.server.world().documents.clear();
    let uuid = scene.submit("linus", "In doubt.pdf");
    left_in_doubt(&scene, &agent).await;
    reader.hold(LINUS).unwrap();
    tokio::time::sleep(CARD_AWAY).await;
    scene.present("linus").unwrap();
    recorded_soon(&scene, &uuid).await;
    scene.status(&agent, |status| lobby(status, "phase") == "ready").await.unwrap();
    scene.settled(&agent).await.unwrap();
    assert_eq!(scene.counts(&uuid), (1, 1), "{}", log(&scene));
    assert!(scene.server.world().repeated.is_empty());
}

/// A reload, and then a stop, in the middle of five taps of three people: nothing twice, nothing unrecorded.
#[tokio::test]
async fn five_taps_and_a_reload_or_a_stop_between_lose_and_double_nothing() {
    let _limit = limit();
    for stop in [false, true] {
        let scene = Scene::set(program()).await.unwrap();
        scene.configure("", &["[station.release]\nparallel = 1"]).unwrap();
        let agent = scene.start().await.unwrap();
        scene.befall(Call::Release, usize::MAX, Kind::Delay(Duration::from_millis(300)));
        for card in ["0025489530", "2490285352", LINUS, "0025489530", "2490285352"] {
            scene.reader.hold(card).unwrap();
        }
        scene.server.wait_until(|world| world.count(Call::Release) > 1).await;
        let agent = if stop {
            assert_eq!(agent.terminate().await.unwrap().code(), Some(0), "{}", log(&scene));
            scene.start().await.unwrap()
        } else {
            agent.signal(Signal::HUP).unwrap();
            wait_until(|| log(&scene).matches("reader connected").count() == 2).await;
            agent
        };
        scene.server.world().faults.clear();
        scene.settled(&agent).await.unwrap();
        for card in ["0025489530", "2490285352", LINUS] {
            scene.hold(&agent, card).await.unwrap();
        }
        scene.server.wait_until(|world| world.records.len() == 8).await;
        scene.settled(&agent).await.unwrap();
        let world = scene.server.world();
        assert!(world.repeated.is_empty(), "{}", log(&scene));
        assert_eq!((world.releases.len(), world.records.len()), (8, 8), "stop: {stop}\n{}", log(&scene));
    }
}

/// Five taps and 300 strangers' cards in a second while the server is away and taps are held: the five print when it is
/// back, and every card is counted once and ended once.
#[tokio::test]
async fn a_flood_of_cards_while_five_taps_are_held_harms_nothing() {
    let _limit = limit();
    let (scene, agent, uuid) = one_document(&["[station.offline]\npolicy = \"hold\""]).await;
    scene.server.stop();
    scene.present("linus").unwrap();
    for number in 0..300 {
        scene.reader.hold(&format!("9{number:06}")).unwrap();
    }
    scene.status(&agent, |status| lobby(status, "taps") == 301).await.unwrap();
    scene.server.restart().await.unwrap();
    scene.recorded(&uuid).await;
    scene.settled(&agent).await.unwrap();
    assert_eq!(scene.counts(&uuid), (1, 1), "{}", log(&scene));
    let metrics = scene.get(&agent, "/metrics").await.unwrap();
    let taps = metrics.lines().filter(|line| line.starts_with("print_release_taps_total"));
    let sum: u64 = taps.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum();
    assert_eq!(sum, 301, "{metrics}");
}

/// A record in doubt grows older than `outbox.max_age` and is given up; none follows.
#[tokio::test]
async fn the_gauge_of_records_in_doubt_falls_when_the_record_is_given_up() {
    let _limit = limit();
    let scene = Scene::set(program()).await.unwrap();
    let config = std::fs::read_to_string(scene.config()).unwrap();
    let outbox = "[outbox]\nin_doubt = \"resend\"\nmax_age = \"1s\"";
    std::fs::write(scene.config(), config.replace("[outbox]", outbox)).unwrap();
    let agent = scene.start().await.unwrap();
    scene.server.world().documents.clear();
    let uuid = scene.submit("linus", "In doubt.pdf");
    scene.befall(Call::Record, usize::MAX, Kind::CutAfter);
    scene.present("linus").unwrap();
    scene.recorded(&uuid).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    // Any release makes room; this one fails, so that no record follows.
    scene.submit("grace", "Refused.pdf");
    scene.befall(Call::Release, 1, Kind::Status { code: 400, retry_after: None });
    scene.present("grace").unwrap();
    let empty = |status: &Value| status["outbox"]["pending"] == 0 && lobby(status, "failed") == 1;
    let status = scene.status(&agent, empty).await.unwrap();
    assert_eq!(status["outbox"]["lost"], 1, "not the case that this is about: {status}");
    let fallen = scene.status(&agent, |status| status["outbox"]["in_doubt"] == 0);
    let fallen = tokio::time::timeout(Duration::from_secs(10), fallen).await;
    assert!(fallen.is_ok(), "the outbox is empty, and a record of it is in doubt: {}", status["outbox"]);
}
