//! The end of a token's time, if the token is a JSON Web Token (RFC 7519). Nothing is verified: the server does that.

use jiff::Timestamp;

use crate::domain::Secret;

/// The digits of base64url (RFC 4648, section 5).
const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// `exp` of the token; `None` for a token of another kind.
pub(super) fn expiry(token: &Secret) -> Option<Timestamp> {
    #[derive(serde::Deserialize)]
    struct TokenClaims {
        exp: f64,
    }
    let mut parts = token.expose().split('.');
    let (Some(_), Some(claims), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return None;
    };
    let claims: TokenClaims = serde_json::from_slice(&decode(claims)?).ok()?;
    Timestamp::from_second(claims.exp as i64).ok()
}

fn decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let (mut held, mut bits) = (0_u32, 0);
    for digit in text.trim_end_matches('=').bytes() {
        held = (held << 6 | DIGITS.iter().position(|known| *known == digit)? as u32) & 0xffff;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push((held >> bits) as u8);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_web_token_is_read_and_any_other_token_has_none() {
        // The example of RFC 7519, section 3.1.
        let claims = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
        let token = |text: String| expiry(&Secret::new(text));
        assert_eq!(token(format!("e30.{claims}.c2ln")), Timestamp::from_second(1_300_819_380).ok());
        for other in ["", "opaque", "a.b.c", "a.b", "e30.e30.e30", "e30.eyJleHAiOiJub3cifQ.x"] {
            assert_eq!(token(other.to_owned()), None, "{other}");
        }
    }
}
