//! Turns hexadecimal text into bytes and back. It reads both cases and writes upper case.

use super::error::StepFault;
use super::number::Base;

/// The value of each hexadecimal digit.
pub(super) fn nibbles(text: &str) -> Result<Vec<u8>, StepFault> {
    text.chars()
        .map(|character| character.to_digit(16).map(|digit| digit as u8).ok_or(StepFault::NotDigits(Base::Hexadecimal)))
        .collect()
}

pub(super) fn bytes(text: &str) -> Result<Vec<u8>, StepFault> {
    let nibbles = nibbles(text)?;
    if nibbles.len() % 2 == 1 {
        return Err(StepFault::HalfByte);
    }
    Ok(nibbles.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

pub(super) fn text(bytes: impl IntoIterator<Item = u8>) -> String {
    bytes.into_iter().map(|byte| format!("{byte:02X}")).collect()
}

/// Decodes the hexadecimal form of ASCII text. Characters that cannot be printed are an error.
pub(super) fn ascii(text: &str) -> Result<String, StepFault> {
    let printable =
        |byte: u8| if matches!(byte, b' '..=b'~') { Ok(char::from(byte)) } else { Err(StepFault::NotAscii) };
    bytes(text)?.into_iter().map(printable).collect()
}
