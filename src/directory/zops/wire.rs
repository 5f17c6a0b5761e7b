//! The requests to zops and the content of its answers (docs/directory.md, "zops"). Pure.
//!
//! Every 2xx is good, because the document labels the same call differently from sample to sample. The envelope around the
//! content is optional, and content may be missing where nothing is needed of it.

use reqwest::{Method, Url};
use serde_json::{Value, json};

use crate::directory::http::{ApiRequest, address};
use crate::domain::Secret;

pub(super) fn log_in(base: &Url, email: &str, password: &Secret) -> ApiRequest {
    ApiRequest::new("log in at zops", Method::POST, address(base, &["session"], false))
        .json(&json!({ "email": email, "password": password.expose() }))
}

/// Without `others`, which would close the sessions of people too.
pub(super) fn log_out(base: &Url) -> ApiRequest {
    ApiRequest::new("log out from zops", Method::DELETE, address(base, &["session", "logout"], false))
}

pub(super) fn me(base: &Url) -> ApiRequest {
    ApiRequest::new("read the account", Method::GET, address(base, &["me"], false))
}

pub(super) fn projects(base: &Url) -> ApiRequest {
    ApiRequest::new("list the projects", Method::GET, address(base, &["projects"], false))
}

pub(super) fn services(base: &Url) -> ApiRequest {
    ApiRequest::new("list the catalogue of services", Method::GET, address(base, &["services"], false))
}

pub(super) fn make_consumer(base: &Url) -> ApiRequest {
    ApiRequest::new("make a consumer", Method::POST, address(base, &["consumers"], false)).json(&json!({}))
}

pub(super) fn attach(base: &Url, project: &str, consumer: &str) -> ApiRequest {
    let url = address(base, &["projects", project, "consumers"], false);
    ApiRequest::new("attach the consumer to the project", Method::POST, url)
        .json(&json!({ "consumerId": consumer }))
        // A run that was killed has attached it.
        .or_done_before(409)
}

pub(super) fn detach(base: &Url, project: &str, consumer: &str) -> ApiRequest {
    let url = address(base, &["projects", project, "consumers", consumer], false);
    ApiRequest::new("detach the consumer from the project", Method::DELETE, url).or_done_before(404)
}

pub(super) fn get_token(base: &Url, consumer: &str, project: &str, service: &str) -> ApiRequest {
    ApiRequest::new("get a consumer token", Method::POST, address(base, &["consumer-tokens"], false))
        .json(&json!({ "consumerId": consumer, "projectId": project, "serviceCatalogCode": service }))
}

/// The path names the token by `token_id`, and it is the token itself.
pub(super) fn delete_token(base: &Url, token: &Secret, project: &str, service: &str) -> ApiRequest {
    let parts = ["consumer-tokens", token.expose(), "projects", project, "services", service];
    ApiRequest::new("delete the consumer token", Method::DELETE, address(base, &parts, false))
}

/// The content of a body: behind `content`, or the body itself. `None` where it is no JSON.
pub(super) fn content(body: &[u8]) -> Option<Value> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Some(Value::Null);
    }
    match serde_json::from_slice(body).ok()? {
        Value::Object(mut object) if object.contains_key("content") => object.remove("content"),
        Value::Object(object) if object.len() == 1 && object.contains_key("meta") => Some(Value::Null),
        value => Some(value),
    }
}

/// A text of a content, by its name; a number counts too.
pub(super) fn text(content: &Value, name: &str) -> Option<String> {
    match &content[name] {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// The row of a list that has this value under this name.
pub(super) fn row<'a>(list: &'a Value, name: &str, value: &str) -> Option<&'a Value> {
    list.as_array()?.iter().find(|row| text(row, name).as_deref() == Some(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_found_with_and_without_its_envelope() {
        let of = |body: &str| content(body.as_bytes());
        assert_eq!(of(r#"{"meta":{"params":{"indent":0}},"content":{"id":"a"}}"#), Some(json!({ "id": "a" })));
        assert_eq!(of(r#"{"id":"a"}"#), Some(json!({ "id": "a" })));
        assert_eq!(of(r#"[{"id":"a"}]"#), Some(json!([{ "id": "a" }])));
        for nothing in ["", "\n", "null", r#"{"meta":{}}"#, r#"{"meta":{},"content":null}"#] {
            assert_eq!(of(nothing), Some(Value::Null), "{nothing}");
        }
        assert_eq!(of("<html>"), None);
    }

    #[test]
    fn an_id_may_be_a_number() {
        let me = json!({ "id": 123_123_123_123_i64, "role": "admin", "email": "" });
        assert_eq!(text(&me, "id").as_deref(), Some("123123123123"));
        assert_eq!((text(&me, "email"), text(&me, "token")), (None, None));
        assert!(row(&json!([me]), "id", "123123123123").is_some() && row(&me, "id", "123123123123").is_none());
    }

    #[test]
    fn the_requests_are_the_documented_ones() {
        let base = Url::parse("https://api.example/api/v1").unwrap();
        let delete = delete_token(&base, &Secret::new("5b/7"), "p", "roc");
        assert_eq!(delete.url.path(), "/api/v1/consumer-tokens/5b%2F7/projects/p/services/roc");
        assert_eq!(
            (log_out(&base).url.as_str(), log_out(&base).method),
            ("https://api.example/api/v1/session/logout", Method::DELETE)
        );
    }
}
