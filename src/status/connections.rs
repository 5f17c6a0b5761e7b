//! Connections to the page and to the control socket. Their number is limited, and an idle one cannot keep its place.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::serve::Listener;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// The most connections at one time; more wait to be accepted.
const CONNECTION_LIMIT: usize = 64;

/// The longest that the head of a request may take, also the next one on a kept connection.
const HEAD_LIMIT: Duration = Duration::from_secs(10);

/// Serves `router` until the future is dropped; then every connection ends.
pub(super) async fn serve<L: Listener>(mut listener: L, router: Router) {
    let places = Arc::new(Semaphore::new(CONNECTION_LIMIT));
    let mut connections = JoinSet::new();
    // The semaphore is owned here and is never closed.
    while let Ok(place) = places.clone().acquire_owned().await {
        let (stream, _) = listener.accept().await;
        while connections.try_join_next().is_some() {}
        let service = TowerToHyperService::new(router.clone());
        connections.spawn(async move {
            let mut connection = http1::Builder::new();
            connection.timer(TokioTimer::new()).header_read_timeout(HEAD_LIMIT);
            // An error is the client's: it left, was too slow, or sent nonsense.
            drop(connection.serve_connection(TokioIo::new(stream), service).await);
            drop(place);
        });
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
    use tokio::sync::mpsc;
    use tokio::time::Instant;

    use super::*;

    /// Accepts the connections that a test makes.
    struct TestListener(mpsc::UnboundedReceiver<DuplexStream>);

    impl Listener for TestListener {
        type Io = DuplexStream;
        type Addr = ();

        async fn accept(&mut self) -> (DuplexStream, ()) {
            match self.0.recv().await {
                Some(stream) => (stream, ()),
                None => std::future::pending().await,
            }
        }

        fn local_addr(&self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn server() -> mpsc::UnboundedSender<DuplexStream> {
        let (connections, accepted) = mpsc::unbounded_channel();
        tokio::spawn(serve(TestListener(accepted), Router::new().route("/", get(|| async { "here" }))));
        connections
    }

    async fn connect(connections: &mpsc::UnboundedSender<DuplexStream>, request: &str) -> DuplexStream {
        let (mut client, server) = tokio::io::duplex(4096);
        connections.send(server).unwrap();
        client.write_all(request.as_bytes()).await.unwrap();
        client
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_finish_its_request_is_cut() {
        let (connections, began) = (server(), Instant::now());
        let mut client = connect(&connections, "GET / HTTP/1.1\r\nHost:").await;
        client.read_to_end(&mut Vec::new()).await.unwrap();
        assert_eq!(began.elapsed().as_secs(), HEAD_LIMIT.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn beyond_the_limit_a_connection_waits_until_another_ends() {
        let (connections, began) = (server(), Instant::now());
        let mut idle = Vec::new();
        for _ in 0..CONNECTION_LIMIT {
            idle.push(connect(&connections, "").await);
        }
        let mut client = connect(&connections, "GET / HTTP/1.1\r\nHost: box\r\nConnection: close\r\n\r\n").await;
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("here"), "{answer}");
        assert_eq!(began.elapsed().as_secs(), HEAD_LIMIT.as_secs());
    }
}
