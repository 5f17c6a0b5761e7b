//! Hexadecimal text as bytes. Both cases are read, upper case is written.

use super::error::Fault;
use super::number::Base;

/// The value of each hexadecimal digit.
pub(super) fn nibbles(text: &str) -> Result<Vec<u8>, Fault> {
    text.chars()
        .map(|character| character.to_digit(16).map(|digit| digit as u8).ok_or(Fault::NotDigits(Base::Hexadecimal)))
        .collect()
}

pub(super) fn bytes(text: &str) -> Result<Vec<u8>, Fault> {
    let nibbles = nibbles(text)?;
    if nibbles.len() % 2 == 1 {
        return Err(Fault::HalfByte);
    }
    Ok(nibbles.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

pub(super) fn text(bytes: impl IntoIterator<Item = u8>) -> String {
    bytes.into_iter().map(|byte| format!("{byte:02X}")).collect()
}

/// The text whose ASCII codes `text` is; printable characters only.
pub(super) fn ascii(text: &str) -> Result<String, Fault> {
    let printable = |byte: u8| if matches!(byte, b' '..=b'~') { Ok(char::from(byte)) } else { Err(Fault::NotAscii) };
    bytes(text)?.into_iter().map(printable).collect()
}
