//! A serial line or USB-CDC. Opening is exclusive.

use tokio_serial::{ErrorKind, SerialPort, SerialPortBuilderExt, SerialStream};

use super::ReaderError;

/// Opens the device.
pub(super) fn open(device: &str, baud: u32) -> Result<SerialStream, ReaderError> {
    let opened = tokio_serial::new(device, baud).open_native_async();
    let mut port = opened.map_err(|error| match error.kind {
        // EBUSY, and a lock that somebody else has; what is not there is an error of input and output.
        ErrorKind::NoDevice => ReaderError::Busy { what: device.to_owned() },
        _ => ReaderError::Open { what: device.to_owned(), source: error.into() },
    })?;
    // Some boards power the reader from these lines, and pseudo-terminals have none: an error is no matter.
    drop(port.write_data_terminal_ready(true));
    drop(port.write_request_to_send(true));
    Ok(port)
}
