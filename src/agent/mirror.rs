//! Brings to the board how the journal, the device and the connection to the server stand.

use jiff::Timestamp;

use crate::journal::Journal;
use crate::print_server::Client;
use crate::print_server::device::Keeper;
use crate::status::{Board, BoardState};

/// Keeps this box a trusted device, and shows where it stands.
pub(super) async fn device(board: Board, keeper: Keeper) {
    let mut standing = keeper.standing();
    let show = async {
        loop {
            let word = standing.borrow_and_update().word();
            board.update(|state| state.server.device = word);
            if standing.changed().await.is_err() {
                return;
            }
        }
    };
    tokio::join!(keeper.run(), show);
}

/// Shows what waits in the journal, for as long as the agent runs.
pub(super) async fn journal(board: Board, journal: Journal) {
    let mut counts = journal.counts();
    loop {
        let now = *counts.borrow_and_update();
        let syncs = journal.syncs();
        board.update(|BoardState { outbox, journal, disk_syncs, .. }| {
            journal.full = now.full;
            journal.set_aside = now.set_aside as u64;
            journal.encrypted = now.encrypted;
            journal.unreadable = now.unreadable as u64;
            outbox.pending = now.records as u64;
            outbox.dead = now.dead as u64;
            outbox.lost = now.lost;
            outbox.oldest = now.oldest_record;
            *disk_syncs = syncs;
        });
        if counts.changed().await.is_err() {
            return;
        }
    }
}

/// Shows whether the server can be reached, as every request finds out.
pub(super) async fn server(board: Board, client: Client) {
    let (mut reached, mut last_logged) = (client.reached(), None);
    while reached.changed().await.is_ok() {
        let reachable = *reached.borrow_and_update() == Some(true);
        if Some(reachable) == last_logged.replace(reachable) {
            continue;
        }
        if reachable {
            tracing::info!("server reachable");
        } else {
            tracing::warn!("server not reachable");
        }
        board.update(|state| {
            state.server.reachable = reachable;
            state.server.since = Timestamp::now();
        });
    }
}

/// Counts the rows of the server's lists that were skipped.
pub(super) async fn refused_rows(board: Board, client: Client) {
    let (mut refused, mut counted) = (client.refused_rows(), 0);
    loop {
        let rows = *refused.borrow_and_update();
        board.metrics.rows_refused(rows - counted);
        counted = rows;
        if refused.changed().await.is_err() {
            return;
        }
    }
}
