//! One HTTP client for the process, and the meaning of an exchange that failed (docs/print-server-api.md, "Answers").
//!
//! Invariants: no redirect is followed, nothing is sent twice by itself, every body is bounded, and no error holds a
//! URL (a card number may stand in it).

#![cfg_attr(feature = "simulate", expect(dead_code, reason = "a model of the server answers"))]

use std::time::{Duration, Instant};

use jiff::Timestamp;
use reqwest::header::{AGE, AUTHORIZATION, CONTENT_TYPE, DATE, HeaderValue, RETRY_AFTER};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use tokio::sync::watch;

use super::server_clock::{ClockReading, ServerClock};
use super::told_time::ToldTime;
use super::{connection, refusal, wire};
use crate::domain::{Cause, Failure, Secret, Who};
use crate::tls;

/// The largest answer that is read: 2,000 history rows of 2 kB.
pub const BODY_LIMIT: usize = 4 * 1024 * 1024;

/// Idle connections are kept this long; the agent's probe uses one more often, so a tap finds a warm one.
const KEEP_IDLE: Duration = Duration::from_secs(90);

/// The settings of the client, from the table `[server]` (docs/configuration.md).
#[derive(Clone, Debug)]
pub struct ClientSettings {
    /// Ends in `/api/v1`.
    pub url: Url,
    /// Ends in `/oauth/v1`.
    pub oauth_url: Url,
    /// `X-Api-Key`.
    pub api_key: Secret,
    /// The bearer for `/login` and for records, unless the key allows untrusted endpoints.
    pub device_token: Option<Secret>,
    /// The rules by which the server's certificate is accepted.
    pub trust: tls::Trust,
    /// An explicit proxy; otherwise the environment's.
    pub proxy: Option<Url>,
    /// The time limit until TLS is set up.
    pub connect_timeout: Duration,
    /// The time limit from the start of a request to the end of its answer.
    pub request_timeout: Duration,
    /// Newer servers take `datetime` in a job record.
    pub history_datetime: bool,
}

#[cfg(test)]
impl ClientSettings {
    /// A server that is not there.
    pub(crate) fn nobody() -> Self {
        Self {
            url: "http://127.0.0.1:9/api/v1".parse().expect("it is a URL"),
            oauth_url: "http://127.0.0.1:9/oauth/v1".parse().expect("it is a URL"),
            api_key: Secret::new("key"),
            device_token: None,
            trust: tls::Trust::default(),
            proxy: None,
            connect_timeout: Duration::from_secs(3),
            request_timeout: Duration::from_secs(10),
            history_datetime: false,
        }
    }
}

/// Why no client could be made.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// A certificate or key cannot be used.
    #[error(transparent)]
    Tls(#[from] tls::TlsError),
    /// A key or token cannot stand in a header.
    #[error("use {0}: it holds characters that cannot be sent in a header")]
    Header(&'static str),
    /// reqwest refused the settings.
    #[error("set up the HTTP client: {0}")]
    Http(String),
}

/// The body of a 2xx answer.
pub(super) type Body = Vec<u8>;

/// An answer of any status.
pub(super) struct HttpAnswer {
    pub(super) status: StatusCode,
    pub(super) body: Body,
    retry_after: Option<u32>,
    reading: Option<ClockReading>,
}

impl HttpAnswer {
    /// The failure that a status other than 2xx means.
    pub(super) fn failure(&self) -> Option<Failure> {
        let cause = match failure_of(self.status, self.retry_after)? {
            Cause::Refused(_) => Cause::Refused(refusal::who(&self.body)),
            // ErrorCodeInfo may come with a 400 as well as with a 200.
            Cause::Rejected => wire::failing_code(&self.body).unwrap_or(Cause::Rejected),
            cause => cause,
        };
        let message = refusal::message(&self.body).map(|text| format!(": {text}")).unwrap_or_default();
        Some(Failure::new(cause, format!("server answered {}{}{message}", self.status, error_word(&self.body))))
    }
}

#[cfg(test)]
impl HttpAnswer {
    pub(super) fn new(status: u16, body: &str) -> Self {
        Self { status: StatusCode::from_u16(status).unwrap(), body: body.into(), retry_after: None, reading: None }
    }
}

/// The HTTP client with the key that goes with every request.
#[derive(Clone, Debug)]
pub(super) struct HttpTransport {
    http: reqwest::Client,
    key: HeaderValue,
    timeout: Duration,
    /// The server's clock, by its answers.
    clock: watch::Sender<ServerClock>,
    /// Whether the last request was answered at all; `None` before the first.
    reached: watch::Sender<Option<bool>>,
    pub(super) told_time: ToldTime,
}

impl HttpTransport {
    pub(super) fn new(settings: &ClientSettings) -> Result<Self, SetupError> {
        let (mut config, witness) = tls::watched_client_config(&settings.trust)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("print-release-agent/", env!("CARGO_PKG_VERSION")))
            .tls_backend_preconfigured(config)
            .tls_info(true)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .connect_timeout(settings.connect_timeout)
            .pool_idle_timeout(KEEP_IDLE);
        let loopback = settings.url.scheme() == "http";
        if let Some(proxy) = &settings.proxy {
            let proxy = reqwest::Proxy::all(proxy.clone()).map_err(|error| SetupError::Http(describe(error)))?;
            builder = builder.proxy(proxy);
        } else if loopback {
            builder = builder.no_proxy();
        }
        Ok(Self {
            http: builder.build().map_err(|error| SetupError::Http(describe(error)))?,
            key: sensitive(&settings.api_key, "api_key")?,
            timeout: settings.request_timeout,
            clock: watch::Sender::new(ServerClock::default()),
            reached: watch::Sender::new(None),
            told_time: ToldTime::new(witness),
        })
    }

    /// The same client with another key.
    pub(super) fn with_key(&self, key: &Secret) -> Result<Self, SetupError> {
        Ok(Self { key: sensitive(key, "api_key")?, ..self.clone() })
    }

    /// Looks at the server's clock.
    pub(super) fn clock(&self) -> watch::Ref<'_, ServerClock> {
        self.clock.borrow()
    }

    /// A request with the key, and with a bearer if there is one.
    pub(super) fn request(&self, method: Method, url: Url, bearer: Option<&HeaderValue>) -> RequestBuilder {
        let request = self.http.request(method, url).timeout(self.timeout).header("X-Api-Key", self.key.clone());
        match bearer {
            Some(bearer) => request.header(AUTHORIZATION, bearer.clone()),
            None => request,
        }
    }

    /// Whether the last request was answered at all. A connection that was cut wakes the watchers too, with the value
    /// unchanged.
    pub(super) fn reached(&self) -> watch::Receiver<Option<bool>> {
        self.reached.subscribe()
    }

    /// Sends to the print server once and reads the whole answer; anything but a 2xx is a failure.
    pub(super) async fn exchange(&self, request: RequestBuilder) -> Result<Body, Failure> {
        let result = self.answer(request).await;
        match result.as_ref().err().map(|failure| failure.cause) {
            Some(Cause::Unreachable | Cause::Lost { at_work: true }) => self.set_reached(false),
            // One connection that was cut says little, so the watchers are woken to look again.
            Some(Cause::Lost { at_work: false }) => self.reached.send_modify(|_| {}),
            _ => self.set_reached(true),
        }
        self.body(result)
    }

    /// The same for the cheapest request that there is: a server that cuts even that one counts as gone.
    pub(super) async fn probe(&self, request: RequestBuilder) -> Result<Body, Failure> {
        let result = self.answer(request).await;
        let silent = |failure: &Failure| matches!(failure.cause, Cause::Unreachable | Cause::Lost { .. });
        self.set_reached(!result.as_ref().is_err_and(silent));
        self.body(result)
    }

    fn set_reached(&self, reached: bool) {
        self.reached.send_if_modified(|known| known.replace(reached) != Some(reached));
    }

    /// The body of a 2xx. The time on the server's clock is noted from every answer.
    fn body(&self, result: Result<HttpAnswer, Failure>) -> Result<Body, Failure> {
        let answer = result?;
        let failure = answer.failure();
        self.clock.send_modify(|clock| clock.heard(answer.reading, failure.is_none()));
        failure.map_or(Ok(answer.body), Err)
    }

    /// Sends once, to the print server or another, and reads the whole answer, whatever its status.
    pub(super) async fn answer(&self, request: RequestBuilder) -> Result<HttpAnswer, Failure> {
        send_once(request, &self.told_time).await
    }
}

#[cfg(not(feature = "simulate"))]
async fn send_once(request: RequestBuilder, told_time: &ToldTime) -> Result<HttpAnswer, Failure> {
    let asked = Instant::now();
    let response = request.send().await.map_err(classify)?;
    told_time.note(&response, date(&response));
    let reading = date(&response).map(|date| ClockReading { date, asked, answered: Instant::now() });
    let (status, retry_after) = (response.status(), retry_after(&response));
    Ok(HttpAnswer { status, retry_after, reading, body: bounded(response).await? })
}

/// In the simulated world the server is a model, and the bytes of an answer are read as those of a real one.
#[cfg(feature = "simulate")]
async fn send_once(request: RequestBuilder, _: &ToldTime) -> Result<HttpAnswer, Failure> {
    let asked = Instant::now();
    let answer = crate::simulate::exchange(request.build().map_err(classify)?).await?;
    let reading = answer.date.map(|date| ClockReading { date, asked, answered: Instant::now() });
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body: Body = answer.body.into();
    if body.len() > BODY_LIMIT {
        return Err(Failure::new(Cause::Malformed, format!("answer is longer than {BODY_LIMIT} bytes")));
    }
    Ok(HttpAnswer { status, retry_after: answer.retry_after, reading, body })
}

/// The bytes of a form.
pub(super) fn encode(fields: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish()
}

/// A form body with its Content-Type even when it is empty, as a release needs it (docs/print-server-api.md,
/// "Release a document").
pub(super) fn form(request: RequestBuilder, fields: &[(&str, &str)]) -> RequestBuilder {
    encoded_form(request, encode(fields))
}

/// The same with the bytes of [`encode`], byte for byte.
pub(super) fn encoded_form(request: RequestBuilder, body: String) -> RequestBuilder {
    request
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header(reqwest::header::CONTENT_LENGTH, body.len())
        .body(body)
}

/// `Authorization: Bearer ...`, masked wherever headers are printed.
pub(super) fn bearer(token: &Secret) -> Result<HeaderValue, SetupError> {
    let text = zeroize::Zeroizing::new(format!("Bearer {}", token.expose()));
    sensitive(&Secret::new(text.as_str()), "token")
}

fn sensitive(secret: &Secret, name: &'static str) -> Result<HeaderValue, SetupError> {
    let mut value = HeaderValue::from_str(secret.expose()).map_err(|_| SetupError::Header(name))?;
    value.set_sensitive(true);
    Ok(value)
}

async fn bounded(mut response: Response) -> Result<Vec<u8>, Failure> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(classify)? {
        if body.len() + chunk.len() > BODY_LIMIT {
            return Err(Failure::new(Cause::Malformed, format!("answer is longer than {BODY_LIMIT} bytes")));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// The cause that a status stands for. A server error may come after the work, also from a proxy in between, and so may a
/// plea for patience.
fn failure_of(status: StatusCode, retry_after: Option<u32>) -> Option<Cause> {
    match status.as_u16() {
        200..=299 => None,
        401 | 403 | 407 => Some(Cause::Refused(Who::Token)),
        404 => Some(Cause::NotFound),
        425 | 429 => Some(Cause::Overloaded { retry_after }),
        503 if retry_after.is_some() => Some(Cause::Overloaded { retry_after }),
        502 | 504 | 408 => Some(Cause::Lost { at_work: true }),
        500..=599 => Some(Cause::Lost { at_work: false }),
        400..=499 => Some(Cause::Rejected),
        _ => Some(Cause::Malformed),
    }
}

fn retry_after(response: &Response) -> Option<u32> {
    response.headers().get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()
}

/// The time at which the server made the answer. A cache tells the time of an earlier one (RFC 9111, section 5.1).
fn date(response: &Response) -> Option<Timestamp> {
    if response.headers().contains_key(AGE) {
        return None;
    }
    let text = response.headers().get(DATE)?.to_str().ok()?;
    jiff::fmt::rfc2822::parse(text).ok().map(|date| date.timestamp())
}

/// The OAuth error code of a refusal, if there is one, for a person.
fn error_word(body: &[u8]) -> String {
    oauth_error(body).map(|word| format!(", {word}")).unwrap_or_default()
}

/// `error` of an OAuth refusal (RFC 6749, section 5.2): a word, never the body itself.
pub(super) fn oauth_error(body: &[u8]) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct OauthErrorBody {
        error: String,
    }
    let is_word = |word: &str| word.len() <= 64 && word.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    serde_json::from_slice(body).ok().map(|OauthErrorBody { error }| error).filter(|word| is_word(word))
}

fn classify(error: reqwest::Error) -> Failure {
    let cause = if error.is_connect() {
        Cause::Unreachable
    } else if error.is_builder() {
        Cause::Rejected
    } else {
        Cause::Lost { at_work: error.is_timeout() }
    };
    let sentence = connection::sentence(&error);
    tracing::debug!(error = describe(error), "{sentence}");
    Failure::new(cause, sentence)
}

/// An error with its sources, without the URL.
fn describe(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
