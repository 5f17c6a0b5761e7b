//! From bytes to reads, whatever way they are split. Pure.
//!
//! Invariants: never more than the format's `max_bytes` are held; a read is given out only whole, checked as the format
//! says, and never if it is one that no card has for long (see [`Fault`]). What could be a frame and turns out to be none
//! costs only its first byte where frames have no end of their own, so the next frame is found inside of it.

use zeroize::{Zeroize, Zeroizing};

use crate::domain::{Read, Secret};
use crate::reader::profile::{Check, FrameFormat, Pattern};

/// What the bytes amounted to.
#[derive(Clone, Debug, PartialEq)]
pub enum Frame {
    /// A read.
    Read(Read),
    /// No read, and why.
    Fault(Fault),
}

/// Why something is no read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Too long, too short, or not what the profile says.
    Noise,
    /// The check byte is not that of the rest.
    Checksum,
    /// All zero, which no card is.
    AllZero,
    /// A UID that begins with 08 is another one each time (ISO 14443-3; phones do so).
    RandomUid,
    /// A UID that begins with the cascade tag 88 is half of a longer one (ISO 14443-3).
    IncompleteUid,
}

impl Fault {
    /// True when a card was there and is refused; false when the line was at fault.
    pub fn is_refusal(self) -> bool {
        matches!(self, Self::AllZero | Self::RandomUid | Self::IncompleteUid)
    }

    /// The fault's word in events and logs.
    pub fn word(self) -> &'static str {
        match self {
            Self::Noise => "noise",
            Self::Checksum => "wrong-checksum",
            Self::AllZero => "all-zero",
            Self::RandomUid => "random-uid",
            Self::IncompleteUid => "incomplete-uid",
        }
    }
}

/// How far the frame at the front of the buffer reaches.
enum Extent {
    More,
    Whole(usize),
    Noise,
}

/// Collects bytes until a read ends.
#[derive(Debug)]
pub struct Framer {
    format: FrameFormat,
    buffer: Zeroizing<Vec<u8>>,
    /// So many bytes behind the start hold neither an end nor another start: they are looked at once.
    searched: usize,
    /// True when bytes were dropped since the last frame.
    noise: bool,
    /// With `twice`: the frame before.
    before: Option<Read>,
}

impl Framer {
    /// A framer that has seen nothing.
    pub fn new(format: FrameFormat) -> Self {
        let buffer = Zeroizing::new(Vec::with_capacity(format.max_bytes));
        Self { buffer, searched: 0, format, noise: false, before: None }
    }

    /// True while silence would change something: a read has begun and not ended, or waits for its equal.
    pub fn is_partial(&self) -> bool {
        self.noise || !self.buffer.is_empty() || self.before.is_some()
    }

    /// Takes bytes in and gives out the reads that end in them.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<Frame> {
        let mut frames = Vec::new();
        for &byte in bytes {
            self.buffer.push(byte);
            while !self.buffer.is_empty() {
                match self.extent() {
                    Extent::More => break,
                    Extent::Noise => self.skip(),
                    Extent::Whole(length) => frames.extend(self.take(length)),
                }
            }
        }
        frames
    }

    /// Silence: half a read was only half a read, unless the format says that silence ends it.
    pub fn idle(&mut self) -> Option<Frame> {
        let result = match (self.noise, self.buffer.is_empty()) {
            (false, true) => Ok(None),
            (false, false) if self.format.gap_ends => {
                decode(&self.format, self.buffer.strip_prefix(&self.format.start.0[..]).unwrap_or_default())
            }
            _ => Err(Fault::Noise),
        };
        let frame = self.judge(result);
        self.reset();
        frame
    }

    /// Forgets all that has not ended.
    pub fn reset(&mut self) {
        self.drop_front(self.buffer.len());
        self.noise = false;
        self.before = None;
    }

    fn extent(&mut self) -> Extent {
        let (format, start, searched) = (&self.format, &self.format.start.0[..], self.searched);
        let Some(body) = self.buffer.strip_prefix(start) else {
            return if start.starts_with(&self.buffer) { Extent::More } else { Extent::Noise };
        };
        let whole = match &format.length {
            Some(length) => match length.at.map(|at| body.get(at)) {
                None => length.plus,
                Some(Some(byte)) => usize::from(*byte) + length.plus,
                Some(None) => return Extent::More,
            },
            None => {
                let end = body[searched..].iter().position(|byte| format.end.contains(&char::from(*byte)));
                let text = &body[..end.map_or(body.len(), |end| searched + end)];
                let tail = &text[searched.saturating_sub(start.len())..];
                // Another start: the frame before it was cut off.
                if !start.is_empty() && tail.windows(start.len()).any(|window| window == start) {
                    return Extent::Noise;
                }
                self.searched = text.len();
                start.len() + text.len() + 1 + format.end_more
            }
        };
        match self.buffer.len() {
            _ if whole <= start.len() || whole > format.max_bytes => Extent::Noise,
            held if held < whole => Extent::More,
            _ => Extent::Whole(whole),
        }
    }

    /// Drops the first byte, and after it what cannot begin a frame.
    fn skip(&mut self) {
        self.noise = true;
        let start = &self.format.start.0[..];
        let begins = |at: &usize| self.buffer[*at..].starts_with(start) || start.starts_with(&self.buffer[*at..]);
        let next = if self.is_sized() || !start.is_empty() { (1..self.buffer.len()).find(begins) } else { None };
        self.drop_front(next.unwrap_or(self.buffer.len()));
    }

    /// Takes the frame at the front, of `whole` bytes.
    fn take(&mut self, whole: usize) -> Option<Frame> {
        let (start, tail) = (self.format.start.0.len(), if self.is_sized() { 0 } else { 1 + self.format.end_more });
        let headless = start == 0 && !self.is_sized();
        let body = &self.buffer[start..whole - tail];
        // Without a start, what was dropped is the beginning of this.
        let result = if self.noise && headless { Err(Fault::Noise) } else { decode(&self.format, body) };
        if self.is_sized() && matches!(result, Err(Fault::Noise | Fault::Checksum)) {
            self.skip();
            return None;
        }
        self.drop_front(whole);
        self.noise = false;
        self.judge(result)
    }

    fn judge(&mut self, result: Result<Option<Read>, Fault>) -> Option<Frame> {
        let read = match result {
            Ok(read) => read?,
            Err(fault) => return Some(Frame::Fault(fault)),
        };
        let is_first = self.format.twice && self.before.as_ref() != Some(&read);
        self.before = self.format.twice.then(|| read.clone());
        (!is_first).then_some(Frame::Read(read))
    }

    /// True when a frame ends by its length: then no byte of it can be trusted to end it.
    fn is_sized(&self) -> bool {
        self.format.length.is_some()
    }

    fn drop_front(&mut self, count: usize) {
        self.searched = 0;
        self.buffer.rotate_left(count);
        let kept = self.buffer.len() - count;
        self.buffer[kept..].zeroize();
        self.buffer.truncate(kept);
    }
}

/// The read in the bytes between start and end; `None` where there are none.
fn decode(format: &FrameFormat, body: &[u8]) -> Result<Option<Read>, Fault> {
    if body.is_empty() {
        return Ok(None);
    }
    let text = match &format.pattern {
        Some(pattern) => extract(format, pattern, body)?,
        None => Zeroizing::new(String::from_utf8(body.to_vec()).map_err(|_| Fault::Noise)?),
    };
    if !text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ') {
        return Err(Fault::Noise);
    }
    refuse(&text, format.uid)?;
    Ok(Some(Read(Secret::new(text.as_str()))))
}

/// The read that the pattern finds, after its count and its check.
fn extract(format: &FrameFormat, pattern: &Pattern, body: &[u8]) -> Result<Zeroizing<String>, Fault> {
    let regex = pattern.regex();
    let groups = regex.captures(body).ok_or(Fault::Noise)?;
    let mut nameless = regex.capture_names().zip(groups.iter()).skip(1).filter(|(name, _)| name.is_none());
    let read = nameless.find_map(|(_, group)| group).ok_or(Fault::Noise)?.as_bytes();
    let value =
        |name: &str| groups.name(name).and_then(|group| Some((group.start(), byte(format.raw, group.as_bytes())?)));
    let bytes = || if format.raw { Some(Zeroizing::new(read.to_vec())) } else { from_hex(read) };
    if let Some((_, count)) = value("count")
        && bytes().ok_or(Fault::Noise)?.len() != usize::from(count)
    {
        return Err(Fault::Noise);
    }
    if let Some(check) = format.check {
        let (at, said) = value("check").ok_or(Fault::Noise)?;
        let xor = |bytes: &[u8]| bytes.iter().fold(0, |sum, byte| sum ^ byte);
        let is_right = match check {
            Check::XorRead => xor(&bytes().ok_or(Fault::Noise)?) == said,
            Check::XorBody => xor(&body[..at]) == said,
            Check::SumBody => body[..=at].iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)) == 0,
        };
        if !is_right {
            return Err(Fault::Checksum);
        }
    }
    let text = if format.raw { to_hex(read) } else { String::from_utf8(read.to_vec()).map_err(|_| Fault::Noise)? };
    Ok(Zeroizing::new(text))
}

/// Cards that no station may take: see [`Fault`].
pub(super) fn refuse(read: &str, uid: bool) -> Result<(), Fault> {
    if read.bytes().all(|byte| byte == b'0') {
        return Err(Fault::AllZero);
    }
    match read.get(..2) {
        Some("08") if uid && read.len() == 8 => Err(Fault::RandomUid),
        Some("88") if uid && read.len() == 8 => Err(Fault::IncompleteUid),
        _ => Ok(()),
    }
}

/// One byte, as such or as two digits.
fn byte(raw: bool, group: &[u8]) -> Option<u8> {
    match (raw, group) {
        (true, [byte]) => Some(*byte),
        (false, digits) => from_hex(digits)?.first().copied(),
        _ => None,
    }
}

fn from_hex(digits: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let text = std::str::from_utf8(digits).ok().filter(|text| text.is_ascii() && text.len().is_multiple_of(2))?;
    let bytes = (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16));
    bytes.collect::<Result<Vec<u8>, _>>().ok().map(Zeroizing::new)
}

/// Bytes in upper-case hexadecimal digits.
pub(super) fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

#[cfg(test)]
mod tests;
