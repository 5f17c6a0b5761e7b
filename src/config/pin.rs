//! Pins of the print server's public key, as tools print them.

use toml::de::DeValue;

use super::check::{Checked, text};

/// SHA-256 of a public key (its SubjectPublicKeyInfo in DER, as in RFC 7469, section 2.4).
pub type Pin = [u8; 32];

/// Most pins: the key in use and a few to come.
const MAX_PINS: usize = 16;

/// The digits of base64 (RFC 4648, section 4), in the order of their value.
const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// A list of pins.
pub(super) fn pins(value: &DeValue<'_>) -> Checked<Vec<Pin>> {
    match value.as_array() {
        Some(pins) if pins.len() <= MAX_PINS => {
            let checked = pins
                .iter()
                .zip(1..)
                .map(|(element, number)| text(pin)(element.get_ref()).map_err(|why| format!("pin {number} {why}")));
            checked.collect()
        }
        _ => Err(format!("must be a list of at most {MAX_PINS} pins, for example []")),
    }
}

fn pin(text: &str) -> Checked<Pin> {
    let digits = text.trim_end_matches('=').as_bytes();
    let pin = match digits.len() {
        64 => unpack(digits, 4, |digit| char::from(digit).to_digit(16)),
        43 => unpack(digits, 6, |digit| {
            BASE64.iter().position(|known| *known == digit).and_then(|value| value.try_into().ok())
        }),
        _ => None,
    };
    pin.ok_or_else(|| "must be 64 hex digits, or 32 bytes in base64".to_owned())
}

/// Puts digits of `width` bits together. Bits beyond the last whole byte must be 0.
fn unpack(digits: &[u8], width: u32, value_of: impl Fn(u8) -> Option<u32>) -> Option<Pin> {
    let mut bytes = Vec::with_capacity(size_of::<Pin>());
    let (mut bits, mut held) = (0_u32, 0_u32);
    for digit in digits {
        bits = (bits << width) | value_of(*digit)?;
        held += width;
        if held >= 8 {
            held -= 8;
            bytes.push(u8::try_from(bits >> held).ok()?);
            bits &= (1 << held) - 1;
        }
    }
    (bits == 0).then_some(bytes)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SHA-256 of nothing (FIPS 180-4 examples), in both forms.
    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    const IN_BASE64: &str = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";

    #[test]
    fn hex_and_base64_give_the_digest() {
        let digest = ring::digest::digest(&ring::digest::SHA256, b"");
        for text in [HEX, &HEX.to_uppercase(), IN_BASE64, IN_BASE64.trim_end_matches('=')] {
            assert_eq!(pin(text).expect(text), digest.as_ref());
        }
    }

    #[test]
    fn what_is_no_digest_is_refused() {
        let cut = &HEX[1..];
        let foreign = HEX.replace('e', "g");
        let loose_bits = IN_BASE64.replace("FU=", "FV=");
        for bad in ["", "sha256", cut, foreign.as_str(), loose_bits.as_str(), "ü"] {
            assert!(pin(bad).is_err(), "{bad}");
        }
    }
}
