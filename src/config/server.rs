//! `[server]`: the print server.

use std::{ops::RangeInclusive, time::Duration};

use reqwest::Url;

use super::{
    Pin, Tls, address,
    check::{boolean, duration, some, text},
    pin::pins,
    secret::secret,
    section::Section,
};
use crate::domain::Secret;

/// The path and the port of the API (docs/print-server-api.md, "Addresses").
const API: (&str, u16) = ("/api/v1", 7300);
/// The path and, on a gateway, the port of the token service (docs/print-server-api.md, "Addresses").
const OAUTH: (&str, u16) = ("/oauth/v1", 7400);

/// The limits of `connect_timeout`: a person waits at the printer while a connection is made.
const CONNECT_TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(60);
/// The limits of `request_timeout`: a busy server needs the shortest, and proxies cut a connection after the longest.
const REQUEST_TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(500)..=Duration::from_secs(300);

/// The print server and the way to it.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// The API; `https`, or `http` for this machine itself.
    pub(crate) url: Url,
    /// The token service; the same host, port 7400, unless set.
    pub(crate) oauth_url: Url,
    /// The key that every request carries.
    pub api_key: Secret,
    /// The token of this box as a trusted device.
    pub(crate) device_token: Option<Secret>,
    pub(crate) tls: Tls,
    /// If there are any, the public key of the server's certificate must be one of them.
    pub(crate) pins: Vec<Pin>,
    /// The HTTP proxy; without one, the environment's counts.
    pub(crate) proxy: Option<Url>,
    /// The time limit for a connection.
    pub(crate) connect_timeout: Duration,
    /// The time limit for a request with its answer.
    pub(crate) request_timeout: Duration,
    /// Whether a job record has the field `datetime`, which newer servers take.
    pub(crate) history_datetime: bool,
    pub(crate) device: DeviceConfig,
}

/// `[server.device]`: this box as a trusted device.
#[derive(Clone, Debug)]
pub struct DeviceConfig {
    /// Whether the box registers itself and keeps its token fresh.
    pub(crate) register: bool,
    /// The name of this box there; the agent's id unless set.
    pub(crate) client_id: String,
}

impl ServerConfig {
    pub(super) fn read(section: &mut Section<'_, '_>, agent_id: String) -> Option<Self> {
        let service = |(path, port)| text(move |url| address::service(url, path, port));
        let url = section.required("url", service(API));
        let oauth_url = section.optional("oauth_url", service(OAUTH));
        let oauth_url = oauth_url.or_else(|| default_oauth_url(url.as_ref()?));
        let api_key = secret(section, "api_key", "api_key_file");
        if !section.is_set("api_key") {
            section.require("api_key_file", "is required, a file with the API key of the server");
        }
        let device_token = secret(section, "device_token", "device_token_file");
        let is_plain = |url: &Option<Url>| url.as_ref().is_some_and(|url| url.scheme() == "http");
        let encrypted = !(is_plain(&url) && is_plain(&oauth_url));
        let tls = Tls::read(section, encrypted);
        let pins = section.get("pin_sha256", Vec::new(), pins);
        if !pins.is_empty() && !encrypted {
            section.problem("pin_sha256", "is only used with https://");
        }
        let proxy = section.optional("proxy", text(address::proxy));
        let connect_timeout = section.get("connect_timeout", Duration::from_secs(3), duration(CONNECT_TIMEOUT));
        let request_timeout = section.get("request_timeout", Duration::from_secs(10), duration(REQUEST_TIMEOUT));
        let history_datetime = section.get("history_datetime", false, boolean);
        let device = section.table("device", |section| DeviceConfig::read(section, agent_id));
        for key in ["device_token", "device_token_file"] {
            if device.register && section.is_set(key) {
                section.problem(key, "cannot be set together with device.register, which gets a token itself");
            }
        }
        Some(Self {
            url: url?,
            oauth_url: oauth_url?,
            api_key: api_key?,
            device_token,
            tls,
            pins,
            proxy,
            connect_timeout,
            request_timeout,
            history_datetime,
            device,
        })
    }
}

impl DeviceConfig {
    fn read(section: &mut Section<'_, '_>, agent_id: String) -> Self {
        Self {
            register: section.get("register", false, boolean),
            client_id: section.optional("client_id", text(some)).unwrap_or(agent_id),
        }
    }
}

/// The token service beside the API.
fn default_oauth_url(api: &Url) -> Option<Url> {
    let (path, port) = OAUTH;
    let mut url = api.clone();
    url.set_port(Some(port)).ok()?;
    url.set_path(path);
    Some(url)
}
