//! Questions to the running agent, through its control socket.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;

/// A daemon that takes longer than this is not well.
const LIMIT: Duration = Duration::from_secs(5);

/// The daemon's answer, or `None` when none is running.
///
/// # Errors
/// It is running and did not answer rightly.
pub(super) async fn get(socket: &Path, path: &str) -> anyhow::Result<Option<Value>> {
    if tokio::net::UnixStream::connect(socket).await.is_err() {
        return Ok(None);
    }
    let client = reqwest::Client::builder().unix_socket(socket).timeout(LIMIT).no_proxy().build()?;
    let response = client.get(format!("http://agent{path}")).send().await?;
    let status = response.status();
    let body = response.bytes().await?;
    if !status.is_success() {
        anyhow::bail!("the agent answered {status}: {}", String::from_utf8_lossy(&body));
    }
    Ok(Some(serde_json::from_slice(&body)?))
}
