//! Encryption at rest, with a key that does not lie on the same disk: a systemd credential, bound to the box's TPM if it has
//! one. Each entry is encrypted alone with ChaCha20-Poly1305 (RFC 8439) and a random nonce. The tally and the times of the
//! boots are not, because they hold no more than numbers. A database is encrypted whole or not at all.
//!
//! Threat model: theft of the SD card. It does not hide how many entries there are or how long they are, and it does not
//! keep a thief of the running box from asking the program.

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::digest::{Context, SHA256};

use crate::domain::Secret;
use crate::random;

/// Hashed before the secret, so that no other use of the same secret gets the same key.
const PURPOSE: &[u8] = b"print-release-agent journal 1\0";

pub(super) struct Cipher {
    key: LessSafeKey,
}

impl Cipher {
    pub(super) fn new(secret: &Secret) -> Self {
        let mut hash = Context::new(&SHA256);
        hash.update(PURPOSE);
        hash.update(secret.expose().as_bytes());
        let key = UnboundKey::new(&CHACHA20_POLY1305, hash.finish().as_ref());
        Self { key: LessSafeKey::new(key.expect("a SHA-256 has the 32 bytes of such a key")) }
    }

    /// Returns nonce, ciphertext and tag. They can be decrypted only under the same label.
    pub(super) fn encrypt(&self, label: u8, bytes: &[u8]) -> Vec<u8> {
        let mut nonce = [0; NONCE_LEN];
        nonce.copy_from_slice(&random::bits().to_le_bytes()[..NONCE_LEN]);
        let mut text = bytes.to_vec();
        let sealed =
            self.key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from([label]), &mut text);
        sealed.expect("ring encrypts anything shorter than 256 GiB");
        [&nonce[..], &text].concat()
    }

    /// `None` when the bytes were encrypted with another key or label, or are damaged.
    pub(super) fn decrypt(&self, label: u8, encrypted: &[u8]) -> Option<Vec<u8>> {
        let (nonce, text) = encrypted.split_first_chunk::<NONCE_LEN>()?;
        let mut text = text.to_vec();
        let opened =
            self.key.open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from([label]), &mut text).ok()?;
        let length = opened.len();
        text.truncate(length);
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cipher(secret: &str) -> Cipher {
        Cipher::new(&Secret::new(secret))
    }

    #[test]
    fn an_entry_is_decrypted_only_with_its_key_and_label() {
        let encrypted = cipher("one").encrypt(1, b"a title");
        assert_eq!(cipher("one").decrypt(1, &encrypted).as_deref(), Some(&b"a title"[..]));
        assert_eq!(cipher("another").decrypt(1, &encrypted), None);
        assert_eq!(cipher("one").decrypt(2, &encrypted), None);
        for cut in 0..encrypted.len() {
            assert_eq!(cipher("one").decrypt(1, &encrypted[..cut]), None);
        }
    }

    #[test]
    fn the_same_bytes_are_never_encrypted_to_the_same_bytes() {
        let one = cipher("one");
        assert_ne!(one.encrypt(1, b"a title"), one.encrypt(1, b"a title"));
        assert!(!one.encrypt(1, b"a title").windows(5).any(|part| part == b"title"));
    }
}
