//! Answers to a job record that no server should give, one after the other by the real program: the record moves on, or it is kept
//! and tried again, and it never holds up the records of another station.

use std::time::Duration;

use futures_util::future::join_all;
use print_release_agent::demo::process::AgentProcess;
use print_release_agent::demo::reader::VirtualReader;
use print_release_agent::demo::scene::Scene;
use print_release_agent::demo::server::{Call, Kind, World};
use serde_json::Value;

use crate::support::odd_proxy::{OddAnswer, OddEnd, OddProxy};
use crate::support::table::Row;
use crate::support::{attic, limit, log, program, queue, wait_until};

const GRACE: &str = "2490285352";

/// The end of a record that got such an answer, once the server is itself again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It is kept, and delivered once.
    Delivered,
    /// It became a dead letter.
    Dead,
    /// The server said 2xx and nothing against it, so it is believed.
    Believed,
}

fn answer(bytes: impl AsRef<[u8]>, end: OddEnd) -> OddAnswer {
    OddAnswer { bytes: bytes.as_ref().to_vec(), end }
}

/// A 200 with this body.
fn body(body: &str) -> OddAnswer {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n", body.len());
    answer(head + body, OddEnd::Close)
}

/// This head without a body, or with one that does not fit it.
fn raw(text: &str) -> OddAnswer {
    answer(text.replace('\n', "\r\n"), OddEnd::Close)
}

fn odd_answers() -> Vec<(&'static str, OddAnswer, Fate)> {
    let nested = "[".repeat(100_000);
    let huge = "x".repeat(40_000);
    let chunked = "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n";
    let endless = |head: &str, piece: &str| answer(head.replace('\n', "\r\n"), OddEnd::Again(piece.into()));
    let busy = |code| format!("HTTP/1.1 {code} Busy\nRetry-After: 1\nContent-Length: 0\n\n");
    vec![
        ("a page of HTML", body("<html><body>please log in</body></html>"), Fate::Delivered),
        ("an empty body", body(""), Fate::Believed),
        ("null", body("null"), Fate::Believed),
        ("a list", body("[1,2,3]"), Fate::Believed),
        ("an errorCode of 40 kB", body(&format!("{{\"errorCode\":\"{huge}\"}}")), Fate::Dead),
        ("an errorCode of control characters", body("{\"errorCode\":\"\\u001b[2J\\n\\u0000\"}"), Fate::Dead),
        ("an errorCode that is a list", body(&format!("{{\"errorCode\":[\"{huge}\"]}}")), Fate::Dead),
        ("a deep nesting", body(&nested), Fate::Delivered),
        ("an errorCode of deep nesting", body(&format!("{{\"errorCode\":{nested}")), Fate::Delivered),
        ("a body that never ends", endless(chunked, "1\r\nx\r\n"), Fate::Delivered),
        ("a body that never comes", answer(chunked.replace('\n', "\r\n"), OddEnd::Silence), Fate::Delivered),
        ("a header that never ends", endless("HTTP/1.1 200 OK\nX-Odd: ", "xxxxxxxx"), Fate::Delivered),
        ("headers that never end", endless("HTTP/1.1 200 OK\n", "X-Odd: x\r\n"), Fate::Delivered),
        ("100 again and again", endless("", "HTTP/1.1 100 Continue\r\n\r\n"), Fate::Delivered),
        ("101", raw("HTTP/1.1 101 Switching Protocols\nUpgrade: odd\nConnection: Upgrade\n\n"), Fate::Delivered),
        ("302", raw("HTTP/1.1 302 Found\nLocation: http://127.0.0.1:9/\nContent-Length: 0\n\n"), Fate::Delivered),
        ("304", raw("HTTP/1.1 304 Not Modified\n\n"), Fate::Delivered),
        ("204 with a body", raw("HTTP/1.1 204 No Content\nContent-Length: 5\n\nhello"), Fate::Believed),
        ("a length that is too long", raw("HTTP/1.1 200 OK\nContent-Length: 500\n\n{}"), Fate::Delivered),
        ("a length that is too short", raw("HTTP/1.1 200 OK\nContent-Length: 2\n\n{}trailing"), Fate::Believed),
        ("two lengths", raw("HTTP/1.1 200 OK\nContent-Length: 2\nContent-Length: 9\n\n{}"), Fate::Delivered),
        ("chunks that are cut", raw(&format!("{chunked}5\n{{\"err")), Fate::Delivered),
        ("no HTTP at all", raw("hello?\n\n"), Fate::Delivered),
        ("a status that does not exist", raw("HTTP/1.1 999 Odd\nContent-Length: 0\n\n"), Fate::Delivered),
        ("404", raw("HTTP/1.1 404 Not Found\nContent-Length: 0\n\n"), Fate::Delivered),
        ("403", raw("HTTP/1.1 403 Forbidden\nContent-Length: 0\n\n"), Fate::Delivered),
        ("429", raw(&busy(429)), Fate::Delivered),
        ("500", raw("HTTP/1.1 500 Odd\nContent-Length: 0\n\n"), Fate::Delivered),
        ("503", raw(&busy(503)), Fate::Delivered),
    ]
}

/// Two stations behind a proxy that answers oddly.
struct OddScene {
    scene: Scene,
    agent: AgentProcess,
    proxy: OddProxy,
    attic: VirtualReader,
}

impl OddScene {
    async fn set() -> Self {
        let scene = Scene::set(program()).await.unwrap();
        let (attic, section) = attic(&scene);
        scene.configure("", &[&section]).unwrap();
        let url = scene.server.url();
        let port = url.split(['/', ':']).find_map(|part| part.parse::<u16>().ok()).unwrap();
        let proxy = OddProxy::start(port).await;
        let config = std::fs::read_to_string(scene.config()).unwrap();
        let (real, odd) = (format!(":{port}/"), format!(":{}/", proxy.port()));
        std::fs::write(scene.config(), config.replace(&real, &odd)).unwrap();
        let agent = scene.start().await.unwrap();
        scene.server.world().documents.clear();
        Self { scene, agent, proxy, attic }
    }

    /// Prints a document of linus, whose record stands in the lobby's queue.
    async fn print_at_the_lobby(&self, title: &str) -> String {
        let uuid = self.scene.submit("linus", title);
        self.scene.present("linus").unwrap();
        self.scene.until(|world| world.times_released(&uuid) == 1).await.unwrap();
        uuid
    }

    /// Prints a document of grace, whose record stands in the attic's queue.
    async fn print_in_the_attic(&self, title: &str) -> String {
        let uuid = self.scene.submit("grace", title);
        self.attic.hold(GRACE).unwrap();
        self.scene.until(|world| world.times_released(&uuid) == 1).await.unwrap();
        uuid
    }

    /// Whether the server gets the record of a document within a time in which ten attempts of another one fail.
    async fn is_recorded_soon(&self, uuid: &str) -> bool {
        drop(tokio::time::timeout(Duration::from_secs(20), self.scene.recorded(uuid)).await);
        self.scene.counts(uuid).1 == 1
    }

    async fn outbox(&self) -> Value {
        self.scene.status(&self.agent, |_| true).await.unwrap()["outbox"].clone()
    }
}

async fn an_odd_answer_befalls(name: &str, odd: OddAnswer, fate: Fate) {
    let it = OddScene::set().await;
    it.proxy.answer_oddly("linus", odd);
    let odd = it.print_at_the_lobby("Odd.pdf").await;
    wait_until(|| it.proxy.given() > 0).await;
    for title in ["One.pdf", "Other.pdf"] {
        let other = it.print_in_the_attic(title).await;
        assert!(
            it.is_recorded_soon(&other).await,
            "{name}: the attic's record waits for the lobby's\n{}",
            log(&it.scene)
        );
        // The same card is a new tap when it has been away.
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    it.proxy.be_honest();
    it.scene.settled(&it.agent).await.unwrap();
    let dead = it.outbox().await["dead"] == 1;
    let found = match (it.scene.counts(&odd), dead) {
        ((1, 1), false) => Fate::Delivered,
        ((1, 0), true) => Fate::Dead,
        ((1, 0), false) => Fate::Believed,
        other => panic!("{name}: {other:?}\n{}", log(&it.scene)),
    };
    assert_eq!(found, fate, "{name}\n{}", log(&it.scene));
    let letters = queue(&it.scene).await["dead"].to_string();
    assert!(letters.len() < 2_000, "{name}: a dead letter of {} bytes", letters.len());
    let lines = log(&it.scene);
    assert!(lines.lines().all(|line| line.len() < 2_000), "{name}: a line of the log has no end");
    assert!(!lines.contains(|c: char| c.is_control() && c != '\n'), "{name}: {lines:?}");
}

#[tokio::test]
async fn no_odd_answer_to_a_record_stops_the_records_of_another_station() {
    let _limit = limit();
    let answers = odd_answers();
    let tried = answers.len();
    join_all(answers.into_iter().map(|(name, odd, fate)| an_odd_answer_befalls(name, odd, fate))).await;
    Row::held("odd answers to a record", tried).tell();
}

/// Records of one station keep their order: one that cannot move has those behind it wait.
#[tokio::test]
async fn a_record_that_cannot_move_holds_up_those_behind_it_at_its_station_and_all_leave_in_order() {
    let _limit = limit();
    let it = OddScene::set().await;
    it.proxy.answer_oddly("linus", body("<html>"));
    it.print_at_the_lobby("First.pdf").await;
    wait_until(|| it.proxy.given() > 0).await;
    it.scene.submit("ada", "Second.pdf");
    it.scene.tap(&it.agent, "ada").await.unwrap();
    let other = it.print_in_the_attic("Other.pdf").await;
    assert!(it.is_recorded_soon(&other).await, "{}", log(&it.scene));
    let titles =
        |world: &World| -> Vec<String> { world.records.iter().map(|record| record.document_name.clone()).collect() };
    assert_eq!(titles(&it.scene.server.world()), ["Other.pdf"], "the second has overtaken the first");
    it.proxy.be_honest();
    it.scene.settled(&it.agent).await.unwrap();
    assert_eq!(titles(&it.scene.server.world()), ["Other.pdf", "First.pdf", "Second.pdf"]);
}

/// The gauge counts the records that may have arrived: at most one of each station.
#[tokio::test]
async fn a_record_of_each_station_can_be_in_doubt_and_the_gauge_counts_them() {
    let _limit = limit();
    let it = OddScene::set().await;
    it.scene.befall(Call::History, usize::MAX, Kind::Status { code: 500, retry_after: None });
    it.scene.befall(Call::Record, usize::MAX, Kind::CutAfter);
    let first = it.print_at_the_lobby("First.pdf").await;
    let other = it.print_in_the_attic("Other.pdf").await;
    it.scene.status(&it.agent, |status| status["outbox"]["in_doubt"] == 2).await.unwrap();
    it.scene.server.world().faults.clear();
    it.scene.settled(&it.agent).await.unwrap();
    assert_eq!((it.scene.counts(&first), it.scene.counts(&other)), ((1, 1), (1, 1)), "{}", log(&it.scene));
    it.scene.status(&it.agent, |status| status["outbox"]["in_doubt"] == 0).await.unwrap();
}
