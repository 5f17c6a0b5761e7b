//! The server's JSON. A field that is absent or new is no error; only fields that the agent cannot do without are
//! demanded (docs/print-server-api.md, "Answers" and "DocumentInfo").

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};

use crate::domain::{Cause, Document, DocumentStatus, Duplex, Failure};

/// The `errorCode` for an output that is not ready.
const NOT_READY: i64 = 1042;

/// `GET /version`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Version {
    /// Such as `3.50.1`.
    #[serde(default, deserialize_with = "or_default")]
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

/// `GET /documents/history`, one page.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct HistoryPage {
    #[serde(default, deserialize_with = "or_default")]
    pub documents: Vec<DocumentInfo>,
    #[serde(default)]
    pub next_page_token: Option<String>,
}

/// `DocumentInfo` (docs/print-server-api.md, "DocumentInfo"): all but the uuid may be missing.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DocumentInfo {
    uuid: String,
    document_name: Option<String>,
    user_name: Option<String>,
    total_pages: Option<i64>,
    color_pages: Option<i64>,
    duplex: Option<i64>,
    copies: Option<i64>,
    grayscale: Option<bool>,
    paper_size: Option<String>,
    date_time: Option<i64>,
    status: Option<i64>,
    output_port_name: Option<String>,
}

impl DocumentInfo {
    /// `unstated` is the status of an entry that names none.
    pub(super) fn into_document(self, unstated: DocumentStatus) -> Document {
        let positive = |number: Option<i64>| number.and_then(|number| u32::try_from(number).ok()).filter(|n| *n > 0);
        let title = self.document_name.unwrap_or_default();
        Document {
            uuid: self.uuid,
            title: title.chars().take(Document::TITLE_LIMIT).collect(),
            user: self.user_name.unwrap_or_default(),
            pages: positive(self.total_pages),
            color_pages: self.color_pages.and_then(|number| u32::try_from(number).ok()),
            copies: positive(self.copies),
            duplex: match self.duplex {
                Some(0) => Some(Duplex::Simplex),
                Some(1) => Some(Duplex::LongEdge),
                Some(2) => Some(Duplex::ShortEdge),
                _ => None,
            },
            grayscale: self.grayscale,
            paper_size: self.paper_size.filter(|size| !size.is_empty()),
            created: self.date_time.and_then(|millis| Timestamp::from_millisecond(millis).ok()),
            status: match self.status {
                None => unstated,
                Some(0) => DocumentStatus::Ready,
                Some(1) => DocumentStatus::Printed,
                Some(2 | 3) => DocumentStatus::Gone,
                Some(4 | 8) => DocumentStatus::Failed,
                Some(5..=7) => DocumentStatus::Coming,
                Some(_) => DocumentStatus::Other,
            },
            port_name: self.output_port_name,
        }
    }
}

/// Reads null as the default, as if the field were absent.
fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(from: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// Reads an answer that must be JSON of this shape.
pub(super) fn decode<T: DeserializeOwned>(answer: &[u8], what: &str) -> Result<T, Failure> {
    refused_inside(answer)?;
    serde_json::from_slice(answer).map_err(|error| {
        // serde's message may quote a value; line and column are enough to find it in a capture.
        let (line, column) = (error.line(), error.column());
        Failure::new(Cause::Malformed, format!("{what} does not have the documented form, at {line}:{column}"))
    })
}

/// Reads an answer whose only news may be an `errorCode`: an empty body is a success.
pub(super) fn acknowledge(answer: &[u8], what: &str) -> Result<(), Failure> {
    if answer.iter().all(u8::is_ascii_whitespace) {
        return Ok(());
    }
    decode::<serde_json::Value>(answer, what).map(drop)
}

/// A 2xx with an `errorCode` other than 0 is a failure; 0 or none is success.
fn refused_inside(body: &[u8]) -> Result<(), Failure> {
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
    let code = serde_json::from_slice::<ErrorCodeInfo>(body).map(|info| info.error_code).unwrap_or_default();
    if code.is_null() || code == 0 || code == "0" {
        return Ok(());
    }
    let cause = if code == NOT_READY { Cause::NotReady } else { Cause::Rejected };
    // It may be of any kind and size, and the failure cuts it.
    Err(Failure::new(cause, format!("server answered errorCode {code}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_needs_nothing_but_its_uuid() {
        let info: DocumentInfo = decode(br#"{"uuid":"a","new":{"x":1},"status":77}"#, "a document").unwrap();
        let document = info.into_document(DocumentStatus::Ready);
        assert_eq!(document.uuid, "a");
        assert_eq!(document.status, DocumentStatus::Other);
        assert_eq!(document.pages, None);
    }

    #[test]
    fn what_is_null_is_as_good_as_absent() {
        for body in [r#"{"userName":null,"token":null}"#, "{}"] {
            let info: UserInfo = decode(body.as_bytes(), "the login").unwrap();
            assert_eq!((info.user_name.as_str(), info.token.is_none()), ("", true), "{body}");
        }
        for body in [r#"{"documents":null,"nextPageToken":null}"#, "{}"] {
            let page: HistoryPage = decode(body.as_bytes(), "the history").unwrap();
            assert!(page.documents.is_empty() && page.next_page_token.is_none(), "{body}");
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
