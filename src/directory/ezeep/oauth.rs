//! The words of ezeep's authorization: the address that a person opens, the two requests for tokens, and their answers
//! (docs/directory.md, "ezeep"). Pure.

use reqwest::{Method, Url};
use serde::Deserialize;
use serde_json::Value;

use crate::config::EzeepConfig;
use crate::directory::http::{ApiAnswer, ApiRequest, Authorization, address, seconds};
use crate::domain::{Cause, Failure, Secret};

const SCOPE: &str = "printing";

pub(super) const REDEEM: &str = "redeem the code for tokens";
pub(super) const REFRESH: &str = "refresh the tokens";

/// The lifetime of an access token, and that of a refresh token, where the service does not give one.
pub(super) const TYPICAL_LIFE_S: u64 = 3600;

/// The client at ezeep's token service.
#[derive(Clone, Debug)]
pub(super) struct EzeepClientId {
    pub(super) id: String,
    pub(super) secret: Option<Secret>,
}

/// The address that a person opens in a browser.
pub(super) fn authorize_url(config: &EzeepConfig, client: &EzeepClientId, state: &str) -> Url {
    let mut url = address(&config.account_url, &["oauth", "authorize"], false);
    url.query_pairs_mut()
        .append_pair("response_type", "code")
        .append_pair("client_id", &client.id)
        .append_pair("redirect_uri", &config.redirect_uri)
        .append_pair("scope", SCOPE)
        .append_pair("state", state);
    url
}

pub(super) fn redeem_request(config: &EzeepConfig, client: &EzeepClientId, code: &Secret) -> ApiRequest {
    let fields = [
        ("grant_type", "authorization_code"),
        ("scope", SCOPE),
        ("code", code.expose()),
        ("redirect_uri", config.redirect_uri.as_str()),
    ];
    token_request(REDEEM, config, client).form(&fields)
}

pub(super) fn refresh_request(config: &EzeepConfig, client: &EzeepClientId, refresh: &Secret) -> ApiRequest {
    let fields = [("grant_type", "refresh_token"), ("scope", SCOPE), ("refresh_token", refresh.expose())];
    token_request(REFRESH, config, client).form(&fields)
}

/// The slash at the end stands in the documented requests; without it a redirect would lose the form.
fn token_request(call: &'static str, config: &EzeepConfig, client: &EzeepClientId) -> ApiRequest {
    let url = address(&config.account_url, &["oauth", "access_token"], true);
    ApiRequest::new(call, Method::POST, url).authorized(Authorization::Basic(client.id.clone(), client.secret.clone()))
}

/// New tokens.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NewTokens {
    pub(super) access: Secret,
    /// A server may give none.
    pub(super) refresh: Option<Secret>,
    pub(super) expires_in: u64,
}

/// The meaning of an answer of the token service for the code or token that was sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum TokenReplyMeaning {
    /// New tokens; the old ones are spent.
    Granted(NewTokens),
    /// It is refused for good.
    Refused,
    /// The client itself is refused; the code or token is as it was.
    WrongClient,
    /// It may be spent, and nothing came for it.
    Lost(Failure),
    /// No tokens were given for it, as far as the service says. It may be tried again, and the service will say if it was spent.
    Unspent(Failure),
}

/// The scope of the answer is not looked at: a refreshed token comes with an empty one.
pub(super) fn meaning(answer: Result<ApiAnswer, Failure>) -> TokenReplyMeaning {
    let answer = match answer {
        Ok(answer) => answer,
        Err(failure) if failure.cause == Cause::Unreachable => return TokenReplyMeaning::Unspent(failure),
        Err(failure) => return TokenReplyMeaning::Lost(failure),
    };
    let body = zeroize::Zeroizing::new(answer.body.clone());
    match answer.failure() {
        None => match granted(&body) {
            Some(tokens) => TokenReplyMeaning::Granted(tokens),
            None => TokenReplyMeaning::Lost(Failure::new(Cause::Malformed, "the answer has no tokens")),
        },
        Some(failure) => match failure.cause {
            Cause::Rejected | Cause::Refused(_) => match error_word(&body).as_deref() {
                Some("invalid_client" | "unauthorized_client") => TokenReplyMeaning::WrongClient,
                _ => TokenReplyMeaning::Refused,
            },
            _ => TokenReplyMeaning::Unspent(failure),
        },
    }
}

fn granted(body: &[u8]) -> Option<NewTokens> {
    #[derive(Deserialize)]
    struct GrantedBody {
        access_token: String,
        refresh_token: Option<String>,
        expires_in: Option<Value>,
    }
    let GrantedBody { access_token, refresh_token, expires_in } = serde_json::from_slice(body).ok()?;
    let refresh = refresh_token.filter(|token| !token.is_empty()).map(Secret::new);
    (!access_token.is_empty()).then(|| NewTokens {
        access: Secret::new(access_token),
        refresh,
        expires_in: expires_in.as_ref().and_then(seconds).filter(|life| *life > 0).unwrap_or(TYPICAL_LIFE_S),
    })
}

/// `error` of a refusal (RFC 6749, section 5.2): a word, never the body itself.
fn error_word(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct RefusalBody {
        error: String,
    }
    let is_word = |word: &str| word.len() <= 64 && word.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    serde_json::from_slice(body).ok().map(|RefusalBody { error }| error).filter(|word| is_word(word))
}

/// The end of a person's way through the browser: what the address has to say.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BrowserAnswer {
    pub(super) code: Result<Secret, String>,
    pub(super) state: Option<String>,
}

/// Reads a pasted code, a pasted address, or the part of an address behind its `?`. `None` where it is none of them.
pub(super) fn browser_answer(text: &str) -> Option<BrowserAnswer> {
    let text = text.trim();
    let query = match Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") => url.query().unwrap_or_default().to_owned(),
        _ => match text.trim_start_matches('?') {
            query if query.starts_with("code=") || query.contains("&code=") => query.to_owned(),
            code if code.is_empty() || !code.bytes().all(|byte| byte.is_ascii_graphic()) => return None,
            code => return Some(BrowserAnswer { code: Ok(Secret::new(code)), state: None }),
        },
    };
    let of = |name: &str| {
        let mut pairs = form_urlencoded::parse(query.as_bytes());
        pairs.find(|(key, _)| key == name).map(|(_, value)| value.into_owned()).filter(|value| !value.is_empty())
    };
    let code = match (of("code"), of("error")) {
        (_, Some(word)) => Err(word),
        (Some(code), None) => Ok(Secret::new(code)),
        (None, None) => return None,
    };
    Some(BrowserAnswer { code, state: of("state") })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::http::ApiBody;

    fn config() -> EzeepConfig {
        EzeepConfig {
            client_id: None,
            client_secret: None,
            account_url: "https://account.ezeep.com".parse().unwrap(),
            api_url: "https://api2.ezeep.com/printing/v1".parse().unwrap(),
            organization_id: None,
            redirect_uri: "https://www.ezeep.com".to_owned(),
            cache_max_age: std::time::Duration::ZERO,
            when_stale: crate::config::WhenStale::Refuse,
        }
    }

    fn client() -> EzeepClientId {
        EzeepClientId { id: "78KY".to_owned(), secret: None }
    }

    fn form(request: &ApiRequest) -> &str {
        let ApiBody::Form(form) = &request.body else { panic!("a form") };
        form
    }

    #[test]
    fn the_requests_are_the_documented_ones() {
        let (config, client) = (config(), client());
        let url = authorize_url(&config, &client, "s/1");
        let expected = "https://account.ezeep.com/oauth/authorize?response_type=code&client_id=78KY\
                        &redirect_uri=https%3A%2F%2Fwww.ezeep.com&scope=printing&state=s%2F1";
        assert_eq!(url.as_str(), expected, "the redirect address is kept letter for letter");
        let redeem = redeem_request(&config, &client, &Secret::new("c"));
        assert_eq!(redeem.url.as_str(), "https://account.ezeep.com/oauth/access_token/");
        let expected = "grant_type=authorization_code&scope=printing&code=c&redirect_uri=https%3A%2F%2Fwww.ezeep.com";
        assert_eq!(form(&redeem), expected);
        let refresh = refresh_request(&config, &client, &Secret::new("r"));
        assert_eq!(form(&refresh), "grant_type=refresh_token&scope=printing&refresh_token=r");
    }

    #[test]
    fn an_answer_says_what_became_of_the_token() {
        let of = |status, body: &str| meaning(Ok(ApiAnswer::sample(status, body)));
        let good = r#"{"access_token":"a","token_type":"Bearer","expires_in":3600,"scope":"","refresh_token":"r"}"#;
        let tokens = NewTokens { access: Secret::new("a"), refresh: Some(Secret::new("r")), expires_in: 3600 };
        assert_eq!(of(200, good), TokenReplyMeaning::Granted(tokens), "an empty scope is no change");
        assert_eq!(of(400, r#"{"error":"invalid_grant"}"#), TokenReplyMeaning::Refused);
        assert_eq!(of(400, "<html>"), TokenReplyMeaning::Refused);
        assert_eq!(of(401, r#"{"error":"invalid_client"}"#), TokenReplyMeaning::WrongClient);
        for body in ["<html>", "{}", ""] {
            assert!(matches!(of(200, body), TokenReplyMeaning::Lost(_)), "{body}");
        }
        for (life, expected) in [("\"60\"", 60), ("60.0", 60), ("null", 3600), ("-1", 3600)] {
            let tokens = of(200, &good.replace("3600", life));
            assert!(
                matches!(tokens, TokenReplyMeaning::Granted(NewTokens { expires_in, .. }) if expires_in == expected),
                "{life}"
            );
        }
        for status in [302, 404, 429, 500, 502, 503] {
            assert!(matches!(of(status, ""), TokenReplyMeaning::Unspent(_)), "{status}");
        }
        let failure = |cause| meaning(Err(Failure::new(cause, "")));
        assert!(matches!(failure(Cause::Unreachable), TokenReplyMeaning::Unspent(_)));
        assert!(matches!(failure(Cause::Lost { at_work: false }), TokenReplyMeaning::Lost(_)));
    }

    #[test]
    fn a_code_may_be_pasted_alone_or_with_its_address() {
        let code = |text: &str| {
            browser_answer(text).map(|answer| (answer.code.map(|code| code.expose().to_owned()), answer.state))
        };
        let answer = |code: &str, state: Option<&str>| Some((Ok(code.to_owned()), state.map(str::to_owned)));
        assert_eq!(code(" UWvS-b_1 \n"), answer("UWvS-b_1", None));
        assert_eq!(code("https://www.ezeep.com/?code=a%2Bb&state=s"), answer("a+b", Some("s")));
        assert_eq!(code("http://127.0.0.1:8632/?state=s&code=a"), answer("a", Some("s")));
        assert_eq!(code("?code=a&state="), answer("a", None));
        assert_eq!(
            code("https://h/?error=access_denied&state=s"),
            Some((Err("access_denied".to_owned()), Some("s".to_owned())))
        );
        for bad in ["", " ", "two words", "https://www.ezeep.com/", "https://h/?state=s"] {
            assert_eq!(code(bad), None, "{bad}");
        }
    }
}
