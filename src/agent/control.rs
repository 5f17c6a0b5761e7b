//! What the control socket answers: everything that the page shows, and the queue.

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::journal::Journal;
use crate::status::{Board, http};

/// The routes of the control socket.
pub fn router(board: Board, journal: Journal) -> Router {
    http::router(board).merge(Router::new().route("/queue", get(queue)).with_state(journal))
}

async fn queue(State(journal): State<Journal>) -> Response {
    match journal.list().await {
        Ok(listing) => axum::Json(listing).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
