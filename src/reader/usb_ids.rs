//! Guesses from its USB ids what a device is, by the built-in table `firmware-config/udev/usb-ids.csv`.

/// One row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownUsbDevice {
    /// The USB vendor id in four lower-case digits, as the kernel writes it.
    pub vid: &'static str,
    /// The USB product id, written in the same way.
    pub pid: &'static str,
    /// True for a card reader, false for a chip that is built into all sorts of devices.
    pub is_reader: bool,
    /// `serial`, `keyboard`, `pcsc` or `other`: the kind of device that Linux makes of it.
    pub attached: &'static str,
    /// The profile to try first; empty if none is known.
    pub profile: &'static str,
    /// A name of the device for people.
    pub what: &'static str,
}

/// All rows of the table.
pub fn all() -> impl Iterator<Item = KnownUsbDevice> {
    let rows = include_str!("../../firmware-config/udev/usb-ids.csv").lines().filter(|row| !row.starts_with('#'));
    rows.skip(1).filter_map(|row| {
        let mut cells = row.splitn(6, ',');
        let mut cell = || cells.next();
        let (vid, pid, nature) = (cell()?, cell()?, cell()?);
        Some(KnownUsbDevice {
            vid,
            pid,
            is_reader: nature == "reader",
            attached: cell()?,
            profile: cell()?,
            what: cell()?,
        })
    })
}

/// The row with these ids.
pub fn find(vid: &str, pid: &str) -> Option<KnownUsbDevice> {
    all().find(|known| (known.vid, known.pid) == (vid, pid))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reader::profile;

    const RULES: &str = include_str!("../../firmware-config/udev/70-print-release-readers.rules");

    /// The udev rules that name these ids.
    fn rules(known: &KnownUsbDevice) -> Vec<&'static str> {
        let names = |rule: &&str| {
            let id = |attribute: &str, id: &str| {
                rule.contains(&format!("ATTR{{{attribute}}}==\"{id}\""))
                    || rule.contains(&format!("ATTRS{{{attribute}}}==\"{id}\""))
            };
            !rule.starts_with('#') && id("idVendor", known.vid) && id("idProduct", known.pid)
        };
        RULES.lines().filter(names).collect()
    }

    #[test]
    fn the_table_is_whole_and_its_profiles_exist() {
        assert_eq!(all().count(), 49);
        for known in all() {
            assert!(["serial", "keyboard", "pcsc", "other"].contains(&known.attached), "{known:?}");
            assert!(known.profile.is_empty() || profile::load(known.profile).is_ok(), "{known:?}");
            assert_eq!(find(known.vid, known.pid), Some(known), "two rows for one id");
        }
    }

    #[test]
    fn every_reader_is_ours_whatever_its_firmware_makes_of_it_and_modem_manager_stays_away() {
        for known in all().filter(|known| known.is_reader && ["serial", "keyboard"].contains(&known.attached)) {
            let [port, keys, device] = rules(&known)[..] else { panic!("{known:?}") };
            for (rule, parts) in [
                (
                    port,
                    &["SUBSYSTEM==\"tty\"", "GROUP=\"cardreader\"", "MODE=\"0660\"", "ENV{ID_MM_PORT_IGNORE}=\"1\""][..],
                ),
                (keys, &["SUBSYSTEM==\"input\"", "KERNEL==\"event*\"", "GROUP=\"cardreader\"", "MODE=\"0660\""]),
                (device, &["SUBSYSTEM==\"usb\"", "ENV{ID_MM_DEVICE_IGNORE}=\"1\"", "ENV{MTP_NO_PROBE}=\"1\""]),
            ] {
                assert!(parts.iter().all(|part| rule.contains(part)), "{rule}");
            }
        }
    }

    #[test]
    fn a_chip_that_may_be_anything_has_no_rule_and_every_rule_names_a_reader() {
        for known in all() {
            let named = known.is_reader && ["serial", "keyboard"].contains(&known.attached);
            assert_eq!(!rules(&known).is_empty(), named, "{known:?}");
        }
        let named: usize = all().map(|known| rules(&known).len()).sum();
        assert_eq!(RULES.lines().filter(|line| line.contains("idVendor}")).count(), named);
    }
}
