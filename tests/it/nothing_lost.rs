//! The kill campaign: the real program, killed with -9 at random moments while the server misbehaves at random. In the end
//! every document was released at most once, every release is recorded exactly once, and nobody's document is missing.
//!
//! The server refuses a second release by itself, and then no paper shows it. So the campaign counts each request that comes
//! after an earlier one for the same document has begun work ([`World::repeated`]), and one fault begins work at once and
//! does it later, while the document is still listed as waiting.
//!
//! Two stations of one box take part, where the same people hold their cards. The second keeps what it releases at the
//! server (`retain`), so that each tap there may release it anew; but never the same tap twice. The server's clock is
//! minutes away from the box's, and the configuration is reloaded at random moments.
//!
//! `tests/run nothing-lost --kills N` runs it for as long as wanted and prints the table. `PRINT_RELEASE_SEED` takes the seed that a
//! run has printed: faults, cards and moments are then the same, as far as the machine keeps to the moments.
//!
//! [`World::repeated`]: print_release_agent::demo::server::World::repeated

mod books;
mod clock_steps;
mod damage;
mod odd_answers;
mod odd_proxy;
mod strangers;
mod syncs;

use books::COUNTED;

use std::collections::HashMap;
use std::time::Duration;

use jiff::SignedDuration;
use print_release_agent::demo::process::AgentProcess;
use print_release_agent::demo::reader::VirtualReader;
use print_release_agent::demo::scene::Scene;
use print_release_agent::demo::server::{Call, Kind, World};
use rustix::process::Signal;
use serde_json::Value;
use tokio::time::Instant;

use crate::support::platter::Dice;
use crate::support::table::Row;
use crate::support::{attic, dice, limit_of_campaign, log, program, queue, soon};

/// The number of kills unless `PRINT_RELEASE_KILLS` says otherwise.
const KILLS: usize = 40;

/// After so many kills everything comes to its end and is reckoned up: a loss shows only then.
const PEACE_EVERY: usize = 20;

/// The program lives at most so many milliseconds from its readiness: mostly as long as a tap takes.
const SHORT_LIFE: u64 = 400;

/// Now and then it lives so long that the agent also gets to the work that waits until the server is certainly over with a request.
const LONG_LIFE: u64 = 3_000;

/// A kill comes at any moment, or within so many microseconds after a call arrived at the server or ended there.
const KILL_WINDOW_US: u64 = 20_000;

/// The kill waits for one of so many first calls.
const CALLS: u64 = 24;

/// The shortest time limit that the configuration takes, so that there are many attempts. The agent takes the server to be over with
/// a request after three times that; late work must come before.
const REQUEST_TIMEOUT_MS: u64 = 500;
const LATE_MS: u64 = 1_200;

/// The server's clock is at most so many minutes away.
const CLOCK_MIN: u64 = 10;

/// Users of the demo: each has a card and one document a round.
const USERS: [&str; 3] = ["ada", "grace", "linus"];

fn some_fault(dice: &mut Dice) -> (Call, Kind) {
    let calls = [Call::Login, Call::List, Call::Release, Call::Release, Call::Record, Call::Record, Call::History];
    let kinds = [
        Kind::CutBefore,
        Kind::CutAfter,
        Kind::HangAfter,
        Kind::Garbage,
        Kind::Delay(Duration::from_millis(dice.roll(300))),
        Kind::Late(Duration::from_millis(dice.roll(LATE_MS))),
        Kind::Late(Duration::from_millis(dice.roll(LATE_MS))),
        Kind::Status { code: 500, retry_after: None },
        Kind::Status { code: 503, retry_after: None },
    ];
    (calls[dice.roll(calls.len() as u64) as usize], kinds[dice.roll(kinds.len() as u64) as usize])
}

struct Campaign {
    scene: Scene,
    /// The reader of the second station.
    attic: VirtualReader,
    /// Each with its owner and its title, by which its record is known.
    documents: Vec<(String, String, String)>,
    dice: Dice,
    row: Row,
    began: Instant,
}

impl Campaign {
    async fn begin() -> Self {
        let mut dice = dice();
        let scene = Scene::set(program()).await.unwrap();
        let (attic, section) = attic(&scene);
        scene.configure("", &[&section, "[station.release]\nretain = true"]).unwrap();
        {
            let mut world = scene.server.world();
            world.documents.clear();
            world.clock_offset =
                SignedDuration::from_mins(i64::try_from(dice.roll(2 * CLOCK_MIN)).unwrap() - CLOCK_MIN as i64);
        }
        let config = std::fs::read_to_string(scene.config()).unwrap();
        let impatient = format!("request_timeout = \"{REQUEST_TIMEOUT_MS}ms\"");
        std::fs::write(scene.config(), config.replace("request_timeout = \"1s\"", &impatient)).unwrap();
        let row = Row::held("kills of the program", 0);
        Self { scene, attic, documents: Vec::new(), dice, row, began: Instant::now() }
    }

    /// One life of the program: documents, faults, cards, and an end without a warning.
    async fn live_and_die(&mut self) {
        let agent = self.scene.start().await.unwrap();
        for user in USERS {
            let title = format!("Round {} of {user}.pdf", self.row.tried);
            self.documents.push((self.scene.submit(user, &title), user.to_owned(), title));
        }
        self.scene.server.world().faults.clear();
        for _ in 0..self.dice.roll(5) {
            let (call, kind) = some_fault(&mut self.dice);
            self.scene.befall(call, 1, kind);
        }
        let moment = self.moment();
        for user in USERS {
            self.scene.present(user).unwrap();
            if self.dice.roll(3) == 0 {
                self.attic.hold(&self.card(user)).unwrap();
            }
        }
        let reload = Duration::from_millis(self.dice.roll(3 * SHORT_LIFE));
        tokio::pin!(moment);
        tokio::select! {
            () = &mut moment => {}
            () = tokio::time::sleep(reload) => {
                agent.signal(Signal::HUP).unwrap();
                moment.await;
            }
        }
        agent.kill().await.unwrap();
        self.row.tried += 1;
    }

    fn card(&self, user: &str) -> String {
        self.scene.server.world().user(user).unwrap().cards[0].clone()
    }

    /// A moment in its life, not a state that is waited for.
    fn moment(&mut self) -> impl Future<Output = ()> + use<> {
        let longest = if self.dice.roll(5) == 0 { LONG_LIFE } else { SHORT_LIFE };
        let any = tokio::time::sleep(Duration::from_millis(self.dice.roll(longest)));
        let (server, calls) = (self.scene.server.clone(), self.dice.roll(2) * (1 + self.dice.roll(CALLS)));
        let then = Duration::from_micros(self.dice.roll(KILL_WINDOW_US));
        async move {
            if calls == 0 {
                return any.await;
            }
            let after = async {
                for _ in 0..calls {
                    server.changed().await;
                }
                tokio::time::sleep(then).await;
            };
            drop(tokio::time::timeout(Duration::from_millis(longest), after).await);
        }
    }

    /// Lets everything that is open end in peace, and another tap release the rest. Then no document may be missing.
    async fn reckon(&mut self) {
        let scene = &self.scene;
        scene.server.world().faults.clear();
        let agent = scene.start().await.unwrap();
        self.settled(&agent).await;
        for user in USERS {
            // A tap releases only so many documents.
            while scene.server.world().waiting(user).count() > 0 {
                scene.tap(&agent, user).await.unwrap();
            }
        }
        self.settled(&agent).await;
        let unknown = self.unknown().await;
        agent.terminate().await.unwrap();
        self.judge(&unknown);
    }

    /// Waits until no release is open and no record waits.
    async fn settled(&self, agent: &AgentProcess) {
        let mut ticks = tokio::time::interval(Duration::from_millis(50));
        let open = |release: &Value| release["outcome"].is_null();
        soon(async {
            while queue(&self.scene).await["releases"].as_array().unwrap().iter().any(open) {
                ticks.tick().await;
            }
        })
        .await;
        self.scene.settled(agent).await.unwrap();
    }

    /// The releases that stay listed, and so have ended as unknown. Counted by document, so that one excuses no other.
    async fn unknown(&self) -> HashMap<String, usize> {
        let mut unknown = HashMap::new();
        for release in queue(&self.scene).await["releases"].as_array().unwrap() {
            let document = release["release"]["document"]["uuid"].as_str().unwrap();
            *unknown.entry(document.to_owned()).or_default() += 1;
        }
        unknown
    }

    fn judge(&mut self, unknown: &HashMap<String, usize>) {
        let world = self.scene.server.world();
        let (releases, records) = (releases(&world), records(&world));
        let Row { lost, released_twice, recorded_twice, unknown: ended_unknown, .. } = &mut self.row;
        let mut surplus = 0;
        for (uuid, user, title) in &self.documents {
            let [taken, kept] = releases.get(uuid.as_str()).copied().unwrap_or_default();
            let recorded = records.get(&(user.as_str(), title.as_str())).copied().unwrap_or(0);
            let excused = unknown.get(uuid).copied().unwrap_or(0);
            *lost += usize::from(taken == 0 || taken + kept > recorded + excused);
            *released_twice += usize::from(taken > 1);
            surplus += recorded.saturating_sub(taken + kept);
            if taken != 1 || recorded > taken + kept || taken + kept > recorded + excused {
                println!("{title}: {taken} + {kept} releases, {recorded} records, {excused} unknown");
                for release in world.releases.iter().filter(|release| release.uuid == *uuid) {
                    println!("  released at {}, kept: {}", release.time, release.options.retain);
                }
                for record in world.records.iter().filter(|record| record.document_name == *title) {
                    println!("  recorded at {}", record.date_time);
                }
            }
        }
        // Those that the agent counted as possible are told.
        *recorded_twice = surplus.saturating_sub(log(&self.scene).matches(COUNTED).count());
        *ended_unknown = unknown.values().sum();
        drop(world);
        self.go_on_or_fail();
    }

    /// Goes on if nothing was lost or done twice so far. Otherwise the campaign ends here and says when.
    fn go_on_or_fail(&mut self) {
        self.row.released_twice += self.scene.server.world().repeated.len();
        let Row { tried, lost, released_twice, recorded_twice, .. } = self.row;
        if (lost, released_twice, recorded_twice) != (0, 0, 0) {
            self.row.tell();
            let (seconds, log) = (self.began.elapsed().as_secs(), log(&self.scene));
            let clock = self.scene.server.world().clock_offset;
            panic!(
                "{log}\nlost {lost}, released twice {released_twice}, recorded twice {recorded_twice}: \
                 seen at kill {tried}, after {seconds} s, with the server's clock {clock:#} ahead"
            );
        }
    }
}

/// The number of releases of each document: for good, and to be kept.
fn releases(world: &World) -> HashMap<&str, [usize; 2]> {
    let mut releases = HashMap::new();
    for release in &world.releases {
        let counts: &mut [usize; 2] = releases.entry(release.uuid.as_str()).or_default();
        counts[usize::from(release.options.retain)] += 1;
    }
    releases
}

/// The number of records of each user's title.
fn records(world: &World) -> HashMap<(&str, &str), usize> {
    let mut records = HashMap::new();
    for record in &world.records {
        *records.entry((record.user_name.as_str(), record.document_name.as_str())).or_default() += 1;
    }
    records
}

#[tokio::test]
async fn killed_at_any_moment_nothing_is_lost_released_twice_or_recorded_twice() {
    let _limit = limit_of_campaign("PRINT_RELEASE_KILLS");
    let kills = std::env::var("PRINT_RELEASE_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(KILLS);
    let mut campaign = Campaign::begin().await;
    while campaign.row.tried < kills {
        campaign.live_and_die().await;
        campaign.go_on_or_fail();
        if campaign.row.tried.is_multiple_of(PEACE_EVERY) || campaign.row.tried == kills {
            campaign.reckon().await;
        }
    }
    campaign.row.tell();
}
