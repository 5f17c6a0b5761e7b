//! Keeps this box a trusted device, and brings to the board where it stands.

use std::sync::Arc;

use super::work::Work;
use crate::print_server::device::Keeper;

pub(super) async fn run(work: Arc<Work>, keeper: Keeper) {
    let mut standing = keeper.standing();
    let watch = async {
        loop {
            let word = standing.borrow_and_update().word();
            work.board.update(|state| state.server.device = word);
            if standing.changed().await.is_err() {
                return;
            }
        }
    };
    tokio::join!(keeper.run(), watch);
}
