//! The way to tokens, one request a step. The result of a step is durable before the next one relies on it.
//!
//! ```text
//! Register (unsigned) -> Redeem -> Refresh -> Refresh ...
//!        Register (signed) ^          | the answer was lost, or it was refused
//!             ^-----------------------'
//! ```
//!
//! A kill between any two steps costs at most a signed registration: a refresh token or a code that was used already is
//! refused at the next start, and the device's key alone brings the trust back, without an administrator
//! (docs/print-server-api.md, "Device registration").

use std::path::Path;

use super::key::DeviceKey;
use super::oauth::{DeviceTokenPair, Oauth, OauthError};
use super::store::{Registration, RegistrationStore};
use super::{DeviceError, DeviceSetup, REGISTRATION_FILE};
use crate::domain::{Cause, Failure, Secret};
use crate::print_server::Client;
use crate::token_store::StoredTokens;

/// The key, PKCS#8, in the state directory.
const KEY_FILE: &str = "device.key";

/// The request that the next step sends.
#[derive(Debug)]
enum EnrolmentStage {
    Register {
        /// True as the device that the server may know, false as a new one.
        signed: bool,
    },
    Redeem(Secret),
    Refresh(Secret),
    /// The server gave these tokens, and the disk has not taken them yet.
    Keep(DeviceTokenPair),
}

/// The outcome of one step.
#[derive(Debug)]
pub enum EnrolmentStep {
    /// The server took the registration.
    Registered,
    /// An administrator has not approved the device yet.
    Waiting,
    /// The known code or token is of no use any more; the next step registers again.
    Again,
    /// New tokens, durable.
    Trusted(Grant),
}

/// An access token that may be used.
#[derive(Debug)]
pub struct Grant {
    pub(super) access: Secret,
    /// Its lifetime in seconds.
    pub(super) expires_in: u64,
}

/// A device on its way to tokens, and then to the next ones.
#[derive(Debug)]
pub struct Enrolment {
    oauth: Oauth,
    store: RegistrationStore,
    stage: EnrolmentStage,
    /// The last access token. It stays good until it expires, also while a new pair is on its way.
    access: Option<Secret>,
}

impl Enrolment {
    /// Reads the key and the registration from the disk, or makes the key. It sends no request.
    ///
    /// # Errors
    /// The state directory cannot be used, or the key in it is damaged.
    pub fn open(client: Client, setup: &DeviceSetup) -> Result<Self, DeviceError> {
        let place = |name| Path::new(&setup.state_dir).join(name);
        let (key, made) = DeviceKey::load_or_make(&place(KEY_FILE))?;
        let store = RegistrationStore::new(place(REGISTRATION_FILE), &setup.client_id, &client.settings.api_key);
        let (stage, access) = match store.load()? {
            // No server can know a key that was just made, and under another API key the box is a new device.
            _ if made => (EnrolmentStage::Register { signed: false }, None),
            StoredTokens::Another => (EnrolmentStage::Register { signed: false }, None),
            StoredTokens::Nothing => (EnrolmentStage::Register { signed: true }, None),
            StoredTokens::Own(Registration { code, access, refresh }) => (EnrolmentStage::after(code, refresh), access),
        };
        Ok(Self { oauth: Oauth { client, key, client_id: setup.client_id.clone() }, store, stage, access })
    }

    /// The last access token that is known. It may have expired.
    pub(super) fn access(&self) -> Option<&Secret> {
        self.access.as_ref()
    }

    /// Whether the server has taken a registration, as far as is known.
    pub fn is_registered(&self) -> bool {
        !matches!(self.stage, EnrolmentStage::Register { .. })
    }

    /// The next request. A caller paces the steps ([`Pace`](super::Pace)).
    ///
    /// # Errors
    /// It can be repeated after all of them.
    pub async fn step(&mut self) -> Result<EnrolmentStep, DeviceError> {
        match std::mem::replace(&mut self.stage, EnrolmentStage::Register { signed: true }) {
            EnrolmentStage::Register { signed } => self.register(signed).await,
            EnrolmentStage::Redeem(code) => self.redeem(code).await,
            EnrolmentStage::Refresh(refresh) => self.refresh(refresh).await,
            EnrolmentStage::Keep(tokens) => self.keep(tokens).await,
        }
    }

    async fn register(&mut self, signed: bool) -> Result<EnrolmentStep, DeviceError> {
        match self.oauth.register(signed).await {
            Ok(code) => {
                let registration =
                    Registration { code: Some(code.clone()), access: self.access.clone(), refresh: None };
                self.store.save(registration).await?;
                self.stage = EnrolmentStage::Redeem(code);
                Ok(EnrolmentStep::Registered)
            }
            // The server does not know this device, so nothing is lost by a registration as a new one.
            Err(OauthError::Denied(word)) if signed && means_unknown_device(&word) => {
                self.stage = EnrolmentStage::Register { signed: false };
                Ok(EnrolmentStep::Again)
            }
            Err(OauthError::Denied(word)) => Err(DeviceError::Refused(word)),
            Err(OauthError::Pending) => Err(DeviceError::Refused("authorization_pending".to_owned())),
            Err(OauthError::Failed(failure)) => {
                // The next attempt is signed if this one may have reached the server.
                self.stage = EnrolmentStage::Register { signed: signed || is_lost(&failure) };
                Err(DeviceError::Server(failure))
            }
        }
    }

    async fn redeem(&mut self, code: Secret) -> Result<EnrolmentStep, DeviceError> {
        match self.oauth.redeem(&code).await {
            Ok(tokens) => self.keep(tokens).await,
            Err(OauthError::Pending) => {
                self.stage = EnrolmentStage::Redeem(code);
                Ok(EnrolmentStep::Waiting)
            }
            Err(OauthError::Denied(word)) if word == "access_denied" => Err(DeviceError::Refused(word)),
            // The code is used, expired or unknown: the stage is a signed registration already.
            Err(OauthError::Denied(_)) => Ok(EnrolmentStep::Again),
            Err(OauthError::Failed(failure)) => {
                self.stage = EnrolmentStage::Redeem(code);
                Err(DeviceError::Server(failure))
            }
        }
    }

    async fn refresh(&mut self, refresh: Secret) -> Result<EnrolmentStep, DeviceError> {
        match self.oauth.refresh(&refresh).await {
            Ok(tokens) => self.keep(tokens).await,
            Err(OauthError::Failed(failure)) if !is_lost(&failure) => {
                self.stage = EnrolmentStage::Refresh(refresh);
                Err(DeviceError::Server(failure))
            }
            // Refused, or the answer was lost: then the refresh token counts as spent.
            Err(_) => Ok(EnrolmentStep::Again),
        }
    }

    /// Tokens are used only when they are durable; until then the disk holds the ones before.
    async fn keep(&mut self, tokens: DeviceTokenPair) -> Result<EnrolmentStep, DeviceError> {
        let (access, refresh) = (tokens.access.clone(), tokens.refresh.clone());
        let registration = Registration { code: None, access: Some(access.clone()), refresh: refresh.clone() };
        if let Err(error) = self.store.save(registration).await {
            self.stage = EnrolmentStage::Keep(tokens);
            return Err(error);
        }
        self.stage = EnrolmentStage::after(None, refresh);
        self.access = Some(access.clone());
        Ok(EnrolmentStep::Trusted(Grant { access, expires_in: tokens.expires_in }))
    }
}

impl EnrolmentStage {
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

/// True for the words that speak of who asks (RFC 6749, section 5.2). The vendor does not document the one for an unknown
/// device. Any other word is no reason to give up the approval that a new registration would cost.
fn means_unknown_device(word: &str) -> bool {
    ["invalid_client", "invalid_grant", "invalid_request", "unauthorized_client", "access_denied"].contains(&word)
}
