use std::fs;
use std::os::unix::fs::symlink;

use super::*;

/// A folder with the files of a made-up kernel.
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

    fn list(&self) -> Vec<DetectedReader> {
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
fn the_holders_of_a_device_are_listed_by_name() {
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
