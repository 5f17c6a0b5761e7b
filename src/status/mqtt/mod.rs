//! The MQTT client: a handle that never waits, and one task that keeps a link to the broker (design, section 7).
//!
//! Invariants:
//! - A call of the handle only puts something on the board (`board.rs`) and wakes the task, so it never delays a tap.
//! - A retained topic keeps its latest payload here and is published again on every new link.
//! - An offered event stays here until the broker has acknowledged it *and* the notice of that has been handed over. It
//!   is sent again on every new link, in the order of the offers, so what the broker sees first is in that order.
//! - The task never waits for the reader of the notices. An acknowledgement keeps its place among the [`IN_FLIGHT`]
//!   until it is told; of the link only the latest state is told; so nothing grows and no acknowledgement is lost.
//! - `online` is the first thing said on a link; `offline` is its last will, and its last word when the agent stops.
//! - No error and no `Debug` holds the password.
//!
//! It stores nothing on disk: the caller keeps the durable queue. After a restart an event may arrive twice (QoS 1).

mod board;
mod link;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ring::rand::{SecureRandom, SystemRandom};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time;
use tracing::{info, warn};

use self::board::Board;
pub use self::board::{IN_FLIGHT, PACKET_LIMIT, RETAINED_LIMIT, Refused};
use self::link::End;
use crate::backoff::Backoff;
use crate::domain::Secret;

/// Notices that wait for their reader; beyond that they wait on the board, where they do not grow.
const NOTICES: usize = 32;
/// The longest goodbye: `offline` sent and acknowledged. After that the broker says it, by the last will.
const FAREWELL_LIMIT: Duration = Duration::from_secs(2);
/// A link that lived so long was good: the next loss starts with the shortest delays again.
const STABLE: Duration = Duration::from_secs(60);
/// From one to sixty seconds between two attempts to reach the broker.
const RECONNECT: Backoff = match Backoff::new(Duration::from_secs(1), Duration::from_secs(60)) {
    Ok(backoff) => backoff,
    Err(_) => panic!("checked when it is compiled"),
};

/// Where the broker is and who we are there.
#[derive(Clone)]
pub struct Settings {
    /// Name or address; an IPv6 address without brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// TLS when set: trust anchors and client certificate are in it.
    pub tls: Option<Arc<rustls::ClientConfig>>,
    /// `None` is anonymous.
    pub username: Option<String>,
    /// Only sent with a user name, as MQTT 3.1.1 demands (section 3.1.2.9).
    pub password: Option<Secret>,
    /// Must be the only one of its name at the broker.
    pub client_id: String,
    /// The topic of `online`, `offline` and the last will.
    pub availability: String,
    /// Where Home Assistant says that it has started; `None` does not listen.
    pub discovery_status: Option<String>,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
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

/// Connects once, without a last will, and leaves again: for `check`.
///
/// # Errors
/// Why the broker does not take us, as a fragment after "failed to ...".
pub async fn probe(settings: &Settings) -> Result<(), String> {
    link::probe(settings).await.map_err(|error| error.to_string())
}

/// What the task tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// There is a new link. What was offered before is sent again without being offered again.
    Connected,
    /// There is no link. Told once an outage, and again when its reason changes.
    Disconnected {
        /// A fragment that fits after "failed to ...".
        error: String,
    },
    /// The broker has this event: it may leave the durable queue. May name one that has left already.
    Acknowledged(u64),
    /// Home Assistant has started: discovery is due again.
    HomeAssistantStarted,
}

/// The handle of the task. Its clones are the same.
#[derive(Clone)]
pub struct Mqtt {
    shared: Arc<Shared>,
    /// Closes when the task is gone.
    ended: watch::Receiver<()>,
}

impl fmt::Debug for Mqtt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mqtt").finish_non_exhaustive()
    }
}

impl Mqtt {
    /// Starts the task, in the runtime of the caller. It runs until [`Mqtt::stop`]; the notices end with it.
    pub fn spawn(settings: Settings) -> (Self, mpsc::Receiver<Notice>) {
        Self::spawn_with(settings, RECONNECT)
    }

    /// The same with other delays between the attempts to reach the broker.
    pub fn spawn_with(settings: Settings, reconnect: Backoff) -> (Self, mpsc::Receiver<Notice>) {
        let shared = Arc::new(Shared::default());
        let (sender, notices) = mpsc::channel(NOTICES);
        let (alive, ended) = watch::channel(());
        let task = Arc::clone(&shared);
        tokio::spawn(async move {
            run(&settings, &task, &sender, reconnect).await;
            drop(alive);
        });
        (Self { shared, ended }, notices)
    }

    /// Publishes `payload` retained, now or when there is a link, and again on every new link. The latest wins.
    ///
    /// An empty payload takes the topic away from the broker. Refused are a message that no broker would take and more
    /// than [`RETAINED_LIMIT`] topics.
    pub fn retain(&self, topic: String, payload: String) -> Result<(), Refused> {
        self.shared.board().retain(topic, payload)?;
        self.shared.work.notify_one();
        Ok(())
    }

    /// Takes an event to deliver; [`Notice::Acknowledged`] tells when the broker has it.
    ///
    /// At most [`IN_FLIGHT`] are taken and not yet told to be acknowledged; one more is refused as [`Refused::Full`]. An
    /// `id` that is among them is not taken twice, so offering everything unacknowledged again is allowed at any time.
    pub fn offer(&self, id: u64, topic: String, payload: String) -> Result<(), Refused> {
        self.shared.board().offer(id, topic, payload)?;
        self.shared.work.notify_one();
        Ok(())
    }

    /// Sends what is due, says `offline`, waits for its acknowledgement (two seconds at most), disconnects.
    ///
    /// Returns when the task is gone. What was not acknowledged by then is the durable queue's to keep.
    pub async fn stop(&self) {
        self.shared.stop.send_replace(true);
        let mut ended = self.ended.clone();
        // Nothing is ever sent there: it only closes.
        while ended.changed().await.is_ok() {}
    }
}

/// What the handles and the task share.
#[derive(Default)]
struct Shared {
    /// A std mutex: nothing awaits while it is held, and what is done under it is short.
    board: Mutex<Board>,
    /// Something is due to be sent.
    work: Notify,
    /// Something is due to be told.
    news: Notify,
    /// True from [`Mqtt::stop`] on.
    stop: watch::Sender<bool>,
}

impl Shared {
    fn board(&self) -> MutexGuard<'_, Board> {
        // Every method of the board leaves it whole, so a panic elsewhere does not spoil it.
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A link stands: everything is due again.
    fn connected(&self) {
        let failures = self.board().connected();
        info!(failures, "MQTT works");
        self.news.notify_one();
    }

    /// A link could not be made or was lost. The same reason is told once.
    fn disconnected(&self, error: String) {
        if self.board().disconnected(&error) {
            warn!(%error, "MQTT does not work; trying again");
            self.news.notify_one();
        }
    }

    fn acknowledged(&self, id: u64) {
        self.board().acknowledged(id);
        self.news.notify_one();
    }

    fn home_assistant_started(&self) {
        self.board().home_assistant_started();
        self.news.notify_one();
    }

    /// Waits for [`Mqtt::stop`].
    async fn stopped(&self) {
        // It cannot fail: the sender is in `self`.
        let _ = self.stop.subscribe().wait_for(|stop| *stop).await;
    }
}

async fn run(settings: &Settings, shared: &Shared, notices: &mpsc::Sender<Notice>, reconnect: Backoff) {
    tokio::select! {
        () = keep_link(settings, shared, reconnect) => {}
        () = tell(shared, notices) => {}
        () = limit_farewell(shared) => {}
    }
    // The last acknowledgements, as far as there is room: nobody may be reading any more.
    while let Some(notice) = shared.board().take_notice() {
        if notices.try_send(notice).is_err() {
            break;
        }
    }
}

/// One link after the other, until it is time to stop.
async fn keep_link(settings: &Settings, shared: &Shared, mut backoff: Backoff) {
    while let End::Lost { error, lived } = link::run(settings, shared).await {
        shared.disconnected(format!("keep a link to the broker {}:{}: {error}", settings.host, settings.port));
        if lived >= STABLE {
            backoff.reset();
        }
        tokio::select! {
            () = time::sleep(backoff.next(random())) => {}
            () = shared.stopped() => return,
        }
    }
}

/// Hands the notices over, for ever, as their reader takes them. Without a reader they are dropped.
async fn tell(shared: &Shared, notices: &mpsc::Sender<Notice>) {
    loop {
        shared.news.notified().await;
        while shared.board().has_notice() {
            let place = notices.reserve().await;
            // Taken only now: while it waited, it was still on the board.
            let notice = shared.board().take_notice();
            if let (Ok(place), Some(notice)) = (place, notice) {
                place.send(notice);
            }
        }
    }
}

async fn limit_farewell(shared: &Shared) {
    shared.stopped().await;
    time::sleep(FAREWELL_LIMIT).await;
}

fn random() -> u64 {
    let mut bytes = [0; 8];
    // Without randomness the longest delay is the one that hurts a broker least.
    SystemRandom::new().fill(&mut bytes).map_or(u64::MAX, |()| u64::from_ne_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_settings_do_not_show_the_password() {
        let settings = Settings {
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
