//! A request as it arrived, its answer, and the connections that carry both. A fault can close a connection without an answer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpListener;

use super::{NeighbourCall, NeighbourFaultKind, NeighbourState};

/// The longest body of a request.
const BODY_LIMIT: usize = 16 << 20;
/// After a failure to accept, as when there are no more descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A request with its whole body.
#[derive(Clone, Debug)]
pub struct NeighbourRequest {
    /// Such as `GET`.
    pub method: String,
    /// As it was sent, percent-encoded.
    pub path: String,
    /// As it was sent.
    pub query: String,
    /// By their names in small letters.
    pub headers: BTreeMap<String, String>,
    /// As it was sent.
    pub body: Vec<u8>,
}

impl NeighbourRequest {
    /// Method, blank and path.
    pub fn name(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// The fields of a form, if it is one and has none twice.
    pub(super) fn form(&self) -> Option<BTreeMap<String, String>> {
        let is_form = self.header("content-type") == "application/x-www-form-urlencoded";
        let mut fields = BTreeMap::new();
        for (name, value) in form_urlencoded::parse(&self.body) {
            if fields.insert(name.into_owned(), value.into_owned()).is_some() {
                return None;
            }
        }
        is_form.then_some(fields)
    }

    /// The fields of a JSON object, if it is one with exactly these names.
    pub(super) fn json(&self, names: &[&str]) -> Option<serde_json::Map<String, Value>> {
        let is_json = self.header("content-type") == "application/json";
        let Ok(Value::Object(object)) = serde_json::from_slice(&self.body) else { return None };
        let exact = object.len() == names.len() && names.iter().all(|name| object.contains_key(*name));
        (is_json && exact).then_some(object)
    }

    /// The value of a parameter of the query.
    pub(super) fn parameter(&self, name: &str) -> Option<String> {
        let mut pairs = form_urlencoded::parse(self.query.as_bytes());
        pairs.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
    }
}

/// An answer.
#[derive(Clone, Debug)]
pub struct NeighbourReply {
    /// The status.
    pub status: u16,
    /// Names and values.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: String,
}

impl NeighbourReply {
    pub(super) fn json(status: u16, body: &Value) -> Self {
        Self { status, headers: vec![("content-type", "application/json".to_owned())], body: body.to_string() }
    }

    pub(super) fn empty(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: String::new() }
    }

    /// A refusal with its reason, for whoever reads the log of a test.
    pub(super) fn refusal(status: u16, why: &str) -> Self {
        Self { status, headers: Vec::new(), body: why.to_owned() }
    }
}

/// Serves connections until the runtime ends.
pub(super) async fn accept(listener: TcpListener, state: Arc<NeighbourState>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let state = state.clone();
        let service = hyper::service::service_fn(move |request| serve(request, state.clone()));
        // The end of a connection is the client's business, or that of a fault.
        tokio::spawn(async move {
            drop(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
        });
    }
}

/// A connection that is closed without an answer.
#[derive(Debug, thiserror::Error)]
#[error("cut")]
struct CutConnection;

async fn serve(request: Request<Incoming>, state: Arc<NeighbourState>) -> Result<Response<Body>, CutConnection> {
    let request = read(request).await.ok_or(CutConnection)?;
    let (number, fault) = {
        let mut world = state.world();
        world.calls.push(NeighbourCall { request: request.clone(), status: None });
        (world.calls.len() - 1, world.take_fault(&request))
    };
    state.changes.send_replace(());
    let reply = match fault {
        Some(NeighbourFaultKind::CutBefore) => return Err(CutConnection),
        Some(NeighbourFaultKind::Status { code, retry_after }) => NeighbourReply {
            headers: retry_after.iter().map(|seconds| ("retry-after", seconds.to_string())).collect(),
            ..NeighbourReply::empty(code)
        },
        Some(NeighbourFaultKind::CutAfter) => {
            drop(state.world().answer(&request));
            state.changes.send_replace(());
            return Err(CutConnection);
        }
        Some(NeighbourFaultKind::Garbage) => {
            let reply = state.world().answer(&request);
            NeighbourReply { body: "<html>please log in</html>".to_owned(), ..reply }
        }
        Some(NeighbourFaultKind::Delay(time)) => {
            let reply = state.world().answer(&request);
            state.changes.send_replace(());
            tokio::time::sleep(time).await;
            reply
        }
        None => state.world().answer(&request),
    };
    if let Some(call) = state.world().calls.get_mut(number) {
        call.status = Some(reply.status);
    }
    state.changes.send_replace(());
    Ok(response(reply))
}

async fn read(request: Request<Incoming>) -> Option<NeighbourRequest> {
    let (head, body) = request.into_parts();
    let body = to_bytes(Body::new(body), BODY_LIMIT).await.ok()?;
    let text = |value: &axum::http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    Some(NeighbourRequest {
        method: head.method.to_string(),
        path: head.uri.path().to_owned(),
        query: head.uri.query().unwrap_or_default().to_owned(),
        headers: head.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect(),
        body: body.to_vec(),
    })
}

fn response(reply: NeighbourReply) -> Response<Body> {
    let mut response = Response::builder().status(reply.status);
    for (name, value) in reply.headers {
        response = response.header(name, value);
    }
    response.body(Body::from(reply.body)).unwrap_or_default()
}
