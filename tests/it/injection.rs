//! Text that strangers choose neither ends a line of the log nor steers a terminal, and the server gets it back as it was.

use print_release_agent::demo::process::AgentProcess;
use print_release_agent::demo::scene::Scene;
use print_release_agent::demo::server::{Call, Kind, ServerDocument};
use tokio::process::Command;

use crate::support::{limit, log, program, soon};

/// A line break, a forged line of a log, a change of the clipboard (OSC 52), NUL, CSI as one C1 character, and a turn of the reading order.
const HOSTILE: &str = "a\nERROR forged\u{1b}[2J\u{1b}]52;c;eA==\u{7}\0\u{9b}2J\u{85}\u{202e}b\u{2066}\u{200f}\u{2028}";

/// Cannot be kept exactly in a URL.
const BAD_UUIDS: [&str; 8] = [HOSTILE, "two\nlines", "\u{1b}]52;c;x\u{7}", "a\0b", "\u{9b}2J", "", ".", ".."];

/// Turns the reading order, and can be kept exactly.
const TURNED: &str = "x\u{202e}y";

/// Characters that no terminal and no log may get as they are.
fn steers(character: char) -> bool {
    let unseen = ['\u{61c}', '\u{200e}', '\u{200f}', '\u{2028}', '\u{2029}'];
    let turns = ('\u{202a}'..='\u{202e}').contains(&character) || ('\u{2066}'..='\u{2069}').contains(&character);
    character.is_control() && character != '\n' || turns || unseen.contains(&character)
}

fn is_harmless(what: &str, text: &str) {
    assert!(!text.contains(steers), "{what}: {text:?}");
    assert!(!text.lines().any(|line| line.starts_with("ERROR forged")), "{what}: {text:?}");
}

/// The output of a command, both streams.
async fn command(scene: &Scene, arguments: &[&str]) -> String {
    let output = Command::new(program()).arg("--config").arg(scene.config()).args(arguments).output().await.unwrap();
    String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
}

/// Gives ada documents whose uuid or title is hostile, and the printer and another person a hostile name.
fn plant(scene: &Scene) -> Vec<String> {
    let mut world = scene.server.world();
    HOSTILE.clone_into(&mut world.version);
    world.documents.clear();
    let now = world.now();
    for uuid in BAD_UUIDS {
        let document = ServerDocument::new("ada", HOSTILE, 1, now);
        world.documents.push(ServerDocument { uuid: uuid.to_owned(), ..document });
    }
    let mut titles =
        ["t".repeat(500), "Invoice".to_owned(), "Letter".to_owned()].map(|end| HOSTILE.to_owned() + &end).to_vec();
    for title in &titles {
        world.documents.push(ServerDocument::new("ada", title, 1, now));
    }
    world.documents.last_mut().unwrap().uuid = TURNED.to_owned();
    HOSTILE.clone_into(&mut world.ports[0].name);
    let mut eve = world.users[0].clone();
    (eve.name, eve.cards) = (HOSTILE.to_owned(), vec!["666".to_owned()]);
    let mut long = eve.clone();
    (long.name, long.cards) = ("x".repeat(30_000), vec!["777".to_owned()]);
    world.users.extend([eve, long]);
    world.documents.push(ServerDocument::new(HOSTILE, "of eve", 1, now));
    titles.push("of eve".to_owned());
    titles
}

/// Taps that end in every way, so that the log tells of each kind of text.
async fn play(scene: &Scene, agent: &AgentProcess) {
    scene.befall(Call::Record, 2, Kind::ErrorCode(4711));
    scene.befall(Call::Record, usize::MAX, Kind::Status { code: 503, retry_after: None });
    let event = soon(scene.tap(agent, "ada")).await.unwrap();
    assert_eq!((&event["event"], &event["documents"]), (&"released".into(), &3.into()), "{}", log(scene));
    let event = soon(scene.hold(agent, "666")).await.unwrap();
    assert_eq!((&event["event"], &event["documents"]), (&"released".into(), &1.into()), "{}", log(scene));
    let event = soon(scene.hold(agent, "777")).await.unwrap();
    assert_eq!((&event["event"], &event["reason"]), (&"failed".into(), &"malformed-answer".into()));
    scene.reader.send(format!("{HOSTILE}\r").as_bytes()).unwrap();
    scene.status(agent, |status| status["outbox"]["dead"] == 2 && status["outbox"]["pending"] == 2).await.unwrap();
}

#[tokio::test]
async fn hostile_text_steers_no_log_and_no_terminal_and_a_record_carries_the_original_title() {
    let _limit = limit();
    for format in ["text", "json", "auto"] {
        let scene = Scene::set(program()).await.unwrap();
        scene.configure("", &[&format!("[log]\nlevel = \"trace\"\nformat = \"{format}\"")]).unwrap();
        let titles = plant(&scene);
        let agent = scene.start().await.unwrap();
        play(&scene, &agent).await;
        let metrics = scene.get(&agent, "/metrics").await.unwrap();
        let refused = format!("print_release_refused_rows_total {}", BAD_UUIDS.len());
        assert!(metrics.lines().any(|line| line == refused), "{metrics}");

        let list = command(&scene, &["queue", "list"]).await;
        assert_eq!(list.lines().count(), 4, "{list}");
        assert!(list.contains("\\u{202e}"), "{list}");
        let exact: serde_json::Value =
            serde_json::from_str(&command(&scene, &["queue", "list", "--json"]).await).unwrap();
        let title = |at: usize| exact["dead"][at]["record"]["title"].as_str().unwrap();
        assert!(titles.iter().any(|known| known == title(0)));
        let [retried, dropped] = [0, 1].map(|at: usize| exact["dead"][at]["id"].to_string());
        for arguments in [
            &["queue", "list"][..],
            &["queue", "list", "--json"],
            &["queue", "show", &retried],
            &["queue", "export"],
            &["queue", "export", "--format", "csv"],
            &["queue", "retry", &retried],
            &["queue", "drop", &dropped],
            &["queue", "verify"],
            &["status"],
            &["status", "--json"],
            &["check"],
            &["check", "--json"],
        ] {
            is_harmless(&arguments.join(" "), &command(&scene, arguments).await);
        }
        assert!(log(&scene).contains("entry dropped by hand"), "{}", log(&scene));
        is_harmless(&format!("the log as {format}"), &log(&scene));

        scene.server.world().faults.clear();
        scene.settled(&agent).await.unwrap();
        let world = scene.server.world();
        let recorded: Vec<_> = world.records.iter().map(|record| record.document_name.as_str()).collect();
        let is_recorded = |known: &&String| *known == title(1) || recorded.contains(&known.as_str());
        assert!(titles.iter().all(|title| is_recorded(&title)), "{recorded:?}");
        assert!(world.records.iter().any(|record| record.user_name == HOSTILE));
    }
}
