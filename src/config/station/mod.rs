//! `[[station]]`: a reader and a printer that belong together.

mod printer;
mod reader;
mod release;

use std::path::PathBuf;

pub use printer::{OutputPortType, PrinterCheck, PrinterConfig};
pub use reader::{ReaderConfig, Transport};
pub use release::{RecordPolicy, ReleaseConfig, Via};

use super::{
    check::{boolean, name, one_of, path, text},
    section::Section,
};

/// One station, checked.
#[derive(Clone, Debug)]
pub struct StationConfig {
    /// Names it in topics and metrics: 1 to 32 characters of a-z, 0-9 and `-`.
    pub(crate) name: String,
    pub(crate) reader: ReaderConfig,
    pub(crate) login: LoginMethod,
    pub(crate) printer: PrinterConfig,
    pub(crate) release: ReleaseConfig,
    pub(crate) offline: OfflinePolicy,
    pub(crate) feedback: FeedbackConfig,
}

/// `station.login.method`: the way in which a person logs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoginMethod {
    /// A card.
    Card,
    /// A card, and then a PIN.
    CardAndPin,
    /// A short id.
    ShortId,
}

/// `station.offline.policy`: a tap while the server is away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OfflinePolicy {
    /// The tap is refused, and the person taps again later.
    Refuse,
    /// The tap is kept until its deadline.
    Hold,
}

/// `[station.feedback]`: the sources of light and beep.
#[derive(Clone, Debug)]
pub struct FeedbackConfig {
    /// The reader's own, where its profile has them.
    pub(crate) reader: bool,
    /// The lights of the box, below `/sys/class/leds`.
    pub(crate) led_green: Option<PathBuf>,
    pub(crate) led_red: Option<PathBuf>,
}

impl StationConfig {
    pub(super) fn read(section: &mut Section<'_, '_>) -> Option<Self> {
        let name = section.required("name", text(name));
        let reader = section.table("reader", ReaderConfig::read);
        let login = section.table("login", LoginMethod::read);
        let release = section.table("release", ReleaseConfig::read);
        let is_called = reader.as_ref().is_some_and(|reader| matches!(reader.transport, Transport::Http(_)));
        let printer = section.table("printer", |section| PrinterConfig::read(section, release.via, is_called));
        let offline = section.table("offline", OfflinePolicy::read);
        let feedback = section.table("feedback", FeedbackConfig::read);
        Some(Self { name: name?, reader: reader?, login, printer: printer?, release, offline, feedback })
    }
}

impl LoginMethod {
    fn read(section: &mut Section<'_, '_>) -> Self {
        let methods = [("card", Self::Card), ("card+pin", Self::CardAndPin), ("short-id", Self::ShortId)];
        section.get("method", Self::Card, one_of(&methods))
    }
}

impl OfflinePolicy {
    fn read(section: &mut Section<'_, '_>) -> Self {
        let policies = [("refuse", Self::Refuse), ("hold", Self::Hold)];
        section.get("policy", Self::Refuse, one_of(&policies))
    }
}

impl FeedbackConfig {
    fn read(section: &mut Section<'_, '_>) -> Self {
        Self {
            reader: section.get("reader", true, boolean),
            led_green: section.optional("led_green", text(path)),
            led_red: section.optional("led_red", text(path)),
        }
    }
}
