//! The tokens of a pairing, on the disk and fresh (docs/directory.md, "ezeep").
//!
//! Invariants:
//! 1. **Durable before used.** New tokens are on the platter before their access token goes anywhere.
//! 2. **One at a time.** A lock makes sure that two processes never send the same refresh token.
//! 3. **Lost is spent.** A refresh token whose answer did not come is not sent again, and the disk says so. Only a kill can come
//!    between: then the token is sent once more, and the service says whether it was used.

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::oauth::{self, EzeepClientId, NewTokens, TokenReplyMeaning};
use crate::config::EzeepConfig;
use crate::directory::DirectoryError;
use crate::directory::http::{ApiRequest, DirectoryClient};
use crate::directory::lock::lock_within;
use crate::domain::{Failure, Secret};
use crate::durable;
use crate::token_store::{StoredTokens, TokenStore, secret};

/// The tokens, and the state that a browser has to bring back, in the state directory.
const PAIRING_FILE: &str = "ezeep.json";
const PENDING_FILE: &str = "ezeep-state.json";
/// Locked while a process asks for tokens.
const LOCK_FILE: &str = "ezeep.lock";

/// Another process has its answer, or none, by then.
const LOCK_LIMIT: Duration = Duration::from_secs(90);

/// An access token is not used beyond this part of its lifetime.
const USE_PERCENT: i64 = 90;
/// An idle pairing is refreshed after this part of it: the refresh token lives no longer than the access token.
const IDLE_PERCENT: u64 = 75;

/// The bounds, in seconds, of a lifetime: no answer can make this box ask all the time, or let the refresh token die.
const LIFE_S: std::ops::RangeInclusive<u64> = 1..=oauth::TYPICAL_LIFE_S;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct PairedTokens {
    #[serde(with = "secret")]
    access: Option<Secret>,
    /// `None` once it is lost.
    #[serde(with = "secret")]
    refresh: Option<Secret>,
    /// By this box's clock.
    obtained: Option<Timestamp>,
    /// In seconds.
    expires_in: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct PendingState {
    state: String,
}

/// The tokens of this box at ezeep.
#[derive(Clone, Debug)]
pub struct EzeepPairing {
    pub(super) config: EzeepConfig,
    client_id: EzeepClientId,
    client: DirectoryClient,
    state_dir: PathBuf,
    tokens: TokenStore<PairedTokens>,
    pending: TokenStore<PendingState>,
}

impl EzeepPairing {
    /// # Errors
    /// The configuration lacks the client id, or its secret cannot be read.
    pub fn new(config: &EzeepConfig, state_dir: &Path, client: DirectoryClient) -> Result<Self, DirectoryError> {
        let unset = || DirectoryError::Unset { table: "ezeep", key: "client_id" };
        let id = config.client_id.clone().ok_or_else(unset)?;
        let secret = config.client_secret.as_ref().map(|file| file.read()).transpose();
        let secret = secret.map_err(|why| DirectoryError::Secret { table: "ezeep", why })?;
        let parts = [config.account_url.as_str(), &id];
        Ok(Self {
            tokens: TokenStore::new(state_dir.join(PAIRING_FILE), &parts),
            pending: TokenStore::new(state_dir.join(PENDING_FILE), &parts),
            config: config.clone(),
            client_id: EzeepClientId { id, secret },
            client,
            state_dir: state_dir.to_owned(),
        })
    }

    /// The address that the browser comes back to.
    pub fn redirect_uri(&self) -> &str {
        &self.config.redirect_uri
    }

    /// The address that a person opens; the browser has to bring `state` back. It is durable, so that the answer can be pasted
    /// into another process.
    ///
    /// # Errors
    /// The disk does not take it.
    pub async fn begin(&self, state: &str) -> Result<String, DirectoryError> {
        self.make_dir()?;
        let pending = PendingState { state: state.to_owned() };
        self.pending.save(pending).await.map_err(|error| DirectoryError::disk(self.pending.path(), &error))?;
        Ok(oauth::authorize_url(&self.config, &self.client_id, state).into())
    }

    /// The state of the pairing that was begun last, if it has not ended.
    ///
    /// # Errors
    /// The disk does not give it.
    pub fn pending(&self) -> Result<Option<String>, DirectoryError> {
        match self.pending.load().map_err(|error| DirectoryError::disk(self.pending.path(), &error))? {
            StoredTokens::Own(PendingState { state }) => Ok(Some(state)),
            StoredTokens::Nothing | StoredTokens::Another => Ok(None),
        }
    }

    /// Redeems a code, in place of any earlier pairing.
    ///
    /// # Errors
    /// The service refuses the code, gives no answer, or the disk does not take the tokens.
    pub async fn redeem(&self, code: &Secret) -> Result<(), DirectoryError> {
        self.make_dir()?;
        let _lock = lock_within(&self.state_dir.join(LOCK_FILE), LOCK_LIMIT).await?;
        let again = |why: &str| DirectoryError::PairAgain(why.to_owned());
        match self.ask(&oauth::redeem_request(&self.config, &self.client_id, code)).await? {
            TokenReplyMeaning::Granted(tokens) => {
                self.save(PairedTokens::of(tokens)).await?;
                durable::remove(self.pending.path()).map_err(|error| DirectoryError::disk(self.pending.path(), &error))
            }
            TokenReplyMeaning::Refused => Err(again("it refuses the code, which is good once")),
            TokenReplyMeaning::WrongClient => Err(wrong_client()),
            TokenReplyMeaning::Lost(failure) => {
                Err(again(&format!("its answer was lost, and the code with it: {failure}")))
            }
            TokenReplyMeaning::Unspent(failure) => Err(DirectoryError::Exchange { call: oauth::REDEEM, failure }),
        }
    }

    /// An access token that should be good now. `refused` is one that the service did not take.
    ///
    /// # Errors
    /// There is no pairing, or it is lost, or the service is not there.
    pub async fn access(&self, refused: Option<&Secret>) -> Result<Secret, DirectoryError> {
        let fits = |tokens: &PairedTokens| match refused {
            Some(refused) => tokens.access.clone().filter(|access| access != refused),
            None => tokens.fresh(Timestamp::now()),
        };
        match fits(&self.load()?) {
            Some(access) => Ok(access),
            None => self.refresh_unless(fits).await,
        }
    }

    /// Refreshes an idle pairing whose time has come, and tells how long the next one can wait.
    ///
    /// # Errors
    /// As [`EzeepPairing::access`].
    pub async fn keep(&self) -> Result<Duration, DirectoryError> {
        let tokens = self.load()?;
        let wait = tokens.idle_wait(Timestamp::now());
        if !wait.is_zero() {
            return Ok(wait);
        }
        let young = |tokens: &PairedTokens| match tokens.idle_wait(Timestamp::now()) {
            Duration::ZERO => None,
            _ => tokens.access.clone(),
        };
        self.refresh_unless(young).await?;
        Ok(self.load()?.idle_wait(Timestamp::now()))
    }

    /// Whether there is a pairing that can be refreshed.
    pub fn is_paired(&self) -> bool {
        matches!(self.tokens.load(), Ok(StoredTokens::Own(PairedTokens { refresh: Some(_), .. })))
    }

    /// Asks for new tokens, unless those that another process has stored meanwhile will do.
    async fn refresh_unless(&self, fits: impl Fn(&PairedTokens) -> Option<Secret>) -> Result<Secret, DirectoryError> {
        let _lock = lock_within(&self.state_dir.join(LOCK_FILE), LOCK_LIMIT).await?;
        let tokens = self.load()?;
        if let Some(access) = fits(&tokens) {
            return Ok(access);
        }
        let again = |why: &str| DirectoryError::PairAgain(why.to_owned());
        let refresh = tokens.refresh.clone().ok_or_else(|| again("its refresh token is lost"))?;
        // A disk that takes nothing is found out while the token is not spent yet.
        self.save(tokens.clone()).await?;
        let lost = PairedTokens { refresh: None, ..tokens };
        match self.ask(&oauth::refresh_request(&self.config, &self.client_id, &refresh)).await? {
            TokenReplyMeaning::Granted(new) => {
                let access = new.access.clone();
                self.save(PairedTokens::of(new)).await?;
                Ok(access)
            }
            TokenReplyMeaning::Refused => {
                self.save(lost).await?;
                Err(again("it refuses the refresh token, which is good once and for an hour"))
            }
            TokenReplyMeaning::Lost(failure) => {
                self.save(lost).await?;
                Err(again(&format!("its answer was lost, and the refresh token with it: {failure}")))
            }
            TokenReplyMeaning::WrongClient => Err(wrong_client()),
            TokenReplyMeaning::Unspent(failure) => Err(DirectoryError::Exchange { call: oauth::REFRESH, failure }),
        }
    }

    async fn ask(&self, request: &ApiRequest) -> Result<TokenReplyMeaning, DirectoryError> {
        match self.client.send_patiently(request).await {
            Ok(answer) => Ok(oauth::meaning(Ok(answer))),
            Err(DirectoryError::Exchange { failure, .. }) => Ok(oauth::meaning(Err::<_, Failure>(failure))),
            Err(error) => Err(error),
        }
    }

    fn load(&self) -> Result<PairedTokens, DirectoryError> {
        let again = |why: &str| DirectoryError::PairAgain(why.to_owned());
        match self.tokens.load().map_err(|error| DirectoryError::disk(self.tokens.path(), &error))? {
            StoredTokens::Own(tokens) => Ok(tokens),
            StoredTokens::Nothing => Err(again("this box is not paired")),
            StoredTokens::Another => Err(again("this box is paired for another client_id or account_url")),
        }
    }

    async fn save(&self, tokens: PairedTokens) -> Result<(), DirectoryError> {
        self.tokens.save(tokens).await.map_err(|error| DirectoryError::disk(self.tokens.path(), &error))
    }

    fn make_dir(&self) -> Result<(), DirectoryError> {
        durable::directory(&self.state_dir).map_err(|error| DirectoryError::disk(&self.state_dir, &error))
    }
}

fn wrong_client() -> DirectoryError {
    DirectoryError::Unfit("use ezeep: it refuses the client; see client_id and client_secret_file".to_owned())
}

impl PairedTokens {
    fn of(tokens: NewTokens) -> Self {
        let NewTokens { access, refresh, expires_in } = tokens;
        Self { access: Some(access), refresh, obtained: Some(Timestamp::now()), expires_in }
    }

    /// The seconds since the tokens came; `None` where the clock has been set back since.
    fn age(&self, now: Timestamp) -> Option<i64> {
        let age = now.duration_since(self.obtained?).as_secs();
        (age >= 0).then_some(age)
    }

    /// The access token, while it should be good.
    fn fresh(&self, now: Timestamp) -> Option<Secret> {
        let life = i64::try_from(self.expires_in).unwrap_or(i64::MAX / 100);
        let is_young = self.age(now)? * 100 < life.min(i64::MAX / 100) * USE_PERCENT;
        self.access.clone().filter(|_| is_young)
    }

    /// The wait before an idle pairing is refreshed; zero when its time has come, and where its age is not known.
    fn idle_wait(&self, now: Timestamp) -> Duration {
        let life = self.expires_in.clamp(*LIFE_S.start(), *LIFE_S.end());
        let due = Duration::from_millis(life * 10 * IDLE_PERCENT);
        let age = self.obtained.and_then(|obtained| Duration::try_from(now.duration_since(obtained)).ok());
        age.map_or(Duration::ZERO, |age| due.saturating_sub(age))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(expires_in: u64) -> PairedTokens {
        PairedTokens {
            access: Some(Secret::new("a")),
            refresh: Some(Secret::new("r")),
            obtained: Some(Timestamp::UNIX_EPOCH),
            expires_in,
        }
    }

    fn after(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    #[test]
    fn an_access_token_is_used_until_shortly_before_its_end() {
        assert!(tokens(3600).fresh(after(3239)).is_some());
        assert!(tokens(3600).fresh(after(3240)).is_none());
        assert!(tokens(u64::MAX).fresh(after(3240)).is_some());
        assert!(tokens(3600).fresh(after(-1)).is_none(), "a clock that was set back tells no age");
        assert!(PairedTokens { obtained: None, ..tokens(3600) }.fresh(after(1)).is_none());
    }

    #[test]
    fn an_idle_pairing_is_refreshed_before_its_hour_ends() {
        let wait = |life, seconds| tokens(life).idle_wait(after(seconds)).as_secs();
        assert_eq!((wait(3600, 0), wait(3600, 2700), wait(3600, 9999)), (2700, 0, 0));
        assert_eq!(wait(86_400, 0), 2700, "the refresh token lives an hour, whatever the access token does");
        assert_eq!(wait(3600, -1), 0, "a clock that was set back tells no age");
    }
}
