//! zops as its document has it: sessions, projects, services, consumers and their tokens.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::wire::{NeighbourReply, NeighbourRequest};
use crate::demo::server::random;

/// The header with the session's token, as the samples of the document have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderStyle {
    /// The token alone.
    Bare,
    /// Behind the word `Token`.
    Word,
}

/// Its state.
#[derive(Debug)]
pub struct ZopsWorld {
    /// The account's e-mail address and password.
    pub account: (String, String),
    /// Sessions that are open.
    pub sessions: BTreeSet<String>,
    /// Every session token and consumer token that was given out.
    pub issued: Vec<String>,
    /// Id, name and services of each project.
    pub projects: Vec<(String, String, Vec<String>)>,
    /// The codes of the catalogue.
    pub catalogue: Vec<String>,
    /// The ids of all consumers.
    pub consumers: BTreeSet<String>,
    /// Consumers that are attached, with their project.
    pub attached: BTreeSet<(String, String)>,
    /// Consumer tokens that exist.
    pub tokens: BTreeSet<String>,
    /// Consumer tokens that were exchanged: deleting them fails at the server.
    pub exchanged: BTreeSet<String>,
    /// The header that it takes.
    pub style: HeaderStyle,
    /// Whether answers have the envelope `meta` and `content`.
    pub envelope: bool,
    /// Whether a session that is not known is a 400, as for an expired one, and not a 401.
    pub expired_is_400: bool,
}

impl ZopsWorld {
    pub(super) fn new() -> Self {
        Self {
            account: ("box@example.com".to_owned(), "zops-password-0123456789".to_owned()),
            sessions: BTreeSet::new(),
            issued: Vec::new(),
            projects: vec![(
                "1aa36f61f9c14156a900921abb04af56".to_owned(),
                "Aka Project".to_owned(),
                vec!["roc".to_owned()],
            )],
            catalogue: vec!["roc".to_owned(), "push".to_owned()],
            consumers: BTreeSet::new(),
            attached: BTreeSet::new(),
            tokens: BTreeSet::new(),
            exchanged: BTreeSet::new(),
            style: HeaderStyle::Bare,
            envelope: true,
            expired_is_400: false,
        }
    }

    pub(super) fn answer(&mut self, request: &NeighbourRequest) -> NeighbourReply {
        let path = request.path.strip_prefix("/zops/api/v1").unwrap_or_default();
        if (request.method.as_str(), path) == ("POST", "/session") {
            return self.log_in(request);
        }
        let header = request.header("authorization");
        let token = match self.style {
            HeaderStyle::Bare => header,
            HeaderStyle::Word => header.strip_prefix("Token ").unwrap_or_default(),
        };
        if !self.sessions.contains(token) {
            return NeighbourReply::empty(if self.expired_is_400 { 400 } else { 401 });
        }
        let token = token.to_owned();
        let parts: Vec<_> = path.split('/').skip(1).collect();
        match (request.method.as_str(), &parts[..]) {
            ("GET", ["me"]) => {
                let me =
                    json!({ "email": self.account.0, "role": "admin", "id": 123_123_123_123_i64, "firstName": "a" });
                self.content(200, &me)
            }
            ("DELETE", ["session", "logout"]) => {
                if request.parameter("others").is_some() {
                    return NeighbourReply::refusal(400, "it closes the sessions of others");
                }
                self.sessions.remove(&token);
                self.content(202, &Value::Null)
            }
            ("GET", ["projects"]) => {
                self.content(200, &self.projects.iter().map(project_row).collect::<Vec<_>>().into())
            }
            ("GET", ["services"]) => {
                let rows: Vec<_> =
                    self.catalogue.iter().map(|code| json!({ "name": code, "codeName": code })).collect();
                self.content(200, &rows.into())
            }
            _ => self.identity(request, &parts),
        }
    }

    fn log_in(&mut self, request: &NeighbourRequest) -> NeighbourReply {
        let Some(body) = request.json(&["email", "password"]) else { return NeighbourReply::empty(400) };
        if body["email"] != self.account.0.as_str() || body["password"] != self.account.1.as_str() {
            return NeighbourReply::empty(401);
        }
        let token = self.issue("session");
        self.sessions.insert(token.clone());
        self.content(201, &json!({ "token": token }))
    }

    fn issue(&mut self, kind: &str) -> String {
        let token = format!("{kind}-{}", random::token());
        self.issued.push(token.clone());
        token
    }

    /// The calls about consumers.
    fn identity(&mut self, request: &NeighbourRequest, parts: &[&str]) -> NeighbourReply {
        match (request.method.as_str(), parts) {
            ("GET", ["consumers"]) => {
                let rows: Vec<_> = self.consumers.iter().map(|id| json!({ "id": id })).collect();
                self.content(200, &rows.into())
            }
            ("POST", ["consumers"]) if request.json(&[]).is_some() => {
                let id = random::token()[..32].to_owned();
                self.consumers.insert(id.clone());
                self.content(201, &json!({ "id": id }))
            }
            ("POST", ["projects", project, "consumers"]) => self.attach(request, project),
            ("DELETE", ["projects", project, "consumers", consumer]) => {
                match self.attached.remove(&((*project).to_owned(), (*consumer).to_owned())) {
                    true => self.content(202, &Value::Null),
                    false => NeighbourReply::empty(404),
                }
            }
            ("POST", ["consumer-tokens"]) => self.consumer_token(request),
            ("DELETE", ["consumer-tokens", token, "projects", _, "services", _]) => {
                if self.exchanged.contains(*token) {
                    return NeighbourReply::empty(500);
                }
                // The document says 201, without a body.
                NeighbourReply::empty(if self.tokens.remove(*token) { 201 } else { 404 })
            }
            _ => NeighbourReply::refusal(404, "the document has no such call"),
        }
    }

    fn attach(&mut self, request: &NeighbourRequest, project: &str) -> NeighbourReply {
        let Some(body) = request.json(&["consumerId"]) else { return NeighbourReply::empty(400) };
        let consumer = body["consumerId"].as_str().unwrap_or_default().to_owned();
        if !self.consumers.contains(&consumer) || !self.projects.iter().any(|(id, ..)| id == project) {
            return NeighbourReply::empty(404);
        }
        match self.attached.insert((project.to_owned(), consumer.clone())) {
            true => self.content(201, &json!({ "consumerId": consumer })),
            false => NeighbourReply::empty(409),
        }
    }

    fn consumer_token(&mut self, request: &NeighbourRequest) -> NeighbourReply {
        let names = ["consumerId", "projectId", "serviceCatalogCode"];
        let Some(body) = request.json(&names) else { return NeighbourReply::empty(400) };
        let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
        let (consumer, project, service) = (text(names[0]), text(names[1]), text(names[2]));
        let has_service =
            |(id, _, services): &(String, String, Vec<String>)| *id == project && services.contains(&service);
        if !self.attached.contains(&(project.clone(), consumer)) || !self.projects.iter().any(has_service) {
            return NeighbourReply::empty(404);
        }
        let token = self.issue("consumer");
        self.tokens.insert(token.clone());
        // The example echoes nothing.
        let content = json!({ "consumerId": null, "projectId": null, "serviceCatalogCode": null, "token": token });
        self.content(201, &content)
    }

    fn content(&self, status: u16, content: &Value) -> NeighbourReply {
        match self.envelope {
            true => NeighbourReply::json(status, &json!({ "meta": { "params": { "indent": 0 } }, "content": content })),
            false if content.is_null() => NeighbourReply::empty(status),
            false => NeighbourReply::json(status, content),
        }
    }
}

fn project_row((id, name, _): &(String, String, Vec<String>)) -> Value {
    json!({ "name": name, "description": "", "id": id, "userLimit": 10, "userUsed": 0 })
}
