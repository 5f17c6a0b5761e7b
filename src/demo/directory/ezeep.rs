//! ezeep as its document has it: tokens at `/account`, users and groups at `/printing/v1`.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::wire::{NeighbourReply, NeighbourRequest};
use crate::demo::server::random;

/// The rows of a page where the request does not say.
const PAGE: usize = 20;

/// A group.
#[derive(Clone, Debug)]
pub struct EzeepGroup {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Whether its members may print on local printers.
    pub local_printing: bool,
}

/// A user with the ids of the groups.
#[derive(Clone, Debug)]
pub struct EzeepUser {
    /// The id.
    pub id: String,
    /// The ids of the user's groups.
    pub groups: Vec<String>,
}

/// The links to the next page, as servers may write them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextLink {
    /// As in the document: plain http, and the documented host.
    Documented,
    /// The host that was asked.
    Own,
    /// Another host, at the port given.
    Foreign(u16),
    /// The same page again.
    Loop,
    /// Every page begins with the last row of the one before, as when somebody was added meanwhile.
    Shifted,
}

/// Whether the address of one group or user ends with a slash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdSlash {
    /// Both are the same.
    Either,
    /// The one without leads to the one with.
    Redirect,
}

#[derive(Debug)]
struct EzeepTokens {
    access: String,
    access_until: Instant,
    refresh: String,
    /// `None` once it was used.
    refresh_until: Option<Instant>,
}

/// Its state.
#[derive(Debug)]
pub struct EzeepWorld {
    base: String,
    /// The client, and its secret if it has one.
    pub client: (String, Option<String>),
    /// The address that the client has registered.
    pub redirect_uri: String,
    /// The organization of all groups.
    pub organization_id: String,
    /// Codes that were not used yet.
    pub codes: Vec<String>,
    /// The lifetime of an access token, and of a refresh token.
    pub lifetime: Duration,
    /// All groups.
    pub groups: Vec<EzeepGroup>,
    /// All users.
    pub users: Vec<EzeepUser>,
    /// The links to the next page.
    pub next: NextLink,
    /// The addresses of single groups and users.
    pub id_slash: IdSlash,
    /// Users whose groups a PUT does not change, though it is answered well.
    pub stubborn: Vec<String>,
    /// Every refresh token that was shown, in order.
    pub shown_refresh_tokens: Vec<String>,
    /// Every token that was given out, to look for it where it must not be.
    pub issued: Vec<String>,
    tokens: Vec<EzeepTokens>,
}

impl EzeepWorld {
    pub(super) fn new(base: &str) -> Self {
        Self {
            base: base.to_owned(),
            client: ("ezeep-client".to_owned(), None),
            redirect_uri: "http://127.0.0.1:8632/".to_owned(),
            organization_id: "54e3a324-cc89-4722-8338-c285d26bef15".to_owned(),
            codes: Vec::new(),
            lifetime: Duration::from_secs(3600),
            groups: Vec::new(),
            users: Vec::new(),
            next: NextLink::Documented,
            id_slash: IdSlash::Either,
            stubborn: Vec::new(),
            shown_refresh_tokens: Vec::new(),
            issued: Vec::new(),
            tokens: Vec::new(),
        }
    }

    /// A code as a browser brings it.
    pub fn code(&mut self) -> String {
        let code = format!("code-{}", random::token());
        self.codes.push(code.clone());
        code
    }

    /// Ends the life of every access token.
    pub fn expire(&mut self) {
        self.tokens.iter_mut().for_each(|pair| pair.access_until = Instant::now());
    }

    /// Whether this refresh token has been used.
    pub fn is_spent(&self, refresh: &str) -> bool {
        self.tokens.iter().any(|pair| pair.refresh == refresh && pair.refresh_until.is_none())
    }

    pub(super) fn answer(&mut self, request: &NeighbourRequest) -> NeighbourReply {
        if request.name() == "POST /account/oauth/access_token" {
            // A client that follows this sends a GET, and the form is lost.
            let location = vec![("location", "/account/oauth/access_token/".to_owned())];
            return NeighbourReply { headers: location, ..NeighbourReply::empty(301) };
        }
        if request.name() == "POST /account/oauth/access_token/" {
            return self.token(request);
        }
        let bearer = request.header("authorization").strip_prefix("Bearer ").unwrap_or_default();
        let now = Instant::now();
        if !self.tokens.iter().any(|pair| pair.access == bearer && now < pair.access_until) {
            return NeighbourReply::json(401, &json!({ "detail": "Authentication credentials were not provided." }));
        }
        if request.method == "GET" && !request.body.is_empty() {
            return NeighbourReply::refusal(400, "a proxy has dropped the body of a GET");
        }
        let parts: Vec<_> = request.path.split('/').collect();
        match (request.method.as_str(), &parts[..]) {
            ("GET", ["", "printing", "v1", "groups", ""]) => {
                let rows = self.groups.iter().map(|group| self.group_row(group)).collect();
                self.page(request, rows)
            }
            ("POST", ["", "printing", "v1", "groups", ""]) => self.create(request),
            ("GET", ["", "printing", "v1", "users", ""]) => {
                self.page(request, self.users.iter().map(user_row).collect())
            }
            (_, ["", "printing", "v1", kind @ ("groups" | "users"), id]) if !id.is_empty() => match self.id_slash {
                IdSlash::Either => self.one(request, kind, id),
                IdSlash::Redirect => NeighbourReply {
                    headers: vec![("location", format!("{}/", request.path))],
                    ..NeighbourReply::empty(301)
                },
            },
            (_, ["", "printing", "v1", kind @ ("groups" | "users"), id, ""]) => self.one(request, kind, id),
            _ => NeighbourReply::refusal(404, "the document has no such call"),
        }
    }

    fn token(&mut self, request: &NeighbourRequest) -> NeighbourReply {
        let Some(fields) = request.form() else {
            return NeighbourReply::json(400, &json!({ "error": "invalid_request" }));
        };
        let of = |name: &str| fields.get(name).cloned().unwrap_or_default();
        if request.header("authorization") != basic(&self.client.0, self.client.1.as_deref().unwrap_or_default()) {
            return NeighbourReply::json(401, &json!({ "error": "invalid_client" }));
        }
        let names: Vec<_> = fields.keys().map(String::as_str).collect();
        let good = match of("grant_type").as_str() {
            "authorization_code" => {
                let known = self.codes.iter().position(|code| *code == of("code"));
                let fits =
                    names == ["code", "grant_type", "redirect_uri", "scope"] && of("redirect_uri") == self.redirect_uri;
                known.filter(|_| fits).map(|at| self.codes.remove(at)).is_some()
            }
            "refresh_token" => names == ["grant_type", "refresh_token", "scope"] && self.spend(&of("refresh_token")),
            _ => false,
        };
        if !good || of("scope") != "printing" {
            return NeighbourReply::json(400, &json!({ "error": "invalid_grant" }));
        }
        let scope = if of("grant_type") == "refresh_token" { "" } else { "printing" };
        let (access, refresh) = (format!("access-{}", random::token()), format!("refresh-{}", random::token()));
        self.issued.extend([access.clone(), refresh.clone()]);
        let until = Instant::now() + self.lifetime;
        self.tokens.push(EzeepTokens {
            access: access.clone(),
            access_until: until,
            refresh: refresh.clone(),
            refresh_until: Some(until),
        });
        NeighbourReply::json(
            200,
            &json!({ "access_token": access, "token_type": "Bearer",
            "expires_in": self.lifetime.as_secs(), "scope": scope, "refresh_token": refresh }),
        )
    }

    fn spend(&mut self, refresh: &str) -> bool {
        self.shown_refresh_tokens.push(refresh.to_owned());
        let now = Instant::now();
        let pair = self.tokens.iter_mut().find(|pair| pair.refresh == refresh);
        pair.and_then(|pair| pair.refresh_until.take()).is_some_and(|until| now < until)
    }

    fn page(&self, request: &NeighbourRequest, rows: Vec<Value>) -> NeighbourReply {
        let number = |name: &str| request.parameter(name).and_then(|text| text.parse::<usize>().ok());
        let (limit, offset) = (number("limit").unwrap_or(PAGE).max(1), number("offset").unwrap_or(0));
        let step = if self.next == NextLink::Shifted { limit.saturating_sub(1).max(1) } else { limit };
        let next = (offset + limit < rows.len()).then(|| {
            let query = format!("?limit={limit}&offset={}", offset + step);
            match self.next {
                NextLink::Documented | NextLink::Shifted => format!("http://api2.ezeep.com{}{query}", request.path),
                NextLink::Own => format!("{}{}{query}", self.base, request.path),
                NextLink::Foreign(port) => format!("http://127.0.0.1:{port}{}{query}", request.path),
                NextLink::Loop => format!("http://api2.ezeep.com{}?limit={limit}&offset={offset}", request.path),
            }
        });
        let rows: Vec<_> = rows.iter().skip(offset).take(limit).collect();
        let count = if request.path.contains("groups") { self.groups.len() } else { self.users.len() };
        NeighbourReply::json(200, &json!({ "count": count, "next": next, "previous": null, "results": rows }))
    }

    fn create(&mut self, request: &NeighbourRequest) -> NeighbourReply {
        let Some(body) = request.json(&["name", "organization_id"]) else {
            return NeighbourReply::refusal(400, "fields");
        };
        let name = body["name"].as_str().unwrap_or_default();
        if body["organization_id"] != self.organization_id.as_str() || name.is_empty() {
            return NeighbourReply::refusal(400, "another organization");
        }
        // The example of the document answers with a capital.
        let capital: String = name.chars().take(1).flat_map(char::to_uppercase).chain(name.chars().skip(1)).collect();
        let group = EzeepGroup { id: random::uuid(), name: capital, local_printing: false };
        self.groups.push(group.clone());
        NeighbourReply::json(201, &self.group_row(&group))
    }

    fn one(&mut self, request: &NeighbourRequest, kind: &str, id: &str) -> NeighbourReply {
        let missing = || NeighbourReply::json(404, &json!({ "detail": "Not found." }));
        let group = self.groups.iter().position(|group| group.id == id);
        let user = self.users.iter().position(|user| user.id == id);
        match (request.method.as_str(), kind, group, user) {
            ("GET", "groups", Some(at), _) => NeighbourReply::json(200, &self.group_row(&self.groups[at])),
            ("DELETE", "groups", Some(at), _) => {
                let gone = self.groups.remove(at);
                self.users.iter_mut().for_each(|user| user.groups.retain(|group| *group != gone.id));
                NeighbourReply::empty(204)
            }
            ("GET", "users", _, Some(at)) => NeighbourReply::json(200, &user_row(&self.users[at])),
            ("PUT", "users", _, Some(at)) => self.replace_groups(request, at),
            _ => missing(),
        }
    }

    /// A PUT replaces all groups of the user.
    fn replace_groups(&mut self, request: &NeighbourRequest, at: usize) -> NeighbourReply {
        let Some(body) = request.json(&["groups"]) else { return NeighbourReply::refusal(400, "fields") };
        let groups = body["groups"].as_array().cloned().unwrap_or_default();
        let ids: Option<Vec<_>> = groups.iter().map(|group| Some(group["group_id"].as_str()?.to_owned())).collect();
        let Some(ids) = ids else { return NeighbourReply::refusal(400, "groups are group_id") };
        let user = &mut self.users[at];
        if !self.stubborn.contains(&user.id) {
            user.groups = ids;
        }
        NeighbourReply::json(200, &user_row(user))
    }

    fn group_row(&self, group: &EzeepGroup) -> Value {
        let members = self.users.iter().filter(|user| user.groups.contains(&group.id)).count();
        json!({ "id": group.id, "name": group.name, "description": "", "local_printing_enabled": group.local_printing,
            "myprinters_enabled": false, "origin": { "provider": "Ezeep" }, "organization_id": self.organization_id,
            "num_members": members, "num_printers": 0 })
    }
}

fn user_row(user: &EzeepUser) -> Value {
    let groups: Vec<_> = user.groups.iter().map(|group| json!({ "group_id": group })).collect();
    json!({ "id": user.id, "local_printing_enabled": true, "self_service_enabled": true, "myprinters_enabled": false,
        "groups": groups })
}

/// The header of a client (RFC 7617).
fn basic(name: &str, password: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let text = format!("{name}:{password}").into_bytes();
    let group = |chunk: &[u8]| {
        let bits = (0..3).fold(0_u32, |bits, at| bits << 8 | u32::from(chunk.get(at).copied().unwrap_or(0)));
        let digit = |place: usize| match place <= chunk.len() {
            true => char::from(DIGITS[(bits >> (18 - 6 * place) & 63) as usize]),
            false => '=',
        };
        [digit(0), digit(1), digit(2), digit(3)]
    };
    format!("Basic {}", text.chunks(3).flat_map(group).collect::<String>())
}
