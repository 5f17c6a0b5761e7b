//! `GET /documents/history`: documents of every status and job records, read without a user's token.

use std::collections::HashSet;

use jiff::{SignedDuration, Timestamp};
use reqwest::{Method, Url};

use super::{Client, rows};
use crate::domain::{Cause, Document, Failure};

/// The server takes at most a week (docs/print-server-api.md, "History"); an hour less keeps clear of its rounding.
const WINDOW: SignedDuration = SignedDuration::from_hours(7 * 24 - 1);

/// The largest page that the server gives.
const PAGE_SIZE: &str = "2000";

/// The most pages that are read for one window: 100,000 rows.
const PAGE_LIMIT: usize = 50;

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

impl Client {
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
        let mut url = self.url(&["documents", "history"]);
        url.query_pairs_mut()
            .append_pair("maxrecords", PAGE_SIZE)
            .append_pair("datestart", &instant(from))
            .append_pair("dateend", &instant(to));
        if let Some(user) = &query.user {
            url.query_pairs_mut().append_pair("username", user);
        }
        let mut documents = Vec::new();
        let mut tokens = HashSet::new();
        for _ in 0..PAGE_LIMIT {
            let page = self.history_page(url, &mut documents).await?;
            // Blank, null and missing all end it; so do an empty page and a token that comes back.
            let Some(token) = page.next_page_token.filter(|token| !token.is_empty() && page.rows > 0) else {
                return Ok(documents);
            };
            if !tokens.insert(token.clone()) {
                return Ok(documents);
            }
            url = self.url(&["documents", "history"]);
            url.query_pairs_mut().append_pair("pagetoken", &token);
        }
        Err(Failure::new(Cause::Malformed, format!("the history goes on after {PAGE_LIMIT} pages")))
    }

    async fn history_page(&self, url: Url, documents: &mut Vec<Document>) -> Result<rows::HistoryPage, Failure> {
        let request = |device: Option<&_>| self.transport.request(Method::GET, url.clone(), device);
        let page = rows::history_page(&self.as_device(&request).await?, |document| documents.push(document))?;
        self.note_refused_rows(page.refused, "the history");
        Ok(page)
    }
}

/// ISO 8601 with milliseconds, as in the vendor's sample.
fn instant(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}
