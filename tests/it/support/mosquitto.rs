//! A real broker for a test: Mosquitto on a free port of the loopback, gone when dropped.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::{fs, thread};

use tempfile::TempDir;
use tokio::sync::mpsc;

/// The free port may be taken by somebody else before the broker binds it.
const START_ATTEMPTS: usize = 5;
/// Debian installs it where only root's `PATH` looks.
const PROGRAMS: [&str; 2] = ["mosquitto", "/usr/sbin/mosquitto"];

/// A running broker.
pub struct Mosquitto {
    child: Child,
    port: u16,
    log: mpsc::UnboundedReceiver<String>,
    _directory: TempDir,
}

impl Mosquitto {
    /// A broker on any port; `config` is what its configuration says beyond that (who may log in, TLS).
    pub fn start(config: &str) -> Self {
        (0..START_ATTEMPTS).find_map(|_| Self::try_start(free_port(), config)).expect("Mosquitto starts")
    }

    /// A broker on this port.
    pub fn start_on(port: u16, config: &str) -> Self {
        Self::try_start(port, config).expect("Mosquitto starts")
    }

    /// `None` when it ends before it runs.
    fn try_start(port: u16, config: &str) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("mosquitto.conf");
        // As root it would become a user that cannot read the test's files. `max_queued_messages`: drop nothing.
        let common = "user root\nlog_dest stderr\nlog_type all\nmax_queued_messages 0\n";
        fs::write(&file, format!("{common}listener {port} 127.0.0.1\n{config}\n")).unwrap();
        let mut child = PROGRAMS
            .into_iter()
            .find_map(|program| Command::new(program).arg("-c").arg(&file).stderr(Stdio::piped()).spawn().ok())
            .expect("Mosquitto is installed (apt-get install mosquitto)");
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let runs = lines.any(|line| line.ends_with(" running"));
        let (sender, log) = mpsc::unbounded_channel();
        // Reads to the end, so that the broker never waits for its log.
        thread::spawn(move || lines.for_each(|line| drop(sender.send(line))));
        let started = Self { child, port, log, _directory: directory };
        runs.then_some(started)
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The next line of its log that holds `what`.
    pub async fn logged(&mut self, what: &str) -> String {
        loop {
            let line = self.log.recv().await.expect("the broker runs");
            if line.contains(what) {
                return line;
            }
        }
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        // It may have ended by itself, which is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
