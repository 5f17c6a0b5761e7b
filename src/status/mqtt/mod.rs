//! The MQTT client: a handle that never waits, and one task that keeps a link to the broker. The topics and payloads are in
//! docs/operating.md, "MQTT topics".
//!
//! Invariants:
//! - A call of the handle only adds to the publish queue (`publish_queue.rs`) and wakes the task, so it never delays a tap.
//! - A retained topic keeps its latest payload here and is published again on every new link.
//! - An offered event stays here until the broker has acknowledged it *and* the notice of that has been delivered. It is
//!   sent again on every new link, in the order of the offers, so events reach the broker for the first time in that order.
//! - The task never waits for the reader of the notices. An acknowledgement keeps its place among the [`IN_FLIGHT`] until
//!   its notice is delivered, and only the latest state of the link has a notice. So nothing grows and no acknowledgement
//!   is lost.
//! - `online` is the first message on a link; `offline` is its last will, and its last message when the agent stops.
//! - Nobody can keep the links down by a message to the topic that is subscribed to: after one that is too large there is no
//!   subscription any more.
//! - No error and no `Debug` output holds the password.
//!
//! Nothing is stored on the disk: the caller keeps the durable queue. After a restart an event may arrive twice (QoS 1).

#![cfg_attr(feature = "simulate", expect(dead_code, reason = "the link to a model of the broker needs less"))]

#[cfg_attr(feature = "simulate", path = "simulated_link.rs")]
mod link;
mod publish_queue;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ring::rand::{SecureRandom, SystemRandom};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time;
use tracing::{info, warn};

use self::link::{LinkEnd, LinkError};
use self::publish_queue::PublishQueue;
pub use self::publish_queue::{IN_FLIGHT, PACKET_LIMIT, PublishError, RETAINED_LIMIT};
use crate::backoff::Backoff;
use crate::domain::Secret;

/// The most notices in the channel to their reader; later ones wait in the publish queue, where they do not grow.
const NOTICE_LIMIT: usize = 32;
/// The longest goodbye, until `offline` is acknowledged. After that the broker publishes it itself, as the last will.
const FAREWELL_LIMIT: Duration = Duration::from_secs(2);
/// The age at which a link counts as good: the first attempt after its loss waits the shortest delay again.
const STABLE_AFTER: Duration = Duration::from_secs(60);
/// The wait between two attempts to reach the broker grows from one to sixty seconds.
const RECONNECT: Backoff = match Backoff::new(Duration::from_secs(1), Duration::from_secs(60)) {
    Ok(backoff) => backoff,
    Err(_) => panic!("checked when it is compiled"),
};

/// The address of the broker, and the agent's login and topics there.
#[derive(Clone)]
pub struct BrokerSettings {
    /// A name or an address; an IPv6 address stands without brackets.
    pub host: String,
    /// The broker's TCP port.
    pub port: u16,
    /// Turns TLS on; it holds the trust anchors and the client certificate.
    pub tls: Option<Arc<rustls::ClientConfig>>,
    /// The user name; `None` logs in anonymously.
    pub username: Option<String>,
    /// The password, which is only sent with a user name, as MQTT 3.1.1 demands (section 3.1.2.9).
    pub password: Option<Secret>,
    /// The client's name; no other client of the broker may have it.
    pub client_id: String,
    /// The topic of `online`, `offline` and the last will.
    pub availability: String,
    /// The topic on which Home Assistant announces its start; `None` does not subscribe to it.
    pub discovery_status: Option<String>,
}

impl fmt::Debug for BrokerSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BrokerSettings")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("tls", &self.tls.is_some())
            .field("username", &self.username)
            .field("password", &self.password)
            .field("client_id", &self.client_id)
            .field("availability", &self.availability)
            .field("discovery_status", &self.discovery_status)
            .finish()
    }
}

/// Connects once, without a last will, and disconnects again, as `check` needs it.
///
/// # Errors
/// The broker does not accept the agent. The text has the reason.
pub async fn probe(settings: &BrokerSettings) -> Result<(), String> {
    link::probe(settings).await.map_err(|error| error.to_string())
}

/// A notice of the task to its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MqttNotice {
    /// There is a new link. Earlier offers are sent again without being offered again.
    Connected,
    /// There is no link. An outage has one notice, and another one when its reason changes.
    Disconnected {
        /// The reason, as a fragment that fits after "failed to ...".
        error: String,
    },
    /// The broker has this event: it may leave the durable queue, unless it has left it already.
    Acknowledged(u64),
    /// Home Assistant has started, so discovery is due again.
    HomeAssistantStarted,
}

/// The handle of the task. Clones reach the same task.
#[derive(Clone)]
pub struct MqttClient {
    shared: Arc<SharedState>,
    /// The channel closes when the task has ended.
    ended: watch::Receiver<()>,
}

impl fmt::Debug for MqttClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MqttClient").finish_non_exhaustive()
    }
}

impl MqttClient {
    /// Starts the task in the runtime of the caller. It runs until [`MqttClient::stop`]; the notices end with it.
    pub fn spawn(settings: BrokerSettings) -> (Self, mpsc::Receiver<MqttNotice>) {
        Self::spawn_with(settings, RECONNECT)
    }

    /// Starts the task with other delays between the attempts to reach the broker.
    pub fn spawn_with(settings: BrokerSettings, reconnect: Backoff) -> (Self, mpsc::Receiver<MqttNotice>) {
        let shared = Arc::new(SharedState::default());
        let (sender, notices) = mpsc::channel(NOTICE_LIMIT);
        let (alive, ended) = watch::channel(());
        let task = Arc::clone(&shared);
        tokio::spawn(async move {
            run(&settings, &task, &sender, reconnect).await;
            drop(alive);
        });
        (Self { shared, ended }, notices)
    }

    /// Publishes `payload` retained, now or when there is a link, and again on every new link. The latest payload wins.
    ///
    /// An empty payload removes the topic from the broker.
    ///
    /// # Errors
    /// No broker would take the message, or it names one topic more than [`RETAINED_LIMIT`].
    pub fn retain(&self, topic: String, payload: String) -> Result<(), PublishError> {
        self.shared.queue().retain(topic, payload)?;
        self.shared.work.notify_one();
        Ok(())
    }

    /// Queues an event; [`MqttNotice::Acknowledged`] follows when the broker has it.
    ///
    /// An `id` that is queued already is not queued twice, so everything unacknowledged may be offered again at any time.
    ///
    /// # Errors
    /// [`PublishError::Full`]: [`IN_FLIGHT`] events have no delivered notice of acknowledgement yet. Or no broker would
    /// take the message.
    pub fn offer(&self, id: u64, topic: String, payload: String) -> Result<(), PublishError> {
        self.shared.queue().offer(id, topic, payload)?;
        self.shared.work.notify_one();
        Ok(())
    }

    /// Sends what is due, says `offline`, waits for its acknowledgement (two seconds at most), and disconnects.
    ///
    /// Returns when the task has ended. The durable queue keeps every event that was not acknowledged by then.
    pub async fn stop(&self) {
        self.shared.stop.send_replace(true);
        let mut ended = self.ended.clone();
        // The task sends nothing here: the channel only closes.
        while ended.changed().await.is_ok() {}
    }
}

/// The state that the handles share with the task.
#[derive(Default)]
struct SharedState {
    /// A std mutex suffices: nothing awaits while it is held, and every critical section is short.
    queue: Mutex<PublishQueue>,
    /// Wakes the link when a message is due.
    work: Notify,
    /// Wakes the delivery when a notice is due.
    notice_due: Notify,
    /// True from [`MqttClient::stop`] on.
    stop: watch::Sender<bool>,
}

impl SharedState {
    fn queue(&self) -> MutexGuard<'_, PublishQueue> {
        // Every method of the queue leaves it consistent, so a panic elsewhere does not spoil it.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes everything due again: a new link stands.
    fn connected(&self) {
        let failures = self.queue().connected();
        info!(failures, "MQTT works");
        self.notice_due.notify_one();
    }

    /// Notes that a link could not be made or was lost. The same reason is logged once.
    fn disconnected(&self, error: String) {
        if self.queue().disconnected(&error) {
            warn!(%error, "MQTT does not work; trying again");
            self.notice_due.notify_one();
        }
    }

    fn acknowledged(&self, id: u64) {
        self.queue().acknowledged(id);
        self.notice_due.notify_one();
    }

    fn home_assistant_started(&self) {
        self.queue().home_assistant_started();
        self.notice_due.notify_one();
    }

    /// Waits for [`MqttClient::stop`].
    async fn stopped(&self) {
        // This cannot fail: the sender is in `self`.
        let _ = self.stop.subscribe().wait_for(|stop| *stop).await;
    }
}

async fn run(settings: &BrokerSettings, shared: &SharedState, notices: &mpsc::Sender<MqttNotice>, reconnect: Backoff) {
    tokio::select! {
        () = keep_link(settings, shared, reconnect) => {}
        () = deliver_notices(shared, notices) => {}
        () = limit_farewell(shared) => {}
    }
    // The last acknowledgements go as far as there is room: perhaps nobody reads them any more.
    while let Some(notice) = shared.queue().take_notice() {
        if notices.try_send(notice).is_err() {
            break;
        }
    }
}

/// Keeps one link after the other until it is time to stop.
async fn keep_link(settings: &BrokerSettings, shared: &SharedState, mut backoff: Backoff) {
    let mut listen = true;
    while let LinkEnd::Lost { error, lived } = link::run(settings, shared, listen).await {
        // The library ends a link for it, and a broker that retains the message would send it on every new one. Discovery messages
        // are retained too, so Home Assistant finds them without our hearing of its start.
        if let LinkError::TooLarge(size) = error
            && let Some(topic) = settings.discovery_status.as_ref().filter(|_| listen)
        {
            listen = false;
            warn!(
                topic,
                size,
                "not subscribed any more: a message there is too large; until the next start, Home Assistant's go unnoticed"
            );
        }
        shared.disconnected(format!("keep a link to the broker {}:{}: {error}", settings.host, settings.port));
        if lived >= STABLE_AFTER {
            backoff.reset();
        }
        tokio::select! {
            () = time::sleep(backoff.next(random())) => {}
            () = shared.stopped() => return,
        }
    }
}

/// Delivers the notices for ever, at the pace of their reader. Without a reader they are dropped.
async fn deliver_notices(shared: &SharedState, notices: &mpsc::Sender<MqttNotice>) {
    loop {
        shared.notice_due.notified().await;
        while shared.queue().has_notice() {
            let place = notices.reserve().await;
            // The notice is taken only now, so that it kept its place in the queue while it waited.
            let notice = shared.queue().take_notice();
            if let (Ok(place), Some(notice)) = (place, notice) {
                place.send(notice);
            }
        }
    }
}

async fn limit_farewell(shared: &SharedState) {
    shared.stopped().await;
    time::sleep(FAREWELL_LIMIT).await;
}

fn random() -> u64 {
    let mut bytes = [0; 8];
    // Without randomness the longest delay burdens the broker least.
    SystemRandom::new().fill(&mut bytes).map_or(u64::MAX, |()| u64::from_ne_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_settings_do_not_show_the_password() {
        let settings = BrokerSettings {
            host: "broker".to_owned(),
            port: 1883,
            tls: None,
            username: Some("box".to_owned()),
            password: Some(Secret::new("hunter2")),
            client_id: "lobby-box".to_owned(),
            availability: "t/a/availability".to_owned(),
            discovery_status: None,
        };
        let shown = format!("{settings:?}");
        assert!(shown.contains("lobby-box") && !shown.contains("hunter2"), "{shown}");
    }
}
