//! A serial port or USB-CDC. It is opened for this program alone.

use tokio_serial::{ErrorKind, SerialPort, SerialPortBuilderExt, SerialStream};

use super::ReaderError;

/// Opens the device.
pub(super) fn open(device: &str, baud: u32) -> Result<SerialStream, ReaderError> {
    let opened = tokio_serial::new(device, baud).open_native_async();
    let mut port = opened.map_err(|error| match error.kind {
        // `NoDevice` stands for EBUSY and for another program's lock; a missing device is an error of kind `Io`.
        ErrorKind::NoDevice => ReaderError::Busy { what: device.to_owned() },
        _ => ReaderError::Open { what: device.to_owned(), source: error.into() },
    })?;
    // Some boards power the reader from these lines. Pseudo-terminals have none, so an error is ignored.
    drop(port.write_data_terminal_ready(true));
    drop(port.write_request_to_send(true));
    Ok(port)
}
