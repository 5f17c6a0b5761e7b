//! Readers on the network. Either the agent connects to the reader, or it listens on a port for readers. The connection is
//! a plain pipe of bytes, so every profile for a serial line works.

use std::net::SocketAddr;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::device_stream::DeviceStream;
use super::profile::Profile;
use super::station_channel::StationChannel;
use super::{ReaderError, ReaderEvent};

/// The most connections at a time; a further one is closed at once. It is more than one because a reader that lost its
/// connection may connect again before the loss is noticed.
pub(super) const CONNECTION_LIMIT: usize = 4;

/// The longest wait for a connection; a reader that is switched on answers sooner.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// A reader that was switched off is noticed after a minute and a half.
const KEEPALIVE: TcpKeepalive =
    TcpKeepalive::new().with_time(Duration::from_secs(60)).with_interval(Duration::from_secs(10)).with_retries(3);

pub(super) async fn connect(host: &str, port: u16) -> Result<TcpStream, ReaderError> {
    let failed = |source| ReaderError::Open { what: format!("{host}:{port}"), source };
    let stream = timeout(CONNECT_LIMIT, TcpStream::connect((host, port))).await;
    let stream = stream.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into())).map_err(failed)?;
    prepare(&stream).map_err(failed)?;
    Ok(stream)
}

/// Sets keep-alive, so that a dead reader is noticed, and no delay, so that a short command is sent at once.
fn prepare(stream: &TcpStream) -> std::io::Result<()> {
    SockRef::from(stream).set_tcp_keepalive(&KEEPALIVE)?;
    stream.set_nodelay(true)
}

/// Opens the port that readers connect to.
pub(super) async fn listen(address: SocketAddr) -> Result<TcpListener, ReaderError> {
    TcpListener::bind(address).await.map_err(|source| ReaderError::Listen { address, source })
}

/// Waits for the next connection. One that is already dead is skipped, so that it does not disturb the others.
pub(super) async fn accept(listener: &TcpListener) -> Result<TcpStream, ReaderError> {
    loop {
        let (stream, _) = listener.accept().await.map_err(ReaderError::Broken)?;
        if prepare(&stream).is_ok() {
            return Ok(stream);
        }
    }
}

/// Serves every reader that connects, each with a buffer of its own.
pub(super) async fn serve(
    address: SocketAddr,
    profile: &Profile,
    channel: &mut StationChannel,
) -> Result<(), ReaderError> {
    let listener = listen(address).await?;
    channel.send_event(ReaderEvent::Disconnected(ReaderError::NotConnected { address }.to_string())).await?;
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
                    channel.send_event(ReaderEvent::Connected).await?;
                }
                let (mut channel, profile) = (channel.clone(), profile.clone());
                connections.spawn(async move { channel.run_dialogue(DeviceStream::Tcp(stream), &profile).await });
            }
            Some(ended) = connections.join_next() => {
                if connections.is_empty() {
                    let why = match ended {
                        Ok(Err(error)) => error,
                        _ => ReaderError::NotConnected { address },
                    };
                    channel.send_event(ReaderEvent::Disconnected(why.to_string())).await?;
                }
            }
            () = channel.closed() => return Err(ReaderError::Unheard),
        }
    }
}
