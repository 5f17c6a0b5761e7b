//! What the control socket answers: everything that the page shows, and the queue.

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::domain::EntryId;
use crate::journal::{Journal, JournalError};
use crate::status::{Board, http};

/// The routes of the control socket.
pub fn router(board: Board, journal: Journal) -> Router {
    let queue = Router::new()
        .route("/queue", get(list))
        .route("/queue/verify", get(verify))
        .route("/queue/{id}", get(show))
        .route("/queue/{id}/retry", post(retry))
        .route("/queue/{id}/drop", post(give_up))
        .with_state(journal);
    http::router(board).merge(queue)
}

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    after: EntryId,
}

async fn list(State(journal): State<Journal>, Query(Page { after }): Query<Page>) -> Response {
    answer(journal.list(after).await)
}

async fn verify(State(journal): State<Journal>) -> Response {
    answer(journal.verify().await)
}

async fn show(State(journal): State<Journal>, Path(id): Path<EntryId>) -> Response {
    answer(journal.show(id).await)
}

async fn retry(State(journal): State<Journal>, Path(id): Path<EntryId>) -> Response {
    let retried = journal.retry(id).await;
    if let Ok(next) = &retried {
        tracing::info!(id, next, "dead letter put back to the records by hand");
    }
    answer(retried.map(|next| json!({ "id": next })))
}

async fn give_up(State(journal): State<Journal>, Path(id): Path<EntryId>) -> Response {
    let dropped = journal.give_up(id).await;
    if let Ok(found) = &dropped {
        tracing::warn!(id, entry = %json!(found), "entry dropped by hand");
    }
    answer(dropped)
}

/// 404 and 409 are the asker's mistake, 507 a full disk, 500 any other trouble of the journal.
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
