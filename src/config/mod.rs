//! The configuration file: raw TOML in, a checked [`Config`] out, or every problem at once with its place. Every key with
//! its default and limits: docs/configuration.md.
//!
//! - `syntax` reads TOML in spite of mistakes; `section` is the one way to read a key. Each key stands with its check and
//!   its default in the code that reads it: in `general`, `server`, `station`, `mqtt` and `directory`.
//! - `check`, `address` and `pin` turn one value into a checked type; `file`, `secret` and `tls` read the files that are
//!   named.
//! - `not_built` lists the values that are known and do not work yet.
//!
//! Invariants: a key is read and checked, or it is a problem; no problem quotes a value, for it may be a secret in the
//! wrong place; a `Secret` shows nothing in `Debug` and is wiped when dropped.
//!
//! It does not watch the file, and it does not check whether a server or a device is there.

mod address;
mod check;
mod directory;
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
    path::{Path, PathBuf},
};

pub use address::{Broker, Endpoint, PrinterAddress};
pub use directory::{DirectoryConfig, EzeepConfig, OrbixConfig, OrbixCredential, WhenStale, ZopsConfig};
pub use general::InDoubt;
pub use general::{AgentConfig, HttpConfig, LogConfig, LogFormat, OutboxConfig};
pub use mqtt::{MqttConfig, UserNamePolicy};
pub use pin::Pin;
pub use problems::Problems;
pub use secret::SecretFile;
pub use server::{DeviceConfig, ServerConfig};
pub use station::{
    FeedbackConfig, LoginMethod, OfflinePolicy, OutputPortType, PrinterCheck, PrinterConfig, ReaderConfig,
    RecordPolicy, ReleaseConfig, StationConfig, Transport, Via,
};
pub use tls::{Identity, Tls};

use section::{ConfigFile, Section};

/// Most stations of one box: each has a reader and a task of its own.
const MAX_STATIONS: usize = 32;

/// The file in which the kernel gives the host's name (proc_sys_kernel(5)).
const HOSTNAME: &str = "/proc/sys/kernel/hostname";

/// The whole configuration, checked.
#[derive(Clone, Debug)]
pub struct Config {
    pub(crate) agent: AgentConfig,
    /// `[server]`.
    pub server: ServerConfig,
    /// At least one; the names differ.
    pub(crate) stations: Vec<StationConfig>,
    pub(crate) outbox: OutboxConfig,
    pub(crate) mqtt: Option<MqttConfig>,
    /// The page, unless it is off.
    pub(crate) http: Option<HttpConfig>,
    pub(crate) log: LogConfig,
    /// `[directory]`.
    pub directory: DirectoryConfig,
    /// Settings that work but should not stay so, one line each, with its place.
    pub(crate) warnings: Vec<String>,
}

/// The facts that the configuration takes from its surroundings.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// The default of `agent.id` is made of it.
    pub(crate) hostname: String,
    /// The directory into which systemd puts the credentials of the service (systemd.exec(5), `$CREDENTIALS_DIRECTORY`).
    pub(crate) credentials: Option<PathBuf>,
    /// The directory of the configuration. Without `credentials`, as on an administrator's command line, the files are
    /// there from which the unit takes its credentials.
    pub(crate) beside: PathBuf,
}

impl Environment {
    /// Reads the surroundings of this process with its configuration.
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
    let (document, config) = ConfigFile::read(text, source, env, Config::read);
    let (config, warnings) = document.verdict(config)?;
    Ok(Config { warnings, ..config })
}

/// The part of the configuration that the commands `directory` need.
#[derive(Clone, Debug)]
pub struct DirectorySite {
    /// The directory of tokens and journals.
    pub state_dir: PathBuf,
    /// `[log]`.
    pub log: LogConfig,
    /// `[directory]`.
    pub directory: DirectoryConfig,
}

/// Reads and checks the file `path` for the commands `directory`. A machine that is no box beside a printer needs nothing but
/// `[directory]` there; the file of a box is checked whole.
///
/// # Errors
/// Everything that is wrong with it.
pub fn load_directory(path: &Path) -> Result<DirectorySite, Problems> {
    match file::configuration(path) {
        Ok(text) => parse_directory(&text, path, &Environment::of_process(path)),
        Err(why) => Err(Problems::unreadable(path, &why)),
    }
}

fn parse_directory(text: &str, source: &Path, env: &Environment) -> Result<DirectorySite, Problems> {
    let (document, site) = ConfigFile::read(text, source, env, DirectorySite::read);
    document.verdict(site).map(|(site, _)| site)
}

impl DirectorySite {
    fn read(root: &mut Section<'_, '_>) -> Option<Self> {
        if root.has("server") || root.has("station") {
            let Config { agent, log, directory, .. } = Config::read(root)?;
            return Some(Self { state_dir: agent.state_dir, log, directory });
        }
        let agent = root.table("agent", AgentConfig::read);
        let log = root.table("log", LogConfig::read);
        let directory = root.table("directory", DirectoryConfig::read);
        Some(Self { state_dir: agent?.state_dir, log, directory: directory? })
    }
}

impl Config {
    fn read(root: &mut Section<'_, '_>) -> Option<Self> {
        let agent = root.table("agent", AgentConfig::read);
        let id = agent.as_ref().map(|agent| agent.id.clone()).unwrap_or_default();
        let server = root.table("server", |section| ServerConfig::read(section, id));
        let mut names = BTreeSet::new();
        let stations = root.tables("station", MAX_STATIONS, |section| {
            let station = StationConfig::read(section)?;
            if !names.insert(station.name.clone()) {
                section.problem("name", "is the name of another station too");
            }
            Some(station)
        });
        let outbox = root.table("outbox", OutboxConfig::read);
        let mqtt = root.table("mqtt", MqttConfig::read);
        let http = root.table("http", HttpConfig::read);
        let log = root.table("log", LogConfig::read);
        let directory = root.table("directory", DirectoryConfig::read);
        Some(Self {
            agent: agent?,
            server: server?,
            stations: stations.into_iter().collect::<Option<_>>()?,
            outbox,
            mqtt,
            http,
            log,
            directory: directory?,
            warnings: Vec::new(),
        })
    }
}
