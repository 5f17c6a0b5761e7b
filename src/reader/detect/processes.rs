//! The running processes and the devices that they have open, from `/proc`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::sysfs::{names, text};

/// A running process.
pub(super) struct Process {
    pub(super) name: String,
    pid: String,
    /// The unit of the service manager that it belongs to.
    unit: Option<String>,
    /// The nodes of `/dev` that it has open.
    pub(super) open: BTreeSet<PathBuf>,
}

impl Process {
    /// The process in words for people; `more` is added to them.
    pub(super) fn describe(&self, more: &str) -> String {
        let unit = self.unit.as_ref().map(|unit| format!(", {unit}")).unwrap_or_default();
        format!("{} (process {}{unit}{more})", self.name, self.pid)
    }
}

/// All processes. Only root sees the open devices of other users' processes.
pub(super) fn processes(root: &Path) -> Vec<Process> {
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

/// The service of a process: the last one in its paths among the control groups (proc(5), cgroups(7)).
fn unit(groups: &str) -> Option<String> {
    let paths = groups.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    let mut services = paths.flat_map(|path| path.split('/')).filter(|part| part.ends_with(".service"));
    services.next_back().map(str::to_owned)
}
