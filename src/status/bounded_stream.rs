//! A stream on which a write that makes no progress ends with an error. hyper has a limit for the head of a request, and none for the
//! writing of an answer, so that a client that never reads would keep its connection for ever.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// The longest time that a write may wait for the other end to take another byte.
pub(super) const WRITE_LIMIT: Duration = Duration::from_secs(10);

/// Tells which of several streams has been silent for longer than another.
#[derive(Clone, Debug)]
pub(super) struct Progress {
    /// Counts what moves on all of them.
    moves: Arc<AtomicU64>,
    /// The count when this one moved last.
    last: Arc<AtomicU64>,
}

impl Progress {
    /// Begins with a stream that has just been opened. All that are compared have the same `moves`.
    pub(super) fn new(moves: &Arc<AtomicU64>) -> Self {
        let progress = Self { moves: moves.clone(), last: Arc::default() };
        progress.note();
        progress
    }

    /// Is larger for a stream that moved later.
    pub(super) fn last(&self) -> u64 {
        self.last.load(Ordering::Relaxed)
    }

    fn note(&self) {
        self.last.store(self.moves.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
    }
}

/// A stream with a limit for its writes, whose progress can be seen.
pub(super) struct BoundedStream<S> {
    stream: S,
    progress: Progress,
    /// Runs while a write waits.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<S> BoundedStream<S> {
    pub(super) fn new(stream: S, progress: Progress) -> Self {
        Self { stream, progress, stalled: None }
    }

    /// Notes the result of a write, or fails it when it has waited for too long.
    fn limited(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.stalled = None;
            self.progress.note();
            return written;
        }
        ready!(self.stalled.get_or_insert_with(|| Box::pin(sleep(WRITE_LIMIT))).as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for BoundedStream<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.progress.note();
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for BoundedStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.limited(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, pieces);
        self.limited(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
