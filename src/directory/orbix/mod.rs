//! NDD Orbix: groups of print queue users, from a file to the portal (docs/directory.md, "Orbix").
//!
//! Invariants: nothing is sent before the whole file was checked; one request at a time, and what it brought is in the journal
//! before the next one; a person whom the server has taken is never sent again.

mod batches;
mod bearer;
pub mod journal;
mod people;
mod report;
mod wire;

use std::path::PathBuf;

use reqwest::Method;

use super::DirectoryError;
use super::http::{ApiRequest, Authorization, DirectoryClient, address, printable};
use crate::config::{OrbixConfig, OrbixCredential};
use crate::domain::{Cause, Failure, Secret, Who};
use batches::OrbixBatch;
use bearer::BearerSource;
use journal::{PushJournal, TakenPeople};
pub use people::{HEADER, OrbixPerson, PersonProblem, checked, people};
pub use report::{FailedPerson, GroupCount, OrbixPlan, OrbixResult, PlannedGroup};
use wire::BatchOutcome;

const CALL: &str = "create or update groups of print queue users";

/// The service and the customer that people are pushed to.
#[derive(Debug)]
pub struct OrbixService {
    config: OrbixConfig,
    tenant: String,
    customer: String,
}

/// The reason for which a push ended before its end.
#[derive(Debug)]
enum BatchEnd {
    /// The server answered for each person.
    Told(BatchOutcome),
    /// Nobody of this request is known to have worked, and the next one would fare no better.
    Stop(DirectoryError),
}

impl OrbixService {
    /// # Errors
    /// A key that every push needs is empty.
    pub fn new(config: &OrbixConfig) -> Result<Self, DirectoryError> {
        let unset = |key| DirectoryError::Unset { table: "orbix", key };
        let tenant = config.tenant.clone().ok_or_else(|| unset("tenant"))?;
        let customer = config.client.clone().ok_or_else(|| unset("client"))?;
        Ok(Self { config: config.clone(), tenant, customer })
    }

    /// The name by which a journal knows this service and customer.
    pub fn name(&self) -> String {
        format!("{} {} {}", self.config.url, self.tenant, self.customer)
    }

    /// The way of these people into requests, without those whom the server has taken.
    pub fn plan(&self, people: &[OrbixPerson], taken: &TakenPeople) -> OrbixPlan {
        let left: Vec<_> = people.iter().filter(|person| !taken.has(person)).cloned().collect();
        OrbixPlan::new(people, &batches::batches(left))
    }

    /// Sends the people whom the server has not taken. `progress` is told how many of how many have been answered for.
    ///
    /// # Errors
    /// Nothing was sent: the journal or the token cannot be had.
    pub async fn push(
        &self,
        client: &DirectoryClient,
        people: &[OrbixPerson],
        journal: PathBuf,
        mut progress: impl FnMut(usize, usize),
    ) -> Result<OrbixResult, DirectoryError> {
        let mut journal = PushJournal::open(journal, &self.name())?;
        let left: Vec<_> = people.iter().filter(|person| !journal.taken.has(person)).cloned().collect();
        let batches = batches::batches(left);
        let mut result = OrbixResult::new(people, &batches);
        let Some(credential) = self.credential().filter(|_| !batches.is_empty()) else {
            return if batches.is_empty() { Ok(result) } else { Err(self.no_credential()) };
        };
        let mut bearer = BearerSource::new(credential);
        bearer.bearer(client).await?;
        let (mut answered, total) = (0, result.to_send());
        for batch in &batches {
            match self.send(client, &mut bearer, batch).await {
                BatchEnd::Told(outcome) => {
                    let worked = each(batch, &outcome).filter(|(_, failure)| failure.is_none());
                    if let Err(error) = journal.add(worked.map(|(person, _)| person)) {
                        result.stop(&error);
                        break;
                    }
                    for (person, failure) in each(batch, &outcome) {
                        result.note(person, failure.as_deref());
                    }
                }
                BatchEnd::Stop(error) => {
                    let why = error.to_string();
                    let nobody = unknown(batch, &why);
                    each(batch, &nobody).for_each(|(person, why)| result.note(person, why.as_deref()));
                    result.stop(&error);
                    break;
                }
            }
            answered += batch.iter().map(|part| part.people.len()).sum::<usize>();
            progress(answered, total);
        }
        Ok(result)
    }

    fn credential(&self) -> Option<OrbixCredential> {
        self.config.credential.clone()
    }

    fn no_credential(&self) -> DirectoryError {
        DirectoryError::Unset { table: "orbix", key: "token_file (or token_url, client_id and client_secret_file)" }
    }

    /// Sends one request. A bearer that is refused is replaced once, where it can be.
    async fn send(&self, client: &DirectoryClient, bearer: &mut BearerSource, batch: &OrbixBatch) -> BatchEnd {
        for last in [!bearer.can_renew(), true] {
            let token = match bearer.bearer(client).await {
                Ok(token) => token,
                Err(error) => return BatchEnd::Stop(error),
            };
            let answer = match client.send_patiently(&self.request(batch, &token)).await {
                Ok(answer) => answer,
                Err(error) => return BatchEnd::Stop(error),
            };
            let failure = answer.failure();
            return match failure {
                None => match wire::created(batch, &answer.body) {
                    Some(outcome) => BatchEnd::Told(masked(outcome, &token)),
                    None => BatchEnd::Stop(DirectoryError::malformed(CALL, "the answer is no list of failures")),
                },
                Some(Failure { cause: Cause::Refused(Who::Token), .. }) if !last && answer.status == 401 => {
                    bearer.forget();
                    continue;
                }
                Some(_) if answer.status == 400 => BatchEnd::Told(masked(wire::refused(batch, &answer.body), &token)),
                Some(failure) => BatchEnd::Stop(DirectoryError::Exchange { call: CALL, failure }),
            };
        }
        unreachable!("the second round always returns")
    }

    fn request(&self, batch: &OrbixBatch, token: &Secret) -> ApiRequest {
        let mut request = ApiRequest::new(CALL, Method::POST, address(&self.config.url, &wire::PATH, false))
            .authorized(Authorization::Bearer(token.clone()))
            .json(&wire::GroupsRequest::new(&self.customer, batch));
        request.headers.push(("tenant", self.tenant.clone()));
        request
    }
}

/// Each person of a request with the reason of the failure.
fn each<'a>(
    batch: &'a OrbixBatch,
    outcome: &'a BatchOutcome,
) -> impl Iterator<Item = (&'a OrbixPerson, &'a Option<String>)> {
    batch.iter().zip(outcome).flat_map(|(part, failures)| part.people.iter().zip(failures))
}

fn unknown(batch: &OrbixBatch, why: &str) -> BatchOutcome {
    batch.iter().map(|part| vec![Some(why.to_owned()); part.people.len()]).collect()
}

/// A server may repeat the bearer in its words.
fn masked(outcome: BatchOutcome, token: &Secret) -> BatchOutcome {
    let mask = |failure: Option<String>| failure.map(|word| printable(&word, &[token]));
    outcome.into_iter().map(|group| group.into_iter().map(mask).collect()).collect()
}
