//! GET and POST /documents/history.
//!
//! Documents of every status and job records stand in one history, by the date of their creation: a document's is when
//! it was submitted, not when it was printed. A page token names the frozen rest of one answer.

use std::collections::VecDeque;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::access::Permission;
use super::ask::{Ask, Params, Refusal, Reply, json};
use super::log::remember;
use super::random;
use super::tokens::TokenHolder;
use super::world::{
    AccountType, JobType, LONG_EDGE, PROVIDER_ID, SHORT_EDGE, SIMPLEX, ServerDocument, ServerPort, Status, World,
};

/// `maxrecords` by default, and at most (docs/print-server-api.md, "History").
const PAGE_DEFAULT: usize = 200;
const PAGE_MAX: usize = 2_000;
/// The longest window is a week. The vendor's rule that `dateend` lies in the future contradicts the vendor's sample, which
/// asks for past days; it is read as after `datestart`.
const WINDOW_MAX: SignedDuration = SignedDuration::from_hours(7 * 24);
/// The window of a query without dates.
const WINDOW_DEFAULT: SignedDuration = SignedDuration::from_hours(24);
/// The most answers that wait to be continued; then the oldest is forgotten.
const MAX_PAGES: usize = 100;

/// The answers that go on, by page token.
#[derive(Default)]
pub(super) struct Pages(VecDeque<(String, HistoryAnswer)>);

impl Pages {
    fn keep(&mut self, rest: HistoryAnswer) -> String {
        if self.0.len() == MAX_PAGES {
            self.0.pop_front();
        }
        let token = random::uuid();
        self.0.push_back((token.clone(), rest));
        token
    }

    fn get(&self, token: &str) -> Option<HistoryAnswer> {
        self.0.iter().find(|(name, _)| name == token).map(|(_, rest)| rest.clone())
    }
}

/// The rows that fit a query, and the query.
#[derive(Clone)]
struct HistoryAnswer {
    rows: Vec<ServerDocument>,
    page: usize,
    query: Query,
}

#[derive(Clone)]
struct Query {
    start: Timestamp,
    end: Timestamp,
    domain: Option<String>,
    user: Option<String>,
    port: Option<String>,
    statuses: Vec<Status>,
    job: Option<JobType>,
}

impl Query {
    fn read(params: &mut Params, now: Timestamp) -> Result<Query, Refusal> {
        let end = params.value("dateend")?;
        let start = params.value("datestart")?;
        let before = |end: Timestamp| end.checked_sub(WINDOW_DEFAULT).unwrap_or(Timestamp::MIN);
        let end = end.unwrap_or(now);
        let start = start.unwrap_or_else(|| before(end));
        if start >= end || start.duration_until(end) > WINDOW_MAX {
            return Err(Refusal::bad("datestart must be before dateend, by 1 week at most"));
        }
        Ok(Query {
            start,
            end,
            domain: params.value("domainname")?,
            user: params.value("username")?,
            port: params.value("portname")?,
            statuses: params.all("status")?,
            job: params.value("jobtype")?,
        })
    }

    fn takes(&self, row: &ServerDocument) -> bool {
        // The wire has milliseconds, so a row is not older than the moment of its own milliseconds.
        let time = row.date_time.as_millisecond();
        (self.start.as_millisecond()..=self.end.as_millisecond()).contains(&time)
            && self.user.as_ref().is_none_or(|user| *user == row.user_name)
            && self.port.as_ref().is_none_or(|port| Some(port) == row.output_port_name.as_ref())
            && (self.statuses.is_empty() || self.statuses.contains(&row.status))
            && self.job.is_none_or(|job| job == row.job_type)
    }
}

/// GET /documents/history. The vendor's sample sends a key alone, so a key with `ViewReport` needs no token here.
pub(super) fn read(world: &mut World, ask: &Ask) -> Reply {
    may_read(world, ask)?;
    if world.account_type != AccountType::Customer {
        return Err(Refusal::bad("the history is only available for a customer account"));
    }
    let mut params = ask.query(StatusCode::BAD_REQUEST);
    let answer = match params.value::<String>("pagetoken")? {
        Some(token) => world.pages.get(&token).ok_or_else(|| Refusal::bad("pagetoken is not known"))?,
        None => first(world, &mut params)?,
    };
    params.finish()?;
    Ok(page(world, answer))
}

fn may_read(world: &World, ask: &Ask) -> Result<(), Refusal> {
    if !world.key(ask)?.history_allowed {
        return Err(Refusal::forbidden("the API key lacks the permission ViewReport"));
    }
    match ask.bearer().map(|token| world.tokens.holder(token, world.now())) {
        None | Some(Some(TokenHolder::Device { .. })) => Ok(()),
        Some(_) => world.user_of(ask, &[Permission::ViewReport]).map(drop),
    }
}

fn first(world: &World, params: &mut Params) -> Result<HistoryAnswer, Refusal> {
    let page = params.value("maxrecords")?.unwrap_or(PAGE_DEFAULT);
    if !(1..=PAGE_MAX).contains(&page) {
        return Err(Refusal::bad(format!("maxrecords must be 1 to {PAGE_MAX}")));
    }
    let query = Query::read(params, world.now())?;
    if query.domain.as_ref().is_some_and(|domain| !world.domains.contains(domain)) {
        return Err(Refusal::bad("domainname is not one of this account"));
    }
    let all = world.documents.iter().chain(&world.records);
    let mut rows: Vec<ServerDocument> = all.filter(|row| query.takes(row)).cloned().collect();
    if !world.history_ports {
        rows.iter_mut().for_each(|row| (row.output_port_id, row.output_port_name) = (None, None));
    }
    rows.sort_by_key(|row| row.date_time);
    Ok(HistoryAnswer { rows, page, query })
}

/// One page: exactly `maxrecords` rows and a token for the next page, until there are no more.
fn page(world: &mut World, HistoryAnswer { mut rows, page, query }: HistoryAnswer) -> Response {
    let rest = rows.split_off(page.min(rows.len()));
    let next = match rest.is_empty() {
        true => String::new(),
        false => world.pages.keep(HistoryAnswer { rows: rest, page, query: query.clone() }),
    };
    json(&json!({
        "documents": rows,
        "recordsOnPage": rows.len(),
        "nextPageToken": next,
        "dateStart": query.start.to_string(),
        "dateEnd": query.end.to_string(),
        "domainName": query.domain.or_else(|| world.domains.first().cloned()),
        "userName": query.user.unwrap_or_default(),
        "portName": query.port.unwrap_or_default(),
    }))
}

/// POST /documents/history. There is no idempotency: each accepted record is a row with a uuid of its own.
pub(super) fn record(world: &mut World, ask: &Ask) -> Reply {
    world.key(ask)?;
    let mut form = ask.form()?;
    let user = recorder(world, ask, &mut form)?;
    let kind = form.value("jobtype")?.ok_or_else(|| Refusal::bad("jobtype is required"))?;
    let title: String = form.value("title")?.unwrap_or_default();
    let mut row = ServerDocument::new(&user, &title, 0, world.now());
    row.job_type = kind;
    row.status = Status::Printed;
    row.storage_online = false;
    row.total_pages = form.value("totalpages")?.unwrap_or(0);
    row.color_pages = form.value("colorpages")?.unwrap_or(0);
    row.paper_size = form.value("papersize")?.unwrap_or_default();
    // A record cannot say simplex, so a record without the field counts as simplex.
    row.duplex = form.value("duplex")?.map_or(SIMPLEX, |long| if long { LONG_EDGE } else { SHORT_EDGE });
    if let Some(port) = port(world, &mut form)? {
        row.output_port_id = Some(port.id);
        row.output_port_name = Some(port.name.clone());
    }
    if world.history_datetime {
        row.date_time = form.value("datetime")?.unwrap_or(row.date_time);
    }
    form.finish()?;
    remember(&mut world.records, row);
    Ok(StatusCode::OK.into_response())
}

/// The owner of the job: the user of the token. With a device token `username` and `providerid` are required; with a key
/// that trusts every endpoint and no token, `username` is.
fn recorder(world: &World, ask: &Ask, form: &mut Params) -> Result<String, Refusal> {
    let key = world.key(ask)?;
    let provider: Option<u32> = form.value("providerid")?;
    let name: Option<String> = form.value("username")?;
    match ask.bearer().map(|token| world.tokens.holder(token, world.now())) {
        Some(Some(TokenHolder::User { .. })) => return world.user_of(ask, &[]).map(|user| user.name.clone()),
        Some(Some(TokenHolder::Device { .. })) if provider.is_none() => {
            return Err(Refusal::bad("providerid is required with a device token"));
        }
        Some(Some(TokenHolder::Device { .. })) => {}
        Some(None) => return Err(Refusal::unauthorized("the token is unknown or expired")),
        None if key.allow_untrusted_endpoints => {}
        None => return Err(Refusal::forbidden("a user token or a device token is required")),
    }
    let known = |name: &String| world.user(name).is_some() && provider.is_none_or(|id| id == PROVIDER_ID);
    name.filter(known).ok_or_else(|| Refusal::bad("username and providerid name no user"))
}

/// The port by its serial number, else by its address. A name that fits no port is refused.
fn port<'a>(world: &'a World, form: &mut Params) -> Result<Option<&'a ServerPort>, Refusal> {
    let serial: Option<String> = form.value("serialnumber")?;
    let address: Option<String> = form.value("address")?;
    let mut ports = world.ports.iter();
    let found = match (&serial, &address) {
        (Some(serial), _) => ports.find(|port| port.device_serial == *serial),
        (None, Some(address)) => ports.find(|port| port.address == *address),
        (None, None) => return Ok(None),
    };
    found.map(Some).ok_or_else(|| Refusal::bad("no output port has this serial number or address"))
}
