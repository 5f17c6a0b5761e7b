//! How a request travels: one HTTP client for the process, and what a failed exchange means.
//!
//! Invariants: no redirect is followed, nothing is sent twice by itself, every body is bounded, and no error holds a
//! URL (a card number may stand in it).

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, DATE, HeaderValue, RETRY_AFTER};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use tokio::sync::watch;

use crate::domain::{Cause, Failure, Secret, Who};
use crate::tls;

/// The largest answer that is read: 2,000 history rows of 2 kB.
pub const BODY_LIMIT: usize = 4 * 1024 * 1024;

/// Idle connections are kept this long; the agent's probe uses one more often, so a tap finds a warm one.
const KEEP_IDLE: Duration = Duration::from_secs(90);

/// No server's clock is so far away.
const UNKNOWN: i64 = i64::MIN;

/// What the client is made from. Comes from `[server]`.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Ends in `/api/v1`.
    pub url: Url,
    /// Ends in `/oauth/v1`.
    pub oauth_url: Url,
    /// `X-Api-Key`.
    pub api_key: Secret,
    /// The bearer for `/login` and for records, unless the key allows untrusted endpoints.
    pub device_token: Option<Secret>,
    /// Whom to trust.
    pub trust: tls::Trust,
    /// An explicit proxy; otherwise the environment's.
    pub proxy: Option<Url>,
    /// To the first byte of TLS and HTTP.
    pub connect_timeout: Duration,
    /// From the start of a request to the end of its answer.
    pub request_timeout: Duration,
    /// Newer servers take `datetime` in a job record.
    pub history_datetime: bool,
}

/// Why no client could be made.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// Certificates or keys.
    #[error(transparent)]
    Tls(#[from] tls::TlsError),
    /// A key or token that cannot stand in a header.
    #[error("use {0}: it holds characters that cannot be sent in a header")]
    Header(&'static str),
    /// reqwest would not have it.
    #[error("set up the HTTP client: {0}")]
    Http(String),
}

/// The body of a 2xx answer.
pub type Body = Vec<u8>;

/// An answer of any status.
pub struct Answer {
    /// What the server says about the request.
    pub status: StatusCode,
    /// What it says beyond that.
    pub body: Body,
    retry_after: Option<u32>,
    date: Option<Timestamp>,
}

impl Answer {
    /// What a status other than 2xx means.
    pub fn failure(&self) -> Option<Failure> {
        let cause = failure_of(self.status, self.retry_after)?;
        Some(Failure::new(cause, format!("server answered {}{}", self.status, error_word(&self.body))))
    }
}

#[cfg(test)]
impl Answer {
    /// An answer as a server might give it.
    pub fn new(status: u16, body: &str) -> Self {
        Self { status: StatusCode::from_u16(status).unwrap(), body: body.into(), retry_after: None, date: None }
    }
}

/// The HTTP client with the key that goes with every request.
#[derive(Clone, Debug)]
pub struct Transport {
    http: reqwest::Client,
    key: HeaderValue,
    timeout: Duration,
    /// How many seconds the server's clock is ahead, by its last answer; [`UNKNOWN`] before the first.
    ahead: Arc<AtomicI64>,
    /// Whether the last request was answered at all; `None` before the first.
    reached: watch::Sender<Option<bool>>,
}

impl Transport {
    pub fn new(settings: &Settings) -> Result<Self, SetupError> {
        let mut config = tls::client_config(&settings.trust)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("print-release-agent/", env!("CARGO_PKG_VERSION")))
            .tls_backend_preconfigured(config)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .connect_timeout(settings.connect_timeout)
            .pool_idle_timeout(KEEP_IDLE);
        let loopback = settings.url.scheme() == "http";
        if let Some(proxy) = &settings.proxy {
            let proxy = reqwest::Proxy::all(proxy.clone()).map_err(|error| SetupError::Http(tell(error)))?;
            builder = builder.proxy(proxy);
        } else if loopback {
            builder = builder.no_proxy();
        }
        Ok(Self {
            http: builder.build().map_err(|error| SetupError::Http(tell(error)))?,
            key: sensitive(&settings.api_key, "api_key")?,
            timeout: settings.request_timeout,
            ahead: Arc::new(AtomicI64::new(UNKNOWN)),
            reached: watch::Sender::new(None),
        })
    }

    /// What the server's clock shows when this box's shows `wall`: good to the second, once the server has answered.
    pub fn server_time(&self, wall: Timestamp) -> Timestamp {
        let ahead = Some(self.ahead.load(Ordering::Relaxed)).filter(|ahead| *ahead != UNKNOWN);
        wall.checked_add(SignedDuration::from_secs(ahead.unwrap_or(0))).unwrap_or(wall)
    }

    /// Whether the server has answered yet, and so told its time, if it tells it at all.
    pub fn knows_time(&self) -> bool {
        self.ahead.load(Ordering::Relaxed) != UNKNOWN
    }

    /// A request with the key, and with a bearer if there is one.
    pub fn request(&self, method: Method, url: Url, bearer: Option<&HeaderValue>) -> RequestBuilder {
        let request = self.http.request(method, url).timeout(self.timeout).header("X-Api-Key", self.key.clone());
        match bearer {
            Some(bearer) => request.header(AUTHORIZATION, bearer.clone()),
            None => request,
        }
    }

    /// Whether the last request was answered at all. Changed too, to what it was, when a connection was cut.
    pub fn reached(&self) -> watch::Receiver<Option<bool>> {
        self.reached.subscribe()
    }

    /// Sends to the print server once and reads the whole answer; anything but a 2xx is a failure.
    pub async fn exchange(&self, request: RequestBuilder) -> Result<Body, Failure> {
        let result = self.answer(request).await;
        match result.as_ref().err().map(|failure| failure.cause) {
            Some(Cause::Unreachable | Cause::Lost { at_work: true }) => self.found(false),
            // One connection that was cut says little: whoever watches looks again.
            Some(Cause::Lost { at_work: false }) => self.reached.send_modify(|_| {}),
            _ => self.found(true),
        }
        self.body(result)
    }

    /// The same with the cheapest request that there is: a server that cuts that is not there.
    pub async fn probe(&self, request: RequestBuilder) -> Result<Body, Failure> {
        let result = self.answer(request).await;
        let silent = |failure: &Failure| matches!(failure.cause, Cause::Unreachable | Cause::Lost { .. });
        self.found(!result.as_ref().is_err_and(silent));
        self.body(result)
    }

    fn found(&self, there: bool) {
        self.reached.send_if_modified(|known| known.replace(there) != Some(there));
    }

    /// The body of a 2xx. What the server's clock shows is noted.
    fn body(&self, result: Result<Answer, Failure>) -> Result<Body, Failure> {
        let answer = result?;
        let ahead = answer.date.map_or(0, |date| date.duration_since(Timestamp::now()).as_secs());
        self.ahead.store(ahead, Ordering::Relaxed);
        answer.failure().map_or(Ok(answer.body), Err)
    }

    /// Sends once, to the print server or another, and reads the whole answer, whatever its status.
    pub async fn answer(&self, request: RequestBuilder) -> Result<Answer, Failure> {
        let response = request.send().await.map_err(classify)?;
        let (status, retry_after, date) = (response.status(), retry_after(&response), date(&response));
        Ok(Answer { status, retry_after, date, body: bounded(response).await? })
    }
}

/// The bytes of a form.
pub fn encode(fields: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish()
}

/// A form body with its Content-Type even when it is empty (001, "Send document to output port").
pub fn form(request: RequestBuilder, fields: &[(&str, &str)]) -> RequestBuilder {
    encoded_form(request, encode(fields))
}

/// The same with the bytes of [`encode`], byte for byte.
pub fn encoded_form(request: RequestBuilder, body: String) -> RequestBuilder {
    request
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header(reqwest::header::CONTENT_LENGTH, body.len())
        .body(body)
}

/// `Authorization: Bearer ...`, masked wherever headers are printed.
pub fn bearer(token: &Secret) -> Result<HeaderValue, SetupError> {
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

/// What a status means. 429, and 503 that says when to come again, are refused before any work; other server errors, also
/// from something between, may have come after it.
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

fn date(response: &Response) -> Option<Timestamp> {
    let text = response.headers().get(DATE)?.to_str().ok()?;
    jiff::fmt::rfc2822::parse(text).ok().map(|date| date.timestamp())
}

/// The OAuth error code of a refusal, if there is one, for a person.
fn error_word(body: &[u8]) -> String {
    oauth_error(body).map(|word| format!(", {word}")).unwrap_or_default()
}

/// `error` of an OAuth refusal (RFC 6749, section 5.2): a word, never the body itself.
pub fn oauth_error(body: &[u8]) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct OauthError {
        error: String,
    }
    let is_word = |word: &str| word.len() <= 64 && word.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    serde_json::from_slice(body).ok().map(|OauthError { error }| error).filter(|word| is_word(word))
}

fn classify(error: reqwest::Error) -> Failure {
    let cause = if error.is_connect() {
        Cause::Unreachable
    } else if error.is_builder() {
        Cause::Rejected
    } else {
        Cause::Lost { at_work: error.is_timeout() }
    };
    Failure::new(cause, tell(error))
}

/// An error with its sources, without the URL.
fn tell(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
