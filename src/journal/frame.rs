//! How the values of the database are framed.

use ring::digest;

use super::cipher::Cipher;
use super::error::JournalError;
use super::limits::ENTRY_LIMIT;
use super::table::Table;

/// The first byte of every value. A higher one was written by a newer agent: such an entry is set aside.
pub(super) const VERSION: u8 = 3;

/// The number in the header of an entry that is locked is this much above that of its table.
pub(super) const ENCRYPTED: u8 = 100;

/// Version, table, length, checksum.
pub(super) const HEADER: usize = 8;

/// An entry as it lies on the disk when there is a key: all of it is locked, and has a header of its own.
pub(super) fn encrypt_entry(cipher: &Cipher, table: Table, entry: &[u8]) -> Result<Vec<u8>, JournalError> {
    frame(table.number() + ENCRYPTED, &cipher.encrypt(table.number(), entry))
}

/// What [`encrypt_entry`] has locked, with the same key.
pub(super) fn decrypt_entry(cipher: &Cipher, table: Table, bytes: &[u8]) -> Option<Vec<u8>> {
    let (number, encrypted) = unframe(bytes)?;
    if number == table.number() + ENCRYPTED { cipher.decrypt(table.number(), encrypted) } else { None }
}

/// The table of an entry that is locked, from the number in its header.
pub(super) fn table_of_encrypted(number: u8) -> Option<Table> {
    number.checked_sub(ENCRYPTED).and_then(Table::from_number)
}

/// Puts the header before the bytes of an entry of the table with this number.
pub(super) fn frame(table: u8, body: &[u8]) -> Result<Vec<u8>, JournalError> {
    let too_large = || JournalError::TooLarge { bytes: body.len() };
    let length = u16::try_from(body.len()).map_err(|_| too_large())?;
    // What is locked was held to the limit before.
    if table_of_encrypted(table).is_none() && HEADER + body.len() > ENTRY_LIMIT {
        return Err(too_large());
    }
    let mut bytes = vec![VERSION, table];
    bytes.extend(length.to_be_bytes());
    bytes.extend(checksum(table, body));
    bytes.extend(body);
    Ok(bytes)
}

/// What [`frame`] has sealed, at the beginning of `bytes`, and the number of its table.
pub(super) fn unframe(bytes: &[u8]) -> Option<(u8, &[u8])> {
    let ([VERSION, table, long, short, sum @ ..], rest) = bytes.split_first_chunk::<HEADER>()? else {
        return None;
    };
    let body = rest.get(..usize::from(u16::from_be_bytes([*long, *short])))?;
    (checksum(*table, body) == *sum).then_some((*table, body))
}

/// Finds damage, not malice: the first bytes of a hash that is there anyway.
fn checksum(table: u8, body: &[u8]) -> [u8; 4] {
    let mut hash = digest::Context::new(&digest::SHA256);
    hash.update(&[table]);
    hash.update(body);
    let hash = hash.finish();
    let mut sum = [0; 4];
    sum.copy_from_slice(&hash.as_ref()[..4]);
    sum
}
