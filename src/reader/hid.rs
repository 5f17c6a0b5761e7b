//! A reader that types like a keyboard. Its event device is grabbed, so that no card number is typed into a login prompt.

use std::fmt;
use std::io;

use evdev::KeyCode;
use evdev::raw_stream::{EventStream, RawDevice, enumerate};

use super::ReaderError;
use super::keys::KeyDecoder;

/// An event node needs these keys to type a card number. A reader may have further nodes that lack them.
const NEEDED: [KeyCode; 11] = [
    KeyCode::KEY_1,
    KeyCode::KEY_2,
    KeyCode::KEY_3,
    KeyCode::KEY_4,
    KeyCode::KEY_5,
    KeyCode::KEY_6,
    KeyCode::KEY_7,
    KeyCode::KEY_8,
    KeyCode::KEY_9,
    KeyCode::KEY_0,
    KeyCode::KEY_ENTER,
];

/// A grabbed keyboard. Dropping it gives the keyboard back to the system.
pub(super) struct Keyboard {
    events: EventStream,
    keys: KeyDecoder,
}

impl fmt::Debug for Keyboard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyboard").field("keys", &self.keys).finish_non_exhaustive()
    }
}

impl Keyboard {
    /// Waits for the next typed byte.
    pub(super) async fn read(&mut self, chunk: &mut [u8]) -> io::Result<usize> {
        loop {
            let event = self.events.next_event().await?;
            if let (Some(byte), Some(place)) =
                (self.keys.event(event.event_type().0, event.code(), event.value()), chunk.first_mut())
            {
                *place = byte;
                return Ok(1);
            }
        }
    }
}

/// Opens the device and grabs it, so that its keys reach nobody else.
pub(super) fn open(device: &str) -> Result<Keyboard, ReaderError> {
    let failed = |source| ReaderError::Open { what: device.to_owned(), source };
    let mut node = RawDevice::open(device).map_err(failed)?;
    if !types(&node) {
        node = sibling(&node).ok_or_else(|| ReaderError::NoKeyboard { what: device.to_owned() })?;
    }
    node.grab().map_err(|source| match source.kind() {
        io::ErrorKind::ResourceBusy => ReaderError::Busy { what: device.to_owned() },
        _ => failed(source),
    })?;
    Ok(Keyboard { events: node.into_event_stream().map_err(failed)?, keys: KeyDecoder::default() })
}

fn types(node: &RawDevice) -> bool {
    node.supported_keys().is_some_and(|keys| NEEDED.iter().all(|key| keys.contains(*key)))
}

/// The node that types, among the other nodes of the same reader.
fn sibling(node: &RawDevice) -> Option<RawDevice> {
    let socket = socket(node)?;
    enumerate().map(|(_, other)| other).find(|other| types(other) && self::socket(other).as_ref() == Some(&socket))
}

/// The USB port of a node: `usb-0000:00:14.0-2/input1` without the part after the last `/`.
fn socket(node: &RawDevice) -> Option<String> {
    node.physical_path().and_then(|path| path.rsplit_once('/')).map(|(socket, _)| socket.to_owned())
}
