//! Asks the server for pages of the history, with the device's token as the agent has it.
//!
//! A running agent keeps its token fresh in the state directory, so it is only read there. Without an agent, a token that the server
//! refuses is refreshed here, with `enroll` locked out, and stored for the agent.

use std::time::Duration;

use crate::cli::{assemble, daemon, enroll};
use crate::config::Config;
use crate::domain::{Cause, Failure};
use crate::machine::{self, BindingState, MachineHash};
use crate::print_server::device::{self, DeviceSetup, Enrolment, EnrolmentStep};
use crate::print_server::{Client, HistoryQuery, HistoryRows};

/// A server that asks for patience is asked again so often.
const PATIENCE: u32 = 5;

/// The wait before that where the server names none, and the longest one.
const PAUSE_S: u32 = 5;
const PAUSE_LIMIT_S: u32 = 60;

/// The most steps to a fresh token: a registration that the server accepts again, and the tokens that follow from it.
const STEP_LIMIT: u32 = 4;

pub(super) struct HistoryAccess<'a> {
    config: &'a Config,
    client: Client,
    /// The device whose token is stored, if the box registers itself.
    device: Option<DeviceSetup>,
    /// A refused token was refreshed once, and that did not help.
    gave_up: bool,
}

impl<'a> HistoryAccess<'a> {
    pub(super) fn new(config: &'a Config, client: Client) -> Self {
        let standing = machine::standing(&config.agent.state_dir, MachineHash::of_this_machine().as_ref());
        // A copied state directory has the token of another box.
        let is_own = config.server.device.register && standing != BindingState::Copy;
        let device = is_own.then(|| assemble::device(config));
        Self { config, client, device, gave_up: false }
    }

    /// One page, asked for with patience.
    pub(super) async fn page(&mut self, query: &HistoryQuery, token: Option<&str>) -> Result<HistoryRows, Failure> {
        self.borrow()?;
        let mut patience = PATIENCE;
        loop {
            let failure = match self.client.history_rows(query, token).await {
                Ok(rows) => return Ok(rows),
                Err(failure) => failure,
            };
            match failure.cause {
                Cause::Overloaded { retry_after } if patience > 0 => {
                    patience -= 1;
                    let pause = retry_after.unwrap_or(PAUSE_S).min(PAUSE_LIMIT_S);
                    tokio::time::sleep(Duration::from_secs(pause.into())).await;
                }
                Cause::Refused(_) if !self.gave_up => {
                    self.gave_up = true;
                    if !self.renew().await? {
                        return Err(failure);
                    }
                }
                _ => return Err(failure),
            }
        }
    }

    /// Advice for a refusal that may come from the device's standing.
    pub(super) fn device_advice(&self) -> &'static str {
        match &self.device {
            Some(setup) if !matches!(device::remembered(&self.client, setup), Ok(device::Standing::Trusted)) => {
                ", and this device is not trusted yet: see `enroll`"
            }
            _ => "",
        }
    }

    /// Takes the stored token if it is another one. Returns whether it is.
    fn borrow(&self) -> Result<bool, Failure> {
        let Some(setup) = &self.device else {
            return Ok(false);
        };
        device::borrow_token(&self.client, setup).map_err(|error| Failure::new(Cause::Storage, error.to_string()))
    }

    /// Looks for a newer token after a refusal. Returns whether there is one.
    async fn renew(&self) -> Result<bool, Failure> {
        let Some(setup) = &self.device else {
            return Ok(false);
        };
        let is_running = daemon::is_running(&self.config.agent.control_socket).await.unwrap_or(true);
        let is_trusted = matches!(device::remembered(&self.client, setup), Ok(device::Standing::Trusted));
        if self.borrow()? || is_running || !is_trusted {
            return self.borrow();
        }
        let Ok(_lock) = enroll::lock(&self.config.agent.state_dir) else {
            return Ok(false);
        };
        let storage = |error: device::DeviceError| Failure::new(Cause::Storage, error.to_string());
        let mut enrolment = Enrolment::open(self.client.clone(), setup).map_err(storage)?;
        for _ in 0..STEP_LIMIT {
            match enrolment.step().await {
                Ok(EnrolmentStep::Trusted(_)) => return self.borrow(),
                Ok(EnrolmentStep::Registered | EnrolmentStep::Again) => {}
                Ok(EnrolmentStep::Waiting) | Err(_) => return Ok(false),
            }
        }
        Ok(false)
    }
}
