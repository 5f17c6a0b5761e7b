//! One sync of the disk fails under the real program, which goes on; then the power is cut. After a failed sync Linux forgets the
//! pages that were to be written and says yes to the next one (Rebello et al., ATC 2020), so the disk does not hold what the
//! program reads back until then. Everything that was promised is there all the same.

use std::fs;
use std::time::Duration;

use print_release_agent::demo::process::AgentProcess;
use print_release_agent::demo::scene::Scene;
use print_release_agent::demo::server::{Call, Kind};

use super::books::{Books, impatient};
use crate::support::journal::runtime;
use crate::support::preload::Preload;
use crate::support::table::{Lane, in_lanes};
use crate::support::{dice, limit_of_campaign, tries};

const USERS: [&str; 3] = ["ada", "grace", "linus"];

/// They mostly wait: for taps, and until the server is certainly over with a request.
const LANES: usize = 8;

/// The sync that fails is one of so many after the start. A tap takes about four.
const SYNCS: u64 = 24;

/// A tap that has not ended by then is left alone.
const TAP: Duration = Duration::from_secs(10);

/// A box whose disk fails.
struct FailingBox {
    scene: Scene,
    preload: Preload,
    books: Books,
    failed: i64,
    lives: usize,
}

impl FailingBox {
    async fn new(preload: Preload) -> Self {
        let scene = Scene::set(&preload.program()).await.unwrap();
        impatient(&scene);
        preload.follow(&scene.dir().join("state"));
        scene.server.world().documents.clear();
        Self { scene, preload, books: Books::default(), failed: 0, lives: 0 }
    }

    /// Taps while one sync fails. In one of eight lives none does, which shows that a healthy disk passes.
    async fn live(&mut self, lane: &mut Lane) -> AgentProcess {
        self.lives += 1;
        let agent = self.scene.start().await.unwrap();
        // Records that wait for the server are in the journal alone when the power goes.
        match lane.dice.roll(6) {
            0 => {}
            1 => self.scene.befall(Call::Record, usize::MAX, Kind::CutBefore),
            _ => self.scene.befall(Call::Record, usize::MAX, Kind::Status { code: 429, retry_after: None }),
        }
        let percent = [0, 0, 30, 80][lane.dice.roll(4) as usize];
        if lane.dice.roll(8) > 0 {
            self.preload.fail_sync(1 + lane.dice.roll(SYNCS), percent, &mut lane.dice);
        }
        for tap in 0..2 + lane.dice.roll(4) {
            let user = USERS[lane.dice.roll(3) as usize];
            // Long titles spread what shares a sync over several pages; a single page is often written again by the next sync.
            for document in 0..=lane.dice.roll(12) {
                let long = "x".repeat(lane.dice.roll(180) as usize);
                self.books.submit(&self.scene, user, &format!("Life {} {tap} {document} {long}", self.lives));
            }
            drop(tokio::time::timeout(TAP, self.scene.tap(&agent, user)).await);
        }
        agent
    }

    /// The power goes, and comes back.
    async fn cut(&mut self, lane: &mut Lane, agent: AgentProcess) {
        agent.kill().await.unwrap();
        let (syncs, failed) = self.preload.syncs();
        lane.row.tried += usize::from(failed > self.failed);
        self.failed = failed;
        let state = self.scene.dir().join("state");
        let percent = [0, 0, 50, 100][lane.dice.roll(4) as usize];
        self.preload.power_cut(&state, percent, &mut lane.dice);
        self.scene.server.world().faults.clear();
        let what = format!("life {}, {syncs} syncs, {failed} failed so far", self.lives);
        let agent = self.scene.start().await.unwrap();
        if self.books.close(&self.scene, &agent, lane, &what).await {
            agent.terminate().await.unwrap();
        }
        for folder in fs::read_dir(&state).unwrap().map(|entry| entry.unwrap().path()) {
            if folder.file_name().unwrap().to_string_lossy().starts_with("db.damaged-") {
                fs::remove_dir_all(folder).unwrap();
            }
        }
    }
}

#[test]
fn a_failed_sync_and_a_power_cut_lose_nothing_that_was_promised() {
    let _limit = limit_of_campaign("PRINT_RELEASE_SYNCS");
    if Preload::compile().is_none() {
        return;
    }
    let row =
        in_lanes("failed syncs and power cuts", tries("PRINT_RELEASE_SYNCS", 16), LANES, &mut dice(), |lane, tries| {
            runtime().block_on(async {
                let mut failing = FailingBox::new(Preload::compile().unwrap()).await;
                while lane.row.tried < tries {
                    let agent = failing.live(lane).await;
                    failing.cut(lane, agent).await;
                }
            });
        });
    assert_eq!(row.lost_and_told, 0, "a disk that fails once loses nothing, told or not");
}
