//! The command `readers`: it lists devices, shows the bytes that a reader sends, and finds the conversion of its cards.
//!
//! A read is a secret everywhere else. Here the technician looks at a card of his own, on his own terminal.

use std::io::IsTerminal;
use std::path::Path;

use anyhow::Context;
use serde_json::json;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::{Exit, assemble, card, daemon, load, runtime};
use crate::agent::reader_watch::{ReaderWatch, WatchLine, WatchSession};
use crate::config::{Config, StationConfig};
use crate::convert::Conversion;
use crate::feedback::Signal;
use crate::reader::{EVENT_LIMIT, Reader, detect};

/// The most cards that `learn` asks for.
const CARDS_LIMIT: usize = 20;

#[derive(clap::Subcommand)]
pub(super) enum ReadersCommand {
    /// List the devices that may be readers, and who holds them.
    List,
    /// Show what a station's reader sends: bytes, reads, and each step to the card number. The agent may run.
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

pub(super) fn run(path: &Path, json: bool, command: &ReadersCommand) -> Exit {
    match command {
        ReadersCommand::List => list(json),
        ReadersCommand::Watch { station } => attend(path, station.as_deref(), async |watched| watched.show(json).await),
        ReadersCommand::Learn { station } => {
            attend(path, station.as_deref(), async |watched| watched.learn(json).await)
        }
    }
}

fn list(json: bool) -> Exit {
    #[cfg(feature = "pcsc")]
    let pcscd = crate::reader::pcsc::names();
    #[cfg(not(feature = "pcsc"))]
    let pcscd = Vec::new();
    let found = detect::list(Path::new("/"), &pcscd);
    if json {
        say_json!("{}", json!({ "readers": found }));
        return Exit::Done;
    }
    if found.is_empty() {
        say!("no serial port, no keyboard and no reader of pcscd found");
    }
    for device in found {
        say!("{}  {}", device.device.display(), device.usb.as_deref().unwrap_or("(not USB)"));
        if device.node != device.device {
            say!("    now at {}", device.node.display());
        }
        say!("    {}", device.likely);
        let key = if device.r#type == "pcsc" { "reader_name" } else { "device" };
        let value = device.device.display();
        say!("    type = \"{}\"  {key} = \"{value}\"  profile = \"{}\"", device.r#type, device.profile);
        for holder in device.holders {
            say!("    held by {holder}");
        }
    }
    Exit::Done
}

/// The source of a reader's lines.
enum WatchSource {
    /// The running agent shows them, and goes on serving the cards.
    Agent(Box<daemon::Lines>),
    /// This command has opened the reader itself.
    Own { watching: WatchSession, _tasks: JoinSet<()>, _signal: watch::Sender<Signal> },
}

/// Watches the reader of a station, through the agent if it runs.
fn attend(path: &Path, name: Option<&str>, act: impl AsyncFnOnce(&mut WatchSource) -> anyhow::Result<Exit>) -> Exit {
    let config = match load(path) {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    let result = pick(&config, name).and_then(|station| Ok((assemble::reader(station)?, station, runtime()?)));
    let (reader, station, runtime) = match result {
        Ok(parts) => parts,
        Err(error) => {
            say_error!("failed to {error:#}");
            return Exit::Usage;
        }
    };
    let done = runtime.block_on(async {
        let socket = &config.agent.control_socket;
        let mut watched = match daemon::is_running(socket).await? {
            true => WatchSource::through_agent(socket, &station.name).await?,
            false => WatchSource::open(reader, station.reader.convert.clone())?,
        };
        act(&mut watched).await
    });
    done.unwrap_or_else(|error| {
        say_error!("failed to {error:#}");
        Exit::Unavailable
    })
}

pub(super) fn pick<'c>(config: &'c Config, name: Option<&str>) -> anyhow::Result<&'c StationConfig> {
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

impl WatchSource {
    async fn through_agent(socket: &Path, station: &str) -> anyhow::Result<Self> {
        let lines = daemon::Lines::ask(socket, &format!("/readers/{station}/watch")).await?;
        eprintln!("the agent runs: this is what it sees, and it serves these cards as always");
        Ok(Self::Agent(Box::new(lines)))
    }

    fn open(reader: Reader, convert: Option<Conversion>) -> anyhow::Result<Self> {
        let watching = ReaderWatch::new(&reader, convert).begin().context("watch the reader")?;
        let (sender, mut events) = mpsc::channel(EVENT_LIMIT);
        let (signal, signals) = watch::channel(Signal::Ready);
        let mut tasks = JoinSet::new();
        tasks.spawn(reader.run(sender, signals));
        // The events have to be received for the reader to go on; this command uses only the monitor's lines.
        tasks.spawn(async move { while events.recv().await.is_some() {} });
        Ok(Self::Own { watching, _tasks: tasks, _signal: signal })
    }

    /// Waits for the next line. Dropping the future while it waits loses no line.
    async fn next(&mut self) -> anyhow::Result<WatchLine> {
        let line = match self {
            Self::Agent(lines) => lines.next().await.context("hear the running agent")?,
            Self::Own { watching, .. } => watching.next().await,
        };
        match line {
            Some(WatchLine::Ended(why)) => anyhow::bail!("watch the reader any longer: {why}"),
            Some(line) => Ok(line),
            None => anyhow::bail!("watch the reader any longer: the agent has ended"),
        }
    }

    /// Prints the lines until Ctrl-C.
    async fn show(&mut self, json: bool) -> anyhow::Result<Exit> {
        loop {
            let line = tokio::select! {
                line = self.next() => line?,
                _ = tokio::signal::ctrl_c() => return Ok(Exit::Done),
            };
            if json {
                say_json!("{}", json!(line));
            } else {
                text(&line).lines().for_each(|line| say!("{line}"));
            }
        }
    }

    /// Asks for cards and their numbers until an empty line, and prints the conversions that fit them.
    async fn learn(&mut self, json: bool) -> anyhow::Result<Exit> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        while pairs.len() < CARDS_LIMIT {
            eprintln!("hold card {} to the reader", pairs.len() + 1);
            let Some(read) = self.card(&pairs).await? else {
                break;
            };
            eprint!("  read; its number at the server (empty: that was all): ");
            match self.number().await? {
                Some(number) => pairs.push((read, number)),
                None => break,
            }
        }
        if pairs.is_empty() {
            eprintln!("no card, so nothing to learn from");
            return Ok(Exit::Failed);
        }
        Ok(card::print_learned(json, &pairs))
    }

    /// Waits for the next card that is not among `known`, because a card that is held long is read again. `None` at Ctrl-C.
    async fn card(&mut self, known: &[(String, String)]) -> anyhow::Result<Option<String>> {
        loop {
            let line = tokio::select! {
                line = self.next() => line?,
                _ = tokio::signal::ctrl_c() => return Ok(None),
            };
            match line {
                WatchLine::Read { read, .. } if known.iter().all(|(known, _)| *known != read) => return Ok(Some(read)),
                WatchLine::Read { .. } | WatchLine::Bytes(_) => {}
                other => say_error!("  {}", text(&other)),
            }
        }
    }

    /// Waits for a typed number. Cards that are read meanwhile are ignored.
    async fn number(&mut self) -> anyhow::Result<Option<String>> {
        let mut typed = tokio::task::spawn_blocking(typed);
        loop {
            tokio::select! {
                number = &mut typed => return Ok(number?),
                line = self.next() => drop(line?),
            }
        }
    }
}

/// Waits for one card at a reader that nobody else has open.
pub(super) async fn next_card(reader: Reader) -> anyhow::Result<String> {
    let mut watched = WatchSource::open(reader, None)?;
    watched.card(&[]).await?.context("wait for the card: it was interrupted")
}

/// A line as text for a person.
fn text(line: &WatchLine) -> String {
    let (kind, text) = match line {
        WatchLine::Connected(text) => ("connected", text),
        WatchLine::Disconnected(text) => ("disconnected", text),
        WatchLine::Bytes(text) => ("bytes", text),
        WatchLine::Refused(text) => ("refused", text),
        WatchLine::Ended(text) => ("ended", text),
        WatchLine::Read { read, .. } => ("read", read),
    };
    let text = format!("{kind:12} {text}").trim_end().to_owned();
    let WatchLine::Read { steps, .. } = line else {
        return text;
    };
    text + &steps.iter().map(|(step, result)| format!("\n    {step}  ->  {result}")).collect::<String>()
}

/// Reads one line from the terminal; `None` if it is empty or the input has ended.
fn typed() -> Option<String> {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).ok()?;
    if !std::io::stdin().is_terminal() {
        eprintln!();
    }
    Some(line.trim().to_owned()).filter(|line| !line.is_empty())
}
