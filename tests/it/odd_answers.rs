//! Answers that no server should give, to the real program: nothing is printed or recorded twice, a record moves on, or it is kept and
//! tried again, and it never holds up the records of another station.

use std::time::Duration;

use futures_util::future::join_all;
use print_release_agent::demo::process::AgentProcess;
use print_release_agent::demo::reader::VirtualReader;
use print_release_agent::demo::scene::Scene;
use print_release_agent::demo::server::{Call, Kind, World};

use crate::support::odd_proxy::{IsOdd, OddAnswer, OddEnd, OddProxy};
use crate::support::table::Row;
use crate::support::{attic, limit, log, program, queue, wait_until};

const GRACE: &str = "2490285352";

/// Longer than the debounce time of a scene: the same card is a new tap after it.
const CARD_AWAY: Duration = Duration::from_millis(300);

/// So many odd answers are tried at a time, each with an agent of its own.
const LANES: usize = 5;

/// The meaning of an odd answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Nobody can tell whether the work was done: it is found out, or tried again.
    Unclear,
    /// No work was done, for now.
    Refused,
    /// The request was refused for good.
    ForGood,
    /// It is a 2xx and says nothing against the work, so it is believed.
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
        ("a page of HTML", body("<html><body>please log in</body></html>"), Fate::Unclear),
        ("an empty body", body(""), Fate::Believed),
        ("null", body("null"), Fate::Believed),
        ("a list", body("[1,2,3]"), Fate::Believed),
        ("an errorCode of 40 kB", body(&format!("{{\"errorCode\":\"{huge}\"}}")), Fate::ForGood),
        ("an errorCode of control characters", body("{\"errorCode\":\"\\u001b[2J\\n\\u0000\"}"), Fate::ForGood),
        ("an errorCode that is a list", body(&format!("{{\"errorCode\":[\"{huge}\"]}}")), Fate::ForGood),
        ("a deep nesting", body(&nested), Fate::Unclear),
        ("an errorCode of deep nesting", body(&format!("{{\"errorCode\":{nested}")), Fate::Unclear),
        ("a body that never ends", endless(chunked, "1\r\nx\r\n"), Fate::Unclear),
        ("a body that never comes", answer(chunked.replace('\n', "\r\n"), OddEnd::Silence), Fate::Unclear),
        ("a header that never ends", endless("HTTP/1.1 200 OK\nX-Odd: ", "xxxxxxxx"), Fate::Unclear),
        ("headers that never end", endless("HTTP/1.1 200 OK\n", "X-Odd: x\r\n"), Fate::Unclear),
        ("100 again and again", endless("", "HTTP/1.1 100 Continue\r\n\r\n"), Fate::Unclear),
        ("101", raw("HTTP/1.1 101 Switching Protocols\nUpgrade: odd\nConnection: Upgrade\n\n"), Fate::Unclear),
        ("302", raw("HTTP/1.1 302 Found\nLocation: http://127.0.0.1:9/\nContent-Length: 0\n\n"), Fate::Unclear),
        ("304", raw("HTTP/1.1 304 Not Modified\n\n"), Fate::Unclear),
        ("204 with a body", raw("HTTP/1.1 204 No Content\nContent-Length: 5\n\nhello"), Fate::Believed),
        ("a length that is too long", raw("HTTP/1.1 200 OK\nContent-Length: 500\n\n{}"), Fate::Unclear),
        ("a length that is too short", raw("HTTP/1.1 200 OK\nContent-Length: 2\n\n{}trailing"), Fate::Believed),
        ("two lengths", raw("HTTP/1.1 200 OK\nContent-Length: 2\nContent-Length: 9\n\n{}"), Fate::Unclear),
        ("chunks that are cut", raw(&format!("{chunked}5\n{{\"err")), Fate::Unclear),
        ("no HTTP at all", raw("hello?\n\n"), Fate::Unclear),
        ("a status that does not exist", raw("HTTP/1.1 999 Odd\nContent-Length: 0\n\n"), Fate::Unclear),
        ("404", raw("HTTP/1.1 404 Not Found\nContent-Length: 0\n\n"), Fate::Refused),
        ("403", raw("HTTP/1.1 403 Forbidden\nContent-Length: 0\n\n"), Fate::Refused),
        ("429", raw(&busy(429)), Fate::Unclear),
        ("500", raw("HTTP/1.1 500 Odd\nContent-Length: 0\n\n"), Fate::Unclear),
        ("503", raw(&busy(503)), Fate::Unclear),
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
        tokio::time::sleep(CARD_AWAY).await;
        let uuid = self.scene.submit("linus", title);
        self.scene.present("linus").unwrap();
        self.scene.until(|world| world.times_released(&uuid) == 1).await.unwrap();
        uuid
    }

    /// Prints a document of grace, whose record stands in the attic's queue.
    async fn print_in_the_attic(&self, title: &str) -> String {
        tokio::time::sleep(CARD_AWAY).await;
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

    async fn dead(&self) -> u64 {
        self.scene.status(&self.agent, |_| true).await.unwrap()["outbox"]["dead"].as_u64().unwrap()
    }

    /// Checks for short lines, short dead letters, and nothing that a terminal obeys.
    async fn is_told_in_plain_words(&self) {
        for letter in queue(&self.scene).await["dead"].as_array().unwrap() {
            assert!(letter.to_string().len() < 2_000, "{letter}");
        }
        let lines = log(&self.scene);
        assert!(lines.lines().all(|line| line.len() < 2_000), "a line of the log has no end: {lines}");
        assert!(!lines.contains(|c: char| c.is_control() && c != '\n'), "{lines:?}");
    }
}

/// Tries these answers, some at a time, and counts them for the table.
async fn each(answers: Vec<(&'static str, OddAnswer, Fate)>, befall: impl AsyncFn(&OddScene, &str, OddAnswer, Fate)) {
    let (tried, befall) = (answers.len(), &befall);
    let lanes = (0..LANES).map(|lane| answers.iter().skip(lane).step_by(LANES).cloned().collect());
    join_all(lanes.map(|lane: Vec<_>| async move {
        let it = OddScene::set().await;
        for (name, odd, fate) in lane {
            befall(&it, name, odd, fate).await;
        }
        it.is_told_in_plain_words().await;
    }))
    .await;
    Row::held("odd answers", tried).tell();
}

fn is_record_of_linus(head: &str, body: &str) -> bool {
    head.starts_with("POST /api/v1/documents/history ") && body.split('&').any(|field| field == "username=linus")
}

fn is_release(head: &str, _: &str) -> bool {
    head.starts_with("POST /api/v1/documents/") && !head.starts_with("POST /api/v1/documents/history ")
}

fn is_login(head: &str, _: &str) -> bool {
    head.starts_with("POST /api/v1/login ")
}

fn is_list(head: &str, _: &str) -> bool {
    head.starts_with("GET /api/v1/documents?")
}

#[tokio::test]
async fn no_odd_answer_to_a_record_stops_the_records_of_another_station() {
    let _limit = limit();
    each(odd_answers(), async |it, name, odd, fate| {
        let dead_before = it.dead().await;
        it.proxy.answer_oddly(is_record_of_linus, odd, false);
        let uuid = it.print_at_the_lobby(name).await;
        wait_until(|| it.proxy.given() > 0).await;
        let other = it.print_in_the_attic(&format!("beside {name}")).await;
        assert!(it.is_recorded_soon(&other).await, "{name}: the attic waits for the lobby\n{}", log(&it.scene));
        it.proxy.be_honest();
        it.scene.settled(&it.agent).await.unwrap();
        let expected = match fate {
            Fate::Unclear | Fate::Refused => (1, 0),
            Fate::ForGood => (0, 1),
            Fate::Believed => (0, 0),
        };
        let found = (it.scene.counts(&uuid).1, it.dead().await - dead_before);
        assert_eq!(found, expected, "{name}\n{}", log(&it.scene));
    })
    .await;
}

/// The server does the work all the same, so an answer that says that none was done is no odd answer, it is a lie.
fn answers_after_the_work() -> Vec<(&'static str, OddAnswer, Fate)> {
    odd_answers().into_iter().filter(|(_, _, fate)| matches!(fate, Fate::Unclear | Fate::Believed)).collect()
}

#[tokio::test]
async fn a_record_that_arrived_is_recorded_once_whatever_the_answer() {
    let _limit = limit();
    each(answers_after_the_work(), async |it, name, odd, _| {
        it.proxy.answer_oddly(is_record_of_linus, odd, true);
        let uuid = it.print_at_the_lobby(name).await;
        it.scene.settled(&it.agent).await.unwrap();
        it.scene.status(&it.agent, |status| status["outbox"]["pending"] == 0).await.unwrap();
        it.scene.recorded(&uuid).await;
        assert_eq!((it.scene.counts(&uuid), it.proxy.given()), ((1, 1), 1), "{name}\n{}", log(&it.scene));
    })
    .await;
}

#[tokio::test]
async fn a_document_that_came_out_is_recorded_once_and_never_released_again_whatever_the_answer() {
    let _limit = limit();
    each(answers_after_the_work(), async |it, name, odd, _| {
        it.proxy.answer_oddly(is_release, odd, true);
        let uuid = it.scene.submit("linus", name);
        it.scene.tap(&it.agent, "linus").await.unwrap();
        it.scene.recorded(&uuid).await;
        it.proxy.be_honest();
        it.scene.tap(&it.agent, "linus").await.unwrap();
        it.scene.settled(&it.agent).await.unwrap();
        assert_eq!(it.scene.counts(&uuid), (1, 1), "{name}\n{}", log(&it.scene));
        assert!(it.scene.server.world().repeated.is_empty(), "{name}");
    })
    .await;
}

/// The first answers are odd, and the server has done nothing. A release is tried again in the same tap, or by the next one.
#[tokio::test]
async fn after_an_odd_answer_without_work_the_same_tap_or_the_next_one_prints_once() {
    let _limit = limit();
    for (is_odd, is_release) in [(is_login as IsOdd, false), (is_list, false), (is_release, true)] {
        // A release that is believed would be recorded and never printed.
        let is_tried = |fate| !is_release || fate != Fate::Believed;
        let unbelieved = odd_answers().into_iter().filter(|(_, _, fate)| is_tried(*fate));
        each(unbelieved.collect(), async |it, name, odd, _| {
            it.proxy.answer_oddly(is_odd, odd, false);
            let uuid = it.scene.submit("linus", name);
            tokio::time::sleep(CARD_AWAY).await;
            it.scene.present("linus").unwrap();
            wait_until(|| it.proxy.given() > 0).await;
            it.proxy.be_honest();
            it.scene.status(&it.agent, |status| status["stations"]["lobby"]["phase"] != "busy").await.unwrap();
            tokio::time::sleep(CARD_AWAY).await;
            it.scene.tap(&it.agent, "linus").await.unwrap();
            it.scene.settled(&it.agent).await.unwrap();
            assert_eq!(it.scene.counts(&uuid), (1, 1), "{name}\n{}", log(&it.scene));
        })
        .await;
    }
}

/// Records of one station keep their order: one that cannot move has those behind it wait.
#[tokio::test]
async fn a_record_that_cannot_move_holds_up_those_behind_it_at_its_station_and_all_leave_in_order() {
    let _limit = limit();
    let it = OddScene::set().await;
    it.proxy.answer_oddly(is_record_of_linus, body("<html>"), false);
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
