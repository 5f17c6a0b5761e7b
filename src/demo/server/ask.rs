//! A request as it was read, and the answers to it.
//!
//! A form or query is taken apart name by name; a name that is given twice, has the wrong type or is left over is refused.
//! The vendor documents few of these statuses, so a [`Refusal`] gives its reason in the body.

use std::str::FromStr;

use axum::Json;
use axum::body::{Bytes, to_bytes};
use axum::extract::{FromRequestParts, RawPathParams, Request};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// The longest body of a request, in bytes.
const BODY_LIMIT: usize = 1 << 20;
/// The longest name that an answer repeats, in bytes.
const NAME_LIMIT: usize = 24;
const FORM: &str = "application/x-www-form-urlencoded";

/// The answer of a call.
pub(super) type Reply = Result<Response, Refusal>;

/// A status and the reason for it, which a client reads as `errorMessage`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{status}: {why}")]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) why: String,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, why: impl Into<String>) -> Refusal {
        Refusal { status, why: why.into() }
    }

    pub(super) fn bad(why: impl Into<String>) -> Refusal {
        Refusal::new(StatusCode::BAD_REQUEST, why)
    }

    pub(super) fn unauthorized(why: impl Into<String>) -> Refusal {
        Refusal::new(StatusCode::UNAUTHORIZED, why)
    }

    pub(super) fn forbidden(why: impl Into<String>) -> Refusal {
        Refusal::new(StatusCode::FORBIDDEN, why)
    }

    pub(super) fn not_found(why: impl Into<String>) -> Refusal {
        Refusal::new(StatusCode::NOT_FOUND, why)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status, Json(serde_json::json!({ "errorMessage": self.why }))).into_response()
    }
}

/// A 200 with this value as JSON.
pub(super) fn json(value: &impl Serialize) -> Response {
    Json(value).into_response()
}

/// `ErrorCodeInfo`; 0 is success, and all of them come with a 200.
pub(super) fn error_code(code: u32) -> Response {
    json(&serde_json::json!({ "errorCode": code }))
}

/// A request whose body was read.
pub(super) struct Ask {
    pub(super) method: Method,
    /// The host that was addressed, without its port.
    pub(super) host: String,
    /// The variable segments of the path, percent-decoded.
    pub(super) path: Vec<String>,
    pub(super) body: Bytes,
    headers: HeaderMap,
    query: String,
}

impl Ask {
    /// Reads the body to its end.
    ///
    /// # Errors
    /// A path that is not UTF-8, a body that is too long or breaks off.
    pub(super) async fn read(request: Request) -> Result<Ask, Refusal> {
        let (mut parts, body) = request.into_parts();
        let path = match RawPathParams::from_request_parts(&mut parts, &()).await {
            Ok(params) => params.iter().map(|(_, value)| value.to_owned()).collect(),
            Err(rejection) => return Err(Refusal::bad(rejection.to_string())),
        };
        let body = to_bytes(body, BODY_LIMIT).await;
        let body = body.map_err(|error| Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, error.to_string()))?;
        let authority = match parts.uri.host() {
            Some(host) => host,
            None => host_of(parts.headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default()),
        };
        Ok(Ask {
            host: authority.to_owned(),
            method: parts.method,
            path,
            body,
            headers: parts.headers,
            query: parts.uri.query().unwrap_or_default().to_owned(),
        })
    }

    /// The variable segment of this index; empty if the route has none.
    pub(super) fn segment(&self, index: usize) -> &str {
        self.path.get(index).map_or("", String::as_str)
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The token of `Authorization: Bearer`.
    pub(super) fn bearer(&self) -> Option<&str> {
        self.header("authorization")?.strip_prefix("Bearer ")
    }

    /// The query's parameters; a mistake in them is refused with this status.
    pub(super) fn query(&self, refusal: StatusCode) -> Params {
        Params::parse(self.query.as_bytes(), refusal)
    }

    /// The form in the body.
    ///
    /// # Errors
    /// 400 without the content type of a form, even on an empty body.
    pub(super) fn form(&self) -> Result<Params, Refusal> {
        let media_type = self.header("content-type").and_then(|value| value.split(';').next()).unwrap_or_default();
        if !media_type.trim().eq_ignore_ascii_case(FORM) {
            return Err(Refusal::bad(format!("Content-Type must be {FORM}")));
        }
        Ok(Params::parse(&self.body, StatusCode::BAD_REQUEST))
    }
}

/// The host of `host:port`, `[address]:port` or either without the port.
fn host_of(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    }
}

/// The pairs of a form or a query, taken out one name at a time.
pub(super) struct Params {
    pairs: Vec<(String, String)>,
    refusal: StatusCode,
}

impl Params {
    fn parse(encoded: &[u8], refusal: StatusCode) -> Params {
        Params { pairs: form_urlencoded::parse(encoded).into_owned().collect(), refusal }
    }

    /// The value of a name that must be given once and not be empty.
    pub(super) fn required(&mut self, name: &str) -> Result<String, Refusal> {
        let text: Option<String> = self.value(name)?;
        let text = text.filter(|text| !text.is_empty());
        text.ok_or_else(|| self.refuse(format!("{name} is required")))
    }

    /// The value of a name that may be given once, as a number, `true` or `false`, a time, ...
    pub(super) fn value<T: FromStr>(&mut self, name: &str) -> Result<Option<T>, Refusal> {
        let mut values = self.all(name)?;
        match values.len() {
            0 | 1 => Ok(values.pop()),
            _ => Err(self.refuse(format!("{name} is given more than once"))),
        }
    }

    /// The values of a name that may be repeated.
    pub(super) fn all<T: FromStr>(&mut self, name: &str) -> Result<Vec<T>, Refusal> {
        let (taken, left) = std::mem::take(&mut self.pairs).into_iter().partition(|(key, _)| key == name);
        self.pairs = left;
        let taken: Vec<(String, String)> = taken;
        let parse =
            |(_, value): (String, String)| value.parse().map_err(|_| self.refuse(format!("{name} has a wrong value")));
        taken.into_iter().map(parse).collect()
    }

    /// Refuses parameters that were not taken.
    pub(super) fn finish(self) -> Result<(), Refusal> {
        match self.pairs.first() {
            None => Ok(()),
            // A text that is no name may be a secret that was sent in the wrong place.
            Some((name, _)) if !is_name(name) => Err(self.refuse("the parameters are malformed".into())),
            Some((name, _)) => Err(self.refuse(format!("{name} is not a parameter of this call"))),
        }
    }

    fn refuse(&self, why: String) -> Refusal {
        Refusal::new(self.refusal, why)
    }
}

fn is_name(text: &str) -> bool {
    text.len() <= NAME_LIMIT && text.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'_')
}
