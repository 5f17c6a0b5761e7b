//! The documents of a list or of the history, row by row, so that a long answer needs no more memory than its bytes.
//!
//! An identifier is kept exactly as it came, or its row is refused and counted, and so is a row without a uuid or with a value of another
//! type; the others go on. Text for people is kept as it came, up to a limit;
//! it is cleaned where it is shown.

use std::fmt;

use jiff::Timestamp;
use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::wire::{cut, malformed, refused_inside};
use crate::domain::{Document, DocumentStatus, Duplex, Failure};

/// The longest uuid, user name or port name in bytes. With such ones a document still fits into an entry of the journal.
pub(super) const IDENTIFIER_LIMIT: usize = 256;

/// The longest name of a paper size in bytes; a longer one is taken for unknown.
const PAPER_SIZE_LIMIT: usize = 64;

/// One page of `GET /documents/history`, of which the rows have been handed on.
#[derive(Debug, Default)]
pub(super) struct HistoryPage {
    pub rows: usize,
    /// Among the rows those that no identifier can be taken from.
    pub refused: usize,
    pub next_page_token: Option<String>,
}

/// `DocumentInfo` (docs/print-server-api.md, "DocumentInfo"): all but the uuid may be missing.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DocumentInfo {
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
    storage_online: Option<bool>,
}

impl DocumentInfo {
    /// `None` when one of its identifiers cannot be kept. `unstated` is the status of an entry that names none.
    fn into_document(self, unstated: DocumentStatus) -> Option<Document> {
        let names = [self.user_name.as_ref(), self.output_port_name.as_ref()];
        if !is_uuid(&self.uuid) || !names.into_iter().flatten().all(|name| is_name(name)) {
            return None;
        }
        let positive = |number: Option<i64>| number.and_then(|number| u32::try_from(number).ok()).filter(|n| *n > 0);
        let is_size = |size: &String| (1..=PAPER_SIZE_LIMIT).contains(&size.len());
        Some(Document {
            uuid: self.uuid,
            title: cut(self.document_name.unwrap_or_default(), Document::TITLE_LIMIT),
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
            paper_size: self.paper_size.filter(is_size),
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
            storage_online: self.storage_online,
        })
    }
}

/// One row of a list: `None` when it is an object that does not have the documented form. Anything but an object is no row at all.
struct ListedRow(Option<DocumentInfo>);

impl<'de> Deserialize<'de> for ListedRow {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(ListedRowVisitor)
    }
}

struct ListedRowVisitor;

impl<'de> Visitor<'de> for ListedRowVisitor {
    type Value = ListedRow;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a document")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<ListedRow, A::Error> {
        let mut row = serde_json::Map::new();
        let mut is_plain = true;
        while let Some((name, value)) = fields.next_entry::<String, serde_json::Value>()? {
            // A field that stands there twice says nothing.
            is_plain &= row.insert(name, value).is_none();
        }
        Ok(ListedRow(Some(row).filter(|_| is_plain).and_then(|row| DocumentInfo::deserialize(row).ok())))
    }
}

/// Whether a user or port name can be kept: any text of bounded length can.
pub(super) fn is_name(name: &str) -> bool {
    name.len() <= IDENTIFIER_LIMIT
}

/// Whether a uuid can be kept and stand in the path of a URL, which would lose line breaks and whole segments of dots.
fn is_uuid(uuid: &str) -> bool {
    is_name(uuid) && !uuid.contains(char::is_control) && !["", ".", ".."].contains(&uuid)
}

/// Reads the answer to `GET /documents`, a list that comes bare or as `items`, and hands each document on. Returns the number of
/// rows that were refused.
pub(super) fn document_list(
    answer: &[u8],
    unstated: DocumentStatus,
    each: impl FnMut(Document),
) -> Result<usize, Failure> {
    refused_inside(answer)?;
    let mut rows = DocumentRows { unstated, each, rows: 0, refused: 0 };
    let list = RowsSeed { rows: &mut rows, or_null: false };
    read(answer, list).map_err(|error| malformed(&error, "the document list"))?;
    Ok(rows.refused)
}

/// Reads a page of the history and hands each document on.
pub(super) fn history_page(answer: &[u8], each: impl FnMut(Document)) -> Result<HistoryPage, Failure> {
    refused_inside(answer)?;
    let mut rows = DocumentRows { unstated: DocumentStatus::Other, each, rows: 0, refused: 0 };
    let next_page_token = read(answer, PageSeed(&mut rows)).map_err(|error| malformed(&error, "the history"))?;
    Ok(HistoryPage { rows: rows.rows, refused: rows.refused, next_page_token })
}

fn read<'de, T: DeserializeSeed<'de>>(answer: &'de [u8], seed: T) -> Result<T::Value, serde_json::Error> {
    let mut json = serde_json::Deserializer::from_slice(answer);
    let value = seed.deserialize(&mut json)?;
    json.end()?;
    Ok(value)
}

/// The rows of an answer while it is read.
struct DocumentRows<F> {
    unstated: DocumentStatus,
    each: F,
    rows: usize,
    refused: usize,
}

/// A list, bare or as `items` of an object.
struct RowsSeed<'r, F> {
    rows: &'r mut DocumentRows<F>,
    /// Null stands for an empty list.
    or_null: bool,
}

impl<'de, F: FnMut(Document)> DeserializeSeed<'de> for RowsSeed<'_, F> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de, F: FnMut(Document)> Visitor<'de> for RowsSeed<'_, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of documents")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        if self.or_null { Ok(()) } else { Err(E::custom("there is no list")) }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while let Some(ListedRow(info)) = list.next_element()? {
            self.rows.rows += 1;
            match info.and_then(|info| info.into_document(self.rows.unstated)) {
                Some(document) => (self.rows.each)(document),
                None => self.rows.refused += 1,
            }
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<(), A::Error> {
        let mut has_items = false;
        while let Some(name) = fields.next_key::<String>()? {
            if name == "items" {
                fields.next_value_seed(RowsSeed { rows: &mut *self.rows, or_null: false })?;
                has_items = true;
            } else {
                fields.next_value::<IgnoredAny>()?;
            }
        }
        if has_items { Ok(()) } else { Err(A::Error::missing_field("items")) }
    }
}

/// A page of the history. Its value is the token of the next page, if there is one.
struct PageSeed<'r, F>(&'r mut DocumentRows<F>);

impl<'de, F: FnMut(Document)> DeserializeSeed<'de> for PageSeed<'_, F> {
    type Value = Option<String>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de, F: FnMut(Document)> Visitor<'de> for PageSeed<'_, F> {
    type Value = Option<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a page of the history")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Self::Value, A::Error> {
        let mut token = None;
        while let Some(name) = fields.next_key::<String>()? {
            match name.as_str() {
                "documents" => fields.next_value_seed(RowsSeed { rows: &mut *self.0, or_null: true })?,
                "nextPageToken" => token = fields.next_value()?,
                _ => drop(fields.next_value::<IgnoredAny>()?),
            }
        }
        Ok(token)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::Cause;

    /// The documents of a list, and the number of its refused rows.
    fn listed(answer: &str) -> Result<(Vec<Document>, usize), Failure> {
        let mut documents = Vec::new();
        let refused = document_list(answer.as_bytes(), DocumentStatus::Ready, |document| documents.push(document))?;
        Ok((documents, refused))
    }

    #[test]
    fn a_document_needs_nothing_but_its_uuid() {
        let (documents, refused) = listed(r#"[{"uuid":"a","new":{"x":1},"status":77}]"#).unwrap();
        assert_eq!(refused, 0);
        assert_eq!(documents[0].uuid, "a");
        assert_eq!(documents[0].status, DocumentStatus::Other);
        assert_eq!(documents[0].pages, None);
    }

    #[test]
    fn a_row_that_does_not_fit_is_skipped_and_counted_and_the_others_go_on() {
        let odd = [
            r#"{"documentName":"without a uuid"}"#,
            r#"{"uuid":null}"#,
            r#"{"uuid":7}"#,
            r#"{"uuid":"b","totalPages":"12"}"#,
            r#"{"uuid":"b","status":"0"}"#,
            r#"{"uuid":"b","totalPages":99999999999999999999}"#,
            r#"{"uuid":"b","grayscale":"true"}"#,
            r#"{"uuid":"b","documentName":["b"]}"#,
            r#"{"uuid":"b","uuid":"c"}"#,
            "{}",
        ];
        for row in odd {
            let rows = format!(r#"[{{"uuid":"a"}},{row},{{"uuid":"z"}}]"#);
            let (documents, refused) = listed(&rows).unwrap();
            assert_eq!(refused, 1, "{row}");
            assert_eq!(documents.iter().map(|it| it.uuid.as_str()).collect::<Vec<_>>(), ["a", "z"], "{row}");
            let mut kept = 0;
            let page = history_page(format!(r#"{{"documents":{rows},"nextPageToken":"n"}}"#).as_bytes(), |_| kept += 1);
            let page = page.unwrap();
            assert_eq!((page.rows, page.refused, kept, page.next_page_token.as_deref()), (3, 1, 2, Some("n")), "{row}");
        }
    }

    #[test]
    fn a_list_comes_bare_or_as_items_and_in_no_other_form() {
        for body in [r#"[{"uuid":"a"}]"#, r#"{"items":[{"uuid":"a"}],"next":null}"#] {
            assert_eq!(listed(body).unwrap().0.len(), 1, "{body}");
        }
        for body in ["null", "{}", r#"{"items":null}"#, "[1]", r#"["maintenance"]"#, "[] []", "<html>", ""] {
            assert_eq!(listed(body).unwrap_err().cause, Cause::Malformed, "{body}");
        }
        assert_eq!(listed(r#"{"errorCode":1042}"#).unwrap_err().cause, Cause::NotReady);
    }

    #[test]
    fn a_page_of_the_history_may_be_without_rows() {
        for body in [r#"{"documents":null,"nextPageToken":null}"#, "{}"] {
            let page = history_page(body.as_bytes(), |_| {}).unwrap();
            assert!(page.rows == 0 && page.next_page_token.is_none(), "{body}");
        }
        let page = history_page(br#"{"nextPageToken":"n","documents":[{"uuid":"a"},{"uuid":".."}]}"#, |_| {}).unwrap();
        assert_eq!((page.rows, page.refused, page.next_page_token.as_deref()), (2, 1, Some("n")));
    }

    #[test]
    fn an_identifier_is_kept_exactly_or_its_row_is_refused_and_the_others_go_on() {
        let long = "x".repeat(IDENTIFIER_LIMIT);
        let longer = "x".repeat(IDENTIFIER_LIMIT + 1);
        let refused = ["", ".", "..", "a\nb", "a\tb", "\u{1b}]52;c;x\u{7}", "\0", "\u{9b}2J", "\u{7f}", &longer];
        let kept = ["a", "a/b", "a b", "a%2Fb", "\u{202e}a", "...", &long];
        let rows: Vec<_> = refused.iter().chain(&kept).map(|uuid| json!({ "uuid": uuid })).collect();
        let (documents, count) = listed(&json!(rows).to_string()).unwrap();
        assert_eq!(count, refused.len());
        assert_eq!(documents.iter().map(|document| document.uuid.as_str()).collect::<Vec<_>>(), kept);
        for (field, of) in [("userName", "user"), ("outputPortName", "port_name")] {
            let names = ["ada\nroot\0", &longer, "\u{1b}[2J\u{202e}", ""];
            let rows: Vec<_> = names.iter().map(|name| json!({ "uuid": "a", field: name })).collect();
            let (documents, count) = listed(&json!(rows).to_string()).unwrap();
            assert_eq!(count, 1, "{field}");
            let kept: Vec<_> = documents.iter().map(|document| json!(document)[of].clone()).collect();
            assert_eq!(kept, [names[0], names[2], names[3]], "{field}");
        }
    }

    #[test]
    fn a_title_is_kept_as_it_came_up_to_its_limit() {
        let limit = Document::TITLE_LIMIT;
        let title = "\u{1b}]52;c;x\u{7}\n\u{202e}".to_owned() + &"x".repeat(1_000);
        for (title, kept) in [
            (title.clone(), title),
            ("x".repeat(limit + 1), "x".repeat(limit)),
            ("ü".repeat(limit), "ü".repeat(limit / 2)),
        ] {
            let (documents, _) = listed(&json!([{ "uuid": "a", "documentName": title }]).to_string()).unwrap();
            assert_eq!(documents[0].title, kept);
        }
    }

    #[test]
    fn the_longest_document_fits_into_an_entry_of_the_journal() {
        let longest = Document {
            title: "\0".repeat(Document::TITLE_LIMIT),
            user: "\0".repeat(IDENTIFIER_LIMIT),
            port_name: Some("\0".repeat(IDENTIFIER_LIMIT)),
            paper_size: Some("\0".repeat(PAPER_SIZE_LIMIT)),
            ..Document::sample(&"\"".repeat(IDENTIFIER_LIMIT))
        };
        let user = "\0".repeat(IDENTIFIER_LIMIT);
        let bytes = json!({ "document": longest, "user": user }).to_string().len();
        assert!(bytes + 2_048 < 32 * 1024, "{bytes}");
    }
}
