//! `run`: runs the agent until SIGTERM. SIGHUP reloads the configuration.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;

use super::listeners::Listeners;
use super::{Exit, assemble, identity, load, log, runtime};
use crate::agent::{self, Supervisor};
use crate::clock::Sequence;
use crate::config::Config;
use crate::journal::{Journal, JournalError, Limits};

/// The interval of the loop's keep-alive calls when no watchdog sets one.
const DEFAULT_WATCHDOG_INTERVAL: Duration = Duration::from_secs(30);

/// The longest wait for the journal's end. Nothing is lost beyond it, because every promise is durable before.
const CLOSE_LIMIT: Duration = Duration::from_secs(10);

pub(super) fn run(path: &Path) -> Exit {
    let mut config = match load(path) {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    log::init(&config.log);
    // Before the journal, which needs one to be closed.
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!("failed to start the runtime: {error}");
            return Exit::Failed;
        }
    };
    let journal = match identity::settle(&mut config).and_then(|()| open(&config)) {
        Ok(journal) => journal,
        Err(error) => {
            tracing::error!("failed to {error}");
            return Exit::Disk;
        }
    };
    let served = runtime.block_on(async {
        let served = serve(path, config, &journal).await;
        close(&journal).await;
        served
    });
    match served {
        Ok(exit) => exit,
        Err(error) => {
            tracing::error!("failed to {error:#}");
            Exit::Failed
        }
    }
}

/// Closes the journal, whose thread would else end with the program before it has written the mark. A second signal exits at
/// once all the same.
async fn close(journal: &Journal) {
    if tokio::time::timeout(CLOSE_LIMIT, journal.close()).await.is_err() {
        tracing::error!("the journal was not closed in order: the disk does not answer");
    }
}

fn open(config: &Config) -> Result<Journal, JournalError> {
    let limits = Limits { max_entries: config.outbox.max_entries, max_age: config.outbox.max_age };
    if config.agent.journal_key.is_none() {
        tracing::info!("journal in clear on the disk: the unit has no credential journal-key");
    }
    Journal::open(&config.agent.state_dir, limits, config.agent.journal_key.as_ref())
}

/// Runs one round for each configuration; SIGHUP begins the next.
async fn serve(path: &Path, mut config: Config, journal: &Journal) -> anyhow::Result<Exit> {
    let mut signals = ProcessSignals::listen().context("listen for signals")?;
    let mut listeners = Listeners::open(&config, None)?;
    let (sequence, mut board) = (Arc::new(Sequence::begin()), None);
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
        let parts = assemble::parts(&config, client, journal.clone(), sequence.clone(), board.as_ref())?;
        board = Some(parts.board.clone());
        let mut servers = JoinSet::new();
        let page = listeners.serve(&mut servers, config.http.as_ref(), &parts, journal)?;
        #[cfg(feature = "directory")]
        super::directory::keep_paired(&config, &mut servers);
        tracing::info!(agent = config.agent.id, version = env!("CARGO_PKG_VERSION"), page, "started");
        let mut end = RoundEnd::Exit(Exit::Done);
        let mut supervisor = ServiceManager { page };
        let stop = async {
            end = tokio::select! {
                end = signals.stop_or_reload(path, &config, &listeners) => end,
                () = journal.closed() => RoundEnd::Exit(Exit::Disk),
            };
        };
        agent::run(parts, &mut supervisor, stop).await;
        servers.shutdown().await;
        match end {
            RoundEnd::Reload(reloaded) => (config, listeners) = *reloaded,
            RoundEnd::Exit(Exit::Done) => {
                tracing::info!("stopped");
                return Ok(Exit::Done);
            }
            RoundEnd::Exit(exit) => {
                tracing::error!("the journal has ended; it takes a new start to open it again");
                return Ok(exit);
            }
        }
    }
}

/// Reports to systemd if that started the program; otherwise the reports go nowhere.
struct ServiceManager {
    page: String,
}

impl Supervisor for ServiceManager {
    fn ready(&mut self) {
        notify(&[NotifyState::Ready, NotifyState::Status(&self.page)]);
    }

    fn keep_alive(&mut self) {
        notify(&[NotifyState::Watchdog]);
    }

    fn watchdog_interval(&self) -> Duration {
        sd_notify::watchdog_enabled().map_or(DEFAULT_WATCHDOG_INTERVAL, |limit| limit / 3)
    }
}

fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "service manager not told");
    }
}

/// The end of a round.
enum RoundEnd {
    /// Another round follows, with this configuration and its listeners.
    Reload(Box<(Config, Listeners)>),
    /// The program ends.
    Exit(Exit),
}

struct ProcessSignals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl ProcessSignals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for a signal to stop, or for a new configuration that is valid and whose listeners are bound. After a signal to
    /// stop, a second one exits at once.
    async fn stop_or_reload(&mut self, path: &Path, running: &Config, listeners: &Listeners) -> RoundEnd {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => break,
                _ = self.interrupt.recv() => break,
                _ = self.hang_up.recv() => match crate::config::load(path) {
                    Ok(mut config) => match prepare_reload(&mut config, running, listeners) {
                        Ok(listeners) => {
                            tracing::info!("configuration reloaded");
                            return RoundEnd::Reload(Box::new((config, listeners)));
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
        // The handlers have been installed since the start, so listening again cannot fail. If it did, the agent would stop
        // all the same.
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
        RoundEnd::Exit(Exit::Done)
    }
}

/// Checks a new configuration before the old round ends, and binds its listeners. The journal and the log cannot change in a
/// reload.
fn prepare_reload(new: &mut Config, running: &Config, listeners: &Listeners) -> Result<Listeners, String> {
    let journal = |config: &Config| (config.agent.state_dir.clone(), config.outbox.max_entries, config.outbox.max_age);
    if journal(new) != journal(running) {
        return Err("another state_dir, max_entries or max_age needs a restart".to_owned());
    }
    if (new.log.level, new.log.format) != (running.log.level, running.log.format) {
        return Err("another [log] needs a restart".to_owned());
    }
    identity::take_names(new);
    assemble::client(new).map_err(|error| error.to_string())?;
    if let Some(mqtt) = &new.mqtt {
        assemble::broker(new, mqtt).map_err(|error| format!("failed to {error}"))?;
    }
    Listeners::open(new, Some(listeners)).map_err(|error| format!("failed to {error:#}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_journal_that_has_ended_ends_the_program_with_the_code_of_the_disk() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agent.toml");
        let text = format!(
            "[agent]\nid = \"box\"\nstate_dir = \"{0}\"\ncontrol_socket = \"{0}/control.sock\"\n\
             [server]\nurl = \"http://127.0.0.1:9/api/v1\"\napi_key = \"k\"\n[http]\nlisten = \"\"\n\
             [[station]]\nname = \"lobby\"\n[station.reader]\ntype = \"serial\"\ndevice = \"/dev/null\"\n\
             [station.printer]\noutput_port = \"192.0.2.10\"\n",
            dir.path().display()
        );
        std::fs::write(&path, text).unwrap();
        crate::tls::install_provider();
        let config = crate::config::load(&path).unwrap();
        let journal = open(&config).unwrap();
        let (served, ()) = tokio::join!(serve(&path, config, &journal), journal.break_down());
        assert_eq!(served.unwrap(), Exit::Disk);
    }
}
