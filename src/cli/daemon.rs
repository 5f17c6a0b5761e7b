//! Questions to the running agent, through its control socket.

use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use reqwest::{Method, Response, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::timeout;
use zeroize::Zeroizing;

/// A daemon that takes longer than this is not well.
const LIMIT: Duration = Duration::from_secs(5);

/// The longest line of an answer that goes on: a read, and what 32 steps made of it.
const LINE_LIMIT: usize = 256 * 1024;

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
///
/// # Errors
/// That cannot be told: nobody may ask who has not the right to.
pub(super) async fn is_running(socket: &Path) -> anyhow::Result<bool> {
    match tokio::net::UnixStream::connect(socket).await {
        Ok(_) => Ok(true),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => Ok(false),
        Err(error) => Err(error).with_context(|| format!("ask at {}", socket.display())),
    }
}

/// The daemon's answer, or `None` when none is running.
///
/// # Errors
/// It is running and did not answer rightly.
pub(super) async fn get(socket: &Path, path: &str) -> anyhow::Result<Option<Value>> {
    if is_running(socket).await? { ask(socket, path).await.map(Some) } else { Ok(None) }
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
    let answered = async { Ok(serde_json::from_slice(&send(socket, method, path).await?.bytes().await?)?) };
    timeout(limit, answered).await?
}

/// Has a request answered; the body is still to come.
async fn send(socket: &Path, method: Method, path: &str) -> anyhow::Result<Response> {
    let client = reqwest::Client::builder().unix_socket(socket).no_proxy().build()?;
    let response = client.request(method, format!("http://agent{path}")).send().await?;
    let status = response.status();
    if !status.is_success() {
        return Err(Refused { status, text: response.text().await? }.into());
    }
    Ok(response)
}

/// An answer that goes on, line by line.
pub(super) struct Lines {
    response: Response,
    /// What has come of the next line, and perhaps more.
    buffer: Zeroizing<Vec<u8>>,
}

impl Lines {
    /// Asks the running daemon.
    pub(super) async fn ask(socket: &Path, path: &str) -> anyhow::Result<Self> {
        let response = timeout(LIMIT, send(socket, Method::GET, path)).await??;
        Ok(Self { response, buffer: Zeroizing::default() })
    }

    /// The next line, each a document; `None` when the daemon has ended. Nothing is lost when it is dropped while it waits.
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
