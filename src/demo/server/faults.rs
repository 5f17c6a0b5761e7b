//! Faults of a network or a server, on demand and as often as a test asks for them.

use std::convert::Infallible;
use std::future::pending;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use jiff::SignedDuration;

use super::ask::{error_code, json};
use super::endpoint::{Call, ClientConnection};
use super::world::World;

/// One piece of the endless body.
static PIECE: [u8; 1 << 16] = [b' '; 1 << 16];

/// A fault, the call that it applies to, and the number of times.
#[derive(Clone, Debug)]
pub struct ServerFault {
    /// The call; [`Call::Any`] fits every one.
    pub call: Call,
    /// The number of calls that it still applies to; with `usize::MAX` it stays until it is removed.
    pub times: usize,
    /// The misbehaviour.
    pub kind: Kind,
}

/// The ways to misbehave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Works, but only after this time.
    Delay(Duration),
    /// The connection is closed before the work is done; the client gets no byte.
    CutBefore,
    /// The work is done, then the connection is closed; the client gets no byte.
    CutAfter,
    /// The connection is closed at once, and the work is done after this time. Until then nothing at the server shows it:
    /// a document that will be released is listed as `READY`.
    Late(Duration),
    /// The work is done, and no answer ever comes; until the client leaves or the server stops.
    HangAfter,
    /// The work is done, and the answer is a 200 that is not JSON.
    Garbage,
    /// The work is done, and the answer is a 200 with a body that never ends.
    HugeBody,
    /// The work is done, and the answer is a 200 with JSON that fits no call.
    WrongType,
    /// No work, and this status; 500 if there is no such status.
    Status {
        /// The status.
        code: u16,
        /// `Retry-After`, in seconds.
        retry_after: Option<u32>,
    },
    /// No work, and a 200 with this `errorCode`.
    ErrorCode(u32),
    /// The token of this request has expired; its refresh token stays good.
    ExpiredToken,
    /// Works, and the `Date` of the answer is wrong by so much, or is left out.
    Date(Option<SignedDuration>),
}

impl World {
    /// The fault of this call, if it has one.
    pub(super) fn take_fault(&mut self, call: Call) -> Option<Kind> {
        let fits = |fault: &ServerFault| fault.times > 0 && (fault.call == call || fault.call == Call::Any);
        let index = self.faults.iter().position(fits)?;
        let fault = &mut self.faults[index];
        let kind = fault.kind;
        if fault.times < usize::MAX {
            fault.times -= 1;
        }
        if fault.times == 0 {
            self.faults.remove(index);
        }
        Some(kind)
    }
}

impl Kind {
    /// Acts before the work. `Some` is the answer in place of the work; `None` means that the work is done.
    pub(super) async fn instead(self, connection: &ClientConnection, token: Option<&str>) -> Option<Response> {
        match self {
            Kind::Delay(time) => tokio::time::sleep(time).await,
            Kind::CutBefore => connection.cut().await,
            Kind::ExpiredToken => connection.server.world().tokens.expire(token.unwrap_or_default()),
            Kind::Status { code, retry_after } => return Some(status(code, retry_after)),
            Kind::ErrorCode(code) => return Some(error_code(code)),
            // The caller does it: it outlives the connection.
            Kind::Late(_) => {}
            Kind::CutAfter | Kind::HangAfter | Kind::Garbage | Kind::HugeBody | Kind::WrongType | Kind::Date(_) => {}
        }
        None
    }

    /// The answer that the client gets once the work is done.
    pub(super) fn damaged(self, answer: Response) -> Damaged {
        match self {
            Kind::CutAfter | Kind::Late(_) => Damaged::Cut,
            Kind::HangAfter => Damaged::Hung,
            Kind::Garbage => Damaged::Answer(as_json(Body::from("<html><body>please log in</body></html>"))),
            Kind::HugeBody => Damaged::Answer(as_json(endless())),
            Kind::WrongType => Damaged::Answer(json(&["maintenance"])),
            Kind::Delay(_)
            | Kind::CutBefore
            | Kind::Status { .. }
            | Kind::ErrorCode(_)
            | Kind::ExpiredToken
            | Kind::Date(_) => Damaged::Answer(answer),
        }
    }
}

/// An answer after its fault.
pub(super) enum Damaged {
    /// It is sent, as it is or another in its place.
    Answer(Response),
    /// The connection is closed.
    Cut,
    /// The connection stays open without an answer.
    Hung,
}

impl Damaged {
    /// The answer, if there is one; otherwise this never returns.
    pub(super) async fn deliver(self, connection: &ClientConnection) -> Response {
        match self {
            Damaged::Answer(response) => response,
            Damaged::Cut => connection.cut().await,
            Damaged::Hung => pending().await,
        }
    }

    /// The status that the client gets to see.
    pub(super) fn status(&self) -> Option<u16> {
        match self {
            Damaged::Answer(response) => Some(response.status().as_u16()),
            Damaged::Cut | Damaged::Hung => None,
        }
    }
}

fn status(code: u16, retry_after: Option<u32>) -> Response {
    let status = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = status.into_response();
    if let Some(seconds) = retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

fn as_json(body: Body) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}

fn endless() -> Body {
    Body::from_stream(stream::repeat(Ok::<_, Infallible>(Bytes::from_static(&PIECE))))
}
