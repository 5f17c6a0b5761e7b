//! Connections to the page and to the control socket. Their number is limited, in all and a peer, and none keeps its place without
//! moving anything: a newcomer takes the place of the one that has been silent for the longest time.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use axum::Router;
use axum::serve::Listener;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::task::{AbortHandle, JoinSet};

use super::bounded_stream::{BoundedStream, Progress};

/// The most connections at one time.
const CONNECTION_LIMIT: usize = 64;

/// The most connections of one peer, so that one alone cannot take all places.
const PEER_LIMIT: usize = 32;

/// The longest that the head of a request may take, also the next one on a kept connection.
const HEAD_LIMIT: Duration = Duration::from_secs(10);

/// The other end of a connection, as far as its connections are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ConnectionPeer {
    /// An IPv4 address, or a network of 64 bits of IPv6, which usually is one host.
    Network(IpAddr),
    /// A user of this box, where the kernel names it.
    User(Option<u32>),
}

impl ConnectionPeer {
    pub(super) fn of_address(address: SocketAddr) -> Self {
        Self::Network(match address.ip().to_canonical() {
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
            address @ IpAddr::V4(_) => address,
        })
    }
}

/// One connection while it is served.
struct OpenConnection {
    peer: ConnectionPeer,
    task: AbortHandle,
    progress: Progress,
}

/// Serves `router` until the future is dropped; then every connection ends.
pub(super) async fn serve<L: Listener>(
    mut listener: L,
    router: Router,
    peer_of: impl Fn(&L::Io, &L::Addr) -> ConnectionPeer,
) {
    let mut tasks = JoinSet::new();
    let mut open = Vec::new();
    let moves = Arc::new(AtomicU64::new(0));
    loop {
        let (stream, address) = listener.accept().await;
        while tasks.try_join_next().is_some() {}
        let peer = peer_of(&stream, &address);
        make_room(&mut open, peer);
        let progress = Progress::new(&moves);
        let stream = BoundedStream::new(stream, progress.clone());
        let service = TowerToHyperService::new(router.clone());
        let task = tasks.spawn(async move {
            let mut connection = http1::Builder::new();
            connection.timer(TokioTimer::new()).header_read_timeout(HEAD_LIMIT);
            // An error is the client's: it left, was too slow, or sent nonsense.
            drop(connection.serve_connection(TokioIo::new(stream), service).await);
        });
        open.push(OpenConnection { peer, task, progress });
    }
}

/// Ends a connection if a newcomer of `peer` needs its place: one of the same peer if that has its share, otherwise one of
/// the peer with the most.
fn make_room(open: &mut Vec<OpenConnection>, peer: ConnectionPeer) {
    open.retain(|connection| !connection.task.is_finished());
    let count = |peer| open.iter().filter(|connection| connection.peer == peer).count();
    let crowded = if count(peer) >= PEER_LIMIT {
        Some(peer)
    } else if open.len() >= CONNECTION_LIMIT {
        open.iter().map(|connection| connection.peer).max_by_key(|peer| count(*peer))
    } else {
        None
    };
    let of_crowded = (0..open.len()).filter(|at| Some(open[*at].peer) == crowded);
    if let Some(silent) = of_crowded.min_by_key(|at| open[*at].progress.last()) {
        open.swap_remove(silent).task.abort();
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
    use tokio::sync::mpsc;
    use tokio::time::Instant;

    use super::super::bounded_stream::WRITE_LIMIT;
    use super::*;

    /// Accepts the connections that a test makes.
    struct TestListener(mpsc::UnboundedReceiver<(DuplexStream, u32)>);

    impl Listener for TestListener {
        type Io = DuplexStream;
        type Addr = u32;

        async fn accept(&mut self) -> (DuplexStream, u32) {
            match self.0.recv().await {
                Some(connection) => connection,
                None => std::future::pending().await,
            }
        }

        fn local_addr(&self) -> std::io::Result<u32> {
            Ok(0)
        }
    }

    type Connections = mpsc::UnboundedSender<(DuplexStream, u32)>;

    /// A server whose peers are users with these numbers.
    fn server() -> Connections {
        let (connections, accepted) = mpsc::unbounded_channel();
        let router =
            Router::new().route("/", get(|| async { "here" })).route("/long", get(|| async { "x".repeat(100_000) }));
        tokio::spawn(serve(TestListener(accepted), router, |_, user| ConnectionPeer::User(Some(*user))));
        connections
    }

    async fn connect_as(user: u32, connections: &Connections, request: &str) -> DuplexStream {
        let (mut client, server) = tokio::io::duplex(4096);
        connections.send((server, user)).unwrap();
        client.write_all(request.as_bytes()).await.unwrap();
        client
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_finish_its_request_is_cut() {
        let (connections, began) = (server(), Instant::now());
        let mut client = connect_as(1, &connections, "GET / HTTP/1.1\r\nHost:").await;
        client.read_to_end(&mut Vec::new()).await.unwrap();
        assert_eq!(began.elapsed().as_secs(), HEAD_LIMIT.as_secs());
    }

    /// Whether the server has closed this connection by now.
    async fn is_closed(client: &mut DuplexStream) -> bool {
        let read = tokio::time::timeout(Duration::ZERO, client.read_to_end(&mut Vec::new())).await;
        read.is_ok()
    }

    async fn is_answered(user: u32, connections: &Connections) -> bool {
        let mut client = connect_as(user, connections, "GET / HTTP/1.1\r\nConnection: close\r\n\r\n").await;
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        answer.starts_with("HTTP/1.1 200") && answer.ends_with("here")
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_read_its_answer_is_cut_and_one_that_reads_slowly_is_not() {
        let (connections, began) = (server(), Instant::now());
        let request = "GET /long HTTP/1.1\r\nConnection: close\r\n\r\n";
        let mut slow = connect_as(1, &connections, request).await;
        let mut deaf = connect_as(1, &connections, request).await;
        let mut read = 0;
        loop {
            match slow.read(&mut [0; 4096]).await.unwrap() {
                0 => break,
                bytes => read += bytes,
            }
            tokio::time::sleep(WRITE_LIMIT / 2).await;
        }
        assert!(read > 100_000 && began.elapsed() > WRITE_LIMIT * 10, "{read}");
        let mut rest = Vec::new();
        deaf.read_to_end(&mut rest).await.unwrap();
        assert!(rest.len() <= 4096, "{}", rest.len());
    }

    #[tokio::test(start_paused = true)]
    async fn clients_that_never_read_keep_nobody_out() {
        let (connections, began) = (server(), Instant::now());
        let mut deaf = Vec::new();
        for client in 0..4 * CONNECTION_LIMIT {
            deaf.push(connect_as(client as u32 % 3, &connections, "GET /long HTTP/1.1\r\n\r\n").await);
        }
        for user in 0..5 {
            assert!(is_answered(user, &connections).await);
        }
        assert_eq!(began.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn one_peer_takes_its_share_and_displaces_only_itself() {
        let connections = server();
        let mut other = connect_as(1, &connections, "").await;
        let mut mine = Vec::new();
        for _ in 0..2 * CONNECTION_LIMIT {
            mine.push(connect_as(2, &connections, "").await);
            tokio::task::yield_now().await;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert!(!is_closed(&mut other).await);
        let mut open = 0;
        for client in &mut mine {
            open += usize::from(!is_closed(client).await);
        }
        assert_eq!(open, PEER_LIMIT);
        assert!(!is_closed(mine.last_mut().unwrap()).await, "the newest is kept");
    }

    #[tokio::test(start_paused = true)]
    async fn the_connection_that_was_silent_longest_goes_first() {
        let connections = server();
        let mut mine = Vec::new();
        for _ in 0..PEER_LIMIT {
            mine.push(connect_as(1, &connections, "").await);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        mine[0].write_all(b"GET").await.unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert!(is_answered(1, &connections).await);
        assert!(!is_closed(&mut mine[0]).await);
        assert!(is_closed(&mut mine[1]).await);
    }

    #[test]
    fn an_ipv6_network_is_one_peer_and_a_mapped_address_is_ipv4() {
        let peer = |address: &str| ConnectionPeer::of_address(address.parse().unwrap());
        assert_eq!(peer("[2001:db8::1]:1"), peer("[2001:db8::ffff:2]:2"));
        assert_ne!(peer("[2001:db8::1]:1"), peer("[2001:db8:0:1::1]:1"));
        assert_eq!(peer("[::ffff:192.0.2.1]:1"), peer("192.0.2.1:2"));
        assert_ne!(peer("192.0.2.1:1"), peer("192.0.2.2:1"));
    }
}
