//! One link to the broker, from its connection to its loss or our goodbye.
//!
//! Built on what was measured of rumqttc 0.25.1: it forgets what it was given when the broker has no session, so nothing
//! counts as sent before its `PubAck`; its state does not survive every error, so client and event loop are dropped
//! together with the link; `publish().await` may wait for itself, so only `try_publish` is used, and the window below
//! leaves it always room.
//!
//! It does not decide when to try again, and keeps nothing for the next link: that is on the board.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::ops::ControlFlow;
use std::time::Duration;

use rumqttc::{
    AsyncClient, ClientError, ConnectReturnCode, ConnectionError, Event, EventLoop, LastWill, MqttOptions,
    NetworkOptions, Outgoing, Packet, QoS, StateError, SubscribeReasonCode, TlsConfiguration, Transport,
};
use tokio::time::{self, Instant};
use tracing::warn;

use super::board::{IN_FLIGHT, Kind, Message, PACKET_LIMIT};
use super::{Settings, Shared};
use crate::status::topics::{OFFLINE, ONLINE};

/// A lost broker is noticed after two of these at the latest: one unanswered ping.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Name lookup, TCP, TLS and the broker's answer together; also one flush.
const CONNECT_SECONDS: u64 = 10;
/// The event loop has something to say every `KEEP_ALIVE`. If not, a write hangs in a dead link (it has no limit there).
const SILENCE_LIMIT: Duration = Duration::from_secs(45);
/// Requests on their way to the event loop: all that may be in flight, the subscription, the disconnection.
const REQUESTS: usize = IN_FLIGHT + 2;
/// Packet ids in use. More than are ever in flight, so that none comes round while it is still unacknowledged.
const PACKET_IDS: u16 = 4 * IN_FLIGHT as u16;

/// Why there is no link. Never holds a packet: a server that echoes would have our password printed.
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
            // Mosquitto answers a wrong password with the second.
            ConnectionError::ConnectionRefused(
                ConnectReturnCode::BadUserNamePassword | ConnectReturnCode::NotAuthorized,
            ) => Self::Login,
            ConnectionError::ConnectionRefused(code) => Self::Refused(code),
            ConnectionError::NotConnAck(_) => Self::NotABroker,
            ConnectionError::NetworkTimeout | ConnectionError::FlushTimeout => Self::Silent,
            ConnectionError::MqttState(StateError::ConnectionAborted) => Self::Closed,
            ConnectionError::MqttState(StateError::AwaitPingResp) => Self::Silent,
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

/// How a link ended.
pub(super) enum End {
    /// By our goodbye, or before there was one to say it on.
    Stopped,
    Lost {
        error: LinkError,
        /// From the broker's welcome; zero when there was none.
        lived: Duration,
    },
}

/// Connects, sends what is due on the board, and reports to it what the broker says.
pub(super) async fn run(settings: &Settings, shared: &Shared) -> End {
    let (client, mut events) = AsyncClient::new(options(settings), REQUESTS);
    let mut network = NetworkOptions::new();
    network.set_tcp_nodelay(true);
    network.set_connection_timeout(CONNECT_SECONDS);
    events.set_network_options(network);
    let mut link = Link {
        client,
        settings,
        shared,
        since: None,
        farewell: Farewell::NotYet,
        handed: VecDeque::with_capacity(IN_FLIGHT),
        in_flight: BTreeMap::new(),
    };
    loop {
        match link.turn(&mut events).await {
            Ok(ControlFlow::Continue(())) => {}
            Ok(ControlFlow::Break(())) => return End::Stopped,
            Err(error) => return End::Lost { error, lived: link.since.map_or(Duration::ZERO, |t| t.elapsed()) },
        }
    }
}

/// A link under another name and without a last will, up to the broker's welcome.
pub(super) async fn probe(settings: &Settings) -> Result<(), LinkError> {
    let mut options = options(&Settings { client_id: format!("{}-check", settings.client_id), ..settings.clone() });
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

fn options(settings: &Settings) -> MqttOptions {
    let mut options = MqttOptions::new(&settings.client_id, &settings.host, settings.port);
    options
        .set_keep_alive(KEEP_ALIVE)
        // The broker shall keep nothing of a link that our new state would not know.
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
    /// As soon as nothing is due any more.
    Wanted,
    Said,
}

struct Link<'a> {
    client: AsyncClient,
    settings: &'a Settings,
    shared: &'a Shared,
    /// When the broker welcomed us.
    since: Option<Instant>,
    farewell: Farewell,
    /// Given to the client, which has not yet numbered them. It numbers them in this order.
    handed: VecDeque<Kind>,
    /// By packet id.
    in_flight: BTreeMap<u16, Kind>,
}

impl Link<'_> {
    /// Waits for the next event of the link and handles it. `Break` when the goodbye is over.
    async fn turn(&mut self, events: &mut EventLoop) -> Result<ControlFlow<()>, LinkError> {
        let shared = self.shared;
        // Never dropped half done: a packet that is being written would be lost while it counts as sent.
        let poll = time::timeout(SILENCE_LIMIT, events.poll());
        tokio::pin!(poll);
        let event = loop {
            tokio::select! {
                polled = &mut poll => break polled.map_err(|_| LinkError::Silent)??,
                () = shared.work.notified() => self.send_due()?,
                () = shared.stopped(), if self.farewell == Farewell::NotYet => {
                    if self.since.is_none() {
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
                    Some(Kind::Event(id)) => self.shared.acknowledged(id),
                    Some(Kind::Farewell) => self.client.try_disconnect()?,
                    Some(Kind::Retained) | None => {}
                }
                self.send_due()?;
            }
            Event::Outgoing(Outgoing::Disconnect) => return Ok(ControlFlow::Break(())),
            Event::Incoming(Packet::Publish(message)) => {
                // A retained one is no start but the memory of one, and discovery has just been sent on this link.
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

    /// The link stands: `online` first, then everything again.
    fn welcome(&mut self) -> Result<(), LinkError> {
        self.since = Some(Instant::now());
        self.publish(Kind::Retained, self.settings.availability.clone(), ONLINE.to_owned())?;
        if let Some(topic) = &self.settings.discovery_status {
            self.client.try_subscribe(topic, QoS::AtLeastOnce)?;
        }
        self.shared.connected();
        self.send_due()
    }

    /// Fills the window; says goodbye when it is time and nothing is left to send.
    fn send_due(&mut self) -> Result<(), LinkError> {
        while self.since.is_some() && self.farewell != Farewell::Said && self.has_room() {
            let due = self.shared.board().take_due();
            match due {
                Some(Message { kind, topic, payload }) => self.publish(kind, topic, payload)?,
                None if self.farewell == Farewell::Wanted => {
                    self.farewell = Farewell::Said;
                    self.publish(Kind::Farewell, self.settings.availability.clone(), OFFLINE.to_owned())?;
                }
                None => break,
            }
        }
        Ok(())
    }

    fn has_room(&self) -> bool {
        self.handed.len() + self.in_flight.len() < IN_FLIGHT
    }

    fn publish(&mut self, kind: Kind, topic: String, payload: String) -> Result<(), LinkError> {
        let retain = !matches!(kind, Kind::Event(_));
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
