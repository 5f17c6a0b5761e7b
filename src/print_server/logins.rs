//! The logins of this run, which tell a stranger's card from an API key that the server does not accept: the answer to a refused
//! login does not (docs/print-server-api.md, "Refusals"). Cards are kept as hashes under a key of this run, in memory only.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};

use tokio::sync::watch;

use crate::domain::Who;

/// So many different cards refused in a row, and none accepted, are no strangers.
const ALARM: usize = 5;

/// Different cards beyond this are not counted: it is an alarm for long.
const COUNT_LIMIT: usize = 1_000;

/// The logins so far. Clones of the client share it.
#[derive(Clone, Debug, Default)]
pub(super) struct LoginTally {
    hasher: RandomState,
    state: watch::Sender<TalliedLogins>,
}

#[derive(Debug, Default)]
struct TalliedLogins {
    /// The server has accepted the key: a login succeeded, or a token was given for it.
    key_is_proven: bool,
    /// The different cards that were refused since the last login that succeeded.
    refused: HashSet<u64>,
}

/// The different cards that were refused in a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RefusedCards(pub usize);

impl RefusedCards {
    /// Whether the cards cannot all be strangers'.
    pub fn is_alarm(self) -> bool {
        self.0 >= ALARM
    }
}

impl LoginTally {
    /// A login succeeded.
    pub(super) fn succeeded(&self) {
        self.state.send_modify(|state| *state = TalliedLogins { key_is_proven: true, refused: HashSet::new() });
    }

    /// The server gave a token for the key, so it accepts the key.
    pub(super) fn key_is_proven(&self) {
        self.state.send_modify(|state| state.key_is_proven = true);
    }

    /// Counts a refused login of `card`, and gives the kind of a refusal that the server did not explain.
    pub(super) fn refused(&self, card: &str) -> Who {
        let hash = self.hasher.hash_one(card);
        let mut who = Who::Login;
        self.state.send_modify(|state| {
            if state.refused.len() < COUNT_LIMIT {
                state.refused.insert(hash);
            }
            if !state.key_is_proven || RefusedCards(state.refused.len()).is_alarm() {
                who = Who::UnprovenLogin;
            }
        });
        who
    }

    /// The cards that were refused since the last login that succeeded.
    pub(super) fn watch(&self) -> RefusedCardsWatch {
        RefusedCardsWatch(self.state.subscribe())
    }
}

/// Waits for changes of the refused cards.
#[derive(Debug)]
pub struct RefusedCardsWatch(watch::Receiver<TalliedLogins>);

impl RefusedCardsWatch {
    /// The count of this moment.
    pub fn now(&mut self) -> RefusedCards {
        RefusedCards(self.0.borrow_and_update().refused.len())
    }

    /// Waits for the next login; false when there will be none.
    pub async fn changed(&mut self) -> bool {
        self.0.changed().await.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_login_may_be_the_key_until_one_has_succeeded_and_is_a_strangers_card_after() {
        let logins = LoginTally::default();
        assert_eq!(logins.refused("1"), Who::UnprovenLogin);
        logins.succeeded();
        assert_eq!(logins.refused("1"), Who::Login);
        let proven_by_a_token = LoginTally::default();
        proven_by_a_token.key_is_proven();
        assert_eq!(proven_by_a_token.refused("1"), Who::Login);
    }

    #[test]
    fn many_different_cards_in_a_row_are_an_alarm_and_one_card_held_often_is_none() {
        let logins = LoginTally::default();
        let mut watch = logins.watch();
        logins.succeeded();
        for _ in 0..100 {
            assert_eq!(logins.refused("1"), Who::Login);
        }
        for card in ["2", "3", "4"] {
            assert_eq!(logins.refused(card), Who::Login);
        }
        assert_eq!((watch.now(), watch.now().is_alarm()), (RefusedCards(4), false));
        assert_eq!(logins.refused("5"), Who::UnprovenLogin, "the key may have expired");
        assert!(watch.now().is_alarm());
        logins.succeeded();
        assert_eq!((watch.now(), logins.refused("1")), (RefusedCards(0), Who::Login));
    }
}
