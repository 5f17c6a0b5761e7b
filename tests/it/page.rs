//! The demo's page in a real browser: a person presses a button and sees the documents come out. And the agent's own page and its control
//! socket among clients that mean no good.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use print_release_agent::demo::scene::Scene;
use print_release_agent::demo::server::{Call, Kind};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpStream, UnixStream};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;

use crate::support::{limit, log, playing, program, soon};

/// The file of the screenshot, which is not committed.
const SCREENSHOT: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/demo-page.png");

/// The longest wait for a condition on the page.
const SCRIPT_LIMIT: Duration = Duration::from_secs(30);

/// The longest wait for an answer of the driver, which also starts the browser.
const REQUEST_LIMIT: Duration = Duration::from_secs(60);

/// A browser that clicks and looks as a person would (W3C WebDriver).
struct Browser {
    /// The driver leads a process group of its own, to which the browser belongs.
    driver: Child,
    client: reqwest::Client,
    session: String,
}

impl Browser {
    async fn open() -> Self {
        print_release_agent::tls::install_provider();
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .expect("chromedriver is installed (apt-get install chromium-driver)");
        let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
        let started = soon(async {
            loop {
                let line = lines.next_line().await.unwrap().expect("chromedriver runs");
                if let Some((_, port)) = line.split_once("started successfully on port ") {
                    return port.trim_end_matches('.').to_owned();
                }
            }
        });
        let port = started.await;
        let client = reqwest::Client::builder().no_proxy().timeout(REQUEST_LIMIT).build().unwrap();
        let mut browser = Self { driver, client, session: format!("http://127.0.0.1:{port}/session") };
        let arguments = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--no-first-run",
            "--disable-quic",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--window-size=1280,900",
        ];
        let wanted = json!({ "capabilities": { "alwaysMatch": { "goog:chromeOptions": { "args": arguments } } } });
        let session = browser.post("", &wanted).await;
        browser.session = format!("{}/{}", browser.session, session["sessionId"].as_str().expect("a session"));
        browser
    }

    async fn post(&self, path: &str, body: &Value) -> Value {
        let request = self.client.post(format!("{}{path}", self.session)).body(body.to_string());
        let answer: Value = serde_json::from_slice(&request.send().await.unwrap().bytes().await.unwrap()).unwrap();
        assert!(answer["value"]["error"].is_null(), "{path}: {answer}");
        answer["value"].clone()
    }

    async fn run(&self, script: &str) -> Value {
        self.post("/execute/sync", &json!({ "script": script, "args": [] })).await
    }

    /// Waits until a condition, evaluated on every animation frame, is true. The driver limits the wait.
    async fn until(&self, condition: &str) {
        let script = format!(
            "const done = arguments[0]; const look = () => ({condition}) ? done(true) : requestAnimationFrame(look); look();"
        );
        assert_eq!(self.post("/execute/async", &json!({ "script": script, "args": [] })).await, true, "{condition}");
    }

    async fn click(&self, button: &str) {
        let script =
            format!("[...document.querySelectorAll('button')].find(b => b.textContent === '{button}').click()");
        self.run(&script).await;
    }

    async fn screenshot(&self, path: &Path) {
        let answer = self.client.get(format!("{}/screenshot", self.session)).send().await.unwrap();
        let answer: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
        std::fs::write(path, base64(answer["value"].as_str().unwrap())).unwrap();
    }
}

/// Kills the whole group, because the driver alone would leave its browser behind.
impl Drop for Browser {
    fn drop(&mut self) {
        let group = self.driver.id().and_then(|id| Pid::from_raw(i32::try_from(id).unwrap()));
        if let Some(group) = group {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

fn base64(text: &str) -> Vec<u8> {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits: Vec<u32> =
        text.bytes().filter_map(|c| alphabet.iter().position(|a| *a == c)).map(|n| n as u32).collect();
    digits
        .chunks(4)
        .flat_map(|chunk| {
            let bits = chunk.iter().enumerate().fold(0, |bits, (index, digit)| bits | digit << (18 - 6 * index));
            bits.to_be_bytes()[1..chunk.len()].to_vec()
        })
        .collect()
}

#[tokio::test]
async fn a_tap_from_the_pages_button_releases_documents_and_the_page_shows_them() {
    let _limit = limit();
    let mut demo = Command::new(program()).arg("demo").stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let mut lines = BufReader::new(demo.stdout.take().unwrap()).lines();
    let line = soon(lines.next_line()).await.unwrap().expect("the demo runs");
    let address = line.split_whitespace().find(|word| word.starts_with("http://")).expect("an address").to_owned();

    let browser = Browser::open().await;
    browser.post("/timeouts", &json!({ "script": SCRIPT_LIMIT.as_millis() as u64 })).await;
    browser.post("/url", &json!({ "url": address })).await;
    browser.until("document.querySelectorAll('#documents tr').length === 8").await;
    let printed = "document.querySelectorAll('#documents tr.printed').length";
    browser.until(&format!("{printed} === 0")).await;
    browser.click("Card of Ada Lovelace").await;
    browser.until(&format!("{printed} === 4")).await;
    browser.until("document.getElementById('records').textContent.startsWith('4 ')").await;
    browser.post("/frame", &json!({ "id": 0 })).await;
    browser.until("document.querySelector('.last')?.textContent.includes('released, 4 documents')").await;
    browser.until("document.querySelector('.station').dataset.phase === 'ready'").await;
    browser.post("/frame", &json!({ "id": null })).await;
    browser.screenshot(Path::new(SCREENSHOT)).await;
    assert!(std::fs::metadata(SCREENSHOT).unwrap().len() > 10_000, "{SCREENSHOT}");

    let id = Pid::from_raw(i32::try_from(demo.id().unwrap()).unwrap()).unwrap();
    kill_process(id, Signal::TERM).unwrap();
    assert!(soon(demo.wait()).await.unwrap().success());
}

/// The most connections that the page or the control socket has at one time.
const CONNECTIONS: usize = 64;

/// Sends requests for far more bytes than all buffers hold, and reads nothing.
async fn ask_and_never_read(mut stream: impl AsyncWrite + Unpin) {
    let requests = "GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".repeat(10_000);
    // The agent may cut it at any moment.
    drop(stream.write_all(requests.as_bytes()).await);
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn clients_that_never_read_stop_neither_the_page_nor_the_control_socket() {
    let _limit = limit();
    let (scene, agent) = playing().await;
    let mut clients = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let address = agent.page().strip_prefix("http://").unwrap();
        clients.spawn(ask_and_never_read(soon(TcpStream::connect(address)).await.unwrap()));
        clients.spawn(ask_and_never_read(soon(UnixStream::connect(scene.dir().join("control.sock"))).await.unwrap()));
    }
    let status = soon(scene.get(&agent, "/status")).await.unwrap();
    assert!(status.contains("\"stations\""), "{status}");
    let output = Command::new(program()).arg("--config").arg(scene.config()).arg("status").output();
    let output = soon(output).await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(agent.terminate().await.unwrap().success());
}

/// The status of the page's answer to a request with these lines of a head.
async fn asked(page: &str, head: &str) -> String {
    let mut stream = TcpStream::connect(page.strip_prefix("http://").unwrap()).await.unwrap();
    stream.write_all(format!("GET /status HTTP/1.1\r\n{head}Connection: close\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    soon(stream.read_to_string(&mut answer)).await.unwrap();
    answer.split_whitespace().nth(1).unwrap_or_default().to_owned()
}

#[tokio::test]
async fn the_page_answers_only_to_names_of_the_box_and_to_those_of_http_hosts() {
    let _limit = limit();
    let scene = Scene::set(program()).await.unwrap();
    let config = std::fs::read_to_string(scene.config()).unwrap();
    std::fs::write(scene.config(), config.replace("[http]\n", "[http]\nhosts = [\"print.example.com\"]\n")).unwrap();
    let agent = scene.start().await.unwrap();
    let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let hostname = hostname.trim();
    let label = hostname.split('.').next().unwrap();
    let local = format!("{label}.local:8631");
    for known in ["127.0.0.1:8631", "[::1]", "192.0.2.9", "LOCALHOST", hostname, label, &local, "Print.Example.com:80"]
    {
        assert_eq!(asked(agent.page(), &format!("Host: {known}\r\n")).await, "200", "{known}");
    }
    for _ in 0..3 {
        assert_eq!(asked(agent.page(), "Host: rebound.example:8631\r\n").await, "421");
    }
    let long = format!("Host: {}\r\n", "x".repeat(5_000));
    assert_eq!(asked(agent.page(), &long).await, "421");
    assert_eq!(asked(agent.page(), "").await, "400");
    assert_eq!(asked(agent.page(), "Host: 127.0.0.1\r\nHost: rebound.example\r\n").await, "400");
    let log = log(&scene);
    let told: Vec<_> = log.lines().filter(|line| line.contains("http.hosts")).collect();
    assert_eq!(told.iter().filter(|line| line.contains("rebound.example")).count(), 1, "{log}");
    assert!(told.len() == 2 && told.iter().all(|line| line.len() < 400), "{log}");
    let output = Command::new(program()).arg("--config").arg(scene.config()).arg("status").output().await.unwrap();
    assert!(output.status.success(), "the control socket is asked by no browser");
}

#[tokio::test]
async fn the_page_says_which_record_waits_why_and_until_when() {
    let _limit = limit();
    let (scene, agent) = playing().await;
    scene.befall(Call::Record, usize::MAX, Kind::Status { code: 403, retry_after: None });
    scene.tap(&agent, "linus").await.unwrap();
    let browser = Browser::open().await;
    browser.post("/timeouts", &json!({ "script": SCRIPT_LIMIT.as_millis() as u64 })).await;
    browser.post("/url", &json!({ "url": agent.page() })).await;
    let told = "document.getElementById('waiting').textContent";
    browser
        .until(&format!("/lobby: record [0-9]+ of .* waits \\(not-allowed\\); next attempt [0-9]/.test({told})"))
        .await;
    scene.server.world().faults.clear();
    browser.until(&format!("{told} === ''")).await;
}
