//! ezeep: people and groups (docs/directory.md, "ezeep").
//!
//! Invariants: no GET has a body; a list is walked to its end and each element counts once; the groups of a user are read before
//! they are replaced and read again after; a 401 is one refresh and one repeat.

pub mod cache;
mod callback;
pub mod map;
mod oauth;
mod pairing;
mod wire;

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::TcpListener;

use super::DirectoryError;
use super::http::{ApiAnswer, ApiRequest, Authorization, DirectoryClient};
use super::paging::PageWalk;
use crate::domain::{Cause, Secret};
use cache::GroupCache;
pub use callback::loopback;
pub use pairing::EzeepPairing;
pub use wire::{EzeepGroupRef, EzeepGroupRow, EzeepUserRow};
use wire::{EzeepList, EzeepPage};

/// A whole list.
#[derive(Clone, Debug)]
pub struct WholeList<T> {
    /// Each element once.
    pub rows: Vec<T>,
    /// The number that ezeep gave with the last page.
    pub count: Option<usize>,
}

/// The step that adds a user to a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum AddStep {
    /// The user gets the group.
    Add,
    /// The user has it already.
    Already,
    /// Nobody knows the user.
    NotFound,
}

/// Users and groups, with the tokens of a pairing.
#[derive(Debug)]
pub struct Ezeep {
    pairing: EzeepPairing,
    client: DirectoryClient,
}

impl Ezeep {
    /// Users and groups behind this pairing.
    pub fn new(pairing: EzeepPairing, client: DirectoryClient) -> Self {
        Self { pairing, client }
    }

    /// All groups.
    ///
    /// # Errors
    /// The service gives no good answer.
    pub async fn groups(&self) -> Result<WholeList<EzeepGroupRow>, DirectoryError> {
        self.list(EzeepList::Groups, |group: &EzeepGroupRow| &group.id).await
    }

    /// All users. Those of one group are found among them: the documented request for them is a GET with a body, which proxies
    /// drop.
    ///
    /// # Errors
    /// As [`Ezeep::groups`].
    pub async fn users(&self) -> Result<WholeList<EzeepUserRow>, DirectoryError> {
        self.list(EzeepList::Users, |user: &EzeepUserRow| &user.id).await
    }

    /// Reads the groups of everybody, for decisions without another call.
    ///
    /// # Errors
    /// As [`Ezeep::groups`].
    pub async fn group_cache(&self, now: Timestamp) -> Result<GroupCache, DirectoryError> {
        let (groups, users) = (self.groups().await?, self.users().await?);
        Ok(GroupCache::new(&groups.rows, &users.rows, now))
    }

    /// One group.
    ///
    /// # Errors
    /// It is not there, or the service gives no good answer.
    pub async fn group(&self, id: &str) -> Result<EzeepGroupRow, DirectoryError> {
        self.one(wire::group(&self.pairing.config.api_url, id)).await
    }

    /// One user.
    ///
    /// # Errors
    /// As [`Ezeep::group`].
    pub async fn user(&self, id: &str) -> Result<EzeepUserRow, DirectoryError> {
        self.one(wire::user(&self.pairing.config.api_url, id)).await
    }

    /// The organization that a new group will belong to.
    ///
    /// # Errors
    /// The configuration names none.
    pub fn organization(&self) -> Result<&str, DirectoryError> {
        let organization = self.pairing.config.organization_id.as_deref();
        organization.ok_or(DirectoryError::Unset { table: "ezeep", key: "organization_id" })
    }

    /// Creates a group.
    ///
    /// # Errors
    /// The service refuses, or gives no good answer: then the group may be there.
    pub async fn create_group(&self, name: &str) -> Result<EzeepGroupRow, DirectoryError> {
        let request = wire::create_group(&self.pairing.config.api_url, name, self.organization()?);
        self.one(request).await.map_err(|error| match error.cause() {
            Some(cause) if cause.is_in_doubt() => DirectoryError::Unfit(format!(
                "{error}; it may have been created: look at the groups before you try again"
            )),
            _ => error,
        })
    }

    /// Deletes a group.
    ///
    /// # Errors
    /// It is not there, or the service gives no good answer: then the group may be gone.
    pub async fn delete_group(&self, id: &str) -> Result<(), DirectoryError> {
        let request = wire::delete_group(&self.pairing.config.api_url, id);
        self.send(&request).await?.accepted(&request).map(drop)
    }

    /// Finds out what there is to do for a user. Nothing is changed.
    ///
    /// # Errors
    /// The service gives no good answer, or none with the user's groups.
    pub async fn plan_add(&self, group: &str, user: &str) -> Result<AddStep, DirectoryError> {
        match self.user(user).await {
            Ok(row) => match wire::merged(groups_of(&row)?, group) {
                Some(_) => Ok(AddStep::Add),
                None => Ok(AddStep::Already),
            },
            Err(error) if error.cause() == Some(Cause::NotFound) => Ok(AddStep::NotFound),
            Err(error) => Err(error),
        }
    }

    /// Adds a user to a group and looks whether it had an effect. The groups are read again right before they are replaced,
    /// because somebody else may have added one.
    ///
    /// # Errors
    /// The service gives no good answer, or the user is not in the group afterwards, or not in all of the earlier ones.
    pub async fn add(&self, group: &str, user: &str) -> Result<(), DirectoryError> {
        let before = self.user(user).await?;
        let before = groups_of(&before)?;
        let Some(merged) = wire::merged(before, group) else { return Ok(()) };
        let request = wire::set_groups(&self.pairing.config.api_url, user, &merged);
        self.send(&request).await?.accepted(&request)?;
        let after = self.user(user).await?;
        match merged.iter().find(|reference| !after.is_in(&reference.group_id)) {
            None => Ok(()),
            Some(EzeepGroupRef { group_id }) if group_id == group => Err(DirectoryError::Unfit(
                "add the user to the group: ezeep took the change, and it had no effect".to_owned(),
            )),
            Some(EzeepGroupRef { group_id }) => {
                Err(DirectoryError::Unfit(format!("keep the user's other groups: {group_id} is gone")))
            }
        }
    }

    async fn list<T: DeserializeOwned>(
        &self,
        list: EzeepList,
        id: impl Fn(&T) -> &str,
    ) -> Result<WholeList<T>, DirectoryError> {
        let call = list.call();
        let first = list.url(&self.pairing.config.api_url);
        let mut walk = PageWalk::new(first.clone(), list.documented());
        let (mut rows, mut page, mut count) = (Vec::new(), Some(first), None);
        while let Some(url) = page {
            let request = ApiRequest::new(call, reqwest::Method::GET, url);
            let EzeepPage { count: told, next, results } = self.one::<EzeepPage<T>>(request).await?;
            rows.extend(results.into_iter().filter(|row| walk.is_new(id(row))));
            count = told.or(count);
            page = walk.next(next.as_deref()).map_err(|why| DirectoryError::Pages { call, why })?;
        }
        Ok(WholeList { rows, count })
    }

    async fn one<T: DeserializeOwned>(&self, request: ApiRequest) -> Result<T, DirectoryError> {
        let body = self.send(&request).await?.accepted(&request)?;
        serde_json::from_slice(&body)
            .map_err(|_| DirectoryError::malformed(request.call, "the answer is not the documented one"))
    }

    /// Sends with an access token. A 401 is one refresh and one repeat: the request was refused before any work.
    async fn send(&self, request: &ApiRequest) -> Result<ApiAnswer, DirectoryError> {
        let access = self.pairing.access(None).await?;
        let answer = self.send_with(request, &access).await?;
        if answer.status != 401 {
            return Ok(answer);
        }
        let access = self.pairing.access(Some(&access)).await?;
        self.send_with(request, &access).await
    }

    async fn send_with(&self, request: &ApiRequest, access: &Secret) -> Result<ApiAnswer, DirectoryError> {
        let request = request.clone().authorized(Authorization::Bearer(access.clone()));
        self.client.send_patiently(&request).await
    }
}

/// The groups of a user. An answer without them must not be taken for a user without groups, who would lose all of them.
fn groups_of(user: &EzeepUserRow) -> Result<&[EzeepGroupRef], DirectoryError> {
    let groups = user.groups.as_deref();
    groups.ok_or_else(|| {
        DirectoryError::malformed("read the user", "the answer does not say in which groups the user is")
    })
}

/// The interval of the looks at an idle pairing: another process may have paired this box meanwhile.
const LOOK: Duration = Duration::from_secs(5);

/// The same after a failure. A quarter of an hour is left then before the pairing is lost.
const LOOK_AFTER_FAILURE: Duration = Duration::from_secs(30);

/// Keeps the tokens of an idle pairing alive, as long as it runs. An hour without a refresh would cost the pairing.
pub async fn keep_fresh(pairing: EzeepPairing) {
    let mut failing = false;
    loop {
        let mut wait = LOOK;
        if pairing.is_paired() {
            let own = pairing.clone();
            // A refresh goes on where this task is stopped: an answer that nobody reads would be lost.
            match tokio::spawn(async move { own.keep().await }).await {
                Ok(Ok(due)) => {
                    failing = false;
                    wait = due.min(LOOK);
                }
                Ok(Err(error)) => {
                    wait = LOOK_AFTER_FAILURE;
                    if !std::mem::replace(&mut failing, true) {
                        tracing::warn!("failed to keep the tokens of ezeep fresh: {error}");
                    }
                }
                Err(_) => return,
            }
        }
        tokio::time::sleep(wait).await;
    }
}

/// Waits at `listener` until a browser brings the code of the pairing with this state, but not longer than `limit`.
///
/// # Errors
/// Access was refused, or nobody came.
pub async fn wait_for_code(
    listener: TcpListener,
    redirect_uri: &str,
    state: &str,
    limit: Duration,
) -> Result<Secret, DirectoryError> {
    match tokio::time::timeout(limit, callback::wait(listener, redirect_uri, state)).await {
        Ok(Some(Ok(code))) => Ok(code),
        Ok(Some(Err(word))) => Err(DirectoryError::PairAgain(format!("access was refused ({})", as_word(&word)))),
        Ok(None) | Err(_) => Err(DirectoryError::PairAgain("no browser came back in time".to_owned())),
    }
}

/// Reads what a person pasted: a code, or the whole address with the state of the pairing that was begun.
///
/// # Errors
/// It is neither, or belongs to another pairing.
pub fn pasted_code(text: &str, pending: Option<&str>) -> Result<Secret, DirectoryError> {
    let unfit = |why: &str| DirectoryError::Unfit(format!("use the code: {why}"));
    let Some(answer) = oauth::browser_answer(text) else {
        return Err(unfit("it is neither a code nor an address with one"));
    };
    let is_address = text.contains("code=") || text.contains("error=");
    if is_address && pending.is_some_and(|state| answer.state.as_deref() != Some(state)) {
        return Err(unfit("its address belongs to another pairing than the one that was begun here"));
    }
    answer.code.map_err(|word| DirectoryError::PairAgain(format!("access was refused ({})", as_word(&word))))
}

/// The error of an authorization, as far as it is a word: an address can hold anything.
fn as_word(word: &str) -> &str {
    let is_word = word.len() <= 64 && word.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    if is_word { word } else { "no word" }
}
