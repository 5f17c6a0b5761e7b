//! Asks the server now and then whether it is there. Without credentials, and cheap; it also keeps a connection warm, so
//! that the next tap does not pay for a handshake.

use std::sync::Arc;
use std::time::Duration;

use super::work::Work;
use crate::backoff::Backoff;
use crate::random;

/// While the server answers. Shorter than the time after which an idle connection is closed.
const EVERY: Duration = Duration::from_secs(30);

/// While it does not.
const RETRY: Backoff = match Backoff::new(Duration::from_millis(250), EVERY) {
    Ok(backoff) => backoff,
    Err(_) => panic!("checked when compiled"),
};

pub(super) async fn run(work: Arc<Work>) {
    let mut backoff = RETRY;
    loop {
        let result = work.client.account().await;
        work.note(result.as_ref());
        let answered = work.board.watch().borrow().server.clone();
        if answered.reachable {
            backoff.reset();
        }
        let wait = if answered.reachable { EVERY } else { backoff.next(random::word()) };
        let mut changes = work.board.watch();
        // A request that failed in between is worth a look at once.
        let lost = changes.wait_for(|state| state.server.reachable != answered.reachable);
        drop(tokio::time::timeout(wait, lost).await.map(drop));
    }
}
