//! `HCP-Request-Signature`: base64 of an Ed25519 signature over the bytes of the body exactly as they were sent.
//!
//! RSA keys are documented too, but not their hash and padding, so this server takes Ed25519 only.

use ring::signature::{ED25519, UnparsedPublicKey};

/// The first bytes of an X.509 `SubjectPublicKeyInfo` of an Ed25519 key (RFC 8410, section 4).
const X509_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// Longest base64 that is decoded, in bytes: more than any key or signature has.
const BASE64_LIMIT: usize = 1 << 10;

/// A device's public key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct PublicKey([u8; 32]);

impl PublicKey {
    /// Reads the raw 32 bytes or the X.509 form, in base64.
    pub(super) fn parse(base64: &str) -> Option<PublicKey> {
        let bytes = decode(base64)?;
        let raw = bytes.strip_prefix(&X509_PREFIX).unwrap_or(&bytes);
        raw.try_into().ok().map(PublicKey)
    }

    /// Whether this signature, in base64, is this device's over this body.
    pub(super) fn signed(&self, body: &[u8], signature: &str) -> bool {
        let key = UnparsedPublicKey::new(&ED25519, self.0);
        decode(signature).is_some_and(|signature| key.verify(body, &signature).is_ok())
    }
}

/// Base64 (RFC 4648, section 4) with its padding.
fn decode(text: &str) -> Option<Vec<u8>> {
    if text.len() > BASE64_LIMIT || !text.len().is_multiple_of(4) {
        return None;
    }
    let digits = text.strip_suffix("==").or_else(|| text.strip_suffix('=')).unwrap_or(text);
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut held, mut bits) = (0_u32, 0);
    for digit in digits.bytes() {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        held = held << 6 & 0xfff | u32::from(value);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push((held >> bits & 0xff) as u8);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    // The vendor's throw-away example of a signed request.
    const PUBLIC: &str = "HUUtnCdtG1x9oiSI4ODtvIEmI/qp7lFknsu1lpVk8T8=";
    const BODY: &[u8] = b"client_id=0966a26c-a5fc-4276-9c6b-587d02aceb91&client_secret=mykey&grant_type=device_code\
&device_code=wVgzOcLwemGJPfY_d01E3PA8H3k";
    const SIGNATURE: &str = "MKS1dCmgp4rLbZ2oaQeFb9pultWjI0zU7si5lb3oLCJWH8t8jgps4LLz/isPSa5OWfQAtFB3NAu04axirmF9CA==";

    #[test]
    fn the_documented_signature_is_right_over_its_body_and_no_other() {
        let key = PublicKey::parse(PUBLIC).unwrap();
        assert!(key.signed(BODY, SIGNATURE));
        assert!(!key.signed(&BODY[1..], SIGNATURE));
        assert!(!key.signed(BODY, &SIGNATURE.replace("MKS1", "MKS2")));
        assert!(!key.signed(BODY, ""));
    }

    #[test]
    fn a_key_in_x509_form_is_the_raw_key() {
        let x509 = "MCowBQYDK2VwAyEAHUUtnCdtG1x9oiSI4ODtvIEmI/qp7lFknsu1lpVk8T8=";
        assert_eq!(PublicKey::parse(x509), PublicKey::parse(PUBLIC));
        assert!(PublicKey::parse(x509).is_some());
    }

    #[test]
    fn what_is_no_base64_or_no_key_is_none() {
        assert_eq!(decode("TWE="), Some(b"Ma".to_vec()));
        assert_eq!(decode("TQ=="), Some(b"M".to_vec()));
        for wrong in ["TWE", "TW E", "T===", "TW-_", &"A".repeat(BASE64_LIMIT + 4)] {
            assert_eq!(decode(wrong), None, "{wrong}");
        }
        assert_eq!(PublicKey::parse("TWFu"), None);
    }
}
