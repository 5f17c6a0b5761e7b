//! `run`: the agent until SIGTERM. SIGHUP reads the configuration again.

use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;

use super::{Exit, assemble, load, log, runtime};
use crate::agent::{self, Host, control};
use crate::config::Config;
use crate::journal::{Journal, JournalError, Limits};
use crate::status::{self, Board};

/// How often the loop shows that it is alive when no watchdog asks for it.
const PULSE: Duration = Duration::from_secs(30);

pub(super) fn run(path: &Path) -> Exit {
    let config = match load(path) {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    log::init(&config.log);
    let journal = match open(&config) {
        Ok(journal) => journal,
        Err(error) => {
            tracing::error!("failed to {error}");
            return Exit::Disk;
        }
    };
    let result =
        runtime().context("start the runtime").and_then(|runtime| runtime.block_on(serve(path, config, &journal)));
    match result {
        Ok(exit) => exit,
        Err(error) => {
            tracing::error!("failed to {error:#}");
            Exit::Failed
        }
    }
}

fn open(config: &Config) -> Result<Journal, JournalError> {
    let limits = Limits { max_entries: config.outbox.max_entries, max_age: config.outbox.max_age };
    Journal::open(&config.agent.state_dir, limits)
}

/// One round per configuration: SIGHUP begins another.
async fn serve(path: &Path, mut config: Config, journal: &Journal) -> anyhow::Result<Exit> {
    let mut signals = Signals::listen().context("listen for signals")?;
    let mut doors = Doors::open(&config, None)?;
    loop {
        for warning in &config.warnings {
            tracing::warn!("{warning}");
        }
        let client = match assemble::client(&config) {
            Ok(client) => client,
            Err(error) => {
                tracing::error!("failed to {error}");
                return Ok(Exit::Usage);
            }
        };
        let parts = assemble::parts(&config, client, journal.clone())?;
        let mut servers = JoinSet::new();
        let page = doors.serve(&mut servers, &parts.board, journal)?;
        tracing::info!(agent = config.agent.id, version = env!("CARGO_PKG_VERSION"), page, "started");
        let mut next = None;
        let mut host = ServiceManager { page };
        agent::run(parts, &mut host, async { next = signals.stop_or_reload(path, &config, &doors).await }).await;
        servers.shutdown().await;
        match next {
            Some(reloaded) => (config, doors) = *reloaded,
            None => {
                tracing::info!("stopped");
                return Ok(Exit::Done);
            }
        }
    }
}

/// Where the agent can be asked: the page and the control socket. Open through a reload, as far as the configuration says
/// the same; and another one is opened before the agent gives up what it has.
struct Doors {
    page: Option<(SocketAddr, TcpListener)>,
    control: (PathBuf, UnixListener),
}

impl Doors {
    /// Opens what `before` does not have.
    fn open(config: &Config, before: Option<&Self>) -> anyhow::Result<Self> {
        let page = match (config.http, before.and_then(|before| before.page.as_ref())) {
            (None, _) => None,
            (Some(address), Some((same, listener))) if address == *same => Some((address, listener.try_clone()?)),
            (Some(address), _) => {
                let listener = TcpListener::bind(address);
                Some((address, listener.with_context(|| format!("listen on {address} (http.listen)"))?))
            }
        };
        let path = &config.agent.control_socket;
        let control = match before.map(|before| &before.control) {
            Some((same, listener)) if path == same => listener.try_clone()?,
            _ => status::control::bind(path).with_context(|| format!("open control socket {}", path.display()))?,
        };
        Ok(Self { page, control: (path.clone(), control) })
    }

    /// Answers there, until the set is dropped. Gives the page's address for a person.
    fn serve(&self, servers: &mut JoinSet<()>, board: &Board, journal: &Journal) -> std::io::Result<String> {
        let mut address = "page off".to_owned();
        if let Some((_, listener)) = &self.page {
            address = format!("page at http://{}/", listener.local_addr()?);
            servers.spawn(status::http::serve(listener.try_clone()?, status::http::router(board.clone())));
        }
        let (_, listener) = &self.control;
        let router = control::router(board.clone(), journal.clone());
        servers.spawn(status::control::serve(listener.try_clone()?, router));
        Ok(address)
    }
}

/// systemd, when it started us; nobody otherwise.
struct ServiceManager {
    page: String,
}

impl Host for ServiceManager {
    fn ready(&mut self) {
        notify(&[NotifyState::Ready, NotifyState::Status(&self.page)]);
    }

    fn alive(&mut self) {
        notify(&[NotifyState::Watchdog]);
    }

    fn pulse(&self) -> Duration {
        sd_notify::watchdog_enabled().map_or(PULSE, |limit| limit / 3)
    }
}

fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "service manager not told");
    }
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for the end (`None`) or for another configuration that is in order, with its doors open. After the end was
    /// asked for, a second signal exits at once.
    async fn stop_or_reload(&mut self, path: &Path, running: &Config, doors: &Doors) -> Option<Box<(Config, Doors)>> {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => break,
                _ = self.interrupt.recv() => break,
                _ = self.hang_up.recv() => match crate::config::load(path) {
                    Ok(config) => match reloadable(&config, running, doors) {
                        Ok(doors) => {
                            tracing::info!("configuration reloaded");
                            return Some(Box::new((config, doors)));
                        }
                        Err(why) => tracing::error!("configuration not reloaded: {why}"),
                    },
                    Err(problems) => {
                        for problem in problems.lines() {
                            tracing::error!("configuration not reloaded: {problem}");
                        }
                    }
                },
            }
        }
        tracing::info!("stopping: waiting for releases in flight");
        notify(&[NotifyState::Stopping]);
        // These signals have been listened for since the start, so listening again cannot fail in a way that matters.
        if let Ok(mut again) = Self::listen() {
            tokio::spawn(async move {
                tokio::select! {
                    _ = again.terminate.recv() => {}
                    _ = again.interrupt.recv() => {}
                }
                tracing::warn!("second signal: exiting at once");
                std::process::exit(1);
            });
        }
        None
    }
}

/// Journal and log stay as they are through a reload; what cannot be used must be told before the old round ends.
fn reloadable(new: &Config, running: &Config, doors: &Doors) -> Result<Doors, String> {
    let journal = |config: &Config| (config.agent.state_dir.clone(), config.outbox.max_entries, config.outbox.max_age);
    if journal(new) != journal(running) {
        return Err("another state_dir, max_entries or max_age needs a restart".to_owned());
    }
    if (new.log.level, new.log.format) != (running.log.level, running.log.format) {
        return Err("another [log] needs a restart".to_owned());
    }
    assemble::client(new).map_err(|error| error.to_string())?;
    Doors::open(new, Some(doors)).map_err(|error| format!("failed to {error:#}"))
}
