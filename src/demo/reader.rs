//! A virtual card reader: a pseudo-terminal behind a path that stays the same, as udev's by-id links do.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::ioctl_tiocnxcl;

/// A pseudo-terminal takes any rate.
const BAUD: u32 = 9600;

/// A reader that can be plugged, unplugged and held a card to.
#[derive(Debug)]
pub struct VirtualReader {
    link: PathBuf,
    /// The reader's end, and the agent's; `None` while it is unplugged.
    wire: Option<(File, OwnedFd)>,
}

impl VirtualReader {
    /// Plugs a reader in at `link`.
    ///
    /// # Errors
    /// The system has no pseudo-terminal left, or the link cannot be made.
    pub fn plug(link: &Path) -> io::Result<Self> {
        let mut reader = Self { link: link.to_owned(), wire: None };
        reader.plug_again()?;
        Ok(reader)
    }

    /// The path that stays the same.
    pub fn path(&self) -> &Path {
        &self.link
    }

    /// Plugs it in again: another device node behind the same path.
    ///
    /// The path leads to the descriptor that this process holds and not to `/dev/pts/N`. The kernel gives a number that is free
    /// again to the next pseudo-terminal, so a link to it that a killed process left would lead to somebody else's reader.
    ///
    /// # Errors
    /// As [`VirtualReader::plug`].
    pub fn plug_again(&mut self) -> io::Result<()> {
        self.unplug();
        // The agent must not inherit it: the line must hang up when this end is dropped.
        let wire = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&wire)?;
        unlockpt(&wire)?;
        let name = ptsname(&wire, Vec::new())?;
        // It is raw from the start, or the line discipline would echo a card that is held before the agent opens it.
        drop(tokio_serial::new(name.to_string_lossy(), BAUD).open()?);
        let line = rustix::fs::open(&*name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty())?;
        let held_here = format!("/proc/{}/fd/{}", std::process::id(), line.as_raw_fd());
        std::os::unix::fs::symlink(held_here, &self.link)?;
        self.wire = Some((File::from(wire), line));
        Ok(())
    }

    /// Lets an agent open it after one that was killed: a pseudo-terminal stays exclusive for as long as it exists, and then
    /// only root may. A real port forgets that when it is closed.
    ///
    /// # Errors
    /// The system does not know pseudo-terminals.
    pub fn let_go(&self) -> io::Result<()> {
        self.wire.as_ref().map_or(Ok(()), |(_, line)| Ok(ioctl_tiocnxcl(line)?))
    }

    /// Unplugs it: the device node is gone at once.
    pub fn unplug(&mut self) {
        // The link goes first, because the descriptor's number is free for the next reader of this process as soon as it is closed.
        drop(std::fs::remove_file(&self.link));
        self.wire = None;
    }

    /// Holds a card to it: the number and a carriage return.
    ///
    /// # Errors
    /// It is unplugged, or nobody empties it.
    pub fn hold(&self, card: &str) -> io::Result<()> {
        self.send(format!("{card}\r").as_bytes())
    }

    /// Sends bytes as they are. Waits while the line is full.
    ///
    /// # Errors
    /// As [`VirtualReader::hold`].
    pub fn send(&self, bytes: &[u8]) -> io::Result<()> {
        match &self.wire {
            Some((wire, _)) => (&mut &*wire).write_all(bytes),
            None => Err(io::Error::new(io::ErrorKind::NotConnected, "the reader is unplugged")),
        }
    }
}

impl Drop for VirtualReader {
    fn drop(&mut self) {
        self.unplug();
    }
}
