//! Questions to the running agent, through its control socket.

use std::path::Path;
use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::Value;

/// A daemon that takes longer than this is not well.
const LIMIT: Duration = Duration::from_secs(5);

/// The same where it has to look at everything: 100,000 entries on a small box.
const LONG_LIMIT: Duration = Duration::from_secs(120);

/// The daemon answered and did not do it.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub(super) struct Refused {
    /// Why, by kind.
    pub(super) status: StatusCode,
    text: String,
}

/// Whether somebody answers at the socket.
pub(super) async fn is_running(socket: &Path) -> bool {
    tokio::net::UnixStream::connect(socket).await.is_ok()
}

/// The daemon's answer, or `None` when none is running.
///
/// # Errors
/// It is running and did not answer rightly.
pub(super) async fn get(socket: &Path, path: &str) -> anyhow::Result<Option<Value>> {
    if is_running(socket).await { ask(socket, path).await.map(Some) } else { Ok(None) }
}

/// The running daemon's answer.
pub(super) async fn ask(socket: &Path, path: &str) -> anyhow::Result<Value> {
    request(socket, Method::GET, path, LIMIT).await
}

/// The running daemon's answer to what takes it long.
pub(super) async fn ask_for_long(socket: &Path, path: &str) -> anyhow::Result<Value> {
    request(socket, Method::GET, path, LONG_LIMIT).await
}

/// Has the running daemon do something.
pub(super) async fn command(socket: &Path, path: &str) -> anyhow::Result<Value> {
    request(socket, Method::POST, path, LIMIT).await
}

async fn request(socket: &Path, method: Method, path: &str, limit: Duration) -> anyhow::Result<Value> {
    let client = reqwest::Client::builder().unix_socket(socket).timeout(limit).no_proxy().build()?;
    let response = client.request(method, format!("http://agent{path}")).send().await?;
    let status = response.status();
    let body = response.bytes().await?;
    if !status.is_success() {
        return Err(Refused { status, text: String::from_utf8_lossy(&body).into_owned() }.into());
    }
    Ok(serde_json::from_slice(&body)?)
}
