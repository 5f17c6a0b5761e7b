//! The binding of a state directory to the machine that made it. An image of a memory card that is written to many cards
//! carries one identity to many boxes, which then throw each other off server and broker.
//!
//! Invariants:
//! - The machine's id is kept as a hash only (machine-id(5) asks for that).
//! - On another machine than the one it is bound to, the state is set aside whole before any of it is used: the original
//!   still has it, and delivers what waits in it. Nothing of it is deleted.
//! - A power cut at any moment leaves a state that the next start sets aside to its end.
//! - Without an id nothing is bound and nothing is set aside.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use ring::digest::{SHA256, digest};

use crate::durable;

/// The file in the state directory that binds it.
const FILE: &str = "machine";

/// The directory in the state directory with the state of another machine; a number follows where there are several.
pub(crate) const ASIDE_DIR: &str = "other-machine";

/// The board's serial number, where there is one.
const SERIALS: [&str; 2] = ["/proc/device-tree/serial-number", "/sys/firmware/devicetree/base/serial-number"];

/// The id that the installation of the system made, see machine-id(5).
const MACHINE_ID: &str = "/etc/machine-id";

/// The id of a system that could not store one. It is another one at each boot.
const TRANSIENT_ID: &str = "/run/machine-id";

/// The files that belong to this machine all the same.
const STAYS: [&str; 3] = ["lock", "enroll.lock", "last-seen"];

/// The digits of the hash that tell two copies apart.
const SHORT: usize = 8;

/// The most characters of a name that is told apart by them, so that it stays within the 32 of `agent.id`.
const NAME_LIMIT: usize = 32 - 1 - SHORT;

/// The words before the names in the file.
const AGENT: &str = "agent ";
const DEVICE: &str = "device ";

/// A hash of the machine's id, in hex.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MachineHash(String);

/// The names that this box has by its configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BoxNames {
    /// `agent.id`.
    pub(crate) agent: String,
    /// `server.device.client_id`.
    pub(crate) device: String,
}

/// The content of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Binding {
    machine: MachineHash,
    /// The names of the original, if this state directory was a copy: as long as the configuration still has them, this box
    /// needs others.
    copied: Option<BoxNames>,
}

/// The relation between this machine and the state directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum BindingState {
    /// This machine has no id.
    NoId,
    /// The state directory is new, or of an earlier version.
    Unbound,
    /// It is this machine's.
    Own,
    /// It is another machine's.
    Copy,
}

impl MachineHash {
    /// The hash of this machine's id; `None` if it has none that lasts.
    pub(crate) fn of_this_machine() -> Option<Self> {
        let read = |path: &str| fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let serial = SERIALS.iter().find_map(|path| read(path).ok());
        let (installed, transient) = (read(MACHINE_ID).ok(), read(TRANSIENT_ID).ok());
        Self::of(serial.as_deref(), installed.as_deref(), transient.as_deref())
    }

    /// A board's serial number comes first, because an image does not carry it along.
    fn of(serial: Option<&str>, installed: Option<&str>, transient: Option<&str>) -> Option<Self> {
        let plain = |text: &str| text.trim_matches(|c: char| c == '\0' || c.is_whitespace()).to_owned();
        let serial = serial.map(plain).filter(|serial| serial.chars().any(|digit| digit != '0'));
        let is_id = |id: &String| id.len() == 32 && id.chars().all(|digit| digit.is_ascii_hexdigit());
        let installed = installed.map(plain).filter(|id| is_id(id) && Some(id) != transient.map(plain).as_ref());
        let id = serial.map(|serial| format!("serial {serial}")).or(installed.map(|id| format!("machine-id {id}")))?;
        let hash = digest(&SHA256, format!("print-release-agent {id}").as_bytes());
        Some(Self(hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()))
    }

    /// A name that no other copy has.
    fn distinguish(&self, name: &str) -> String {
        let kept: String = name.chars().take(NAME_LIMIT).collect();
        format!("{}-{}", kept.trim_end_matches('-'), &self.0[..SHORT])
    }
}

impl Binding {
    fn read(state_dir: &Path) -> Option<Self> {
        Self::of_text(&fs::read_to_string(state_dir.join(FILE)).ok()?)
    }

    fn of_text(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let machine = lines.next().filter(|hash| hash.len() == 64 && hash.bytes().all(|it| it.is_ascii_hexdigit()))?;
        let agent = lines.next().and_then(|line| line.strip_prefix(AGENT));
        let device = lines.next().and_then(|line| line.strip_prefix(DEVICE));
        let copied = agent.zip(device).map(|(agent, device)| BoxNames { agent: agent.into(), device: device.into() });
        Some(Self { machine: MachineHash(machine.to_owned()), copied })
    }

    fn write(&self, state_dir: &Path) -> io::Result<()> {
        let mut text = format!("{}\n", self.machine.0);
        if let Some(BoxNames { agent, device }) = &self.copied {
            text.push_str(&format!("{AGENT}{agent}\n{DEVICE}{device}\n"));
        }
        durable::write(&state_dir.join(FILE), text.as_bytes())
    }
}

/// Looks whether the state directory is this machine's.
pub(crate) fn standing(state_dir: &Path, this: Option<&MachineHash>) -> BindingState {
    match (Binding::read(state_dir), this) {
        (_, None) => BindingState::NoId,
        (None, Some(_)) => BindingState::Unbound,
        (Some(bound), Some(this)) if bound.machine == *this => BindingState::Own,
        (Some(_), Some(_)) => BindingState::Copy,
    }
}

/// Binds the state directory to this machine. The state of another one is set aside first, and its directory is returned. To be
/// called with the lock of the state directory, before anything in it is read.
///
/// # Errors
/// The disk. The next call goes on where this one stopped.
pub(crate) fn bind(state_dir: &Path, this: Option<&MachineHash>, configured: &BoxNames) -> io::Result<Option<PathBuf>> {
    let (Some(this), standing) = (this, standing(state_dir, this)) else {
        return Ok(None);
    };
    let own = |copied| Binding { machine: this.clone(), copied };
    match standing {
        BindingState::NoId | BindingState::Own => Ok(None),
        BindingState::Unbound => match own(None).write(state_dir) {
            // A box serves on a full disk too; a later start binds it.
            Err(error) if error.kind() == io::ErrorKind::StorageFull => Ok(None),
            written => written.map(|()| None),
        },
        BindingState::Copy => {
            let aside = set_state_aside(state_dir)?;
            own(Some(configured.clone())).write(state_dir)?;
            Ok(Some(aside))
        }
    }
}

/// The names under which this box goes about. A copy whose configuration still has the original's names takes others.
pub(crate) fn names(state_dir: &Path, this: Option<&MachineHash>, configured: BoxNames) -> BoxNames {
    let Some(bound) = Binding::read(state_dir) else {
        return configured;
    };
    let is_copy = this.is_some_and(|this| *this != bound.machine);
    let machine = if is_copy { this.unwrap_or(&bound.machine) } else { &bound.machine };
    let original = if is_copy { Some(configured.clone()) } else { bound.copied };
    let Some(original) = original else {
        return configured;
    };
    let own = |name: String, before: String| if name == before { machine.distinguish(&name) } else { name };
    BoxNames { agent: own(configured.agent, original.agent), device: own(configured.device, original.device) }
}

/// The directories with the state of other machines, the one that was filled last at the end.
pub(crate) fn set_aside(state_dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(state_dir).into_iter().flatten().flatten();
    let is_aside = |name: &str| name.starts_with(ASIDE_DIR);
    let folders = entries.filter(|entry| entry.file_name().to_str().is_some_and(is_aside)).map(|entry| entry.path());
    let mut found: Vec<_> = folders.filter(|path| path.is_dir()).collect();
    let filled =
        |path: &PathBuf| path.join(FILE).metadata().and_then(|it| it.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
    found.sort_by_key(|path| (filled(path), path.clone()));
    found
}

/// Puts the state of another machine in the place of this one's, which has to be gone already. The database comes last: where it
/// is in place, all is.
///
/// # Errors
/// The disk.
pub(crate) fn adopt(state_dir: &Path, aside: &Path, this: Option<&MachineHash>) -> io::Result<()> {
    let mut names = entries(aside, |name| name != FILE)?;
    names.sort_by_key(|name| name == "db");
    for name in names {
        fs::rename(aside.join(&name), state_dir.join(&name))?;
    }
    if let Some(this) = this {
        Binding { machine: this.clone(), copied: None }.write(state_dir)?;
    }
    durable::sync_directory(state_dir)?;
    fs::remove_dir_all(aside)
}

/// Moves everything of the state into a directory of its own, and copies the binding there when all is moved.
fn set_state_aside(state_dir: &Path) -> io::Result<PathBuf> {
    let names = (1..).map(|n| if n == 1 { ASIDE_DIR.to_owned() } else { format!("{ASIDE_DIR}-{n}") });
    let mut folders = names.map(|name| state_dir.join(name));
    // One without a binding was begun by a start that a power cut has ended.
    let aside = folders.find(|folder| !folder.join(FILE).exists()).unwrap_or_else(|| state_dir.join(ASIDE_DIR));
    durable::directory(&aside)?;
    let moves = |name: &str| name != FILE && !name.starts_with(ASIDE_DIR) && !STAYS.contains(&name);
    for name in entries(state_dir, moves)? {
        fs::rename(state_dir.join(&name), aside.join(&name))?;
    }
    durable::sync_directory(&aside)?;
    durable::sync_directory(state_dir)?;
    durable::write(&aside.join(FILE), &fs::read(state_dir.join(FILE))?)?;
    Ok(aside)
}

/// The names of the state directory's own files that `take` wants.
fn entries(dir: &Path, take: impl Fn(&str) -> bool) -> io::Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        if let Some(name) = name.to_str().filter(|text| durable::is_own_name(&name) && take(text)) {
            found.push(name.to_owned());
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(id: &str) -> MachineHash {
        MachineHash::of(Some(id), None, None).unwrap()
    }

    fn configured() -> BoxNames {
        BoxNames { agent: "lobby".to_owned(), device: "lobby-device".to_owned() }
    }

    /// A state directory with these files, each with its own name in it.
    fn state(files: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        files.iter().for_each(|name| fs::write(dir.path().join(name), name).unwrap());
        dir
    }

    #[test]
    fn the_boards_number_counts_before_the_systems_and_what_does_not_last_counts_for_nothing() {
        let id = "3d1219c7c4c5404aaa1f6d2a48adfda4";
        let of = |serial, installed, transient| MachineHash::of(serial, installed, transient);
        assert_eq!(of(Some("10000000abcdef01\0"), Some(id), None), of(Some("10000000abcdef01"), None, None));
        assert_ne!(of(Some("10000000abcdef01\0"), Some(id), None), of(None, Some(id), None));
        assert!(
            of(Some("0000000000000000\0"), Some(id), None)
                == of(None, Some("3d1219c7c4c5404aaa1f6d2a48adfda4\n"), None)
        );
        for (serial, installed, transient) in [
            (None, None, None),
            (Some("\0"), Some(""), None),
            (None, Some("uninitialized\n"), None),
            (None, Some(id), Some(id)),
        ] {
            assert_eq!(of(serial, installed, transient), None, "{serial:?} {installed:?} {transient:?}");
        }
        let shown = format!("{:?}", of(None, Some(id), None));
        assert!(!shown.contains(id), "{shown}");
    }

    #[test]
    fn a_state_directory_is_bound_at_its_first_start_and_stays_as_it_is() {
        let dir = state(&["db", "device.key", "lock"]);
        let (one, state_dir) = (hash("one"), dir.path());
        for _ in 0..2 {
            assert_eq!(bind(state_dir, None, &configured()).unwrap(), None, "without an id there is no binding");
        }
        assert_eq!(standing(state_dir, Some(&one)), BindingState::Unbound);
        for _ in 0..2 {
            assert_eq!(bind(state_dir, Some(&one), &configured()).unwrap(), None);
            assert_eq!(standing(state_dir, Some(&one)), BindingState::Own);
            assert_eq!(names(state_dir, Some(&one), configured()), configured());
        }
        assert!(state_dir.join("device.key").exists());
    }

    #[test]
    fn a_copy_sets_the_originals_state_aside_whole_and_takes_names_of_its_own() {
        let files = ["db", "db.damaged-1", "mark", "reserve", "device.key", "device.json", "device.json.new", "key"];
        let stays = ["lock", "enroll.lock", "last-seen", "agent.toml"];
        let dir = state(&[&files[..], &stays[..]].concat());
        let (one, other, state_dir) = (hash("one"), hash("other"), dir.path());
        bind(state_dir, Some(&one), &configured()).unwrap();
        let before = names(state_dir, Some(&other), configured());
        let aside = bind(state_dir, Some(&other), &configured()).unwrap().unwrap();
        for name in files {
            assert_eq!(fs::read_to_string(aside.join(name)).unwrap(), name);
            assert!(!state_dir.join(name).exists(), "{name}");
        }
        stays.iter().for_each(|name| assert!(state_dir.join(name).exists(), "{name}"));
        assert_eq!(standing(state_dir, Some(&other)), BindingState::Own);
        let own = names(state_dir, Some(&other), configured());
        assert_eq!(own, before, "a look before the first start tells the same");
        assert!(own.agent.starts_with("lobby-") && own.agent != own.device && own != configured(), "{own:?}");
        let renamed = BoxNames { agent: "attic".to_owned(), ..configured() };
        assert_eq!(names(state_dir, Some(&other), renamed).agent, "attic", "somebody has told the two apart");
        assert_eq!(set_aside(state_dir), [aside]);
    }

    #[test]
    fn a_copy_of_a_copy_loses_neither() {
        let dir = state(&["db"]);
        let state_dir = dir.path();
        for (number, machine) in ["one", "two", "three"].iter().enumerate() {
            bind(state_dir, Some(&hash(machine)), &configured()).unwrap();
            assert_eq!(set_aside(state_dir).len(), number);
            fs::write(state_dir.join("db"), machine).unwrap();
        }
        let stories = set_aside(state_dir).into_iter().map(|path| fs::read_to_string(path.join("db")).unwrap());
        let mut stories: Vec<_> = stories.collect();
        stories.sort();
        assert_eq!(stories, ["one", "two"]);
    }

    #[test]
    fn a_power_cut_while_it_is_set_aside_changes_nothing() {
        let files = ["db", "device.key", "mark"];
        for moved in 0..=files.len() {
            let dir = state(&files);
            let state_dir = dir.path();
            bind(state_dir, Some(&hash("one")), &configured()).unwrap();
            fs::create_dir(state_dir.join(ASIDE_DIR)).unwrap();
            for name in &files[..moved] {
                fs::rename(state_dir.join(name), state_dir.join(ASIDE_DIR).join(name)).unwrap();
            }
            let aside = bind(state_dir, Some(&hash("two")), &configured()).unwrap().unwrap();
            assert_eq!(set_aside(state_dir), std::slice::from_ref(&aside));
            files.iter().for_each(|name| assert!(aside.join(name).exists(), "{name} after {moved}"));
        }
    }

    #[test]
    fn a_state_that_is_adopted_is_this_machines_own() {
        let dir = state(&["db", "device.key", "mark"]);
        let (two, state_dir) = (hash("two"), dir.path());
        bind(state_dir, Some(&hash("one")), &configured()).unwrap();
        let aside = bind(state_dir, Some(&two), &configured()).unwrap().unwrap();
        adopt(state_dir, &aside, Some(&two)).unwrap();
        assert_eq!(standing(state_dir, Some(&two)), BindingState::Own);
        assert_eq!(names(state_dir, Some(&two), configured()), configured());
        assert_eq!(fs::read_to_string(state_dir.join("device.key")).unwrap(), "device.key");
        assert_eq!(set_aside(state_dir), Vec::<PathBuf>::new());
    }

    #[test]
    fn a_long_name_stays_within_its_limit() {
        let long = "a".repeat(32);
        let own = hash("one").distinguish(&long);
        assert_eq!(own.len(), 32);
        assert_eq!(hash("one").distinguish("lobby-").matches("--").count(), 0);
    }
}
