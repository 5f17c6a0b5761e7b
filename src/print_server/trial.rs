//! The questions of `check`: does the server accept the API key, where is its token service, may its history be read. None of them
//! has an effect.
//!
//! A login with a wrong key is refused like one with an unknown card. So each question is put twice, with the key and with one that
//! nobody has; a key that is answered otherwise than nobody's is accepted.

use jiff::{SignedDuration, Timestamp};
use reqwest::header::HeaderValue;
use reqwest::{Method, StatusCode, Url};

use super::transport::HttpAnswer;
use super::{Cause, Client, Failure, Who, history, refusal, rows, transport};
use crate::domain::Secret;
use crate::random;

/// The port of the token service on a gateway (docs/print-server-api.md, "Addresses").
const GATEWAY_PORT: u16 = 7400;

/// The result of trying the API key.
#[derive(Debug)]
pub enum KeyTrial {
    /// The server accepts it, and says that it has this version, if it says one.
    Accepted(Option<String>),
    /// The server does not accept it, or not from here.
    Refused(Failure),
    /// The server answers a wrong key in the same way.
    Undecided,
}

/// The words of an answer that are compared; a time or a number of the request may differ from answer to answer.
type Told = (StatusCode, Option<String>, Option<String>, String);

impl Client {
    /// Tries the API key, at the API and, where that does not tell, at the token service `oauth`.
    ///
    /// # Errors
    /// The server gave no answer that tells anything.
    pub async fn try_key(&self, oauth: Option<&Url>) -> Result<KeyTrial, Failure> {
        match self.version().await {
            Ok(info) => return Ok(KeyTrial::Accepted(Some(info.version).filter(|version| !version.is_empty()))),
            Err(failure) if is_about_the_key(&failure) => return Ok(KeyTrial::Refused(failure)),
            Err(Failure { cause: Cause::Refused(_) | Cause::NotFound, .. }) => {}
            Err(failure) => return Err(failure),
        }
        let nobody = self.with_key_of_nobody()?;
        let card = format!("{:020}", random::word());
        let (own, of_nobody) = (self.try_login(&card).await?, nobody.try_login(&card).await?);
        if let Some(failure) = own.failure().filter(is_about_the_key) {
            return Ok(KeyTrial::Refused(failure));
        }
        if told(&own) != told(&of_nobody) {
            return Ok(KeyTrial::Accepted(None));
        }
        let Some(oauth) = oauth else {
            return Ok(KeyTrial::Undecided);
        };
        let (own, of_nobody) = (self.try_token(oauth).await?, nobody.try_token(oauth).await?);
        let word = transport::oauth_error(&own.body);
        if matches!(word.as_deref(), Some("invalid_client" | "unauthorized_client")) {
            let detail = format!("the token service says {}", word.unwrap_or_default());
            return Ok(KeyTrial::Refused(Failure::new(Cause::Refused(Who::Key), detail)));
        }
        Ok(if told(&own) == told(&of_nobody) { KeyTrial::Undecided } else { KeyTrial::Accepted(None) })
    }

    /// Looks for the token service: at the address of the configuration, and where that has the port of a gateway and nobody
    /// answers, at the port of the cloud server.
    ///
    /// # Errors
    /// Nobody answers, or not as a token service does.
    pub async fn token_service(&self) -> Result<Url, Failure> {
        let url = self.settings.oauth_url.clone();
        let failure = match self.try_token(&url).await.and_then(|answer| is_token_service(&answer)) {
            Ok(()) => return Ok(url),
            Err(failure) => failure,
        };
        let mut cloud = url.clone();
        if url.port() != Some(GATEWAY_PORT) || cloud.set_port(Some(443)).is_err() {
            return Err(failure);
        }
        match self.try_token(&cloud).await.and_then(|answer| is_token_service(&answer)) {
            Ok(()) => Ok(cloud),
            Err(_) => Err(failure),
        }
    }

    /// Reads one row of the history of the last day.
    ///
    /// # Errors
    /// The key may not read it, or this server has none.
    pub async fn try_history(&self) -> Result<(), Failure> {
        let now = self.likely_server_time();
        let day_before = now.checked_sub(SignedDuration::from_hours(24)).unwrap_or(Timestamp::UNIX_EPOCH);
        let mut url = self.url(&["documents", "history"]);
        url.query_pairs_mut()
            .append_pair("maxrecords", "1")
            .append_pair("datestart", &history::instant(day_before))
            .append_pair("dateend", &history::instant(now));
        let request = |device: Option<&HeaderValue>| self.transport.request(Method::GET, url.clone(), device);
        rows::history_page(&self.as_device(&request).await?, |_| {}).map(drop)
    }

    /// The same client with a key that the server cannot know.
    fn with_key_of_nobody(&self) -> Result<Self, Failure> {
        let key = format!("{:032x}", random::bits());
        let mut settings = (*self.settings).clone();
        settings.api_key = Secret::new(key);
        let transport = self.transport.with_key(&settings.api_key);
        let transport = transport.map_err(|error| Failure::new(Cause::Rejected, error.to_string()))?;
        Ok(Self { transport, settings: settings.into(), ..self.clone() })
    }

    async fn try_login(&self, card: &str) -> Result<HttpAnswer, Failure> {
        let device = self.device.current();
        let request = self.transport.request(Method::POST, self.url(&["login"]), device.header.as_ref());
        self.transport.answer(transport::form(request, &[("authtype", "1"), ("userid", card)])).await
    }

    /// Asks for tokens with a refresh token that nobody was given.
    async fn try_token(&self, oauth: &Url) -> Result<HttpAnswer, Failure> {
        let mut url = oauth.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().push("token");
        }
        let fields = [
            ("client_id", "api"),
            ("client_secret", self.settings.api_key.expose()),
            ("grant_type", "refresh_token"),
            ("refresh_token", "none"),
        ];
        self.transport.answer(transport::form(self.transport.request(Method::POST, url, None), &fields)).await
    }
}

fn is_about_the_key(failure: &Failure) -> bool {
    matches!(failure.cause, Cause::Refused(Who::Key | Who::Address))
}

/// Every answer but a 404 or a 5xx comes from a token service: the status of its refusals is not documented.
fn is_token_service(answer: &HttpAnswer) -> Result<(), Failure> {
    match answer.failure() {
        Some(failure) if matches!(failure.cause, Cause::NotFound | Cause::Lost { .. } | Cause::Malformed) => {
            Err(failure)
        }
        _ => Ok(()),
    }
}

fn told(answer: &HttpAnswer) -> Told {
    let is_text = serde_json::from_slice::<serde_json::Value>(&answer.body).is_err();
    let text = if is_text { String::from_utf8_lossy(&answer.body).into_owned() } else { String::new() };
    (answer.status, refusal::message(&answer.body), transport::oauth_error(&answer.body), text)
}
