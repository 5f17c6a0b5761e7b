//! The print server of the world. It keeps the rules of docs/print-server-api.md, and what it prints is the truth.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::call::{Call, CallKind};

/// Titles are few, so that one user's records look alike.
const TITLES: [&str; 3] = ["Document1", "Invoice.pdf", "Letter.docx"];

/// A printed document stays in the list of every status for so long.
const LISTED_FOR: SignedDuration = SignedDuration::from_hours(48);

/// Older documents and rows are forgotten.
pub(super) const KEPT_FOR: SignedDuration = SignedDuration::from_hours(20 * 24);

/// Rows in one page of the history.
const PAGE: usize = 25;

/// The state of the server.
#[derive(Debug)]
pub(super) struct ServerModel {
    documents: BTreeMap<u32, SubmittedDocument>,
    by_user: Vec<UserModel>,
    next: u32,
}

#[derive(Debug, Default)]
struct UserModel {
    documents: VecDeque<u32>,
    rows: VecDeque<HistoryRow>,
}

/// A document, by its serial number.
#[derive(Clone, Debug)]
pub(super) struct SubmittedDocument {
    pub(super) user: usize,
    pub(super) title: &'static str,
    pub(super) pages: u32,
    pub(super) created: Timestamp,
    pub(super) ready: bool,
    pub(super) prints: Vec<Print>,
}

/// A sheet in a paper tray.
#[derive(Clone, Debug)]
pub(super) struct Print {
    pub(super) at: Timestamp,
    pub(super) port: String,
    /// The box whose request printed it.
    pub(super) by: usize,
}

/// A job record in the history.
#[derive(Clone, Debug)]
struct HistoryRow {
    id: u32,
    title: String,
    pages: u32,
    port: Option<String>,
    created: Timestamp,
    /// It can be read from then on.
    visible: Timestamp,
}

impl ServerModel {
    pub(super) fn new(users: usize) -> Self {
        Self { documents: BTreeMap::new(), by_user: (0..users).map(|_| UserModel::default()).collect(), next: 1 }
    }

    /// A person prints something at a desk.
    pub(super) fn submit(&mut self, user: usize, variety: u64, created: Timestamp) -> u32 {
        let serial = self.next;
        self.next += 1;
        let title = TITLES[(variety % 3) as usize];
        let pages = 1 + (variety / 3 % 3) as u32;
        let document = SubmittedDocument { user, title, pages, created, ready: true, prints: Vec::new() };
        self.documents.insert(serial, document);
        self.by_user[user].documents.push_back(serial);
        serial
    }

    pub(super) fn document(&self, serial: u32) -> Option<&SubmittedDocument> {
        self.documents.get(&serial)
    }

    /// The documents that came out.
    pub(super) fn printed(&self) -> impl Iterator<Item = (u32, &SubmittedDocument)> {
        let printed = self.documents.iter().filter(|(_, document)| !document.prints.is_empty());
        printed.map(|(serial, document)| (*serial, document))
    }

    pub(super) fn forget_before(&mut self, time: Timestamp) {
        self.documents.retain(|_, document| document.created >= time);
        for user in &mut self.by_user {
            user.documents.retain(|serial| self.documents.contains_key(serial));
            user.rows.retain(|row| row.created >= time);
        }
    }

    /// A record of another box that this world does not hold: same user, same title.
    pub(super) fn strange_row(&mut self, user: usize, variety: u64, now: Timestamp) {
        let title = TITLES[(variety % 3) as usize].to_owned();
        let port = (variety & 64 == 0).then(|| "198.51.100.9".to_owned());
        let (id, pages) = (self.next, 1 + (variety / 3 % 3) as u32);
        self.next += 1;
        self.by_user[user].rows.push_back(HistoryRow { id, title, pages, port, created: now, visible: now });
    }

    /// The same for the very job that this call records.
    pub(super) fn same_row(&mut self, call: &Call, now: Timestamp) {
        let Some(user) = call.field("username").and_then(number).and_then(|user| self.by_user.get_mut(user)) else {
            return;
        };
        // The tag of a tap is nobody else's.
        let title = call.field("title").unwrap_or_default().split(" [").next().unwrap_or_default().to_owned();
        let pages = call.field("totalpages").and_then(|pages| pages.parse().ok()).unwrap_or(0);
        let port = Some("198.51.100.9".to_owned());
        user.rows.push_back(HistoryRow { id: self.next, title, pages, port, created: now, visible: now });
        self.next += 1;
    }

    /// Whether a release would be taken.
    pub(super) fn is_ready(&self, call: &Call) -> bool {
        let document = call.document().and_then(|serial| self.documents.get(&serial));
        document.is_some_and(|document| document.ready && Some(document.user) == call.user())
    }

    /// Paper. Work that was taken prints whatever stands there: nothing but the agent's care prevents a second sheet.
    pub(super) fn print(&mut self, call: &Call, now: Timestamp) {
        let Some(document) = call.document().and_then(|serial| self.documents.get_mut(&serial)) else {
            return;
        };
        document.ready = call.field("retain").is_some_and(|retain| retain == "true");
        document.prints.push(Print { at: now, port: call.segment(2).to_owned(), by: call.from });
    }

    /// Takes a job record: its serial number is that of the document, which the record carries as its colour pages.
    pub(super) fn record(&mut self, call: &Call, now: Timestamp, visible: Timestamp, with_port: bool) -> Option<u32> {
        let user = number(call.field("username")?)?;
        let serial: u32 = call.field("colorpages")?.parse().ok()?;
        let title = call.field("title").unwrap_or_default().to_owned();
        let pages = call.field("totalpages").and_then(|pages| pages.parse().ok()).unwrap_or(0);
        let port = call.field("address").or(call.field("serialnumber")).map(str::to_owned).filter(|_| with_port);
        let id = self.next;
        self.next += 1;
        self.by_user.get_mut(user)?.rows.push_back(HistoryRow { id, title, pages, port, created: now, visible });
        Some(serial)
    }

    /// The answer to a request that only asks, or logs in.
    pub(super) fn answer(&self, call: &Call, now: Timestamp) -> (u16, String) {
        match call.kind {
            CallKind::Probe | CallKind::Record | CallKind::Release => (200, String::new()),
            CallKind::Version => (200, json!({ "version": "3.50.1" }).to_string()),
            CallKind::Login => self.login(call),
            CallKind::Refresh => match call.field("refresh_token").and_then(|token| token.strip_prefix("again-")) {
                Some(user) => (200, tokens(user).to_string()),
                None => (401, json!({ "error": "invalid_grant" }).to_string()),
            },
            CallKind::List => match call.user().and_then(|user| self.by_user.get(user)) {
                Some(user) => (200, self.list(user, call, now)),
                None => (401, String::new()),
            },
            CallKind::History => self.history(call, now),
            CallKind::Unknown => (404, String::new()),
        }
    }

    fn login(&self, call: &Call) -> (u16, String) {
        // A person has two cards: "card-7-0" and "card-7-1".
        let card = call.field("userid").unwrap_or_default();
        let user =
            card.strip_prefix("card-").and_then(|rest| rest.split('-').next()).and_then(|user| user.parse().ok());
        match user.filter(|user: &usize| *user < self.by_user.len()) {
            Some(user) => {
                let name = format!("user-{user}");
                (200, json!({ "userName": name, "providerId": 65, "token": tokens(&name) }).to_string())
            }
            None => (401, String::new()),
        }
    }

    fn list(&self, user: &UserModel, call: &Call, now: Timestamp) -> String {
        let only_ready = call.fields.iter().filter(|(name, _)| name == "status").count() == 1;
        let mut text = String::from("[");
        for serial in &user.documents {
            let Some(document) = self.documents.get(serial) else { continue };
            let last = document.prints.last().map_or(now, |print| print.at);
            if !document.ready && (only_ready || now.duration_since(last) > LISTED_FOR) {
                continue;
            }
            // The history never tells this number: a record is found there as on a real server.
            let colour = if only_ready { format!(r#","colorPages":{serial}"#) } else { String::new() };
            push_row(&mut text, *serial, document, &colour);
        }
        text.push(']');
        text
    }

    fn history(&self, call: &Call, now: Timestamp) -> (u16, String) {
        let token = call.field("pagetoken").map(str::to_owned);
        let query = token.unwrap_or_else(|| {
            let of = |name| call.field(name).unwrap_or_default();
            format!("{} {} {} 0", of("username"), of("datestart"), of("dateend"))
        });
        let parts: Vec<&str> = query.split(' ').collect();
        let [name, from, to, skip] = parts[..] else { return (400, String::new()) };
        let times = (from.parse::<Timestamp>(), to.parse::<Timestamp>(), skip.parse::<usize>());
        let (Ok(from), Ok(to), Ok(skip)) = times else { return (400, String::new()) };
        if from >= to || to.duration_since(from) > SignedDuration::from_hours(7 * 24) {
            return (400, String::new());
        }
        let mut rows: Vec<(Timestamp, String)> = Vec::new();
        if let Some(user) = number(name).and_then(|user| self.by_user.get(user)) {
            for (serial, document) in
                user.documents.iter().filter_map(|serial| Some((serial, self.documents.get(serial)?)))
            {
                if (from..to).contains(&document.created) {
                    let mut text = String::new();
                    push_row(&mut text, *serial, document, "");
                    rows.push((document.created, text));
                }
            }
            for row in user.rows.iter().filter(|row| row.visible <= now && (from..to).contains(&row.created)) {
                rows.push((row.created, row.json(name)));
            }
        }
        rows.sort_by_key(|(created, _)| *created);
        let more = rows.len() > skip + PAGE;
        let next = if more { format!("{name} {from} {to} {}", skip + PAGE) } else { String::new() };
        let page: Vec<&str> = rows.iter().skip(skip).take(PAGE).map(|(_, text)| text.as_str()).collect();
        (200, format!(r#"{{"documents":[{}],"nextPageToken":"{next}"}}"#, page.join(",")))
    }
}

impl HistoryRow {
    fn json(&self, user: &str) -> String {
        let (id, title, pages, created) = (self.id, &self.title, self.pages, self.created.as_millisecond());
        let port =
            self.port.as_ref().map(|port| format!(r#","outputPortName":"{}""#, port_name(port))).unwrap_or_default();
        format!(
            r#"{{"uuid":"row-{id}","documentName":"{title}","userName":"{user}","totalPages":{pages},"dateTime":{created},"status":1{port}}}"#
        )
    }
}

fn push_row(text: &mut String, serial: u32, document: &SubmittedDocument, more: &str) {
    if text.ends_with('}') {
        text.push(',');
    }
    let SubmittedDocument { user, title, pages, created, ready, prints } = document;
    let status = u8::from(!ready);
    let port =
        prints.last().map(|print| format!(r#","outputPortName":"{}""#, port_name(&print.port))).unwrap_or_default();
    let written = write!(
        text,
        r#"{{"uuid":"doc-{serial}","documentName":"{title}","userName":"user-{user}","totalPages":{pages},"dateTime":{},"status":{status}{port}{more}}}"#,
        created.as_millisecond()
    );
    debug_assert!(written.is_ok(), "a String takes everything");
}

fn tokens(user: &str) -> Value {
    json!({ "access_token": format!("token-{user}"), "refresh_token": format!("again-{user}"), "expires_in": 3600 })
}

/// The server's name of a port, which is not its address.
fn port_name(address: &str) -> String {
    format!("printer at {address}")
}

/// The number in a name such as `user-7`.
fn number(name: &str) -> Option<usize> {
    name.rsplit('-').next()?.parse().ok()
}
