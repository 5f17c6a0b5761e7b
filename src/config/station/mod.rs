//! `[[station]]`: a reader and a printer that belong together.

mod printer;
mod reader;
mod release;

use std::path::PathBuf;

pub use printer::{OutputPortType, Printer, PrinterCheck};
pub use reader::{Reader, Transport};
pub use release::{Record, Release, Via};

use super::{
    check::{boolean, name, one_of, path, text},
    section::Section,
};

/// One station, checked.
#[derive(Clone, Debug)]
pub struct Station {
    /// Names it in topics and metrics: 1 to 32 characters of a-z, 0-9 and `-`.
    pub name: String,
    /// `[station.reader]`.
    pub reader: Reader,
    /// `station.login.method`.
    pub login: LoginMethod,
    /// `[station.printer]`.
    pub printer: Printer,
    /// `[station.release]`.
    pub release: Release,
    /// `station.offline.policy`.
    pub offline: Offline,
    /// `[station.feedback]`.
    pub feedback: Feedback,
}

/// `station.login.method`: what a person shows.
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
pub enum Offline {
    /// The person is told, and taps again later.
    Refuse,
    /// The tap is kept until its deadline.
    Hold,
}

/// `[station.feedback]`: where light and beep come from.
#[derive(Clone, Debug)]
pub struct Feedback {
    /// The reader's own, where its profile has them.
    pub reader: bool,
    /// A LED of the box below `/sys/class/leds`.
    pub led_green: Option<PathBuf>,
    /// Another one.
    pub led_red: Option<PathBuf>,
}

impl Station {
    pub(super) fn read(section: &mut Section<'_, '_>) -> Option<Self> {
        let name = section.required("name", text(name));
        let reader = section.table("reader", Reader::read);
        let login = section.table("login", LoginMethod::read);
        let release = section.table("release", Release::read);
        let is_called = reader.as_ref().is_some_and(|reader| matches!(reader.transport, Transport::Http(_)));
        let printer = section.table("printer", |section| Printer::read(section, release.via, is_called));
        let offline = section.table("offline", Offline::read);
        let feedback = section.table("feedback", Feedback::read);
        Some(Self { name: name?, reader: reader?, login, printer: printer?, release, offline, feedback })
    }
}

impl LoginMethod {
    fn read(section: &mut Section<'_, '_>) -> Self {
        let methods = [("card", Self::Card), ("card+pin", Self::CardAndPin), ("short-id", Self::ShortId)];
        section.get("method", Self::Card, one_of(&methods))
    }
}

impl Offline {
    fn read(section: &mut Section<'_, '_>) -> Self {
        let policies = [("refuse", Self::Refuse), ("hold", Self::Hold)];
        section.get("policy", Self::Refuse, one_of(&policies))
    }
}

impl Feedback {
    fn read(section: &mut Section<'_, '_>) -> Self {
        Self {
            reader: section.get("reader", true, boolean),
            led_green: section.optional("led_green", text(path)),
            led_red: section.optional("led_red", text(path)),
        }
    }
}
