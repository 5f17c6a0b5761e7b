//! The way of a request to its answer: read it, note it, apply a fault, do the work, note its end.
//!
//! The work itself is a plain function of the world and the request: it runs under the world's lock and never waits.

use std::future::pending;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use axum::handler::Handler;
use axum::http::{HeaderValue, Method, header};
use axum::response::{IntoResponse, Response};
use tokio::sync::Notify;

use super::ServerState;
use super::ask::{Ask, Refusal, Reply};
use super::documents;
use super::faults::{Damaged, Kind, status};
use super::world::World;

/// The calls of the API, as tests and faults name them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Call {
    /// HEAD and GET /account
    Account,
    /// GET /version
    Version,
    /// POST /login
    Login,
    /// GET /documents
    List,
    /// POST /documents/{uuid}/{address or SN}
    Release,
    /// GET /documents/{uuid}.content
    Content,
    /// DELETE /documents/{uuid}
    Delete,
    /// GET and POST /card
    Card,
    /// POST /documents/history
    Record,
    /// GET /documents/history
    History,
    /// GET /outputports
    Ports,
    /// POST /users/{username}/cards
    RegisterCard,
    /// GET /token and POST /oauth/v1/token
    Token,
    /// POST /oauth/v1/register
    Register,
    /// Every call that this server does not know.
    Other,
    /// In a [`ServerFault`](super::ServerFault): every call. Never in the log.
    Any,
}

/// One connection, as the work on its requests sees it.
#[derive(Clone)]
pub(super) struct ClientConnection {
    pub(super) server: Arc<ServerState>,
    pub(super) cut: Arc<Notify>,
}

impl ClientConnection {
    /// Closes the connection without an answer. Never returns: the request ends with its connection.
    pub(super) async fn cut<T>(&self) -> T {
        self.cut.notify_one();
        pending().await
    }
}

/// The work behind a method and a path.
#[derive(Clone, Copy)]
pub(super) struct CallHandler(pub(super) Call, pub(super) fn(&mut World, &Ask) -> Reply);

impl Handler<(), ClientConnection> for CallHandler {
    type Future = Pin<Box<dyn Future<Output = Response> + Send>>;

    fn call(self, request: Request, connection: ClientConnection) -> Self::Future {
        Box::pin(self.answer(request, connection))
    }
}

impl CallHandler {
    async fn answer(self, request: Request, connection: ClientConnection) -> Response {
        let server = &connection.server;
        let (number, fault) = {
            let mut world = server.world();
            let number = world.arrived(self.0, request.method().as_str(), request.uri().path());
            (number, world.take_fault(self.0))
        };
        server.notify_watchers();
        let ask = match Ask::read(request).await {
            Ok(ask) => ask,
            Err(refusal) => return server.close(number, None, Err(refusal)).deliver(&connection).await,
        };
        let works_after = fault.and_then(Kind::works_after);
        if self.0 == Call::Release {
            documents::release_arrived(&mut server.world(), &ask, works_after.is_some());
        }
        if let Some(time) = works_after {
            tokio::spawn(self.late(time, number, fault, ask, server.clone()));
            return match fault {
                Some(Kind::StatusAndWork { code, retry_after, .. }) => status(code, retry_after),
                _ => connection.cut().await,
            };
        }
        let instead = match fault {
            Some(kind) => kind.instead(&connection, ask.bearer()).await,
            None => None,
        };
        let reply = match instead {
            Some(response) => Ok(response),
            None => self.work(&mut server.world(), &ask),
        };
        server.close(number, fault, reply).deliver(&connection).await
    }

    /// Does the work when nobody waits for it any more; only then is the call over.
    async fn late(self, time: Duration, number: u64, fault: Option<Kind>, ask: Ask, server: Arc<ServerState>) {
        tokio::time::sleep(time).await;
        let reply = self.work(&mut server.world(), &ask);
        drop(server.close(number, fault, reply));
    }

    fn work(self, world: &mut World, ask: &Ask) -> Reply {
        // A router answers HEAD with the work of GET, and some of that prints.
        if ask.method == Method::HEAD && self.0 != Call::Account {
            return Err(Refusal::not_found("HEAD is for /account only"));
        }
        (self.1)(world, ask)
    }
}

impl ServerState {
    /// Notes the end of a call, before the client sees it.
    fn close(&self, number: u64, fault: Option<Kind>, reply: Reply) -> Damaged {
        let (response, refusal) = match reply {
            Ok(response) => (response, None),
            // Whether a refusal has a body is not documented.
            Err(refusal) if self.world().silent_refusals => (refusal.status.into_response(), Some(refusal.why)),
            Err(refusal) => (refusal.clone().into_response(), Some(refusal.why)),
        };
        let mut answer = match fault {
            Some(kind) => kind.damaged(response),
            None => Damaged::Answer(response),
        };
        let mut world = self.world();
        if let Damaged::Answer(response) = &mut answer {
            let told = match fault {
                Some(Kind::Date(wrong_by)) => wrong_by.and_then(|by| world.now().checked_add(by).ok()),
                _ => Some(world.now()),
            };
            let told = told.map(|time| time.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string());
            let told = told.and_then(|time| HeaderValue::try_from(time).ok());
            response.headers_mut().extend(told.map(|time| (header::DATE, time)));
        }
        world.answered(number, answer.status(), refusal);
        drop(world);
        self.notify_watchers();
        answer
    }
}

/// Answers a request that fits no route.
pub(super) fn unknown(_: &mut World, _: &Ask) -> Reply {
    Err(Refusal::not_found("the API has no such call"))
}
