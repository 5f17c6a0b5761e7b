//! An open reader: bytes in, bytes out.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_serial::SerialStream;

use super::ReaderError;
use super::hid::Keyboard;

/// Bytes that are taken from the kernel at a time.
pub const CHUNK: usize = 1024;

/// An open reader.
#[derive(Debug)]
pub enum Link {
    /// A serial line.
    Serial(SerialStream),
    /// A connection.
    Tcp(TcpStream),
    /// A reader that types.
    Keys(Keyboard),
}

impl Link {
    /// Waits for the next bytes, at least one. Nothing is lost when it is dropped while it waits.
    ///
    /// # Errors
    /// The reader is gone. A device that was unplugged reads as an error or as 0 bytes for ever; both mean gone.
    pub async fn receive(&mut self, chunk: &mut [u8]) -> Result<usize, ReaderError> {
        let count = match self {
            Self::Serial(port) => port.read(chunk).await,
            Self::Tcp(stream) => stream.read(chunk).await,
            Self::Keys(keyboard) => keyboard.read(chunk).await,
        };
        match count {
            Ok(0) => Err(ReaderError::HungUp),
            Ok(count) => Ok(count),
            Err(error) => Err(ReaderError::Broken(error)),
        }
    }

    /// Sends a command; a reader that types takes none.
    ///
    /// # Errors
    /// The reader is gone.
    pub async fn send(&mut self, command: &[u8]) -> Result<(), ReaderError> {
        let result = match self {
            Self::Serial(port) => port.write_all(command).await,
            Self::Tcp(stream) => stream.write_all(command).await,
            Self::Keys(_) => Ok(()),
        };
        result.map_err(ReaderError::Broken)
    }
}
