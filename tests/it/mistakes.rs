//! The table of docs/operating.md, "Mistakes": each one is made, and `check` tells it in one sentence and does not end with 0.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::{Output, Stdio};

use print_release_agent::demo::scene::Scene;
use print_release_agent::demo::server::{OPEN_KEY, Options, PrintServer, TRUSTED_KEY};
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::support::tls::Authority;
use crate::support::{limit, program, soon};

/// A web token whose time is over, without a signature.
const EXPIRED_TOKEN: &str = "e30.eyJleHAiOjE3MDAwMDAwMDB9.x";

/// Makes the mistake of one row.
type Make = fn(&Scene);

fn edit(scene: &Scene, from: &str, to: &str) {
    let config = fs::read_to_string(scene.config()).unwrap();
    assert!(config.contains(from), "{from} in {config}");
    fs::write(scene.config(), config.replacen(from, to, 1)).unwrap();
}

fn add(scene: &Scene, section: &str) {
    edit(scene, "[outbox]", &format!("{section}\n[outbox]"));
}

fn server(scene: &Scene, line: &str) {
    edit(scene, "[server]\n", &format!("[server]\n{line}\n"));
}

fn file(scene: &Scene, name: &str, text: &str) -> String {
    scene.write_secret(name, text).unwrap().display().to_string()
}

fn station(name: &str, device: &str) -> String {
    format!(
        "[[station]]\nname = \"{name}\"\n[station.reader]\ntype = \"serial\"\ndevice = \"{device}\"\n\
         [station.printer]\noutput_port = \"DEMO0001\""
    )
}

fn url(scene: &Scene, url: &str) {
    edit(scene, &scene.server.url(), url);
}

/// A port of this machine where nobody listens.
fn shut() -> u16 {
    crate::support::mosquitto::free_port()
}

/// The mistakes in the order of the table. The last ones are made against a server with TLS.
const MISTAKES: [Make; 25] = [
    |s| url(s, "http://print.example.com:7300/api/v1"),
    |s| edit(s, "/api/v1\"", "/api\""),
    |s| edit(s, "connect_timeout", "conect_timeout"),
    |s| edit(s, "connect_timeout = \"1s\"", "connect_timeout = 1"),
    |s| edit(s, "/api-key\"", "/no-such-key\""),
    |s| fs::set_permissions(s.dir().join("api-key"), Permissions::from_mode(0o644)).unwrap(),
    |s| drop(file(s, "api-key", "\n")),
    |s| edit(s, "output_port = \"192.0.2.10\"\n", ""),
    |s| edit(s, "output_port = \"192.0.2.10\"", "output_port = \"..\""),
    |s| add(s, &station("lobby", "/dev/no-such-device")),
    |s| add(s, &station("attic", &s.reader.path().display().to_string())),
    |s| edit(s, "type = \"serial\"", "type = \"serial\"\nconvert = \"hex2dez\""),
    |s| edit(s, "type = \"serial\"", "type = \"cereal\""),
    |s| edit(s, "id = \"demo\"", "id = \"demo"),
    |s| drop(file(s, "api-key", "another-key")),
    |s| s.server.world().keys[0].expired = true,
    |s| s.server.world().keys[0].address_refused = true,
    |s| url(s, &format!("http://127.0.0.1:{}/api/v1", shut())),
    |s| s.server.world().domains.clear(),
    |s| server(s, &format!("device_token_file = \"{}\"", file(s, "token", EXPIRED_TOKEN))),
    |s| {
        file(s, "api-key", TRUSTED_KEY);
        edit(s, &s.server.oauth_url(), &format!("http://127.0.0.1:{}/oauth/v1", shut()));
        add(s, "[server.device]\nregister = true");
    },
    |s| edit(s, &s.reader.path().display().to_string(), "/dev/no-such-device"),
    |s| url(s, &s.server.url().replace("http:", "https:")),
    |_| {},
    |s| {
        server(s, &format!("ca_file = \"{}/ca.pem\"", s.dir().display()));
        url(s, &s.server.url().replace("localhost", "127.0.0.1"));
    },
];

async fn scene(number: usize) -> Scene {
    if number < 24 {
        return Scene::set(program()).await.unwrap();
    }
    let authority = Authority::new();
    let server = PrintServer::start_tls(Options::default(), authority.server(false).0).await.unwrap();
    let scene = Scene::set_with(program(), server).unwrap();
    fs::write(scene.dir().join("ca.pem"), authority.pem()).unwrap();
    scene
}

async fn check(scene: &Scene, arguments: &[&str]) -> Output {
    let mut command = tokio::process::Command::new(program());
    command.arg("check").args(arguments).arg("--config").arg(scene.config()).kill_on_drop(true);
    soon(command.output()).await.unwrap()
}

/// The rows of the table: the sentence's words in backticks, and the exit code.
fn rows() -> Vec<(Vec<String>, i32)> {
    let text = include_str!("../../docs/operating.md");
    let table = text.split("\n## Mistakes\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let rows = table.lines().filter(|line| line.starts_with("| ") && line.as_bytes()[2].is_ascii_digit());
    rows.map(|row| {
        let cells: Vec<_> = row.trim_matches('|').split(" | ").collect();
        let words = cells[2].split('`').skip(1).step_by(2).map(str::to_owned).collect();
        (words, cells[3].trim().parse().unwrap())
    })
    .collect()
}

/// The line of the output that is about this.
fn line(output: &Output, what: &str) -> String {
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().find(|line| line.contains(&format!("{what}:"))).unwrap_or_else(|| panic!("{what}: {text}")).to_owned()
}

#[tokio::test]
async fn a_wrong_key_is_found_also_where_refusals_say_nothing_and_a_right_one_is_accepted() {
    let _limit = limit();
    for (key, begin, code) in [("another-key", "FAILED", 69), (OPEN_KEY, "ok", 0), (TRUSTED_KEY, "ok", 0)] {
        let scene = Scene::set(program()).await.unwrap();
        scene.server.world().silent_refusals = true;
        file(&scene, "api-key", key);
        let output = check(&scene, &[]).await;
        assert!(line(&output, "API key").starts_with(begin), "{key}: {output:?}");
        assert_eq!(output.status.code(), Some(code), "{key}: {output:?}");
        assert!(!String::from_utf8_lossy(&output.stdout).contains(key), "{output:?}");
    }
}

#[tokio::test]
async fn check_says_whether_the_history_may_be_read() {
    let _limit = limit();
    let scene = Scene::set(program()).await.unwrap();
    assert!(line(&check(&scene, &[]).await, "history").starts_with("ok"));
    scene.server.world().keys[0].history_allowed = false;
    let told = line(&check(&scene, &[]).await, "history");
    assert!(told.starts_with('?') && told.contains("ViewReport"), "{told}");
}

#[tokio::test]
async fn a_fixed_device_token_is_warned_of_before_it_ends() {
    let _limit = limit();
    let scene = Scene::set(program()).await.unwrap();
    let token = scene.server.world().device_token("box");
    server(&scene, &format!("device_token_file = \"{}\"", file(&scene, "token", &token)));
    let output = check(&scene, &[]).await;
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("warning  [server] device_token_file: this token lives an hour"), "{text}");
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(!text.contains(&token), "{text}");
}

/// Runs `check --card` and holds this card when it asks for one.
async fn check_card(scene: &Scene, card: &str) -> Output {
    let mut command = tokio::process::Command::new(program());
    command.args(["check", "--card", "--config"]).arg(scene.config()).kill_on_drop(true);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut told = BufReader::new(child.stderr.take().unwrap()).lines();
    // The command opens the reader a moment after it has asked, and says so.
    while !soon(told.next_line()).await.unwrap().expect("it opens the reader").contains("connected") {}
    scene.reader.hold(card).unwrap();
    soon(child.wait_with_output()).await.unwrap()
}

#[tokio::test]
async fn a_card_goes_the_whole_way_but_the_release() {
    let _limit = limit();
    let scene = Scene::set(program()).await.unwrap();
    let card = scene.server.world().user("linus").unwrap().cards[0].clone();
    let output = check_card(&scene, &card).await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    for (what, words) in [("login", "knows the card"), ("list", "1 documents wait"), ("output port", "\"Lobby\"")] {
        let told = line(&output, what);
        assert!(told.starts_with("ok") && told.contains(words), "{told}");
    }
    assert!(line(&output, "job records").starts_with('?'), "no device's token");
    assert_eq!(scene.server.world().releases.len(), 0);
    assert_eq!(scene.server.world().records.len(), 0);
    assert!(!String::from_utf8_lossy(&output.stdout).contains(&card), "{output:?}");

    edit(&scene, "192.0.2.10", "192.0.2.99");
    let output = check_card(&scene, &card).await;
    assert_eq!(output.status.code(), Some(69), "{output:?}");
    assert!(line(&output, "output port").contains("no port of the server has output_port \"192.0.2.99\""));
    let output = check_card(&scene, "9000000001").await;
    assert!(line(&output, "login").starts_with("FAILED   login: login-refused"), "{output:?}");
}

#[tokio::test]
async fn beside_the_running_agent_no_card_is_tried_because_it_would_be_released() {
    let _limit = limit();
    let scene = Scene::set(program()).await.unwrap();
    let _agent = scene.start().await.unwrap();
    let output = check(&scene, &["--card"]).await;
    assert!(line(&output, "card").contains("stop it first"), "{output:?}");
    assert_eq!(output.status.code(), Some(69));
}

#[tokio::test]
async fn every_mistake_is_told_in_one_sentence_and_check_does_not_end_with_0() {
    let _limit = limit();
    let rows = rows();
    assert_eq!(rows.len(), MISTAKES.len());
    let mut wrong = Vec::new();
    for (number, (make, (words, code))) in (1..).zip(MISTAKES.iter().zip(&rows)) {
        let scene = scene(number).await;
        make(&scene);
        let output = check(&scene, &[]).await;
        let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let told: Vec<_> = stdout.lines().filter(|line| line.starts_with("FAILED")).chain(stderr.lines()).collect();
        let fits = told.len() == 1 && !words.is_empty() && words.iter().all(|words| told[0].contains(words));
        if !fits || output.status.code() != Some(*code) || *code == 0 {
            wrong.push(format!("{number}: {words:?} {code} but {:?} {told:#?}", output.status.code()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
