//! The demo as a page: cards to hold, documents that wait, and the agent's own page beside them.

use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};

use super::scene::Scene;
use super::server::{ServerDocument, World};

const PAGE: &str = include_str!("page.html");
const SCRIPT: &str = include_str!("page.js");
const STYLE: &str = include_str!("page.css");

/// The scene behind the page, for its buttons.
#[derive(Clone, Debug)]
pub struct DemoPage {
    scene: Arc<Mutex<Scene>>,
    agent: Arc<str>,
}

impl DemoPage {
    /// The page of this scene; `agent` is the address of the agent's own page.
    pub fn new(scene: Scene, agent: &str) -> Self {
        Self { scene: Arc::new(Mutex::new(scene)), agent: agent.into() }
    }

    /// The routes of the page and of its buttons.
    pub fn router(self) -> Router {
        Router::new()
            .route("/", get(|| async { asset("text/html; charset=utf-8", PAGE) }))
            .route("/demo.js", get(|| async { asset("text/javascript; charset=utf-8", SCRIPT) }))
            .route("/demo.css", get(|| async { asset("text/css; charset=utf-8", STYLE) }))
            .route("/world", get(world))
            .route("/hold/{card}", post(hold))
            .route("/submit/{user}", post(submit))
            .route("/reader/{state}", post(reader))
            .route("/server/{state}", post(server))
            .with_state(self)
    }

    fn with_scene<T>(&self, act: impl FnOnce(&mut Scene) -> T) -> T {
        act(&mut self.scene.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn asset(kind: &'static str, text: &'static str) -> Response {
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}

async fn world(State(page): State<DemoPage>) -> axum::Json<Value> {
    let agent = page.agent.clone();
    page.with_scene(|scene| axum::Json(show(&scene.server.world(), &agent)))
}

fn show(world: &World, agent: &str) -> Value {
    let document = |document: &ServerDocument| {
        json!({
            "user": document.user_name,
            "title": document.document_name,
            "pages": document.total_pages,
            "status": format!("{:?}", document.status).to_lowercase(),
            "released": world.times_released(&document.uuid),
        })
    };
    let user = |user: &super::server::ServerUser| json!({ "name": user.name, "full_name": user.full_name, "cards": user.cards });
    json!({
        "agent": agent,
        "users": world.users.iter().map(user).collect::<Vec<_>>(),
        "documents": world.documents.iter().map(document).collect::<Vec<_>>(),
        "records": world.records.len(),
    })
}

async fn hold(State(page): State<DemoPage>, Path(card): Path<String>) -> Response {
    answer(page.with_scene(|scene| scene.reader.hold(&card)))
}

async fn submit(State(page): State<DemoPage>, Path(user): Path<String>) -> Response {
    page.with_scene(|scene| {
        let mut world = scene.server.world();
        let title = format!("Another document {}.pdf", world.documents.len() + 1);
        let document = ServerDocument::new(&user, &title, 2, world.now());
        world.documents.push(document);
    });
    StatusCode::NO_CONTENT.into_response()
}

async fn reader(State(page): State<DemoPage>, Path(state): Path<String>) -> Response {
    answer(page.with_scene(|scene| match state.as_str() {
        "plug" => scene.reader.plug_again(),
        _ => {
            scene.reader.unplug();
            Ok(())
        }
    }))
}

async fn server(State(page): State<DemoPage>, Path(state): Path<String>) -> Response {
    let server = page.with_scene(|scene| scene.server.clone());
    if state == "start" {
        return answer(server.restart().await);
    }
    server.stop();
    StatusCode::NO_CONTENT.into_response()
}

fn answer(result: std::io::Result<()>) -> Response {
    match result {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(error) => (StatusCode::CONFLICT, error.to_string()).into_response(),
    }
}
