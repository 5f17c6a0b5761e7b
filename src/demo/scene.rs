//! Everything that a tap needs: server, reader, configuration, agent. The demo runs on it, and so do the tests.

use std::cell::Cell;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;

use super::process::AgentProcess;
use super::reader::VirtualReader;
use super::scene_dir::SceneDir;
use super::server::{Call, Kind, OPEN_KEY, Options, PrintServer, ServerDocument, ServerFault, World};
use crate::tls;

/// A card that is read again within this time belongs to the same tap.
const DEBOUNCE: Duration = Duration::from_millis(100);

/// The longest wait for a state.
const PATIENCE: Duration = Duration::from_secs(60);

/// Server, reader and a directory with the configuration. All of it is gone when it is dropped.
#[derive(Debug)]
pub struct Scene {
    dir: SceneDir,
    program: PathBuf,
    /// The print server; a test may change its world.
    pub server: PrintServer,
    /// The reader of the station `lobby`.
    pub reader: VirtualReader,
    client: reqwest::Client,
    last_hold: Cell<tokio::time::Instant>,
}

impl Scene {
    /// A scene for `program`, with the demo's users and documents, over plain HTTP on loopback.
    ///
    /// # Errors
    /// No directory, port or pseudo-terminal can be had.
    pub async fn set(program: &Path) -> anyhow::Result<Self> {
        Self::set_with(program, PrintServer::start(Options::default()).await?)
    }

    /// The same with a server of one's own.
    ///
    /// # Errors
    /// As [`Scene::set`].
    pub fn set_with(program: &Path, server: PrintServer) -> anyhow::Result<Self> {
        tls::install_provider();
        let dir = SceneDir::create()?;
        let reader = VirtualReader::plug(&dir.path().join("reader"))?;
        let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build()?;
        let scene = Self {
            dir,
            program: program.to_owned(),
            server,
            reader,
            client,
            last_hold: Cell::new(tokio::time::Instant::now()),
        };
        scene.write_secret("api-key", OPEN_KEY)?;
        scene.configure("", &[])?;
        Ok(scene)
    }

    /// The directory of this scene; everything of it lies there.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The configuration's path.
    pub fn config(&self) -> PathBuf {
        self.dir().join("agent.toml")
    }

    /// The agent's log.
    pub fn log(&self) -> PathBuf {
        self.dir().join("log")
    }

    /// Writes the configuration, with short times so that nobody waits long. `[server]` lines and whole sections can be added.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn configure(&self, server: &str, sections: &[&str]) -> io::Result<()> {
        let dir = self.dir().display();
        let mut text = format!(
            "[agent]\nid = \"demo\"\nstate_dir = \"{dir}/state\"\ncontrol_socket = \"{dir}/control.sock\"\n\
             [server]\nurl = \"{url}\"\noauth_url = \"{oauth}\"\napi_key_file = \"{dir}/api-key\"\n\
             connect_timeout = \"1s\"\nrequest_timeout = \"1s\"\n{server}\n\
             [[station]]\nname = \"lobby\"\n\
             [station.reader]\ntype = \"serial\"\ndevice = \"{reader}\"\ndebounce = \"{debounce}ms\"\n\
             [station.printer]\noutput_port = \"192.0.2.10\"\n\
             [outbox]\nretry_min = \"100ms\"\nretry_max = \"1s\"\n\
             [http]\nlisten = \"127.0.0.1:0\"\n",
            url = self.server.url(),
            oauth = self.server.oauth_url(),
            reader = self.reader.path().display(),
            debounce = DEBOUNCE.as_millis(),
        );
        for section in sections {
            text.push_str(section);
            text.push('\n');
        }
        std::fs::write(self.config(), text)
    }

    /// Writes a file that only its owner may read, and gives its path.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write_secret(&self, name: &str, text: &str) -> io::Result<PathBuf> {
        let path = self.dir().join(name);
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&path)?;
        io::Write::write_all(&mut file, text.as_bytes())?;
        Ok(path)
    }

    /// Starts the agent; its log is appended to [`Scene::log`].
    ///
    /// # Errors
    /// As [`AgentProcess::start`].
    pub async fn start(&self) -> io::Result<AgentProcess> {
        self.reader.let_go()?;
        let log = std::fs::OpenOptions::new().append(true).create(true).open(self.log())?;
        AgentProcess::start(&self.program, &self.config(), Stdio::from(log)).await
    }

    /// The agent's status once `condition` holds, asked of its page.
    ///
    /// # Errors
    /// It does not answer, or the condition does not come to hold within a minute.
    pub async fn status(&self, agent: &AgentProcess, condition: impl Fn(&Value) -> bool) -> anyhow::Result<Value> {
        let mut url = format!("{}/status", agent.page());
        let patience = tokio::time::Instant::now() + PATIENCE;
        loop {
            anyhow::ensure!(
                tokio::time::Instant::now() < patience,
                "the awaited status has not come within a minute: {url}"
            );
            let answer = self.client.get(&url).send().await?;
            let revision = answer.headers().get("revision").and_then(|revision| revision.to_str().ok()).unwrap_or("0");
            url = format!("{}/status?after={revision}", agent.page());
            let status = serde_json::from_slice(&answer.bytes().await?)?;
            if condition(&status) {
                return Ok(status);
            }
        }
    }

    /// The answer of the agent's page at a path.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn get(&self, agent: &AgentProcess, path: &str) -> anyhow::Result<String> {
        let answer = self.client.get(format!("{}{path}", agent.page())).send().await?.bytes().await?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }

    /// Holds a user's card and returns the event that ended the tap.
    ///
    /// # Errors
    /// The reader or the agent is gone.
    pub async fn tap(&self, agent: &AgentProcess, user: &str) -> anyhow::Result<Value> {
        self.hold(agent, &self.card(user)).await
    }

    /// Holds any card and returns the event that ended the tap.
    ///
    /// # Errors
    /// As [`Scene::tap`].
    pub async fn hold(&self, agent: &AgentProcess, card: &str) -> anyhow::Result<Value> {
        let last = |status: &Value| status["stations"]["lobby"]["last"].clone();
        let before = last(&self.status(agent, |_| true).await?)["id"].clone();
        // The same card counts as held until it has been away for the debounce time.
        tokio::time::sleep_until(self.last_hold.get() + DEBOUNCE * 2).await;
        self.last_hold.set(tokio::time::Instant::now());
        self.reader.hold(card)?;
        let status = self.status(agent, |status| last(status)["id"] != before).await?;
        Ok(last(&status))
    }

    /// Holds a user's card and does not wait.
    ///
    /// # Errors
    /// The reader is unplugged.
    pub fn present(&self, user: &str) -> io::Result<()> {
        self.reader.hold(&self.card(user))
    }

    fn card(&self, user: &str) -> String {
        let world = self.server.world();
        world.user(user).and_then(|user| user.cards.first().cloned()).unwrap_or_default()
    }

    /// Gives a user one more document and returns its uuid. Each title should be used once, because a record is known by it.
    pub fn submit(&self, user: &str, title: &str) -> String {
        let mut world = self.server.world();
        let document = ServerDocument::new(user, title, 2, world.now());
        let uuid = document.uuid.clone();
        world.documents.push(document);
        uuid
    }

    /// Lets the next `times` calls of a kind go wrong at the server.
    pub fn befall(&self, call: Call, times: usize, kind: Kind) {
        self.server.world().faults.push(ServerFault { call, times, kind });
    }

    /// The number of a document's releases, and of its job records.
    pub fn counts(&self, uuid: &str) -> (usize, usize) {
        let world = self.server.world();
        (world.times_released(uuid), records(&world, uuid))
    }

    /// Waits until something has happened at the server.
    ///
    /// # Errors
    /// It has not happened within a minute.
    pub async fn until(&self, condition: impl Fn(&World) -> bool) -> anyhow::Result<()> {
        let happened = tokio::time::timeout(PATIENCE, self.server.wait_until(condition)).await;
        happened.map_err(|_| anyhow::anyhow!("the server has waited for a minute in vain"))
    }

    /// Waits until the server has a job record for a document, or for a minute.
    pub async fn recorded(&self, uuid: &str) {
        // A caller that needs to know whether it came looks at the counts.
        drop(self.until(|world| records(world, uuid) > 0).await);
    }

    /// Waits until no record waits for the server and no tap is under way.
    ///
    /// # Errors
    /// The agent is gone.
    pub async fn settled(&self, agent: &AgentProcess) -> anyhow::Result<()> {
        let empty =
            |status: &Value| status["outbox"]["pending"] == 0 && status["stations"]["lobby"]["phase"] == "ready";
        self.status(agent, empty).await.map(drop)
    }
}

/// A job record has no key of its own: it is known by the user and the title of its document.
fn records(world: &World, uuid: &str) -> usize {
    let Some(document) = world.document(uuid) else {
        return 0;
    };
    let same = |record: &&ServerDocument| {
        record.user_name == document.user_name && record.document_name == document.document_name
    };
    world.records.iter().filter(same).count()
}
