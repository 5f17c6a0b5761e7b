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

/// Shows the different cards that were refused in a row. Many of them, and none accepted, are no strangers.
pub(super) async fn refused_cards(board: Board, client: Client) {
    let (mut refused, mut told) = (client.refused_cards(), false);
    loop {
        let cards = refused.now();
        if cards.is_alarm() && !told {
            tracing::error!(
                cards = cards.0,
                "different cards refused in a row and none accepted: the API key, the device or `convert` is wrong; run `check`"
            );
        }
        told = cards.is_alarm();
        if board.watch().borrow().server.refused_cards != cards.0 as u64 {
            board.update(|state| state.server.refused_cards = cards.0 as u64);
        }
        if !refused.changed().await {
            return;
        }
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
