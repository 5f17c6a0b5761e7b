//! The small tables: `[agent]`, `[outbox]`, `[http]` and `[log]`.

use std::{
    net::{Ipv4Addr, SocketAddr},
    ops::RangeInclusive,
    path::PathBuf,
    time::Duration,
};

use toml::de::DeValue;
use tracing::Level;

use super::{
    check::{
        Checked, MAX_NAME, boolean, duration, integer, is_name_byte, name, off_or, one_of, path, socket_address, text,
    },
    secret,
    section::Section,
};
use crate::domain::Secret;

/// The page's default address, which only this machine can reach.
const PAGE: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 8631);

/// The most names of `http.hosts`, and the longest of them (RFC 1035, section 2.3.4).
const MAX_HOSTS: usize = 16;
const MAX_HOST: usize = 253;

/// The limits of `max_entries`. The bars of docs/measures.md are measured with the default, 100,000.
const MAX_ENTRIES: RangeInclusive<u32> = 1..=1_000_000;
/// The limits of `max_age`: a second is for tests, the other end is ten years.
const MAX_AGE: RangeInclusive<Duration> = Duration::from_secs(1)..=hours(24 * 3650);
/// The limits of the wait before a record is sent again: long enough not to flood the server.
const RETRY: RangeInclusive<Duration> = Duration::from_millis(100)..=hours(24);

/// The credential with the journal's key. There is no key in the file for it, because a key beside the journal would keep
/// nobody out.
const JOURNAL_KEY: &str = "journal-key";

const fn hours(hours: u64) -> Duration {
    Duration::from_secs(3600 * hours)
}

/// `[agent]`: this box.
#[derive(Clone, Debug)]
pub struct AgentConfig {
    /// Names the box in topics and metrics: 1 to 32 characters of a-z, 0-9 and `-`.
    pub(crate) id: String,
    /// The directory of the journal and of the device's identity.
    pub(crate) state_dir: PathBuf,
    /// The socket at which commands reach the daemon.
    pub(crate) control_socket: PathBuf,
    /// The key that the journal is encrypted with: the systemd credential `journal-key`, if there is one.
    pub(crate) journal_key: Option<Secret>,
}

impl AgentConfig {
    pub(super) fn read(section: &mut Section<'_, '_>) -> Option<Self> {
        let hostname = name_of_host(&section.env().hostname);
        let id = section.optional("id", text(name)).or(hostname);
        if id.is_none() {
            section.problem("id", "is required: the host has no name that could stand in");
        }
        let state_dir = PathBuf::from("/var/lib/print-release-agent");
        let control_socket = PathBuf::from("/run/print-release-agent/control.sock");
        let state_dir = section.get("state_dir", state_dir, text(path));
        let control_socket = section.get("control_socket", control_socket, text(path));
        let journal_key = secret::credential(section, JOURNAL_KEY, "state_dir");
        Some(Self { id: id?, state_dir, control_socket, journal_key })
    }
}

/// An agent's name made of the host's; `None` if nothing is left of it.
fn name_of_host(hostname: &str) -> Option<String> {
    let lower = hostname.trim().to_ascii_lowercase();
    let fitting = |byte: u8| if is_name_byte(byte) { char::from(byte) } else { '-' };
    let name: String = lower.bytes().map(fitting).collect();
    let name = name.trim_start_matches('-');
    let name = name[..name.len().min(MAX_NAME)].trim_end_matches('-');
    (!name.is_empty()).then(|| name.to_owned())
}

/// `[outbox]`: the entries that wait for the print server.
#[derive(Clone, Debug)]
pub struct OutboxConfig {
    /// Entries kept at most.
    pub(crate) max_entries: u32,
    /// Entries older than this are given up.
    pub(crate) max_age: Duration,
    /// The handling of a job record whose answer was lost.
    pub(crate) in_doubt: InDoubt,
    /// The title of a job record ends in the tag of its tap.
    pub(crate) tag: bool,
    /// First wait before a record is sent again.
    pub(crate) retry_min: Duration,
    /// Longest wait; not below `retry_min`.
    pub(crate) retry_max: Duration,
}

/// `outbox.in_doubt`: the answer to a job record was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InDoubt {
    /// Look into the server's history before it is sent again.
    Reconcile,
    /// Send it again.
    Resend,
}

impl OutboxConfig {
    pub(super) fn read(section: &mut Section<'_, '_>) -> Self {
        let outbox = Self {
            max_entries: section.get("max_entries", 100_000, integer(MAX_ENTRIES)),
            max_age: section.get("max_age", hours(24 * 30), duration(MAX_AGE)),
            in_doubt: section.get(
                "in_doubt",
                InDoubt::Reconcile,
                one_of(&[("reconcile", InDoubt::Reconcile), ("resend", InDoubt::Resend)]),
            ),
            tag: section.get("tag", false, boolean),
            retry_min: section.get("retry_min", Duration::from_secs(1), duration(RETRY)),
            retry_max: section.get("retry_max", Duration::from_secs(300), duration(RETRY)),
        };
        if outbox.retry_max < outbox.retry_min {
            section.problem("retry_max", "must not be shorter than retry_min");
        }
        outbox
    }
}

/// `[http]`: the page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpConfig {
    /// The address to listen on.
    pub(crate) listen: SocketAddr,
    /// The names by which it may be asked for, besides those that are the box's own, in small letters.
    pub(crate) hosts: Vec<String>,
}

impl HttpConfig {
    /// `None` when it is switched off; its other keys are checked all the same.
    pub(super) fn read(section: &mut Section<'_, '_>) -> Option<Self> {
        let listen = section.get("listen", Some(PAGE.into()), off_or(text(socket_address)));
        let hosts = section.get("hosts", Vec::new(), host_names);
        if listen.is_none() && !hosts.is_empty() {
            section.warn("hosts", "is only used with listen");
        }
        Some(Self { listen: listen?, hosts })
    }
}

/// A list of names without ports.
fn host_names(value: &DeValue<'_>) -> Checked<Vec<String>> {
    match value.as_array() {
        Some(names) if names.len() <= MAX_HOSTS => {
            let checked = names.iter().zip(1..).map(|(element, number)| {
                text(host_name)(element.get_ref()).map_err(|why| format!("name {number} {why}"))
            });
            checked.collect()
        }
        _ => Err(format!("must be a list of at most {MAX_HOSTS} names, for example []")),
    }
}

/// A name as it stands in a URL (RFC 1123, section 2.1).
fn host_name(text: &str) -> Checked<String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    match (1..=MAX_HOST).contains(&text.len()) && text.bytes().all(fits) && !text.starts_with('.') {
        true => Ok(text.trim_end_matches('.').to_ascii_lowercase()),
        false => Err("must be a host name, without scheme or port".to_owned()),
    }
}

/// `[log]`: the level and form of the log.
#[derive(Clone, Debug)]
pub struct LogConfig {
    /// The least severe level that is logged.
    pub(crate) level: Level,
    /// The form of a log entry.
    pub(crate) format: LogFormat,
}

/// `log.format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people on a terminal, otherwise for journald.
    Auto,
    /// For people.
    Text,
    /// One JSON document a line.
    Json,
}

impl LogConfig {
    pub(super) fn read(section: &mut Section<'_, '_>) -> Self {
        let levels = [
            ("error", Level::ERROR),
            ("warn", Level::WARN),
            ("info", Level::INFO),
            ("debug", Level::DEBUG),
            ("trace", Level::TRACE),
        ];
        let formats = [("auto", LogFormat::Auto), ("text", LogFormat::Text), ("json", LogFormat::Json)];
        Self {
            level: section.get("level", Level::INFO, one_of(&levels)),
            format: section.get("format", LogFormat::Auto, one_of(&formats)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_host_name_is_made_to_fit() {
        for (hostname, expected) in [
            ("lobby-box\n", Some("lobby-box")),
            ("Lobby_Box.example.com", Some("lobby-box-example-com")),
            ("--box--", Some("box")),
            ("ü", None),
            ("", None),
        ] {
            assert_eq!(name_of_host(hostname).as_deref(), expected, "{hostname}");
        }
    }

    proptest! {
        #[test]
        fn a_fitted_host_name_is_a_name(hostname in ".*") {
            if let Some(fitted) = name_of_host(&hostname) {
                prop_assert_eq!(name(&fitted), Ok(fitted));
            }
        }
    }
}
