//! A session at zops: opened with the account's password, closed when the work is over.
//!
//! The document's samples send the token alone, and two of them behind the word `Token`. The first request finds out: it only
//! reads. A session that has ended answers 400 or 401, so either is one login and one repeat.

use reqwest::Url;
use serde_json::Value;
use zeroize::Zeroizing;

use super::wire;
use crate::directory::DirectoryError;
use crate::directory::http::{ApiAnswer, ApiRequest, Authorization, DirectoryClient};
use crate::domain::{Cause, Secret};

/// The account that this box is enrolled with.
#[derive(Clone, Debug)]
pub(super) struct ZopsAccount {
    pub(super) url: Url,
    pub(super) email: String,
    pub(super) password: Secret,
}

/// The form of the header with the session's token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TokenHeader {
    Bare,
    Word,
}

#[derive(Debug)]
pub(super) struct ZopsSession {
    client: DirectoryClient,
    account: ZopsAccount,
    token: Secret,
    header: TokenHeader,
    /// Whether a second login may still be tried.
    can_renew: bool,
}

impl ZopsSession {
    /// Logs in and reads the account, which comes with it.
    pub(super) async fn open(client: &DirectoryClient, account: &ZopsAccount) -> Result<(Self, Value), DirectoryError> {
        let token = log_in(client, account).await?;
        let mut session = Self {
            client: client.clone(),
            account: account.clone(),
            token,
            header: TokenHeader::Bare,
            can_renew: false,
        };
        let result = match session.read_account().await {
            Err(_) if session.header == TokenHeader::Word => session.read_account().await,
            result => result,
        };
        match result {
            Ok(content) => Ok((Self { can_renew: true, ..session }, content)),
            Err(error) => {
                // It is not known which of the two forms is the right one.
                if session.header == TokenHeader::Word && !session.close().await {
                    session.header = TokenHeader::Bare;
                }
                if session.header == TokenHeader::Bare {
                    session.close().await;
                }
                Err(error)
            }
        }
    }

    /// Reads the account. A refusal of the bare token makes the next request use the other form.
    async fn read_account(&mut self) -> Result<Value, DirectoryError> {
        let request = wire::me(&self.account.url);
        let answer = self.send(&request).await?;
        if is_no_session(&answer) || answer.status == 403 {
            self.header = TokenHeader::Word;
        }
        content(&request, answer)
    }

    pub(super) fn base(&self) -> &Url {
        &self.account.url
    }

    /// Sends one request and gives the content of its 2xx.
    pub(super) async fn ask(&mut self, request: &ApiRequest) -> Result<Value, DirectoryError> {
        let mut answer = self.send(request).await?;
        if self.can_renew && is_no_session(&answer) {
            self.can_renew = false;
            // It may be the request that was refused, and not the session.
            drop(self.send(&wire::log_out(&self.account.url)).await);
            self.token = log_in(&self.client, &self.account).await?;
            answer = self.send(request).await?;
        }
        content(request, answer)
    }

    /// Ends the session, and tells whether zops took that.
    pub(super) async fn close(&self) -> bool {
        let request = wire::log_out(&self.account.url);
        match self.send(&request).await.and_then(|answer| answer.accepted(&request)) {
            Ok(_) => true,
            Err(error) => {
                tracing::warn!("failed to {error}; the session ends by itself within a week");
                false
            }
        }
    }

    async fn send(&self, request: &ApiRequest) -> Result<ApiAnswer, DirectoryError> {
        let token = match self.header {
            TokenHeader::Bare => self.token.clone(),
            TokenHeader::Word => Secret::new(Zeroizing::new(format!("Token {}", self.token.expose())).as_str()),
        };
        let request = request.clone().authorized(Authorization::Plain(token));
        self.client.send_patiently(&request).await
    }
}

/// The content of a 2xx.
fn content(request: &ApiRequest, answer: ApiAnswer) -> Result<Value, DirectoryError> {
    let body = Zeroizing::new(answer.accepted(request)?);
    wire::content(&body).ok_or_else(|| DirectoryError::malformed(request.call, "the answer is no JSON"))
}

async fn log_in(client: &DirectoryClient, account: &ZopsAccount) -> Result<Secret, DirectoryError> {
    let request = wire::log_in(&account.url, &account.email, &account.password);
    let answer = client.send_patiently(&request).await?;
    let body = Zeroizing::new(answer.accepted(&request).map_err(|error| match error.cause() {
        Some(Cause::Rejected | Cause::Refused(_)) => {
            DirectoryError::Unfit("log in at zops: it refuses the account; see email and password_file".to_owned())
        }
        _ => error,
    })?);
    let token = wire::content(&body).and_then(|content| wire::text(&content, "token"));
    token.map(Secret::new).ok_or_else(|| DirectoryError::malformed(request.call, "the answer has no token"))
}

/// Whether a session that has ended, or a header of the wrong form, would be refused like this.
fn is_no_session(answer: &ApiAnswer) -> bool {
    matches!(answer.status.as_u16(), 400 | 401)
}
