//! The three requests of a device: register, redeem the code, refresh (docs/print-server-api.md, "Device registration").
//!
//! They look like RFC 8628 and differ from it: the grant is the bare word `device_code`, and no interval is named. A body
//! is built once, signed, and sent as those bytes. The status of a refusal is not documented, so its body decides.

use reqwest::Method;
use serde::Deserialize;

use super::key::DeviceKey;
use crate::domain::{Cause, Failure, Secret};
use crate::print_server::{Client, transport, wire};
use crate::random;

/// The box stands for the printer beside it.
const CLIENT_TYPE: &str = "printer";

/// The description that an administrator sees beside the client id.
const DESCRIPTION: &str = concat!("print-release-agent ", env!("CARGO_PKG_VERSION"));

/// The header with the signature over the body, in base64.
const SIGNATURE: &str = "HCP-Request-Signature";

/// The lifetime of an access token where the server does not give one.
const TYPICAL_LIFE_S: u64 = 3600;

/// A pair of tokens.
#[derive(Debug)]
pub(super) struct DeviceTokenPair {
    pub(super) access: Secret,
    /// It can be used once. A server may give none.
    pub(super) refresh: Option<Secret>,
    /// The lifetime of the access token, in seconds.
    pub(super) expires_in: u64,
}

/// Why a request brought nothing.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum OauthError {
    /// An administrator has not approved the device yet.
    Pending,
    /// The server refused it, with this word.
    Denied(String),
    /// No answer came, or none that can be read.
    Failed(Failure),
}

impl From<Failure> for OauthError {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// The token service, as one device sees it.
#[derive(Debug)]
pub(super) struct Oauth {
    pub(super) client: Client,
    pub(super) key: DeviceKey,
    pub(super) client_id: String,
}

impl Oauth {
    /// Registers the device and gives its code. Signed, it is the same device again, which keeps its trust; unsigned, it
    /// is a new one that needs approval.
    pub(super) async fn register(&self, signed: bool) -> Result<Secret, OauthError> {
        #[derive(Deserialize)]
        struct Registered {
            device_code: String,
            state: Option<String>,
        }
        let (nonce, public) = (format!("{:032x}", random::bits()), self.key.public());
        let rest = [
            ("client_type", CLIENT_TYPE),
            ("response_type", "device_code"),
            ("client_description", DESCRIPTION),
            ("state", &nonce),
            ("public_key", &public),
            ("key_type", "ed25519"),
        ];
        let answer: Registered = self.post("register", &rest, signed).await?;
        if answer.state.as_deref() != Some(&nonce) {
            let detail = "the registration was answered without the nonce that was sent with it";
            return Err(Failure::new(Cause::Malformed, detail).into());
        }
        Ok(Secret::new(answer.device_code))
    }

    /// The tokens of an approved device, for its code.
    pub(super) async fn redeem(&self, code: &Secret) -> Result<DeviceTokenPair, OauthError> {
        self.tokens(&[("grant_type", "device_code"), ("device_code", code.expose())]).await
    }

    /// A new pair of tokens. The refresh token is used up, unless nothing was sent.
    pub(super) async fn refresh(&self, refresh: &Secret) -> Result<DeviceTokenPair, OauthError> {
        self.tokens(&[("grant_type", "refresh_token"), ("refresh_token", refresh.expose())]).await
    }

    async fn tokens(&self, grant: &[(&str, &str)]) -> Result<DeviceTokenPair, OauthError> {
        #[derive(Deserialize)]
        struct Granted {
            access_token: String,
            refresh_token: Option<String>,
            expires_in: Option<u64>,
        }
        let granted: Granted = self.post("token", grant, true).await?;
        Ok(DeviceTokenPair {
            access: Secret::new(granted.access_token),
            refresh: granted.refresh_token.map(Secret::new),
            expires_in: granted.expires_in.unwrap_or(TYPICAL_LIFE_S),
        })
    }

    async fn post<T: serde::de::DeserializeOwned>(
        &self,
        path: &str,
        rest: &[(&str, &str)],
        signed: bool,
    ) -> Result<T, OauthError> {
        let Client { transport, settings, .. } = &self.client;
        let body = body(&self.client_id, &settings.api_key, rest);
        let mut request = transport.request(Method::POST, self.client.oauth_url(path), None);
        if signed {
            request = request.header(SIGNATURE, self.key.sign(body.as_bytes()));
        }
        let answer = transport.answer(transport::encoded_form(request, body)).await?;
        match refusal(&answer) {
            Some(refusal) => Err(refusal),
            None => Ok(wire::decode(&answer.body, "the token service's answer")?),
        }
    }
}

/// The bytes that are signed and sent: who asks, and then the rest in its order.
fn body(client_id: &str, api_key: &Secret, rest: &[(&str, &str)]) -> String {
    let who = [("client_id", client_id), ("client_secret", api_key.expose())];
    transport::encode(&[&who, rest].concat())
}

/// The refusal that an answer stands for, or `None` for a success.
fn refusal(answer: &transport::HttpAnswer) -> Option<OauthError> {
    let failure = answer.failure();
    let is_verdict =
        failure.as_ref().is_none_or(|failure| matches!(failure.cause, Cause::Refused(_) | Cause::Rejected));
    match transport::oauth_error(&answer.body).filter(|_| is_verdict).as_deref() {
        Some("authorization_pending" | "slow_down") => Some(OauthError::Pending),
        Some("server_error" | "temporarily_unavailable") => {
            let detail = "the token service is not able to answer now";
            Some(Failure::new(Cause::Overloaded { retry_after: None }, detail).into())
        }
        Some(word) => Some(OauthError::Denied(word.to_owned())),
        None if is_verdict => failure.map(|_| OauthError::Denied(format!("HTTP {}", answer.status.as_u16()))),
        None => failure.map(OauthError::Failed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn body_and_signature_are_those_of_the_documented_example() {
        let key = DeviceKey::documented();
        assert_eq!(key.public(), "HUUtnCdtG1x9oiSI4ODtvIEmI/qp7lFknsu1lpVk8T8=");
        let rest = [("grant_type", "device_code"), ("device_code", "wVgzOcLwemGJPfY_d01E3PA8H3k")];
        let body = body("0966a26c-a5fc-4276-9c6b-587d02aceb91", &Secret::new("mykey"), &rest);
        let documented = "client_id=0966a26c-a5fc-4276-9c6b-587d02aceb91&client_secret=mykey&\
                          grant_type=device_code&device_code=wVgzOcLwemGJPfY_d01E3PA8H3k";
        assert_eq!(body, documented);
        let signature = "MKS1dCmgp4rLbZ2oaQeFb9pultWjI0zU7si5lb3oLCJWH8t8jgps4LLz/isPSa5OWfQAtFB3NAu04axirmF9CA==";
        assert_eq!(key.sign(body.as_bytes()), signature);
    }

    #[test]
    fn a_public_key_is_percent_encoded_in_the_form() {
        let body = body("a b", &Secret::new("k&y"), &[("public_key", "+/=")]);
        assert_eq!(body, "client_id=a+b&client_secret=k%26y&public_key=%2B%2F%3D");
    }

    #[test]
    fn a_refusal_is_told_by_its_body_and_only_then_by_its_status() {
        let judge = |status, body: &str| refusal(&transport::HttpAnswer::new(status, body));
        let denied = |word: &str| Some(OauthError::Denied(word.to_owned()));
        assert_eq!(judge(200, r#"{"device_code":"x"}"#), None);
        for status in [200, 400, 401, 403] {
            assert_eq!(judge(status, r#"{"error":"authorization_pending"}"#), Some(OauthError::Pending), "{status}");
            assert_eq!(judge(status, r#"{"error":"invalid_grant"}"#), denied("invalid_grant"), "{status}");
        }
        assert_eq!(judge(403, "<html>"), denied("HTTP 403"));
        let cause = |status, body| match judge(status, body) {
            Some(OauthError::Failed(failure)) => Some(failure.cause),
            _ => None,
        };
        assert_eq!(cause(500, r#"{"error":"invalid_grant"}"#), Some(Cause::Lost { at_work: false }));
        assert_eq!(cause(404, r#"{"error":"not_found"}"#), Some(Cause::NotFound));
        assert_eq!(cause(400, r#"{"error":"server_error"}"#), Some(Cause::Overloaded { retry_after: None }));
    }
}
