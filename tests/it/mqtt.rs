//! The MQTT client against a real broker: which messages it keeps and repeats, and which notices it gives.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::support::link_cutter::LinkCutter;
use crate::support::mosquitto::{Mosquitto, free_port};
use crate::support::peer::Peer;
use crate::support::{limit, soon};
use print_release_agent::backoff::Backoff;
use print_release_agent::domain::Secret;
use print_release_agent::status::mqtt::{
    BrokerSettings, IN_FLIGHT, MqttClient, MqttNotice, PACKET_LIMIT, PublishError,
};
use print_release_agent::status::topics::{OFFLINE, ONLINE, Topics};
use rcgen::{CertifiedKey, KeyPair, generate_simple_self_signed};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};

const ANONYMOUS: &str = "allow_anonymous true";
const PASSWORD: &str = "correct horse";
const CUTS: usize = 30;

fn topics() -> Topics {
    Topics::new("print-release", "lobby-box", "homeassistant")
}

fn settings(port: u16) -> BrokerSettings {
    BrokerSettings {
        host: "127.0.0.1".to_owned(),
        port,
        tls: None,
        username: None,
        password: None,
        client_id: "lobby-box".to_owned(),
        availability: topics().availability(),
        discovery_status: topics().discovery_status(),
    }
}

/// Starts a client whose attempts follow each other fast.
fn spawn(settings: BrokerSettings) -> (MqttClient, mpsc::Receiver<MqttNotice>) {
    let reconnect = Backoff::new(Duration::from_millis(1), Duration::from_millis(20)).unwrap();
    MqttClient::spawn_with(settings, reconnect)
}

async fn next(notices: &mut mpsc::Receiver<MqttNotice>) -> MqttNotice {
    soon(notices.recv()).await.expect("the task runs")
}

async fn until(notices: &mut mpsc::Receiver<MqttNotice>, wanted: MqttNotice) {
    soon(async { while next(notices).await != wanted {} }).await;
}

/// Waits for the next acknowledgement and skips every other notice.
async fn acknowledgement(notices: &mut mpsc::Receiver<MqttNotice>) -> u64 {
    soon(async {
        loop {
            if let MqttNotice::Acknowledged(id) = next(notices).await {
                return id;
            }
        }
    })
    .await
}

async fn error(notices: &mut mpsc::Receiver<MqttNotice>) -> String {
    match next(notices).await {
        MqttNotice::Disconnected { error } => error,
        notice => panic!("{notice:?} instead of an error"),
    }
}

/// Stands for the agent's durable queue: it offers events in order and forgets acknowledged ones.
struct Queue {
    waiting: BTreeSet<u64>,
    next: u64,
}

impl Queue {
    fn offer_all(&self, mqtt: &MqttClient) {
        let offer = |id: &u64| mqtt.offer(*id, topics().station_event("lobby"), id.to_string());
        let refused = self.waiting.iter().map(offer).find_map(Result::err);
        assert!(matches!(refused, None | Some(PublishError::Full)), "{refused:?}");
    }

    fn fill(&mut self, mqtt: &MqttClient) {
        while self.waiting.len() < 2 * IN_FLIGHT {
            self.waiting.insert(self.next);
            self.next += 1;
        }
        self.offer_all(mqtt);
    }
}

#[tokio::test]
async fn every_event_arrives_in_order_and_is_acknowledged_though_the_link_is_cut_30_times() {
    let _limit = limit();
    let broker = Mosquitto::start(ANONYMOUS);
    let cutter = LinkCutter::start(broker.port()).await;
    let mut reader = Peer::subscribed(broker.port(), &topics().station_event("lobby")).await;
    let (mqtt, mut notices) = spawn(settings(cutter.port()));
    let mut queue = Queue { waiting: BTreeSet::new(), next: 0 };

    for cut in 0..CUTS {
        until(&mut notices, MqttNotice::Connected).await;
        queue.fill(&mqtt);
        for _ in 0..1 + cut % 7 * 5 {
            let id = acknowledgement(&mut notices).await;
            queue.waiting.remove(&id);
            queue.fill(&mqtt);
        }
        cutter.cut();
        while let MqttNotice::Acknowledged(id) = next(&mut notices).await {
            queue.waiting.remove(&id);
            queue.fill(&mqtt);
        }
    }
    while !queue.waiting.is_empty() {
        queue.offer_all(&mqtt);
        let id = acknowledgement(&mut notices).await;
        queue.waiting.remove(&id);
    }

    let mut arrived = BTreeSet::new();
    while (arrived.len() as u64) < queue.next {
        let id: u64 = reader.payload().await.parse().unwrap();
        let first_time = !arrived.contains(&id);
        assert!(!first_time || id == arrived.len() as u64, "{id} came before {}", arrived.len());
        arrived.insert(id);
    }
}

/// Starts a client in a runtime of its own, which ends with all its tasks when the last value is dropped.
async fn on_a_box_of_its_own(
    settings: BrokerSettings,
) -> (MqttClient, mpsc::Receiver<MqttNotice>, oneshot::Sender<()>) {
    let (power, powered) = oneshot::channel();
    let (sender, receiver) = oneshot::channel();
    thread::spawn(move || {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
            assert!(sender.send(spawn(settings)).is_ok());
            powered.await
        })
    });
    let (mqtt, notices) = soon(receiver).await.unwrap();
    (mqtt, notices, power)
}

#[tokio::test]
async fn what_is_retained_outlives_a_killed_agent_and_the_last_will_says_offline() {
    let _limit = limit();
    let broker = Mosquitto::start(ANONYMOUS);
    let mut witness = Peer::subscribed(broker.port(), &topics().availability()).await;
    let (mqtt, mut notices, power) = on_a_box_of_its_own(settings(broker.port())).await;
    until(&mut notices, MqttNotice::Connected).await;
    mqtt.retain(topics().status(), "{}".to_owned()).unwrap();
    mqtt.offer(1, topics().station_event("lobby"), "not retained".to_owned()).unwrap();
    until(&mut notices, MqttNotice::Acknowledged(1)).await;
    assert_eq!(witness.payload().await, ONLINE);

    drop(power);
    assert_eq!(witness.payload().await, OFFLINE);
    soon(mqtt.stop()).await;

    let mut late = Peer::subscribed(broker.port(), "print-release/#").await;
    let mut kept = BTreeSet::new();
    for _ in 0..2 {
        let message = late.message().await;
        assert!(message.retain);
        kept.insert((message.topic, message.payload));
    }
    assert_eq!(kept, [(topics().availability(), OFFLINE.into()), (topics().status(), "{}".into())].into());
    late.publish("print-release", false, "that was all").await;
    assert_eq!(late.payload().await, "that was all");
}

#[tokio::test]
async fn everything_retained_is_published_again_on_a_new_link() {
    let _limit = limit();
    let broker = Mosquitto::start(ANONYMOUS);
    let cutter = LinkCutter::start(broker.port()).await;
    let mut reader = Peer::subscribed(broker.port(), "print-release/#").await;
    let (mqtt, mut notices) = spawn(settings(cutter.port()));
    mqtt.retain(topics().status(), "old".to_owned()).unwrap();
    mqtt.retain(topics().status(), "new".to_owned()).unwrap();
    until(&mut notices, MqttNotice::Connected).await;
    assert_eq!((reader.payload().await, reader.payload().await), (ONLINE.to_owned(), "new".to_owned()));

    cutter.cut();
    until(&mut notices, MqttNotice::Connected).await;
    let said = [reader.payload().await, reader.payload().await, reader.payload().await];
    assert_eq!(said, [OFFLINE, ONLINE, "new"]);
}

#[tokio::test]
async fn a_broker_that_appears_later_gets_everything() {
    let _limit = limit();
    let port = free_port();
    let (mqtt, mut notices) = spawn(settings(port));
    mqtt.retain(topics().status(), "{}".to_owned()).unwrap();
    mqtt.offer(7, topics().station_event("lobby"), "seven".to_owned()).unwrap();
    let error = error(&mut notices).await;
    assert!(error.contains(&port.to_string()) && error.contains("refused"), "{error}");

    let broker = Mosquitto::start_on(port, ANONYMOUS);
    until(&mut notices, MqttNotice::Connected).await;
    until(&mut notices, MqttNotice::Acknowledged(7)).await;
    // The status was sent before the event, so the broker has it.
    let mut reader = Peer::subscribed(broker.port(), &topics().status()).await;
    assert_eq!(reader.payload().await, "{}");
}

fn certificate() -> CertifiedKey<KeyPair> {
    generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap()
}

fn tls_broker(directory: &Path, certificate: &CertifiedKey<KeyPair>) -> Mosquitto {
    let (cert, key) = (directory.join("cert.pem"), directory.join("key.pem"));
    fs::write(&cert, certificate.cert.pem()).unwrap();
    fs::write(&key, certificate.signing_key.serialize_pem()).unwrap();
    Mosquitto::start(&format!("{ANONYMOUS}\ncertfile {}\nkeyfile {}", cert.display(), key.display()))
}

fn trusting(certificate: &CertifiedKey<KeyPair>) -> Option<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.cert.der().clone()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap();
    Some(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
}

#[tokio::test]
async fn a_broker_with_a_trusted_certificate_is_spoken_to_over_tls() {
    let _limit = limit();
    let directory = tempfile::tempdir().unwrap();
    let certificate = certificate();
    let broker = tls_broker(directory.path(), &certificate);
    let (mqtt, mut notices) = spawn(BrokerSettings { tls: trusting(&certificate), ..settings(broker.port()) });
    assert_eq!(next(&mut notices).await, MqttNotice::Connected);
    mqtt.offer(1, topics().station_event("lobby"), String::new()).unwrap();
    assert_eq!(next(&mut notices).await, MqttNotice::Acknowledged(1));
}

#[tokio::test]
async fn a_broker_with_an_unknown_certificate_is_refused() {
    let _limit = limit();
    let directory = tempfile::tempdir().unwrap();
    let broker = tls_broker(directory.path(), &certificate());
    let (_mqtt, mut notices) = spawn(BrokerSettings { tls: trusting(&certificate()), ..settings(broker.port()) });
    let error = error(&mut notices).await;
    assert!(error.contains("TLS") && error.contains("certificate"), "{error}");
}

fn with_password(port: u16, password: &str) -> BrokerSettings {
    BrokerSettings { username: Some("box".to_owned()), password: Some(Secret::new(password)), ..settings(port) }
}

#[tokio::test]
async fn a_wrong_password_is_told_but_not_shown() {
    let _limit = limit();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("passwords");
    let made = Command::new("mosquitto_passwd").arg("-b").arg("-c").arg(&file).args(["box", PASSWORD]).status();
    assert!(made.unwrap().success());
    let broker = Mosquitto::start(&format!("allow_anonymous false\npassword_file {}", file.display()));

    let (mqtt, mut notices) = spawn(with_password(broker.port(), "battery staple"));
    let error = error(&mut notices).await;
    assert!(error.contains("password refused") && !error.contains("battery staple"), "{error}");
    soon(mqtt.stop()).await;

    let (_mqtt, mut notices) = spawn(with_password(broker.port(), PASSWORD));
    assert_eq!(next(&mut notices).await, MqttNotice::Connected);
}

#[tokio::test]
async fn a_server_that_echoes_does_not_get_the_password_into_an_error() {
    let _limit = limit();
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = server.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut link, _)) = server.accept().await {
            let (mut read, mut write) = link.split();
            // An error only says that the link has ended.
            let _ = tokio::io::copy(&mut read, &mut write).await;
        }
    });
    let (_mqtt, mut notices) = spawn(with_password(port, PASSWORD));
    let error = error(&mut notices).await;
    assert!(error.contains("no MQTT broker") && !error.contains(PASSWORD), "{error}");
}

#[tokio::test]
async fn discovery_is_sent_again_when_home_assistant_says_that_it_has_started() {
    let _limit = limit();
    let broker = Mosquitto::start(ANONYMOUS);
    let mut home_assistant = Peer::subscribed(broker.port(), "homeassistant/+/+/config").await;
    let (mqtt, mut notices) = spawn(settings(broker.port()));
    let discovery = topics().discovery("lobby");
    let send = || discovery.iter().for_each(|(topic, payload)| mqtt.retain(topic.clone(), payload.clone()).unwrap());
    send();
    until(&mut notices, MqttNotice::Connected).await;
    for start in 0..2 {
        if start > 0 {
            home_assistant.publish("homeassistant/status", false, ONLINE).await;
            until(&mut notices, MqttNotice::HomeAssistantStarted).await;
            send();
        }
        let mut seen = BTreeSet::new();
        for _ in &discovery {
            let message = home_assistant.message().await;
            seen.insert((message.topic, String::from_utf8(message.payload.to_vec()).unwrap()));
        }
        assert_eq!(seen, discovery.iter().cloned().collect(), "start {start}");
    }
}

#[tokio::test]
async fn the_memory_of_an_earlier_start_of_home_assistant_is_no_start() {
    let _limit = limit();
    let broker = Mosquitto::start(ANONYMOUS);
    let mut home_assistant = Peer::subscribed(broker.port(), "homeassistant/status").await;
    home_assistant.publish("homeassistant/status", true, ONLINE).await;
    assert_eq!(home_assistant.payload().await, ONLINE);

    let (mqtt, mut notices) = spawn(settings(broker.port()));
    assert_eq!(next(&mut notices).await, MqttNotice::Connected);
    // The broker answers in order: the subscription, with what is retained, and then the event.
    mqtt.offer(1, topics().station_event("lobby"), String::new()).unwrap();
    assert_eq!(next(&mut notices).await, MqttNotice::Acknowledged(1));
    soon(mqtt.stop()).await;
    assert_eq!(soon(notices.recv()).await, None);
}

#[tokio::test]
async fn a_retained_message_that_is_too_large_ends_the_subscription_and_not_the_links() {
    let _limit = limit();
    let mut broker = Mosquitto::start(ANONYMOUS);
    let mut vandal = Peer::subscribed(broker.port(), "homeassistant/status").await;
    vandal.publish("homeassistant/status", true, &"x".repeat(PACKET_LIMIT + 1)).await;
    vandal.message().await;

    let (mqtt, mut notices) = spawn(settings(broker.port()));
    assert_eq!(next(&mut notices).await, MqttNotice::Connected);
    let error = error(&mut notices).await;
    assert!(error.contains("more than"), "{error}");
    assert_eq!(next(&mut notices).await, MqttNotice::Connected);
    for id in 0..100 {
        mqtt.offer(id, topics().station_event("lobby"), id.to_string()).unwrap();
        assert_eq!(next(&mut notices).await, MqttNotice::Acknowledged(id), "the link stands");
    }
    soon(mqtt.stop()).await;
    broker.logged("Received DISCONNECT from lobby-box").await;
}

#[tokio::test]
async fn stop_sends_what_is_due_then_offline_and_disconnects_itself() {
    let _limit = limit();
    let mut broker = Mosquitto::start(ANONYMOUS);
    let mut reader = Peer::subscribed(broker.port(), "print-release/#").await;
    let (mqtt, mut notices) = spawn(settings(broker.port()));
    until(&mut notices, MqttNotice::Connected).await;
    // More messages than the window lets out at once.
    let last: BTreeSet<_> = (0..3 * IN_FLIGHT).map(|n| topics().station_status(&n.to_string())).collect();
    last.iter().for_each(|topic| mqtt.retain(topic.clone(), "the last".to_owned()).unwrap());
    soon(mqtt.stop()).await;
    assert_eq!(reader.payload().await, ONLINE);
    let mut seen = BTreeSet::new();
    for _ in &last {
        seen.insert(reader.message().await.topic);
    }
    assert_eq!(seen, last);
    assert_eq!(reader.payload().await, OFFLINE);
    broker.logged("Received DISCONNECT from lobby-box").await;
    let mut late = Peer::subscribed(broker.port(), &topics().availability()).await;
    assert_eq!(late.payload().await, OFFLINE);
}

#[tokio::test]
async fn stop_returns_without_a_broker() {
    let _limit = limit();
    let (mqtt, mut notices) = spawn(settings(free_port()));
    error(&mut notices).await;
    soon(mqtt.stop()).await;
    while soon(notices.recv()).await.is_some() {}
}

/// Starts a client with a broker that welcomes it and then acknowledges nothing.
async fn deaf_broker() -> (TcpStream, MqttClient, mpsc::Receiver<MqttNotice>) {
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (mqtt, mut notices) = spawn(settings(server.local_addr().unwrap().port()));
    let (mut link, _) = soon(server.accept()).await.unwrap();
    // CONNACK: no session, accepted.
    link.write_all(&[0x20, 2, 0, 0]).await.unwrap();
    assert_eq!(next(&mut notices).await, MqttNotice::Connected);
    (link, mqtt, notices)
}

#[tokio::test]
async fn stop_returns_although_the_broker_acknowledges_nothing() {
    let _limit = limit();
    let (mut link, mqtt, _notices) = deaf_broker().await;
    soon(mqtt.stop()).await;
    // `offline` is the last message. No DISCONNECT follows, so the broker publishes the last will too.
    let mut received = Vec::new();
    soon(link.read_to_end(&mut received)).await.unwrap();
    assert!(received.ends_with(OFFLINE.as_bytes()), "{received:?}");
}

#[tokio::test]
async fn no_more_than_the_window_is_sent_without_an_acknowledgement() {
    let _limit = limit();
    let (mut link, mqtt, _notices) = deaf_broker().await;
    for n in 0..3 * IN_FLIGHT {
        mqtt.retain(topics().station_status(&n.to_string()), "message".to_owned()).unwrap();
    }
    soon(mqtt.stop()).await;
    let mut received = Vec::new();
    soon(link.read_to_end(&mut received)).await.unwrap();
    let sent = String::from_utf8_lossy(&received).matches("message").count();
    assert_eq!(sent, IN_FLIGHT - 1, "`online` is one of them");
}

#[tokio::test]
async fn a_reader_of_the_notices_that_sleeps_delays_nothing_and_loses_no_acknowledgement() {
    let _limit = limit();
    let broker = Mosquitto::start(ANONYMOUS);
    let mut reader = Peer::subscribed(broker.port(), "print-release/#").await;
    let (mqtt, mut notices) = spawn(settings(broker.port()));
    assert_eq!(reader.payload().await, ONLINE);
    let mut taken = Vec::new();
    for id in 0..1000 {
        match mqtt.offer(id, topics().station_event("lobby"), id.to_string()) {
            Ok(()) => taken.push(id),
            refused => {
                assert_eq!(refused, Err(PublishError::Full));
                break;
            }
        }
        assert_eq!(reader.payload().await, id.to_string());
    }
    assert!(taken.len() > IN_FLIGHT, "those that were told made room");
    mqtt.retain(topics().status(), "still works".to_owned()).unwrap();
    assert_eq!(reader.payload().await, "still works");

    let mut acknowledged = Vec::new();
    while acknowledged.len() < taken.len() {
        acknowledged.push(acknowledgement(&mut notices).await);
    }
    assert_eq!(acknowledged, taken);
}
