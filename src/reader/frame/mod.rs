//! Finds the reads in a stream of bytes, however the stream is split. Pure.
//!
//! Invariants: at most the format's `max_bytes` are held. A read is given out only whole and checked as the format says, and
//! never if no card keeps such a number (see [`Fault`]). If frames end by their length, bytes that turn out to be no frame
//! cost only their first byte, so that the next frame is found inside of them.

use zeroize::{Zeroize, Zeroizing};

use crate::domain::{Read, Secret};
use crate::reader::profile::{Check, FrameFormat, Pattern};

/// The result of decoding some bytes.
#[derive(Clone, Debug, PartialEq)]
pub enum Frame {
    /// The bytes were a read.
    Read(Read),
    /// The bytes were no read, for this reason.
    Fault(Fault),
}

/// Why some bytes are no read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The bytes are too long, too short, or not as the profile describes them.
    Noise,
    /// The check byte does not fit the other bytes.
    Checksum,
    /// Every digit is zero; no card has such a number.
    AllZero,
    /// A UID that begins with 08 is another one each time the card is held (ISO 14443-3; phones do so).
    RandomUid,
    /// A UID that begins with the cascade tag 88 is half of a longer one (ISO 14443-3).
    IncompleteUid,
}

impl Fault {
    /// True if there was a card that no station may take, false if the line or the reader was at fault.
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

/// The length of the frame at the front of the buffer, as far as it is known.
enum Extent {
    /// More bytes are needed to tell.
    More,
    /// The frame has this many bytes, and all of them are there.
    Whole(usize),
    /// The bytes are no frame.
    Noise,
}

/// Collects bytes until a read ends.
#[derive(Debug)]
pub struct Framer {
    format: FrameFormat,
    buffer: Zeroizing<Vec<u8>>,
    /// The number of bytes behind the start that are known to hold neither an end nor another start, so that each byte is
    /// searched only once.
    searched: usize,
    /// True if bytes were dropped since the last frame.
    noise: bool,
    /// The frame before, if the format takes only two equal frames for a read.
    before: Option<Read>,
}

impl Framer {
    /// A framer that has seen nothing.
    pub fn new(format: FrameFormat) -> Self {
        let buffer = Zeroizing::new(Vec::with_capacity(format.max_bytes));
        Self { buffer, searched: 0, format, noise: false, before: None }
    }

    /// True while silence would change something: a read has begun and not ended, or waits for its second frame.
    pub fn is_partial(&self) -> bool {
        self.noise || !self.buffer.is_empty() || self.before.is_some()
    }

    /// Takes in bytes and gives out the frames that end in them.
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

    /// Ends half a read after silence: it is noise, unless the format says that silence ends a read.
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

    /// Drops all bytes of a read that has not ended.
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
                // Another start means that the frame before it was cut off.
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

    /// Drops the first byte, and after it all bytes that cannot begin a frame.
    fn skip(&mut self) {
        self.noise = true;
        let start = &self.format.start.0[..];
        let begins = |at: &usize| self.buffer[*at..].starts_with(start) || start.starts_with(&self.buffer[*at..]);
        let next = if self.is_sized() || !start.is_empty() { (1..self.buffer.len()).find(begins) } else { None };
        self.drop_front(next.unwrap_or(self.buffer.len()));
    }

    /// Takes the `whole` bytes of the frame at the front.
    fn take(&mut self, whole: usize) -> Option<Frame> {
        let (start, tail) = (self.format.start.0.len(), if self.is_sized() { 0 } else { 1 + self.format.end_more });
        let headless = start == 0 && !self.is_sized();
        let body = &self.buffer[start..whole - tail];
        // Without a start byte, the dropped bytes were the beginning of this frame.
        let result = if self.noise && headless { Err(Fault::Noise) } else { decode(&self.format, body) };
        if self.is_sized() && matches!(result, Err(Fault::Noise | Fault::Checksum)) {
            self.skip();
            return None;
        }
        self.drop_front(whole);
        self.noise = false;
        self.judge(result)
    }

    /// Gives out a decoded read; if the format wants two equal frames, only at the second one.
    fn judge(&mut self, result: Result<Option<Read>, Fault>) -> Option<Frame> {
        let read = match result {
            Ok(read) => read?,
            Err(fault) => return Some(Frame::Fault(fault)),
        };
        let is_first = self.format.twice && self.before.as_ref() != Some(&read);
        self.before = self.format.twice.then(|| read.clone());
        (!is_first).then_some(Frame::Read(read))
    }

    /// True if a frame ends by its length; then any byte value may stand inside of it.
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

/// The read in the bytes between start and end; `None` if there are no bytes.
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

/// The read that the pattern finds, if its count and its check byte are right.
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

/// Refuses cards that no station may take (see [`Fault::is_refusal`]). `uid` says that reads of 4 bytes are ISO 14443 UIDs.
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

/// The value of one byte, which is written as itself if `raw`, else as two digits.
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

/// Writes bytes as upper-case hexadecimal digits.
pub(super) fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

#[cfg(test)]
mod tests;
