//! Readers on the network: as a client, or behind a port that the agent listens on. A plain pipe of bytes, so every
//! profile for a serial line works.

use std::net::SocketAddr;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::line::Line;
use super::link::Link;
use super::profile::Profile;
use super::{ReaderError, ReaderEvent};

/// Connections at a time; one more is closed at once. A reader that lost its connection may come before it is missed.
pub(super) const CONNECTION_LIMIT: usize = 4;

/// A reader that is there answers sooner.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// How soon a reader that was switched off is missed: a minute and a half.
const KEEPALIVE: TcpKeepalive =
    TcpKeepalive::new().with_time(Duration::from_secs(60)).with_interval(Duration::from_secs(10)).with_retries(3);

/// Connects to a reader.
pub(super) async fn connect(host: &str, port: u16) -> Result<TcpStream, ReaderError> {
    let failed = |source| ReaderError::Open { what: format!("{host}:{port}"), source };
    let stream = timeout(CONNECT_LIMIT, TcpStream::connect((host, port))).await;
    let stream = stream.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into())).map_err(failed)?;
    prepare(&stream).map_err(failed)?;
    Ok(stream)
}

/// A dead peer is noticed, and a short command is sent at once.
fn prepare(stream: &TcpStream) -> std::io::Result<()> {
    SockRef::from(stream).set_tcp_keepalive(&KEEPALIVE)?;
    stream.set_nodelay(true)
}

/// Opens the port.
pub(super) async fn listen(address: SocketAddr) -> Result<TcpListener, ReaderError> {
    TcpListener::bind(address).await.map_err(|source| ReaderError::Listen { address, source })
}

/// The next connection. What was a connection when it came may be none any more: that is no matter to the others.
pub(super) async fn accept(listener: &TcpListener) -> Result<TcpStream, ReaderError> {
    loop {
        let (stream, _) = listener.accept().await.map_err(ReaderError::Broken)?;
        if prepare(&stream).is_ok() {
            return Ok(stream);
        }
    }
}

/// Talks with every reader that connects, each with a buffer of its own.
pub(super) async fn serve(address: SocketAddr, profile: &Profile, line: &mut Line) -> Result<(), ReaderError> {
    let listener = listen(address).await?;
    line.tell(ReaderEvent::Disconnected(ReaderError::NotConnected { address }.to_string())).await?;
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            stream = accept(&listener) => {
                let stream = stream?;
                if connections.len() == CONNECTION_LIMIT {
                    tracing::warn!(%address, limit = CONNECTION_LIMIT, "connection refused: too many readers");
                    continue;
                }
                if connections.is_empty() {
                    line.tell(ReaderEvent::Connected).await?;
                }
                let (mut line, profile) = (line.clone(), profile.clone());
                connections.spawn(async move { line.talk(Link::Tcp(stream), &profile).await });
            }
            Some(ended) = connections.join_next() => {
                if connections.is_empty() {
                    let why = match ended {
                        Ok(Err(error)) => error,
                        _ => ReaderError::NotConnected { address },
                    };
                    line.tell(ReaderEvent::Disconnected(why.to_string())).await?;
                }
            }
            () = line.closed() => return Err(ReaderError::Unheard),
        }
    }
}
