//! zops: this box as a consumer of a project (docs/directory.md, "zops").
//!
//! Invariants: everything is read before anything is made; each step is on the disk before the next one; a step that fails is
//! undone with those before it, in their reverse order; a session is closed whatever comes of it.

mod session;
mod wire;

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::DirectoryError;
use super::http::DirectoryClient;
use super::lock::lock_within;
use crate::config::ZopsConfig;
use crate::domain::{Cause, Secret};
use crate::durable;
use crate::token_store::{StoredTokens, TokenStore, secret};
use session::{ZopsAccount, ZopsSession};

/// The identity of this box, in the state directory.
const IDENTITY_FILE: &str = "zops.json";
/// Locked while a command changes it.
const LOCK_FILE: &str = "zops.lock";
const LOCK_LIMIT: Duration = Duration::from_secs(90);

/// The life of a consumer token that nobody exchanges.
pub const TOKEN_LIFE: SignedDuration = SignedDuration::from_secs(60);

/// This box as zops knows it, as far as it has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ZopsIdentity {
    /// The consumer's id. No documented call deletes it.
    pub consumer: String,
    /// The project's id.
    pub project: String,
    /// The code of the service.
    pub service: String,
    /// Whether the consumer belongs to the project.
    pub attached: bool,
    #[serde(with = "secret")]
    token: Option<Secret>,
    /// When the token came, by this box's clock.
    pub obtained: Option<Timestamp>,
}

impl ZopsIdentity {
    /// Whether this box is enrolled.
    pub fn is_enrolled(&self) -> bool {
        self.attached && self.token.is_some()
    }

    /// The time by which somebody has to exchange the token.
    pub fn token_until(&self) -> Option<Timestamp> {
        self.obtained.and_then(|obtained| obtained.checked_add(TOKEN_LIFE).ok())
    }
}

/// A box that is a consumer, or becomes one.
#[derive(Debug)]
pub struct Zops {
    account: ZopsAccount,
    project: String,
    service: String,
    client: DirectoryClient,
    state_dir: PathBuf,
    store: TokenStore<ZopsIdentity>,
}

/// The names of what was read before anything is made.
#[derive(Debug)]
struct ProjectFacts {
    project: String,
    email: String,
}

/// The plan and the outcome of `enroll`.
#[derive(Debug)]
pub struct EnrollReport {
    /// The steps, as they are told before.
    pub plan: Vec<String>,
    /// The identity afterwards.
    pub identity: Option<ZopsIdentity>,
    /// Why it is not complete.
    pub error: Option<DirectoryError>,
    /// Whether zops took the end of the session.
    pub session_closed: bool,
}

/// The identity that is stored for an address of zops.
fn store(url: &reqwest::Url, state_dir: &Path) -> TokenStore<ZopsIdentity> {
    TokenStore::new(state_dir.join(IDENTITY_FILE), &[url.as_str()])
}

/// The identity of this box, as the disk remembers it. It sends no request.
///
/// # Errors
/// The configuration names no address, or the disk does not give it.
pub fn remembered(config: &ZopsConfig, state_dir: &Path) -> Result<Option<ZopsIdentity>, DirectoryError> {
    let url = config.url.as_ref().ok_or(DirectoryError::Unset { table: "zops", key: "url" })?;
    load(&store(url, state_dir))
}

fn load(store: &TokenStore<ZopsIdentity>) -> Result<Option<ZopsIdentity>, DirectoryError> {
    match store.load().map_err(|error| DirectoryError::disk(store.path(), &error))? {
        StoredTokens::Own(identity) => Ok(Some(identity)),
        StoredTokens::Nothing => Ok(None),
        StoredTokens::Another => {
            let file = store.path().display();
            Err(DirectoryError::Unfit(format!(
                "use zops: {file} belongs to another url; set that one and revoke first"
            )))
        }
    }
}

impl Zops {
    /// # Errors
    /// A key that every command needs is empty, or the password cannot be read.
    pub fn new(config: &ZopsConfig, state_dir: &Path, client: DirectoryClient) -> Result<Self, DirectoryError> {
        let unset = |key| DirectoryError::Unset { table: "zops", key };
        let url = config.url.clone().ok_or_else(|| unset("url"))?;
        let email = config.email.clone().ok_or_else(|| unset("email"))?;
        let password = config.password.as_ref().ok_or_else(|| unset("password_file"))?.read();
        let password = password.map_err(|why| DirectoryError::Secret { table: "zops", why })?;
        Ok(Self {
            project: config.project.clone().ok_or_else(|| unset("project"))?,
            service: config.service.clone().ok_or_else(|| unset("service"))?,
            store: store(&url, state_dir),
            account: ZopsAccount { url, email, password },
            client,
            state_dir: state_dir.to_owned(),
        })
    }

    /// Makes this box a consumer of the project, or gives the one that it is a new token. `tell` is told the plan before
    /// anything is made; in a dry run nothing is.
    ///
    /// # Errors
    /// Nothing was made: the session cannot be opened, or the project or the service is not there.
    pub async fn enroll(&self, dry_run: bool, tell: impl FnOnce(&[String])) -> Result<EnrollReport, DirectoryError> {
        let _lock = if dry_run { None } else { Some(self.lock().await?) };
        let before = load(&self.store)?;
        if let Some(other) = before.as_ref().filter(|identity| identity.project != self.project) {
            let project = &other.project;
            return Err(DirectoryError::Unfit(format!(
                "enrol this box: it belongs to the project {project}; revoke that first"
            )));
        }
        let (mut session, me) = ZopsSession::open(&self.client, &self.account).await?;
        let facts = self.facts(&mut session, &me).await;
        let facts = match facts {
            Ok(facts) => facts,
            Err(error) => {
                session.close().await;
                return Err(error);
            }
        };
        let plan = self.plan(before.as_ref(), &facts);
        tell(&plan);
        let mut report = EnrollReport { plan, identity: before.clone(), error: None, session_closed: false };
        if !dry_run {
            let mut identity = before;
            report.error = self.make(&mut session, &mut identity).await.err();
            report.identity = identity;
        }
        report.session_closed = session.close().await;
        Ok(report)
    }

    /// Reads what has to be there already.
    async fn facts(&self, session: &mut ZopsSession, me: &serde_json::Value) -> Result<ProjectFacts, DirectoryError> {
        let base = session.base().clone();
        let projects = session.ask(&wire::projects(&base)).await?;
        let services = session.ask(&wire::services(&base)).await?;
        let Some(project) = wire::row(&projects, "id", &self.project) else {
            let why = format!("enrol this box: the account has no project {}; see project", self.project);
            return Err(DirectoryError::Unfit(why));
        };
        if wire::row(&services, "codeName", &self.service).is_none() {
            let why = format!("enrol this box: the catalogue has no service {}; see service", self.service);
            return Err(DirectoryError::Unfit(why));
        }
        let email = wire::text(me, "email").unwrap_or_else(|| self.account.email.clone());
        Ok(ProjectFacts { project: wire::text(project, "name").unwrap_or_default(), email })
    }

    fn plan(&self, before: Option<&ZopsIdentity>, facts: &ProjectFacts) -> Vec<String> {
        let ProjectFacts { project: name, email } = facts;
        let (project, service) = (&self.project, &self.service);
        let consumer = match before {
            Some(ZopsIdentity { consumer, .. }) => format!("keep the consumer {consumer}"),
            None => "make a consumer".to_owned(),
        };
        let attach = match before {
            Some(ZopsIdentity { attached: true, .. }) => format!("leave it in the project {project} \"{name}\""),
            _ => format!("attach it to the project {project} \"{name}\""),
        };
        vec![
            format!("as {email}: {consumer}"),
            attach,
            format!("get a token for the service {service}, which lives one minute"),
            format!("store both in {}", self.store.path().display()),
        ]
    }

    /// Goes on from the identity as it is. A step that fails is undone with those before it.
    async fn make(&self, session: &mut ZopsSession, identity: &mut Option<ZopsIdentity>) -> Result<(), DirectoryError> {
        let base = session.base().clone();
        let fresh = match identity.take() {
            Some(known) => known,
            None => {
                let request = wire::make_consumer(&base);
                let made = session.ask(&request).await.map_err(|error| match error.cause() {
                    Some(cause) if cause.is_in_doubt() => DirectoryError::Unfit(format!(
                        "{error}; a consumer may have been made, and its id is not known"
                    )),
                    _ => error,
                })?;
                let consumer = wire::text(&made, "id");
                let consumer =
                    consumer.ok_or_else(|| DirectoryError::malformed(request.call, "the answer has no id"))?;
                let (project, service) = (self.project.clone(), self.service.clone());
                ZopsIdentity { consumer, project, service, attached: false, token: None, obtained: None }
            }
        };
        let identity = identity.insert(fresh);
        identity.service.clone_from(&self.service);
        self.save(identity).await?;
        let was_attached = identity.attached;
        let failed = match self.attach_and_get_token(session, identity).await {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        // An attachment of an earlier run is not this one's to undo, unless it was that run's last step.
        if !was_attached || identity.token.is_none() {
            self.undo(session, identity, &failed).await;
        }
        Err(failed)
    }

    async fn attach_and_get_token(
        &self,
        session: &mut ZopsSession,
        identity: &mut ZopsIdentity,
    ) -> Result<(), DirectoryError> {
        let base = session.base().clone();
        if !identity.attached {
            session.ask(&wire::attach(&base, &identity.project, &identity.consumer)).await?;
            identity.attached = true;
            self.save(identity).await?;
        }
        let request = wire::get_token(&base, &identity.consumer, &identity.project, &identity.service);
        let answer = session.ask(&request).await?;
        let token = wire::text(&answer, "token");
        let token = token.ok_or_else(|| DirectoryError::malformed(request.call, "the answer has no token"))?;
        let whole =
            ZopsIdentity { token: Some(Secret::new(token)), obtained: Some(Timestamp::now()), ..identity.clone() };
        if let Err(error) = self.save(&whole).await {
            self.delete_token(session, &whole).await;
            return Err(error);
        }
        *identity = whole;
        Ok(())
    }

    /// Detaches the consumer, if it was attached or may have been. Failures are told and end nothing.
    async fn undo(&self, session: &mut ZopsSession, identity: &mut ZopsIdentity, failed: &DirectoryError) {
        let may_be_attached = identity.attached || failed.cause().is_some_and(Cause::is_in_doubt);
        if may_be_attached {
            let request = wire::detach(session.base(), &identity.project, &identity.consumer);
            match session.ask(&request).await {
                Ok(_) => identity.attached = false,
                Err(error) => tracing::warn!("failed to {error}; run `directory zops revoke`"),
            }
        }
        if let Err(error) = self.save(identity).await {
            tracing::warn!("failed to {error}");
        }
    }

    /// Takes the identity back. `tell` is told the plan before. `None` where there is no identity.
    ///
    /// # Errors
    /// The consumer is attached still, or may be.
    pub async fn revoke(
        &self,
        dry_run: bool,
        tell: impl FnOnce(&[String]),
    ) -> Result<Option<(ZopsIdentity, Vec<String>)>, DirectoryError> {
        let _lock = if dry_run { None } else { Some(self.lock().await?) };
        let Some(identity) = load(&self.store)? else { return Ok(None) };
        let plan = vec![
            "delete the consumer token".to_owned(),
            format!("detach the consumer {} from the project {}", identity.consumer, identity.project),
            format!("forget both in {}", self.store.path().display()),
        ];
        tell(&plan);
        if !dry_run {
            let (mut session, _) = ZopsSession::open(&self.client, &self.account).await?;
            let done = self.take_back(&mut session, &identity).await;
            session.close().await;
            done?;
            durable::remove(self.store.path()).map_err(|error| DirectoryError::disk(self.store.path(), &error))?;
        }
        Ok(Some((identity, plan)))
    }

    async fn take_back(&self, session: &mut ZopsSession, identity: &ZopsIdentity) -> Result<(), DirectoryError> {
        self.delete_token(session, identity).await;
        let request = wire::detach(session.base(), &identity.project, &identity.consumer);
        session.ask(&request).await.map(drop)
    }

    /// A token that was exchanged is gone already, and zops answers 5xx then. Detaching the consumer is what cuts it off.
    async fn delete_token(&self, session: &mut ZopsSession, identity: &ZopsIdentity) {
        let Some(token) = &identity.token else { return };
        let request = wire::delete_token(session.base(), token, &identity.project, &identity.service);
        if let Err(error) = session.ask(&request).await {
            tracing::info!("failed to {error}; it was exchanged or has ended");
        }
    }

    async fn save(&self, identity: &ZopsIdentity) -> Result<(), DirectoryError> {
        self.store.save(identity.clone()).await.map_err(|error| DirectoryError::disk(self.store.path(), &error))
    }

    async fn lock(&self) -> Result<std::fs::File, DirectoryError> {
        durable::directory(&self.state_dir).map_err(|error| DirectoryError::disk(&self.state_dir, &error))?;
        lock_within(&self.state_dir.join(LOCK_FILE), LOCK_LIMIT).await
    }
}
