//! A real broker for a test: Mosquitto on a free port of the loopback. It is killed when it is dropped.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;
use std::{fs, thread};

use tempfile::TempDir;
use tokio::sync::mpsc;

use super::soon;

/// The most attempts to start it: another program may take the free port before the broker binds it.
const START_ATTEMPTS: usize = 5;
/// The longest that one start may take.
const START_LIMIT: Duration = Duration::from_secs(60);
/// The names of the program: Debian installs it in a folder that only root's `PATH` has.
const PROGRAMS: [&str; 2] = ["mosquitto", "/usr/sbin/mosquitto"];

/// A running broker.
pub struct Mosquitto {
    child: Child,
    port: u16,
    log: mpsc::UnboundedReceiver<String>,
    _directory: TempDir,
}

impl Mosquitto {
    /// Starts a broker on any port. `config` is added to its configuration, such as TLS and the users that may log in.
    pub fn start(config: &str) -> Self {
        (0..START_ATTEMPTS).find_map(|_| Self::try_start(free_port(), config)).expect("Mosquitto starts")
    }

    /// Starts a broker on this port.
    pub fn start_on(port: u16, config: &str) -> Self {
        Self::try_start(port, config).expect("Mosquitto starts")
    }

    /// Starts a broker; `None` when it ends before it runs.
    fn try_start(port: u16, config: &str) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("mosquitto.conf");
        // Mosquitto would change from root to a user that cannot read the test's files, and it would drop messages beyond
        // `max_queued_messages`.
        let common = "user root\nlog_dest stderr\nlog_type all\nmax_queued_messages 0\n";
        fs::write(&file, format!("{common}listener {port} 127.0.0.1\n{config}\n")).unwrap();
        let mut child = PROGRAMS
            .into_iter()
            .find_map(|program| Command::new(program).arg("-c").arg(&file).stderr(Stdio::piped()).spawn().ok())
            .expect("Mosquitto is installed (apt-get install mosquitto)");
        let lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let (sender, log) = mpsc::unbounded_channel();
        let (started, runs) = sync_channel(1);
        let broker = Self { child, port, log, _directory: directory };
        // The thread reads to the end, so that the broker never waits for its log.
        thread::spawn(move || {
            for line in lines {
                if line.ends_with(" running") {
                    // The receiver is gone when the word comes a second time.
                    let _ = started.try_send(());
                }
                drop(sender.send(line));
            }
        });
        match runs.recv_timeout(START_LIMIT) {
            Ok(()) => Some(broker),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("Mosquitto neither runs nor ends within {START_LIMIT:?}"),
        }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Waits for a line of its log that contains `text`.
    pub async fn logged(&mut self, text: &str) {
        soon(async { while !self.log.recv().await.expect("the broker runs").contains(text) {} }).await;
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        // An error only says that it has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Finds a port that is free at this moment.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
