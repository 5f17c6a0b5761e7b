//! The books of a campaign that taps with the real program: paper, history, journal and status are compared after each calm.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::time::Duration;

use print_release_agent::demo::process::AgentProcess;
use print_release_agent::demo::scene::Scene;
use print_release_agent::demo::server::ServerDocument;
use serde_json::Value;

use crate::support::table::Lane;
use crate::support::{log, queue};

/// An outbox that has not come to rest by then stands still.
const PATIENCE: Duration = Duration::from_secs(20);

/// The pause between two looks at the queue.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The words of the log by which a record that may arrive twice is counted. The metric of the same name forgets with the process.
pub(super) const COUNTED: &str = "sent again without knowing whether it had arrived";

/// The characters of a title, the wrong titles, and the lines of the log that a story shows.
const TITLE: usize = 24;
const TITLES: usize = 5;
const LOG_LINES: usize = 12;

/// The shortest time limit that the configuration takes. The agent takes the server to be over with a request after three times
/// that; late work comes before.
pub const REQUEST_TIMEOUT_MS: u64 = 500;
pub const LATE_MS: u64 = 1_200;

/// Gives the agent the shortest time limit, so that many attempts fit into a test.
pub fn impatient(scene: &Scene) {
    let config = fs::read_to_string(scene.config()).unwrap();
    let short = format!("request_timeout = \"{REQUEST_TIMEOUT_MS}ms\"");
    fs::write(scene.config(), config.replace("request_timeout = \"1s\"", &short)).unwrap();
}

/// A user's title. The history knows a record by no more.
type Title = (String, String);

/// The documents that were submitted and not judged yet, and the rows of others. Documents of one title are judged together, once
/// all are printed.
#[derive(Default)]
pub struct Books {
    documents: Vec<(String, Title)>,
    strangers: HashSet<String>,
    counted: usize,
}

impl Books {
    /// Gives a user one more document and returns its uuid. Several may have one title.
    pub fn submit(&mut self, scene: &Scene, user: &str, title: &str) -> String {
        let uuid = scene.submit(user, title);
        self.documents.push((uuid.clone(), (user.to_owned(), title.to_owned())));
        uuid
    }

    /// Puts the record of another box into the history.
    pub fn add_stranger(&mut self, scene: &Scene, row: ServerDocument) {
        self.strangers.insert(row.uuid.clone());
        scene.server.world().records.push(row);
    }

    /// Lets everything that is open end in peace, and writes down what is missing and what is there twice. Returns whether the
    /// agent came to rest; if it did not, all that was printed and not recorded is lost.
    pub async fn close(&mut self, scene: &Scene, agent: &AgentProcess, lane: &mut Lane, what: &str) -> bool {
        let rests = tokio::time::timeout(PATIENCE, settled(scene, agent)).await.is_ok();
        let queue = queue(scene).await;
        let status = scene.status(agent, |_| true).await.unwrap();
        let told = status["outbox"]["lost"] != 0
            || status["journal"]["set_aside"] != 0
            || status["journal"]["unreadable"] != 0;
        let counted = log(scene).matches(COUNTED).count();
        self.judge(scene, &excused(&queue), counted.saturating_sub(self.counted), (rests, told), lane, what);
        self.counted = counted;
        rests
    }

    fn judge(
        &mut self,
        scene: &Scene,
        excused: &HashMap<String, usize>,
        mut counted: usize,
        (rests, told): (bool, bool),
        lane: &mut Lane,
        what: &str,
    ) {
        let mut world = scene.server.world();
        let mut titles: HashMap<Title, [usize; 3]> = HashMap::new();
        let (mut wrong, mut waiting) = (Vec::new(), HashSet::new());
        for (uuid, title) in &self.documents {
            let printed = world.times_released(uuid);
            let excuse = excused.get(uuid).copied().unwrap_or(0);
            if printed == 0 {
                waiting.insert(title.clone());
            }
            let [printed_of, _, excused_of] = titles.entry(title.clone()).or_default();
            (*printed_of, *excused_of) = (*printed_of + printed, *excused_of + excuse);
            lane.row.unknown += excuse;
            if printed > 1 {
                lane.row.released_twice += 1;
                wrong.push(format!("{uuid} was printed {printed} times"));
            }
        }
        for record in world.records.iter().filter(|record| !self.strangers.contains(&record.uuid)) {
            if let Some([_, recorded, _]) = titles.get_mut(&(record.user_name.clone(), record.document_name.clone())) {
                *recorded += 1;
            }
        }
        for ((user, title), [printed, recorded, excused]) in titles {
            let missing = printed.saturating_sub(recorded + excused);
            let doubled = recorded.saturating_sub(printed);
            let known = doubled.min(counted);
            counted -= known;
            if told && rests {
                lane.row.lost_and_told += missing
            } else {
                lane.row.lost += missing
            }
            lane.row.recorded_twice += doubled - known;
            if missing > 0 || doubled > 0 {
                waiting.remove(&(user.clone(), title.clone()));
            }
            if missing > 0 || doubled > known {
                let title: String = title.chars().take(TITLE).collect();
                wrong.push(format!(
                    "{user}, {title}: {printed} printed, {recorded} recorded, {excused} unknown, told: {told}"
                ));
            }
        }
        self.documents.retain(|(_, title)| waiting.contains(title));
        let repeated = std::mem::take(&mut world.repeated);
        lane.row.released_twice += repeated.len();
        wrong.extend(repeated.iter().map(|uuid| format!("asked to print {uuid} again")));
        drop(world);
        if !rests || !wrong.is_empty() {
            let number = wrong.len();
            wrong.truncate(TITLES);
            let rest = if rests { "" } else { "it does not come to rest; " };
            let log = log(scene);
            let lines: Vec<_> = log.lines().collect();
            let last = lines[lines.len().saturating_sub(LOG_LINES)..].join("\n  ");
            lane.stories.push(format!("{what}: {rest}{number} wrong: {}\n  {last}", wrong.join("; ")));
        }
    }
}

/// Waits until no release is open, no record waits, and no tap is under way.
async fn settled(scene: &Scene, agent: &AgentProcess) {
    let open = |release: &Value| release["outcome"].is_null();
    while queue(scene).await["releases"].as_array().unwrap().iter().any(open) {
        tokio::time::sleep(LOOK_EVERY).await;
    }
    scene.settled(agent).await.unwrap();
}

/// The entries that stay listed for a person, by document: releases that ended as unknown, and dead letters.
fn excused(queue: &Value) -> HashMap<String, usize> {
    let list = |name: &str| queue[name].as_array().cloned().unwrap_or_default();
    let unknown = list("releases").into_iter().map(|entry| entry["release"]["document"]["uuid"].clone());
    let dead = list("dead").into_iter().map(|entry| entry["record"]["document"].clone());
    let mut excused = HashMap::new();
    for document in unknown.chain(dead) {
        *excused.entry(document.as_str().unwrap().to_owned()).or_default() += 1;
    }
    excused
}
