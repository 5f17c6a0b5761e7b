//! The words of a refusal: the message for a person, and the kind of refusal that it tells of.
//!
//! The vendor documents no body for 401 and 403 (docs/print-server-api.md, "Refusals"), so a text that nobody understands changes
//! nothing, and a refusal without one is judged by what the agent did before.

use serde::Deserialize;

use crate::domain::Who;

/// The most characters of a server's message that are told; the rest of the story has to fit beside it.
const MESSAGE_LIMIT: usize = 200;

/// The longest body in which words are looked for, in bytes. A longer one is a page of something in between.
const BODY_LIMIT: usize = 16 * 1024;

/// The fields that may hold a message for a person.
#[derive(Deserialize)]
struct RefusalBody {
    #[serde(rename = "errorMessage")]
    error_message: Option<serde_json::Value>,
    message: Option<serde_json::Value>,
    error_description: Option<serde_json::Value>,
}

/// The server's message for a person, if the body has one. It may hold anything; a [`Failure`](crate::domain::Failure) cleans it.
pub(super) fn message(body: &[u8]) -> Option<String> {
    let body: RefusalBody = serde_json::from_slice(body.get(..body.len().min(BODY_LIMIT))?).ok()?;
    let texts = [body.error_message, body.message, body.error_description];
    let text = texts.into_iter().flatten().find_map(|value| value.as_str().map(str::to_owned))?;
    let text = text.trim();
    if text.chars().count() <= MESSAGE_LIMIT {
        return Some(text.to_owned()).filter(|text| !text.is_empty());
    }
    Some(text.chars().take(MESSAGE_LIMIT).chain(['…']).collect())
}

/// The kind of a 401, 403 or 407, as far as the body tells it; [`Who::Token`] where it tells nothing.
pub(super) fn who(body: &[u8]) -> Who {
    if body.len() > BODY_LIMIT {
        return Who::Token;
    }
    let text = match message(body) {
        Some(text) => text,
        None => String::from_utf8_lossy(body).into_owned(),
    };
    // A page of HTML comes from something in between, which speaks of other keys and addresses.
    if text.trim_start().starts_with('<') {
        return Who::Token;
    }
    of_words(&words(&text))
}

/// The words of a text in small letters; `ApiKeyExpired` and `API_KEY_EXPIRED` are three words too.
fn words(text: &str) -> Vec<String> {
    let mut spaced = String::new();
    let mut before_is_small = false;
    for c in text.chars() {
        if before_is_small && c.is_uppercase() {
            spaced.push(' ');
        }
        before_is_small = c.is_lowercase();
        spaced.extend(c.to_lowercase());
    }
    spaced.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// The order matters: a message about a device token that has expired names token, device and time.
fn of_words(words: &[String]) -> Who {
    let has = |any: &[&str]| words.iter().any(|word| any.contains(&word.as_str()));
    let names_key = has(&["apikey"]) || (has(&["key", "keys"]) && has(&["api"]));
    let is_mail = has(&["mail", "email"]);
    if has(&["ip", "ips", "whitelist", "whitelisted", "allowlist"]) || (has(&["address", "addresses"]) && !is_mail) {
        Who::Address
    } else if has(&["token", "tokens", "session"]) && has(&["expired", "expire", "expires"]) {
        Who::Expired
    } else if has(&["permission", "permissions", "privilege", "privileges", "right", "rights"]) {
        Who::Right
    } else if has(&["device", "endpoint", "untrusted"]) && !has(&["user"]) {
        Who::Device
    } else if names_key && !has(&["token"]) {
        Who::Key
    } else {
        Who::Token
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_that_says_why_is_understood_in_whatever_form_it_comes() {
        for (body, expected) in [
            (r#"{"errorCode":403,"errorMessage":"The API key is not valid"}"#, Who::Key),
            (r#"{"errorMessage":"API key has expired"}"#, Who::Key),
            (r#"{"errorMessage":"API_KEY_EXPIRED"}"#, Who::Key),
            (r#"{"message":"ApiKeyExpired"}"#, Who::Key),
            ("X-Api-Key is not known", Who::Key),
            ("an insecure API key is not allowed for this request", Who::Key),
            (r#"{"errorMessage":"Requests from IP 192.0.2.7 are not allowed for this API key"}"#, Who::Address),
            (r#"{"error_description":"client address not in the list"}"#, Who::Address),
            (r#"{"errorMessage":"The device is not trusted"}"#, Who::Device),
            ("a device token is required", Who::Device),
            ("Untrusted endpoint", Who::Device),
            (r#"{"errorMessage":"Device token expired"}"#, Who::Expired),
            ("the user token is unknown or expired", Who::Expired),
            (r#"{"errorMessage":"User lacks the permission ReleaseJob"}"#, Who::Right),
            (r#"{"errorMessage":"the API key lacks the right ViewReport"}"#, Who::Right),
            ("the user token belongs to another API key", Who::Token),
            (r#"{"errorMessage":"no user has this e-mail address"}"#, Who::Token),
            ("no user has these credentials", Who::Token),
            ("<html>Forbidden: your IP address is not allowed</html>", Who::Token),
            (r#"{"errorMessage":7}"#, Who::Token),
            ("", Who::Token),
        ] {
            assert_eq!(who(body.as_bytes()), expected, "{body}");
        }
        assert_eq!(who(&[b"device ".repeat(10_000)].concat()), Who::Token, "too long to be a message");
    }

    #[test]
    fn a_message_is_text_of_the_server_and_is_cut() {
        assert_eq!(message(br#"{"errorMessage":" No such port "}"#).as_deref(), Some("No such port"));
        for body in [r#"{"errorMessage":null}"#, r#"{"errorMessage":""}"#, "{}", "No such port", "", "[1]"] {
            assert_eq!(message(body.as_bytes()), None, "{body}");
        }
        let long = serde_json::json!({ "errorMessage": "ü".repeat(1_000) }).to_string();
        assert_eq!(message(long.as_bytes()).map(|text| text.chars().count()), Some(MESSAGE_LIMIT + 1));
    }
}
