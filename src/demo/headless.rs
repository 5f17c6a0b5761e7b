//! The play: taps, an unknown card, an outage, kills, recovery; then a table of what was promised and what happened.

use std::path::Path;

use serde_json::Value;

use super::process::AgentProcess;
use super::scene::Scene;
use super::server::{Call, Document, Fault, Kind, World};

/// One line of the table.
#[derive(Debug)]
struct Row {
    promise: &'static str,
    happened: String,
    held: bool,
}

struct Play {
    scene: Scene,
    rows: Vec<Row>,
}

/// Plays everything with `program` as the agent and prints the table. True when every promise held.
///
/// # Errors
/// The stage cannot be set, or the agent does not answer.
pub async fn play(program: &Path) -> anyhow::Result<bool> {
    let mut play = Play { scene: Scene::set(program).await?, rows: Vec::new() };
    let agent = play.scene.start().await?;
    play.three_taps(&agent).await?;
    play.unknown_card(&agent).await?;
    play.outage_during_a_release(&agent).await?;
    let agent = play.kill_between_release_and_record(agent).await?;
    let agent = play.kill_during_a_release(agent).await?;
    let agent = play.kill_before_the_record_is_acknowledged(agent).await?;
    let ended = agent.terminate().await?;
    play.row("SIGTERM ends the agent in order", format!("exit code {:?}", ended.code()), ended.success());
    play.reckoning();
    Ok(play.tell())
}

impl Play {
    async fn three_taps(&mut self, agent: &AgentProcess) -> anyhow::Result<()> {
        for (user, promise) in [
            ("ada", "ada's card releases all her documents"),
            ("grace", "grace's card releases all her documents"),
            ("linus", "linus' card releases all his documents"),
        ] {
            let waiting = self.scene.server.world().waiting(user).count();
            let event = self.tap(agent, user).await?;
            let held = event["event"] == "released" && event["documents"] == waiting;
            self.row(promise, format!("{} of {waiting} in {} ms", event["documents"], event["duration_ms"]), held);
        }
        Ok(())
    }

    async fn unknown_card(&mut self, agent: &AgentProcess) -> anyhow::Result<()> {
        let before = self.scene.server.world().releases.len();
        let event = self.hold(agent, "9999999999").await?;
        let released = self.scene.server.world().releases.len() - before;
        let held = event["reason"] == "unknown-card" && released == 0;
        self.row("an unknown card releases nothing and is told so", format!("{}", event["reason"]), held);
        Ok(())
    }

    async fn outage_during_a_release(&mut self, agent: &AgentProcess) -> anyhow::Result<()> {
        let uuid = self.submit("ada", "Letter to Babbage.pdf");
        self.befall(Call::Release, 1, Kind::CutAfter);
        let server = self.scene.server.clone();
        let outage = async {
            server.wait_until(|world| world.times_released(&uuid) == 1).await;
            server.stop();
            self.scene.status(agent, |status| status["server"]["reachable"] == false).await?;
            server.restart().await?;
            anyhow::Ok(())
        };
        let (ended, event) = tokio::join!(outage, self.tap(agent, "ada"));
        ended?;
        self.arrived(&uuid).await;
        let happened = format!("{}, released {} times", event?["event"], self.times_released(&uuid));
        let held = self.times_released(&uuid) == 1 && self.records(&uuid) == 1;
        self.row("the server goes away during a release: once, and recorded", happened, held);
        Ok(())
    }

    async fn kill_between_release_and_record(&mut self, agent: AgentProcess) -> anyhow::Result<AgentProcess> {
        let uuid = self.submit("grace", "Nanosecond.pdf");
        self.befall(Call::Record, usize::MAX, Kind::Status { code: 503, retry_after: None });
        self.tap(&agent, "grace").await?;
        agent.kill().await?;
        self.scene.server.world().faults.clear();
        let agent = self.scene.start().await?;
        self.arrived(&uuid).await;
        self.settled(&agent).await?;
        self.judge("killed between release and record: recorded once", &uuid);
        Ok(agent)
    }

    async fn kill_during_a_release(&mut self, agent: AgentProcess) -> anyhow::Result<AgentProcess> {
        let uuid = self.submit("linus", "Nature of the bond.pdf");
        self.befall(Call::Release, 1, Kind::HangAfter);
        self.present("linus")?;
        self.scene.server.wait_until(|world| world.times_released(&uuid) == 1).await;
        agent.kill().await?;
        let agent = self.scene.start().await?;
        self.arrived(&uuid).await;
        self.settled(&agent).await?;
        self.judge("killed during a release: not again, and recorded once", &uuid);
        Ok(agent)
    }

    async fn kill_before_the_record_is_acknowledged(&mut self, agent: AgentProcess) -> anyhow::Result<AgentProcess> {
        let uuid = self.submit("ada", "Flyology.pdf");
        self.befall(Call::Record, 1, Kind::HangAfter);
        self.tap(&agent, "ada").await?;
        self.arrived(&uuid).await;
        agent.kill().await?;
        let agent = self.scene.start().await?;
        self.settled(&agent).await?;
        self.judge("killed before a record was acknowledged: not recorded again", &uuid);
        Ok(agent)
    }

    /// Over everything: no document twice, no record missing, none too many.
    fn reckoning(&mut self) {
        let world = self.scene.server.world();
        let twice = world.documents.iter().filter(|document| world.times_released(&document.uuid) > 1).count();
        let (released, records) = (world.releases.len(), world.records.len());
        drop(world);
        self.row("nothing is released twice", format!("{twice} of {released} releases"), twice == 0);
        let happened = format!("{records} records for {released} releases");
        self.row("every release is recorded once", happened, released == records);
    }

    /// Holds a user's card and waits for the end of the tap.
    async fn tap(&self, agent: &AgentProcess, user: &str) -> anyhow::Result<Value> {
        let card = self.card(user);
        self.hold(agent, &card).await
    }

    async fn hold(&self, agent: &AgentProcess, card: &str) -> anyhow::Result<Value> {
        let last = |status: &Value| status["stations"]["lobby"]["last"].clone();
        let before = last(&self.scene.status(agent, |_| true).await?)["id"].clone();
        self.scene.reader.hold(card)?;
        let status = self.scene.status(agent, |status| last(status)["id"] != before).await?;
        Ok(last(&status))
    }

    /// Holds a user's card and does not wait.
    fn present(&self, user: &str) -> std::io::Result<()> {
        self.scene.reader.hold(&self.card(user))
    }

    fn card(&self, user: &str) -> String {
        let world = self.scene.server.world();
        world.user(user).and_then(|user| user.cards.first().cloned()).unwrap_or_default()
    }

    /// One more document for a user; gives its uuid.
    fn submit(&self, user: &str, title: &str) -> String {
        let mut world = self.scene.server.world();
        let document = Document::new(user, title, 2, world.now());
        let uuid = document.uuid.clone();
        world.documents.push(document);
        uuid
    }

    fn befall(&self, call: Call, times: usize, kind: Kind) {
        self.scene.server.world().faults.push(Fault { call, times, kind });
    }

    /// Waits until the server has at least one job record for a document.
    async fn arrived(&self, uuid: &str) {
        self.scene.server.wait_until(|world| records(world, uuid) > 0).await;
    }

    /// Waits until nothing waits for the server any more.
    async fn settled(&self, agent: &AgentProcess) -> anyhow::Result<()> {
        let empty =
            |status: &Value| status["outbox"]["pending"] == 0 && status["stations"]["lobby"]["phase"] == "ready";
        self.scene.status(agent, empty).await.map(drop)
    }

    fn times_released(&self, uuid: &str) -> usize {
        self.scene.server.world().times_released(uuid)
    }

    fn records(&self, uuid: &str) -> usize {
        records(&self.scene.server.world(), uuid)
    }

    fn judge(&mut self, promise: &'static str, uuid: &str) {
        let (released, recorded) = (self.times_released(uuid), self.records(uuid));
        let happened = format!("released {released} times, recorded {recorded} times");
        self.row(promise, happened, (released, recorded) == (1, 1));
    }

    fn row(&mut self, promise: &'static str, happened: String, held: bool) {
        self.rows.push(Row { promise, happened, held });
    }

    fn tell(&self) -> bool {
        let (promised, happened) = ("promised", "happened");
        println!("{promised:<62}  {happened:<34}  held");
        for Row { promise, happened, held } in &self.rows {
            println!("{promise:<62}  {happened:<34}  {}", if *held { "yes" } else { "NO" });
        }
        let held = self.rows.iter().all(|row| row.held);
        if !held {
            let log = std::fs::read_to_string(self.scene.log()).unwrap_or_default();
            println!("\nThe agent's log:\n{log}");
        }
        held
    }
}

/// A job record has no key of its own: it is known by the user and the title of its document.
fn records(world: &World, uuid: &str) -> usize {
    let Some(document) = world.document(uuid) else {
        return 0;
    };
    let same =
        |record: &&Document| record.user_name == document.user_name && record.document_name == document.document_name;
    world.records.iter().filter(same).count()
}
