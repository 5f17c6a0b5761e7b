//! The page, `/status`, `/healthz` and `/metrics`. All of it is read-only.

use std::net::TcpListener;
use std::time::Duration;

use axum::Router;
use axum::extract::{Query, State as Shared};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use jiff::Timestamp;

use super::connections::{self, ConnectionPeer};
use super::{Board, Phase};

/// The longest that `/status?after=` waits for a change before it answers with the current status.
const LONG_POLL: Duration = Duration::from_secs(25);

/// The header with the revision of a status document. `/status?after=REVISION` waits for the next one.
const REVISION: HeaderName = HeaderName::from_static("revision");

const PAGE: &str = include_str!("page.html");
const SCRIPT: &str = include_str!("page.js");
const STYLE: &str = include_str!("page.css");

/// Everything on the page comes from this box, and only the demo's page, on loopback, may frame it.
const CONTENT_POLICY: &str = "default-src 'self'; frame-ancestors 'self' http://127.0.0.1:*";

/// Builds the routes that show the board.
pub(crate) fn router(board: Board) -> Router {
    Router::new()
        .route("/", get(|| async { asset("text/html; charset=utf-8", PAGE) }))
        .route("/page.js", get(|| async { asset("text/javascript; charset=utf-8", SCRIPT) }))
        .route("/page.css", get(|| async { asset("text/css; charset=utf-8", STYLE) }))
        .route("/status", get(status))
        .route("/healthz", get(healthz))
        .route("/metrics", get(metrics))
        .with_state(board)
}

/// Serves `router` until the future is dropped.
pub(crate) async fn serve(listener: TcpListener, router: Router) {
    match listener.set_nonblocking(true).and_then(|()| tokio::net::TcpListener::from_std(listener)) {
        Ok(listener) => connections::serve(listener, router, |_, address| ConnectionPeer::of_address(*address)).await,
        Err(error) => tracing::error!(%error, "page not served"),
    }
}

fn asset(kind: &'static str, text: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, CONTENT_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, text).into_response()
}

#[derive(serde::Deserialize)]
struct StatusQuery {
    after: Option<u64>,
}

async fn status(Shared(board): Shared<Board>, Query(StatusQuery { after }): Query<StatusQuery>) -> Response {
    let mut watch = board.watch();
    if let Some(after) = after {
        let changed = watch.wait_for(|state| state.revision != after);
        // Neither a time-out nor a closed board is an error: the current status is the answer.
        drop(tokio::time::timeout(LONG_POLL, changed).await.map(drop));
    }
    let revision = HeaderValue::from(watch.borrow_and_update().revision);
    ([(REVISION, revision)], axum::Json(board.document(Timestamp::now()))).into_response()
}

/// Answers 200 when every station can take a card, and 503 with the reasons when one cannot.
async fn healthz(Shared(board): Shared<Board>) -> Response {
    let watch = board.watch();
    let faults: Vec<String> = watch
        .borrow()
        .stations
        .iter()
        .filter_map(|(name, station)| match station.phase {
            Phase::Ready | Phase::Busy => None,
            Phase::Offline => Some(format!("{name}: the server cannot be reached\n")),
            Phase::Fault => Some(format!("{name}: the reader is not connected\n")),
        })
        .collect();
    if faults.is_empty() {
        (StatusCode::OK, "ok\n").into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, faults.concat()).into_response()
    }
}

async fn metrics(Shared(board): Shared<Board>) -> Response {
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], board.metrics_text(Timestamp::now())).into_response()
}
