//! The kill campaign: the real program, killed with -9 at random moments while the server misbehaves at random. In the end
//! every document was released at most once, every release is recorded exactly once, and nobody's document is missing.
//!
//! The server refuses a second release by itself, and then no paper tells of it. So each request is counted that comes
//! after an earlier one for the same document has begun work ([`World::repeated`]), and one fault begins work at once and
//! does it later, while the document is still listed as waiting.
//!
//! `tests/run nothing-lost --kills N` runs it for as long as wanted and prints the table.
//!
//! [`World::repeated`]: print_release_agent::demo::server::World::repeated

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use print_release_agent::demo::process::AgentProcess;
use print_release_agent::demo::scene::Scene;
use print_release_agent::demo::server::{Call, Kind, World};
use print_release_agent::random;
use serde_json::Value;
use tokio::time::Instant;

use crate::support::table::Row;
use crate::support::{log, program, queue, soon};

/// Without another word; `PRINT_RELEASE_KILLS` says how many.
const KILLS: usize = 40;

/// After so many kills everything comes to its end and is reckoned up: a loss shows only then.
const PEACE_EVERY: usize = 20;

/// How long the program lives at most, in milliseconds, from its readiness: mostly as long as a tap takes ...
const SHORT_LIFE: u64 = 400;

/// ... and now and then so long that what waits until the server is certainly over with a request comes to its turn.
const LONG_LIFE: u64 = 3_000;

/// A kill comes at any moment, or within so many microseconds after a call arrived at the server or ended there.
const KILL_WINDOW_US: u64 = 20_000;

/// Of those calls, one of the first so many.
const CALLS: u64 = 24;

/// The shortest that there is, so that there are many attempts; after three times that the server counts as over with a
/// request, and late work must come before that.
const REQUEST_TIMEOUT_MS: u64 = 500;
const LATE_MS: u64 = 1_200;

/// Users of the demo: each has a card and one document a round.
const USERS: [&str; 3] = ["ada", "grace", "linus"];

/// A number below `limit`.
fn below(limit: u64) -> u64 {
    random::word() % limit
}

fn some_fault() -> (Call, Kind) {
    let calls = [Call::Login, Call::List, Call::Release, Call::Release, Call::Record, Call::Record, Call::History];
    let kinds = [
        Kind::CutBefore,
        Kind::CutAfter,
        Kind::HangAfter,
        Kind::Garbage,
        Kind::Delay(Duration::from_millis(below(300))),
        Kind::Late(Duration::from_millis(below(LATE_MS))),
        Kind::Late(Duration::from_millis(below(LATE_MS))),
        Kind::Status { code: 500, retry_after: None },
        Kind::Status { code: 503, retry_after: None },
    ];
    (calls[below(calls.len() as u64) as usize], kinds[below(kinds.len() as u64) as usize])
}

struct Campaign {
    scene: Scene,
    /// Each with its owner and its title, by which its record is known.
    documents: Vec<(String, String, String)>,
    row: Row,
    began: Instant,
}

impl Campaign {
    async fn begin() -> Self {
        let scene = Scene::set(program()).await.unwrap();
        scene.server.world().documents.clear();
        let config = std::fs::read_to_string(scene.config()).unwrap();
        let impatient = format!("request_timeout = \"{REQUEST_TIMEOUT_MS}ms\"");
        std::fs::write(scene.config(), config.replace("request_timeout = \"1s\"", &impatient)).unwrap();
        Self { scene, documents: Vec::new(), row: Row::held("kills of the program", 0), began: Instant::now() }
    }

    /// One life of the program: documents, faults, cards, and an end without a warning.
    async fn live_and_die(&mut self) {
        let agent = self.scene.start().await.unwrap();
        for user in USERS {
            let title = format!("Round {} of {user}.pdf", self.row.tried);
            self.documents.push((self.scene.submit(user, &title), user.to_owned(), title));
        }
        self.scene.server.world().faults.clear();
        for _ in 0..below(5) {
            let (call, kind) = some_fault();
            self.scene.befall(call, 1, kind);
        }
        let moment = self.moment();
        for user in USERS {
            self.scene.present(user).unwrap();
        }
        moment.await;
        agent.kill().await.unwrap();
        self.row.tried += 1;
    }

    /// A moment in its life, not a state that is waited for.
    fn moment(&self) -> impl Future<Output = ()> + use<> {
        let longest = if below(5) == 0 { LONG_LIFE } else { SHORT_LIFE };
        let any = tokio::time::sleep(Duration::from_millis(below(longest)));
        let (server, calls) = (self.scene.server.clone(), below(2) * (1 + below(CALLS)));
        async move {
            if calls == 0 {
                return any.await;
            }
            let after = async {
                for _ in 0..calls {
                    server.changed().await;
                }
                tokio::time::sleep(Duration::from_micros(below(KILL_WINDOW_US))).await;
            };
            drop(tokio::time::timeout(Duration::from_millis(longest), after).await);
        }
    }

    /// Peace: everything that is open ends, and what was not released is, by another tap. Then no document is missing.
    async fn reckon(&mut self) {
        let scene = &self.scene;
        scene.server.world().faults.clear();
        let agent = scene.start().await.unwrap();
        self.settled(&agent).await;
        for user in USERS {
            // At most so many documents a tap.
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

    /// What stays listed now ended as unknown: by its document, so that it excuses no other.
    async fn unknown(&self) -> BTreeSet<String> {
        let listed = queue(&self.scene).await["releases"].clone();
        let document = |release: &Value| release["release"]["document"]["uuid"].as_str().unwrap().to_owned();
        listed.as_array().unwrap().iter().map(document).collect()
    }

    fn judge(&mut self, unknown: &BTreeSet<String>) {
        let world = self.scene.server.world();
        let (released, recorded) = tally(&world);
        let Row { lost, released_twice, recorded_twice, unknown: told, .. } = &mut self.row;
        for (uuid, user, title) in &self.documents {
            let released = released.get(uuid.as_str()).copied().unwrap_or(0);
            let recorded = recorded.get(&(user.as_str(), title.as_str())).copied().unwrap_or(0);
            *lost += usize::from(released == 0 || (released > recorded && !unknown.contains(uuid)));
            *released_twice += usize::from(released > 1);
            *recorded_twice += usize::from(recorded > released);
        }
        *told = unknown.len();
        drop(world);
        self.go_on_or_tell();
    }

    /// Nothing lost, nothing twice so far; or the campaign ends here and says when.
    fn go_on_or_tell(&mut self) {
        self.row.released_twice += self.scene.server.world().repeated.len();
        let Row { tried, lost, released_twice, recorded_twice, .. } = self.row;
        if (lost, released_twice, recorded_twice) != (0, 0, 0) {
            self.row.tell();
            let (seconds, log) = (self.began.elapsed().as_secs(), log(&self.scene));
            panic!(
                "{log}\nlost {lost}, released twice {released_twice}, recorded twice {recorded_twice}: \
                 seen at kill {tried}, after {seconds} s"
            );
        }
    }
}

/// How often each document was released, and how often each user's title was recorded.
fn tally(world: &World) -> (HashMap<&str, usize>, HashMap<(&str, &str), usize>) {
    let (mut released, mut recorded) = (HashMap::new(), HashMap::new());
    for release in &world.releases {
        *released.entry(release.uuid.as_str()).or_default() += 1;
    }
    for record in &world.records {
        *recorded.entry((record.user_name.as_str(), record.document_name.as_str())).or_default() += 1;
    }
    (released, recorded)
}

#[tokio::test]
async fn killed_at_any_moment_nothing_is_lost_released_twice_or_recorded_twice() {
    let kills = std::env::var("PRINT_RELEASE_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(KILLS);
    let mut campaign = Campaign::begin().await;
    while campaign.row.tried < kills {
        campaign.live_and_die().await;
        campaign.go_on_or_tell();
        if campaign.row.tried.is_multiple_of(PEACE_EVERY) || campaign.row.tried == kills {
            campaign.reckon().await;
        }
    }
    campaign.row.tell();
}
