//! The client of the print-management server (SAFEQ Cloud, Dispatcher Paragon Cloud).
//!
//! The calls, and how their answers are read: docs/print-server-api.md. The client is tolerant where the vendor states
//! nothing: a field may be absent, a number unknown.
//!
//! Invariants:
//! - There is one HTTP client for the process, and each method sends its request once. A request without effect (login,
//!   list) is asked once more after a cut connection; one that prints or records never is.
//! - The device's token may change while the client lives ([`device`]). A request that was refused is sent once more when
//!   there is a newer one: a refusal is not work done.
//! - The user's token lives in a [`Session`], in memory, for one tap. It is refreshed at most once a refusal.
//! - The [`Cause`] of an error decides what its caller does next.

mod connection;
pub mod device;
mod history;
mod jwt;
mod logins;
mod refusal;
mod rows;
mod server_clock;
mod session;
mod told_time;
mod transport;
mod trial;
mod wire;

use std::time::{Duration, Instant};

use jiff::Timestamp;
use reqwest::header::HeaderValue;
use reqwest::{Method, RequestBuilder, Url};
use tokio::sync::watch;

use crate::clock::{self, Floor, ProvenTime};
use crate::domain::{CardNumber, Cause, Failure, JobRecord, OutputPort, Secret, User, Who};
use device::DeviceToken;
pub use history::{HistoryQuery, HistoryRows};
use logins::LoginTally;
pub use logins::{RefusedCards, RefusedCardsWatch};
#[cfg(test)]
pub(crate) use server_clock::{ClockReading, ServerClock};
pub use session::Session;
pub use transport::{BODY_LIMIT, ClientSettings, SetupError};
use transport::{Body, HttpTransport};
pub use trial::KeyTrial;
pub use wire::{OutputPortInfo, Version};

/// Questions for the server's time in a row: the first two answers agree, unless one of them is wrong.
const TIME_QUESTIONS: usize = 3;

/// The ways to log in; the numbers are `authtype` (docs/print-server-api.md, "Log in").
#[derive(Clone, Debug)]
pub enum Credential {
    /// 0: the password is required.
    Password {
        /// The login name.
        user: String,
        /// Its password.
        password: Secret,
    },
    /// 1: a card, with a PIN only where one was typed; an empty one is never sent.
    Card {
        /// The card number.
        card: CardNumber,
        /// The second factor.
        pin: Option<Secret>,
    },
    /// 2: a short id.
    ShortId(CardNumber),
    /// 3: a name alone.
    NameOnly(String),
    /// 4: an e-mail address alone.
    Email(String),
}

impl Credential {
    /// `authtype`, `userid`, `password`.
    fn fields(&self) -> (&'static str, &str, Option<&Secret>) {
        match self {
            Self::Password { user, password } => ("0", user, Some(password)),
            Self::Card { card, pin } => ("1", card.0.expose(), pin.as_ref()),
            Self::ShortId(id) => ("2", id.0.expose(), None),
            Self::NameOnly(name) => ("3", name, None),
            Self::Email(address) => ("4", address, None),
        }
    }
}

/// The server, as one API key sees it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    transport: HttpTransport,
    settings: std::sync::Arc<ClientSettings>,
    device: DeviceToken,
    refused_rows: watch::Sender<u64>,
    logins: LoginTally,
}

impl Client {
    /// A client that has not spoken to anybody yet.
    ///
    /// # Errors
    /// A certificate or key that cannot be used: permanent until somebody mends the configuration.
    pub fn new(settings: ClientSettings) -> Result<Self, SetupError> {
        let transport = HttpTransport::new(&settings)?;
        let device = settings.device_token.as_ref().map(transport::bearer).transpose()?;
        let device = DeviceToken::fixed(device);
        let refused_rows = watch::Sender::default();
        let logins = LoginTally::default();
        Ok(Self { transport, settings: std::sync::Arc::new(settings), device, refused_rows, logins })
    }

    /// `HEAD /account`: is the server there, and is this its domain? It needs no key.
    ///
    /// # Errors
    /// [`Cause::NotFound`]: the host name belongs to no account.
    pub async fn account(&self) -> Result<(), Failure> {
        let request = self.transport.request(Method::HEAD, self.url(&["account"]), None);
        self.transport.probe(request).await.map(drop)
    }

    /// `GET /version`. A server may want somebody to be logged in: see [`Session::version`].
    pub async fn version(&self) -> Result<Version, Failure> {
        let request = |device: Option<&_>| self.transport.request(Method::GET, self.url(&["version"]), device);
        wire::decode(&self.as_device(&request).await?, "the version")
    }

    /// `POST /login` (docs/print-server-api.md, "Log in"). It is asked once more after a cut connection: a login has no
    /// effect.
    ///
    /// # Errors
    /// Refused: the kind is that of docs/print-server-api.md, "Refusals".
    pub async fn login(&self, credential: &Credential) -> Result<Session, Failure> {
        let (kind, id, password) = credential.fields();
        let mut fields = vec![("authtype", kind), ("userid", id)];
        fields.extend(password.map(|password| ("password", password.expose())));
        let request = |device: Option<&_>| {
            transport::form(self.transport.request(Method::POST, self.url(&["login"]), device), &fields)
        };
        // The server may repeat in its message what it was sent.
        let hidden = |failure: Failure| without(failure, &[Some(id), password.map(Secret::expose)]);
        let answer = once_more_if_cut(|| self.as_device(&request)).await;
        let answer = answer.map_err(|failure| hidden(self.refused_login(id, failure)))?;
        let info: wire::UserInfo = wire::decode(&answer, "the login").map_err(hidden)?;
        let tokens = info.token.ok_or_else(|| {
            let detail = "the login gave no token; the API key must not allow unauthenticated requests";
            Failure::new(Cause::Refused(Who::Key), detail)
        })?;
        if !rows::is_name(&info.user_name) {
            let detail = format!("the login gave a user name of more than {} bytes", rows::IDENTIFIER_LIMIT);
            return Err(Failure::new(Cause::Malformed, detail));
        }
        let user = User { name: info.user_name, provider: info.provider_id };
        let session = Session::new(self.clone(), user, tokens)?;
        self.logins.succeeded();
        Ok(session)
    }

    /// Gives a refused login its kind, and counts it.
    fn refused_login(&self, id: &str, failure: Failure) -> Failure {
        let Cause::Refused(told) = failure.cause else {
            return failure;
        };
        let unexplained = self.logins.refused(id);
        let who = match told {
            Who::Token if self.device.is_awaited() => Who::Device,
            Who::Token if self.device_token_ends().is_some_and(|end| end <= self.likely_server_time()) => Who::Expired,
            Who::Token => unexplained,
            told => told,
        };
        let waits =
            if who == Who::Device && self.device.is_awaited() { "; this device is not trusted yet" } else { "" };
        Failure::new(Cause::Refused(who), failure.detail + waits)
    }

    /// The time after which the fixed device token is of no use, if it tells one.
    pub fn device_token_ends(&self) -> Option<Timestamp> {
        jwt::expiry(self.settings.device_token.as_ref()?)
    }

    /// The different cards whose login was refused since the last one that succeeded.
    pub fn refused_cards(&self) -> RefusedCardsWatch {
        self.logins.watch()
    }

    /// `GET /card/?cd=&Mac=`: the server releases everything by itself. The API wants the card number in the URL and
    /// these spellings (docs/print-server-api.md, "Print everything with /card"). It is never sent twice.
    pub async fn release_by_card(&self, card: &CardNumber, mac: &str) -> Result<(), Failure> {
        let mut url = self.url(&["card", ""]);
        url.query_pairs_mut().append_pair("cd", card.0.expose()).append_pair("Mac", mac);
        let request = self.transport.request(Method::GET, url, self.device.current().header.as_ref());
        wire::acknowledge(&self.transport.exchange(request).await?, "the card release")
    }

    /// `POST /documents/history` in the name of the device (docs/print-server-api.md, "Job records"). The server has no
    /// key to make it idempotent, so an answer that is lost leaves the record in doubt.
    pub async fn record(&self, record: &JobRecord) -> Result<(), Failure> {
        let number = |number: Option<u32>| number.map(|number| number.to_string());
        let mut fields: Vec<(&str, String)> = vec![("jobtype", "PRINT".to_owned())];
        let mut set = |name, value: Option<String>| fields.extend(value.map(|value| (name, value)));
        set("totalpages", number(record.pages));
        set("colorpages", number(record.color_pages));
        set("papersize", record.paper_size.clone());
        set("duplex", record.long_edge.map(|long| long.to_string()));
        set("title", (!record.title.is_empty()).then(|| record.title.clone()));
        match &record.port {
            OutputPort::Serial(serial) => set("serialnumber", Some(serial.clone())),
            OutputPort::Address(address) => set("address", Some(address.clone())),
        }
        set("username", Some(record.user.name.clone()));
        set("providerid", record.user.provider.map(|provider| provider.to_string()));
        // The server stamps a record from before the clock was known when it arrives.
        if self.settings.history_datetime && clock::is_possible(record.time) {
            set("datetime", Some(record.time.strftime("%Y-%m-%dT%H:%M:%S+00:00").to_string()));
        }
        let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let url = self.url(&["documents", "history"]);
        let request =
            |device: Option<&_>| transport::form(self.transport.request(Method::POST, url.clone(), device), &fields);
        wire::acknowledge(&self.as_device(&request).await?, "the job record")
    }

    /// Sends with the device's token, and once more when it was refused and there is a newer one.
    async fn as_device(&self, request: &impl Fn(Option<&HeaderValue>) -> RequestBuilder) -> Result<Body, Failure> {
        let token = self.device.current();
        let refused = match self.transport.exchange(request(token.header.as_ref())).await {
            Err(failure) if matches!(failure.cause, Cause::Refused(_)) => failure,
            result => return result,
        };
        let Some(newer) = self.device.newer_than(&token).await else {
            return Err(refused);
        };
        let result = self.transport.exchange(request(Some(&newer))).await;
        if matches!(&result, Err(failure) if matches!(failure.cause, Cause::Refused(_))) {
            self.device.pause_refreshes(Instant::now());
            // The newer token was given for the key.
            self.logins.key_is_proven();
        }
        result
    }

    /// Whether the server answered the last request, whatever it said; `None` before the first. Changes wake its
    /// watchers.
    pub fn reached(&self) -> watch::Receiver<Option<bool>> {
        self.transport.reached()
    }

    /// Counts the rows of lists and of the history that no identifier could be taken from.
    pub fn refused_rows(&self) -> watch::Receiver<u64> {
        self.refused_rows.subscribe()
    }

    fn note_refused_rows(&self, rows: usize, what: &str) {
        if rows > 0 {
            tracing::warn!(
                rows,
                what,
                "rows skipped: no uuid, a value of another type, or a uuid, user name or port name that cannot be kept exactly"
            );
            self.refused_rows.send_modify(|count| *count += rows as u64);
        }
    }

    /// The present time on the server's clock, if its answers in this run agree on it. Nothing that sets this box's clock
    /// changes it.
    pub fn server_time(&self) -> Option<Timestamp> {
        self.transport.clock().agreed(Instant::now())
    }

    /// The present time on the server's clock, as far as it can be told; by this box's clock, if no answer told it.
    pub fn likely_server_time(&self) -> Timestamp {
        self.transport.clock().at(Instant::now()).unwrap_or_else(Timestamp::now)
    }

    /// Asks the server for its time until it is known, or does not become any clearer.
    ///
    /// # Errors
    /// The server cannot be reached, and no answer before has told its time.
    pub async fn learn_time(&self) -> Result<(), Failure> {
        for _ in 0..TIME_QUESTIONS {
            if self.transport.clock().is_known(Instant::now()) {
                break;
            }
            let answer = self.account().await;
            if answer.is_err()
                && *self.reached().borrow() != Some(true)
                && self.transport.clock().at(Instant::now()).is_none()
            {
                return answer;
            }
        }
        Ok(())
    }

    /// The last time that a verified server told; `None` over plain HTTP.
    pub fn proven_time(&self) -> Option<ProvenTime> {
        self.transport.told_time.proven()
    }

    /// The floor of the clock, if it was given up because it alone refused the server.
    pub fn wrong_floor(&self) -> Option<Floor> {
        self.transport.told_time.wrong_floor()
    }

    /// The time after which the server no longer works on a request that was given up. The vendor states none. Nobody
    /// stands at the printer for a decision that waits for this, so it is generous: three times the time limit of a
    /// request.
    pub fn settled_after(&self) -> Duration {
        self.settings.request_timeout * 3
    }

    /// A URL of the API; each segment is percent-encoded. A segment of dots would vanish: neither a uuid nor a port may be one.
    fn url(&self, segments: &[&str]) -> Url {
        let mut url = self.settings.url.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        url
    }

    fn oauth_url(&self, segment: &str) -> Url {
        let mut url = self.settings.oauth_url.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().push(segment);
        }
        url
    }
}

/// A failure whose story holds none of these texts.
fn without(failure: Failure, hidden: &[Option<&str>]) -> Failure {
    let hidden = hidden.iter().flatten().filter(|text| !text.is_empty());
    let detail = hidden.fold(failure.detail, |detail, text| detail.replace(text, "***"));
    Failure { detail, ..failure }
}

/// The server may have closed an idle connection just as it was used. A request without effect is sent again, once.
async fn once_more_if_cut<F>(send: impl Fn() -> F) -> Result<Body, Failure>
where
    F: Future<Output = Result<Body, Failure>>,
{
    match send().await {
        Err(Failure { cause: Cause::Lost { at_work: false }, .. }) => send().await,
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_repeats_what_was_sent_is_told_without_it() {
        let failure = Failure::new(Cause::Rejected, "server answered 400: no card 0025489530, pin 77");
        let told = without(failure, &[Some("0025489530"), Some("77"), Some(""), None]);
        assert_eq!(told.detail, "server answered 400: no card ***, pin ***");
    }
}
