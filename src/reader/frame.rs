//! From bytes to reads, whatever way they are split. Pure.

use crate::domain::{Read, Secret};
use crate::reader::profile::FrameFormat;

/// What the bytes amounted to.
#[derive(Clone, Debug, PartialEq)]
pub enum Frame {
    /// A read.
    Read(Read),
    /// Too long, or not text.
    Unreadable,
}

/// Collects bytes until a read ends. Never holds more than the format's `max_bytes`.
#[derive(Debug)]
pub struct Framer {
    format: FrameFormat,
    buffer: Vec<u8>,
    /// True while the rest of something too long goes by.
    skipping: bool,
}

impl Framer {
    /// A framer that has seen nothing.
    pub fn new(format: FrameFormat) -> Self {
        Self { buffer: Vec::with_capacity(format.max_bytes), format, skipping: false }
    }

    /// True while a read has begun and not ended.
    pub fn is_partial(&self) -> bool {
        self.skipping || !self.buffer.is_empty()
    }

    /// Takes bytes in and gives out the reads that end in them.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<Frame> {
        let mut frames = Vec::new();
        for &byte in bytes {
            if self.format.end.contains(&char::from(byte)) {
                frames.extend(self.end());
            } else if self.buffer.len() == self.format.max_bytes {
                self.skipping = true;
            } else if !self.skipping {
                self.buffer.push(byte);
            }
        }
        frames
    }

    /// Silence: half a read was only half a read.
    pub fn idle(&mut self) -> Option<Frame> {
        let partial = self.is_partial();
        self.buffer.clear();
        self.skipping = false;
        partial.then_some(Frame::Unreadable)
    }

    fn end(&mut self) -> Option<Frame> {
        let bytes =
            zeroize::Zeroizing::new(std::mem::replace(&mut self.buffer, Vec::with_capacity(self.format.max_bytes)));
        if std::mem::take(&mut self.skipping) {
            return Some(Frame::Unreadable);
        }
        if bytes.is_empty() {
            return None;
        }
        let printable = bytes.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ');
        match std::str::from_utf8(&bytes) {
            Ok(text) if printable => Some(Frame::Read(Read(Secret::new(text)))),
            _ => Some(Frame::Unreadable),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::reader::profile;

    fn framer() -> Framer {
        Framer::new(profile::load("line").unwrap().frame)
    }

    fn read(text: &str) -> Frame {
        Frame::Read(Read(Secret::new(text)))
    }

    #[test]
    fn cr_lf_or_both_end_a_read() {
        for end in ["\r", "\n", "\r\n"] {
            assert_eq!(framer().push(format!("04A1{end}").as_bytes()), [read("04A1")], "{end:?}");
        }
    }

    #[test]
    fn what_is_too_long_is_dropped_up_to_its_end_and_the_next_read_is_whole() {
        let mut framer = framer();
        assert_eq!(framer.push(&[b'7'; 5_000]), []);
        assert!(framer.buffer.len() <= framer.format.max_bytes);
        assert_eq!(framer.push(b"\r04A1\r"), [Frame::Unreadable, read("04A1")]);
    }

    #[test]
    fn half_a_read_is_dropped_when_the_line_falls_silent() {
        let mut framer = framer();
        assert_eq!(framer.push(b"04"), []);
        assert_eq!(framer.idle(), Some(Frame::Unreadable));
        assert_eq!(framer.idle(), None);
        assert_eq!(framer.push(b"A1\r"), [read("A1")]);
    }

    proptest! {
        #[test]
        fn a_split_never_changes_what_is_read(text in "[ -~]{1,40}", at in 0usize..42) {
            let bytes = format!("{text}\r\n").into_bytes();
            let (head, tail) = bytes.split_at(at.min(bytes.len()));
            let mut framer = framer();
            let mut frames = framer.push(head);
            frames.extend(framer.push(tail));
            prop_assert_eq!(frames, vec![read(&text)]);
        }

        #[test]
        fn noise_never_panics_and_never_grows(bytes in proptest::collection::vec(any::<u8>(), 0..4_000)) {
            let mut framer = framer();
            framer.push(&bytes);
            prop_assert!(framer.buffer.len() <= framer.format.max_bytes);
        }
    }
}
