//! A print server of the vendor's kind, in this process: for `demo`, and for every integration test.
//!
//! It follows docs/print-server-api.md to the letter, refuses everything that the API does not allow, and misbehaves on
//! demand. A [`PrintServer`] is a handle; the [`World`] behind it can be looked at and changed at any time. REST is at
//! `/api/v1`, OAuth at `/oauth/v1` of the same port.
//!
//! If the vendor states nothing, the stricter reading holds: a parameter that is not named is refused, and so is one that
//! is given twice. Statuses and codes that the vendor does not give are our choice.
//!
//! Not done: administration (accounts, groups, certificates, ...), uploads, roles, more than one account or provider.

mod access;
mod account;
mod ask;
mod documents;
mod endpoint;
mod faults;
mod history;
mod log;
mod login;
mod oauth;
pub(super) mod random;
mod sample;
mod signature;
#[cfg(test)]
mod tests;
mod tokens;
mod wire;
mod world;

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::routing::{get, head, post};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

pub use access::{ApiKey, Permission};
pub use documents::PrintOptions;
pub use endpoint::Call;
pub use faults::{Kind, ServerFault};
pub use log::{LOG_LIMIT, LoggedCall, LoggedDownload, LoggedRelease};
pub use oauth::Device;
pub use sample::{AUTO_TRUST_KEY, INSECURE_KEY, OPEN_KEY, READER_MAC, TRUSTED_KEY};
pub use tokens::Tokens;
pub use world::{
    AccountType, JobType, LONG_EDGE, PROVIDER_ID, SHORT_EDGE, SIMPLEX, ServerDocument, ServerPort, ServerUser, Status,
    Tag, World,
};

use endpoint::{CallHandler, ClientConnection};

/// The options of a start.
pub struct Options {
    /// The address that it listens on; port 0 is a free one.
    pub listen: SocketAddr,
    /// Its first state.
    pub world: World,
}

impl Default for Options {
    /// A free port of this machine alone, and [`World::demo`].
    fn default() -> Options {
        Options { listen: (Ipv4Addr::LOCALHOST, 0).into(), world: World::demo() }
    }
}

/// A handle to a running server, which runs until its runtime ends.
#[derive(Clone)]
pub struct PrintServer {
    shared: Arc<ServerState>,
    base: Arc<str>,
}

impl fmt::Debug for PrintServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PrintServer").field("base", &self.base).finish_non_exhaustive()
    }
}

struct ServerState {
    world: Mutex<World>,
    changes: watch::Sender<()>,
    door: wire::Door,
}

impl ServerState {
    fn world(&self) -> MutexGuard<'_, World> {
        // A test that failed while it looked must not fail the others.
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn notify_watchers(&self) {
        self.changes.send_replace(());
    }
}

impl PrintServer {
    /// Starts a server over plain HTTP.
    ///
    /// # Errors
    /// If the address cannot be had.
    pub async fn start(options: Options) -> io::Result<PrintServer> {
        PrintServer::begin(options, None)
    }

    /// Starts a server over HTTPS, for the name `localhost`; the configuration's ALPN decides between HTTP/2 and 1.1.
    ///
    /// # Errors
    /// If the address cannot be had.
    pub async fn start_tls(options: Options, tls: Arc<rustls::ServerConfig>) -> io::Result<PrintServer> {
        PrintServer::begin(options, Some(tls.into()))
    }

    fn begin(options: Options, tls: Option<TlsAcceptor>) -> io::Result<PrintServer> {
        let door = wire::Door::open(options.listen)?;
        let base = match &tls {
            None => format!("http://{}", door.address()),
            Some(_) => format!("https://localhost:{}", door.address().port()),
        };
        let shared = Arc::new(ServerState { world: Mutex::new(options.world), changes: watch::Sender::new(()), door });
        tokio::spawn(wire::accept(shared.clone(), app(), tls));
        Ok(PrintServer { shared, base: base.into() })
    }

    /// The base of the REST calls.
    pub fn url(&self) -> String {
        format!("{}/api/v1", self.base)
    }

    /// The base of the OAuth calls.
    pub fn oauth_url(&self) -> String {
        format!("{}/oauth/v1", self.base)
    }

    /// The server's state, locked: no call is answered while the guard lives, so do not hold it over an `await`.
    pub fn world(&self) -> MutexGuard<'_, World> {
        self.shared.world()
    }

    /// Begins an outage: new connections are refused, open ones cut. The world stays. Work that is being done at this
    /// moment may still be done, but it is not answered.
    pub fn stop(&self) {
        self.shared.door.shut();
    }

    /// Ends an outage, at the same port.
    ///
    /// # Errors
    /// If the port cannot be had again.
    pub async fn restart(&self) -> io::Result<()> {
        self.shared.door.reopen()
    }

    /// Waits until one more call has arrived or ended.
    pub async fn changed(&self) {
        // The sender lives as long as this handle.
        drop(self.shared.changes.subscribe().changed().await);
    }

    /// Waits until the condition holds. It is checked now, and after every call that arrives or ends.
    pub async fn wait_until(&self, condition: impl Fn(&World) -> bool) {
        let mut changes = self.shared.changes.subscribe();
        // The sender lives as long as this handle, so only the condition ends this.
        while !condition(&self.world()) && changes.changed().await.is_ok() {}
    }
}

/// Every call that the server knows.
fn app() -> Router<ClientConnection> {
    let card = CallHandler(Call::Card, documents::card);
    let api = Router::new()
        .route(
            "/account",
            head(CallHandler(Call::Account, account::probe)).get(CallHandler(Call::Account, account::show)),
        )
        .route("/version", get(CallHandler(Call::Version, account::version)))
        .route("/login", post(CallHandler(Call::Login, login::login)))
        .route("/token", get(CallHandler(Call::Token, login::refresh)))
        .route("/documents", get(CallHandler(Call::List, documents::list)))
        .route(
            "/documents/history",
            get(CallHandler(Call::History, history::read)).post(CallHandler(Call::Record, history::record)),
        )
        .route(
            "/documents/{document}",
            get(CallHandler(Call::Content, documents::content)).delete(CallHandler(Call::Delete, documents::delete)),
        )
        .route("/documents/{document}/{port}", post(CallHandler(Call::Release, documents::release)))
        .route("/card", get(card).post(card))
        .route("/card/", get(card).post(card))
        .route("/outputports", get(CallHandler(Call::Ports, account::output_ports)))
        .route("/users/{user}/cards", post(CallHandler(Call::RegisterCard, account::register_card)));
    let oauth = Router::new()
        .route("/register", post(CallHandler(Call::Register, oauth::register)))
        .route("/token", post(CallHandler(Call::Token, oauth::token)));
    let unknown = CallHandler(Call::Other, endpoint::unknown);
    Router::new().nest("/api/v1", api).nest("/oauth/v1", oauth).fallback(unknown).method_not_allowed_fallback(unknown)
}
