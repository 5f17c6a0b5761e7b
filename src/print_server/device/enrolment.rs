//! The way to tokens, one request a step. What a step brought is durable before the next one relies on it.
//!
//! ```text
//! Register (unsigned) -> Redeem -> Refresh -> Refresh ...
//!        Register (signed) ^          | the answer was lost, or it was refused
//!             ^-----------------------'
//! ```
//!
//! A kill between any two steps costs at most a signed registration: a refresh token or a code that was used already is
//! refused at the next start, and the device's key alone brings the trust back, without an administrator.

use std::path::Path;

use super::key::DeviceKey;
use super::oauth::{Oauth, OauthError, Tokens};
use super::store::{Found, Registration, Store};
use super::{DeviceError, DeviceSetup, REGISTRATION_FILE};
use crate::domain::{Cause, Failure, Secret};
use crate::print_server::Client;

/// The key, PKCS#8, in the state directory.
const KEY_FILE: &str = "device.key";

/// What the next step does.
#[derive(Debug)]
enum Stage {
    Register {
        /// As the device that the server may know; otherwise as a new one.
        signed: bool,
    },
    Redeem(Secret),
    Refresh(Secret),
    /// The server gave them, and the disk has not taken them.
    Keep(Tokens),
}

/// What a step brought.
#[derive(Debug)]
pub enum Step {
    /// The server took the registration.
    Registered,
    /// An administrator has not approved the device yet.
    Waiting,
    /// What was known is of no use any more, and the next step begins anew.
    Again,
    /// New tokens, durable.
    Trusted(Grant),
}

/// An access token that may be used.
#[derive(Debug)]
pub struct Grant {
    pub(super) access: Secret,
    /// Its life, in seconds.
    pub(super) expires_in: u64,
}

/// A device on its way to tokens, and then to the next ones.
#[derive(Debug)]
pub struct Enrolment {
    oauth: Oauth,
    store: Store,
    stage: Stage,
    /// The last access token: good for its time, also while a new pair is on its way.
    access: Option<Secret>,
}

impl Enrolment {
    /// Reads what is known, or makes the key. Asks nobody.
    ///
    /// # Errors
    /// The state directory cannot be used, or the key in it is damaged.
    pub fn open(client: Client, setup: &DeviceSetup) -> Result<Self, DeviceError> {
        let place = |name| Path::new(&setup.state_dir).join(name);
        let (key, made) = DeviceKey::load_or_make(&place(KEY_FILE))?;
        let store = Store::new(place(REGISTRATION_FILE), &setup.client_id, &client.settings.api_key);
        let (stage, access) = match store.load()? {
            // Nobody can know a key that has just been made, and nobody is asked to under another API key.
            _ if made => (Stage::Register { signed: false }, None),
            Found::Another => (Stage::Register { signed: false }, None),
            Found::Nothing => (Stage::Register { signed: true }, None),
            Found::Own(Registration { code, access, refresh }) => (Stage::after(code, refresh), access),
        };
        Ok(Self { oauth: Oauth { client, key, client_id: setup.client_id.clone() }, store, stage, access })
    }

    /// The last access token that is known. It may have expired.
    pub(super) fn access(&self) -> Option<&Secret> {
        self.access.as_ref()
    }

    /// Whether the server has taken a registration, as far as is known.
    pub fn is_registered(&self) -> bool {
        !matches!(self.stage, Stage::Register { .. })
    }

    /// The next request. A caller paces the steps ([`Pace`](super::Pace)).
    ///
    /// # Errors
    /// It can be repeated after all of them.
    pub async fn step(&mut self) -> Result<Step, DeviceError> {
        match std::mem::replace(&mut self.stage, Stage::Register { signed: true }) {
            Stage::Register { signed } => self.register(signed).await,
            Stage::Redeem(code) => self.redeem(code).await,
            Stage::Refresh(refresh) => self.refresh(refresh).await,
            Stage::Keep(tokens) => self.keep(tokens).await,
        }
    }

    async fn register(&mut self, signed: bool) -> Result<Step, DeviceError> {
        match self.oauth.register(signed).await {
            Ok(code) => {
                let registration =
                    Registration { code: Some(code.clone()), access: self.access.clone(), refresh: None };
                self.store.save(registration).await?;
                self.stage = Stage::Redeem(code);
                Ok(Step::Registered)
            }
            // The server does not know this device, so nothing is lost by a registration as a new one.
            Err(OauthError::Denied(word)) if signed && does_not_know_us(&word) => {
                self.stage = Stage::Register { signed: false };
                Ok(Step::Again)
            }
            Err(OauthError::Denied(word)) => Err(DeviceError::Refused(word)),
            Err(OauthError::Pending) => Err(DeviceError::Refused("authorization_pending".to_owned())),
            Err(OauthError::Failed(failure)) => {
                // Nothing was sent: nobody knows this device better than before.
                self.stage = Stage::Register { signed: signed || is_lost(&failure) };
                Err(DeviceError::Server(failure))
            }
        }
    }

    async fn redeem(&mut self, code: Secret) -> Result<Step, DeviceError> {
        match self.oauth.redeem(&code).await {
            Ok(tokens) => self.keep(tokens).await,
            Err(OauthError::Pending) => {
                self.stage = Stage::Redeem(code);
                Ok(Step::Waiting)
            }
            Err(OauthError::Denied(word)) if word == "access_denied" => Err(DeviceError::Refused(word)),
            // Used, expired or unknown: the stage is a signed registration already.
            Err(OauthError::Denied(_)) => Ok(Step::Again),
            Err(OauthError::Failed(failure)) => {
                self.stage = Stage::Redeem(code);
                Err(DeviceError::Server(failure))
            }
        }
    }

    async fn refresh(&mut self, refresh: Secret) -> Result<Step, DeviceError> {
        match self.oauth.refresh(&refresh).await {
            Ok(tokens) => self.keep(tokens).await,
            Err(OauthError::Failed(failure)) if !is_lost(&failure) => {
                self.stage = Stage::Refresh(refresh);
                Err(DeviceError::Server(failure))
            }
            // Refused, or the answer was lost: then it counts as spent (T5).
            Err(_) => Ok(Step::Again),
        }
    }

    /// Nothing is used before it is durable; until then the disk holds what was before.
    async fn keep(&mut self, tokens: Tokens) -> Result<Step, DeviceError> {
        let (access, refresh) = (tokens.access.clone(), tokens.refresh.clone());
        let registration = Registration { code: None, access: Some(access.clone()), refresh: refresh.clone() };
        if let Err(error) = self.store.save(registration).await {
            self.stage = Stage::Keep(tokens);
            return Err(error);
        }
        self.stage = Stage::after(None, refresh);
        self.access = Some(access.clone());
        Ok(Step::Trusted(Grant { access, expires_in: tokens.expires_in }))
    }
}

impl Stage {
    fn after(code: Option<Secret>, refresh: Option<Secret>) -> Self {
        match (code, refresh) {
            (Some(code), _) => Self::Redeem(code),
            (None, Some(refresh)) => Self::Refresh(refresh),
            (None, None) => Self::Register { signed: true },
        }
    }
}

/// Whether the server may have worked on a request that brought nothing.
fn is_lost(failure: &Failure) -> bool {
    !matches!(failure.cause, Cause::Unreachable | Cause::Overloaded { .. } | Cause::NotFound)
}

/// The words that speak of who asks (RFC 6749, section 5.2). Which one a server uses for a device that it does not know
/// is not documented; any other word is no reason to give up the trust that a new registration would cost.
fn does_not_know_us(word: &str) -> bool {
    ["invalid_client", "invalid_grant", "invalid_request", "unauthorized_client", "access_denied"].contains(&word)
}
