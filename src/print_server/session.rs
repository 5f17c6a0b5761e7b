//! A user who has logged in, for the time of one tap. The tokens are in memory only.

use std::time::{Duration, Instant};

use reqwest::header::HeaderValue;
use reqwest::{Method, RequestBuilder};
use tokio::sync::Mutex;

use super::transport::{self, Body};
use super::{Client, OutputPortInfo, Version, once_more_if_cut, rows, wire};
use crate::domain::{Cause, Document, DocumentStatus, Duplex, Failure, OutputPort, ReleaseOptions, Secret, User, Who};

/// The most documents that one list can hold; it has no pages (docs/print-server-api.md, "List of documents").
const LIST_LIMIT: usize = 500;

/// The life of a user's token where the server does not tell it (docs/print-server-api.md, "User and device tokens").
const TYPICAL_LIFE: Duration = Duration::from_secs(3_600);

/// All the numbers of docs/print-server-api.md, "Document status"; the list shows only READY unless asked.
const EVERY_STATUS: [&str; 10] = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];

/// The numbers of documents that will become ready.
const COMING: [&str; 3] = ["5", "6", "7"];

/// A login with its tokens.
#[derive(Debug)]
pub struct Session {
    client: Client,
    user: User,
    tokens: Mutex<UserTokens>,
    began: Instant,
    /// The time for which the tokens of the login are good.
    life: Duration,
}

#[derive(Debug)]
struct UserTokens {
    access: HeaderValue,
    refresh: Option<Secret>,
    /// Counts refreshes, so that one refusal seen by many requests leads to one refresh.
    generation: u32,
}

impl Session {
    pub(super) fn new(client: Client, user: User, info: wire::TokenInfo) -> Result<Self, Failure> {
        let life = info.expires_in.map_or(TYPICAL_LIFE, Duration::from_secs);
        let tokens = Mutex::new(UserTokens::new(info, 0)?);
        Ok(Self { client, user, tokens, began: Instant::now(), life })
    }

    /// The user who logged in.
    pub fn user(&self) -> &User {
        &self.user
    }

    /// As [`Client::settled_after`].
    pub fn settled_after(&self) -> Duration {
        self.client.settled_after()
    }

    /// `GET /documents`: the documents that wait for this user, or if none does, those that are still being converted.
    pub async fn documents(&self) -> Result<Vec<Document>, Failure> {
        let (mut documents, mut more) = (Vec::new(), 0_usize);
        let keep = |document| if documents.len() < LIST_LIMIT { documents.push(document) } else { more += 1 };
        self.list(&EVERY_STATUS[..1], keep).await?;
        if more > 0 {
            tracing::warn!(more, "the list is longer than was asked for; the others wait for the next tap");
        }
        if documents.is_empty() {
            // Nothing is lost by a failure: the person is told that nothing waits, as without this question.
            let coming = |document: &Document| document.status == DocumentStatus::Coming;
            let keep = |document| {
                if coming(&document) && documents.len() < LIST_LIMIT {
                    documents.push(document);
                }
            };
            if let Err(failure) = self.list(&COMING, keep).await {
                tracing::debug!(error = %failure, "documents that are being converted not listed");
            }
        }
        Ok(documents)
    }

    /// The status of one document, from a list of every status; `None` when the server does not list it.
    pub async fn status_of(&self, uuid: &str) -> Result<Option<DocumentStatus>, Failure> {
        let mut found = Vec::new();
        let keep = |document: Document| found.extend((document.uuid == uuid).then_some(document.status));
        self.list(&EVERY_STATUS, keep).await?;
        Ok(DocumentStatus::of_rows(found.into_iter()))
    }

    async fn list(&self, statuses: &[&str], each: impl FnMut(Document)) -> Result<(), Failure> {
        let mut url = self.client.url(&["documents"]);
        // Repeated keys: a real server answered a comma list with 404.
        url.query_pairs_mut().extend_pairs(statuses.iter().map(|status| ("status", status)));
        url.query_pairs_mut().append_pair("maxRecords", &LIST_LIMIT.to_string());
        let request = |bearer: &HeaderValue| self.client.transport.request(Method::GET, url.clone(), Some(bearer));
        let answer = once_more_if_cut(|| self.authorized(&request)).await?;
        let unstated = if statuses.len() == 1 { DocumentStatus::Ready } else { DocumentStatus::Other };
        self.client.note_refused_rows(rows::document_list(&answer, unstated, each)?, "the document list");
        Ok(())
    }

    /// `POST /documents/{uuid}/{port}` (docs/print-server-api.md, "Release a document"). Options that are unset are left
    /// out, or they would override the job ticket. It is never sent twice, because it is not idempotent.
    pub async fn release(&self, uuid: &str, port: &OutputPort, options: &ReleaseOptions) -> Result<(), Failure> {
        let mut fields: Vec<(&str, String)> = Vec::new();
        fields.extend(options.copies.map(|copies| ("copies", copies.to_string())));
        fields.extend(options.grayscale.map(|gray| ("grayscale", gray.to_string())));
        fields.extend(options.retain.then(|| ("retain", "true".to_owned())));
        fields.extend(options.duplex.map(|duplex| ("duplex", duplex_number(duplex).to_owned())));
        let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        // A document of a journal that an older version wrote, or a port of a library's caller: the path would lose them.
        if let Some(lost) = [uuid, port.name()].into_iter().find(|segment| ["", ".", ".."].contains(segment)) {
            return Err(Failure::new(Cause::Rejected, format!("\"{lost}\" cannot stand in the path of a URL")));
        }
        let url = self.client.url(&["documents", uuid, port.name()]);
        let request = |bearer: &HeaderValue| {
            transport::form(self.client.transport.request(Method::POST, url.clone(), Some(bearer)), &fields)
        };
        let answer = self.authorized(&request).await.and_then(|answer| wire::acknowledge(&answer, "the release"));
        answer.map_err(|failure| match failure.cause {
            // Most often the server knows no such printer.
            Cause::Rejected | Cause::NotFound => {
                Failure::new(failure.cause, format!("to output_port \"{}\": {}", port.name(), failure.detail))
            }
            _ => failure,
        })
    }

    /// `GET /version`, for which a server may want somebody to be logged in.
    pub async fn version(&self) -> Result<Version, Failure> {
        let url = self.client.url(&["version"]);
        let request = |bearer: &HeaderValue| self.client.transport.request(Method::GET, url.clone(), Some(bearer));
        wire::decode(&self.authorized(&request).await?, "the version")
    }

    /// `GET /outputports`: the ports that this user may print to.
    pub async fn output_ports(&self) -> Result<Vec<OutputPortInfo>, Failure> {
        let url = self.client.url(&["outputports"]);
        let request = |bearer: &HeaderValue| self.client.transport.request(Method::GET, url.clone(), Some(bearer));
        let list: wire::List<OutputPortInfo> = wire::decode(&self.authorized(&request).await?, "the output ports")?;
        Ok(list.into_vec())
    }

    /// Sends with the user's token. A refusal is not work done, so one refresh and one more try are safe. Servers say
    /// 401 or 403 for a token that has expired.
    async fn authorized(&self, request: &impl Fn(&HeaderValue) -> RequestBuilder) -> Result<Body, Failure> {
        let (access, generation) = {
            let tokens = self.tokens.lock().await;
            (tokens.access.clone(), tokens.generation)
        };
        let refused = match self.client.transport.exchange(request(&access)).await {
            Err(failure) if matches!(failure.cause, Cause::Refused(_)) => failure,
            result => return result,
        };
        match self.refresh(generation).await {
            // A token that was just made is refused for want of a right.
            Ok(Refreshed::Newer(access)) => {
                let again = self.client.transport.exchange(request(&access)).await;
                again.map_err(|failure| explained(failure, Who::Right))
            }
            // This request was refused, so nothing was done, however the refresh ended.
            Ok(Refreshed::Refused) => Err(explained(refused, Who::Expired)),
            Ok(Refreshed::Impossible) | Err(_) => {
                Err(explained(refused, if self.is_outdated() { Who::Expired } else { Who::Right }))
            }
        }
    }

    /// Whether the tokens of the login are older than the server lets them become.
    fn is_outdated(&self) -> bool {
        self.began.elapsed() >= self.life
    }

    /// A newer access token than that of `generation`, if the server gives one. The lock keeps it to one refresh at a time.
    async fn refresh(&self, generation: u32) -> Result<Refreshed, Failure> {
        let mut tokens = self.tokens.lock().await;
        if tokens.generation != generation {
            return Ok(Refreshed::Newer(tokens.access.clone()));
        }
        // Taken and not borrowed: it can be used once, and an answer that is lost has used it up.
        let Some(refresh) = tokens.refresh.take() else {
            return Ok(Refreshed::Impossible);
        };
        match self.client.refresh_user_token(&refresh).await {
            Ok(info) => {
                *tokens = UserTokens::new(info, generation + 1)?;
                Ok(Refreshed::Newer(tokens.access.clone()))
            }
            Err(failure) if matches!(failure.cause, Cause::Refused(_) | Cause::Rejected) => Ok(Refreshed::Refused),
            Err(failure) => Err(failure),
        }
    }
}

/// The outcome of a refresh.
enum Refreshed {
    Newer(HeaderValue),
    /// The server refused the refresh token, so the login is over.
    Refused,
    /// There is no refresh token, or it was used.
    Impossible,
}

/// A refusal with the kind that follows from what was tried, unless the server told one.
fn explained(failure: Failure, who: Who) -> Failure {
    match failure.cause {
        Cause::Refused(Who::Token) => Failure { cause: Cause::Refused(who), ..failure },
        _ => failure,
    }
}

impl UserTokens {
    fn new(info: wire::TokenInfo, generation: u32) -> Result<Self, Failure> {
        let access = transport::bearer(&Secret::new(info.access_token))
            .map_err(|error| Failure::new(Cause::Malformed, error.to_string()))?;
        Ok(Self { access, refresh: info.refresh_token.map(Secret::new), generation })
    }
}

impl Client {
    /// Gives a refresh token for a new pair of tokens: `POST /oauth/v1/token` with the client id `api`, and on servers
    /// that do not have it `GET /token` (docs/print-server-api.md, "User and device tokens").
    async fn refresh_user_token(&self, refresh: &Secret) -> Result<wire::TokenInfo, Failure> {
        let fields = [
            ("client_id", "api"),
            ("client_secret", self.settings.api_key.expose()),
            ("grant_type", "refresh_token"),
            ("refresh_token", refresh.expose()),
        ];
        let request = self.transport.request(Method::POST, self.oauth_url("token"), None);
        // The token service may be another server, so this does not show whether the print server can be reached.
        let granted = self.transport.answer(transport::form(request, &fields)).await;
        let granted = granted.and_then(|answer| answer.failure().map_or(Ok(answer.body), Err));
        let answer = match granted {
            Err(Failure { cause: Cause::NotFound | Cause::Unreachable, .. }) => {
                let mut url = self.url(&["token"]);
                url.query_pairs_mut().append_pair("refresh_token", refresh.expose());
                let request = self.transport.request(Method::GET, url, None);
                self.transport.exchange(request).await?
            }
            result => result?,
        };
        wire::decode(&answer, "the new token")
    }
}

fn duplex_number(duplex: Duplex) -> &'static str {
    match duplex {
        Duplex::Simplex => "0",
        Duplex::LongEdge => "1",
        Duplex::ShortEdge => "2",
    }
}
