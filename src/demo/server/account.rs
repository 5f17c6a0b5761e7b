//! The account, its version, its output ports, and cards for its users.

use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde_json::json;

use super::access::Permission;
use super::ask::{Ask, Refusal, Reply, error_code, json};
use super::world::{PROVIDER_ID, World};

/// The number of this account.
pub(super) const ACCOUNT_ID: u32 = 1;
/// The `errorCode` "enroll card".
const ENROLL_CARD: u32 = 1005;

/// HEAD /account: whether this is the account's server. Needs no key.
pub(super) fn probe(world: &mut World, ask: &Ask) -> Reply {
    domain(world, ask).map(|_| StatusCode::OK.into_response())
}

/// GET /account
pub(super) fn show(world: &mut World, ask: &Ask) -> Reply {
    world.authenticated(ask, &[Permission::ViewAccount])?;
    let name = domain(world, ask)?;
    Ok(json(&json!({
        "id": ACCOUNT_ID,
        "name": "Demo",
        "accountType": world.account_type as u32,
        "domainName": name,
    })))
}

/// The addressed domain, if it is one of this account.
fn domain(world: &World, ask: &Ask) -> Result<String, Refusal> {
    let mut query = ask.query(StatusCode::NOT_FOUND);
    let name = query.value("domainname")?.unwrap_or_else(|| ask.host.clone());
    query.finish()?;
    if world.domains.contains(&name) { Ok(name) } else { Err(Refusal::not_found("no account has this domain name")) }
}

/// GET /version
pub(super) fn version(world: &mut World, ask: &Ask) -> Reply {
    world.authenticated(ask, &[])?;
    ask.query(StatusCode::BAD_REQUEST).finish()?;
    Ok(json(&json!({
        "version": world.version,
        "buildDate": "2026-01-01T00:00:00Z",
        "buildTimeStamp": 1_767_225_600_000_i64,
    })))
}

/// GET /outputports
pub(super) fn output_ports(world: &mut World, ask: &Ask) -> Reply {
    world.authenticated(ask, &[Permission::ViewOutputPort])?;
    let mut query = ask.query(StatusCode::BAD_REQUEST);
    let provider = query.value::<u32>("providerid")?.filter(|id| *id != 0);
    let user: Option<String> = query.value("username")?;
    query.finish()?;
    if provider.is_some_and(|id| id != PROVIDER_ID) || user.is_some_and(|name| world.user(&name).is_none()) {
        return Err(Refusal::forbidden("no such user"));
    }
    Ok(json(&world.ports))
}

/// POST /users/{username}/cards. A user registers cards of his own; roles that may do it for others are not modelled.
pub(super) fn register_card(world: &mut World, ask: &Ask) -> Reply {
    let needs = [Permission::ViewUser, Permission::ModifyUser, Permission::CardManagement];
    world.authenticated(ask, &needs)?;
    let name = ask.segment(0);
    if ask.bearer().is_some() && world.user_of(ask, &needs)?.name != name {
        return Err(Refusal::forbidden("the card is not for the user of the token"));
    }
    let mut form = ask.form()?;
    let card = form.required("cardid")?;
    form.finish()?;
    if world.users.iter().any(|user| user.name != name && user.cards.contains(&card)) {
        return Ok(error_code(ENROLL_CARD));
    }
    let Some(user) = world.users.iter_mut().find(|user| user.name == name) else {
        return Err(Refusal::bad("no such user"));
    };
    if !user.cards.contains(&card) {
        user.cards.push(card);
    }
    Ok(error_code(0))
}
