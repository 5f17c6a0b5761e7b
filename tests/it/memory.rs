//! A long answer or a long queue costs the memory of its bytes or of a page, and not that of all its entries.

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::http::header;
use axum::routing::{get, post};
use jiff::{SignedDuration, Timestamp};
use print_release_agent::demo::scene::Scene;
use print_release_agent::demo::server::ServerDocument;
use print_release_agent::domain::{Cause, Outcome, Reason, Secret};
use print_release_agent::print_server::{Client, ClientSettings, HistoryQuery};
use print_release_agent::tls::Trust;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::task::JoinSet;

use crate::support::journal::{close, open, release};
use crate::support::{limit, limit_of, log, program, soon};

/// As many rows as an answer of 4 MiB holds.
const ROWS: usize = 40_000;

/// Entries that are stored at one time.
const CHUNK: usize = 500;

/// The most memory that a process has used, in KiB.
fn peak(process: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}

/// A server that lets everybody in and lists many documents, whatever it was asked for.
async fn server_with_a_long_list() -> String {
    let json = || [(header::CONTENT_TYPE, "application/json")];
    let login = r#"{"userName":"ada","token":{"access_token":"a"}}"#;
    let row = |number: usize| format!(r#"{{"uuid":"{number:036}","documentName":"Title of a document","status":0}}"#);
    let list = Bytes::from(format!("[{}]", (0..ROWS).map(row).collect::<Vec<_>>().join(",")));
    assert!(list.len() > 3 << 20);
    let router = Router::new()
        .route("/api/v1/login", post(move || async move { (json(), login) }))
        .route("/api/v1/documents", get(move || async move { (json(), list.clone()) }));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/api/v1", listener.local_addr().unwrap());
    tokio::spawn(async { axum::serve(listener, router).await });
    url
}

#[tokio::test]
async fn a_list_of_40_000_documents_costs_little_more_than_its_bytes() {
    let _limit = limit();
    let scene = Scene::set(program()).await.unwrap();
    let url = server_with_a_long_list().await;
    let config = std::fs::read_to_string(scene.config()).unwrap();
    let own = format!("url = \"{}\"", scene.server.url());
    assert!(config.contains(&own));
    std::fs::write(scene.config(), config.replace(&own, &format!("url = \"{url}\""))).unwrap();
    let agent = scene.start().await.unwrap();
    let before = peak(agent.id().unwrap()).unwrap();
    let event = soon(scene.hold(&agent, "1234567")).await.unwrap();
    let grown = peak(agent.id().unwrap()).unwrap() - before;
    println!("peak {before} KiB before, grown by {grown} KiB");
    assert_eq!((&event["event"], &event["reason"]), (&"failed".into(), &"not-found".into()), "{}", log(&scene));
    assert!(grown < 12 * 1024, "{grown} KiB");
}

/// Puts releases into the journal of a scene that nobody knows the end of, so that the agent leaves them alone.
async fn fill(scene: &Scene) {
    let dir = scene.dir().join("state");
    let journal = open(&dir);
    for chunk in 0..ROWS / CHUNK {
        let releases: Vec<_> = (0..CHUNK).map(|number| release((chunk * CHUNK + number) as u64)).collect();
        let mut ended = JoinSet::new();
        for id in journal.store_releases(releases).await.unwrap() {
            let journal = journal.clone();
            ended.spawn(
                async move { journal.end_release(id, Outcome::Unknown(Reason::NotListed), None).await.unwrap() },
            );
        }
        ended.join_all().await;
    }
    close(journal, &dir);
}

/// Runs a command to its end. Returns the bytes that it printed and the most memory that it was seen to use.
async fn run(scene: &Scene, arguments: &[&str]) -> (usize, u64) {
    let mut command = Command::new(program());
    command.arg("--config").arg(scene.config()).args(arguments).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let (id, mut output) = (child.id().unwrap(), child.stdout.take().unwrap());
    let (mut printed, mut seen, mut buffer) = (0, 0, vec![0; 1 << 16]);
    loop {
        match soon(output.read(&mut buffer)).await.unwrap() {
            0 => break,
            bytes => printed += bytes,
        }
        seen = seen.max(peak(id).unwrap_or(0));
    }
    assert!(soon(child.wait()).await.unwrap().success());
    (printed, seen)
}

#[tokio::test]
async fn a_queue_of_40_000_entries_is_listed_in_the_memory_of_a_page() {
    let _limit = limit_of(Duration::from_secs(600));
    let scene = Scene::set(program()).await.unwrap();
    fill(&scene).await;
    let agent = scene.start().await.unwrap();
    let before = peak(agent.id().unwrap()).unwrap();
    for arguments in [&["queue", "list"][..], &["queue", "export", "--format", "csv"], &["queue", "list", "--json"]] {
        let (printed, used) = run(&scene, arguments).await;
        println!("{arguments:?}: {printed} bytes, {used} KiB");
        assert!(printed > ROWS * 50, "{printed}");
        assert!(used < 40 * 1024, "{arguments:?}: {used} KiB");
    }
    let grown = peak(agent.id().unwrap()).unwrap() - before;
    println!("the agent: {before} KiB before, grown by {grown} KiB");
    assert!(grown < 8 * 1024, "{grown} KiB");
}

#[tokio::test]
async fn a_history_of_100_000_rows_is_exported_in_the_memory_of_a_page() {
    let _limit = limit_of(Duration::from_secs(600));
    let scene = Scene::set(program()).await.unwrap();
    let arguments = ["history", "export", "--from", "2026-01-01", "--to", "2026-01-11"];
    let from = "2026-01-01T00:00:00Z".parse::<Timestamp>().unwrap();
    let mut peaks = Vec::new();
    for rows in [1_000, 100_000] {
        let step = SignedDuration::from_hours(240) / rows;
        let row = |number| ServerDocument::new("ada", "Title of a document", 3, from + step * number);
        scene.server.world().documents = (0..rows).map(row).collect();
        let (printed, used) = run(&scene, &arguments).await;
        println!("{rows} rows: {printed} bytes, {used} KiB");
        assert!(printed > usize::try_from(rows).unwrap() * 50, "{printed}");
        peaks.push(used);
    }
    assert!(peaks[1] < peaks[0] + 12 * 1024, "{peaks:?}");
}

#[tokio::test]
async fn a_history_without_end_is_given_up_after_its_limit_of_rows() {
    let _limit = limit();
    print_release_agent::tls::install_provider();
    let pages = Arc::new(AtomicUsize::new(0));
    let rows: Vec<_> = (0..ROWS).map(|number| format!(r#"{{"uuid":"{number}"}}"#)).collect();
    let (asked, rows) = (pages.clone(), rows.join(","));
    let page = move || async move {
        let number = asked.fetch_add(1, Ordering::Relaxed);
        (
            [(header::CONTENT_TYPE, "application/json")],
            format!(r#"{{"documents":[{rows}],"nextPageToken":"{number}"}}"#),
        )
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().route("/api/v1/documents/history", get(page));
    tokio::spawn(async { axum::serve(listener, router).await });
    let client = Client::new(ClientSettings {
        url: format!("{url}/api/v1").parse().unwrap(),
        oauth_url: format!("{url}/oauth/v1").parse().unwrap(),
        api_key: Secret::new("key"),
        device_token: None,
        trust: Trust::default(),
        proxy: None,
        connect_timeout: Duration::from_secs(10),
        request_timeout: Duration::from_secs(60),
        history_datetime: false,
    });
    let now = Timestamp::now();
    let query = HistoryQuery { user: None, from: now - SignedDuration::from_hours(1), to: now };
    let failure = soon(client.unwrap().history(&query)).await.unwrap_err();
    assert_eq!(failure.cause, Cause::Malformed, "{failure}");
    assert_eq!(pages.load(Ordering::Relaxed), 3, "120,000 rows are more than 100,000");
}
