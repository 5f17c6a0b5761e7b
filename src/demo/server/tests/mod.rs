//! The server seen by a client.

mod access;
mod documents;
mod faults;
mod history;
mod oauth;
mod outage;

use std::collections::HashMap;
use std::time::Duration;

use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::Value;

use super::*;

const ADA: &str = "0025489530";

/// The time limit of every wait and request.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server and somebody who talks to it.
struct Talk {
    server: PrintServer,
    client: Client,
    key: &'static str,
    token: String,
}

impl Talk {
    async fn with(key: &'static str) -> Talk {
        let server = PrintServer::start(Options::default()).await.unwrap();
        Talk { server, client: client().build().unwrap(), key, token: String::new() }
    }

    /// Ada, logged in with her card.
    async fn ada() -> Talk {
        let mut talk = Talk::with(OPEN_KEY).await;
        talk.token = talk.login(ADA).await;
        talk
    }

    async fn login(&self, card: &str) -> String {
        let user = self.json(self.form("POST /login", &[("authtype", "1"), ("userid", card)])).await;
        user["token"]["access_token"].as_str().unwrap().to_owned()
    }

    /// "METHOD /path", of the REST calls or from the root with a leading "//".
    fn call(&self, line: &str) -> RequestBuilder {
        let (method, path) = line.split_once(' ').unwrap();
        let url = match path.strip_prefix("//") {
            Some(path) => self.server.url().replace("api/v1", path),
            None => self.server.url() + path,
        };
        let request = self.client.request(Method::from_bytes(method.as_bytes()).unwrap(), url);
        let request = if self.key.is_empty() { request } else { request.header("X-Api-Key", self.key) };
        if self.token.is_empty() { request } else { request.bearer_auth(&self.token) }
    }

    fn form(&self, line: &str, fields: &[(&str, &str)]) -> RequestBuilder {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        self.call(line).header("Content-Type", "application/x-www-form-urlencoded").body(body)
    }

    async fn status(&self, request: RequestBuilder) -> u16 {
        request.send().await.unwrap().status().as_u16()
    }

    async fn json(&self, request: RequestBuilder) -> Value {
        json(request.send().await.unwrap()).await
    }

    fn uuid(&self, index: usize) -> String {
        self.server.world().documents[index].uuid.clone()
    }

    async fn release(&self, uuid: &str, fields: &[(&str, &str)]) -> Value {
        self.json(self.form(&format!("POST /documents/{uuid}/192.0.2.10"), fields)).await["errorCode"].clone()
    }

    /// Waits until the condition holds, or fails the test.
    async fn wait_until(&self, condition: impl Fn(&World) -> bool) {
        tokio::time::timeout(PATIENCE, self.server.wait_until(condition)).await.expect("the condition comes to hold");
    }

    fn fail(&self, call: Call, kind: Kind) {
        self.server.world().faults.push(ServerFault { call, times: 1, kind });
    }
}

fn client() -> reqwest::ClientBuilder {
    // The first test of the process installs it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder().no_proxy().timeout(PATIENCE)
}

async fn json(response: Response) -> Value {
    let text = response.text().await.unwrap();
    serde_json::from_str(&text).unwrap_or_else(|_| panic!("not JSON: {text}"))
}

fn titles(documents: &Value) -> Vec<&str> {
    documents.as_array().unwrap().iter().map(|document| document["documentName"].as_str().unwrap()).collect()
}

/// Statuses by what was asked, for tables of refusals.
async fn statuses<'a>(talk: &Talk, lines: &[&'a str]) -> HashMap<&'a str, u16> {
    let mut answers = HashMap::new();
    for line in lines {
        answers.insert(*line, talk.status(talk.call(line)).await);
    }
    answers
}
