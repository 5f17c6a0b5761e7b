//! The byte stream of an open reader, whichever way it is attached.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_serial::SerialStream;

use super::ReaderError;
use super::hid::Keyboard;

/// The most bytes that are taken from the kernel at a time.
pub(super) const CHUNK: usize = 1024;

/// An open reader that sends bytes. Readers that speak HTTP or stand behind pcscd bring whole reads and need none.
#[derive(Debug)]
pub(super) enum DeviceStream {
    /// A serial port or USB-CDC.
    Serial(SerialStream),
    /// A TCP connection, whoever made it.
    Tcp(TcpStream),
    /// A reader that types.
    Keyboard(Keyboard),
}

impl DeviceStream {
    /// Waits for the next bytes, at least one. Dropping the future while it waits loses no byte.
    ///
    /// # Errors
    /// The reader is gone. A device that was unplugged reads as an error or as 0 bytes for ever; both count as gone.
    pub(super) async fn receive(&mut self, chunk: &mut [u8]) -> Result<usize, ReaderError> {
        let count = match self {
            Self::Serial(port) => port.read(chunk).await,
            Self::Tcp(stream) => stream.read(chunk).await,
            Self::Keyboard(keyboard) => keyboard.read(chunk).await,
        };
        match count {
            Ok(0) => Err(ReaderError::HungUp),
            Ok(count) => Ok(count),
            Err(error) => Err(ReaderError::Broken(error)),
        }
    }

    /// Sends a command. A reader that types takes no commands, so there it does nothing.
    ///
    /// # Errors
    /// The reader is gone.
    pub(super) async fn send(&mut self, command: &[u8]) -> Result<(), ReaderError> {
        let result = match self {
            Self::Serial(port) => port.write_all(command).await,
            Self::Tcp(stream) => stream.write_all(command).await,
            Self::Keyboard(_) => Ok(()),
        };
        result.map_err(ReaderError::Broken)
    }
}
