//! The files and devices as the user of the service would see them. `check` is often run by root, who may open everything.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The user of the unit (systemd/print-release-agent.service).
const SERVICE_USER: &str = "print-release-agent";

/// Read, and read and write, as bits of a mode.
pub(super) const READ: u32 = 0o4;
pub(super) const READ_WRITE: u32 = 0o6;

/// A user with all groups.
#[derive(Clone, Debug)]
pub(super) struct ServiceUser {
    name: String,
    uid: u32,
    groups: Vec<u32>,
}

impl ServiceUser {
    /// The user of the service, when root runs this command on a box that has one. Otherwise the eyes of this process count.
    pub(super) fn find() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            return None;
        }
        let (users, groups) = (fs::read_to_string("/etc/passwd").ok()?, fs::read_to_string("/etc/group").ok()?);
        Self::of(SERVICE_USER, &users, &groups)
    }

    /// The user `name` of these files (passwd(5), group(5)).
    fn of(name: &str, users: &str, groups: &str) -> Option<Self> {
        let fields = |line: &str| line.split(':').map(str::to_owned).collect::<Vec<_>>();
        let user = users.lines().map(fields).find(|user| user.first().is_some_and(|first| first == name))?;
        let own = user.get(3)?.parse().ok()?;
        let others = groups.lines().map(fields).filter_map(|group| {
            let is_member = group.get(3)?.split(',').any(|member| member == name);
            group.get(2)?.parse().ok().filter(|_| is_member)
        });
        Some(Self { name: name.to_owned(), uid: user.get(2)?.parse().ok()?, groups: others.chain([own]).collect() })
    }

    /// Whether the mode of the file, and of each folder above it, lets this user do `wanted`. A path that is not there is judged by
    /// others.
    ///
    /// # Errors
    /// One sentence with the advice.
    pub(super) fn may(&self, path: &Path, wanted: u32) -> Result<(), String> {
        let Ok(path) = fs::canonicalize(path) else {
            return Ok(());
        };
        for folder in path.ancestors().skip(1) {
            self.allowed(folder, 0o1)?;
        }
        self.allowed(&path, wanted)
    }

    fn allowed(&self, path: &Path, wanted: u32) -> Result<(), String> {
        let Ok(file) = fs::metadata(path) else {
            return Ok(());
        };
        if self.has(file.uid(), file.gid(), file.mode(), wanted) {
            return Ok(());
        }
        let verb = match wanted {
            READ => "read",
            READ_WRITE => "open",
            _ => "enter",
        };
        let advice = if path.starts_with("/dev") {
            "give it the group cardreader and mode 0660 (udev)"
        } else {
            "change its owner or mode"
        };
        let mode = file.mode() & 0o777;
        Err(format!("the service's user {} may not {verb} {} (mode {mode:o}); {advice}", self.name, path.display()))
    }

    /// The rule of the kernel: only the first class that fits counts.
    fn has(&self, uid: u32, gid: u32, mode: u32, wanted: u32) -> bool {
        let class = if uid == self.uid {
            mode >> 6
        } else if self.groups.contains(&gid) {
            mode >> 3
        } else {
            mode
        };
        self.uid == 0 || class & wanted == wanted
    }
}

/// The paths that the keys `..._file` of a configuration name, each with its key. Credentials are systemd's to read.
pub(super) fn named_files(text: &str) -> Vec<(String, PathBuf)> {
    let mut found = Vec::new();
    if let Ok(table) = text.parse::<toml::Table>() {
        collect(&toml::Value::Table(table), &mut found);
    }
    found
}

fn collect(value: &toml::Value, found: &mut Vec<(String, PathBuf)>) {
    match value {
        toml::Value::Table(table) => {
            for (key, value) in table {
                match value.as_str() {
                    Some(path) if key.ends_with("_file") && path.starts_with('/') => {
                        found.push((key.clone(), path.into()))
                    }
                    _ => collect(value, found),
                }
            }
        }
        toml::Value::Array(values) => values.iter().for_each(|value| collect(value, found)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USERS: &str = "root:x:0:0::/root:/bin/sh\nprint-release-agent:x:990:989::/:/bin/false\n";
    const GROUPS: &str =
        "root:x:0:\ncardreader:x:988:print-release-agent,ada\nprint-release-agent:x:989:\naudio:x:29:ada\n";

    #[test]
    fn the_service_sees_a_file_by_its_own_uid_and_groups_and_not_by_roots() {
        let user = ServiceUser::of(SERVICE_USER, USERS, GROUPS).unwrap();
        for (uid, gid, mode, wanted, may) in [
            (0, 0, 0o100_600, READ, false),
            (0, 0, 0o100_644, READ, true),
            (990, 0, 0o100_400, READ, true),
            (990, 0, 0o100_400, READ_WRITE, false),
            (0, 988, 0o020_660, READ_WRITE, true),
            (0, 989, 0o020_640, READ_WRITE, false),
            (0, 29, 0o020_660, READ_WRITE, false),
            (990, 988, 0o100_066, READ, false),
        ] {
            assert_eq!(user.has(uid, gid, mode, wanted), may, "{uid} {gid} {mode:o} {wanted:o}");
        }
        assert!(ServiceUser::of(SERVICE_USER, "root:x:0:0::/:/bin/sh", GROUPS).is_none());
    }

    #[test]
    fn a_file_in_a_folder_that_may_not_be_entered_is_told_with_the_folder() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("key");
        fs::write(&file, "").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        let user = ServiceUser { name: "nobody-here".to_owned(), uid: 4_000_000, groups: Vec::new() };
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let told = user.may(&file, READ).unwrap_err();
        assert!(told.contains("may not enter") && !told.contains("/key"), "{told}");
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(user.may(&file, READ), Ok(()));
        assert!(user.may(&file, READ_WRITE).unwrap_err().contains("mode 644"));
        assert_eq!(user.may(&dir.path().join("missing"), READ), Ok(()), "others tell that it is missing");
    }

    #[test]
    fn every_file_that_is_named_is_found_with_its_key() {
        let text = "[server]\napi_key_file = \"/a\"\nca_file = \"credential:b\"\n[[station]]\n[station.x]\nled_file = \"/c\"\nfile = \"/d\"";
        let found: Vec<_> =
            named_files(text).into_iter().map(|(key, path)| (key, path.display().to_string())).collect();
        assert_eq!(found, [("api_key_file".to_owned(), "/a".to_owned()), ("led_file".to_owned(), "/c".to_owned())]);
    }
}
