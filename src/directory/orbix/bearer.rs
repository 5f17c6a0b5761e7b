//! The bearer for Orbix: from a file, or from the token service (RFC 6749, section 4.4). It lives in memory for one push.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde::Deserialize;

use crate::config::OrbixCredential;
use crate::directory::DirectoryError;
use crate::directory::http::{ApiRequest, DirectoryClient, seconds};
use crate::domain::{Cause, Secret};

const CALL: &str = "get a token for Orbix";

/// A token is asked for again this long before its end.
const MARGIN: Duration = Duration::from_secs(30);

/// The lifetime of a token where the service does not give one.
const TYPICAL_LIFE_S: u64 = 300;

#[derive(Deserialize)]
struct BearerAnswer {
    access_token: String,
    expires_in: Option<serde_json::Value>,
}

/// The way to a bearer, with the last one.
#[derive(Debug)]
pub(super) struct BearerSource {
    credential: OrbixCredential,
    /// With the time at which it should be replaced.
    last: Option<(Secret, Option<Instant>)>,
}

impl BearerSource {
    pub(super) fn new(credential: OrbixCredential) -> Self {
        Self { credential, last: None }
    }

    /// Whether a new bearer may be had where one was refused.
    pub(super) fn can_renew(&self) -> bool {
        matches!(self.credential, OrbixCredential::Client { .. })
    }

    /// Forgets a bearer that was refused.
    pub(super) fn forget(&mut self) {
        self.last = None;
    }

    /// A bearer that should be good now.
    pub(super) async fn bearer(&mut self, client: &DirectoryClient) -> Result<Secret, DirectoryError> {
        match &self.last {
            Some((token, until)) if until.is_none_or(|until| Instant::now() < until) => return Ok(token.clone()),
            _ => {}
        }
        let secret = |why| DirectoryError::Secret { table: "orbix", why };
        let last = match &self.credential {
            OrbixCredential::Token(file) => (file.read().map_err(secret)?, None),
            OrbixCredential::Client { token_url, client_id, client_secret, scope } => {
                let request =
                    token_request(token_url, client_id, &client_secret.read().map_err(secret)?, scope.as_deref());
                let answer = client.send_patiently(&request).await?;
                let body = zeroize::Zeroizing::new(answer.accepted(&request).map_err(refusal)?);
                let answer: BearerAnswer = serde_json::from_slice(&body)
                    .map_err(|_| DirectoryError::malformed(CALL, "the answer is no token"))?;
                let life = Duration::from_secs(answer.expires_in.as_ref().and_then(seconds).unwrap_or(TYPICAL_LIFE_S))
                    .saturating_sub(MARGIN);
                (Secret::new(answer.access_token), Instant::now().checked_add(life))
            }
        };
        let token = last.0.clone();
        self.last = Some(last);
        Ok(token)
    }
}

fn token_request(url: &reqwest::Url, client_id: &str, secret: &Secret, scope: Option<&str>) -> ApiRequest {
    let mut fields = vec![("grant_type", "client_credentials")];
    fields.extend(scope.map(|scope| ("scope", scope)));
    fields.extend([("client_id", client_id), ("client_secret", secret.expose())]);
    ApiRequest::new(CALL, Method::POST, url.clone()).form(&fields)
}

/// A token service says 400 or 401 to a client that it does not know.
fn refusal(error: DirectoryError) -> DirectoryError {
    match error.cause() {
        Some(Cause::Rejected | Cause::Refused(_)) => {
            let why = "its token service refuses the client; see client_id, client_secret_file and scope";
            DirectoryError::Unfit(format!("use Orbix: {why}"))
        }
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::http::ApiBody;

    #[test]
    fn the_fields_of_a_token_request_are_those_of_the_document_in_its_order() {
        let url = reqwest::Url::parse("https://auth.example.com/connect/token").unwrap();
        let request = token_request(&url, "c&1", &Secret::new("s 1"), Some("a b"));
        let ApiBody::Form(body) = request.body else { panic!("a form") };
        assert_eq!(body.as_str(), "grant_type=client_credentials&scope=a+b&client_id=c%261&client_secret=s+1");
    }
}
