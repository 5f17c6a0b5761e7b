//! The routes of the control socket: everything that the page shows, the queue, and the reads of watched readers.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use futures_util::stream;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::StationSetup;
use super::reader_watch::{ReaderWatch, WatchLine};
use crate::domain::{EntryId, StationName};
use crate::journal::{Journal, JournalError, QueueEntry};
use crate::status::{Board, ReaderState, http};

/// The routes of the control socket.
pub fn router(board: Board, journal: Journal) -> Router {
    let queue = Router::new()
        .route("/queue", get(list))
        .route("/queue/verify", get(verify))
        .route("/queue/{id}", get(show))
        .route("/queue/{id}/retry", post(retry))
        .route("/queue/{id}/drop", post(give_up))
        .with_state(QueueRoutes { board: board.clone(), journal });
    http::router(board).merge(queue)
}

/// The journal, and the board that tells when a record is tried next.
#[derive(Clone)]
struct QueueRoutes {
    board: Board,
    journal: Journal,
}

impl QueueRoutes {
    /// Adds to each record the time before which it is not tried: that of the oldest record of its station.
    fn with_next_attempts(&self, mut records: Vec<&mut Value>) {
        let watch = self.board.watch();
        let waiting = &watch.borrow().waiting;
        for row in &mut records {
            let station = row.pointer("/record/station").and_then(Value::as_str).unwrap_or_default();
            let next = waiting.of(station).map(|record| record.next_attempt);
            row["next_attempt"] = json!(next);
        }
    }
}

/// The routes that show the reads of the stations' readers.
pub(crate) fn readers(board: Board, stations: &[StationSetup]) -> Router {
    let watches = stations.iter().map(|setup| (setup.policy.name.clone(), ReaderWatch::of(setup))).collect();
    let readers = ReaderWatches { board, watches: Arc::new(watches) };
    Router::new().route("/readers/{station}/watch", get(watch)).with_state(readers)
}

#[derive(Deserialize)]
struct ListQuery {
    #[serde(default)]
    after: EntryId,
}

async fn list(State(queue): State<QueueRoutes>, Query(ListQuery { after }): Query<ListQuery>) -> Response {
    answer(queue.journal.list(after).await.map(|listing| {
        let mut listing = json!(listing);
        queue.with_next_attempts(listing["records"].as_array_mut().into_iter().flatten().collect());
        listing
    }))
}

async fn verify(State(queue): State<QueueRoutes>) -> Response {
    answer(queue.journal.verify().await)
}

async fn show(State(queue): State<QueueRoutes>, Path(id): Path<EntryId>) -> Response {
    answer(queue.journal.show(id).await.map(|entry| {
        let mut shown = json!(entry);
        if let QueueEntry::Record(_) = entry {
            queue.with_next_attempts(vec![&mut shown]);
        }
        shown
    }))
}

async fn retry(State(queue): State<QueueRoutes>, Path(id): Path<EntryId>) -> Response {
    let retried = queue.journal.retry(id).await;
    if let Ok(next) = &retried {
        tracing::info!(id, next, "dead letter put back to the records by hand");
    }
    answer(retried.map(|next| json!({ "id": next })))
}

async fn give_up(State(queue): State<QueueRoutes>, Path(id): Path<EntryId>) -> Response {
    let dropped = queue.journal.give_up(id).await;
    if let Ok(found) = &dropped {
        log_drop(id, found);
    }
    answer(dropped)
}

/// The tap leads to the event. The entry itself names a person and a title, and the log is read by more people than the queue.
fn log_drop(id: EntryId, dropped: &QueueEntry) {
    let (kind, of) = match dropped {
        QueueEntry::Release(stored) => ("release", Some((stored.release.tap, &stored.release.station))),
        QueueEntry::Record(stored) => ("record", Some((stored.record.tap, &stored.record.station))),
        QueueEntry::Dead(letter) => ("dead", Some((letter.record.tap, &letter.record.station))),
        QueueEntry::Unreadable { .. } => ("unreadable", None),
    };
    match of {
        Some((tap, station)) => tracing::warn!(id, kind, %tap, station = &**station, "entry dropped by hand"),
        None => tracing::warn!(id, kind, "entry dropped by hand"),
    }
}

/// The readers that can be watched, and the board that tells whether they are connected.
#[derive(Clone)]
struct ReaderWatches {
    board: Board,
    watches: Arc<BTreeMap<StationName, ReaderWatch>>,
}

/// Writes one line of JSON for each thing that is seen, until the asker or the reader goes. The reads are for the asker
/// only: they stand in no log.
async fn watch(State(readers): State<ReaderWatches>, Path(name): Path<String>) -> Response {
    let Some(watch) = readers.watches.get(&*name) else {
        return (StatusCode::NOT_FOUND, "watch: no station has this name").into_response();
    };
    let watching = match watch.begin() {
        Ok(watching) => watching,
        Err(shut) => return (StatusCode::SERVICE_UNAVAILABLE, format!("watch the reader: {shut}")).into_response(),
    };
    tracing::info!(station = name, "what the reader sends is shown at the control socket");
    let state = readers.board.watch().borrow().stations.get(&*name).map(|station| station.reader);
    let first = match state {
        Some(ReaderState::Connected) => WatchLine::Connected(String::new()),
        _ => WatchLine::Disconnected("it is tried again; the agent's log has the reason".to_owned()),
    };
    let lines = stream::unfold((Some(first), watching), |(first, mut watching)| async {
        let line = match first {
            Some(first) => first,
            None => watching.next().await?,
        };
        Some((Ok::<_, Infallible>(json!(line).to_string() + "\n"), (None, watching)))
    });
    ([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response()
}

/// 404 and 409 are the asker's mistake, 507 is a full disk, 500 any other trouble of the journal.
fn answer(result: Result<impl Serialize, JournalError>) -> Response {
    let error = match result {
        Ok(found) => return Json(found).into_response(),
        Err(error) => error,
    };
    let status = match error {
        JournalError::Unknown(_) => StatusCode::NOT_FOUND,
        JournalError::NotForThis { .. } => StatusCode::CONFLICT,
        JournalError::Full => StatusCode::INSUFFICIENT_STORAGE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    (status, error.to_string()).into_response()
}
