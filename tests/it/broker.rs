//! The messages of the real program at a real broker, and that a tap never waits for one.

use print_release_agent::demo::scene::Scene;
use print_release_agent::status::mqtt::PACKET_LIMIT;
use serde_json::Value;

use crate::support::mosquitto::{Mosquitto, free_port};
use crate::support::peer::Peer;
use crate::support::{limit, log, program, soon};

async fn stage(port: u16) -> Scene {
    let scene = Scene::set(program()).await.unwrap();
    let mqtt = format!("[mqtt]\nurl = \"mqtt://127.0.0.1:{port}\"");
    scene.configure("", &[&mqtt]).unwrap();
    scene
}

/// Waits for the next payload that meets a condition.
async fn payload_where(peer: &mut Peer, condition: impl Fn(&Value) -> bool) -> Value {
    soon(async {
        loop {
            let payload = peer.payload().await;
            let value = serde_json::from_str(&payload).unwrap_or(Value::String(payload));
            if condition(&value) {
                return value;
            }
        }
    })
    .await
}

#[tokio::test]
async fn the_broker_is_told_what_the_contract_says() {
    let _limit = limit();
    let broker = Mosquitto::start("allow_anonymous true");
    let scene = stage(broker.port()).await;
    let mut availability = Peer::subscribed(broker.port(), "print-release/demo/availability").await;
    let mut status = Peer::subscribed(broker.port(), "print-release/demo/status").await;
    let mut station = Peer::subscribed(broker.port(), "print-release/demo/lobby/status").await;
    let mut events = Peer::subscribed(broker.port(), "print-release/demo/lobby/event").await;
    let mut discovery = Peer::subscribed(broker.port(), "homeassistant/+/+/config").await;
    let agent = scene.start().await.unwrap();
    payload_where(&mut availability, |payload| payload == "online").await;
    scene.tap(&agent, "grace").await.unwrap();
    let event = payload_where(&mut events, |event| event["event"] == "released").await;
    assert_eq!((&event["documents"], &event["pages"]), (&3.into(), &51.into()));
    assert!(event["user"].as_str().is_some_and(|user| user.len() == 16), "a hash, not a name: {event}");
    payload_where(&mut station, |station| station["released"] == 3 && station["phase"] == "ready").await;
    payload_where(&mut status, |status| {
        status["stations"]["lobby"]["released"] == 3 && status["outbox"]["pending"] == 0
    })
    .await;
    payload_where(&mut discovery, |config| config["unique_id"] == "demo_lobby_taps").await;
    agent.kill().await.unwrap();
    payload_where(&mut availability, |payload| payload == "offline").await;
}

#[tokio::test]
async fn sigterm_says_offline() {
    let _limit = limit();
    let broker = Mosquitto::start("allow_anonymous true");
    let scene = stage(broker.port()).await;
    let mut availability = Peer::subscribed(broker.port(), "print-release/demo/availability").await;
    let agent = scene.start().await.unwrap();
    payload_where(&mut availability, |payload| payload == "online").await;
    assert!(agent.terminate().await.unwrap().success());
    payload_where(&mut availability, |payload| payload == "offline").await;
}

#[tokio::test]
async fn a_tap_does_not_wait_for_the_broker_and_its_event_comes_when_there_is_one() {
    let _limit = limit();
    let port = free_port();
    let scene = stage(port).await;
    let agent = scene.start().await.unwrap();
    let event = scene.tap(&agent, "linus").await.unwrap();
    assert_eq!(event["event"], "released");
    agent.kill().await.unwrap();
    let broker = Mosquitto::start_on(port, "allow_anonymous true");
    let mut events = Peer::subscribed(broker.port(), "print-release/demo/lobby/event").await;
    let agent = scene.start().await.unwrap();
    let published = payload_where(&mut events, |event| event["event"] == "released").await;
    assert_eq!(published["id"], event["id"], "the event of the tap before the kill");
    agent.terminate().await.unwrap();
}

#[tokio::test]
async fn a_broker_that_takes_the_connection_and_says_nothing_delays_no_tap() {
    let _limit = limit();
    let deaf = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let scene = stage(deaf.local_addr().unwrap().port()).await;
    let agent = scene.start().await.unwrap();
    let _held = soon(deaf.accept()).await.unwrap();
    let event = scene.tap(&agent, "ada").await.unwrap();
    assert_eq!(event["documents"], 4, "{}", log(&scene));
}

#[tokio::test]
async fn a_retained_message_that_is_too_large_does_not_part_the_box_from_its_broker() {
    let _limit = limit();
    let broker = Mosquitto::start("allow_anonymous true");
    let mut vandal = Peer::subscribed(broker.port(), "homeassistant/status").await;
    vandal.publish("homeassistant/status", true, &"x".repeat(PACKET_LIMIT + 1)).await;
    vandal.message().await;
    let scene = stage(broker.port()).await;
    let mut events = Peer::subscribed(broker.port(), "print-release/demo/lobby/event").await;
    let mut discovery = Peer::subscribed(broker.port(), "homeassistant/+/+/config").await;
    let agent = scene.start().await.unwrap();
    payload_where(&mut discovery, |config| config["unique_id"] == "demo_lobby_taps").await;
    for card in ["ada", "grace", "linus"] {
        let event = scene.tap(&agent, card).await.unwrap();
        payload_where(&mut events, |published| published["id"] == event["id"]).await;
    }
    let log = log(&scene);
    assert_eq!(log.matches("not subscribed any more").count(), 1, "{log}");
    assert!(log.matches("MQTT does not work").count() <= 1, "{log}");
    agent.terminate().await.unwrap();
}
