//! The device token that requests carry. One holder serves the whole client, because the token may change while it runs.
//!
//! A request that was refused asks the holder for a newer token. If somebody keeps the token fresh
//! ([`Keeper`](super::Keeper)), that leads to one refresh, however many ask. The server's answer does not tell an expired
//! token from an unknown card (docs/print-server-api.md, "Log in"); so when a fresh token is refused as well, refusals
//! lead to no refresh for [`REFRESH_PAUSE`].

use std::time::{Duration, Instant};

use reqwest::header::HeaderValue;
use tokio::sync::watch;

/// The longest wait of a request for a newer token. A person stands there.
const PATIENCE: Duration = Duration::from_secs(5);

/// For so long refusals lead to no refresh after one that did not help: unknown cards must not refresh at every tap.
const REFRESH_PAUSE: Duration = Duration::from_secs(600);

/// The token of this moment.
#[derive(Clone, Debug, Default)]
pub(in crate::print_server) struct CurrentToken {
    /// The bearer, if there is one.
    pub(in crate::print_server) header: Option<HeaderValue>,
    generation: u64,
    /// A [`Keeper`](super::Keeper) refreshes the token.
    is_kept: bool,
    /// The token was refused, and its keeper has not begun a refresh yet.
    refresh_requested: bool,
    /// The time at which a fresh token was refused as well.
    paused_since: Option<Instant>,
}

/// The holder. Clones share the token.
#[derive(Clone, Debug)]
pub(in crate::print_server) struct DeviceToken(watch::Sender<CurrentToken>);

impl DeviceToken {
    /// A token that never changes, or none.
    pub(in crate::print_server) fn fixed(header: Option<HeaderValue>) -> Self {
        Self(watch::Sender::new(CurrentToken { header, ..CurrentToken::default() }))
    }

    /// The token to send.
    pub(in crate::print_server) fn current(&self) -> CurrentToken {
        self.0.borrow().clone()
    }

    /// Whether the first token is still to come from a keeper.
    pub(in crate::print_server) fn is_awaited(&self) -> bool {
        let current = self.0.borrow();
        current.is_kept && current.header.is_none()
    }

    /// A token that is newer than one that was refused, if there is one or comes soon.
    pub(in crate::print_server) async fn newer_than(&self, refused: &CurrentToken) -> Option<HeaderValue> {
        let is_newer = |current: &CurrentToken| current.generation != refused.generation;
        let worth_a_refresh = self.0.send_if_modified(|current| {
            let is_paused = current.paused_since.is_some_and(|since| since.elapsed() < REFRESH_PAUSE);
            let worth = !is_newer(current) && current.is_kept && current.header.is_some() && !is_paused;
            current.refresh_requested |= worth;
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

    /// The fresh token was refused too, so the token is not the cause; stop refreshing for a while.
    pub(in crate::print_server) fn pause_refreshes(&self, now: Instant) {
        self.0.send_modify(|current| current.paused_since = Some(now));
    }

    /// From now on a [`Keeper`](super::Keeper) refreshes it.
    pub(super) fn keep(&self) {
        self.0.send_modify(|current| current.is_kept = true);
    }

    /// Puts a newer token in its place.
    pub(super) fn publish(&self, header: HeaderValue) {
        self.0.send_modify(|current| {
            current.header = Some(header);
            current.generation += 1;
            current.refresh_requested = false;
        });
    }

    /// Waits until a refused request wants a newer token, once a request.
    pub(super) async fn refresh_requested(&self) {
        // The sender lives as long as this holder.
        drop(self.0.subscribe().wait_for(|current| current.refresh_requested).await.map(drop));
        self.0.send_modify(|current| current.refresh_requested = false);
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

    /// A kept token, and a keeper that publishes `fresh` at every request for a refresh; the count of these requests.
    fn kept(fresh: &'static str) -> (DeviceToken, Arc<AtomicU32>) {
        let token = DeviceToken::fixed(None);
        token.keep();
        token.publish(header("old"));
        let refreshes = Arc::new(AtomicU32::new(0));
        let (keeper, count) = (token.clone(), refreshes.clone());
        tokio::spawn(async move {
            loop {
                keeper.refresh_requested().await;
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
        token.pause_refreshes(now);
        assert_eq!(token.newer_than(&token.current()).await, None);
        assert_eq!(refreshes.load(Ordering::Relaxed), 0);
        token.pause_refreshes(now.checked_sub(REFRESH_PAUSE).expect("this machine has run for so long"));
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
