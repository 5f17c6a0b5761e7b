//! `readers`: which devices there are, what they send, and how their cards become numbers.
//!
//! What a card reads as is a secret everywhere else. Here the technician looks at a card of his own, on his own terminal.

use std::io::{IsTerminal, Write};
use std::path::Path;

use serde_json::json;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use zeroize::Zeroizing;

use super::{Exit, assemble, card, daemon, load, runtime};
use crate::config::{Config, Station};
use crate::convert::Conversion;
use crate::feedback::Signal;
use crate::reader::{EVENT_LIMIT, Reader, ReaderEvent, found, to_hex};

/// Chunks of bytes that may wait to be printed.
const SHOWN_LIMIT: usize = 64;

/// The most cards to learn from.
const CARDS_LIMIT: usize = 20;

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// List the devices that may be readers, and who holds them.
    List,
    /// Show what a station's reader sends: bytes, reads, and each step to the card number.
    Watch {
        /// The station; needed where there are more than one.
        station: Option<String>,
    },
    /// Hold cards, type their numbers, and see the conversion.
    Learn {
        /// The station; needed where there are more than one.
        station: Option<String>,
    },
}

pub(super) fn run(path: &Path, json: bool, command: &Command) -> Exit {
    match command {
        Command::List => list(json),
        Command::Watch { station } => attend(path, station.as_deref(), async |watched| watched.show(json).await),
        Command::Learn { station } => attend(path, station.as_deref(), async |watched| watched.learn(json).await),
    }
}

fn list(json: bool) -> Exit {
    let found = found::list(Path::new("/"));
    if json {
        println!("{}", json!({ "readers": found }));
        return Exit::Done;
    }
    if found.is_empty() {
        println!("no serial port and no keyboard found");
    }
    for device in found {
        println!("{}  {}", device.device.display(), device.usb.as_deref().unwrap_or("(not USB)"));
        if device.node != device.device {
            println!("    now at {}", device.node.display());
        }
        println!("    {}", device.likely);
        println!("    type = \"{}\"  profile = \"{}\"", device.r#type, device.profile);
        for holder in device.holders {
            println!("    held by {holder}");
        }
    }
    Exit::Done
}

/// A station's reader, opened by this command.
struct Watched {
    _reader: JoinSet<()>,
    bytes: mpsc::Receiver<Zeroizing<Vec<u8>>>,
    events: mpsc::Receiver<ReaderEvent>,
    convert: Option<Conversion>,
    _signal: watch::Sender<Signal>,
}

/// Opens the reader of a station, unless the agent has it.
fn attend(path: &Path, name: Option<&str>, act: impl AsyncFnOnce(&mut Watched) -> Exit) -> Exit {
    let config = match load(path) {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    let result = pick(&config, name).and_then(|station| Ok((assemble::reader(station)?, station, runtime()?)));
    let (reader, station, runtime) = match result {
        Ok(parts) => parts,
        Err(error) => {
            eprintln!("failed to {error:#}");
            return Exit::Usage;
        }
    };
    runtime.block_on(async {
        if matches!(daemon::get(&config.agent.control_socket, "/status").await, Ok(Some(_)) | Err(_)) {
            eprintln!("the running agent holds the reader; stop it first: systemctl stop print-release-agent");
            return Exit::Unavailable;
        }
        act(&mut Watched::open(reader, station.reader.convert.clone())).await
    })
}

fn pick<'c>(config: &'c Config, name: Option<&str>) -> anyhow::Result<&'c Station> {
    let names = || config.stations.iter().map(|station| station.name.as_str()).collect::<Vec<_>>().join(", ");
    match (name, &config.stations[..]) {
        (None, [only]) => Ok(only),
        (None, _) => anyhow::bail!("choose a station: name one of {}", names()),
        (Some(name), stations) => match stations.iter().find(|station| station.name == name) {
            Some(station) => Ok(station),
            None => anyhow::bail!("find station {name}: there are {}", names()),
        },
    }
}

impl Watched {
    fn open(reader: Reader, convert: Option<Conversion>) -> Self {
        let (event_sender, events) = mpsc::channel(EVENT_LIMIT);
        let (byte_sender, bytes) = mpsc::channel(SHOWN_LIMIT);
        let (signal, signals) = watch::channel(Signal::Ready);
        let mut tasks = JoinSet::new();
        tasks.spawn(reader.watch(event_sender, signals, byte_sender));
        Self { _reader: tasks, bytes, events, convert, _signal: signal }
    }

    /// Prints what comes until Ctrl-C.
    async fn show(&mut self, json: bool) -> Exit {
        loop {
            let line = tokio::select! {
                biased;
                Some(bytes) = self.bytes.recv() => told(json, "bytes", &to_hex(&bytes)),
                Some(event) = self.events.recv() => self.tell(json, &event),
                _ = tokio::signal::ctrl_c() => return Exit::Done,
            };
            if writeln!(std::io::stdout(), "{line}").is_err() {
                return Exit::Done;
            }
        }
    }

    fn tell(&self, json: bool, event: &ReaderEvent) -> String {
        let read = match event {
            ReaderEvent::Connected => return told(json, "connected", ""),
            ReaderEvent::Disconnected(why) => return told(json, "disconnected", &format!("failed to {why}")),
            ReaderEvent::Unreadable(fault) => return told(json, "refused", fault.word()),
            ReaderEvent::Read(read) => read.0.expose(),
        };
        let trace = self.convert.as_ref().map(|convert| convert.trace(read)).unwrap_or_default();
        let steps: Vec<_> = trace
            .into_iter()
            .map(|(step, result)| (step, result.unwrap_or_else(|error| format!("failed to convert: {error}"))))
            .collect();
        if json {
            return json!({ "read": read, "steps": steps }).to_string();
        }
        let steps = steps.iter().map(|(step, result)| format!("\n    {step}  ->  {result}"));
        told(false, "read", read) + &steps.collect::<String>()
    }

    /// Asks for cards and numbers until an empty line, and tells what they have in common.
    async fn learn(&mut self, json: bool) -> Exit {
        let mut pairs = Vec::new();
        while pairs.len() < CARDS_LIMIT {
            eprintln!("hold card {} to the reader", pairs.len() + 1);
            let Some(read) = self.card().await else {
                break;
            };
            eprint!("  read; its number at the server (empty: that was all): ");
            match tokio::task::spawn_blocking(typed).await {
                Ok(Some(number)) => pairs.push((read, number)),
                _ => break,
            }
            // The card may have been held all the time.
            while self.events.try_recv().is_ok() || self.bytes.try_recv().is_ok() {}
        }
        if pairs.is_empty() {
            eprintln!("no card, so nothing to learn from");
            return Exit::Failed;
        }
        card::tell(json, &pairs)
    }

    /// The next read; `None` at Ctrl-C.
    async fn card(&mut self) -> Option<String> {
        loop {
            tokio::select! {
                Some(event) = self.events.recv() => match event {
                    ReaderEvent::Read(read) => return Some(read.0.expose().to_owned()),
                    other => eprintln!("  {}", self.tell(false, &other)),
                },
                Some(_) = self.bytes.recv() => {}
                _ = tokio::signal::ctrl_c() => return None,
            }
        }
    }
}

/// One line from the terminal; `None` when it is empty or there is none.
fn typed() -> Option<String> {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).ok()?;
    if !std::io::stdin().is_terminal() {
        eprintln!();
    }
    Some(line.trim().to_owned()).filter(|line| !line.is_empty())
}

/// One line: a word and what belongs to it.
fn told(json: bool, what: &str, text: &str) -> String {
    if json { json!({ what: text }).to_string() } else { format!("{what:12} {text}").trim_end().to_owned() }
}
