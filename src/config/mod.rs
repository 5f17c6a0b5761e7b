//! The configuration file: raw TOML in, a checked [`Config`] out, or every problem at once with its place.
//!
//! - `syntax` reads TOML in spite of mistakes; `section` is the one way to read a key. The keys stand where they are read, each with its check and its
//!   default: in `general`, `server`, `station` and `mqtt`.
//! - `check`, `address` and `pin` turn one value into a checked type; `file`, `secret` and `tls` read the
//!   files that are named.
//! - `not_built` lists what is known and does not work yet.
//!
//! Invariants: a key is read and checked, or it is a problem; no problem quotes a value, for it may be a
//! secret in the wrong place; a `Secret` shows nothing in `Debug` and is wiped when dropped.
//!
//! It does not watch the file, and it does not look whether a server or a device is there.

mod address;
mod check;
mod file;
mod general;
mod mqtt;
mod nearest;
mod not_built;
mod pin;
mod problems;
mod secret;
mod section;
mod server;
mod station;
mod syntax;
#[cfg(test)]
mod tests;
mod tls;

use std::{
    collections::BTreeSet,
    env, fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

pub use address::{Broker, Endpoint, PrinterAddress};
pub use general::{Agent, InDoubt, Log, LogFormat, Outbox};
pub use mqtt::{Mqtt, UserNames};
pub use pin::Pin;
pub use problems::Problems;
pub use server::{Device, Server};
pub use station::{
    Feedback, LoginMethod, Offline, OutputPortType, Printer, PrinterCheck, Reader, Record, Release, Station, Transport,
    Via,
};
pub use tls::{Identity, Tls};

use section::{Document, Section};

/// Most stations of one box: each has a reader and a task of its own.
const MAX_STATIONS: usize = 32;

/// Where the kernel tells the host's name (proc_sys_kernel(5)).
const HOSTNAME: &str = "/proc/sys/kernel/hostname";

/// The whole configuration, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// This box.
    pub agent: Agent,
    /// The print server.
    pub server: Server,
    /// At least one; the names differ.
    pub stations: Vec<Station>,
    /// What waits for the print server.
    pub outbox: Outbox,
    /// The broker, unless it is off.
    pub mqtt: Option<Mqtt>,
    /// Where the page listens, unless it is off.
    pub http: Option<SocketAddr>,
    /// The log.
    pub log: Log,
    /// What works but should not stay so, one line each, with its place.
    pub warnings: Vec<String>,
}

/// What the configuration takes from its surroundings.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// The default of `agent.id` is made of it.
    pub hostname: String,
    /// Where systemd puts the credentials of the service (systemd.exec(5), `$CREDENTIALS_DIRECTORY`).
    pub credentials: Option<PathBuf>,
    /// Without that, as on an administrator's command line: the directory of the files that the unit takes them from, which
    /// is the configuration's.
    pub beside: PathBuf,
}

impl Environment {
    /// The surroundings of this process with its configuration.
    pub fn of_process(configuration: &Path) -> Self {
        Self {
            // Without a name, `agent.id` must be set, and the problem says so.
            hostname: fs::read_to_string(HOSTNAME).unwrap_or_default(),
            credentials: env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from),
            beside: configuration.parent().map(Path::to_owned).unwrap_or_default(),
        }
    }
}

/// Reads and checks the file `path` and the files that it names.
///
/// # Errors
/// Everything that is wrong with them.
pub fn load(path: &Path) -> Result<Config, Problems> {
    match file::configuration(path) {
        Ok(text) => parse(&text, path, &Environment::of_process(path)),
        Err(why) => Err(Problems::unreadable(path, &why)),
    }
}

/// Checks `text`, which came from `source`, and the files that it names.
///
/// # Errors
/// Everything that is wrong with them.
pub fn parse(text: &str, source: &Path, env: &Environment) -> Result<Config, Problems> {
    let (document, config) = Document::read(text, source, env, Config::read);
    let (config, warnings) = document.verdict(config)?;
    Ok(Config { warnings, ..config })
}

impl Config {
    fn read(root: &mut Section<'_, '_>) -> Option<Self> {
        let agent = root.table("agent", Agent::read);
        let id = agent.as_ref().map(|agent| agent.id.clone()).unwrap_or_default();
        let server = root.table("server", |section| Server::read(section, id));
        let mut names = BTreeSet::new();
        let stations = root.tables("station", MAX_STATIONS, |section| {
            let station = Station::read(section)?;
            if !names.insert(station.name.clone()) {
                section.problem("name", "is the name of another station too");
            }
            Some(station)
        });
        let outbox = root.table("outbox", Outbox::read);
        let mqtt = root.table("mqtt", Mqtt::read);
        let http = root.table("http", general::http);
        let log = root.table("log", Log::read);
        Some(Self {
            agent: agent?,
            server: server?,
            stations: stations.into_iter().collect::<Option<_>>()?,
            outbox,
            mqtt,
            http,
            log,
            warnings: Vec::new(),
        })
    }
}
