//! A request of an agent, taken apart.

use reqwest::header::AUTHORIZATION;
use reqwest::{Method, Request};

/// The call that a request makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CallKind {
    Probe,
    Version,
    Login,
    Refresh,
    List,
    Release,
    Record,
    History,
    Unknown,
}

/// A request with all that the server looks at.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) kind: CallKind,
    /// The box that sends it, and its run.
    pub(super) from: usize,
    pub(super) run: u32,
    segments: Vec<String>,
    pub(super) fields: Vec<(String, String)>,
    bearer: String,
    /// The journal's number of a record, and its station.
    pub(super) record: Option<(u64, String)>,
}

impl Call {
    pub(super) fn of(request: &Request) -> Self {
        let url = request.url();
        let (from, run) = super::boxes::address(url.host_str().unwrap_or_default());
        // Without `/api/v1`.
        let segments: Vec<String> = url.path_segments().into_iter().flatten().skip(2).map(str::to_owned).collect();
        let body = request.body().and_then(|body| body.as_bytes()).unwrap_or_default();
        let fields =
            url.query_pairs().chain(form_urlencoded::parse(body)).map(|(name, value)| (name.into(), value.into()));
        let bearer = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let path: Vec<&str> = segments.iter().map(String::as_str).collect();
        let kind = match (request.method(), &path[..]) {
            (&Method::HEAD, ["account"]) => CallKind::Probe,
            (_, ["version"]) => CallKind::Version,
            (_, ["login"]) => CallKind::Login,
            (_, ["token"]) => CallKind::Refresh,
            (&Method::GET, ["documents"]) => CallKind::List,
            (&Method::POST, ["documents", "history"]) => CallKind::Record,
            (&Method::GET, ["documents", "history"]) => CallKind::History,
            (&Method::POST, ["documents", _, _]) => CallKind::Release,
            _ => CallKind::Unknown,
        };
        let fields = fields.collect();
        Self {
            kind,
            from,
            run,
            fields,
            bearer: bearer.trim_start_matches("Bearer ").to_owned(),
            segments,
            record: None,
        }
    }

    pub(super) fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn segment(&self, index: usize) -> &str {
        self.segments.get(index).map_or("", String::as_str)
    }

    /// The document of a release, by its serial number.
    pub(super) fn document(&self) -> Option<u32> {
        self.segment(1).strip_prefix("doc-")?.parse().ok()
    }

    /// The user of the token.
    pub(super) fn user(&self) -> Option<usize> {
        self.bearer.strip_prefix("token-user-")?.parse().ok()
    }
}
