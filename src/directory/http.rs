//! One HTTP client for the three neighbours. A request is built without I/O; this sends it once and reads the whole answer.
//!
//! Invariants: no redirect leads to another host; every body is bounded; nothing that may have had an effect is sent again; logs
//! and errors name a call, never its address, headers or body, for tokens stand in all three.

use std::fmt;
use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION, RETRY_AFTER};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use zeroize::Zeroizing;

use super::DirectoryError;
use crate::domain::{Cause, Failure, Secret, Who};
use crate::random;
use crate::tls;

/// The largest answer that is read: a refusal of each person of the largest request.
const BODY_LIMIT: usize = 8 * 1024 * 1024;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Idle connections are kept no longer than this. A service that closes one just when a refresh token is sent on it would cost the
/// pairing, and services keep theirs for five seconds at least.
const KEEP_IDLE: Duration = Duration::from_secs(2);

/// The most waits for a service that asks for patience.
const PATIENCE_LIMIT: u32 = 6;

/// The longest wait of those. A service that asks for more is left alone.
const WAIT_LIMIT: u32 = 300;

/// The shortest wait where the service does not say how long.
const FIRST_WAIT: Duration = Duration::from_secs(1);

/// The header `Authorization` of a request.
#[derive(Clone)]
pub(super) enum Authorization {
    None,
    /// `Bearer ...`
    Bearer(Secret),
    /// The name and the password of a client (RFC 7617).
    Basic(String, Option<Secret>),
    /// The token as it is, or behind a word of its own.
    Plain(Secret),
}

/// The body of a request with its type.
#[derive(Clone)]
pub(super) enum ApiBody {
    None,
    Json(Zeroizing<Vec<u8>>),
    Form(Zeroizing<String>),
}

/// A request as it will be sent.
#[derive(Clone)]
pub(super) struct ApiRequest {
    /// The words for logs and errors, such as `list the users`.
    pub(super) call: &'static str,
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) authorization: Authorization,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: ApiBody,
    /// A status other than 2xx that says that the work was done before.
    done_before: Option<u16>,
}

/// The address and the body may hold a token.
impl fmt::Debug for ApiRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.call, self.method)
    }
}

impl ApiRequest {
    pub(super) fn new(call: &'static str, method: Method, url: Url) -> Self {
        let (authorization, headers, body) = (Authorization::None, Vec::new(), ApiBody::None);
        Self { call, method, url, authorization, headers, body, done_before: None }
    }

    pub(super) fn authorized(self, authorization: Authorization) -> Self {
        Self { authorization, ..self }
    }

    /// Counts this status as success with an empty body.
    pub(super) fn or_done_before(self, status: u16) -> Self {
        Self { done_before: Some(status), ..self }
    }

    pub(super) fn json(self, body: &impl serde::Serialize) -> Self {
        let text = serde_json::to_vec(body).expect("names and texts are always JSON");
        Self { body: ApiBody::Json(Zeroizing::new(text)), ..self }
    }

    /// The fields in this order.
    pub(super) fn form(self, fields: &[(&str, &str)]) -> Self {
        let text = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        Self { body: ApiBody::Form(Zeroizing::new(text)), ..self }
    }
}

/// The address of a resource below a base: the parts are encoded, and `slash` ends it with one.
pub(super) fn address(base: &Url, parts: &[&str], slash: bool) -> Url {
    let mut url = base.clone();
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().extend(parts);
        if slash {
            path.push("");
        }
    }
    url
}

/// An answer of any status.
#[derive(Debug)]
pub(super) struct ApiAnswer {
    pub(super) status: StatusCode,
    pub(super) body: Vec<u8>,
    retry_after: Option<u32>,
}

impl ApiAnswer {
    /// The failure that a status other than 2xx means.
    pub(super) fn failure(&self) -> Option<Failure> {
        let cause = match self.status.as_u16() {
            200..=299 => return None,
            401 | 403 | 407 => Cause::Refused(Who::Token),
            404 => Cause::NotFound,
            429 => Cause::Overloaded { retry_after: self.retry_after },
            503 if self.retry_after.is_some() => Cause::Overloaded { retry_after: self.retry_after },
            502 | 504 | 408 => Cause::Lost { at_work: true },
            500..=599 => Cause::Lost { at_work: false },
            400..=499 => Cause::Rejected,
            _ => Cause::Malformed,
        };
        Some(Failure::new(cause, format!("the server answered {}", self.status)))
    }

    /// The body of a 2xx, or the error of the call.
    pub(super) fn accepted(self, request: &ApiRequest) -> Result<Vec<u8>, DirectoryError> {
        match self.failure() {
            None => Ok(self.body),
            Some(_) if request.done_before == Some(self.status.as_u16()) => Ok(Vec::new()),
            Some(failure) => Err(DirectoryError::Exchange { call: request.call, failure }),
        }
    }

    #[cfg(test)]
    pub(super) fn sample(status: u16, body: &str) -> Self {
        Self { status: StatusCode::from_u16(status).unwrap(), body: body.into(), retry_after: None }
    }
}

/// The client. It is cheap to clone.
#[derive(Clone, Debug)]
pub struct DirectoryClient {
    /// For the services outside, by the proxy of the environment if there is one.
    http: reqwest::Client,
    /// For `http://`, which is allowed on this machine alone: no proxy can reach that.
    local: reqwest::Client,
    timeout: Duration,
}

impl DirectoryClient {
    /// A client that trusts the system's roots. `timeout` is for a request with its answer.
    ///
    /// # Errors
    /// There is no trust anchor, or the HTTP client refuses.
    pub fn new(trust: &tls::Trust, timeout: Duration) -> Result<Self, DirectoryError> {
        let mut config = tls::client_config(trust).map_err(|error| DirectoryError::Setup(error.to_string()))?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let builder = || {
            reqwest::Client::builder()
                .user_agent(concat!("print-release-agent/", env!("CARGO_PKG_VERSION")))
                .tls_backend_preconfigured(config.clone())
                .redirect(reqwest::redirect::Policy::none())
                .retry(reqwest::retry::never())
                .referer(false)
                .connect_timeout(CONNECT_TIMEOUT)
                .pool_idle_timeout(KEEP_IDLE)
        };
        let setup = |error| DirectoryError::Setup(describe(error));
        let http = builder().build().map_err(setup)?;
        let local = builder().no_proxy().build().map_err(setup)?;
        Ok(Self { http, local, timeout })
    }

    /// Sends once and reads the whole answer. A redirect is followed only to the same address with a slash at its end, with the
    /// same method and body.
    pub(super) async fn send(&self, request: &ApiRequest) -> Result<ApiAnswer, DirectoryError> {
        let exchange = |failure| DirectoryError::Exchange { call: request.call, failure };
        let mut response = self.once(request, &request.url).await.map_err(exchange)?;
        if let Some(url) = with_slash(&request.url, &response) {
            response = self.once(request, &url).await.map_err(exchange)?;
        }
        let status = response.status();
        let retry_after = retry_after(&response);
        let body = bounded(response).await.map_err(exchange)?;
        tracing::debug!(call = request.call, status = status.as_u16(), "answer");
        Ok(ApiAnswer { status, retry_after, body })
    }

    /// The same, with waits for a service that asks for patience: it has not worked on the request yet.
    pub(super) async fn send_patiently(&self, request: &ApiRequest) -> Result<ApiAnswer, DirectoryError> {
        let mut waits = 0;
        loop {
            let answer = self.send(request).await?;
            match wait_before_next(&answer, waits, random::word()) {
                None => return Ok(answer),
                Some(wait) => {
                    tracing::warn!(call = request.call, seconds = wait.as_secs(), "the service asks for patience");
                    tokio::time::sleep(wait).await;
                }
            }
            waits += 1;
        }
    }

    async fn once(&self, request: &ApiRequest, url: &Url) -> Result<Response, Failure> {
        let unsendable =
            || Failure::new(Cause::Rejected, "a token or a setting has characters that no header can have");
        let http = if url.scheme() == "http" { &self.local } else { &self.http };
        let mut sent = http.request(request.method.clone(), url.clone()).timeout(self.timeout);
        sent = sent.header(ACCEPT, "application/json");
        for (name, value) in &request.headers {
            let value = HeaderValue::from_str(value).map_err(|_| unsendable())?;
            sent = sent.header(HeaderName::from_static(name), value);
        }
        sent = authorize(sent, &request.authorization).ok_or_else(unsendable)?;
        sent = match &request.body {
            ApiBody::None => sent,
            ApiBody::Json(bytes) => sent.header(CONTENT_TYPE, "application/json").body(bytes.to_vec()),
            ApiBody::Form(text) => {
                sent.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(text.as_str().to_owned())
            }
        };
        sent.send().await.map_err(classify)
    }
}

fn authorize(request: RequestBuilder, authorization: &Authorization) -> Option<RequestBuilder> {
    let value = match authorization {
        Authorization::None => return Some(request),
        Authorization::Basic(name, password) => {
            return Some(request.basic_auth(name, Some(password.as_ref().map_or("", Secret::expose))));
        }
        Authorization::Bearer(token) => Zeroizing::new(format!("Bearer {}", token.expose())),
        Authorization::Plain(token) => Zeroizing::new(token.expose().to_owned()),
    };
    let mut value = HeaderValue::from_str(&value).ok()?;
    value.set_sensitive(true);
    Some(request.header(AUTHORIZATION, value))
}

/// The address of a redirect that only adds the slash at the end of the path.
fn with_slash(url: &Url, response: &Response) -> Option<Url> {
    if !matches!(response.status().as_u16(), 301 | 302 | 307 | 308) {
        return None;
    }
    let location = response.headers().get(LOCATION)?.to_str().ok()?;
    let target = url.join(location).ok()?;
    let mut wanted = url.clone();
    wanted.set_path(&format!("{}/", url.path()));
    (target == wanted).then_some(wanted)
}

/// The wait before the same request is sent again, if it should be.
fn wait_before_next(answer: &ApiAnswer, waits: u32, random: u64) -> Option<Duration> {
    let Some(Failure { cause: Cause::Overloaded { retry_after }, .. }) = answer.failure() else { return None };
    if waits >= PATIENCE_LIMIT {
        return None;
    }
    match retry_after {
        Some(seconds) if seconds > WAIT_LIMIT => None,
        // A part of a second more, so that two that were sent away together do not come back together.
        Some(seconds) => Some(Duration::from_secs(seconds.into()) + Duration::from_millis(random % 250)),
        None => Some(FIRST_WAIT * 2_u32.pow(waits) + Duration::from_millis(random % 250)),
    }
}

async fn bounded(mut response: Response) -> Result<Vec<u8>, Failure> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(classify)? {
        if body.len() + chunk.len() > BODY_LIMIT {
            return Err(Failure::new(Cause::Malformed, format!("the answer is longer than {BODY_LIMIT} bytes")));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn retry_after(response: &Response) -> Option<u32> {
    response.headers().get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()
}

fn classify(error: reqwest::Error) -> Failure {
    let cause = if error.is_connect() {
        Cause::Unreachable
    } else if error.is_builder() {
        Cause::Rejected
    } else {
        Cause::Lost { at_work: error.is_timeout() }
    };
    Failure::new(cause, describe(error))
}

/// An error with its sources, without the address.
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

/// A number of seconds in an answer, whatever its type: tokens must not be lost over that.
pub(super) fn seconds(value: &serde_json::Value) -> Option<u64> {
    let text = value.as_str().map(|text| text.trim().parse().ok());
    // A fraction of a second is of no interest, and a number beyond the range is cut to it.
    text.unwrap_or_else(|| {
        value.as_u64().or_else(|| value.as_f64().filter(|life| *life >= 0.0).map(|life| life as u64))
    })
}

/// The text of a server for a person: one line, bounded, without control characters and without a secret that it may repeat.
pub(crate) fn printable(text: &str, secrets: &[&Secret]) -> String {
    const LIMIT: usize = 300;
    let mut text = text.to_owned();
    for secret in secrets.iter().filter(|secret| !secret.expose().is_empty()) {
        text = text.replace(secret.expose(), "***");
    }
    let line = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    line.take(LIMIT).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn overloaded(status: u16, retry_after: Option<u32>) -> ApiAnswer {
        ApiAnswer { retry_after, ..ApiAnswer::sample(status, "") }
    }

    #[test]
    fn a_service_that_asks_for_patience_gets_it_within_limits() {
        let seconds = |answer: &ApiAnswer, waits| wait_before_next(answer, waits, 0).map(|wait| wait.as_secs());
        assert_eq!(seconds(&overloaded(429, Some(7)), 0), Some(7));
        assert_eq!(seconds(&overloaded(503, Some(7)), 0), Some(7));
        assert_eq!(seconds(&overloaded(429, None), 3), Some(8), "it doubles");
        assert_eq!(seconds(&overloaded(429, Some(7)), PATIENCE_LIMIT), None, "not for ever");
        assert_eq!(seconds(&overloaded(429, Some(WAIT_LIMIT + 1)), 0), None, "not so long");
        for status in [200, 400, 401, 500, 503] {
            assert_eq!(seconds(&overloaded(status, None), 0), None, "{status} may have had an effect, or never will");
        }
    }

    #[test]
    fn an_address_is_built_part_by_part() {
        let base = |text: &str| Url::parse(text).unwrap();
        assert_eq!(address(&base("https://h/v1"), &["groups"], true).as_str(), "https://h/v1/groups/");
        assert_eq!(
            address(&base("https://h/v1/"), &["users", "a/b ?"], false).as_str(),
            "https://h/v1/users/a%2Fb%20%3F"
        );
        assert_eq!(address(&base("https://h"), &["x"], false).as_str(), "https://h/x");
    }

    #[test]
    fn neither_a_request_nor_a_message_shows_a_secret() {
        let url = Url::parse("https://h/consumer-tokens/hunter2").unwrap();
        let request = ApiRequest::new("delete the token", Method::DELETE, url)
            .authorized(Authorization::Plain(Secret::new("hunter2")))
            .form(&[("password", "hunter2")]);
        assert_eq!(format!("{request:?}"), "delete the token (DELETE)");
        assert_eq!(printable("no\nhunter2", &[&Secret::new("hunter2"), &Secret::new("")]), "no ***");
    }
}
