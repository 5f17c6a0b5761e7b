//! Asks the server now and then whether it is there, by the cheapest request, without credentials. It also keeps a
//! connection warm, so that the next tap does not pay for a handshake, and tells the journal the server's time.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::backoff::Backoff;
use crate::journal::Journal;
use crate::print_server::Client;
use crate::random;
use crate::status::Board;

/// The pause between two probes while the server answers. Shorter than the time after which an idle connection is closed.
const EVERY: Duration = Duration::from_secs(30);

/// The pauses while it does not.
const RETRY: Backoff = match Backoff::new(Duration::from_millis(250), EVERY) {
    Ok(backoff) => backoff,
    Err(_) => panic!("checked when compiled"),
};

/// Two clocks that are so far apart cannot both be right; less is a clock that nobody set for some years.
const TOLERANCE: SignedDuration = SignedDuration::from_mins(5);

/// Asks now and then, and at once when some request has found the server gone or back, or was cut.
pub(super) async fn run(client: Client, board: Board, journal: Journal) {
    let mut reached = client.reached();
    let (mut backoff, mut failing) = (RETRY, false);
    loop {
        let wait = match client.account().await {
            Ok(()) => {
                failing = false;
                compare_clocks(&client, &board);
                if let Some(time) = client.server_time() {
                    journal.server_time_is(time);
                }
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
fn compare_clocks(client: &Client, board: &Board) {
    let now = Timestamp::now();
    let ahead = client.likely_server_time().duration_since(now);
    let disputed = ahead.abs() > TOLERANCE;
    if disputed == board.watch().borrow().clock_disputed {
        return;
    }
    if disputed {
        tracing::warn!(ahead_s = ahead.as_secs(), "the server's clock shows another time: one of the two is wrong");
    } else {
        tracing::info!("the server's clock shows the same time");
    }
    board.update(|state| state.clock_disputed = disputed);
}
