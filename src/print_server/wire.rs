//! The server's JSON. A field that is absent or new is no error; only fields that the agent cannot do without are
//! demanded (docs/print-server-api.md, "Answers" and "DocumentInfo").
//! Documents have `rows.rs`.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};

use super::refusal;
use crate::domain::{Cause, Failure};

/// The `errorCode` for an output that is not ready.
const NOT_READY: f64 = 1042.0;

/// The most characters of an `errorCode` that are told.
const CODE_LIMIT: usize = 40;

/// The longest version that is kept, in bytes.
const VERSION_LIMIT: usize = 100;

/// `GET /version`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Version {
    /// Such as `3.50.1`.
    #[serde(default, deserialize_with = "version")]
    pub version: String,
}

/// The answer to `POST /login`; `token` may be null.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct UserInfo {
    #[serde(default, deserialize_with = "or_default")]
    pub user_name: String,
    pub provider_id: Option<i64>,
    pub token: Option<TokenInfo>,
}

/// The one structure of the API in snake case.
#[derive(Deserialize)]
pub(super) struct TokenInfo {
    pub access_token: String,
    pub refresh_token: Option<String>,
    /// The life of the access token in seconds; one that cannot be read is not told.
    #[serde(default, deserialize_with = "number_or_none")]
    pub expires_in: Option<u64>,
}

/// One output port, of `GET /outputports`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OutputPortInfo {
    /// Its name.
    #[serde(default, deserialize_with = "or_default")]
    pub name: String,
    /// Its address.
    #[serde(default)]
    pub address: Option<String>,
    /// Its serial number, which some servers give although the vendor does not document it.
    #[serde(default)]
    pub device_serial: Option<String>,
}

/// A list comes bare, or as `items` on newer servers.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum List<T> {
    Bare(Vec<T>),
    Items { items: Vec<T> },
}

impl<T> List<T> {
    pub(super) fn into_vec(self) -> Vec<T> {
        match self {
            Self::Bare(items) | Self::Items { items } => items,
        }
    }
}

/// Reads null as the default, as if the field were absent.
pub(super) fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(from: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// Reads a whole number, also as text; anything else is absent.
fn number_or_none<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    let value = serde_json::Value::deserialize(from)?;
    Ok(value.as_u64().or_else(|| value.as_str()?.trim().parse().ok()))
}

/// The beginning of a text, of at most `limit` bytes.
pub(super) fn cut(mut text: String, limit: usize) -> String {
    text.truncate((0..=limit.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0));
    text
}

fn version<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    or_default(from).map(|version| cut(version, VERSION_LIMIT))
}

/// Reads an answer that must be JSON of this shape.
pub(super) fn decode<T: DeserializeOwned>(answer: &[u8], what: &str) -> Result<T, Failure> {
    refused_inside(answer)?;
    serde_json::from_slice(answer).map_err(|error| malformed(&error, what))
}

/// serde's message may quote a value; line and column are enough to find it in a capture.
pub(super) fn malformed(error: &serde_json::Error, what: &str) -> Failure {
    let (line, column) = (error.line(), error.column());
    Failure::new(Cause::Malformed, format!("{what} does not have the documented form, at {line}:{column}"))
}

/// Reads an answer whose only news may be an `errorCode`: an empty body is a success.
pub(super) fn acknowledge(answer: &[u8], what: &str) -> Result<(), Failure> {
    if answer.iter().all(u8::is_ascii_whitespace) {
        return Ok(());
    }
    decode::<serde_json::Value>(answer, what).map(drop)
}

/// A 2xx with an `errorCode` other than 0 is a failure; 0 or none is success.
pub(super) fn refused_inside(body: &[u8]) -> Result<(), Failure> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct ErrorCodeInfo {
        #[serde(default)]
        error_code: serde_json::Value,
    }
    // A list has no code; serde would read its first item as one.
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Ok(());
    }
    // An answer that has it twice says nothing.
    let info: ErrorCodeInfo = serde_json::from_slice(body).map_err(|error| malformed(&error, "an answer"))?;
    let code = info.error_code;
    let number = code.as_str().map_or_else(|| code.as_f64(), |text| text.trim().parse().ok());
    if code.is_null() || number == Some(0.0) {
        return Ok(());
    }
    let cause = if number == Some(NOT_READY) { Cause::NotReady } else { Cause::Rejected };
    let message = refusal::message(body).map(|text| format!(": {text}")).unwrap_or_default();
    // The code may be of any kind and size, and the failure cuts it.
    let code: String = code.to_string().chars().take(CODE_LIMIT).collect();
    Err(Failure::new(cause, format!("server answered errorCode {code}{message}")))
}

/// The cause that an `errorCode` in the body of a 4xx stands for, if there is one.
pub(super) fn failing_code(body: &[u8]) -> Option<Cause> {
    refused_inside(body).err().map(|failure| failure.cause).filter(|cause| *cause == Cause::NotReady)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_null_is_as_good_as_absent() {
        for body in [r#"{"userName":null,"token":null}"#, "{}"] {
            let info: UserInfo = decode(body.as_bytes(), "the login").unwrap();
            assert_eq!((info.user_name.as_str(), info.token.is_none()), ("", true), "{body}");
        }
        let version: Version = decode(br#"{"version":null}"#, "the version").unwrap();
        assert_eq!(version.version, "");
    }

    #[test]
    fn a_2xx_with_an_error_code_is_a_failure() {
        let code = |body: &str| acknowledge(body.as_bytes(), "a release").map_err(|failure| failure.cause);
        assert_eq!(code(r#"{"errorCode":0}"#), Ok(()));
        assert_eq!(code(""), Ok(()));
        assert_eq!(code(r#"{"errorCode":1042}"#), Err(Cause::NotReady));
        assert_eq!(code(r#"{"errorCode":4711}"#), Err(Cause::Rejected));
        assert_eq!(code(r#"{"errorCode":"1001"}"#), Err(Cause::Rejected));
        assert_eq!(code(r#"{"errorCode":"1042"}"#), Err(Cause::NotReady));
        assert_eq!((code(r#"{"errorCode":0.0}"#), code(r#"{"errorCode":"0"}"#)), (Ok(()), Ok(())));
        assert_eq!(code(r#"{"errorCode":1001,"errorCode":0}"#), Err(Cause::Malformed));
        assert_eq!(code(r#"{"errorCode":null}"#), Ok(()));
        assert_eq!(code("<html>"), Err(Cause::Malformed));
    }

    #[test]
    fn a_malformed_answer_is_told_by_its_place_and_not_quoted() {
        let failure = decode::<Version>(br#"{"version":["secret"]}"#, "the version").unwrap_err();
        assert_eq!(failure.cause, Cause::Malformed);
        assert!(!failure.detail.contains("secret"), "{failure}");
    }

    #[test]
    fn a_list_comes_bare_or_as_items() {
        for body in [r#"[{"name":"a"}]"#, r#"{"items":[{"name":"a"}],"next":null}"#] {
            let list: List<OutputPortInfo> = decode(body.as_bytes(), "a list").unwrap();
            assert_eq!(list.into_vec().len(), 1, "{body}");
        }
    }
}
