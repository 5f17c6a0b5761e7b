//! The frame of every value in the database: a version byte, the number of the table, the length (two bytes), a checksum
//! (four bytes), then the body. It makes a value known wherever its bytes are found, even when the database around it is
//! gone. An encrypted entry is framed twice: as it is, and then encrypted with a number of its own.

use ring::digest;

use super::cipher::Cipher;
use super::error::JournalError;
use super::limits::ENTRY_LIMIT;
use super::table::Table;

/// The first byte of every value. It only rises: an entry with a higher one was written by a newer agent and is set aside.
pub(super) const VERSION: u8 = 3;

/// Added to the number of the table in the header of an encrypted entry.
pub(super) const ENCRYPTED: u8 = 100;

/// The number in the header of a tally. No table will ever have it, nor the next three.
pub(super) const TALLY_NUMBER: u8 = u8::MAX;

/// The number in the header, and the label, of the entry that only the database's key decrypts.
pub(super) const KEY_NUMBER: u8 = u8::MAX - 1;

/// The number in the header of the times of the boots.
pub(super) const BOOTS_NUMBER: u8 = u8::MAX - 2;

/// The number in the header of a seal.
pub(super) const SEAL_NUMBER: u8 = u8::MAX - 3;

/// The bytes before the body.
pub(super) const HEADER: usize = 8;

/// Encrypts a framed entry and frames the result.
pub(super) fn encrypt_entry(cipher: &Cipher, table: Table, entry: &[u8]) -> Result<Vec<u8>, JournalError> {
    frame(table.number() + ENCRYPTED, &cipher.encrypt(table.number(), entry))
}

/// Returns the framed entry that [`encrypt_entry`] was given, if this is the same key.
pub(super) fn decrypt_entry(cipher: &Cipher, table: Table, bytes: &[u8]) -> Option<Vec<u8>> {
    let (number, encrypted) = unframe(bytes)?;
    if number == table.number() + ENCRYPTED { cipher.decrypt(table.number(), encrypted) } else { None }
}

/// The table of an encrypted entry, from the number in its header.
pub(super) fn table_of_encrypted(number: u8) -> Option<Table> {
    number.checked_sub(ENCRYPTED).and_then(Table::from_number)
}

/// Puts the header before a body.
pub(super) fn frame(table: u8, body: &[u8]) -> Result<Vec<u8>, JournalError> {
    let too_large = || JournalError::TooLarge { bytes: body.len() };
    let length = u16::try_from(body.len()).map_err(|_| too_large())?;
    // An encrypted entry was held to the limit before it was encrypted.
    if table_of_encrypted(table).is_none() && HEADER + body.len() > ENTRY_LIMIT {
        return Err(too_large());
    }
    let mut bytes = vec![VERSION, table];
    bytes.extend(length.to_be_bytes());
    bytes.extend(checksum(table, body));
    bytes.extend(body);
    Ok(bytes)
}

/// Returns the number and the body of the frame at the beginning of `bytes`, if there is one and its checksum is right.
pub(super) fn unframe(bytes: &[u8]) -> Option<(u8, &[u8])> {
    let ([VERSION, table, long, short, sum @ ..], rest) = bytes.split_first_chunk::<HEADER>()? else {
        return None;
    };
    let body = rest.get(..usize::from(u16::from_be_bytes([*long, *short])))?;
    (checksum(*table, body) == *sum).then_some((*table, body))
}

/// Finds damage, not malice, so the first bytes of a hash do, which the program has anyway.
fn checksum(table: u8, body: &[u8]) -> [u8; 4] {
    let mut hash = digest::Context::new(&digest::SHA256);
    hash.update(&[table]);
    hash.update(body);
    let hash = hash.finish();
    let mut sum = [0; 4];
    sum.copy_from_slice(&hash.as_ref()[..4]);
    sum
}
