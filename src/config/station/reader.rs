//! `[station.reader]`: how a card gets in.

use std::{net::SocketAddr, ops::RangeInclusive, path::PathBuf, time::Duration};

use crate::config::check::{baud, duration, one_of, path, socket_address, some, text};
use crate::config::section::Section;
use crate::config::{Endpoint, address};
use crate::convert::Conversion;
use crate::reader::profile::{self, Profile};

/// The baud rate of most readers, where neither the file nor the profile names one.
const DEFAULT_BAUD: u32 = 9_600;
/// From a reader that tells a card once, however long it stays, to patience for a second tap. Others repeat it (RDM6300: every
/// 65 ms).
const DEBOUNCE: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(60);

/// A reader and what becomes of its reads.
#[derive(Clone, Debug)]
pub struct Reader {
    /// How it is attached.
    pub transport: Transport,
    /// What it sends and understands.
    pub profile: Profile,
    /// The same card within this is one tap.
    pub debounce: Duration,
    /// From a read to a card number; `None`: the read as it is.
    pub convert: Option<Conversion>,
}

/// How a reader is attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transport {
    /// A serial port, USB or not.
    Serial {
        /// The device node.
        device: PathBuf,
        /// Bits a second; USB readers do not care.
        baud: u32,
    },
    /// A keyboard.
    Hid {
        /// The device node.
        device: PathBuf,
    },
    /// The reader connects to this address.
    TcpListen(SocketAddr),
    /// The agent connects to the reader.
    TcpConnect(Endpoint),
    /// The reader sends HTTP requests to this address.
    Http(SocketAddr),
    /// A reader of this name at pcscd.
    Pcsc(String),
}

/// The values of `type`.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Serial,
    Hid,
    Tcp,
    Http,
    Pcsc,
}

const KINDS: [(&str, Kind); 5] =
    [("serial", Kind::Serial), ("hid", Kind::Hid), ("tcp", Kind::Tcp), ("http", Kind::Http), ("pcsc", Kind::Pcsc)];

impl Reader {
    pub(super) fn read(section: &mut Section<'_, '_>) -> Option<Self> {
        let profile = section.get("profile", "line".to_owned(), text(some));
        let profile = profile::load(&profile).map_err(|why| section.problem("profile", &why.to_string())).ok();
        let transport = Transport::read(section, profile.as_ref().and_then(|profile| profile.baud));
        let debounce = section.get("debounce", Duration::from_secs(2), duration(DEBOUNCE));
        let convert =
            section.optional("convert", text(|steps| steps.parse::<Conversion>().map_err(|why| why.to_string())));
        Some(Self { transport: transport?, profile: profile?, debounce, convert })
    }
}

impl Transport {
    /// `usual`: the baud rate that the profile names.
    fn read(section: &mut Section<'_, '_>, usual: Option<u32>) -> Option<Self> {
        let kind = section.required("type", one_of(&KINDS));
        let device = section.optional("device", text(path));
        let baud = section.optional("baud", baud);
        let listen = section.optional("listen", text(socket_address));
        let connect = section.optional("connect", text(address::endpoint));
        let reader_name = section.optional("reader_name", text(some));

        let kind = kind?;
        require_keys(section, kind);
        tell_idle_keys(section, kind, baud);
        match kind {
            Kind::Serial => {
                let rate = baud.or(usual).unwrap_or(DEFAULT_BAUD);
                if let Some(usual) = usual.filter(|usual| *usual != rate) {
                    section.warn("baud", &format!("readers of this profile leave the factory with {usual}"));
                }
                device.map(|device| Self::Serial { device, baud: rate })
            }
            Kind::Hid => device.map(|device| Self::Hid { device }),
            Kind::Tcp => listen.map(Self::TcpListen).or(connect.map(Self::TcpConnect)),
            Kind::Http => listen.map(Self::Http),
            Kind::Pcsc if !cfg!(feature = "pcsc") => {
                section.problem("type", "pcsc needs a program that was built with the feature pcsc");
                None
            }
            Kind::Pcsc => reader_name.map(Self::Pcsc),
        }
    }
}

/// Notes what a reader of this kind cannot do without.
fn require_keys(section: &mut Section<'_, '_>, kind: Kind) {
    match kind {
        Kind::Serial | Kind::Hid => section.require("device", "is required, the path of the reader"),
        Kind::Tcp => match (section.is_set("listen"), section.is_set("connect")) {
            (true, true) => section.problem("connect", "cannot be set together with listen"),
            (false, false) => section.problem("listen", "is required, or else connect"),
            _ => {}
        },
        Kind::Http => section.require("listen", "is required, the address to listen on"),
        Kind::Pcsc => section.require("reader_name", "is required, as pcsc_scan prints it"),
    }
}

/// Warns of what is switched on and has no effect on a reader of this kind.
fn tell_idle_keys(section: &mut Section<'_, '_>, kind: Kind, baud: Option<u32>) {
    let keys: [(&'static str, bool, &[Kind]); 5] = [
        ("device", section.is_set("device"), &[Kind::Serial, Kind::Hid]),
        ("baud", baud.is_some_and(|baud| baud != DEFAULT_BAUD), &[Kind::Serial]),
        ("listen", section.is_set("listen"), &[Kind::Tcp, Kind::Http]),
        ("connect", section.is_set("connect"), &[Kind::Tcp]),
        ("reader_name", section.is_set("reader_name"), &[Kind::Pcsc]),
    ];
    for (key, is_on, kinds) in keys {
        if is_on && !kinds.contains(&kind) {
            let users = KINDS.iter().filter(|(_, kind)| kinds.contains(kind));
            let users: Vec<_> = users.map(|(word, _)| format!("\"{word}\"")).collect();
            section.warn(key, &format!("is only used with type = {}", users.join(" or ")));
        }
    }
}
