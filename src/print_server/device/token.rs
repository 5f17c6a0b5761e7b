//! The device token that requests carry. One holder for the whole client, because the token may change while it runs.
//!
//! Who was refused asks the holder for a newer token. If somebody keeps the token fresh ([`Keeper`](super::Keeper)), that
//! leads to one refresh, however many ask. The documents do not tell a token that has expired from a card that nobody
//! knows (T4); so when a new token was refused as well, the token is not suspected again for [`ACQUITTED`].

use std::time::{Duration, Instant};

use reqwest::header::HeaderValue;
use tokio::sync::watch;

/// How long a request waits for a newer token. A person stands there.
const PATIENCE: Duration = Duration::from_secs(5);

/// For so long nobody asks for a newer token after one that did not help: unknown cards must not refresh at every tap.
const ACQUITTED: Duration = Duration::from_secs(600);

/// The token of this moment.
#[derive(Clone, Debug, Default)]
pub(in crate::print_server) struct Current {
    /// The bearer, if there is one.
    pub(in crate::print_server) header: Option<HeaderValue>,
    generation: u64,
    /// Somebody keeps it fresh.
    kept: bool,
    /// It was refused, and whoever keeps it has not heard yet.
    suspect: bool,
    acquitted: Option<Instant>,
}

/// The holder. Clones share the token.
#[derive(Clone, Debug)]
pub(in crate::print_server) struct DeviceToken(watch::Sender<Current>);

impl DeviceToken {
    /// A token that stays as it is, or none.
    pub(in crate::print_server) fn fixed(header: Option<HeaderValue>) -> Self {
        Self(watch::Sender::new(Current { header, ..Current::default() }))
    }

    /// The token to send.
    pub(in crate::print_server) fn current(&self) -> Current {
        self.0.borrow().clone()
    }

    /// Whether the token is still to come: somebody is at it.
    pub(in crate::print_server) fn is_awaited(&self) -> bool {
        let current = self.0.borrow();
        current.kept && current.header.is_none()
    }

    /// A token that is newer than one that was refused, if there is one or comes soon.
    pub(in crate::print_server) async fn newer_than(&self, refused: &Current) -> Option<HeaderValue> {
        let is_newer = |current: &Current| current.generation != refused.generation;
        let worth_a_refresh = self.0.send_if_modified(|current| {
            let acquitted = current.acquitted.is_some_and(|since| since.elapsed() < ACQUITTED);
            let worth = !is_newer(current) && current.kept && current.header.is_some() && !acquitted;
            current.suspect |= worth;
            worth
        });
        let mut watch = self.0.subscribe();
        if worth_a_refresh {
            // No answer in time is the same as none.
            drop(tokio::time::timeout(PATIENCE, watch.wait_for(is_newer)).await.map(drop));
        }
        let current = watch.borrow();
        current.header.clone().filter(|_| is_newer(&current))
    }

    /// A newer token was refused as well: it is not the token that is refused.
    pub(in crate::print_server) fn acquit(&self, now: Instant) {
        self.0.send_modify(|current| current.acquitted = Some(now));
    }

    /// From now on somebody keeps it fresh.
    pub(super) fn keep(&self) {
        self.0.send_modify(|current| current.kept = true);
    }

    /// Puts a newer token in its place.
    pub(super) fn publish(&self, header: HeaderValue) {
        self.0.send_modify(|current| {
            current.header = Some(header);
            current.generation += 1;
            current.suspect = false;
        });
    }

    /// Waits until the token is suspected, once a suspicion.
    pub(super) async fn suspected(&self) {
        // The sender lives as long as this holder.
        drop(self.0.subscribe().wait_for(|current| current.suspect).await.map(drop));
        self.0.send_modify(|current| current.suspect = false);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    fn header(text: &'static str) -> HeaderValue {
        HeaderValue::from_static(text)
    }

    /// A kept token, and a keeper that publishes `fresh` at every suspicion; tells how often that was.
    fn kept(fresh: &'static str) -> (DeviceToken, Arc<AtomicU32>) {
        let token = DeviceToken::fixed(None);
        token.keep();
        token.publish(header("old"));
        let refreshes = Arc::new(AtomicU32::new(0));
        let (keeper, count) = (token.clone(), refreshes.clone());
        tokio::spawn(async move {
            loop {
                keeper.suspected().await;
                count.fetch_add(1, Ordering::Relaxed);
                keeper.publish(header(fresh));
            }
        });
        (token, refreshes)
    }

    #[tokio::test]
    async fn a_fixed_token_is_never_refreshed() {
        let token = DeviceToken::fixed(Some(header("fixed")));
        assert_eq!(token.newer_than(&token.current()).await, None);
        assert!(!token.is_awaited());
    }

    #[tokio::test]
    async fn a_refusal_seen_by_many_leads_to_one_refresh() {
        let (token, refreshes) = kept("new");
        let refused = token.current();
        let (one, other) = tokio::join!(token.newer_than(&refused), token.newer_than(&refused));
        assert_eq!((one, other), (Some(header("new")), Some(header("new"))));
        assert_eq!(token.newer_than(&refused).await, Some(header("new")), "known without another refresh");
        assert_eq!(refreshes.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn a_token_that_is_not_to_blame_is_left_alone_for_a_while() {
        let (token, refreshes) = kept("new");
        let now = Instant::now();
        token.acquit(now);
        assert_eq!(token.newer_than(&token.current()).await, None);
        assert_eq!(refreshes.load(Ordering::Relaxed), 0);
        token.acquit(now.checked_sub(ACQUITTED).expect("this machine has run for so long"));
        assert_eq!(token.newer_than(&token.current()).await, Some(header("new")));
    }

    #[tokio::test]
    async fn a_token_that_never_was_is_awaited_and_not_refreshed() {
        let token = DeviceToken::fixed(None);
        token.keep();
        assert!(token.is_awaited());
        assert_eq!(token.newer_than(&token.current()).await, None);
        token.publish(header("first"));
        assert!(!token.is_awaited());
    }
}
