//! Is the server there? Every request tells; when none is made, the cheapest one is, without credentials. It also keeps a
//! connection warm, so that the next tap does not pay for a handshake.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

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

/// Two clocks that are so far apart cannot both be right; less is a clock that nobody set for some years.
const TOLERANCE: SignedDuration = SignedDuration::from_mins(5);

pub(super) async fn run(work: Arc<Work>) {
    tokio::join!(ask(&work), tell(&work));
}

/// Asks now and then, and at once when some request has found the server gone or back, or was cut.
async fn ask(work: &Work) {
    let mut reached = work.client.reached();
    let (mut backoff, mut failing) = (RETRY, false);
    loop {
        let wait = match work.client.account().await {
            Ok(()) => {
                failing = false;
                compare_clocks(work);
                backoff.reset();
                EVERY
            }
            Err(failure) => {
                match std::mem::replace(&mut failing, true) {
                    false => tracing::warn!(error = %failure, "probe of the print server failed"),
                    true => tracing::debug!(error = %failure, "probe of the print server failed"),
                }
                backoff.next(random::word())
            }
        };
        reached.mark_unchanged();
        drop(tokio::time::timeout(wait, reached.changed()).await.map(drop));
    }
}

/// A clock that systemd has set to its own birthday is beyond every floor, and still wrong.
fn compare_clocks(work: &Work) {
    let now = Timestamp::now();
    let ahead = work.client.server_time(now).duration_since(now);
    let disputed = ahead.abs() > TOLERANCE;
    if disputed == work.board.watch().borrow().clock_disputed {
        return;
    }
    if disputed {
        tracing::warn!(ahead_s = ahead.as_secs(), "the server's clock shows another time: one of the two is wrong");
    } else {
        tracing::info!("the server's clock shows the same time");
    }
    work.board.update(|state| state.clock_disputed = disputed);
}

/// Brings what every request found out to the board.
async fn tell(work: &Work) {
    let (mut reached, mut told) = (work.client.reached(), None);
    while reached.changed().await.is_ok() {
        let reachable = *reached.borrow_and_update() == Some(true);
        if Some(reachable) == told.replace(reachable) {
            continue;
        }
        if reachable {
            tracing::info!("server reachable");
        } else {
            tracing::warn!("server not reachable");
        }
        work.board.update(|state| {
            state.server.reachable = reachable;
            state.server.since = Timestamp::now();
        });
    }
}
