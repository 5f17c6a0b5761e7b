//! After a clean stop the mark and the seal of the journal name its last transaction: the program does not end before its
//! journal has.

use std::path::Path;

use rustix::process::Signal;

use crate::support::{limit, playing, program};

/// Clean stops of the program, each after at least one tap.
const STOPS: usize = 10;

/// The number of transactions that the mark names, that the database's own seal names, and that there are.
fn transactions(state_dir: &Path) -> [u64; 3] {
    let mark = std::fs::read_to_string(state_dir.join("mark")).unwrap().trim().parse().unwrap();
    let db = sled::open(state_dir.join("db")).unwrap();
    let meta = db.open_tree("meta").unwrap();
    // A header of eight bytes, then words of eight.
    let word = |key: &str, number: usize| {
        let value = meta.get(key).unwrap().unwrap();
        u64::from_be_bytes(value[8 + 8 * number..][..8].try_into().unwrap())
    };
    [mark, word("seal", 0), word("tally", 8)]
}

#[tokio::test]
async fn after_each_clean_stop_the_mark_names_the_last_transaction() {
    let _limit = limit();
    let (scene, mut agent) = playing().await;
    let state_dir = scene.dir().join("state");
    for stop in 1..=STOPS {
        scene.submit("ada", &format!("Notes {stop}"));
        scene.tap(&agent, "ada").await.unwrap();
        // A reload on the way changes nothing.
        if stop % 2 == 0 {
            agent.signal(Signal::HUP).unwrap();
        }
        assert_eq!(agent.terminate().await.unwrap().code(), Some(0));
        let [mark, seal, there] = transactions(&state_dir);
        assert!(there > 0 && (mark, seal) == (there, there), "stop {stop}: {mark} and {seal}, not {there}");
        agent = scene.start().await.unwrap();
    }
    agent.terminate().await.unwrap();
}

#[tokio::test]
async fn a_command_without_the_agent_leaves_the_mark_at_the_last_transaction() {
    let _limit = limit();
    let (scene, agent) = playing().await;
    let state_dir = scene.dir().join("state");
    scene.tap(&agent, "grace").await.unwrap();
    agent.kill().await.unwrap();
    let command = |words: &[&str]| {
        let output = std::process::Command::new(program()).arg("--config").arg(scene.config()).args(words).output();
        output.unwrap().status.code()
    };
    assert_eq!(command(&["queue", "verify"]), Some(0));
    let [mark, seal, there] = transactions(&state_dir);
    assert_eq!((mark, seal), (there, there));
}

#[tokio::test]
async fn a_stop_that_fails_on_the_way_closes_the_journal_too() {
    let _limit = limit();
    let (scene, agent) = playing().await;
    let state_dir = scene.dir().join("state");
    scene.tap(&agent, "grace").await.unwrap();
    agent.kill().await.unwrap();
    // The journal is open by then, and the control socket cannot be.
    let socket = scene.dir().join("control.sock");
    drop(std::fs::remove_file(&socket));
    std::fs::create_dir(&socket).unwrap();
    let output = std::process::Command::new(program()).arg("--config").arg(scene.config()).arg("run").output();
    assert_ne!(output.unwrap().status.code(), Some(0));
    let [mark, seal, there] = transactions(&state_dir);
    assert_eq!((mark, seal), (there, there));
}
