//! POST /login and GET /token.

use axum::http::StatusCode;
use serde_json::json;

use super::account::ACCOUNT_ID;
use super::ask::{Ask, Refusal, Reply, json};
use super::tokens::TokenHolder;
use super::world::{PROVIDER_ID, ServerUser, World};

/// POST /login: a device token, or a key that allows untrusted endpoints, and one of five ways to name a user.
pub(super) fn login(world: &mut World, ask: &Ask) -> Reply {
    world.trusted(ask)?;
    let mut form = ask.form()?;
    let authtype: u32 = form.value("authtype")?.ok_or_else(|| Refusal::bad("authtype is required"))?;
    let userid = form.required("userid")?;
    let password: Option<String> = form.value("password")?;
    form.finish()?;
    let fits = credential(authtype).ok_or_else(|| Refusal::bad("authtype must be 0 to 4"))?;
    let mut users = world.users.iter();
    let user = users.find(|user| fits(user, &userid, password.as_deref())).cloned();
    let user = user.ok_or_else(|| Refusal::unauthorized("no user has these credentials"))?;
    let key = world.key(ask)?.secret.clone();
    let token = world.tokens.issue(TokenHolder::User { name: user.name.clone(), key }, world.now());
    Ok(json(&json!({
        "id": user.id,
        "providerId": PROVIDER_ID,
        "accountId": ACCOUNT_ID,
        "userName": user.name,
        "fullName": user.full_name,
        "email": user.email,
        "department": [],
        "cards": user.cards,
        "createdDate": "2026-01-01T00:00:00Z",
        "token": token,
        "isExpired": null,
        "groupIds": [],
    })))
}

type CredentialMatch = fn(&ServerUser, &str, Option<&str>) -> bool;

/// The test that recognises a user for an `authtype`. A password is required with 0, optional with 1 and else ignored.
fn credential(authtype: u32) -> Option<CredentialMatch> {
    Some(match authtype {
        0 => |user, id, password| user.name == id && password == Some(&user.password),
        1 => |user, id, password| {
            let opens = |given: &str| Some(given) == user.pin.as_deref() || given == user.password;
            user.cards.iter().any(|card| card == id) && password.is_none_or(opens)
        },
        2 => |user, id, _| user.short_id == id,
        3 => |user, id, _| user.name == id,
        4 => |user, id, _| user.email == id,
        _ => return None,
    })
}

/// GET /token: a new pair for a user's refresh token. Deprecated, and needs no user token: that one has expired.
pub(super) fn refresh(world: &mut World, ask: &Ask) -> Reply {
    let key = world.key(ask)?.secret.clone();
    let mut query = ask.query(StatusCode::BAD_REQUEST);
    let token = query.required("refresh_token")?;
    query.finish()?;
    let now = world.now();
    let right = |holder: &TokenHolder| matches!(holder, TokenHolder::User { key: bound, .. } if *bound == key);
    let pair = world.tokens.refresh(&token, now, right);
    pair.map(|pair| json(&pair)).ok_or_else(|| Refusal::forbidden("the refresh token is unknown, used or expired"))
}
