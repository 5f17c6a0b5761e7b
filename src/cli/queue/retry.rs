//! `queue retry --all`: puts every dead letter back to the job records.
//!
//! Each is put back in a transaction of its own, so a kill leaves every letter either dead or waiting, and the same command goes on
//! with the rest. A running agent may have a record refused again meanwhile; that one gets a higher number than all that were dead
//! at the begin, and stays dead.

use anyhow::Context;
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::QueueSource;
use crate::cli::Exit;
use crate::cli::daemon::ErrorResponse;
use crate::domain::EntryId;
use crate::journal::JournalError;

/// The progress is told after so many.
const PROGRESS_STEP: u64 = 100;

pub(super) async fn all(queue: &QueueSource<'_>, json: bool) -> anyhow::Result<Exit> {
    let (mut total, mut last) = (0_u64, 0);
    queue
        .each(|kind, row| {
            if let ("dead", Some(id)) = (kind, row["id"].as_u64()) {
                total += 1;
                last = last.max(id);
            }
        })
        .await?;
    let (mut retried, mut gone, mut after) = (0_u64, 0_u64, 0);
    loop {
        let page = queue.page(after).await?;
        for id in dead(&page).filter(|id| *id <= last) {
            match queue.retry(id).await {
                Ok(_) => retried += 1,
                // Somebody else has dropped it or put it back.
                Err(error) if is_gone(&error) => gone += 1,
                Err(error) => {
                    let told =
                        format!("put dead letter {id} back, after {retried} of {total}; the same command goes on");
                    return Err(error).context(told);
                }
            }
            if retried % PROGRESS_STEP == 0 && retried < total {
                say_error!("{retried} of {total} dead letters are put back");
            }
        }
        match page["next"].as_u64().filter(|next| *next < last) {
            Some(next) => after = next,
            None => break,
        }
    }
    if json {
        say_json!("{}", json!({ "retried": retried, "gone": gone }));
    } else {
        say!("{retried} dead letters are sent again");
    }
    Ok(Exit::Done)
}

fn dead(page: &Value) -> impl Iterator<Item = EntryId> {
    page["dead"].as_array().into_iter().flatten().filter_map(|row| row["id"].as_u64())
}

fn is_gone(error: &anyhow::Error) -> bool {
    let is_unknown = matches!(
        error.downcast_ref::<JournalError>(),
        Some(JournalError::Unknown(_) | JournalError::NotForThis { .. })
    );
    let response = error.downcast_ref::<ErrorResponse>().map(|response| response.status);
    is_unknown || matches!(response, Some(StatusCode::NOT_FOUND | StatusCode::CONFLICT))
}
