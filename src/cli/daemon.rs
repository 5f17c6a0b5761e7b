//! Asks the running agent through its control socket.

use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use reqwest::{Method, Response, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::timeout;
use zeroize::Zeroizing;

/// The longest wait for an answer: a healthy daemon answers at once.
const LIMIT: Duration = Duration::from_secs(5);

/// The longest line of a streamed answer: a read with the results of its 32 conversion steps.
const LINE_LIMIT: usize = 256 * 1024;

/// The longest wait where the daemon reads every entry: 100,000 of them on a small box.
const LONG_LIMIT: Duration = Duration::from_secs(120);

/// The daemon answered with an error status.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub(super) struct ErrorResponse {
    pub(super) status: StatusCode,
    text: String,
}

/// Whether a daemon listens on the socket.
///
/// # Errors
/// The socket exists, but we lack permission to connect.
pub(super) async fn is_running(socket: &Path) -> anyhow::Result<bool> {
    match tokio::net::UnixStream::connect(socket).await {
        Ok(_) => Ok(true),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => Ok(false),
        Err(error) => Err(error).with_context(|| format!("ask at {}", socket.display())),
    }
}

/// Asks the daemon; `None` when none is running.
///
/// # Errors
/// A daemon is running and gave no valid answer, or we lack permission to ask it.
pub(super) async fn ask_if_running(socket: &Path, path: &str) -> anyhow::Result<Option<Value>> {
    if is_running(socket).await? { ask(socket, path).await.map(Some) } else { Ok(None) }
}

/// Asks the running daemon.
pub(super) async fn ask(socket: &Path, path: &str) -> anyhow::Result<Value> {
    request(socket, Method::GET, path, LIMIT).await
}

/// Asks the running daemon for something that takes it long.
pub(super) async fn ask_with_long_limit(socket: &Path, path: &str) -> anyhow::Result<Value> {
    request(socket, Method::GET, path, LONG_LIMIT).await
}

/// Has the running daemon change something.
pub(super) async fn post(socket: &Path, path: &str) -> anyhow::Result<Value> {
    request(socket, Method::POST, path, LIMIT).await
}

async fn request(socket: &Path, method: Method, path: &str, limit: Duration) -> anyhow::Result<Value> {
    let answered = async { Ok(serde_json::from_slice(&send(socket, method, path).await?.bytes().await?)?) };
    timeout(limit, answered).await?
}

/// Sends a request and returns the answer's head; its body is still to be read.
async fn send(socket: &Path, method: Method, path: &str) -> anyhow::Result<Response> {
    let client = reqwest::Client::builder().unix_socket(socket).no_proxy().build()?;
    let response = client.request(method, format!("http://agent{path}")).send().await?;
    let status = response.status();
    if !status.is_success() {
        return Err(ErrorResponse { status, text: response.text().await? }.into());
    }
    Ok(response)
}

/// A streamed answer, read line by line.
pub(super) struct Lines {
    response: Response,
    /// The bytes received so far of the next line, and perhaps of later ones.
    buffer: Zeroizing<Vec<u8>>,
}

impl Lines {
    /// Asks the running daemon for a stream.
    pub(super) async fn ask(socket: &Path, path: &str) -> anyhow::Result<Self> {
        let response = timeout(LIMIT, send(socket, Method::GET, path)).await??;
        Ok(Self { response, buffer: Zeroizing::default() })
    }

    /// Reads the next line, which is one document; `None` when the daemon has ended. Dropping the future loses nothing.
    pub(super) async fn next<T: DeserializeOwned>(&mut self) -> anyhow::Result<Option<T>> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Zeroizing<Vec<u8>> = Zeroizing::new(self.buffer.drain(..=end).collect());
                return Ok(Some(serde_json::from_slice(&line)?));
            }
            anyhow::ensure!(self.buffer.len() < LINE_LIMIT, "read the agent's answer: a line is too long");
            match self.response.chunk().await? {
                Some(chunk) => self.buffer.extend_from_slice(&chunk),
                None => return Ok(None),
            }
        }
    }
}
