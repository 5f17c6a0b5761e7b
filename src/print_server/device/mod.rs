//! This box as a trusted device: one key for ever, a registration, and a token that is always fresh.
//!
//! Invariants:
//! 1. **One key.** It is made once and never leaves the state directory. Every request but a first registration is signed
//!    with it.
//! 2. **Durable before used.** New tokens are on the platter before the old ones are forgotten and before they are sent.
//! 3. **One at a time.** Only the [`Keeper`]'s task asks for tokens.
//! 4. **Lost is spent.** A refresh token whose answer did not come is not used again by the process that sent it; a signed
//!    registration brings new ones, without an administrator.
//! 5. **Bound.** What is stored belongs to one API key and client id; under another key the box is a new device.
//!
//! At a start nobody knows how old a stored token is, for the clock may be anything: it is used at once, and refreshed.
//! What this module does not do: users' tokens, which live in memory for one tap ([`Session`](super::Session)).

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
pub use enrolment::{Enrolment, Grant, Step};
use store::{Found, Registration, Store};
pub(super) use token::DeviceToken;

/// Between two questions whether an administrator has approved. The server says nothing about it (api-notes, 2.3): soon at
/// first, because somebody may be at it, then once a minute at most.
const POLL: Backoff = match Backoff::new(Duration::from_secs(2), Duration::from_secs(60)) {
    Ok(backoff) => backoff,
    Err(_) => panic!("checked when compiled"),
};

/// After a request that brought nothing.
const RETRY: Backoff = match Backoff::new(Duration::from_millis(250), Duration::from_secs(60)) {
    Ok(backoff) => backoff,
    Err(_) => panic!("checked when compiled"),
};

/// After a refusal that only an administrator can change.
const REFUSED_RETRY: Duration = Duration::from_secs(600);

/// What a registration brought, in the state directory.
const REGISTRATION_FILE: &str = "device.json";

/// A token is refreshed after this part of its life ...
const REFRESH_PERCENT: u64 = 80;

/// ... which is taken to be within these, in seconds: no server can make this box ask all the time, or never.
const LIFE_S: std::ops::RangeInclusive<u64> = 1..=30 * 24 * 3600;

/// Who the box is, and where it remembers it.
#[derive(Clone, Debug)]
pub struct DeviceSetup {
    /// Its name at the server.
    pub client_id: String,
    /// Where key and tokens lie.
    pub state_dir: PathBuf,
}

/// Why a step towards tokens failed.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// The state directory does not take or give it.
    #[error("keep the identity of this device in {path}: {detail}")]
    Disk {
        /// The file.
        path: String,
        /// What the system says.
        detail: String,
    },
    /// The key's file makes no sense.
    #[error("use the key of this device, {path}: it is damaged; delete it to register as a new device")]
    Key {
        /// The file.
        path: String,
    },
    /// The token service did not answer, or not rightly.
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

/// Where a device stands.
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

    /// Where it stands after a step. What may pass by itself changes nothing.
    fn after(self, result: &Result<Step, DeviceError>) -> Self {
        match result {
            Ok(Step::Trusted(_)) => Self::Trusted,
            Ok(Step::Waiting) => Self::WaitingForApproval,
            Err(DeviceError::Refused(_)) => Self::Refused,
            Ok(Step::Registered | Step::Again) | Err(_) => self,
        }
    }
}

/// Where this device stands, as far as is remembered here. Asks nobody and changes nothing.
///
/// # Errors
/// The state directory cannot be read.
pub fn remembered(client: &Client, setup: &DeviceSetup) -> Result<Standing, DeviceError> {
    let store = Store::new(setup.state_dir.join(REGISTRATION_FILE), &setup.client_id, &client.settings.api_key);
    Ok(match store.load()? {
        Found::Own(Registration { access: Some(_), .. }) => Standing::Trusted,
        Found::Own(Registration { code: Some(_), .. }) => Standing::WaitingForApproval,
        Found::Own(_) | Found::Another | Found::Nothing => Standing::Registering,
    })
}

/// How long to wait between two steps.
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
    pub fn after(&mut self, result: &Result<Step, DeviceError>, random: u64) -> Duration {
        match result {
            Ok(Step::Trusted(grant)) => {
                *self = Self::default();
                let life = grant.expires_in.clamp(*LIFE_S.start(), *LIFE_S.end());
                Duration::from_millis(life * 1000 / 100 * REFRESH_PERCENT)
            }
            Ok(Step::Registered) => Duration::ZERO,
            Ok(Step::Waiting) => {
                self.retry.reset();
                self.poll.next(random)
            }
            Err(DeviceError::Refused(_)) => REFUSED_RETRY,
            Err(DeviceError::Server(Failure { cause: Cause::Overloaded { retry_after: Some(seconds) }, .. })) => {
                self.retry.next(random).max(Duration::from_secs((*seconds).into()))
            }
            Ok(Step::Again) | Err(_) => self.retry.next(random),
        }
    }
}

/// Keeps the client's device token fresh for as long as it runs.
#[derive(Debug)]
pub struct Keeper {
    token: DeviceToken,
    enrolment: Enrolment,
    standing: watch::Sender<Standing>,
    /// In a row. Only the first is told as a warning.
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

    /// Where the device stands, and a way to wait for its changes.
    pub fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.subscribe()
    }

    /// Never ends by itself. Dropped during a refresh, the next one begins with a registration.
    pub async fn run(mut self) {
        let mut pace = Pace::default();
        loop {
            let result = self.enrolment.step().await;
            let pause = pace.after(&result, random::word());
            self.tell(&result);
            if let Ok(Step::Trusted(grant)) = &result {
                self.publish(grant);
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.token.suspected() => tracing::info!("device token refused; asking for a new one"),
            }
        }
    }

    fn publish(&self, grant: &Grant) {
        match transport::bearer(&grant.access) {
            Ok(header) => self.token.publish(header),
            Err(error) => tracing::error!(%error, "the server gave a device token that cannot be sent"),
        }
    }

    fn tell(&mut self, result: &Result<Step, DeviceError>) {
        let before = *self.standing.borrow();
        let standing = before.after(result);
        self.failures = if result.is_err() { self.failures.saturating_add(1) } else { 0 };
        match result {
            Err(error @ (DeviceError::Refused(_) | DeviceError::Disk { .. })) if self.failures == 1 => {
                tracing::error!("failed to {error}");
            }
            Err(error) if self.failures == 1 => tracing::warn!("failed to {error}; trying again"),
            Err(error) => tracing::debug!(failures = self.failures, "failed to {error}; trying again"),
            Ok(Step::Registered) => tracing::info!("device registered"),
            Ok(Step::Again) => tracing::info!("device tokens lost or refused; registering again"),
            Ok(Step::Waiting) if before != standing => {
                tracing::warn!("device waits for approval: an administrator of the print server has to trust it");
            }
            Ok(Step::Waiting) => {}
            Ok(Step::Trusted(_)) if before != standing => tracing::info!("device trusted"),
            Ok(Step::Trusted(_)) => tracing::debug!("device token refreshed"),
        }
        self.standing.send_if_modified(|known| std::mem::replace(known, standing) != standing);
    }
}
