//! `GET /documents/history`: documents of every status and job records, read without a user's token.

use std::collections::HashSet;

use jiff::{SignedDuration, Timestamp};
use reqwest::{Method, Url};
use serde::Deserialize;
use serde_json::Value;

use super::{Client, once_more_if_cut, rows, wire};
use crate::domain::{Cause, Document, Failure};

/// The server takes at most a week (docs/print-server-api.md, "History"); an hour less keeps clear of its rounding.
const WINDOW: SignedDuration = SignedDuration::from_hours(7 * 24 - 1);

/// The largest page that the server gives.
const PAGE_SIZE: usize = 2_000;

/// The most pages, rows and bytes that are read for one window. A server that keeps to the size of a page reaches the first two at
/// one time; no other one may take the memory of the box.
const PAGE_LIMIT: usize = 50;
const ROW_LIMIT: usize = 100_000;
const BYTE_LIMIT: usize = 64 * 1024 * 1024;

/// The filters of one look into the history.
#[derive(Clone, Debug)]
pub struct HistoryQuery {
    /// The login name, exactly.
    pub user: Option<String>,
    /// Documents created from here on, by the server's clock.
    pub from: Timestamp,
    /// Up to here, exclusive.
    pub to: Timestamp,
}

/// One page of the history with its rows as the server gave them, odd ones too: an auditor decides what they are.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HistoryRows {
    /// The rows.
    #[serde(default, rename = "documents", deserialize_with = "wire::or_default")]
    pub rows: Vec<Value>,
    /// The token of the next page, if there may be one.
    #[serde(default)]
    next_page_token: Option<String>,
}

impl HistoryRows {
    /// The most rows of one page.
    pub const LIMIT: usize = 1_000;

    /// The token of the next page. Blank, null and missing all end a window, and so does a page without rows.
    pub fn next(&self) -> Option<&str> {
        self.next_page_token.as_deref().filter(|token| !token.is_empty() && !self.rows.is_empty())
    }
}

impl Client {
    /// One page of a query that spans a week at most: the first, or the one of this token.
    ///
    /// # Errors
    /// As [`Client::history`].
    pub async fn history_rows(&self, query: &HistoryQuery, token: Option<&str>) -> Result<HistoryRows, Failure> {
        let url = match token {
            Some(token) => self.next_page(token),
            None => self.first_page(query, query.from, query.to, HistoryRows::LIMIT),
        };
        let request = |device: Option<&_>| self.transport.request(Method::GET, url.clone(), device);
        wire::decode(&once_more_if_cut(|| self.as_device(&request)).await?, "the history")
    }

    fn first_page(&self, query: &HistoryQuery, from: Timestamp, to: Timestamp, rows: usize) -> Url {
        let mut url = self.url(&["documents", "history"]);
        url.query_pairs_mut()
            .append_pair("maxrecords", &rows.to_string())
            .append_pair("datestart", &instant(from))
            .append_pair("dateend", &instant(to));
        if let Some(user) = &query.user {
            url.query_pairs_mut().append_pair("username", user);
        }
        url
    }

    fn next_page(&self, token: &str) -> Url {
        let mut url = self.url(&["documents", "history"]);
        url.query_pairs_mut().append_pair("pagetoken", token);
        url
    }

    /// All documents of a time, of any status, each once. A long time is asked for week by week.
    ///
    /// # Errors
    /// [`Cause::Refused`]: the key may not read reports. [`Cause::Rejected`]: this is not a customer account.
    pub async fn history(&self, query: &HistoryQuery) -> Result<Vec<Document>, Failure> {
        let mut documents: Vec<Document> = Vec::new();
        let mut seen = HashSet::new();
        let mut from = query.from;
        while from < query.to {
            let to = from.saturating_add(WINDOW).map_or(query.to, |end| end.min(query.to));
            let page = self.history_window(query, from, to).await?;
            documents.extend(page.into_iter().filter(|document| seen.insert(document.uuid.clone())));
            from = to;
        }
        Ok(documents)
    }

    async fn history_window(
        &self,
        query: &HistoryQuery,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<Document>, Failure> {
        let mut url = self.first_page(query, from, to, PAGE_SIZE);
        let mut documents = Vec::new();
        let mut tokens = HashSet::new();
        let (mut rows, mut bytes) = (0, 0);
        for _ in 0..PAGE_LIMIT {
            let page = self.history_page(url, &mut documents, &mut bytes).await?;
            rows += page.rows;
            if rows > ROW_LIMIT || bytes > BYTE_LIMIT {
                break;
            }
            // Blank, null and missing all end it; so do an empty page and a token that comes back.
            let Some(token) = page.next_page_token.filter(|token| !token.is_empty() && page.rows > 0) else {
                return Ok(documents);
            };
            if !tokens.insert(token.clone()) {
                return Ok(documents);
            }
            url = self.next_page(&token);
        }
        let detail = format!("the history goes on after {PAGE_LIMIT} pages, {ROW_LIMIT} rows or {BYTE_LIMIT} bytes");
        Err(Failure::new(Cause::Malformed, detail))
    }

    /// Reads one page into `documents`, of which no more than the limit are kept, and adds its length to `bytes`.
    async fn history_page(
        &self,
        url: Url,
        documents: &mut Vec<Document>,
        bytes: &mut usize,
    ) -> Result<rows::HistoryPage, Failure> {
        let request = |device: Option<&_>| self.transport.request(Method::GET, url.clone(), device);
        let answer = self.as_device(&request).await?;
        *bytes += answer.len();
        let keep = |document| documents.extend((documents.len() < ROW_LIMIT).then_some(document));
        let page = rows::history_page(&answer, keep)?;
        self.note_refused_rows(page.refused, "the history");
        Ok(page)
    }
}

/// ISO 8601 with milliseconds, as in the vendor's sample.
pub(super) fn instant(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}
