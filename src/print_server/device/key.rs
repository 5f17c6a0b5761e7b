//! The device's Ed25519 key: it is made once, and requests are signed with it.
//!
//! A signature is plain Ed25519 over the exact bytes of the body, in base64 (docs/print-server-api.md,
//! "Device registration").

use std::fs;
use std::io;
use std::path::Path;

use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair};
use zeroize::Zeroizing;

use super::DeviceError;
use crate::durable;

/// The digits of base64 (RFC 4648, section 4).
const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// The key that proves that it is the same device.
#[derive(Debug)]
pub(super) struct DeviceKey(Ed25519KeyPair);

impl DeviceKey {
    /// Reads the key (PKCS#8), or makes it. The flag says whether it was made: then no server can know it.
    pub(super) fn load_or_make(path: &Path) -> Result<(Self, bool), DeviceError> {
        let (document, made) = match fs::read(path) {
            Ok(document) => (Zeroizing::new(document), false),
            Err(error) if error.kind() == io::ErrorKind::NotFound => (make(path)?, true),
            Err(error) => return Err(DeviceError::disk(path, &error)),
        };
        let pair =
            Ed25519KeyPair::from_pkcs8(&document).map_err(|_| DeviceError::Key { path: path.display().to_string() })?;
        Ok((Self(pair), made))
    }

    /// The 32 bytes that the server verifies with, in base64.
    pub(super) fn public(&self) -> String {
        base64(self.0.public_key().as_ref())
    }

    /// The signature over a body, in base64.
    pub(super) fn sign(&self, body: &[u8]) -> String {
        base64(self.0.sign(body).as_ref())
    }
}

fn make(path: &Path) -> Result<Zeroizing<Vec<u8>>, DeviceError> {
    let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new())
        .expect("the system's generator cannot fail once it has been seeded");
    durable::write(path, document.as_ref()).map_err(|error| DeviceError::disk(path, &error))?;
    Ok(Zeroizing::new(document.as_ref().to_vec()))
}

fn base64(bytes: &[u8]) -> String {
    let group = |chunk: &[u8]| {
        let held = (0..3).fold(0_u32, |held, at| held << 8 | u32::from(chunk.get(at).copied().unwrap_or(0)));
        let digit = |place: usize| match place <= chunk.len() {
            true => char::from(BASE64[(held >> (18 - 6 * place) & 63) as usize]),
            false => '=',
        };
        [digit(0), digit(1), digit(2), digit(3)]
    };
    bytes.chunks(3).flat_map(group).collect()
}

#[cfg(test)]
impl DeviceKey {
    /// The throw-away key of the vendor's page "request-example".
    pub(super) fn documented() -> Self {
        const SEED: [u8; 32] = [
            0xa4, 0xfd, 0xb4, 0xaf, 0x51, 0xe6, 0xa9, 0xfe, 0x4d, 0x4c, 0xef, 0x11, 0x77, 0xb4, 0xeb, 0xba, 0x2a, 0x6e,
            0xe5, 0xff, 0x1a, 0x47, 0xe1, 0x26, 0xe3, 0xb7, 0x13, 0xbd, 0x69, 0x5e, 0x4d, 0xcf,
        ];
        Self(Ed25519KeyPair::from_seed_unchecked(&SEED).unwrap())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_is_made_once_and_only_its_owner_reads_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let (first, made) = DeviceKey::load_or_make(&path).unwrap();
        assert!(made);
        let (second, made) = DeviceKey::load_or_make(&path).unwrap();
        assert!(!made);
        assert_eq!(first.sign(b"body"), second.sign(b"body"));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_damaged_key_is_told_and_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        fs::write(&path, "no key").unwrap();
        assert!(matches!(DeviceKey::load_or_make(&path), Err(DeviceError::Key { .. })));
        assert_eq!(fs::read(&path).unwrap(), b"no key");
    }

    #[test]
    fn base64_is_as_in_its_rfc() {
        // RFC 4648, section 10.
        for (bytes, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }
}
