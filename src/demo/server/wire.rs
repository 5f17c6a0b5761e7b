//! The connections: each has a task, which its client, a fault that cuts it, or an outage ends.
//!
//! Ending the task drops its socket: the client sees a closed connection and nothing else. During an outage the port
//! stays bound but does not listen, so that connecting is refused and nobody else can take it.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Notify, Semaphore, watch};
use tokio_rustls::TlsAcceptor;

use super::ServerState;
use super::endpoint::ClientConnection;

/// Connections that the system may hold for us.
const BACKLOG: u32 = 1024;
/// Connections at one time; more wait to be accepted.
const MAX_CONNECTIONS: usize = 1_000;
/// After a failure to accept, as when there are no more descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// A client that does not finish its handshake is dropped.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);

/// The port, open or shut.
pub(super) struct Door {
    address: SocketAddr,
    gate: Mutex<Gate>,
    outages: watch::Sender<()>,
}

struct Gate {
    listener: Option<TcpListener>,
    /// Holds the port while nobody listens.
    reserve: Option<TcpSocket>,
    /// The task that accepts connections.
    waiting: Option<Waker>,
}

impl Door {
    /// Listens at this address.
    pub(super) fn open(address: SocketAddr) -> io::Result<Door> {
        let listener = bind(address)?.listen(BACKLOG)?;
        let address = listener.local_addr()?;
        let gate = Gate { listener: Some(listener), reserve: None, waiting: None };
        Ok(Door { address, gate: Mutex::new(gate), outages: watch::Sender::new(()) })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Refuses new connections from now on and cuts those that are open.
    pub(super) fn shut(&self) {
        let mut gate = self.gate();
        if gate.listener.take().is_some() {
            // Without it, opening again binds anew, and tells if that fails.
            gate.reserve = bind(self.address).ok();
        }
        self.outages.send_replace(());
    }

    /// Listens again at the same address.
    pub(super) fn reopen(&self) -> io::Result<()> {
        let mut gate = self.gate();
        if gate.listener.is_none() {
            let socket = gate.reserve.take().map_or_else(|| bind(self.address), Ok)?;
            gate.listener = Some(socket.listen(BACKLOG)?);
        }
        if let Some(waker) = gate.waiting.take() {
            waker.wake();
        }
        Ok(())
    }

    /// The next connection, with a receiver for the next outage. Both are taken under one lock, so that no outage is missed
    /// between them.
    fn poll_accept(&self, context: &mut Context<'_>) -> Poll<io::Result<(TcpStream, watch::Receiver<()>)>> {
        let mut gate = self.gate();
        gate.waiting = Some(context.waker().clone());
        match &gate.listener {
            Some(listener) => listener.poll_accept(context).map_ok(|(stream, _)| (stream, self.outages.subscribe())),
            None => Poll::Pending,
        }
    }

    fn gate(&self) -> MutexGuard<'_, Gate> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

/// Accepts connections until the runtime ends.
pub(super) async fn accept(server: Arc<ServerState>, app: Router<ClientConnection>, tls: Option<TlsAcceptor>) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    // Never closed: the loop owns it.
    while let Ok(place) = places.clone().acquire_owned().await {
        match poll_fn(|context| server.door.poll_accept(context)).await {
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            Ok((stream, outage)) => {
                let connection = ClientConnection { server: server.clone(), cut: Arc::new(Notify::new()) };
                let (app, tls) = (app.clone(), tls.clone());
                tokio::spawn(async move {
                    converse(stream, app, tls, connection, outage).await;
                    drop(place);
                });
            }
        }
    }
}

async fn converse(
    stream: TcpStream,
    app: Router<ClientConnection>,
    tls: Option<TlsAcceptor>,
    connection: ClientConnection,
    mut outage: watch::Receiver<()>,
) {
    let cut = connection.cut.clone();
    let app = app.with_state(connection);
    let talk = async {
        // Without it, small answers wait for the acknowledgement of others.
        if stream.set_nodelay(true).is_err() {
            return;
        }
        match tls {
            None => serve(stream, app).await,
            Some(tls) => {
                if let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE_TIME, tls.accept(stream)).await {
                    serve(stream, app).await;
                }
            }
        }
    };
    tokio::select! {
        // In this order: nothing is answered once an outage has begun.
        biased;
        _ = outage.changed() => {}
        () = cut.notified() => {}
        () = talk => {}
    }
}

/// HTTP/1.1 or HTTP/2, as the client begins.
async fn serve<I: AsyncRead + AsyncWrite + Unpin + 'static>(stream: I, app: Router) {
    let service = TowerToHyperService::new(app);
    let mut connection = auto::Builder::new(TokioExecutor::new());
    // Each answer tells the time of the world, or none where a fault leaves it out.
    connection.http1().auto_date_header(false);
    connection.http2().auto_date_header(false);
    // The client sees the end of its connection; the log of calls has the requests that came on it.
    drop(connection.serve_connection(TokioIo::new(stream), service).await);
}
