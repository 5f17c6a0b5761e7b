//! Finds the devices of this box that may be readers, and the programs that hold them. It reads only the kernel's files and
//! the names that pcscd gives, and opens no device.

mod processes;
mod sysfs;

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::usb_ids;
use processes::{Process, processes};
use sysfs::{names, raw_node, self_description, stable_path, text, usb_device};

/// The class of a USB interface that pcscd serves (CCID revision 1.1, 3).
const CCID: &str = "0b";

/// Programs that open serial ports by themselves to see what is connected.
const PROBERS: [&str; 2] = ["ModemManager", "brltty"];

/// The keys 1 to 0 and Enter, as bits of the lowest word of `capabilities/key` (linux/input-event-codes.h).
const KEYS_NEEDED: u64 = 0x1000_0FFC;

/// A device that may be a reader.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DetectedReader {
    /// The value for `type` in agent.toml: `serial`, `hid` or `pcsc`.
    pub r#type: &'static str,
    /// The value for `device` in agent.toml: the path that stays the same, if there is one. With `pcsc` it is the value for
    /// `reader_name`.
    pub device: PathBuf,
    /// The device's path until it is plugged in again. With `pcsc` it is the name at pcscd, if pcscd has the reader.
    pub node: PathBuf,
    /// The USB ids, such as `09d8:0420`; `None` if it is no USB device.
    pub usb: Option<String>,
    /// A guess in words, with the device's own description.
    pub likely: String,
    /// The profile to try first.
    pub profile: &'static str,
    /// The programs that have it open, or may open it by themselves.
    pub holders: Vec<String>,
}

/// Every serial port, every input device that can type a card number, and every reader for pcscd. `pcscd` holds the names of
/// the readers that pcscd has now. `root` is `/`, except in tests.
pub fn list(root: &Path, pcscd: &[String]) -> Vec<DetectedReader> {
    let scan = DeviceScan { root, processes: processes(root) };
    let serial = names(&root.join("sys/class/tty")).into_iter().filter_map(|name| scan.serial(&name));
    let keyboards = names(&root.join("sys/class/input")).into_iter().filter_map(|name| scan.keyboard(&name));
    let mut found: Vec<_> = serial.chain(keyboards).collect();
    found.extend(scan.smart_card_readers(pcscd));
    found
}

struct DeviceScan<'r> {
    root: &'r Path,
    processes: Vec<Process>,
}

impl DeviceScan<'_> {
    fn serial(&self, name: &str) -> Option<DetectedReader> {
        let class = self.root.join("sys/class/tty").join(name);
        // Terminals have no device; a port of the board without a chip has type 0 (PORT_UNKNOWN).
        if !class.join("device").exists() || text(&class.join("type")).as_deref() == Some("0") {
            return None;
        }
        let node = Path::new("/dev").join(name);
        let mut found = self.describe("serial", "line", usb_device(&class.join("device")), node, "serial");
        if text(&self.root.join("sys/class/tty/console/active"))
            .is_some_and(|text| text.split(' ').any(|it| it == name))
        {
            found.holders.push("the kernel's console (console= of the command line)".to_owned());
        }
        for prober in PROBERS {
            let holds = |holder: &String| holder.starts_with(prober);
            let runs = self.processes.iter().find(|it| it.name == prober);
            if let Some(prober) = runs.filter(|_| !found.holders.iter().any(holds)) {
                found.holders.push(prober.describe("; may try it out"));
            }
        }
        Some(found)
    }

    fn keyboard(&self, name: &str) -> Option<DetectedReader> {
        let class = name.starts_with("event").then(|| self.root.join("sys/class/input").join(name))?;
        let keys = text(&class.join("device/capabilities/key"))?;
        let lowest = u64::from_str_radix(keys.split(' ').next_back()?, 16).ok()?;
        let types = lowest & KEYS_NEEDED == KEYS_NEEDED;
        let usb = usb_device(&class.join("device"));
        types.then(|| self.describe("hid", "keyboard", usb, Path::new("/dev/input").join(name), "input"))
    }

    /// The USB devices that pcscd can serve, each with its name at pcscd, and then the readers that only pcscd knows.
    fn smart_card_readers(&self, pcscd: &[String]) -> Vec<DetectedReader> {
        let mut pcscd_names: Vec<&String> = pcscd.iter().collect();
        let bus = self.root.join("sys/bus/usb/devices");
        let is_ccid = |interface: &PathBuf| text(&interface.join("bInterfaceClass")).as_deref() == Some(CCID);
        let interfaces = names(&bus).into_iter().map(|name| bus.join(name)).filter(is_ccid);
        let mut devices: Vec<_> = interfaces.filter_map(|interface| usb_device(&interface)).collect();
        devices.dedup();
        let mut found: Vec<_> = devices
            .into_iter()
            .filter_map(|usb| {
                let called = self_description(&usb);
                let place = pcscd_names.iter().position(|name| name.starts_with(&called));
                let name = place.map(|place| pcscd_names.remove(place));
                let node = raw_node(&usb)?;
                let mut found = self.describe("pcsc", "line", Some(usb), node, "");
                found.device = without_numbers(name.unwrap_or(&called)).into();
                found.node = name.map_or(found.node, PathBuf::from);
                Some(found)
            })
            .collect();
        found.extend(pcscd_names.into_iter().map(|name| DetectedReader {
            r#type: "pcsc",
            device: without_numbers(name).into(),
            node: name.into(),
            usb: None,
            likely: "reader of pcscd".to_owned(),
            profile: "line",
            holders: Vec::new(),
        }));
        found
    }

    /// Describes the device at `node`, which is a part of the USB device `usb`, if it is one. `links` is the folder of `/dev`
    /// with the device's stable paths, and `profile` is used unless the table of USB ids knows a better one.
    fn describe(
        &self,
        r#type: &'static str,
        profile: &'static str,
        usb: Option<PathBuf>,
        node: PathBuf,
        links: &str,
    ) -> DetectedReader {
        let ids = usb.as_ref().and_then(|usb| Some((text(&usb.join("idVendor"))?, text(&usb.join("idProduct"))?)));
        let known = ids.as_ref().and_then(|(vid, pid)| usb_ids::find(vid, pid));
        let called = usb.as_deref().map(self_description).unwrap_or_default();
        let likely = match (known, &usb) {
            (Some(known), _) if known.is_reader => format!("card reader: {}", known.what),
            (Some(known), _) => format!("{}, which may be a card reader or anything else; {called}", known.what),
            (None, Some(_)) if r#type == "hid" => format!("keyboard or card reader; {called}"),
            (None, Some(_)) if r#type == "pcsc" => format!("smart card or card reader; {called}"),
            (None, Some(_)) => format!("unknown USB device; {called}"),
            (None, None) if r#type == "hid" => "keyboard".to_owned(),
            (None, None) => "serial port of the board".to_owned(),
        };
        let kind = if r#type == "hid" { "keyboard" } else { r#type };
        let profile =
            known.filter(|known| known.attached == kind && !known.profile.is_empty()).map_or(profile, |it| it.profile);
        DetectedReader {
            r#type,
            device: stable_path(self.root, &node, links).unwrap_or_else(|| node.clone()),
            usb: ids.map(|(vid, pid)| format!("{vid}:{pid}")),
            likely: likely.trim_end_matches("; ").to_owned(),
            profile,
            holders: self.holders(&node, usb.as_deref()),
            node,
        }
    }

    /// The processes that have the node open, or the whole USB device under it, as brltty does.
    fn holders(&self, node: &Path, usb: Option<&Path>) -> Vec<String> {
        let raw = usb.and_then(raw_node);
        let holds = |process: &&Process| {
            process.open.contains(node) || raw.as_ref().is_some_and(|raw| process.open.contains(raw))
        };
        self.processes.iter().filter(holds).map(|it| it.describe("")).collect()
    }
}

/// A reader's name at pcscd without the two numbers at its end, which change with the order of plugging in.
fn without_numbers(name: &str) -> &str {
    let is_number = |word: &str| word.len() == 2 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let cut = |name| str::rsplit_once(name, ' ').filter(|(_, word)| is_number(word)).map(|(rest, _)| rest);
    cut(name).and_then(cut).unwrap_or(name)
}

#[cfg(test)]
mod tests;
