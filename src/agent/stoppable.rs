//! A task that comes to an end of its own when it is told to, and a wait that may have no end.

use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A running task, and the way to stop it.
pub(super) struct StoppableTask {
    task: JoinHandle<()>,
    stop: watch::Sender<bool>,
}

impl StoppableTask {
    /// Runs the task; its receiver changes when it is to stop.
    pub(super) fn spawn<F: Future<Output = ()> + Send + 'static>(run: impl FnOnce(watch::Receiver<bool>) -> F) -> Self {
        let (stop, stopped) = watch::channel(false);
        Self { task: tokio::spawn(run(stopped)), stop }
    }

    /// Lets it end what it has begun, for at most `limit`.
    pub(super) async fn stop(mut self, limit: Duration) {
        self.stop.send_replace(true);
        if tokio::time::timeout(limit, &mut self.task).await.is_err() {
            self.task.abort();
        }
    }
}

/// A task whose owner is gone has nobody to stop it, so it ends with its owner.
impl Drop for StoppableTask {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Waits until then; for ever without a time.
pub(super) async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
