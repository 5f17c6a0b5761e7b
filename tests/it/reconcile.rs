//! Lost answers: the agent finds out what happened before it does anything again.

use jiff::{SignedDuration, Timestamp};
use print_release_agent::demo::process::AgentProcess;
use print_release_agent::demo::scene::Scene;
use print_release_agent::demo::server::{ApiKey, Call, Kind, ServerDocument, Status, World};
use print_release_agent::domain::{self, EntryId, JobRecord, Outcome, Reason, Release, User};
use print_release_agent::journal::Journal;
use serde_json::Value;

use crate::support::journal::{close, open, release};
use crate::support::{limit, log, playing, program, queue};

#[tokio::test]
async fn equal_jobs_are_counted_and_not_merged() {
    let _limit = limit();
    let (scene, agent) = playing().await;
    // Three documents look the same, and the record of one is in doubt. In the first round it has arrived, in the second it has not.
    for kind in [Kind::HangAfter, Kind::CutBefore] {
        for _ in 0..3 {
            scene.submit("linus", "Same.pdf");
        }
        scene.befall(Call::Record, 1, kind);
        scene.tap(&agent, "linus").await.unwrap();
        scene.settled(&agent).await.unwrap();
    }
    let world = scene.server.world();
    let same = |document: &&ServerDocument| document.document_name == "Same.pdf";
    assert_eq!((world.records.iter().filter(same).count(), world.releases.len()), (6, 7), "{}", log(&scene));
}

#[tokio::test]
async fn a_clock_that_is_not_the_servers_is_told_as_uncertain() {
    let _limit = limit();
    for (minutes, uncertain) in [(-60, true), (2, false), (60, true)] {
        let scene = Scene::set(program()).await.unwrap();
        scene.server.world().clock_offset = SignedDuration::from_mins(minutes);
        let agent = scene.start().await.unwrap();
        let compared = |status: &Value| status["server"]["reachable"] == true && status["time_uncertain"] == uncertain;
        let status = scene.status(&agent, compared).await.unwrap();
        assert_eq!(status["time_uncertain"], uncertain, "{minutes} min");
    }
}

#[tokio::test]
async fn a_server_whose_clock_is_hours_away_is_understood() {
    let _limit = limit();
    for hours in [-3, 3] {
        let (scene, agent) = playing().await;
        scene.server.world().clock_offset = SignedDuration::from_hours(hours);
        // There is only one document, so that its record is the one in doubt.
        scene.server.world().documents.clear();
        let uuid = scene.submit("linus", "Clock.pdf");
        scene.befall(Call::Record, 1, Kind::HangAfter);
        scene.tap(&agent, "linus").await.unwrap();
        scene.settled(&agent).await.unwrap();
        assert_eq!(scene.counts(&uuid), (1, 1), "{hours} h\n{}", log(&scene));
    }
}

#[tokio::test]
async fn an_answer_without_a_date_or_with_a_wrong_one_changes_nothing() {
    let _limit = limit();
    for odd in [None, Some(SignedDuration::from_hours(-30)), Some(SignedDuration::from_hours(24 * 365 * 40))] {
        let (scene, agent) = playing().await;
        scene.server.world().clock_offset = SignedDuration::from_hours(3);
        scene.server.world().documents.clear();
        let uuid = scene.submit("linus", "Odd date.pdf");
        // The last answer before the record is sent, by which the record would be marked.
        scene.befall(Call::Release, 1, Kind::Date(odd));
        scene.befall(Call::Record, 1, Kind::CutAfter);
        scene.tap(&agent, "linus").await.unwrap();
        scene.settled(&agent).await.unwrap();
        assert_eq!(scene.counts(&uuid), (1, 1), "{odd:?}\n{}", log(&scene));
    }
}

#[tokio::test]
async fn a_server_that_stamps_records_with_their_own_time_is_understood() {
    let _limit = limit();
    let scene = Scene::set(program()).await.unwrap();
    scene.server.world().history_datetime = true;
    scene.configure("history_datetime = true", &[]).unwrap();
    let agent = scene.start().await.unwrap();
    let uuid = scene.submit("linus", "Stamped.pdf");
    scene.befall(Call::Record, 1, Kind::CutAfter);
    scene.tap(&agent, "linus").await.unwrap();
    scene.settled(&agent).await.unwrap();
    assert_eq!(scene.counts(&uuid), (1, 1), "{}", log(&scene));
}

/// A scene whose key may not read the history.
async fn without_history() -> Scene {
    let scene = Scene::set(program()).await.unwrap();
    scene.server.world().keys =
        vec![ApiKey { allow_untrusted_endpoints: true, ..ApiKey::strict("key-without-history") }];
    scene.write_secret("api-key", "key-without-history").unwrap();
    scene
}

#[tokio::test]
async fn where_the_history_may_not_be_read_a_record_in_doubt_is_sent_again_and_counted() {
    let _limit = limit();
    let scene = without_history().await;
    let agent = scene.start().await.unwrap();
    let uuid = scene.submit("linus", "Perhaps twice.pdf");
    scene.befall(Call::Record, 1, Kind::CutAfter);
    scene.tap(&agent, "linus").await.unwrap();
    scene.settled(&agent).await.unwrap();
    assert_eq!(scene.counts(&uuid).0, 1);
    let metrics = scene.get(&agent, "/metrics").await.unwrap();
    assert!(metrics.contains("print_release_possible_duplicates_total 1"), "{metrics}");
}

#[tokio::test]
async fn a_release_whose_end_nobody_can_tell_is_unknown_and_stays_listed() {
    let _limit = limit();
    let scene = without_history().await;
    let agent = scene.start().await.unwrap();
    let uuid = scene.submit("linus", "Who knows.pdf");
    scene.befall(Call::Release, 2, Kind::HangAfter);
    scene.present("linus").unwrap();
    scene.until(|world| world.times_released(&uuid) == 1).await.unwrap();
    agent.kill().await.unwrap();
    let agent = scene.start().await.unwrap();
    let unknown = |status: &Value| status["stations"]["lobby"]["last"]["event"] == "unknown";
    scene.status(&agent, unknown).await.unwrap();
    let listing = queue(&scene).await;
    assert_eq!(listing["releases"][0]["outcome"]["outcome"], "unknown", "{listing}");
    assert_eq!(scene.counts(&uuid), (1, 0));
}

#[tokio::test]
async fn a_document_that_is_tapped_again_before_its_open_release_is_judged_is_recorded_once() {
    let _limit = limit();
    let (scene, agent) = playing().await;
    let uuid = scene.submit("linus", "Twice asked.pdf");
    scene.befall(Call::Release, usize::MAX, Kind::CutBefore);
    scene.present("linus").unwrap();
    scene.until(|world| world.count(Call::Release) > 1).await.unwrap();
    agent.kill().await.unwrap();
    scene.server.world().faults.clear();
    let agent = scene.start().await.unwrap();
    // The agent asks the history only when the lost request must be over; this tap comes before that.
    let event = scene.tap(&agent, "linus").await.unwrap();
    assert_eq!(event["event"], "released");
    scene.until(|world| world.count(Call::History) > 0).await.unwrap();
    scene.settled(&agent).await.unwrap();
    assert_eq!(scene.counts(&uuid), (1, 1), "{}", log(&scene));
}

/// A tap whose release is lost in this way, in an outage that outlasts its deadline. Returns its event, and the one that corrects it.
async fn doubt_after_an_outage(kind: Kind) -> (Scene, AgentProcess, String, [Value; 2]) {
    let scene = Scene::set(program()).await.unwrap();
    scene.configure("", &["[station.release]\ndeadline = \"5s\""]).unwrap();
    let agent = scene.start().await.unwrap();
    scene.server.world().documents.clear();
    let uuid = scene.submit("linus", "Lost in an outage.pdf");
    scene.befall(Call::Release, 1, kind);
    scene.present("linus").unwrap();
    let over = |world: &World| match kind {
        Kind::CutBefore => world.count(Call::Release) == 1,
        _ => world.times_released(&uuid) == 1,
    };
    scene.until(over).await.unwrap();
    scene.server.stop();
    let last = |status: &Value| status["stations"]["lobby"]["last"].clone();
    let told = last(&scene.status(&agent, |status| !last(status).is_null()).await.unwrap());
    scene.server.restart().await.unwrap();
    let ended = last(&scene.status(&agent, |status| last(status)["event"] != told["event"]).await.unwrap());
    scene.settled(&agent).await.unwrap();
    assert_eq!(queue(&scene).await["releases"].as_array().unwrap().len(), 0, "nothing is open");
    assert_eq!(ended["id"], told["id"], "it is told of the same tap");
    (scene, agent, uuid, [told, ended])
}

#[tokio::test]
async fn a_release_in_doubt_at_its_deadline_is_recorded_when_the_server_is_back_and_says_that_it_printed() {
    let _limit = limit();
    let (scene, agent, uuid, [told, ended]) = doubt_after_an_outage(Kind::HangAfter).await;
    assert_eq!((&told["event"], &told["reason"]), (&"unknown".into(), &"server-unreachable".into()));
    assert_eq!((&ended["event"], &ended["reason"]), (&"released".into(), &"after-doubt".into()));
    assert_eq!(scene.counts(&uuid), (1, 1), "{}", log(&scene));
    assert_eq!(scene.status(&agent, |_| true).await.unwrap()["stations"]["lobby"]["released"], 1);
}

#[tokio::test]
async fn a_release_in_doubt_at_its_deadline_has_failed_when_the_server_is_back_and_says_that_it_waits() {
    let _limit = limit();
    let (scene, agent, uuid, [told, ended]) = doubt_after_an_outage(Kind::CutBefore).await;
    assert_eq!(told["event"], "unknown");
    assert_eq!((&ended["event"], &ended["reason"]), (&"failed".into(), &"interrupted".into()));
    assert_eq!(scene.counts(&uuid), (0, 0));
    assert_eq!(scene.tap(&agent, "linus").await.unwrap()["event"], "released");
    scene.settled(&agent).await.unwrap();
    assert_eq!(scene.counts(&uuid), (1, 1), "{}", log(&scene));
}

/// A release of a document of linus that looks like all with this title.
fn of_linus(number: u64, title: &str, time: Timestamp) -> Release {
    let user = User { name: "linus".to_owned(), provider: None };
    let like = release(number);
    let document = domain::Document { title: title.to_owned(), pages: Some(2), ..like.document };
    Release { user, document, time, ..like }
}

/// The row of the server's history for such a release or record.
fn row_of_linus(title: &str, time: Timestamp) -> ServerDocument {
    let port = Some("Lobby".to_owned());
    let row = ServerDocument::new("linus", title, 2, time);
    ServerDocument { status: Status::Printed, storage_online: false, output_port_name: port, ..row }
}

/// Stores a release and its record.
async fn store(journal: &Journal, release: Release) -> EntryId {
    let record = JobRecord::of(&release, release.time);
    let ids = journal.store_releases(vec![release]).await.unwrap();
    journal.end_release(ids[0], Outcome::Accepted, Some(record)).await.unwrap();
    journal.list(0).await.unwrap().records.pop().unwrap().id
}

fn records(scene: &Scene, title: &str) -> usize {
    scene.server.world().records.iter().filter(|row| row.document_name == title).count()
}

#[tokio::test]
async fn a_delivered_record_that_comes_back_by_damage_is_found_and_not_sent_again() {
    let _limit = limit();
    let scene = Scene::set(program()).await.unwrap();
    let state = scene.dir().join("state");
    let days_ago = |days: i64| Timestamp::now() - SignedDuration::from_hours(24 * days);
    {
        let journal = open(&state);
        for (number, title) in [(1, "Delivered.pdf"), (2, "Waiting.pdf")] {
            store(&journal, of_linus(number, title, days_ago(10))).await;
        }
        close(journal, &state);
    }
    // The first was delivered the day before yesterday, and then the database became an older state of itself.
    scene.server.world().records.push(row_of_linus("Delivered.pdf", days_ago(2)));
    for (number, title) in [(1, "Delivered.pdf"), (2, "Waiting.pdf")] {
        let uuid = release(number).document.uuid;
        scene.server.world().documents.push(ServerDocument { uuid, ..row_of_linus(title, days_ago(11)) });
    }
    std::fs::write(state.join("mark"), format!("{:020}\n", 100)).unwrap();
    let agent = scene.start().await.unwrap();
    scene.settled(&agent).await.unwrap();
    assert_eq!((records(&scene, "Delivered.pdf"), records(&scene, "Waiting.pdf")), (1, 1), "{}", log(&scene));
    let status = scene.status(&agent, |_| true).await.unwrap();
    assert_eq!(status["journal"]["set_aside"], 1, "not the case that this is about: {status}");
}

#[tokio::test]
async fn documents_of_dead_letters_and_of_unknown_releases_are_not_taken_for_job_records() {
    let _limit = limit();
    let scene = Scene::set(program()).await.unwrap();
    let state = scene.dir().join("state");
    let now = Timestamp::now();
    {
        let journal = open(&state);
        let releases = [1, 2, 3].map(|number| of_linus(number, "Same.pdf", now));
        for release in &releases[..2] {
            let uuid = release.document.uuid.clone();
            scene.server.world().documents.push(ServerDocument { uuid, ..row_of_linus("Same.pdf", now) });
        }
        let [dead, unknown, doubtful] = releases;
        let dead = store(&journal, dead).await;
        journal.bury_record(dead, "no such printer".to_owned()).await.unwrap();
        let unknown = journal.store_releases(vec![unknown]).await.unwrap();
        journal.end_release(unknown[0], Outcome::Unknown(Reason::NotListed), None).await.unwrap();
        let doubtful = store(&journal, doubtful).await;
        journal.mark_record(doubtful, Some(now)).await.unwrap();
        close(journal, &state);
    }
    let agent = scene.start().await.unwrap();
    scene.settled(&agent).await.unwrap();
    assert_eq!(records(&scene, "Same.pdf"), 1, "{}", log(&scene));
}
