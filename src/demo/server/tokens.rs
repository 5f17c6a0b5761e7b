//! User and device tokens. A refresh token is good once; an access token until its time.

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::random;

/// The most pairs; then the oldest one of a user goes.
const MAX_PAIRS: usize = 1_000;

/// The user or device that a token was given to.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum TokenHolder {
    /// A person who logged in, bound to the API key of the login.
    User { name: String, key: String },
    /// A trusted device.
    Device { client_id: String },
}

/// `TokenInfo`: snake case, while all else is camel case.
#[derive(Serialize)]
pub(super) struct TokenReply {
    pub(super) access_token: String,
    refresh_token: String,
    expires_in: i64,
}

struct TokenPair {
    access: String,
    refresh: Option<String>,
    holder: TokenHolder,
    access_until: Timestamp,
    refresh_until: Timestamp,
}

/// The tokens that the server gave out.
pub struct Tokens {
    /// The lifetime of an access token, typically an hour.
    pub access_lifetime: SignedDuration,
    /// The lifetime of a refresh token, usually three months.
    pub refresh_lifetime: SignedDuration,
    pairs: Vec<TokenPair>,
}

impl Default for Tokens {
    fn default() -> Tokens {
        Tokens {
            access_lifetime: SignedDuration::from_hours(1),
            refresh_lifetime: SignedDuration::from_hours(90 * 24),
            pairs: Vec::new(),
        }
    }
}

impl Tokens {
    pub(super) fn issue(&mut self, holder: TokenHolder, now: Timestamp) -> TokenReply {
        if self.pairs.len() == MAX_PAIRS {
            let of_a_user = |pair: &TokenPair| matches!(pair.holder, TokenHolder::User { .. });
            self.pairs.remove(self.pairs.iter().position(of_a_user).unwrap_or(0));
        }
        let (access, refresh) = (random::token(), random::token());
        self.pairs.push(TokenPair {
            access: access.clone(),
            refresh: Some(refresh.clone()),
            holder,
            access_until: now.checked_add(self.access_lifetime).unwrap_or(Timestamp::MAX),
            refresh_until: now.checked_add(self.refresh_lifetime).unwrap_or(Timestamp::MAX),
        });
        TokenReply { access_token: access, refresh_token: refresh, expires_in: self.access_lifetime.as_secs() }
    }

    /// The holder of this access token; `None` if it is unknown or has expired.
    pub(super) fn holder(&self, access: &str, now: Timestamp) -> Option<&TokenHolder> {
        let live = |pair: &&TokenPair| pair.access == access && now < pair.access_until;
        self.pairs.iter().find(live).map(|pair| &pair.holder)
    }

    /// Whether this is an access token whose time is over.
    pub(super) fn has_expired(&self, access: &str, now: Timestamp) -> bool {
        self.pairs.iter().any(|pair| pair.access == access && pair.access_until <= now)
    }

    /// Uses a refresh token up and gives a new pair for it, if its holder is the right one.
    pub(super) fn refresh(
        &mut self,
        refresh: &str,
        now: Timestamp,
        right: impl Fn(&TokenHolder) -> bool,
    ) -> Option<TokenReply> {
        let usable = |pair: &&mut TokenPair| {
            pair.refresh.as_deref() == Some(refresh) && now < pair.refresh_until && right(&pair.holder)
        };
        let pair = self.pairs.iter_mut().find(usable)?;
        pair.refresh = None;
        let holder = pair.holder.clone();
        Some(self.issue(holder, now))
    }

    /// Every token that was given out and can still be named, to look for it where it must not be.
    pub fn issued(&self) -> impl Iterator<Item = &str> {
        self.pairs.iter().flat_map(|pair| [Some(pair.access.as_str()), pair.refresh.as_deref()]).flatten()
    }

    /// Expires one access token; its refresh token stays good.
    pub(super) fn expire(&mut self, access: &str) {
        self.expire_if(|pair| pair.access == access);
    }

    /// Expires the access tokens of all users; their refresh tokens stay good.
    pub fn expire_users(&mut self) {
        self.expire_if(|pair| matches!(pair.holder, TokenHolder::User { .. }));
    }

    /// Expires the access tokens of all devices; their refresh tokens stay good.
    pub fn expire_devices(&mut self) {
        self.expire_if(|pair| matches!(pair.holder, TokenHolder::Device { .. }));
    }

    /// Expires everything of all users: they have to log in again.
    pub fn end_logins(&mut self) {
        self.expire_users();
        self.pairs
            .iter_mut()
            .filter(|pair| matches!(pair.holder, TokenHolder::User { .. }))
            .for_each(|pair| pair.refresh = None);
    }

    fn expire_if(&mut self, chosen: impl Fn(&TokenPair) -> bool) {
        for pair in self.pairs.iter_mut().filter(|pair| chosen(pair)) {
            pair.access_until = Timestamp::MIN;
        }
    }
}
