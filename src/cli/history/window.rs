//! Decides which rows of a window are new, and which page comes next. Pure.
//!
//! A server counts the border of two windows to both, and a history that changes while it is read may shift rows from one page to
//! the next. So each row is known by its uuid, and one that was written is not written again.

use std::collections::HashSet;

use jiff::{SignedDuration, Timestamp};
use ring::digest::{SHA256, digest};
use serde_json::Value;

use crate::print_server::HistoryRows;

/// Rows so close to the end of a window may stand in the next one too.
const BORDER: SignedDuration = SignedDuration::from_secs(1);

/// The most pages of one window: a million rows.
const PAGE_LIMIT: usize = 1_000;

/// The most pages in a row without a new row.
const STALE_LIMIT: usize = 3;

/// The first half of a hash by which a row is known.
pub(super) type RowKey = u128;

/// The next thing to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NextPage {
    Ask(String),
    /// That was the last page.
    End,
    /// The server repeats itself, so that nobody can tell whether rows are missing.
    Loop,
    /// The window has more pages than any window should.
    TooMany,
}

/// The rows and the page tokens of a window that were seen so far.
#[derive(Debug)]
pub(super) struct WindowPages {
    to: Timestamp,
    seen: HashSet<RowKey>,
    border: Vec<RowKey>,
    tokens: HashSet<String>,
    pages: usize,
    stale: usize,
}

impl WindowPages {
    /// A window up to `to`; `border` are rows of the one before.
    pub(super) fn new(to: Timestamp, border: &[RowKey]) -> Self {
        let seen = border.iter().copied().collect();
        Self { to, seen, border: Vec::new(), tokens: HashSet::new(), pages: 0, stale: 0 }
    }

    /// Whether this row was not seen before.
    pub(super) fn is_new(&mut self, row: &Value) -> bool {
        let key = key(row);
        let is_new = self.seen.insert(key);
        let inside = row.get("dateTime").and_then(time_of).is_some_and(|time| time < self.to - BORDER);
        if is_new && !inside {
            self.border.push(key);
        }
        is_new
    }

    /// The page to ask for after this one, of which `fresh` rows were new.
    pub(super) fn next(&mut self, page: &HistoryRows, fresh: usize) -> NextPage {
        let Some(token) = page.next() else {
            return NextPage::End;
        };
        self.pages += 1;
        self.stale = if fresh == 0 { self.stale + 1 } else { 0 };
        let is_known = !self.tokens.insert(token.to_owned());
        if self.stale > 0 && (is_known || self.stale >= STALE_LIMIT) {
            NextPage::Loop
        } else if self.pages >= PAGE_LIMIT {
            NextPage::TooMany
        } else {
            NextPage::Ask(token.to_owned())
        }
    }

    /// The rows that the next window may have too.
    pub(super) fn into_border(self) -> Vec<RowKey> {
        self.border
    }
}

/// A time in milliseconds since 1970, as a number or as text.
pub(super) fn time_of(value: &Value) -> Option<Timestamp> {
    let millis = value.as_i64().or_else(|| value.as_str()?.parse().ok())?;
    Timestamp::from_millisecond(millis).ok()
}

/// A row without a uuid is known by all that it has.
fn key(row: &Value) -> RowKey {
    let hash = match row.get("uuid").and_then(Value::as_str).filter(|uuid| !uuid.is_empty()) {
        Some(uuid) => digest(&SHA256, uuid.as_bytes()),
        None => digest(&SHA256, row.to_string().as_bytes()),
    };
    hash.as_ref().first_chunk().map_or(0, |bytes| RowKey::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn end() -> Timestamp {
        Timestamp::from_second(1_790_000_000).unwrap()
    }

    fn row(uuid: &str, millis_before_the_end: i64) -> Value {
        json!({ "uuid": uuid, "dateTime": end().as_millisecond() - millis_before_the_end })
    }

    fn page(rows: &[Value], token: &str) -> HistoryRows {
        serde_json::from_value(json!({ "documents": rows, "nextPageToken": token })).unwrap()
    }

    /// The pages that such a server gives in turn, until the window ends: how, and the new rows.
    fn read(server: impl Fn(usize) -> HistoryRows) -> (NextPage, usize) {
        let (mut window, mut rows) = (WindowPages::new(end(), &[]), 0);
        for number in 0.. {
            let page = server(number);
            let fresh = page.rows.iter().filter(|row| window.is_new(row)).count();
            rows += fresh;
            match window.next(&page, fresh) {
                NextPage::Ask(_) => {}
                next => return (next, rows),
            }
        }
        unreachable!()
    }

    #[test]
    fn a_server_that_repeats_itself_ends_the_window_with_a_doubt() {
        let two = [row("a", 5_000), row("b", 5_000)];
        let new = |number: usize| [row(&format!("row-{number}"), 5_000)];
        assert_eq!(read(|_| page(&two, "")), (NextPage::End, 2));
        assert_eq!(read(|_| page(&[], "more")), (NextPage::End, 0));
        assert_eq!(read(|_| page(&two, "same")), (NextPage::Loop, 2), "page one for ever");
        assert_eq!(read(|number| page(&two, &number.to_string())), (NextPage::Loop, 2), "with another token each time");
        assert_eq!(read(|number| page(&new(number % 5), &(number % 5).to_string())), (NextPage::Loop, 5), "a circle");
        assert_eq!(read(|number| page(&new(number), "cursor")), (NextPage::TooMany, PAGE_LIMIT), "without an end");
        let cursor = |number: usize| page(&new(number), if number < 7 { "cursor" } else { "" });
        assert_eq!(read(cursor), (NextPage::End, 8), "a token that stays the same while rows come");
        let shifted = |number: usize| page(&[new(number)[0].clone(), new(number + 1)[0].clone()], "t");
        assert_eq!(read(|number| if number < 9 { shifted(number) } else { page(&[], "") }), (NextPage::End, 10));
    }

    #[test]
    fn the_border_of_two_windows_is_written_once_and_odd_rows_are_not_lost() {
        let mut first = WindowPages::new(end(), &[]);
        let timeless = json!({ "uuid": "timeless" });
        for row in [&row("inside", 1_001), &row("border", 0), &timeless, &json!("odd"), &json!({ "uuid": 7 })] {
            assert!(first.is_new(row), "{row}");
            assert!(!first.is_new(row), "{row}");
        }
        assert!(first.is_new(&json!({ "uuid": 8 })));
        let border = first.into_border();
        let mut second = WindowPages::new(end() + SignedDuration::from_hours(24), &border);
        assert!(second.is_new(&row("inside", 1_001)), "it is not remembered, and does not come");
        assert!(!second.is_new(&row("border", 0)));
        assert!(!second.is_new(&timeless));
        assert!(!second.is_new(&json!("odd")));
    }
}
