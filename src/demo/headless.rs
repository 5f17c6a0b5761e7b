//! A run without a page: taps, an unknown card, an outage, kills, recovery; then a table of each promise and of what happened.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use super::process::AgentProcess;
use super::scene::Scene;
use super::server::{Call, Kind};

/// One line of the table.
#[derive(Debug)]
struct PromiseRow {
    promise: &'static str,
    happened: String,
    held: bool,
}

struct HeadlessRun {
    scene: Scene,
    rows: Vec<PromiseRow>,
}

/// Runs everything with `program` as the agent and prints the table. True when every promise held.
///
/// # Errors
/// The scene cannot be made, or the agent does not answer.
pub async fn play(program: &Path) -> anyhow::Result<bool> {
    let mut run = HeadlessRun { scene: Scene::set(program).await?, rows: Vec::new() };
    let agent = run.scene.start().await?;
    run.three_taps(&agent).await?;
    run.unknown_card(&agent).await?;
    run.outage_during_a_release(&agent).await?;
    let agent = run.kill_between_release_and_record(agent).await?;
    let agent = run.kill_during_a_release(agent).await?;
    let agent = run.kill_before_the_record_is_acknowledged(agent).await?;
    let ended = agent.terminate().await?;
    run.row("SIGTERM ends the agent in order", format!("exit code {:?}", ended.code()), ended.success());
    run.reckoning();
    // Somebody who reads no further still gets the exit code.
    drop(std::io::stdout().write_all(run.table().as_bytes()));
    Ok(run.held())
}

impl HeadlessRun {
    async fn three_taps(&mut self, agent: &AgentProcess) -> anyhow::Result<()> {
        for (user, promise) in [
            ("ada", "ada's card releases all her documents"),
            ("grace", "grace's card releases all her documents"),
            ("linus", "linus' card releases all his documents"),
        ] {
            let waiting = self.scene.server.world().waiting(user).count();
            let event = self.scene.tap(agent, user).await?;
            let held = event["event"] == "released" && event["documents"] == waiting;
            self.row(promise, format!("{} of {waiting} in {} ms", event["documents"], event["duration_ms"]), held);
        }
        Ok(())
    }

    async fn unknown_card(&mut self, agent: &AgentProcess) -> anyhow::Result<()> {
        let before = self.scene.server.world().releases.len();
        let event = self.scene.hold(agent, "9000000001").await?;
        let released = self.scene.server.world().releases.len() - before;
        let held = event["reason"] == "unknown-card" && released == 0;
        self.row("an unknown card releases nothing and is told so", format!("{}", event["reason"]), held);
        Ok(())
    }

    async fn outage_during_a_release(&mut self, agent: &AgentProcess) -> anyhow::Result<()> {
        let uuid = self.scene.submit("ada", "Letter to Babbage.pdf");
        self.scene.befall(Call::Release, 1, Kind::CutAfter);
        let server = self.scene.server.clone();
        let outage = async {
            self.scene.until(|world| world.times_released(&uuid) == 1).await?;
            server.stop();
            self.scene.status(agent, |status| status["server"]["reachable"] == false).await?;
            server.restart().await?;
            anyhow::Ok(())
        };
        let (ended, event) = tokio::join!(outage, self.scene.tap(agent, "ada"));
        ended?;
        self.scene.recorded(&uuid).await;
        event?;
        self.judge("the server goes away during a release: once, and recorded", &uuid);
        Ok(())
    }

    async fn kill_between_release_and_record(&mut self, agent: AgentProcess) -> anyhow::Result<AgentProcess> {
        let uuid = self.scene.submit("grace", "Nanosecond.pdf");
        self.scene.befall(Call::Record, usize::MAX, Kind::Status { code: 503, retry_after: None });
        self.scene.tap(&agent, "grace").await?;
        agent.kill().await?;
        self.scene.server.world().faults.clear();
        let agent = self.scene.start().await?;
        self.scene.recorded(&uuid).await;
        self.scene.settled(&agent).await?;
        self.judge("killed between release and record: recorded once", &uuid);
        Ok(agent)
    }

    async fn kill_during_a_release(&mut self, agent: AgentProcess) -> anyhow::Result<AgentProcess> {
        let uuid = self.scene.submit("linus", "Nature of the bond.pdf");
        self.scene.befall(Call::Release, 1, Kind::HangAfter);
        self.scene.present("linus")?;
        self.scene.until(|world| world.times_released(&uuid) == 1).await?;
        agent.kill().await?;
        let agent = self.scene.start().await?;
        self.scene.recorded(&uuid).await;
        self.scene.settled(&agent).await?;
        self.judge("killed during a release: not again, and recorded once", &uuid);
        Ok(agent)
    }

    async fn kill_before_the_record_is_acknowledged(&mut self, agent: AgentProcess) -> anyhow::Result<AgentProcess> {
        let uuid = self.scene.submit("ada", "Flyology.pdf");
        self.scene.befall(Call::Record, 1, Kind::HangAfter);
        self.scene.tap(&agent, "ada").await?;
        self.scene.recorded(&uuid).await;
        agent.kill().await?;
        let agent = self.scene.start().await?;
        self.scene.settled(&agent).await?;
        self.judge("killed before a record was acknowledged: not recorded again", &uuid);
        Ok(agent)
    }

    /// Counts over everything: no document was released twice, no record is missing, and there is none too many.
    fn reckoning(&mut self) {
        let world = self.scene.server.world();
        let twice = world.documents.iter().filter(|document| world.times_released(&document.uuid) > 1).count();
        let (released, records) = (world.releases.len(), world.records.len());
        drop(world);
        self.row("nothing is released twice", format!("{twice} of {released} releases"), twice == 0);
        let happened = format!("{records} records for {released} releases");
        self.row("every release is recorded once", happened, released == records);
    }

    fn judge(&mut self, promise: &'static str, uuid: &str) {
        let (released, recorded) = self.scene.counts(uuid);
        let happened = format!("released {released} times, recorded {recorded} times");
        self.row(promise, happened, (released, recorded) == (1, 1));
    }

    fn row(&mut self, promise: &'static str, happened: String, held: bool) {
        self.rows.push(PromiseRow { promise, happened, held });
    }

    fn held(&self) -> bool {
        self.rows.iter().all(|row| row.held)
    }

    /// The table, and behind it the agent's log if a promise did not hold.
    fn table(&self) -> String {
        let (promised, happened) = ("promised", "happened");
        let mut table = format!("{promised:<62}  {happened:<34}  held\n");
        for PromiseRow { promise, happened, held } in &self.rows {
            let line = writeln!(table, "{promise:<62}  {happened:<34}  {}", if *held { "yes" } else { "NO" });
            line.expect("a string takes every line");
        }
        if !self.held() {
            let log = std::fs::read_to_string(self.scene.log()).unwrap_or_default();
            table.push_str(&format!("\nThe agent's log:\n{log}\n"));
        }
        table
    }
}
