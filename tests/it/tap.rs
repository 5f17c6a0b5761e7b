//! The way of a tap with the real program: a card on a pseudo-terminal, documents at a server, kills and signals between.

use print_release_agent::demo::process::AgentProcess;
use print_release_agent::demo::scene::Scene;
use print_release_agent::demo::server::{Call, Kind};
use rustix::process::Signal;
use serde_json::Value;

use crate::support::disk::Disk;
use crate::support::{attic, limit, log, playing, program, queue, wait_until};

/// The card numbers of the demo's users.
const CARDS: [&str; 3] = ["0025489530", "2490285352", "1234567"];

fn lobby<'a>(status: &'a Value, key: &str) -> &'a Value {
    &status["stations"]["lobby"][key]
}

#[tokio::test]
async fn a_card_releases_what_waits_for_its_owner_and_nothing_else() {
    let _limit = limit();
    let (scene, agent) = playing().await;
    let event = scene.tap(&agent, "grace").await.unwrap();
    assert_eq!((event["event"].as_str(), event["documents"].as_u64()), (Some("released"), Some(3)));
    scene.settled(&agent).await.unwrap();
    let world = scene.server.world();
    assert!(world.releases.iter().all(|release| release.user_name == "grace" && release.port == "Lobby"));
    assert_eq!((world.releases.len(), world.records.len()), (3, 3));
    assert_eq!(world.waiting("ada").count(), 4);
}

#[tokio::test]
async fn a_job_record_says_what_was_printed_and_whose_it_was() {
    let _limit = limit();
    let (scene, agent) = playing().await;
    scene.tap(&agent, "grace").await.unwrap();
    scene.settled(&agent).await.unwrap();
    let world = scene.server.world();
    let record = world.records.iter().find(|record| record.document_name == "Compiler manual.pdf").unwrap();
    assert_eq!((record.user_name.as_str(), record.total_pages, record.provider_id), ("grace", 48, 65));
    assert_eq!(record.output_port_name.as_deref(), Some("Lobby"));
}

#[tokio::test]
async fn three_cards_one_after_the_other_all_get_their_documents() {
    let _limit = limit();
    let (scene, agent) = playing().await;
    scene.befall(Call::Login, 1, Kind::Delay(std::time::Duration::from_millis(500)));
    for card in CARDS {
        scene.reader.hold(card).unwrap();
    }
    let status = scene.status(&agent, |status| lobby(status, "released") == 8).await.unwrap();
    assert_eq!(lobby(&status, "taps"), 3);
}

#[tokio::test]
async fn the_next_person_is_logged_in_at_once_and_their_documents_follow_those_of_the_one_before() {
    let _limit = limit();
    let (scene, agent) = playing().await;
    scene.befall(Call::Release, 1, Kind::Delay(std::time::Duration::from_secs(3)));
    scene.present("ada").unwrap();
    scene.server.wait_until(|world| world.count(Call::Release) > 0).await;
    scene.present("grace").unwrap();
    scene.server.wait_until(|world| world.count(Call::List) == 2).await;
    let released = |scene: &Scene| {
        let world = scene.server.world();
        world.releases.iter().map(|release| release.user_name.clone()).collect::<Vec<_>>()
    };
    let early = released(&scene);
    assert!(early.len() < 4 && early.iter().all(|user| user == "ada"), "listed while ada's still leave: {early:?}");
    scene.status(&agent, |status| lobby(status, "released") == 7).await.unwrap();
    assert_eq!(released(&scene), [vec!["ada"; 4], vec!["grace"; 3]].concat());
    scene.settled(&agent).await.unwrap();
}

#[tokio::test]
async fn nothing_that_is_released_goes_unrecorded_through_a_kill() {
    let _limit = limit();
    let (scene, agent) = playing().await;
    let uuid = scene.submit("linus", "Between release and record.pdf");
    scene.befall(Call::Record, usize::MAX, Kind::CutBefore);
    scene.tap(&agent, "linus").await.unwrap();
    agent.kill().await.unwrap();
    assert_eq!(scene.counts(&uuid), (1, 0));
    scene.server.world().faults.clear();
    let agent = scene.start().await.unwrap();
    scene.recorded(&uuid).await;
    scene.settled(&agent).await.unwrap();
    assert_eq!(scene.counts(&uuid), (1, 1));
}

#[tokio::test]
async fn a_kill_before_the_release_reached_the_server_prints_nothing_and_says_so() {
    let _limit = limit();
    let (scene, agent) = playing().await;
    let uuid = scene.submit("linus", "Never sent.pdf");
    scene.befall(Call::Release, usize::MAX, Kind::CutBefore);
    scene.present("linus").unwrap();
    scene.until(|world| world.count(Call::Release) > 0).await.unwrap();
    agent.kill().await.unwrap();
    scene.server.world().faults.clear();
    let agent = scene.start().await.unwrap();
    let status = scene.status(&agent, |status| lobby(status, "failed") == 2).await.unwrap();
    assert_eq!(lobby(&status, "last")["event"], "failed");
    assert_eq!(scene.counts(&uuid), (0, 0));
    let event = scene.tap(&agent, "linus").await.unwrap();
    assert_eq!(event["documents"], 2, "the person taps again");
    assert_eq!(scene.counts(&uuid).0, 1);
}

#[tokio::test]
async fn sigterm_during_a_tap_ends_it_first_and_loses_nothing() {
    let _limit = limit();
    let (scene, agent) = playing().await;
    let uuid = scene.submit("linus", "Slow.pdf");
    scene.befall(Call::Release, usize::MAX, Kind::Delay(std::time::Duration::from_millis(600)));
    scene.present("linus").unwrap();
    scene.until(|world| world.count(Call::Release) > 0).await.unwrap();
    let status = agent.terminate().await.unwrap();
    assert_eq!(status.code(), Some(0), "{}", log(&scene));
    assert_eq!(scene.counts(&uuid).0, 1);
    scene.server.world().faults.clear();
    let agent = scene.start().await.unwrap();
    scene.recorded(&uuid).await;
    scene.settled(&agent).await.unwrap();
    assert_eq!(scene.counts(&uuid), (1, 1));
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let _limit = limit();
    let scene = Scene::set(program()).await.unwrap();
    // A tap that is held outlasts the first signal: without the second the agent would wait for it.
    scene.configure("", &["[station.offline]\npolicy = \"hold\""]).unwrap();
    let agent = scene.start().await.unwrap();
    scene.befall(Call::Login, usize::MAX, Kind::HangAfter);
    scene.present("linus").unwrap();
    scene.until(|world| world.count(Call::Login) > 0).await.unwrap();
    agent.signal(Signal::TERM).unwrap();
    wait_for_log(&scene, "stopping").await;
    agent.signal(Signal::TERM).unwrap();
    assert_eq!(agent.wait().await.unwrap().code(), Some(1));
}

#[tokio::test]
async fn sighup_takes_a_good_configuration_and_refuses_a_bad_one_with_its_reason() {
    let _limit = limit();
    let (scene, agent) = playing().await;
    scene.configure("", &["[log]\nlevel = \"loud\""]).unwrap();
    agent.signal(Signal::HUP).unwrap();
    wait_for_log(&scene, "not reloaded").await;
    assert!(log(&scene).contains("[log] level"), "{}", log(&scene));
    let port = crate::support::mosquitto::free_port();
    let config = std::fs::read_to_string(scene.config()).unwrap();
    let fixed = config.replace("127.0.0.1:0", &format!("127.0.0.1:{port}")).replace("[log]\nlevel = \"loud\"", "");
    std::fs::write(scene.config(), fixed).unwrap();
    for round in 2..4 {
        agent.signal(Signal::HUP).unwrap();
        let starts = |scene: &Scene| log(scene).matches("started").count();
        wait_until(|| starts(&scene) == round && log(&scene).matches("reader connected").count() == round).await;
    }
    scene.present("linus").unwrap();
    scene.until(|world| !world.releases.is_empty()).await.unwrap();
    assert_eq!(agent.terminate().await.unwrap().code(), Some(0), "{}", log(&scene));
}

#[tokio::test]
async fn a_reload_goes_on_counting() {
    let _limit = limit();
    let (scene, agent) = playing().await;
    let first = scene.tap(&agent, "linus").await.unwrap();
    agent.signal(Signal::HUP).unwrap();
    wait_until(|| log(&scene).matches("reader connected").count() == 2).await;
    let second = scene.tap(&agent, "grace").await.unwrap();
    assert!(second["seq"].as_u64() > first["seq"].as_u64(), "{first} {second}");
    let status = scene.status(&agent, |status| lobby(status, "released") == 4).await.unwrap();
    assert_eq!(lobby(&status, "taps"), 2);
}

#[tokio::test]
async fn an_address_that_is_taken_is_told_at_a_reload_and_the_agent_goes_on_as_it_was() {
    let _limit = limit();
    let (scene, agent) = playing().await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let config = std::fs::read_to_string(scene.config()).unwrap();
    let address = taken.local_addr().unwrap().to_string();
    std::fs::write(scene.config(), config.replace("127.0.0.1:0", &address)).unwrap();
    agent.signal(Signal::HUP).unwrap();
    wait_for_log(&scene, "not reloaded").await;
    assert!(log(&scene).contains(&format!("{address} (http.listen)")), "{}", log(&scene));
    // The page keeps its address, also through a reload that changes something else.
    std::fs::write(scene.config(), config.replace("debounce = \"100ms\"", "debounce = \"101ms\"")).unwrap();
    agent.signal(Signal::HUP).unwrap();
    wait_until(|| log(&scene).matches("reader connected").count() == 2).await;
    assert_eq!(scene.tap(&agent, "linus").await.unwrap()["event"], "released", "{}", log(&scene));
}

#[tokio::test]
async fn a_token_service_that_is_away_says_nothing_of_the_print_server() {
    let _limit = limit();
    let scene = Scene::set(program()).await.unwrap();
    let config = std::fs::read_to_string(scene.config()).unwrap();
    let nobody = format!("http://127.0.0.1:{}/oauth/v1", crate::support::mosquitto::free_port());
    std::fs::write(scene.config(), config.replace(&scene.server.oauth_url(), &nobody)).unwrap();
    let agent = scene.start().await.unwrap();
    scene.befall(Call::List, 1, Kind::ExpiredToken);
    assert_eq!(scene.tap(&agent, "linus").await.unwrap()["event"], "released", "{}", log(&scene));
    assert_eq!(scene.server.world().count(Call::Token), 1, "the print server gave the new token");
    assert!(!log(&scene).contains("server not reachable"), "{}", log(&scene));
}

#[tokio::test]
async fn a_megabyte_of_garbage_from_the_reader_harms_nothing() {
    let _limit = limit();
    let (scene, agent) = playing().await;
    let garbage: Vec<u8> = (0..1_000_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let scene =
        tokio::task::spawn_blocking(move || scene.reader.send(&garbage).map(|()| scene)).await.unwrap().unwrap();
    scene.reader.send(b"\r").unwrap();
    let released = scene.status(&agent, |status| lobby(status, "feedback") == "read-error");
    released.await.unwrap();
    // Some of the garbage may have looked like cards, which the server is still asked for. The real card comes through all the same.
    scene.present("linus").unwrap();
    scene.status(&agent, |status| lobby(status, "released") == 1).await.unwrap();
    assert!(scene.server.world().releases.iter().all(|release| release.user_name == "linus"));
}

#[tokio::test]
async fn a_reader_that_goes_is_told_at_once_and_works_again_when_it_comes_back() {
    let _limit = limit();
    let (mut scene, agent) = playing().await;
    for _ in 0..3 {
        scene.reader.unplug();
        let status = scene.status(&agent, |status| lobby(status, "reader") == "disconnected").await.unwrap();
        assert_eq!(lobby(&status, "phase"), "fault");
        scene.reader.plug_again().unwrap();
        scene.status(&agent, |status| lobby(status, "reader") == "connected").await.unwrap();
    }
    let event = scene.tap(&agent, "linus").await.unwrap();
    assert_eq!(event["event"], "released");
}

#[tokio::test]
async fn an_agent_without_a_server_says_so_and_works_when_it_is_there() {
    let _limit = limit();
    let (scene, agent) = playing().await;
    scene.server.stop();
    let event = scene.tap(&agent, "linus").await.unwrap();
    assert_eq!((event["event"].as_str(), event["reason"].as_str()), (Some("failed"), Some("server-unreachable")));
    scene.server.restart().await.unwrap();
    scene.status(&agent, |status| status["server"]["reachable"] == true).await.unwrap();
    let event = scene.tap(&agent, "linus").await.unwrap();
    assert_eq!(event["event"], "released");
}

/// Waits until the log says something.
async fn wait_for_log(scene: &Scene, words: &str) {
    wait_until(|| log(scene).contains(words)).await;
}

/// A scene whose station keeps taps for five seconds while the server is away.
async fn holding() -> (Scene, AgentProcess) {
    let scene = Scene::set(program()).await.unwrap();
    scene.configure("", &["[station.offline]\npolicy = \"hold\"\n[station.release]\ndeadline = \"5s\""]).unwrap();
    let agent = scene.start().await.unwrap();
    (scene, agent)
}

fn last(status: &Value) -> &Value {
    lobby(status, "last")
}

/// The server is back and somebody else prints: nothing of linus', whose tap came too late, comes out before he taps again.
async fn linus_prints_only_with_another_tap(scene: &Scene, agent: &AgentProcess) {
    let event = scene.tap(agent, "grace").await.unwrap();
    assert_eq!(event["documents"], 3, "{}", log(scene));
    assert!(scene.server.world().releases.iter().all(|release| release.user_name == "grace"), "{}", log(scene));
    assert_eq!(scene.server.world().waiting("linus").count(), 1);
    let event = scene.tap(agent, "linus").await.unwrap();
    assert_eq!((event["event"].as_str(), event["documents"].as_u64()), (Some("released"), Some(1)));
}

#[tokio::test]
async fn a_tap_that_is_held_through_an_outage_prints_when_the_server_is_back_in_time_and_the_person_is_told() {
    let _limit = limit();
    let (scene, agent) = holding().await;
    scene.server.stop();
    scene.present("linus").unwrap();
    let kept = |status: &Value| status["server"]["reachable"] == false && lobby(status, "feedback") == "reading";
    scene.status(&agent, kept).await.unwrap();
    scene.server.restart().await.unwrap();
    let status = scene.status(&agent, |status| !last(status).is_null()).await.unwrap();
    assert_eq!((lobby(&status, "feedback"), &last(&status)["event"]), (&"done".into(), &"released".into()));
    assert_eq!((lobby(&status, "released"), lobby(&status, "failed")), (&1.into(), &0.into()));
}

#[tokio::test]
async fn a_tap_that_is_held_beyond_its_deadline_never_prints_and_the_person_is_told() {
    let _limit = limit();
    let (scene, agent) = holding().await;
    scene.server.stop();
    scene.present("linus").unwrap();
    let status = scene.status(&agent, |status| !last(status).is_null()).await.unwrap();
    assert_eq!((lobby(&status, "feedback"), &last(&status)["event"]), (&"server-unreachable".into(), &"failed".into()));
    scene.server.restart().await.unwrap();
    linus_prints_only_with_another_tap(&scene, &agent).await;
}

#[tokio::test]
async fn an_outage_after_the_login_and_beyond_the_deadline_prints_nothing_later() {
    let _limit = limit();
    for call in [Call::Login, Call::List] {
        let (scene, agent) = holding().await;
        // The server keeps this call without an answer until it is stopped.
        scene.befall(call, usize::MAX, Kind::HangAfter);
        scene.present("linus").unwrap();
        scene.until(|world| world.count(call) > 0).await.unwrap();
        scene.server.stop();
        scene.server.world().faults.clear();
        let status = scene.status(&agent, |status| !last(status).is_null()).await.unwrap();
        assert_eq!(lobby(&status, "feedback"), "server-unreachable", "{call:?}");
        scene.server.restart().await.unwrap();
        linus_prints_only_with_another_tap(&scene, &agent).await;
    }
}

#[tokio::test]
async fn a_tap_that_is_held_is_forgotten_by_a_kill_and_by_a_stop() {
    let _limit = limit();
    for kill in [true, false] {
        let (scene, agent) = holding().await;
        scene.server.stop();
        scene.present("linus").unwrap();
        scene.status(&agent, |status| lobby(status, "phase") == "busy").await.unwrap();
        if kill {
            agent.kill().await.unwrap();
        } else {
            assert_eq!(agent.terminate().await.unwrap().code(), Some(0), "{}", log(&scene));
        }
        scene.server.restart().await.unwrap();
        let agent = scene.start().await.unwrap();
        linus_prints_only_with_another_tap(&scene, &agent).await;
    }
}

/// A delay that is longer than anybody waits: the client leaves, and the work is never done.
const NEVER: Kind = Kind::Delay(std::time::Duration::from_secs(3_600));

#[tokio::test]
async fn of_two_stations_that_want_the_same_document_the_second_is_told_that_the_first_has_it() {
    let _limit = limit();
    let scene = Scene::set(program()).await.unwrap();
    let (reader, section) = attic(&scene);
    scene.configure("", &[&section]).unwrap();
    let agent = scene.start().await.unwrap();
    let uuid = scene.server.world().waiting("linus").next().unwrap().uuid.clone();
    scene.befall(Call::Release, 1, NEVER);
    scene.present("linus").unwrap();
    scene.until(|world| world.count(Call::Release) == 1).await.unwrap();
    reader.hold(CARDS[2]).unwrap();
    let last = |status: &Value, station: &str| status["stations"][station]["last"].clone();
    let status = scene.status(&agent, |status| !last(status, "attic").is_null()).await.unwrap();
    let event = last(&status, "attic");
    assert_eq!((event["event"].as_str(), event["reason"].as_str()), (Some("failed"), Some("at-another-station")));
    assert_eq!(status["stations"]["attic"]["feedback"], "refused");
    let status = scene.status(&agent, |status| !last(status, "lobby").is_null()).await.unwrap();
    assert_eq!(last(&status, "lobby")["event"], "released", "{}", log(&scene));
    scene.settled(&agent).await.unwrap();
    assert_eq!(scene.counts(&uuid), (1, 1));
    // The first station has let go: the next document may be released at either.
    let uuid = scene.submit("linus", "Another.pdf");
    reader.hold(CARDS[2]).unwrap();
    scene.recorded(&uuid).await;
    assert_eq!(scene.counts(&uuid), (1, 1));
}

/// A scene whose journal lies on a small disk of its own, and that disk; only root can have one.
async fn on_a_small_disk(release: &str) -> Option<(Scene, Disk)> {
    let disk = Disk::new(12)?;
    let scene = Scene::set(program()).await.unwrap();
    std::os::unix::fs::symlink(disk.path(), scene.dir().join("state")).unwrap();
    scene.configure("", &[&format!("[station.release]\n{release}")]).unwrap();
    Some((scene, disk))
}

/// Fills the disk so far that the journal cannot even be opened.
fn fill(disk: &Disk) -> std::path::PathBuf {
    drop(std::fs::remove_file(disk.path().join("reserve")));
    disk.fill(0)
}

#[tokio::test]
async fn on_a_full_disk_only_a_station_that_records_nothing_goes_on_releasing_and_it_is_counted() {
    let _limit = limit();
    for (record, released) in [("always", false), ("never", true)] {
        let Some((scene, disk)) = on_a_small_disk(&format!("record = \"{record}\"")).await else { return };
        scene.start().await.unwrap().terminate().await.unwrap();
        let filler = fill(&disk);
        let agent = scene.start().await.unwrap();
        let event = scene.tap(&agent, "linus").await.unwrap();
        let expected = if released { ("released", 1) } else { ("failed", 0) };
        assert_eq!(
            (event["event"].as_str().unwrap(), event["documents"].as_u64().unwrap()),
            expected,
            "{}",
            log(&scene)
        );
        let metrics = scene.get(&agent, "/metrics").await.unwrap();
        let counted = format!("print_release_unstored_releases_total {}", u8::from(released));
        assert!(metrics.contains(&counted), "{metrics}");
        std::fs::remove_file(filler).unwrap();
        let uuid = scene.submit("linus", "There is room again.pdf");
        assert_eq!(scene.tap(&agent, "linus").await.unwrap()["event"], "released", "{}", log(&scene));
        scene.settled(&agent).await.unwrap();
        assert_eq!(scene.counts(&uuid), (1, usize::from(!released)));
        let metrics = scene.get(&agent, "/metrics").await.unwrap();
        assert!(metrics.contains(&counted), "with room every release has its entry: {metrics}");
    }
}

#[tokio::test]
async fn a_first_start_on_a_full_disk_says_so_and_serves_when_there_is_room() {
    let _limit = limit();
    let Some((scene, disk)) = on_a_small_disk("").await else { return };
    let filler = fill(&disk);
    let agent = scene.start().await.unwrap();
    assert_eq!(scene.tap(&agent, "linus").await.unwrap()["event"], "failed", "{}", log(&scene));
    std::fs::remove_file(filler).unwrap();
    assert_eq!(scene.tap(&agent, "linus").await.unwrap()["event"], "released", "{}", log(&scene));
    scene.settled(&agent).await.unwrap();
}

#[tokio::test]
async fn a_release_left_open_is_ended_even_if_the_next_run_starts_on_a_full_disk() {
    let _limit = limit();
    let Some((scene, disk)) = on_a_small_disk("").await else { return };
    let agent = scene.start().await.unwrap();
    let uuid = scene.submit("linus", "Sent before the disk was full.pdf");
    scene.befall(Call::Release, usize::MAX, Kind::HangAfter);
    scene.present("linus").unwrap();
    scene.until(|world| world.times_released(&uuid) == 1).await.unwrap();
    agent.kill().await.unwrap();
    scene.server.world().faults.clear();
    let filler = fill(&disk);
    let agent = scene.start().await.unwrap();
    scene.status(&agent, |status| status["journal"]["full"] == true).await.unwrap();
    assert!(log(&scene).contains("not read yet"), "{}", log(&scene));
    std::fs::remove_file(filler).unwrap();
    scene.recorded(&uuid).await;
    scene.settled(&agent).await.unwrap();
    assert_eq!(scene.counts(&uuid), (1, 1), "{}", log(&scene));
    assert_eq!(queue(&scene).await["releases"].as_array().unwrap().len(), 0);
}

/// A name of 30 kB stands in the login, in each document and so twice in each release: more than an entry of the journal holds.
#[tokio::test]
async fn a_user_name_that_no_server_should_have_ends_its_tap_with_a_reason_and_the_next_tap_prints() {
    let _limit = limit();
    let (scene, agent) = playing().await;
    let name = "l".repeat(30_000);
    {
        let mut world = scene.server.world();
        world.users.iter_mut().find(|user| user.name == "linus").unwrap().name.clone_from(&name);
        world
            .documents
            .iter_mut()
            .filter(|document| document.user_name == "linus")
            .for_each(|document| document.user_name.clone_from(&name));
    }
    let event = scene.hold(&agent, "1234567").await.unwrap();
    assert_eq!((&event["event"], &event["reason"]), (&"failed".into(), &"malformed-answer".into()), "{event}");
    let status = scene.status(&agent, |status| status["stations"]["lobby"]["phase"] == "ready").await.unwrap();
    assert_eq!(status["journal"]["full"], false);
    assert!(log(&scene).contains("the login gave a user name"), "{}", log(&scene));
    assert!(log(&scene).len() < 20_000, "the name stands in the log");
    assert_eq!(scene.tap(&agent, "grace").await.unwrap()["event"], "released");
}
