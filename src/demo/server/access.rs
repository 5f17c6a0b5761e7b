//! The rules of access: API keys, tokens, permissions (docs/print-server-api.md, "User and device tokens").
//!
//! Every call but the login needs a user token, unless the key allows unauthenticated requests; without it the answer is
//! 403. A user token is good only with the API key of its login.

use super::ask::{Ask, Refusal};
use super::tokens::TokenHolder;
use super::world::{ServerUser, World};

/// An API key and its options in the account's settings.
#[derive(Clone)]
pub struct ApiKey {
    /// The value of `X-Api-Key`.
    pub secret: String,
    /// "Allow unauthenticated requests": no user token is needed. Such a key is insecure: it cannot list, release or download.
    pub allow_unauthenticated: bool,
    /// "Allow untrusted endpoints": no device token is needed.
    pub allow_untrusted_endpoints: bool,
    /// Advanced API permission `ViewReport`: the history may be read.
    pub history_allowed: bool,
    /// "Automatic endpoint trust": a device that registers is approved at once.
    pub automatic_trust: bool,
    /// Its expiry date is over.
    pub expired: bool,
    /// Its list of allowed addresses has not the client's.
    pub address_refused: bool,
}

impl ApiKey {
    /// A key with all options off.
    pub fn strict(secret: &str) -> ApiKey {
        ApiKey {
            secret: secret.into(),
            allow_unauthenticated: false,
            allow_untrusted_endpoints: false,
            history_allowed: false,
            automatic_trust: false,
            expired: false,
            address_refused: false,
        }
    }
}

/// The permissions that the vendor names for the calls of this server.
#[expect(missing_docs, reason = "the vendor gives names only")]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Permission {
    ViewAccount,
    ViewJob,
    ReleaseJob,
    DeleteJob,
    ViewReport,
    ViewOutputPort,
    ViewUser,
    ModifyUser,
    CardManagement,
}

impl Permission {
    /// Every permission.
    pub const ALL: [Permission; 9] = [
        Permission::ViewAccount,
        Permission::ViewJob,
        Permission::ReleaseJob,
        Permission::DeleteJob,
        Permission::ViewReport,
        Permission::ViewOutputPort,
        Permission::ViewUser,
        Permission::ModifyUser,
        Permission::CardManagement,
    ];
}

impl World {
    /// The key of this request.
    pub(super) fn key(&self, ask: &Ask) -> Result<&ApiKey, Refusal> {
        let secret = ask.header("x-api-key").ok_or_else(|| Refusal::forbidden("X-Api-Key is missing"))?;
        match self.key_of(secret) {
            None => Err(Refusal::forbidden("X-Api-Key is not known")),
            Some(key) if key.expired => Err(Refusal::forbidden("the API key has expired")),
            Some(key) if key.address_refused => Err(Refusal::forbidden("the API key is not for this IP address")),
            Some(key) => Ok(key),
        }
    }

    pub(super) fn key_of(&self, secret: &str) -> Option<&ApiKey> {
        self.keys.iter().find(|key| key.secret == secret)
    }

    /// The user of this request, who must have these permissions.
    pub(super) fn user_of(&self, ask: &Ask, needs: &[Permission]) -> Result<&ServerUser, Refusal> {
        let key = self.key(ask)?;
        let token = ask.bearer().ok_or_else(|| Refusal::forbidden("a user token is required"))?;
        let name = match self.tokens.holder(token, self.now()) {
            Some(TokenHolder::User { name, key: bound }) if *bound == key.secret => name,
            Some(TokenHolder::User { .. }) => {
                return Err(Refusal::forbidden("the user token belongs to another API key"));
            }
            Some(TokenHolder::Device { .. }) => return Err(Refusal::forbidden("a device token is no user token")),
            None => return Err(Refusal::forbidden("the user token is unknown or expired")),
        };
        let user = self.user(name).ok_or_else(|| Refusal::forbidden("the user is gone"))?;
        match needs.iter().find(|permission| !user.permissions.contains(permission)) {
            None => Ok(user),
            Some(missing) => Err(Refusal::forbidden(format!("the user lacks the permission {missing:?}"))),
        }
    }

    /// The user of a request that an insecure key must not make; to list, release and download.
    pub(super) fn secure_user_of(&self, ask: &Ask, needs: &[Permission]) -> Result<&ServerUser, Refusal> {
        if self.key(ask)?.allow_unauthenticated {
            return Err(Refusal::forbidden("an insecure API key is not allowed for this request"));
        }
        self.user_of(ask, needs)
    }

    /// Refuses a request without a user token, unless its key allows that.
    pub(super) fn authenticated(&self, ask: &Ask, needs: &[Permission]) -> Result<(), Refusal> {
        if self.key(ask)?.allow_unauthenticated && ask.bearer().is_none() {
            return Ok(());
        }
        self.user_of(ask, needs).map(drop)
    }

    /// Refuses a request without a device token, unless its key allows that.
    pub(super) fn trusted(&self, ask: &Ask) -> Result<(), Refusal> {
        let key = self.key(ask)?;
        match ask.bearer().map(|token| self.tokens.holder(token, self.now())) {
            None if key.allow_untrusted_endpoints => Ok(()),
            None => Err(Refusal::forbidden("a device token is required")),
            Some(Some(TokenHolder::Device { .. })) => Ok(()),
            Some(_) if self.tokens.has_expired(ask.bearer().unwrap_or_default(), self.now()) => {
                Err(Refusal::forbidden("the device token has expired"))
            }
            Some(_) => Err(Refusal::forbidden("the bearer is no token of a trusted device")),
        }
    }
}
