//! `[station.reader]`: the card reader of a station.

use std::{net::SocketAddr, ops::RangeInclusive, path::PathBuf, time::Duration};

use crate::config::check::{baud, duration, one_of, path, socket_address, some, text};
use crate::config::section::Section;
use crate::config::{Endpoint, address};
use crate::convert::Conversion;
use crate::reader::profile::{self, Profile};

/// The baud rate of most readers, where neither the file nor the profile names one.
const DEFAULT_BAUD: u32 = 9_600;
/// The limits of `debounce`. Zero is for a reader that sends a card once, however long it stays; others repeat it
/// (RDM6300: every 65 ms).
const DEBOUNCE: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(60);

/// A reader and the conversion of its reads.
#[derive(Clone, Debug)]
pub struct ReaderConfig {
    pub(crate) transport: Transport,
    pub(crate) profile: Profile,
    /// The same card within this is one tap.
    pub(crate) debounce: Duration,
    /// From a read to a card number; `None`: the read as it is.
    pub(crate) convert: Option<Conversion>,
}

/// The ways in which a reader is attached.
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
enum ReaderType {
    Serial,
    Hid,
    Tcp,
    Http,
    Pcsc,
}

const READER_TYPES: [(&str, ReaderType); 5] = [
    ("serial", ReaderType::Serial),
    ("hid", ReaderType::Hid),
    ("tcp", ReaderType::Tcp),
    ("http", ReaderType::Http),
    ("pcsc", ReaderType::Pcsc),
];

impl ReaderConfig {
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
        let reader_type = section.required("type", one_of(&READER_TYPES));
        let device = section.optional("device", text(path));
        let baud = section.optional("baud", baud);
        let listen = section.optional("listen", text(socket_address));
        let connect = section.optional("connect", text(address::endpoint));
        let reader_name = section.optional("reader_name", text(some));

        let reader_type = reader_type?;
        require_keys(section, reader_type);
        warn_of_idle_keys(section, reader_type, baud);
        match reader_type {
            ReaderType::Serial => {
                let rate = baud.or(usual).unwrap_or(DEFAULT_BAUD);
                if let Some(usual) = usual.filter(|usual| *usual != rate) {
                    section.warn("baud", &format!("readers of this profile leave the factory with {usual}"));
                }
                device.map(|device| Self::Serial { device, baud: rate })
            }
            ReaderType::Hid => device.map(|device| Self::Hid { device }),
            ReaderType::Tcp => listen.map(Self::TcpListen).or(connect.map(Self::TcpConnect)),
            ReaderType::Http => listen.map(Self::Http),
            ReaderType::Pcsc if !cfg!(feature = "pcsc") => {
                section.problem("type", "pcsc needs a program that was built with the feature pcsc");
                None
            }
            ReaderType::Pcsc => reader_name.map(Self::Pcsc),
        }
    }
}

/// Notes a problem for each missing key that a reader of this type needs.
fn require_keys(section: &mut Section<'_, '_>, reader_type: ReaderType) {
    match reader_type {
        ReaderType::Serial | ReaderType::Hid => section.require("device", "is required, the path of the reader"),
        ReaderType::Tcp => match (section.is_set("listen"), section.is_set("connect")) {
            (true, true) => section.problem("connect", "cannot be set together with listen"),
            (false, false) => section.problem("listen", "is required, or else connect"),
            _ => {}
        },
        ReaderType::Http => section.require("listen", "is required, the address to listen on"),
        ReaderType::Pcsc => section.require("reader_name", "is required, as pcsc_scan prints it"),
    }
}

/// Warns of keys that are set and have no effect on a reader of this type.
fn warn_of_idle_keys(section: &mut Section<'_, '_>, reader_type: ReaderType, baud: Option<u32>) {
    let keys: [(&'static str, bool, &[ReaderType]); 5] = [
        ("device", section.is_set("device"), &[ReaderType::Serial, ReaderType::Hid]),
        ("baud", baud.is_some_and(|baud| baud != DEFAULT_BAUD), &[ReaderType::Serial]),
        ("listen", section.is_set("listen"), &[ReaderType::Tcp, ReaderType::Http]),
        ("connect", section.is_set("connect"), &[ReaderType::Tcp]),
        ("reader_name", section.is_set("reader_name"), &[ReaderType::Pcsc]),
    ];
    for (key, is_on, reader_types) in keys {
        if is_on && !reader_types.contains(&reader_type) {
            let users = READER_TYPES.iter().filter(|(_, reader_type)| reader_types.contains(reader_type));
            let users: Vec<_> = users.map(|(word, _)| format!("\"{word}\"")).collect();
            section.warn(key, &format!("is only used with type = {}", users.join(" or ")));
        }
    }
}
