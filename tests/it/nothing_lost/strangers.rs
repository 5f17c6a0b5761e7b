//! Answers to job records are lost while other boxes write rows that look like them: the same user, the same title, as many pages,
//! at this printer or at another, as job records or as released documents. No record is taken for delivered because of such a row;
//! one that stays ambiguous is sent again and counted as a possible duplicate.

use std::time::Duration;

use jiff::SignedDuration;
use print_release_agent::demo::process::AgentProcess;
use print_release_agent::demo::scene::Scene;
use print_release_agent::demo::server::{Call, Kind, ServerDocument, ServerPort, Status};

use super::books::{Books, LATE_MS, impatient};
use crate::support::journal::runtime;
use crate::support::platter::Dice;
use crate::support::table::{Lane, in_lanes};
use crate::support::{dice, limit_of_campaign, program, tries};

/// They mostly wait until the server is certainly over with a request.
const LANES: usize = 8;

/// The pages of the documents that a scene submits.
const PAGES: u32 = 2;

/// A stranger's row was written at most so many seconds before the answer was lost.
const BEFORE_S: u64 = 5;

fn some_fault(dice: &mut Dice) -> Kind {
    let kinds = [
        Kind::CutBefore,
        Kind::CutBefore,
        Kind::CutAfter,
        Kind::HangAfter,
        Kind::Late(Duration::from_millis(dice.roll(LATE_MS))),
        Kind::Status { code: 500, retry_after: None },
    ];
    kinds[dice.roll(kinds.len() as u64) as usize]
}

/// A box among others.
struct OneOfMany {
    scene: Scene,
    books: Books,
    rounds: usize,
}

impl OneOfMany {
    async fn new() -> Self {
        let scene = Scene::set(program()).await.unwrap();
        impatient(&scene);
        let mut world = scene.server.world();
        world.documents.clear();
        let lobby = world.ports[0].clone();
        let (name, address, serial) = ("Attic".into(), "192.0.2.11".into(), "DEMO0002".into());
        world.ports.push(ServerPort { id: 2, name, address, device_serial: serial, ..lobby });
        drop(world);
        Self { scene, books: Books::default(), rounds: 0 }
    }

    /// Another box writes its record, or releases its document.
    fn add_stranger(&mut self, user: &str, title: &str, dice: &mut Dice) -> String {
        let mut world = self.scene.server.world();
        let earlier = SignedDuration::from_secs(i64::try_from(dice.roll(BEFORE_S)).unwrap());
        let port = match dice.roll(4) {
            0 => None,
            1 => Some(world.ports[0].clone()),
            _ => Some(world.ports[1].clone()),
        };
        let row = ServerDocument {
            status: Status::Printed,
            output_port_id: port.as_ref().map(|port| port.id),
            output_port_name: port.as_ref().map(|port| port.name.clone()),
            ..ServerDocument::new(user, title, PAGES, world.now() - earlier)
        };
        let told = format!(", a stranger at {:?}", row.output_port_name);
        if dice.roll(3) == 0 {
            world.documents.push(row);
            return told + " released";
        }
        drop(world);
        self.books.add_stranger(&self.scene, row);
        told + " recorded"
    }

    /// Taps, loses answers, and lets strangers write before and after the attempt. Returns whether the agent came to rest.
    async fn round(&mut self, agent: &AgentProcess, lane: &mut Lane) -> bool {
        self.rounds += 1;
        let (user, title) = (["ada", "linus"][lane.dice.roll(2) as usize], format!("Document{}", self.rounds));
        let (kind, times) = (some_fault(&mut lane.dice), 1 + lane.dice.roll(2) as usize);
        let documents = 1 + lane.dice.roll(2);
        let mut what = format!("round {}: {documents} documents, {kind:?} {times} times", self.rounds);
        let seen = self.scene.server.world().count(Call::Record);
        self.scene.befall(Call::Record, times, kind);
        for _ in 0..documents {
            self.books.submit(&self.scene, user, &title);
        }
        if lane.dice.roll(3) == 0 {
            what += &self.add_stranger(user, &title, &mut lane.dice);
            lane.row.tried += 1;
        }
        self.scene.tap(agent, user).await.unwrap();
        self.scene.until(|world| world.count(Call::Record) > seen).await.unwrap();
        for _ in 0..1 + lane.dice.roll(2) {
            what += &self.add_stranger(user, &title, &mut lane.dice);
            lane.row.tried += 1;
        }
        self.books.close(&self.scene, agent, lane, &what).await
    }
}

#[test]
fn no_strangers_row_is_taken_for_a_record_of_this_box() {
    let _limit = limit_of_campaign("PRINT_RELEASE_STRANGERS");
    let tries = tries("PRINT_RELEASE_STRANGERS", 16);
    in_lanes("rows of strangers in the history", tries, LANES, &mut dice(), |lane, tries| {
        runtime().block_on(async {
            while lane.row.tried < tries {
                let mut one = OneOfMany::new().await;
                let agent = one.scene.start().await.unwrap();
                while lane.row.tried < tries && one.round(&agent, lane).await {}
            }
        });
    });
}
