//! Rows that another box wrote: two boxes print documents of one user with one title, and the record of one of them is lost.
//! A record is only found where the server's history has a row that no other box can have written.

use std::path::PathBuf;
use std::process::Stdio;

use print_release_agent::demo::process::AgentProcess;
use print_release_agent::demo::reader::VirtualReader;
use print_release_agent::demo::scene::Scene;
use print_release_agent::demo::server::{Call, Kind, ServerDocument, ServerPort, World};

use crate::support::{limit, log, program};

const TITLE: &str = "Document1";

/// A second box with a reader, a journal and a printer of its own, at the server of the scene.
struct SecondBox {
    reader: VirtualReader,
    config: PathBuf,
}

impl SecondBox {
    /// Set up with the configuration of the scene.
    fn beside(scene: &Scene) -> Self {
        let reader = VirtualReader::plug(&scene.dir().join("reader-b")).unwrap();
        let config = scene.dir().join("agent-b.toml");
        let text = std::fs::read_to_string(scene.config()).unwrap();
        let text = text
            .replace(&scene.reader.path().display().to_string(), &reader.path().display().to_string())
            .replace("/state\"", "/state-b\"")
            .replace("/control.sock\"", "/control-b.sock\"")
            .replace("192.0.2.10", "192.0.2.20");
        std::fs::write(&config, text).unwrap();
        let mut world = scene.server.world();
        let attic = ServerPort {
            id: 2,
            name: "Attic".into(),
            address: "192.0.2.20".into(),
            device_serial: "DEMO0002".into(),
            reader_mac: "00:00:5E:00:53:02".into(),
            ..world.ports[0].clone()
        };
        world.ports.push(attic);
        Self { reader, config }
    }

    async fn start(&self) -> AgentProcess {
        self.reader.let_go().unwrap();
        AgentProcess::start(program(), &self.config, Stdio::null()).await.unwrap()
    }
}

/// A scene with these lines in its section `[outbox]`. The time in which a request settles is long enough for a tap at the other box.
async fn scene_with(outbox: &str) -> Scene {
    let scene = Scene::set(program()).await.unwrap();
    let text = std::fs::read_to_string(scene.config()).unwrap();
    let text = text
        .replace("request_timeout = \"1s\"", "request_timeout = \"4s\"")
        .replace("[outbox]", &format!("[outbox]\n{outbox}"));
    std::fs::write(scene.config(), text).unwrap();
    scene.server.world().documents.clear();
    scene
}

fn titles(world: &World) -> Vec<String> {
    let ours = |row: &&ServerDocument| row.document_name.starts_with(TITLE);
    world.records.iter().filter(ours).map(|row| row.document_name.clone()).collect()
}

async fn possible_duplicates(scene: &Scene, agent: &AgentProcess) -> u64 {
    let metrics = scene.get(agent, "/metrics").await.unwrap();
    let counted = metrics.lines().find_map(|line| line.strip_prefix("print_release_possible_duplicates_total "));
    counted.unwrap().parse().unwrap()
}

/// The record of the scene's box is cut before any work. The other box prints a document of the same user with the same
/// title, and records it, before the first one looks. Returns when the scene's box has delivered.
async fn lost_beside_a_stranger(scene: &Scene) -> AgentProcess {
    let second = SecondBox::beside(scene);
    let agent = scene.start().await.unwrap();
    let stranger = second.start().await;
    scene.submit("linus", TITLE);
    scene.befall(Call::Record, 1, Kind::CutBefore);
    scene.present("linus").unwrap();
    scene.until(|world| world.count(Call::Record) == 1).await.unwrap();
    scene.submit("linus", TITLE);
    let card = scene.server.world().user("linus").unwrap().cards[0].clone();
    second.reader.hold(&card).unwrap();
    scene.until(|world| !titles(world).is_empty()).await.unwrap();
    assert_eq!(
        scene.server.world().count(Call::History),
        0,
        "the stranger was too slow: not the case that this is about"
    );
    scene.settled(&agent).await.unwrap();
    drop(stranger);
    agent
}

#[tokio::test]
async fn rows_of_a_box_at_another_printer_are_no_arrival() {
    let _limit = limit();
    let scene = scene_with("").await;
    let _agent = lost_beside_a_stranger(&scene).await;
    assert_eq!(titles(&scene.server.world()).len(), 2, "{}", log(&scene));
    let ports: Vec<_> = scene.server.world().records.iter().map(|row| row.output_port_name.clone().unwrap()).collect();
    assert_eq!(ports, ["Attic", "Lobby"]);
}

#[tokio::test]
async fn rows_that_name_no_printer_are_no_arrival_and_the_record_is_counted_as_a_possible_duplicate() {
    let _limit = limit();
    let scene = scene_with("").await;
    scene.server.world().history_ports = false;
    let agent = lost_beside_a_stranger(&scene).await;
    assert_eq!(titles(&scene.server.world()).len(), 2, "{}", log(&scene));
    assert_eq!(possible_duplicates(&scene, &agent).await, 1);
    let told = log(&scene).matches("another box may have written").count();
    assert_eq!(told, 1, "{}", log(&scene));
}

/// The last event of the scene's box names its tap.
async fn tap_of(scene: &Scene, agent: &AgentProcess) -> String {
    let status = scene.status(agent, |_| true).await.unwrap();
    status["stations"]["lobby"]["last"]["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_record_with_a_tag_is_known_with_certainty_on_a_server_that_names_no_printer() {
    let _limit = limit();
    let scene = scene_with("tag = true").await;
    scene.server.world().history_ports = false;
    let agent = lost_beside_a_stranger(&scene).await;
    let tap = tap_of(&scene, &agent).await;
    let titles = titles(&scene.server.world());
    let ours = format!("{TITLE} [{}]", &tap[tap.len() - 8..]);
    assert_eq!(titles.iter().filter(|title| **title == ours).count(), 1, "{titles:?}\n{}", log(&scene));
    assert_eq!((titles.len(), possible_duplicates(&scene, &agent).await), (2, 0), "{titles:?}");
    // And one that arrived is found.
    scene.submit("linus", TITLE);
    scene.befall(Call::Record, 1, Kind::CutAfter);
    scene.tap(&agent, "linus").await.unwrap();
    scene.settled(&agent).await.unwrap();
    assert_eq!(self::titles(&scene.server.world()).len(), 3, "{}", log(&scene));
    assert_eq!(possible_duplicates(&scene, &agent).await, 0);
}

#[tokio::test]
async fn a_record_that_was_sent_before_the_tag_was_switched_is_found_under_the_title_that_was_sent() {
    let _limit = limit();
    for (before, after) in [("tag = false", "tag = true"), ("tag = true", "tag = false")] {
        let scene = scene_with(before).await;
        let agent = scene.start().await.unwrap();
        scene.submit("linus", TITLE);
        scene.befall(Call::Record, 1, Kind::CutAfter);
        scene.present("linus").unwrap();
        scene.until(|world| !titles(world).is_empty()).await.unwrap();
        agent.kill().await.unwrap();
        let sent = titles(&scene.server.world());
        let text = std::fs::read_to_string(scene.config()).unwrap();
        std::fs::write(scene.config(), text.replace(before, after)).unwrap();
        let agent = scene.start().await.unwrap();
        scene.settled(&agent).await.unwrap();
        assert!(scene.server.world().count(Call::History) > 0, "it was not looked up: not the case that this is about");
        assert_eq!(titles(&scene.server.world()), sent, "{}", log(&scene));
        assert_eq!(possible_duplicates(&scene, &agent).await, 0);
    }
}
