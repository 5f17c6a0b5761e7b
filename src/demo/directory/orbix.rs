//! NDD Orbix as its document has it: one call, and the token service beside it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::wire::{NeighbourReply, NeighbourRequest};
use crate::demo::server::random;

/// The limits of one request.
const GROUPS: usize = 5;
const USERS: usize = 1_000;
/// A longer group name is refused, as in the document's example.
const GROUP_NAME: usize = 150;

/// Its state.
#[derive(Debug)]
pub struct OrbixWorld {
    /// The header `Tenant`.
    pub tenant: String,
    /// The field `Client`.
    pub customer: String,
    /// Bearers that are good.
    pub bearers: BTreeSet<String>,
    /// The client of the token service and its secret.
    pub client: (String, String),
    /// Logins whose people are refused.
    pub refused_logons: BTreeSet<String>,
    /// Groups that are refused whole.
    pub refused_groups: BTreeSet<String>,
    /// The number of times that each person was taken into each group.
    pub taken: BTreeMap<(String, String), usize>,
    /// The last data of each person: name and e-mail address.
    pub people: BTreeMap<String, (Option<String>, Option<String>)>,
    /// The last description of each group.
    pub descriptions: BTreeMap<String, Option<String>>,
    /// Whether a refusal repeats the bearer.
    pub repeats_the_bearer: bool,
}

impl OrbixWorld {
    pub(super) fn new() -> Self {
        Self {
            tenant: "NDD".to_owned(),
            customer: "ABC".to_owned(),
            bearers: BTreeSet::from(["orbix-bearer-0123456789".to_owned()]),
            client: ("orbix-client".to_owned(), "orbix-secret-0123456789".to_owned()),
            refused_logons: BTreeSet::new(),
            refused_groups: BTreeSet::new(),
            taken: BTreeMap::new(),
            people: BTreeMap::new(),
            descriptions: BTreeMap::new(),
            repeats_the_bearer: false,
        }
    }

    pub(super) fn answer(&mut self, request: &NeighbourRequest) -> NeighbourReply {
        match request.name().as_str() {
            "POST /auth/connect/token" => self.token(request),
            "POST /orbix/v1/groups/users" => self.groups(request),
            _ => NeighbourReply::refusal(404, "the document has no such call"),
        }
    }

    fn token(&mut self, request: &NeighbourRequest) -> NeighbourReply {
        let fields = request.form().unwrap_or_default();
        let of = |name: &str| fields.get(name).map(String::as_str);
        let known = (of("client_id"), of("client_secret")) == (Some(&self.client.0), Some(&self.client.1));
        if of("grant_type") != Some("client_credentials") || !known {
            return NeighbourReply::json(400, &json!({ "error": "invalid_client" }));
        }
        let token = random::token();
        self.bearers.insert(token.clone());
        NeighbourReply::json(200, &json!({ "access_token": token, "expires_in": 3600, "token_type": "Bearer" }))
    }

    fn groups(&mut self, request: &NeighbourRequest) -> NeighbourReply {
        let bearer = request.header("authorization").strip_prefix("Bearer ").unwrap_or_default().to_owned();
        if !self.bearers.contains(&bearer) {
            return NeighbourReply::empty(401);
        }
        if request.header("tenant") != self.tenant {
            return NeighbourReply::empty(403);
        }
        let Some(body) = request.json(&["Client", "Groups"]) else {
            return bad_request("The body is not the documented one.");
        };
        let groups = body["Groups"].as_array().cloned().unwrap_or_default();
        let names: BTreeSet<_> = groups.iter().map(|group| group["GroupName"].to_string()).collect();
        let fits = (1..=GROUPS).contains(&groups.len()) && groups.iter().all(is_documented);
        if body["Client"] != self.customer.as_str() || !fits || names.len() != groups.len() {
            return bad_request("The request is not valid.");
        }
        let failures: Vec<Value> = groups.iter().filter_map(|group| self.group(group, &bearer)).collect();
        if failures.len() == groups.len() && failures.iter().all(|failure| failure["errorMessage"] != "") {
            return bad_request("All groups are invalid.");
        }
        NeighbourReply::json(201, &failures.into())
    }

    /// Takes a group in, and gives its failure if there is one.
    fn group(&mut self, group: &Value, bearer: &str) -> Option<Value> {
        let name = group["GroupName"].as_str().unwrap_or_default();
        let users = group["Users"].as_array().cloned().unwrap_or_default();
        let echo = if self.repeats_the_bearer { format!(" You said {bearer}.") } else { String::new() };
        if name.chars().count() > GROUP_NAME || self.refused_groups.contains(name) {
            let message = format!("Group Name is too long.{echo}");
            return Some(json!({ "groupName": name, "users": [], "errorMessage": message }));
        }
        self.descriptions.insert(name.to_owned(), text(&group["GroupDescription"]));
        let mut failed = Vec::new();
        for user in &users {
            let (logon, domain) = (text(&user["Logon"]).unwrap_or_default(), text(&user["Domain"]).unwrap_or_default());
            let key = format!("{domain}//{logon}");
            let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
            if self.refused_logons.contains(&logon) || !logon.chars().chain(domain.chars()).all(is_plain) {
                failed.push(json!({ "user": key, "errorMessage": format!("Logon is not valid.{echo}") }));
                continue;
            }
            self.people.insert(key.clone(), (text(&user["Name"]), text(&user["Email"])));
            *self.taken.entry((name.to_owned(), key)).or_default() += 1;
        }
        (!failed.is_empty()).then(|| json!({ "groupName": name, "users": failed, "errorMessage": "" }))
    }
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

/// Whether a group has the documented fields and no empty ones.
fn is_documented(group: &Value) -> bool {
    let fields = |value: &Value, allowed: &[&str]| {
        value
            .as_object()
            .is_some_and(|object| object.iter().all(|(name, value)| allowed.contains(&&**name) && value != ""))
    };
    let users = group["Users"].as_array().cloned().unwrap_or_default();
    let user = |user: &Value| fields(user, &["Logon", "Domain", "Name", "Email"]) && user["Logon"].is_string();
    fields(group, &["GroupName", "GroupDescription", "Users"])
        && (1..=USERS).contains(&users.len())
        && users.iter().all(user)
}

fn bad_request(why: &str) -> NeighbourReply {
    let body = json!({ "errors": { "3400": [why] }, "title": "BadRequest", "status": 400,
        "detail": "BusinessException", "instance": "/v1/groups/users" });
    NeighbourReply::json(400, &body)
}
