//! The devices of this box that may be readers, and who holds them: from the kernel's own files, without opening a device,
//! and from what pcscd says.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::known;

/// Deeper than any USB device hangs below its bus.
const DEPTH_LIMIT: usize = 16;

/// The class of a USB interface that pcscd serves (CCID revision 1.1, 3).
const CCID: &str = "0b";

/// Programs that try serial ports out by themselves.
const PROBERS: [&str; 2] = ["ModemManager", "brltty"];

/// The keys 1 to 0 and Enter, as bits of the lowest word of `capabilities/key` (linux/input-event-codes.h).
const KEYS_NEEDED: u64 = 0x1000_0FFC;

/// A device that may be a reader.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Found {
    /// The value for `type` in agent.toml: `serial`, `hid` or `pcsc`.
    pub r#type: &'static str,
    /// The value for `device`: the path that stays the same, if there is one; with `pcsc` that for `reader_name`.
    pub device: PathBuf,
    /// Today's path; with `pcsc` today's name, if pcscd has it.
    pub node: PathBuf,
    /// `09d8:0420`; `None` where it is not USB.
    pub usb: Option<String>,
    /// What it says about itself, and what it is likely to be.
    pub likely: String,
    /// The profile to try first.
    pub profile: &'static str,
    /// Who has it open, or will.
    pub holders: Vec<String>,
}

/// Every serial port, every input device that can type a card, and every reader for pcscd, which has those of `pcscd` now.
/// `root` is `/` but for tests.
pub fn list(root: &Path, pcscd: &[String]) -> Vec<Found> {
    let machine = Machine { root, processes: processes(root) };
    let serial = names(&root.join("sys/class/tty")).into_iter().filter_map(|name| machine.serial(&name));
    let keys = names(&root.join("sys/class/input")).into_iter().filter_map(|name| machine.keyboard(&name));
    let mut found: Vec<_> = serial.chain(keys).collect();
    found.extend(machine.cards(pcscd));
    found
}

/// A process: its name, the unit of the service manager that it belongs to, and the devices that it has open.
struct Process {
    name: String,
    pid: String,
    unit: Option<String>,
    open: BTreeSet<PathBuf>,
}

impl Process {
    /// For people, with what more there is to say.
    fn told(&self, more: &str) -> String {
        let unit = self.unit.as_ref().map(|unit| format!(", {unit}")).unwrap_or_default();
        format!("{} (process {}{unit}{more})", self.name, self.pid)
    }
}

struct Machine<'r> {
    root: &'r Path,
    processes: Vec<Process>,
}

impl Machine<'_> {
    fn serial(&self, name: &str) -> Option<Found> {
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
                found.holders.push(prober.told("; may try it out"));
            }
        }
        Some(found)
    }

    fn keyboard(&self, name: &str) -> Option<Found> {
        let class = name.starts_with("event").then(|| self.root.join("sys/class/input").join(name))?;
        let keys = text(&class.join("device/capabilities/key"))?;
        let lowest = u64::from_str_radix(keys.split(' ').next_back()?, 16).ok()?;
        let types = lowest & KEYS_NEEDED == KEYS_NEEDED;
        let usb = usb_device(&class.join("device"));
        types.then(|| self.describe("hid", "keyboard", usb, Path::new("/dev/input").join(name), "input"))
    }

    /// The USB devices that pcscd can serve, each with its name there, and what else it serves.
    fn cards(&self, pcscd: &[String]) -> Vec<Found> {
        let mut names: Vec<&String> = pcscd.iter().collect();
        let bus = self.root.join("sys/bus/usb/devices");
        let is_ccid = |interface: &PathBuf| text(&interface.join("bInterfaceClass")).as_deref() == Some(CCID);
        let interfaces = self::names(&bus).into_iter().map(|name| bus.join(name)).filter(is_ccid);
        let mut devices: Vec<_> = interfaces.filter_map(|interface| usb_device(&interface)).collect();
        devices.dedup();
        let mut found: Vec<_> = devices
            .into_iter()
            .filter_map(|usb| {
                let said = said(&usb);
                let name = names.iter().position(|name| name.starts_with(&said)).map(|place| names.remove(place));
                let node = raw_node(&usb)?;
                let mut found = self.describe("pcsc", "line", Some(usb), node, "");
                found.device = steady(name.unwrap_or(&said)).into();
                found.node = name.map_or(found.node, PathBuf::from);
                Some(found)
            })
            .collect();
        found.extend(names.into_iter().map(|name| Found {
            r#type: "pcsc",
            device: steady(name).into(),
            node: name.into(),
            usb: None,
            likely: "reader of pcscd".to_owned(),
            profile: "line",
            holders: Vec::new(),
        }));
        found
    }

    /// What is known of the device at `node`, which is a part of `usb`.
    fn describe(
        &self,
        r#type: &'static str,
        profile: &'static str,
        usb: Option<PathBuf>,
        node: PathBuf,
        links: &str,
    ) -> Found {
        let ids = usb.as_ref().and_then(|usb| Some((text(&usb.join("idVendor"))?, text(&usb.join("idProduct"))?)));
        let known = ids.as_ref().and_then(|(vid, pid)| known::find(vid, pid));
        let said = usb.as_deref().map(said).unwrap_or_default();
        let likely = match (known, &usb) {
            (Some(known), _) if known.is_reader => format!("card reader: {}", known.what),
            (Some(known), _) => format!("{}, which may be a card reader or anything else; {said}", known.what),
            (None, Some(_)) if r#type == "hid" => format!("keyboard or card reader; {said}"),
            (None, Some(_)) if r#type == "pcsc" => format!("smart card or card reader; {said}"),
            (None, Some(_)) => format!("unknown USB device; {said}"),
            (None, None) if r#type == "hid" => "keyboard".to_owned(),
            (None, None) => "serial port of the board".to_owned(),
        };
        let kind = if r#type == "hid" { "keyboard" } else { r#type };
        let profile =
            known.filter(|known| known.attached == kind && !known.profile.is_empty()).map_or(profile, |it| it.profile);
        Found {
            r#type,
            device: self.stable(&node, links).unwrap_or_else(|| node.clone()),
            usb: ids.map(|(vid, pid)| format!("{vid}:{pid}")),
            likely: likely.trim_end_matches("; ").to_owned(),
            profile,
            holders: self.holders(&node, usb.as_deref()),
            node,
        }
    }

    /// The path below by-id or by-path that leads to `node`.
    fn stable(&self, node: &Path, links: &str) -> Option<PathBuf> {
        ["by-id", "by-path"].iter().find_map(|by| {
            let folder = Path::new("/dev").join(links).join(by);
            let here = under(self.root, &folder);
            let leads =
                |name: &String| fs::read_link(here.join(name)).is_ok_and(|to| to.file_name() == node.file_name());
            names(&here).into_iter().find(leads).map(|name| folder.join(name))
        })
    }

    /// Who has the node open, or the USB device under it (as brltty does).
    fn holders(&self, node: &Path, usb: Option<&Path>) -> Vec<String> {
        let raw = usb.and_then(raw_node);
        let holds = |process: &&Process| {
            process.open.contains(node) || raw.as_ref().is_some_and(|raw| process.open.contains(raw))
        };
        self.processes.iter().filter(holds).map(|it| it.told("")).collect()
    }
}

/// An absolute path below `root`.
fn under(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

/// The USB device that this is a part of.
fn usb_device(part: &Path) -> Option<PathBuf> {
    let part = fs::canonicalize(part).ok()?;
    part.ancestors().take(DEPTH_LIMIT).find(|path| path.join("idVendor").is_file()).map(Path::to_owned)
}

/// What a USB device says about itself.
fn said(usb: &Path) -> String {
    let said = [text(&usb.join("manufacturer")), text(&usb.join("product"))];
    said.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

/// Where programs open a USB device as a whole.
fn raw_node(usb: &Path) -> Option<PathBuf> {
    let number = |name: &str| text(&usb.join(name))?.parse::<u16>().ok();
    let (bus, device) = number("busnum").zip(number("devnum"))?;
    Some(PathBuf::from(format!("/dev/bus/usb/{bus:03}/{device:03}")))
}

/// A reader's name at pcscd without the two numbers at its end, which change with the order of plugging in.
fn steady(name: &str) -> &str {
    let is_number = |word: &str| word.len() == 2 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let cut = |name| str::rsplit_once(name, ' ').filter(|(_, word)| is_number(word)).map(|(rest, _)| rest);
    cut(name).and_then(cut).unwrap_or(name)
}

/// The service of a process: the last one of its path among the control groups (proc(5), cgroups(7)).
fn unit(groups: &str) -> Option<String> {
    let paths = groups.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    let mut services = paths.flat_map(|path| path.split('/')).filter(|part| part.ends_with(".service"));
    services.next_back().map(str::to_owned)
}

fn processes(root: &Path) -> Vec<Process> {
    let proc = root.join("proc");
    let process = |pid: String| {
        let folder = proc.join(&pid);
        let open =
            names(&folder.join("fd")).into_iter().filter_map(|fd| fs::read_link(folder.join("fd").join(fd)).ok());
        let open = open.filter(|path| path.starts_with("/dev")).collect();
        let unit = text(&folder.join("cgroup")).and_then(|groups| unit(&groups));
        Some(Process { name: text(&folder.join("comm"))?, pid, unit, open })
    };
    names(&proc).into_iter().filter(|name| name.bytes().all(|byte| byte.is_ascii_digit())).filter_map(process).collect()
}

/// The names in a folder, in order; none where there is no such folder or it may not be read.
fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|it| it.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

fn text(path: &Path) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A folder with the files of a kernel.
    struct Kernel(tempfile::TempDir);

    impl Kernel {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn file(&self, path: &str, text: &str) {
            let path = self.0.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, format!("{text}\n")).unwrap();
        }

        fn link(&self, path: &str, to: &str) {
            let path = self.0.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let to = to.strip_prefix("root:").map_or(PathBuf::from(to), |to| self.0.path().join(to));
            symlink(to, path).unwrap();
        }

        fn usb(&self, device: &str, vid: &str, pid: &str, product: &str) {
            let folder = format!("sys/devices/usb1/{device}");
            self.file(&format!("{folder}/idVendor"), vid);
            self.file(&format!("{folder}/idProduct"), pid);
            self.file(&format!("{folder}/product"), product);
            self.file(&format!("{folder}/busnum"), "1");
            self.file(&format!("{folder}/devnum"), "7");
        }

        fn tty(&self, name: &str, device: &str) {
            self.file(&format!("sys/devices/{device}/uevent"), "");
            self.link(&format!("sys/class/tty/{name}/device"), &format!("root:sys/devices/{device}"));
        }

        fn keys(&self, name: &str, device: &str, keys: &str) {
            self.file(&format!("sys/devices/{device}/capabilities/key"), keys);
            self.link(&format!("sys/class/input/{name}/device"), &format!("root:sys/devices/{device}"));
        }

        fn process(&self, pid: &str, name: &str, open: &[&str]) {
            self.file(&format!("proc/{pid}/comm"), name);
            for (fd, path) in open.iter().enumerate() {
                self.link(&format!("proc/{pid}/fd/{fd}"), path);
            }
        }

        fn list(&self) -> Vec<Found> {
            list(self.0.path(), &[])
        }
    }

    #[test]
    fn a_known_reader_has_its_name_its_profile_and_its_stable_path() {
        let kernel = Kernel::new();
        kernel.usb("1-1", "09d8", "0420", "TWN4/B1.06");
        kernel.tty("ttyACM1", "usb1/1-1/1-1:1.0");
        kernel.link("dev/serial/by-id/usb-OEM_RFID_Device__COM_-if00", "../../ttyACM1");
        let [found] = &kernel.list()[..] else { panic!() };
        assert_eq!(found.usb.as_deref(), Some("09d8:0420"));
        assert_eq!((found.r#type, found.profile), ("serial", "twn4-simple"));
        assert!(found.likely.starts_with("card reader: ELATEC TWN4"), "{}", found.likely);
        assert_eq!(found.device, Path::new("/dev/serial/by-id/usb-OEM_RFID_Device__COM_-if00"));
        assert_eq!(found.node, Path::new("/dev/ttyACM1"));
        assert_eq!(found.holders, Vec::<String>::new());
    }

    #[test]
    fn a_bare_chip_is_not_called_a_reader() {
        let kernel = Kernel::new();
        kernel.usb("1-2", "1a86", "7523", "USB Serial");
        kernel.tty("ttyUSB0", "usb1/1-2/1-2:1.0/ttyUSB0");
        let [found] = &kernel.list()[..] else { panic!() };
        assert_eq!(found.likely, "CH340 serial, which may be a card reader or anything else; USB Serial");
        assert_eq!(found.profile, "line");
    }

    #[test]
    fn of_a_reader_with_two_nodes_the_one_that_types_is_listed() {
        let kernel = Kernel::new();
        kernel.usb("1-3", "413d", "2107", "RFID");
        kernel.keys(
            "event3",
            "usb1/1-3/1-3:1.0/input/input3",
            "1000000000007 ff9f207ac14057ff febeffdfffefffff fffffffffffffffe",
        );
        kernel.keys("event4", "usb1/1-3/1-3:1.1/input/input4", "1f0000 0 0 0 0");
        kernel.link("dev/input/by-path/pci-usb-0:1-event-kbd", "../event3");
        let [found] = &kernel.list()[..] else { panic!() };
        assert_eq!((found.r#type, found.profile), ("hid", "keyboard"));
        assert_eq!(found.device, Path::new("/dev/input/by-path/pci-usb-0:1-event-kbd"));
        assert_eq!(found.node, Path::new("/dev/input/event3"));
    }

    #[test]
    fn who_holds_a_device_is_told_by_name() {
        let kernel = Kernel::new();
        kernel.file("sys/class/tty/console/active", "tty0 ttyS0");
        kernel.tty("ttyS0", "pnp0/00:00");
        kernel.tty("ttyS1", "platform/serial8250");
        kernel.file("sys/class/tty/ttyS1/type", "0");
        kernel.file("sys/class/tty/tty0/uevent", "");
        kernel.usb("1-2", "10c4", "ea60", "CP2102");
        kernel.tty("ttyUSB0", "usb1/1-2/1-2:1.0/ttyUSB0");
        kernel.process("12", "agetty", &["/dev/ttyS0"]);
        kernel.file("proc/12/cgroup", "0::/system.slice/system-serial\\x2dgetty.slice/serial-getty@ttyS0.service");
        kernel.process("13", "brltty", &["/dev/bus/usb/001/007"]);
        kernel.process("14", "ModemManager", &["/dev/null"]);
        kernel.file("proc/14/cgroup", "1:name=systemd:/system.slice/ModemManager.service\n0::/user.slice");
        let [board, chip] = &kernel.list()[..] else { panic!() };
        let runs = "ModemManager (process 14, ModemManager.service; may try it out)";
        assert_eq!(board.likely, "serial port of the board");
        let console = "the kernel's console (console= of the command line)";
        let getty = "agetty (process 12, serial-getty@ttyS0.service)";
        assert_eq!(board.holders, [getty, console, runs, "brltty (process 13; may try it out)"]);
        assert_eq!(chip.holders, ["brltty (process 13)", runs]);
    }
    #[test]
    fn a_reader_for_pcscd_is_listed_with_its_name_there_and_so_is_one_that_only_pcscd_knows() {
        let kernel = Kernel::new();
        kernel.usb("1-4", "072f", "2200", "ACR122U PICC Interface");
        kernel.file("sys/devices/usb1/1-4/manufacturer", "ACS");
        kernel.file("sys/devices/usb1/1-4/1-4:1.0/bInterfaceClass", "0b");
        kernel.link("sys/bus/usb/devices/1-4:1.0", "root:sys/devices/usb1/1-4/1-4:1.0");
        kernel.file("sys/devices/usb1/1-4/1-4:1.1/bInterfaceClass", "03");
        kernel.link("sys/bus/usb/devices/1-4:1.1", "root:sys/devices/usb1/1-4/1-4:1.1");
        kernel.process("15", "pcscd", &["/dev/bus/usb/001/007"]);
        let names = ["Virtual PCD 00 01".to_owned(), "ACS ACR122U PICC Interface 02 00".to_owned()];
        let [acs, other] = &list(kernel.0.path(), &names)[..] else { panic!() };
        assert_eq!((acs.r#type, acs.profile, acs.usb.as_deref()), ("pcsc", "acr122u", Some("072f:2200")));
        assert_eq!(acs.device, Path::new("ACS ACR122U PICC Interface"));
        assert_eq!(acs.node, Path::new("ACS ACR122U PICC Interface 02 00"));
        assert_eq!(acs.holders, ["pcscd (process 15)"]);
        assert_eq!((other.r#type, &*other.device), ("pcsc", Path::new("Virtual PCD")));
        let [acs] = &kernel.list()[..] else { panic!("also where pcscd does not run") };
        assert_eq!(acs.device, Path::new("ACS ACR122U PICC Interface"));
        assert_eq!(acs.node, Path::new("/dev/bus/usb/001/007"));
    }
}
