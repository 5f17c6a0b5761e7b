//! One link to the broker, from its connection to its loss or our goodbye.
//!
//! Measurements of rumqttc 0.25.1 explain its shape. The library forgets pending messages when the broker has no session,
//! so nothing counts as sent before its `PubAck`. Its state does not survive every error, so client and event loop are
//! dropped together with the link. `publish().await` may wait for itself, so only `try_publish` is used, and the window
//! below always leaves room for it.
//!
//! A link does not decide when to try again, and keeps nothing for the next one: that is the publish queue's part.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::ops::ControlFlow;
use std::time::Duration;

use rumqttc::mqttbytes::Error as PacketError;
use rumqttc::{
    AsyncClient, ClientError, ConnectReturnCode, ConnectionError, Event, EventLoop, LastWill, MqttOptions,
    NetworkOptions, Outgoing, Packet, QoS, StateError, SubscribeReasonCode, TlsConfiguration, Transport,
};
use tokio::time::{self, Instant};
use tracing::warn;

use super::publish_queue::{IN_FLIGHT, MessageKind, PACKET_LIMIT, Publication};
use super::{BrokerSettings, SharedState};
use crate::status::topics::{OFFLINE, ONLINE};

/// The interval between two pings. A lost broker is noticed after two of them at the latest: one ping went unanswered.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// The longest that name lookup, TCP, TLS and the broker's answer may take together; the limit of one flush as well.
const CONNECT_SECONDS: u64 = 10;
/// The longest wait for an event. The event loop yields one every `KEEP_ALIVE`, unless a write hangs in a dead link, for
/// which the library has no limit.
const SILENCE_LIMIT: Duration = Duration::from_secs(45);
/// The most requests on their way to the event loop: those that may be in flight, the subscription, the disconnection.
const REQUESTS: usize = IN_FLIGHT + 2;
/// The number of packet ids. It is larger than the window, so that no id is used again while it is unacknowledged.
const PACKET_IDS: u16 = 4 * IN_FLIGHT as u16;

/// The reason why there is no link. It never holds a packet: a server that echoes would have our password printed.
#[derive(Debug, thiserror::Error)]
pub(super) enum LinkError {
    #[error("{0}")]
    Network(#[from] io::Error),
    #[error("TLS: {0}; check `mqtt.ca_file` and the broker's certificate")]
    Tls(#[from] rumqttc::TlsError),
    #[error("user name or password refused; check `mqtt.username` and `mqtt.password`")]
    Login,
    #[error("refused ({0:?}); check the broker's log")]
    Refused(ConnectReturnCode),
    #[error("what answers there is no MQTT broker; check `mqtt.url`")]
    NotABroker,
    #[error("no answer in time; check the network")]
    Silent,
    #[error("the broker sent a message of {0} bytes, more than {PACKET_LIMIT}")]
    TooLarge(usize),
    #[error("closed by the broker; check its log, and that no other client has our name")]
    Closed,
    #[error("{0}")]
    Protocol(StateError),
    #[error("the client's queue is full or closed")]
    Queue,
}

impl From<ConnectionError> for LinkError {
    fn from(error: ConnectionError) -> Self {
        match error {
            ConnectionError::Io(error) => Self::Network(error),
            ConnectionError::Tls(error) => Self::Tls(error),
            // Mosquitto answers a wrong password with `NotAuthorized`.
            ConnectionError::ConnectionRefused(
                ConnectReturnCode::BadUserNamePassword | ConnectReturnCode::NotAuthorized,
            ) => Self::Login,
            ConnectionError::ConnectionRefused(code) => Self::Refused(code),
            ConnectionError::NotConnAck(_) => Self::NotABroker,
            ConnectionError::NetworkTimeout | ConnectionError::FlushTimeout => Self::Silent,
            ConnectionError::MqttState(StateError::ConnectionAborted) => Self::Closed,
            ConnectionError::MqttState(StateError::AwaitPingResp) => Self::Silent,
            ConnectionError::MqttState(StateError::Deserialization(PacketError::PayloadSizeLimitExceeded(size))) => {
                Self::TooLarge(size)
            }
            ConnectionError::MqttState(error) => Self::Protocol(error),
            ConnectionError::RequestsDone => Self::Queue,
        }
    }
}

impl From<ClientError> for LinkError {
    fn from(_: ClientError) -> Self {
        Self::Queue
    }
}

/// The end of a link.
pub(super) enum LinkEnd {
    /// We said goodbye, or stopped before the link stood.
    Stopped,
    Lost {
        error: LinkError,
        /// The time since the broker's welcome; zero when there was none.
        lived: Duration,
    },
}

/// Connects, sends what is due in the queue, and notes there what the broker answers. A link that is not to `listen` subscribes to
/// nothing.
pub(super) async fn run(settings: &BrokerSettings, shared: &SharedState, listen: bool) -> LinkEnd {
    let (client, mut events) = AsyncClient::new(options(settings), REQUESTS);
    let mut network = NetworkOptions::new();
    network.set_tcp_nodelay(true);
    network.set_connection_timeout(CONNECT_SECONDS);
    events.set_network_options(network);
    let mut link = BrokerLink {
        client,
        settings,
        shared,
        listen,
        welcomed: None,
        farewell: Farewell::NotYet,
        handed: VecDeque::with_capacity(IN_FLIGHT),
        in_flight: BTreeMap::new(),
    };
    loop {
        match link.turn(&mut events).await {
            Ok(ControlFlow::Continue(())) => {}
            Ok(ControlFlow::Break(())) => return LinkEnd::Stopped,
            Err(error) => return LinkEnd::Lost { error, lived: link.welcomed.map_or(Duration::ZERO, |t| t.elapsed()) },
        }
    }
}

/// Connects under another name and without a last will, waits for the broker's welcome, and disconnects.
pub(super) async fn probe(settings: &BrokerSettings) -> Result<(), LinkError> {
    let mut options =
        options(&BrokerSettings { client_id: format!("{}-check", settings.client_id), ..settings.clone() });
    options.set_last_will(LastWill::new(&settings.availability, "", QoS::AtMostOnce, false));
    let (client, mut events) = AsyncClient::new(options, REQUESTS);
    let welcome = async {
        while !matches!(events.poll().await?, Event::Incoming(Packet::ConnAck(_))) {}
        client.try_disconnect()?;
        while !matches!(events.poll().await?, Event::Outgoing(Outgoing::Disconnect)) {}
        Ok(())
    };
    time::timeout(Duration::from_secs(CONNECT_SECONDS), welcome).await.unwrap_or(Err(LinkError::Silent))
}

fn options(settings: &BrokerSettings) -> MqttOptions {
    let mut options = MqttOptions::new(&settings.client_id, &settings.host, settings.port);
    options
        .set_keep_alive(KEEP_ALIVE)
        // A session that the broker keeps would hold messages of an old link that our new state does not know.
        .set_clean_session(true)
        .set_inflight(PACKET_IDS)
        .set_max_packet_size(PACKET_LIMIT, PACKET_LIMIT)
        .set_last_will(LastWill::new(&settings.availability, OFFLINE, QoS::AtLeastOnce, true));
    if let Some(username) = &settings.username {
        options.set_credentials(username, settings.password.as_ref().map_or("", |password| password.expose()));
    }
    if let Some(tls) = &settings.tls {
        options.set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(tls.clone())));
    }
    options
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Farewell {
    NotYet,
    /// It is said as soon as nothing is due any more.
    Wanted,
    Said,
}

struct BrokerLink<'a> {
    client: AsyncClient,
    settings: &'a BrokerSettings,
    shared: &'a SharedState,
    /// Whether it subscribes to the topic of Home Assistant.
    listen: bool,
    /// The time of the broker's welcome.
    welcomed: Option<Instant>,
    farewell: Farewell,
    /// Messages that the client has and has not numbered yet. It numbers them in this order.
    handed: VecDeque<MessageKind>,
    /// Messages on their way, by packet id.
    in_flight: BTreeMap<u16, MessageKind>,
}

impl BrokerLink<'_> {
    /// Waits for the next event of the link and handles it. Returns `Break` when the goodbye is over.
    async fn turn(&mut self, events: &mut EventLoop) -> Result<ControlFlow<()>, LinkError> {
        let shared = self.shared;
        // The poll is never dropped half done: a packet that is being written would be lost and still count as sent.
        let poll = time::timeout(SILENCE_LIMIT, events.poll());
        tokio::pin!(poll);
        let event = loop {
            tokio::select! {
                polled = &mut poll => break polled.map_err(|_| LinkError::Silent)??,
                () = shared.work.notified() => self.send_due()?,
                () = shared.stopped(), if self.farewell == Farewell::NotYet => {
                    if self.welcomed.is_none() {
                        return Ok(ControlFlow::Break(()));
                    }
                    self.farewell = Farewell::Wanted;
                    self.send_due()?;
                }
            }
        };
        self.handle(event)
    }

    fn handle(&mut self, event: Event) -> Result<ControlFlow<()>, LinkError> {
        match event {
            Event::Incoming(Packet::ConnAck(_)) => self.welcome()?,
            Event::Outgoing(Outgoing::Publish(id)) => {
                if let Some(kind) = self.handed.pop_front() {
                    self.in_flight.insert(id, kind);
                }
            }
            Event::Incoming(Packet::PubAck(ack)) => {
                match self.in_flight.remove(&ack.pkid) {
                    Some(MessageKind::Event(id)) => self.shared.acknowledged(id),
                    Some(MessageKind::Farewell) => self.client.try_disconnect()?,
                    Some(MessageKind::Retained) | None => {}
                }
                self.send_due()?;
            }
            Event::Outgoing(Outgoing::Disconnect) => return Ok(ControlFlow::Break(())),
            Event::Incoming(Packet::Publish(message)) => {
                // A retained message reports an earlier start, and discovery has just been sent on this link.
                let status = self.settings.discovery_status.as_deref();
                if !message.retain && status == Some(&message.topic) && message.payload == ONLINE {
                    self.shared.home_assistant_started();
                }
            }
            Event::Incoming(Packet::SubAck(ack)) if ack.return_codes.contains(&SubscribeReasonCode::Failure) => {
                let topic = self.settings.discovery_status.as_deref();
                warn!(topic, "the MQTT broker refused the subscription; Home Assistant's restarts go unnoticed");
            }
            Event::Incoming(_) | Event::Outgoing(_) => {}
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Says `online` on the new link first, and then sends everything again.
    fn welcome(&mut self) -> Result<(), LinkError> {
        self.welcomed = Some(Instant::now());
        self.publish(MessageKind::Retained, self.settings.availability.clone(), ONLINE.to_owned())?;
        if let Some(topic) = self.settings.discovery_status.as_ref().filter(|_| self.listen) {
            self.client.try_subscribe(topic, QoS::AtLeastOnce)?;
        }
        self.shared.connected();
        self.send_due()
    }

    /// Fills the window. Says goodbye when that is wanted and nothing is left to send.
    fn send_due(&mut self) -> Result<(), LinkError> {
        while self.welcomed.is_some() && self.farewell != Farewell::Said && self.has_room() {
            let due = self.shared.queue().take_due();
            match due {
                Some(Publication { kind, topic, payload }) => self.publish(kind, topic, payload)?,
                None if self.farewell == Farewell::Wanted => {
                    self.farewell = Farewell::Said;
                    self.publish(MessageKind::Farewell, self.settings.availability.clone(), OFFLINE.to_owned())?;
                }
                None => break,
            }
        }
        Ok(())
    }

    fn has_room(&self) -> bool {
        self.handed.len() + self.in_flight.len() < IN_FLIGHT
    }

    fn publish(&mut self, kind: MessageKind, topic: String, payload: String) -> Result<(), LinkError> {
        let retain = !matches!(kind, MessageKind::Event(_));
        self.client.try_publish(topic, QoS::AtLeastOnce, retain, payload)?;
        self.handed.push_back(kind);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_is_none_is_not_quoted() {
        let mut connect = rumqttc::Connect::new("lobby-box");
        connect.login = Some(rumqttc::Login::new("box", "hunter2"));
        let error = ConnectionError::NotConnAck(Packet::Connect(connect));
        assert!(error.to_string().contains("hunter2"), "the library would have told it: {error}");
        let error = LinkError::from(error);
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
    }

    #[test]
    fn a_packet_id_does_not_come_round_while_everything_in_flight_waits() {
        assert!(usize::from(PACKET_IDS) > IN_FLIGHT + 1, "the subscription takes one too");
    }
}
