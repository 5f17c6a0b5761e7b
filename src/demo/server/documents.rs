//! Listing, releasing, downloading and deleting documents, and `/card`.
//!
//! A document is consumed by its first release or download unless `retain=true`: it is `PRINTED` from then on, and
//! a second try fails. All calls here are for the owner of the document.

use axum::http::{StatusCode, header};
use axum::response::IntoResponse;

use super::access::Permission;
use super::ask::{Ask, Params, Refusal, Reply, error_code, json};
use super::log::{LoggedDownload, LoggedRelease, remember};
use super::world::{SHORT_EDGE, ServerDocument, ServerPort, Status, World};

/// `maxRecords` of the list by default, and at most (docs/print-server-api.md, "List of documents").
const LIST_DEFAULT: usize = 50;
const LIST_MAX: usize = 500;
/// The `errorCode` "output document error".
const OUTPUT_DOCUMENT: u32 = 1001;
/// The `errorCode` "delete document".
const DELETE_DOCUMENT: u32 = 1002;
/// The `errorCode` "output not ready".
const OUTPUT_NOT_READY: u32 = 1042;

/// The options of a request beside the document's own settings. `None`: as submitted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PrintOptions {
    /// At least one.
    pub copies: Option<u32>,
    /// Black and white.
    pub grayscale: Option<bool>,
    /// The document stays `READY`.
    pub retain: bool,
    /// 0, 1 or 2, as in `DocumentInfo`.
    pub duplex: Option<u8>,
}

impl PrintOptions {
    fn read(mut params: Params) -> Result<PrintOptions, Refusal> {
        let options = PrintOptions {
            copies: params.value("copies")?,
            grayscale: params.value("grayscale")?,
            retain: params.value("retain")?.unwrap_or(false),
            duplex: params.value("duplex")?,
        };
        params.finish()?;
        if options.copies == Some(0) || options.duplex.is_some_and(|duplex| duplex > SHORT_EDGE) {
            return Err(Refusal::bad("copies or duplex is out of range"));
        }
        Ok(options)
    }
}

/// GET /documents. A value that cannot be read is a 404, as on a real server.
pub(super) fn list(world: &mut World, ask: &Ask) -> Reply {
    let user = world.secure_user_of(ask, &[Permission::ViewJob])?;
    let mut query = ask.query(StatusCode::NOT_FOUND);
    let mut statuses: Vec<Status> = query.all("status")?;
    let limit = query.value("maxRecords")?.unwrap_or(LIST_DEFAULT);
    query.finish()?;
    if !(1..=LIST_MAX).contains(&limit) {
        return Err(Refusal::bad(format!("maxRecords must be 1 to {LIST_MAX}")));
    }
    if statuses.is_empty() {
        statuses.push(Status::Ready);
    }
    let listed = |document: &&ServerDocument| document.user_name == user.name && statuses.contains(&document.status);
    Ok(json(&world.documents.iter().filter(listed).take(limit).collect::<Vec<_>>()))
}

/// POST /documents/{uuid}/{address or SN}
pub(super) fn release(world: &mut World, ask: &Ask) -> Reply {
    let user = world.secure_user_of(ask, &[Permission::ReleaseJob])?.name.clone();
    let options = PrintOptions::read(ask.form()?)?;
    let port = world.ports.iter().find(|port| port.answers_to(ask.segment(1))).cloned();
    let port = port.ok_or_else(|| Refusal::bad("no output port has this address or serial number"))?;
    let code = match ready(world, &user, ask.segment(0)) {
        None => OUTPUT_DOCUMENT,
        Some(document) if !document.storage_online || !port.ready => OUTPUT_NOT_READY,
        Some(_) => {
            begin(world, ask, options.retain);
            print(world, ask.segment(0), &port, options, false);
            0
        }
    };
    Ok(error_code(code))
}

/// A release that has begun work.
pub(super) struct Begun {
    bearer: String,
    /// The document stays `READY`.
    kept: bool,
}

/// Notes a request to release; `late` is one that begins work now and does it later. A request that comes after an earlier
/// one has begun work is remembered, however it ends, because a server with a queue would print both. Only for a document
/// that was kept may another login ask again.
pub(super) fn release_arrived(world: &mut World, ask: &Ask, late: bool) {
    let uuid = ask.segment(0);
    let login = ask.bearer().unwrap_or_default();
    if world.begun.get(uuid).is_some_and(|begun| !begun.kept || begun.bearer == login) {
        remember(&mut world.repeated, uuid.to_owned());
    }
    let waits = world.document(uuid).is_some_and(|document| document.status == Status::Ready);
    if late && waits {
        let kept = ask.form().and_then(PrintOptions::read).is_ok_and(|options| options.retain);
        begin(world, ask, kept);
    }
}

fn begin(world: &mut World, ask: &Ask, kept: bool) {
    let bearer = ask.bearer().unwrap_or_default().to_owned();
    world.begun.insert(ask.segment(0).to_owned(), Begun { bearer, kept });
}

/// GET and POST /card: releases all that waits for the owner of the card. The parameters stand in the query of both.
pub(super) fn card(world: &mut World, ask: &Ask) -> Reply {
    world.authenticated(ask, &[])?;
    let mut query = ask.query(StatusCode::BAD_REQUEST);
    let (card, mac) = (query.required("cd")?, query.required("Mac")?);
    query.finish()?;
    let user = world.users.iter().find(|user| user.cards.contains(&card));
    let user = user.ok_or_else(|| Refusal::bad("no user has this card"))?.name.clone();
    let port = world.ports.iter().find(|port| port.reader_mac == mac).cloned();
    let port = port.ok_or_else(|| Refusal::bad("no output port has this reader"))?;
    let waiting: Vec<String> = world.waiting(&user).map(|document| document.uuid.clone()).collect();
    for uuid in waiting {
        print(world, &uuid, &port, PrintOptions::default(), true);
    }
    Ok(StatusCode::OK.into_response())
}

/// GET /documents/{uuid}.content
pub(super) fn content(world: &mut World, ask: &Ask) -> Reply {
    let missing = || Refusal::not_found("no such document waits for this user");
    let user = world.secure_user_of(ask, &[Permission::ViewJob])?.name.clone();
    let uuid = ask.segment(0).strip_suffix(".content").ok_or_else(missing)?;
    let options = PrintOptions::read(ask.query(StatusCode::BAD_REQUEST))?;
    let time = world.now();
    let document = ready(world, &user, uuid).ok_or_else(missing)?;
    if !document.storage_online {
        return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "the document's storage is offline"));
    }
    let bytes = document.content.clone();
    if !options.retain {
        document.consume();
    }
    remember(&mut world.downloads, LoggedDownload { uuid: uuid.into(), options, time });
    Ok(([(header::CONTENT_TYPE, "application/octet-stream")], bytes).into_response())
}

/// DELETE /documents/{uuid}
pub(super) fn delete(world: &mut World, ask: &Ask) -> Reply {
    let user = world.user_of(ask, &[Permission::ViewJob, Permission::DeleteJob])?.name.clone();
    let Some(document) = ready(world, &user, ask.segment(0)) else {
        return Ok(error_code(DELETE_DOCUMENT));
    };
    document.status = Status::Deleted;
    Ok(error_code(0))
}

/// A document of this user that has not been printed, deleted or lost. Others' documents do not exist for him.
fn ready<'a>(world: &'a mut World, user: &str, uuid: &str) -> Option<&'a mut ServerDocument> {
    let mut own = world.documents.iter_mut().filter(|document| document.user_name == user);
    own.find(|document| document.uuid == uuid && document.status == Status::Ready)
}

fn print(world: &mut World, uuid: &str, port: &ServerPort, options: PrintOptions, by_card: bool) {
    let time = world.now();
    let Some(document) = world.documents.iter_mut().find(|document| document.uuid == uuid) else {
        return;
    };
    document.output_port_id = Some(port.id);
    document.output_port_name = Some(port.name.clone());
    if !options.retain {
        document.consume();
    }
    let release = LoggedRelease {
        uuid: uuid.into(),
        user_name: document.user_name.clone(),
        port: port.name.clone(),
        options,
        by_card,
        time,
    };
    remember(&mut world.releases, release);
}
