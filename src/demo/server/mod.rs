//! A print server of the vendor's kind, in this process: for `demo`, and for every integration test.
//!
//! It follows the vendor's documents to the letter, refuses what they do not allow, and misbehaves on demand. A
//! [`PrintServer`] is a handle; the [`World`] behind it can be looked at and changed at any time. REST is at `/api/v1`,
//! OAuth at `/oauth/v1` of the same port.
//!
//! "001" is the vendor's document of API functions. Where it is silent, the stricter reading holds: a parameter that it
//! does not name is refused, and so is one that is given twice. Statuses and codes it does not give are our choice.
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
mod random;
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
pub use faults::{Fault, Kind};
pub use log::{Called, Download, LOG_LIMIT, Release};
pub use oauth::Device;
pub use sample::{AUTO_TRUST_KEY, INSECURE_KEY, OPEN_KEY, READER_MAC, TRUSTED_KEY};
pub use tokens::Tokens;
pub use world::{
    AccountType, Document, JobType, LONG_EDGE, OutputPort, PROVIDER_ID, SHORT_EDGE, SIMPLEX, Status, Tag, User, World,
};

use endpoint::{Endpoint, Session};

/// How a server starts.
pub struct Options {
    /// Where it listens; port 0 is a free one.
    pub listen: SocketAddr,
    /// What it knows.
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
    shared: Arc<Shared>,
    base: Arc<str>,
}

impl fmt::Debug for PrintServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PrintServer").field("base", &self.base).finish_non_exhaustive()
    }
}

struct Shared {
    world: Mutex<World>,
    changes: watch::Sender<()>,
    door: wire::Door,
}

impl Shared {
    fn world(&self) -> MutexGuard<'_, World> {
        // A test that failed while it looked must not fail the others.
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self) {
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
        let shared = Arc::new(Shared { world: Mutex::new(options.world), changes: watch::Sender::new(()), door });
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

    /// What the server knows, locked: no call is answered while the guard lives, so do not hold it over an `await`.
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

    /// Waits until the world is so. It is looked at now, and whenever a call has arrived or ended.
    pub async fn wait_until(&self, condition: impl Fn(&World) -> bool) {
        let mut changes = self.shared.changes.subscribe();
        // The sender lives as long as this handle, so only the condition ends this.
        while !condition(&self.world()) && changes.changed().await.is_ok() {}
    }
}

/// Every call that the server knows.
fn app() -> Router<Session> {
    let card = Endpoint(Call::Card, documents::card);
    let api = Router::new()
        .route("/account", head(Endpoint(Call::Account, account::probe)).get(Endpoint(Call::Account, account::show)))
        .route("/version", get(Endpoint(Call::Version, account::version)))
        .route("/login", post(Endpoint(Call::Login, login::login)))
        .route("/token", get(Endpoint(Call::Token, login::refresh)))
        .route("/documents", get(Endpoint(Call::List, documents::list)))
        .route(
            "/documents/history",
            get(Endpoint(Call::History, history::read)).post(Endpoint(Call::Record, history::record)),
        )
        .route(
            "/documents/{document}",
            get(Endpoint(Call::Content, documents::content)).delete(Endpoint(Call::Delete, documents::delete)),
        )
        .route("/documents/{document}/{port}", post(Endpoint(Call::Release, documents::release)))
        .route("/card", get(card).post(card))
        .route("/card/", get(card).post(card))
        .route("/outputports", get(Endpoint(Call::Ports, account::output_ports)))
        .route("/users/{user}/cards", post(Endpoint(Call::RegisterCard, account::register_card)));
    let oauth = Router::new()
        .route("/register", post(Endpoint(Call::Register, oauth::register)))
        .route("/token", post(Endpoint(Call::Token, oauth::token)));
    let unknown = Endpoint(Call::Other, endpoint::unknown);
    Router::new().nest("/api/v1", api).nest("/oauth/v1", oauth).fallback(unknown).method_not_allowed_fallback(unknown)
}
