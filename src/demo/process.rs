//! The agent as a process: the real program, started, told to stop, killed.
//!
//! It is told about the agent's readiness and page as a service manager is, through `NOTIFY_SOCKET` (sd_notify(3)).

use std::io;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::net::UnixDatagram;
use tokio::process::{Child, Command};

/// A program that is not ready by then never will be.
const READY_LIMIT: Duration = Duration::from_secs(20);

/// A running agent. Killed when dropped.
#[derive(Debug)]
pub struct AgentProcess {
    child: Child,
    page: String,
}

impl AgentProcess {
    /// Starts `program run --config config` and waits until it is ready: every reader was tried once. Its log goes to
    /// `log`.
    ///
    /// # Errors
    /// It cannot be started, or is not ready in time: `TimedOut`, with its exit code if it ended.
    pub async fn start(program: &Path, config: &Path, log: Stdio) -> io::Result<Self> {
        let dir = tempfile::tempdir()?;
        let socket = dir.path().join("notify");
        let manager = UnixDatagram::bind(&socket)?;
        let mut child = Command::new(program)
            .arg("run")
            .arg("--config")
            .arg(config)
            .env("NOTIFY_SOCKET", &socket)
            .stderr(log)
            // Ctrl-C on a terminal is for who started it; that one tells it to stop.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let page = tokio::select! {
            page = ready(&manager) => page?,
            status = child.wait() => {
                return Err(io::Error::other(format!("the agent ended before it was ready: {}", status?)));
            }
            () = tokio::time::sleep(READY_LIMIT) => return Err(io::ErrorKind::TimedOut.into()),
        };
        Ok(Self { child, page })
    }

    /// The address of its page, such as `http://127.0.0.1:8631`.
    pub fn page(&self) -> &str {
        &self.page
    }

    /// Its number, until it has ended.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Kills it without a warning, as a power cut would.
    ///
    /// # Errors
    /// It has ended before.
    pub async fn kill(mut self) -> io::Result<()> {
        self.child.kill().await
    }

    /// Tells it to stop, as systemd would, and waits for its end.
    ///
    /// # Errors
    /// It has ended before.
    pub async fn terminate(mut self) -> io::Result<ExitStatus> {
        self.signal(rustix::process::Signal::TERM)?;
        self.child.wait().await
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// It has ended before.
    pub fn signal(&self, signal: rustix::process::Signal) -> io::Result<()> {
        let gone = || io::Error::new(io::ErrorKind::NotFound, "the agent has ended");
        let id = self.child.id().and_then(|id| i32::try_from(id).ok()).ok_or_else(gone)?;
        let process = rustix::process::Pid::from_raw(id).ok_or_else(gone)?;
        Ok(rustix::process::kill_process(process, signal)?)
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// The system will not tell.
    pub async fn wait(mut self) -> io::Result<ExitStatus> {
        self.child.wait().await
    }
}

/// Waits for `READY=1` and takes the page's address from the status beside it.
async fn ready(manager: &UnixDatagram) -> io::Result<String> {
    let mut buffer = [0; 4096];
    loop {
        let length = manager.recv(&mut buffer).await?;
        let message = String::from_utf8_lossy(&buffer[..length]).into_owned();
        if message.lines().any(|line| line == "READY=1") {
            let page = message.lines().find_map(|line| line.strip_prefix("STATUS=page at "));
            return Ok(page.unwrap_or_default().trim_end_matches('/').to_owned());
        }
    }
}
