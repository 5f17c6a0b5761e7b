//! This box as a trusted device: one key for ever, a registration, and a token that is always fresh.
//!
//! Invariants:
//! 1. **One key.** It is made once and never leaves the state directory. Every request but a first registration is signed
//!    with it.
//! 2. **Durable before used.** New tokens are on the platter before the old ones are forgotten and before they are sent.
//! 3. **One at a time.** Only the [`Keeper`]'s task asks for tokens.
//! 4. **Lost is spent.** A refresh token whose answer did not come is not used again by the process that sent it; a signed
//!    registration brings new ones, without an administrator.
//! 5. **Bound.** The stored registration belongs to one API key and client id; under another key the box is a new device.
//!
//! The age of a stored token is unknown at a start, because the clock may be anything: it is used at once, and refreshed.
//! This module does not keep users' tokens, which live in memory for one tap ([`Session`](super::Session)).

mod enrolment;
mod key;
mod oauth;
mod store;
mod token;

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::watch;

use super::{Client, transport};
use crate::backoff::Backoff;
use crate::domain::{Cause, Failure};
use crate::random;
use crate::token_store::StoredTokens;
pub use enrolment::{Enrolment, EnrolmentStep, Grant};
use store::{Registration, RegistrationStore};
pub(super) use token::DeviceToken;

/// The wait between two questions whether an administrator has approved. The API names no interval (docs/print-server-api.md,
/// "Device registration"): soon at first, because somebody may be doing it now, then once a minute at most.
const POLL: Backoff = match Backoff::new(Duration::from_secs(2), Duration::from_secs(60)) {
    Ok(backoff) => backoff,
    Err(_) => panic!("checked when compiled"),
};

/// The wait after a request that failed.
const RETRY: Backoff = match Backoff::new(Duration::from_millis(250), Duration::from_secs(60)) {
    Ok(backoff) => backoff,
    Err(_) => panic!("checked when compiled"),
};

/// The wait after a refusal that only an administrator can change.
const REFUSED_RETRY: Duration = Duration::from_secs(600);

/// The registration and its tokens, in the state directory.
const REGISTRATION_FILE: &str = "device.json";

/// A token is refreshed after this part of its lifetime.
const REFRESH_PERCENT: u64 = 80;

/// The bounds, in seconds, of the lifetime that a server gives: none can make this box ask all the time, or never.
const LIFE_S: std::ops::RangeInclusive<u64> = 1..=30 * 24 * 3600;

/// The device's name, and the directory that remembers its identity.
#[derive(Clone, Debug)]
pub struct DeviceSetup {
    /// Its name at the server.
    pub client_id: String,
    /// The directory of key and tokens.
    pub state_dir: PathBuf,
}

/// Why a step towards tokens failed.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// A file in the state directory cannot be read or written.
    #[error("keep the identity of this device in {path}: {detail}")]
    Disk {
        /// The file.
        path: String,
        /// The system's message.
        detail: String,
    },
    /// The file of the key is damaged.
    #[error("use the key of this device, {path}: it is damaged; delete it to register as a new device")]
    Key {
        /// The file.
        path: String,
    },
    /// The token service gave no answer, or one that cannot be read.
    #[error("ask the token service: {0}")]
    Server(Failure),
    /// It refused this device.
    #[error("become a trusted device: the server said {0}; see its list of devices, and api_key and client_id here")]
    Refused(String),
}

impl DeviceError {
    fn disk(path: &Path, error: &std::io::Error) -> Self {
        Self::Disk { path: path.display().to_string(), detail: error.to_string() }
    }
}

/// The progress of a device towards trust.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The server has not answered the registration yet.
    Registering,
    /// An administrator has to approve it.
    WaitingForApproval,
    /// It has tokens.
    Trusted,
    /// The server refused it.
    Refused,
}

impl Standing {
    /// The word in the status.
    pub fn word(self) -> &'static str {
        match self {
            Self::Registering => "registering",
            Self::WaitingForApproval => "waiting-for-approval",
            Self::Trusted => "trusted",
            Self::Refused => "refused",
        }
    }

    /// The standing after a step. A failure that may pass by itself changes nothing.
    fn after(self, result: &Result<EnrolmentStep, DeviceError>) -> Self {
        match result {
            Ok(EnrolmentStep::Trusted(_)) => Self::Trusted,
            Ok(EnrolmentStep::Waiting) => Self::WaitingForApproval,
            Err(DeviceError::Refused(_)) => Self::Refused,
            Ok(EnrolmentStep::Registered | EnrolmentStep::Again) | Err(_) => self,
        }
    }
}

/// The standing of this device as the state directory remembers it. It sends no request and changes nothing.
///
/// # Errors
/// The state directory cannot be read.
pub fn remembered(client: &Client, setup: &DeviceSetup) -> Result<Standing, DeviceError> {
    let store =
        RegistrationStore::new(setup.state_dir.join(REGISTRATION_FILE), &setup.client_id, &client.settings.api_key);
    Ok(match store.load()? {
        StoredTokens::Own(Registration { access: Some(_), .. }) => Standing::Trusted,
        StoredTokens::Own(Registration { code: Some(_), .. }) => Standing::WaitingForApproval,
        StoredTokens::Own(_) | StoredTokens::Another | StoredTokens::Nothing => Standing::Registering,
    })
}

/// Gives the client the token that the state directory remembers, which a running agent keeps fresh there. Returns whether it
/// is another one than the client had. It sends no request and changes nothing on the disk.
///
/// # Errors
/// The state directory cannot be read.
pub fn borrow_token(client: &Client, setup: &DeviceSetup) -> Result<bool, DeviceError> {
    let store =
        RegistrationStore::new(setup.state_dir.join(REGISTRATION_FILE), &setup.client_id, &client.settings.api_key);
    let StoredTokens::Own(Registration { access: Some(access), .. }) = store.load()? else {
        return Ok(false);
    };
    let Ok(header) = transport::bearer(&access) else {
        return Ok(false);
    };
    let is_new = client.device.current().header.as_ref() != Some(&header);
    if is_new {
        client.device.publish(header);
    }
    Ok(is_new)
}

/// The waits between the steps.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    poll: Backoff,
    retry: Backoff,
}

impl Default for Pace {
    fn default() -> Self {
        Self { poll: POLL, retry: RETRY }
    }
}

impl Pace {
    /// The wait after a step. `random` is uniform over all its values.
    pub fn after(&mut self, result: &Result<EnrolmentStep, DeviceError>, random: u64) -> Duration {
        match result {
            Ok(EnrolmentStep::Trusted(grant)) => {
                *self = Self::default();
                let life = grant.expires_in.clamp(*LIFE_S.start(), *LIFE_S.end());
                Duration::from_millis(life * 1000 / 100 * REFRESH_PERCENT)
            }
            Ok(EnrolmentStep::Registered) => Duration::ZERO,
            Ok(EnrolmentStep::Waiting) => {
                self.retry.reset();
                self.poll.next(random)
            }
            Err(DeviceError::Refused(_)) => REFUSED_RETRY,
            Err(DeviceError::Server(Failure { cause: Cause::Overloaded { retry_after: Some(seconds) }, .. })) => {
                self.retry.next(random).max(Duration::from_secs((*seconds).into()))
            }
            Ok(EnrolmentStep::Again) | Err(_) => self.retry.next(random),
        }
    }
}

/// Keeps the client's device token fresh for as long as it runs.
#[derive(Debug)]
pub struct Keeper {
    token: DeviceToken,
    enrolment: Enrolment,
    standing: watch::Sender<Standing>,
    /// Failures in a row; only the first is logged as a warning.
    failures: u32,
}

impl Keeper {
    /// Gives the client the token that is stored, if there is one.
    ///
    /// # Errors
    /// As [`Enrolment::open`].
    pub fn open(client: &Client, setup: &DeviceSetup) -> Result<Self, DeviceError> {
        let enrolment = Enrolment::open(client.clone(), setup)?;
        let token = client.device.clone();
        token.keep();
        let usable = enrolment.access().and_then(|access| transport::bearer(access).ok());
        let standing = match &usable {
            Some(_) => Standing::Trusted,
            None if enrolment.is_registered() => Standing::WaitingForApproval,
            None => Standing::Registering,
        };
        if let Some(header) = usable {
            token.publish(header);
        }
        Ok(Self { token, enrolment, standing: watch::Sender::new(standing), failures: 0 })
    }

    /// The device's standing, and a way to wait for its changes.
    pub fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.subscribe()
    }

    /// Never ends by itself. If it is dropped during a refresh, the next run begins with a registration.
    pub async fn run(mut self) {
        let mut pace = Pace::default();
        loop {
            let result = self.enrolment.step().await;
            let pause = pace.after(&result, random::word());
            self.report(&result);
            if let Ok(EnrolmentStep::Trusted(grant)) = &result {
                self.publish(grant);
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.token.refresh_requested() => tracing::info!("device token refused; asking for a new one"),
            }
        }
    }

    fn publish(&self, grant: &Grant) {
        match transport::bearer(&grant.access) {
            Ok(header) => self.token.publish(header),
            Err(error) => tracing::error!(%error, "the server gave a device token that cannot be sent"),
        }
    }

    /// Logs a step and updates the standing.
    fn report(&mut self, result: &Result<EnrolmentStep, DeviceError>) {
        let before = *self.standing.borrow();
        let standing = before.after(result);
        self.failures = if result.is_err() { self.failures.saturating_add(1) } else { 0 };
        match result {
            Err(error @ (DeviceError::Refused(_) | DeviceError::Disk { .. })) if self.failures == 1 => {
                tracing::error!("failed to {error}");
            }
            Err(error) if self.failures == 1 => tracing::warn!("failed to {error}; trying again"),
            Err(error) => tracing::debug!(failures = self.failures, "failed to {error}; trying again"),
            Ok(EnrolmentStep::Registered) => tracing::info!("device registered"),
            Ok(EnrolmentStep::Again) => tracing::info!("device tokens lost or refused; registering again"),
            Ok(EnrolmentStep::Waiting) if before != standing => {
                tracing::warn!("device waits for approval: an administrator of the print server has to trust it");
            }
            Ok(EnrolmentStep::Waiting) => {}
            Ok(EnrolmentStep::Trusted(_)) if before != standing => tracing::info!("device trusted"),
            Ok(EnrolmentStep::Trusted(_)) => tracing::debug!("device token refreshed"),
        }
        self.standing.send_if_modified(|known| std::mem::replace(known, standing) != standing);
    }
}
