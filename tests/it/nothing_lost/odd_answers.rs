//! The server, or a balancer before it, answers oddly, with its work done before, later or never. A tap may fail by that and be
//! repeated; then nothing is lost, nothing is printed or recorded twice, and no outbox stands still.
//!
//! No answer lies: one that says yes comes with the work done, and one that refuses comes without.

use std::time::Duration;

use print_release_agent::demo::process::AgentProcess;
use print_release_agent::demo::scene::Scene;
use print_release_agent::demo::server::{Call, Kind};

use super::books::{Books, LATE_MS, impatient};
use super::odd_proxy::{OddAnswer, OddBytes, OddProxy, Work};
use crate::support::journal::runtime;
use crate::support::platter::Dice;
use crate::support::table::{Lane, in_lanes};
use crate::support::{dice, limit_of_campaign, program, tries};

/// They mostly wait until the server is certainly over with a request.
const LANES: usize = 8;

/// A tap that has not ended by then is left alone.
const TAP: Duration = Duration::from_secs(15);

/// A JSON text that is nested too deeply for a reader that calls itself.
const DEEP: usize = 100_000;

/// More than an entry of the journal may have.
const LONG: usize = 40_000;

/// More than a head may have.
const HUGE_HEAD: usize = 300_000;

const CALLS: [Call; 7] =
    [Call::Login, Call::List, Call::Release, Call::Release, Call::Record, Call::Record, Call::History];

/// Rows of a list that are none, or that no terminal should get to see.
const ROWS: [&str; 7] = [
    "null",
    "{}",
    "7",
    r#"{"uuid":7,"documentName":[],"userName":{},"status":"READY"}"#,
    r#"{"uuid":"../../login","documentName":"x","userName":"linus","status":0}"#,
    r#"{"uuid":"a\nb\u001b]0;x\u0007\u0000","documentName":"\u202ex\u009b2J","userName":"li\nnus","status":0}"#,
    r#"{"uuid":"","documentName":"","userName":"","status":99,"totalPages":-1,"dateTime":"soon","copies":1e300}"#,
];

fn answer(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status}\r\nconnection: close\r\n{headers}content-length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

fn json(body: &str) -> Vec<u8> {
    answer("200 OK", "content-type: application/json\r\n", body.as_bytes())
}

/// Answers that say yes, because they are 2xx without a code (docs/print-server-api.md, "Answers").
fn consent(dice: &mut Dice) -> (&'static str, Vec<u8>) {
    let all = [
        ("nothing with 204", answer("204 No Content", "", b"")),
        ("an empty body", json("")),
        ("blanks", json(" \r\n\t ")),
        ("a list", json(r#"["maintenance"]"#)),
        ("a number", json("7")),
        ("no code", json(r#"{"errorcode":1001,"message":"\u001b[2J"}"#)),
        ("a code in words", json(r#"{"errorCode":"0"}"#)),
        ("202", answer("202 Accepted", "", b"{\"errorCode\":null}")),
    ];
    all[dice.roll(all.len() as u64) as usize].clone()
}

/// Answers that refuse.
fn refusal(dice: &mut Dice) -> (&'static str, Vec<u8>) {
    let long = "9".repeat(LONG);
    let all = [
        ("a long code", json(&format!("{{\"errorCode\":\"{long}\"}}"))),
        ("a number without end", json(&format!("{{\"errorCode\":{long}}}"))),
        ("a negative code", json(r#"{"errorCode":-1}"#)),
        ("a code that is a list", json(r#"{"errorCode":[1001]}"#)),
        ("a code with controls", json(r#"{"errorCode":"\u001b[2J\n\u0000\u009b"}"#)),
        ("418", answer("418 I'm a teapot", "", b"<html>")),
        ("400 with a long word", answer("400 Bad Request", "", format!("{{\"error\":\"{long}\"}}").as_bytes())),
        ("403 with HTML", answer("403 Forbidden", "content-type: text/html\r\n", b"<html>login</html>")),
    ];
    all[dice.roll(all.len() as u64) as usize].clone()
}

/// Answers that make no sense, or that say nothing about the work.
fn riddle(dice: &mut Dice) -> (&'static str, Vec<u8>) {
    let retry = |seconds: &str| format!("retry-after: {seconds}\r\n");
    let all = [
        ("HTML", answer("200 OK", "content-type: text/html\r\n", b"<html>please log in</html>")),
        ("a deep nest", json(&"[".repeat(DEEP))),
        ("no UTF-8", answer("200 OK", "content-type: application/json\r\n", b"{\"errorCode\":\"\xff\xfe\"}")),
        ("half an answer", b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{\"errorCode\"".to_vec()),
        ("half a chunk", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nff\r\n{\"err".to_vec()),
        ("no status", b"HTTP/1.1 abc\r\n\r\n".to_vec()),
        ("no HTTP", b"\x16\x03\x01\x02\x00\x01\x00\x01".to_vec()),
        ("nothing", Vec::new()),
        ("only 100 Continue", b"HTTP/1.1 100 Continue\r\n\r\n".to_vec()),
        ("a huge head", answer("200 OK", &format!("x: {}\r\n", "y".repeat(HUGE_HEAD)), b"<html>")),
        ("302", answer("302 Found", "location: http://192.0.2.1/login\r\n", b"")),
        ("304", answer("304 Not Modified", "", b"")),
        ("307", answer("307 Temporary Redirect", "location: /api/v1/account\r\n", b"")),
        ("429 without a date", answer("429 Too Many Requests", &retry("1"), b"<html>")),
        ("429 that asks for years", answer("429 Too Many Requests", &retry("4294967295"), b"")),
        ("503 with a date to come again", answer("503 Busy", &retry("Wed, 21 Oct 2099 07:28:00 GMT"), b"")),
        ("503 with a time to come again", answer("503 Busy", &retry("1"), b"")),
        ("502 with HTML", answer("502 Bad Gateway", "content-type: text/html\r\n", b"<html>")),
        ("599", answer("599 Unknown", "", b"")),
        ("999", answer("999 Unknown", "", b"")),
    ];
    all[dice.roll(all.len() as u64) as usize].clone()
}

fn some_odd(dice: &mut Dice) -> (String, OddAnswer) {
    let call = CALLS[dice.roll(CALLS.len() as u64) as usize];
    if call == Call::List && dice.roll(2) == 0 {
        let row = ROWS[dice.roll(ROWS.len() as u64) as usize];
        return (format!("a list with {row}"), OddAnswer { call, work: Work::Before, bytes: OddBytes::RowBefore(row) });
    }
    let ((name, bytes), work) = match dice.roll(6) {
        0 if [Call::Release, Call::Record].contains(&call) => (consent(dice), Work::Before),
        1 | 2 => (refusal(dice), Work::Never),
        _ => {
            let later = Work::Later(Duration::from_millis(dice.roll(LATE_MS)));
            (riddle(dice), [Work::Never, Work::Before, later][dice.roll(3) as usize])
        }
    };
    (format!("{call:?}: {name}, work: {work:?}"), OddAnswer { call, work, bytes: OddBytes::Instead(bytes) })
}

/// A box whose server is odd.
struct OddBox {
    scene: Scene,
    proxy: OddProxy,
    books: Books,
    rounds: usize,
}

impl OddBox {
    async fn new() -> Self {
        let scene = Scene::set(program()).await.unwrap();
        impatient(&scene);
        scene.server.world().documents.clear();
        let url = scene.server.url();
        let port = url.trim_start_matches("http://127.0.0.1:").split('/').next().unwrap().parse().unwrap();
        let proxy = OddProxy::start(port).await;
        let config = std::fs::read_to_string(scene.config()).unwrap();
        let odd = format!("http://127.0.0.1:{}/api/v1", proxy.port());
        std::fs::write(scene.config(), config.replace(&url, &odd)).unwrap();
        Self { scene, proxy, books: Books::default(), rounds: 0 }
    }

    /// One odd answer, given once or twice. Then the person taps again.
    async fn round(&mut self, agent: &AgentProcess, lane: &mut Lane) -> bool {
        self.rounds += 1;
        lane.row.tried += 1;
        let (name, odd) = some_odd(&mut lane.dice);
        let (times, documents) = (1 + lane.dice.roll(2), 1 + lane.dice.roll(2));
        let what = format!("round {}: {documents} documents, {times} times {name}", self.rounds);
        if odd.call == Call::History {
            let lost = [Kind::CutBefore, Kind::CutAfter][lane.dice.roll(2) as usize];
            self.scene.befall(Call::Record, 1, lost);
        }
        (0..times).for_each(|_| self.proxy.add(odd.clone()));
        for document in 0..documents {
            self.books.submit(&self.scene, "linus", &format!("Odd {} {document}.pdf", self.rounds));
        }
        drop(tokio::time::timeout(TAP, self.scene.tap(agent, "linus")).await);
        if !self.books.close(&self.scene, agent, lane, &what).await {
            return false;
        }
        // An answer that nobody asked for must not meet the next round.
        self.proxy.clear();
        self.scene.server.world().faults.clear();
        while self.scene.server.world().waiting("linus").count() > 0 {
            if tokio::time::timeout(TAP, self.scene.tap(agent, "linus")).await.is_err() {
                lane.row.lost += 1;
                lane.stories.push(format!("{what}: no tap releases what is left"));
                return false;
            }
        }
        self.books.close(&self.scene, agent, lane, &what).await
    }
}

#[test]
fn no_odd_answer_loses_or_doubles_anything_or_stops_the_outbox() {
    let _limit = limit_of_campaign("PRINT_RELEASE_ODD");
    in_lanes("odd answers of the server", tries("PRINT_RELEASE_ODD", 32), LANES, &mut dice(), |lane, tries| {
        runtime().block_on(async {
            while lane.row.tried < tries {
                let mut odd = OddBox::new().await;
                let agent = odd.scene.start().await.unwrap();
                while lane.row.tried < tries && odd.round(&agent, lane).await {}
            }
        });
    });
}
