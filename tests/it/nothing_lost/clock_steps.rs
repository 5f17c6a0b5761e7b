//! The clock of the real program steps between two attempts at a job record, forwards and backwards, and the agent is restarted
//! under it. Every record arrives once or is counted as a possible duplicate, and nothing is given up for its age.

use std::time::Duration;

use jiff::SignedDuration;
use print_release_agent::demo::process::AgentProcess;
use print_release_agent::demo::scene::Scene;
use print_release_agent::demo::server::{Call, Kind};

use super::books::{Books, LATE_MS, impatient};
use crate::support::journal::runtime;
use crate::support::platter::Dice;
use crate::support::preload::Preload;
use crate::support::table::{Lane, in_lanes};
use crate::support::{dice, limit_of_campaign, queue, tries};

const USERS: [&str; 3] = ["ada", "grace", "linus"];

/// They mostly wait until the server is certainly over with a request.
const LANES: usize = 8;

/// The offsets to which the clock steps, in hours and seconds.
const OFFSETS: [SignedDuration; 6] = [
    SignedDuration::ZERO,
    SignedDuration::from_secs(-3_600),
    SignedDuration::from_secs(-600),
    SignedDuration::from_hours(40 * 24),
    SignedDuration::from_hours(365 * 24),
    SignedDuration::from_hours(3_652 * 24),
];

/// The longest time between an attempt and a step.
const BETWEEN_MS: u64 = 600;

fn some_fault(dice: &mut Dice) -> Kind {
    let kinds = [
        Kind::CutBefore,
        Kind::CutAfter,
        Kind::HangAfter,
        Kind::Late(Duration::from_millis(dice.roll(LATE_MS))),
        Kind::Status { code: 500, retry_after: None },
        Kind::Status { code: 429, retry_after: Some(1) },
        Kind::Status { code: 503, retry_after: Some(1) },
    ];
    kinds[dice.roll(kinds.len() as u64) as usize]
}

/// A box whose clock steps.
struct SteppingBox {
    scene: Scene,
    preload: Preload,
    books: Books,
    rounds: usize,
}

impl SteppingBox {
    /// A box with one dead letter, which stays until somebody drops it.
    async fn new(lane: &mut Lane) -> (Self, AgentProcess) {
        let preload = Preload::compile().unwrap();
        let scene = Scene::set(&preload.program()).await.unwrap();
        impatient(&scene);
        scene.server.world().documents.clear();
        let agent = scene.start().await.unwrap();
        let mut stepping = Self { scene, preload, books: Books::default(), rounds: 0 };
        stepping.books.submit(&stepping.scene, "ada", "Refused.pdf");
        stepping.scene.befall(Call::Record, 1, Kind::ErrorCode(10_000));
        stepping.scene.tap(&agent, "ada").await.unwrap();
        stepping.books.close(&stepping.scene, &agent, lane, "the dead letter").await;
        (stepping, agent)
    }

    fn step(&self, lane: &mut Lane) -> SignedDuration {
        let offset = OFFSETS[lane.dice.roll(OFFSETS.len() as u64) as usize];
        self.preload.step_clock(offset);
        lane.row.tried += 1;
        offset
    }

    /// Taps, and lets the clock step after the first attempt at a record. `None` if the agent did not come to rest.
    async fn round(&mut self, mut agent: AgentProcess, lane: &mut Lane) -> Option<AgentProcess> {
        self.rounds += 1;
        let (kind, times) = (some_fault(&mut lane.dice), 1 + lane.dice.roll(2) as usize);
        let seen = self.scene.server.world().count(Call::Record);
        self.scene.befall(Call::Record, times, kind);
        let user = USERS[lane.dice.roll(3) as usize];
        let documents = 1 + lane.dice.roll(3);
        for document in 0..documents {
            // Some look the same.
            self.books.submit(&self.scene, user, &format!("Round {} {}.pdf", self.rounds, document / 2));
        }
        self.scene.tap(&agent, user).await.unwrap();
        self.scene.until(|world| world.count(Call::Record) > seen).await.unwrap();
        let mut what = format!("round {}, {documents} documents, {kind:?} {times} times", self.rounds);
        for _ in 0..1 + lane.dice.roll(2) {
            tokio::time::sleep(Duration::from_millis(lane.dice.roll(BETWEEN_MS))).await;
            what += &format!(", {:#}", self.step(lane));
        }
        if lane.dice.roll(4) == 0 {
            agent.kill().await.unwrap();
            agent = self.scene.start().await.unwrap();
            what += ", killed";
        }
        let rests = self.books.close(&self.scene, &agent, lane, &what).await;
        let dead = queue(&self.scene).await["dead"].as_array().map_or(0, Vec::len);
        if dead != 1 {
            lane.row.lost += 1;
            lane.stories.push(format!("{what}: {dead} dead letters"));
        }
        (rests && dead == 1).then_some(agent)
    }
}

#[test]
fn a_clock_that_steps_between_two_attempts_loses_doubles_and_gives_up_nothing() {
    let _limit = limit_of_campaign("PRINT_RELEASE_STEPS");
    if Preload::compile().is_none() {
        return;
    }
    let row = in_lanes("steps of the clock", tries("PRINT_RELEASE_STEPS", 24), LANES, &mut dice(), |lane, tries| {
        runtime().block_on(async {
            let mut running = None;
            while lane.row.tried < tries {
                let (mut stepping, agent) = match running.take() {
                    Some(running) => running,
                    None => SteppingBox::new(lane).await,
                };
                running = stepping.round(agent, lane).await.map(|agent| (stepping, agent));
            }
        });
    });
    assert_eq!(row.lost_and_told, 0, "nothing is given up for a wrong clock");
}
