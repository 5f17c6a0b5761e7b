//! `[station.printer]`: the printer beside the reader.

use super::Via;
use crate::config::{
    PrinterAddress, address,
    check::{one_of, path_segment, some, text},
    section::Section,
};

/// The printer, as the server and as the network know it.
#[derive(Clone, Debug)]
pub struct PrinterConfig {
    /// The server's name for it: an address or a serial number.
    pub(crate) output_port: String,
    /// The kind of that name, for job records.
    pub(crate) output_port_type: OutputPortType,
    /// The reader's `Mac` at the server; always set where the release is by card, and else only where the reader sends it.
    pub(crate) mac: Option<String>,
    /// The address at which the agent reaches it itself.
    pub address: Option<PrinterAddress>,
    /// Whether its state is looked at first.
    pub check: PrinterCheck,
    /// Whether the job is watched to its end.
    pub confirm: bool,
}

/// `station.printer.output_port_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputPortType {
    /// Decided by the look of the name.
    Auto,
    /// An address.
    Address,
    /// A serial number.
    Serial,
}

/// `station.printer.check`: the printer's state before a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrinterCheck {
    /// Not looked at.
    Off,
    /// Logged, and released all the same.
    Warn,
    /// Not released to a printer that cannot print.
    Block,
}

impl PrinterConfig {
    /// `is_called`: whether the reader itself sends its `mac`.
    pub(super) fn read(section: &mut Section<'_, '_>, via: Via, is_called: bool) -> Option<Self> {
        let output_port = section.required("output_port", text(path_segment));
        let types =
            [("auto", OutputPortType::Auto), ("address", OutputPortType::Address), ("serial", OutputPortType::Serial)];
        let checks = [("off", PrinterCheck::Off), ("warn", PrinterCheck::Warn), ("block", PrinterCheck::Block)];
        let output_port_type = section.get("output_port_type", OutputPortType::Auto, one_of(&types));
        // The vendor does not state whether it is a MAC or an IP address, so it is any text.
        let mac = section.optional("mac", text(some));
        let address = section.optional("address", text(address::printer));
        let check = section.get("check", PrinterCheck::Off, one_of(&checks));
        let confirm = section.get("confirm", false, one_of(&[("off", false), ("on", true)]));
        if via == Via::Card {
            section.require("mac", "is required with release.via = \"card\"");
        } else if section.is_set("mac") && !is_called {
            section.warn("mac", "is only used with release.via = \"card\" or reader.type = \"http\"");
        }
        if via == Via::Download {
            section.require("address", "is required with release.via = \"download\"");
        } else if address.is_some() && check == PrinterCheck::Off && !confirm {
            section.warn("address", "is only used with release.via = \"download\", check or confirm");
        }
        Some(Self { output_port: output_port?, output_port_type, mac, address, check, confirm })
    }
}
