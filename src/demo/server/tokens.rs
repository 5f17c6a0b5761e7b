//! User and device tokens. A refresh token is good once; an access token until its time.

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::random;

/// At most so many pairs; then the oldest user's goes.
const MAX_PAIRS: usize = 1_000;

/// Who a token speaks for.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Holder {
    /// A person who logged in; bound to the API key of the login (001, API key permissions).
    User { name: String, key: String },
    /// A trusted device.
    Device { client_id: String },
}

/// `TokenInfo`: snake case, while all else is camel case.
#[derive(Serialize)]
pub(super) struct TokenInfo {
    pub(super) access_token: String,
    refresh_token: String,
    expires_in: i64,
}

struct Pair {
    access: String,
    refresh: Option<String>,
    holder: Holder,
    access_until: Timestamp,
    refresh_until: Timestamp,
}

/// The tokens that the server gave out.
pub struct Tokens {
    /// How long an access token lives; "typically one hour".
    pub access_lifetime: SignedDuration,
    /// How long a refresh token lives; "usually 3 months".
    pub refresh_lifetime: SignedDuration,
    pairs: Vec<Pair>,
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
    pub(super) fn issue(&mut self, holder: Holder, now: Timestamp) -> TokenInfo {
        if self.pairs.len() == MAX_PAIRS {
            let of_a_user = |pair: &Pair| matches!(pair.holder, Holder::User { .. });
            self.pairs.remove(self.pairs.iter().position(of_a_user).unwrap_or(0));
        }
        let (access, refresh) = (random::token(), random::token());
        self.pairs.push(Pair {
            access: access.clone(),
            refresh: Some(refresh.clone()),
            holder,
            access_until: now.checked_add(self.access_lifetime).unwrap_or(Timestamp::MAX),
            refresh_until: now.checked_add(self.refresh_lifetime).unwrap_or(Timestamp::MAX),
        });
        TokenInfo { access_token: access, refresh_token: refresh, expires_in: self.access_lifetime.as_secs() }
    }

    /// Who presents this access token; `None` if it is unknown or its time is over.
    pub(super) fn holder(&self, access: &str, now: Timestamp) -> Option<&Holder> {
        let live = |pair: &&Pair| pair.access == access && now < pair.access_until;
        self.pairs.iter().find(live).map(|pair| &pair.holder)
    }

    /// Takes a refresh token out of the world and gives a new pair for it, if its holder is the right one.
    pub(super) fn refresh(
        &mut self,
        refresh: &str,
        now: Timestamp,
        right: impl Fn(&Holder) -> bool,
    ) -> Option<TokenInfo> {
        let usable = |pair: &&mut Pair| {
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

    /// Ends the time of one access token; its refresh token stays good.
    pub(super) fn expire(&mut self, access: &str) {
        self.expire_if(|pair| pair.access == access);
    }

    /// Ends the time of all users' access tokens; their refresh tokens stay good.
    pub fn expire_users(&mut self) {
        self.expire_if(|pair| matches!(pair.holder, Holder::User { .. }));
    }

    /// Ends the time of all devices' access tokens; their refresh tokens stay good.
    pub fn expire_devices(&mut self) {
        self.expire_if(|pair| matches!(pair.holder, Holder::Device { .. }));
    }

    fn expire_if(&mut self, chosen: impl Fn(&Pair) -> bool) {
        for pair in self.pairs.iter_mut().filter(|pair| chosen(pair)) {
            pair.access_until = Timestamp::MIN;
        }
    }
}
