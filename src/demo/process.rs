//! The agent as a process: the real program, started, told to stop, killed. It does not outlive the process that started it.
//!
//! It tells of its readiness and its page as it would tell a service manager, through `NOTIFY_SOCKET` (sd_notify(3)).

use std::io;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, getppid, kill_process, set_parent_process_death_signal};
use tokio::net::UnixDatagram;
use tokio::process::{Child, Command};

/// A program that is not ready by then never will be.
const READY_LIMIT: Duration = Duration::from_secs(20);

/// A killed process is gone within milliseconds; after so many of them its end is no longer waited for.
const GONE_LIMIT_MS: usize = 5_000;

/// In this variable a process finds the id of the one that it must not outlive.
const PARENT: &str = "PRINT_RELEASE_PARENT";

/// A command that starts this program, or another build of it, and ends it together with the calling process, however that ends.
///
/// The kernel ties it to the calling thread, so that one has to live as long as the child.
pub fn tied_to_this_process(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.env(PARENT, std::process::id().to_string()).kill_on_drop(true);
    command
}

/// Asks the kernel to end this process when its parent ends, even by SIGKILL. Does nothing in a process that was not started by
/// [`tied_to_this_process`].
///
/// # Errors
/// The parent has ended already, or the kernel refuses.
pub fn end_with_parent() -> io::Result<()> {
    let Some(parent) = std::env::var_os(PARENT) else {
        return Ok(());
    };
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // A parent that ended before the kernel was asked is found here: somebody else has adopted this process.
    let adopted = getppid().is_none_or(|process| *process.as_raw_nonzero().to_string() != *parent);
    if adopted { Err(io::Error::other("the process that started this one has ended")) } else { Ok(()) }
}

/// A running agent. It is killed when dropped.
#[derive(Debug)]
pub struct AgentProcess {
    child: Child,
    page: String,
}

impl AgentProcess {
    /// Starts `program run --config config` and waits until it is ready: every reader was tried once. Its log goes to `log`.
    /// A socket lies beside `config` until then.
    ///
    /// # Errors
    /// It cannot be started, or is not ready in time: `TimedOut`, with its exit code if it ended.
    pub async fn start(program: &Path, config: &Path, log: Stdio) -> io::Result<Self> {
        let dir = tempfile::tempdir_in(config.parent().unwrap_or(Path::new("")))?;
        let socket = dir.path().join("notify");
        let manager = UnixDatagram::bind(&socket)?;
        let child = tied_to_this_process(program)
            .arg("run")
            .arg("--config")
            .arg(config)
            .env("NOTIFY_SOCKET", &socket)
            .stderr(log)
            // Ctrl-C on a terminal is for the process that started the agent, and that one tells it to stop.
            .process_group(0)
            .spawn()?;
        let mut agent = Self { child, page: String::new() };
        agent.page = tokio::select! {
            page = ready(&manager) => page?,
            status = agent.child.wait() => {
                return Err(io::Error::other(format!("the agent ended before it was ready: {}", status?)));
            }
            () = tokio::time::sleep(READY_LIMIT) => return Err(io::ErrorKind::TimedOut.into()),
        };
        Ok(agent)
    }

    /// The address of its page, such as `http://127.0.0.1:8631`.
    pub fn page(&self) -> &str {
        &self.page
    }

    /// Its process id, until it has ended.
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
        self.signal(Signal::TERM)?;
        self.child.wait().await
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// It has ended before.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        let gone = || io::Error::new(io::ErrorKind::NotFound, "the agent has ended");
        let id = self.child.id().and_then(|id| i32::try_from(id).ok()).ok_or_else(gone)?;
        let process = Pid::from_raw(id).ok_or_else(gone)?;
        Ok(kill_process(process, signal)?)
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// The system will not tell.
    pub async fn wait(mut self) -> io::Result<ExitStatus> {
        self.child.wait().await
    }
}

impl Drop for AgentProcess {
    /// Waits until it is gone, so that it writes no more into a directory that is removed next.
    fn drop(&mut self) {
        // `start_kill` fails only if the process has already ended.
        if self.child.start_kill().is_ok() {
            let mut checks = 0..GONE_LIMIT_MS;
            while checks.next().is_some() && matches!(self.child.try_wait(), Ok(None)) {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
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
