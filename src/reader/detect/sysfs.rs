//! Reads the kernel's files about devices, below `/sys` and `/dev`.

use std::fs;
use std::path::{Path, PathBuf};

/// Deeper than any USB device hangs below its bus.
const DEPTH_LIMIT: usize = 16;

/// The absolute path `path`, below `root`.
pub(super) fn under(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

/// The folder of the USB device that `part` belongs to.
pub(super) fn usb_device(part: &Path) -> Option<PathBuf> {
    let part = fs::canonicalize(part).ok()?;
    part.ancestors().take(DEPTH_LIMIT).find(|path| path.join("idVendor").is_file()).map(Path::to_owned)
}

/// The manufacturer and the product, as the USB device names them itself.
pub(super) fn self_description(usb: &Path) -> String {
    let names = [text(&usb.join("manufacturer")), text(&usb.join("product"))];
    names.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

/// The node through which programs open a USB device as a whole.
pub(super) fn raw_node(usb: &Path) -> Option<PathBuf> {
    let number = |name: &str| text(&usb.join(name))?.parse::<u16>().ok();
    let (bus, device) = number("busnum").zip(number("devnum"))?;
    Some(PathBuf::from(format!("/dev/bus/usb/{bus:03}/{device:03}")))
}

/// The path below by-id or by-path that leads to `node`. `links` is the folder of `/dev` that holds these two.
pub(super) fn stable_path(root: &Path, node: &Path, links: &str) -> Option<PathBuf> {
    ["by-id", "by-path"].iter().find_map(|by| {
        let folder = Path::new("/dev").join(links).join(by);
        let here = under(root, &folder);
        let leads = |name: &String| fs::read_link(here.join(name)).is_ok_and(|to| to.file_name() == node.file_name());
        names(&here).into_iter().find(leads).map(|name| folder.join(name))
    })
}

/// The sorted names in a folder; none if there is no such folder or it may not be read.
pub(super) fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|it| it.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// The content of a small file, without the line feed at its end.
pub(super) fn text(path: &Path) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}
