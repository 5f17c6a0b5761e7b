//! POST /oauth/v1/register and /oauth/v1/token: devices that an administrator trusts, and fresh tokens.
//!
//! Every refusal is `{"error", "error_description"}`; its HTTP status is not documented, here it is 400. A request with a
//! wrong signature is refused; a device that registers again with a right one stays trusted.

use axum::http::StatusCode;
use axum::response::IntoResponse;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::ask::{Ask, Params, Refusal, Reply, json};
use super::random;
use super::signature::PublicKey;
use super::tokens::{TokenHolder, TokenReply};
use super::world::World;

/// A device code waits this long for its approval: 3 days, as in the vendor's example.
const DEVICE_CODE_LIFETIME: SignedDuration = SignedDuration::from_hours(72);
/// The most devices that can register.
const MAX_DEVICES: usize = 1_000;
const CLIENT_TYPES: [&str; 5] = ["printer", "chrome_extension", "desktop_client", "mobile_device", "server"];
/// The `client_id` of a refresh for a user token.
const USER_CLIENT: &str = "api";

/// A device that registered.
#[derive(Clone)]
pub struct Device {
    /// Its own name for itself.
    pub client_id: String,
    /// Trusted by an administrator.
    pub approved: bool,
    public_key: Option<PublicKey>,
    code: Option<(String, Timestamp)>,
}

impl World {
    /// Trusts a device, as an administrator does. False if it has not registered.
    pub fn approve(&mut self, client_id: &str) -> bool {
        let device = self.devices.iter_mut().find(|device| device.client_id == client_id);
        device.map(|device| device.approved = true).is_some()
    }

    /// A device token without the way to it.
    pub fn device_token(&mut self, client_id: &str) -> String {
        let now = self.now();
        self.tokens.issue(TokenHolder::Device { client_id: client_id.into() }, now).access_token
    }

    fn device(&self, client_id: &str) -> Option<&Device> {
        self.devices.iter().find(|device| device.client_id == client_id)
    }
}

/// `error` and `error_description`.
struct Denied(&'static str, String);

impl From<Refusal> for Denied {
    fn from(refusal: Refusal) -> Denied {
        Denied("invalid_request", refusal.why)
    }
}

impl Denied {
    fn reply(self) -> Reply {
        let Denied(error, description) = self;
        let body = json(&json!({ "error": error, "error_description": description }));
        Ok((StatusCode::BAD_REQUEST, body).into_response())
    }
}

/// POST /register
pub(super) fn register(world: &mut World, ask: &Ask) -> Reply {
    try_register(world, ask).map_or_else(Denied::reply, |answer| Ok(json(&answer)))
}

fn try_register(world: &mut World, ask: &Ask) -> Result<Value, Denied> {
    let mut form = ask.form()?;
    let client_id = form.required("client_id")?;
    let automatic = client_key(world, &mut form)?.1;
    if !CLIENT_TYPES.contains(&form.required("client_type")?.as_str()) {
        return Err(Denied("invalid_request", "client_type is not a known one".into()));
    }
    if form.required("response_type")? != "device_code" {
        return Err(Denied("unsupported_response_type", "response_type must be device_code".into()));
    }
    let _description: Option<String> = form.value("client_description")?;
    let state: Option<String> = form.value("state")?;
    let public_key = public_key(&mut form)?;
    form.finish()?;
    let signed = signature(world, ask, &client_id)?;
    // A signature proves that it is the same device, so it keeps its key and its trust, but gains none.
    let before = world.device(&client_id).filter(|_| signed).cloned();
    let approved = automatic || before.as_ref().is_some_and(|device| device.approved);
    let public_key = public_key.or(before.and_then(|device| device.public_key));
    let code = random::token();
    let until = world.now().checked_add(DEVICE_CODE_LIFETIME).unwrap_or(Timestamp::MAX);
    world.devices.retain(|device| device.client_id != client_id);
    if world.devices.len() == MAX_DEVICES {
        return Err(Denied("access_denied", "there are too many devices".into()));
    }
    world.devices.push(Device { client_id, approved, public_key, code: Some((code.clone(), until)) });
    Ok(json!({ "device_code": code, "state": state, "expires_in": DEVICE_CODE_LIFETIME.as_secs() }))
}

/// POST /token
pub(super) fn token(world: &mut World, ask: &Ask) -> Reply {
    match try_token(world, ask) {
        Err(denied) => denied.reply(),
        Ok(pair) => {
            let mut answer = json!(pair);
            answer["token_type"] = json!("Bearer");
            Ok(json(&answer))
        }
    }
}

fn try_token(world: &mut World, ask: &Ask) -> Result<TokenReply, Denied> {
    let mut form = ask.form()?;
    let client_id = form.required("client_id")?;
    let key = client_key(world, &mut form)?.0;
    signature(world, ask, &client_id)?;
    match form.required("grant_type")?.as_str() {
        "device_code" => {
            let code = form.required("device_code")?;
            form.finish()?;
            by_code(world, client_id, &code)
        }
        "refresh_token" => {
            let refresh = form.required("refresh_token")?;
            form.finish()?;
            let right = |holder: &TokenHolder| match holder {
                TokenHolder::User { key: bound, .. } => client_id == USER_CLIENT && *bound == key,
                TokenHolder::Device { client_id: own } => client_id == *own,
            };
            let now = world.now();
            let pair = world.tokens.refresh(&refresh, now, right);
            pair.ok_or_else(|| Denied("invalid_grant", "the refresh token is unknown, used or expired".into()))
        }
        _ => Err(Denied("unsupported_grant_type", "grant_type must be device_code or refresh_token".into())),
    }
}

/// The tokens of an approved device. Its code is good once.
fn by_code(world: &mut World, client_id: String, code: &str) -> Result<TokenReply, Denied> {
    let now = world.now();
    let unknown = || Denied("invalid_grant", "the device code is unknown or used".into());
    let device = world.devices.iter_mut().find(|device| device.client_id == client_id).ok_or_else(unknown)?;
    match &device.code {
        Some((own, until)) if own == code && now < *until => {}
        Some((own, _)) if own == code => return Err(Denied("expired_token", "the device code has expired".into())),
        _ => return Err(unknown()),
    }
    if !device.approved {
        return Err(Denied("authorization_pending", "Authorization pending".into()));
    }
    device.code = None;
    Ok(world.tokens.issue(TokenHolder::Device { client_id }, now))
}

/// The API key in `client_secret`, and whether it trusts devices by itself.
fn client_key(world: &World, form: &mut Params) -> Result<(String, bool), Denied> {
    let secret = form.required("client_secret")?;
    let key = world.key_of(&secret);
    let key = key.ok_or_else(|| Denied("invalid_client", "client_secret is no API key".into()))?;
    Ok((secret, key.automatic_trust))
}

/// Both `public_key` and `key_type`, or neither.
fn public_key(form: &mut Params) -> Result<Option<PublicKey>, Denied> {
    let (key, kind): (Option<String>, Option<String>) = (form.value("public_key")?, form.value("key_type")?);
    match (key, kind.as_deref()) {
        (None, None) => Ok(None),
        (Some(key), Some("ed25519")) => match PublicKey::parse(&key) {
            Some(key) => Ok(Some(key)),
            None => Err(Denied("invalid_request", "public_key is no Ed25519 key in base64".into())),
        },
        (Some(_), Some("rsa" | "x509")) => Err(Denied("invalid_request", "this server takes ed25519 keys only".into())),
        _ => Err(Denied("invalid_request", "public_key and key_type go together".into())),
    }
}

/// Whether the request is signed. A signature that is not the device's own is refused.
fn signature(world: &World, ask: &Ask, client_id: &str) -> Result<bool, Denied> {
    let Some(signature) = ask.header("hcp-request-signature") else {
        return Ok(false);
    };
    let key = world.device(client_id).and_then(|device| device.public_key);
    match key.is_some_and(|key| key.signed(&ask.body, signature)) {
        true => Ok(true),
        false => Err(Denied("invalid_client", "HCP-Request-Signature is not this device's".into())),
    }
}
