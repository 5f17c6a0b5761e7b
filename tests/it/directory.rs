//! The neighbours, with the real program against the embedded services: every documented call and every trap
//! (docs/directory.md, "Traps").

mod ezeep;
mod orbix;
mod secrets;
mod zops;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Stdio;

use print_release_agent::demo::directory::NeighbourServer;
use print_release_agent::demo::process::tied_to_this_process;
use print_release_agent::tls;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::program;

/// A machine with a configuration for the three services, which run in this process.
pub struct Site {
    pub dir: TempDir,
    pub server: NeighbourServer,
}

/// The output of a command, and its exit code.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    /// The one document of `--json`.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Everything that was printed.
    pub fn text(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}

impl Site {
    pub async fn new() -> Self {
        tls::install_provider();
        let site = Self { dir: tempfile::tempdir().unwrap(), server: NeighbourServer::start().await.unwrap() };
        site.secret("orbix-token", "orbix-bearer-0123456789\n");
        site.secret("orbix-secret", "orbix-secret-0123456789");
        site.secret("zops-password", "zops-password-0123456789");
        site.configure("token_file = \"DIR/orbix-token\"", "");
        site
    }

    /// Writes a file that only its owner may read.
    pub fn secret(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    /// Writes the configuration, with these lines for Orbix and for ezeep.
    pub fn configure(&self, orbix: &str, ezeep: &str) {
        let text = format!(
            "[agent]\nid = \"box\"\nstate_dir = \"DIR/state\"\n[log]\nlevel = \"trace\"\n\
             [directory.ezeep]\nclient_id = \"ezeep-client\"\naccount_url = \"BASE/account\"\n\
             api_url = \"BASE/printing/v1\"\norganization_id = \"54e3a324-cc89-4722-8338-c285d26bef15\"\n{ezeep}\n\
             [directory.orbix]\nurl = \"BASE/orbix\"\ntenant = \"NDD\"\nclient = \"ABC\"\n{orbix}\n\
             [directory.zops]\nurl = \"BASE/zops/api/v1\"\nemail = \"box@example.com\"\n\
             password_file = \"DIR/zops-password\"\nproject = \"1aa36f61f9c14156a900921abb04af56\"\nservice = \"roc\"\n"
        );
        let text = text.replace("DIR", &self.dir.path().display().to_string()).replace("BASE", &self.server.base());
        fs::write(self.config(), text).unwrap();
    }

    pub fn config(&self) -> PathBuf {
        self.dir.path().join("agent.toml")
    }

    pub fn file(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    /// The command with these arguments, not started yet.
    pub fn command(&self, arguments: &[&str]) -> tokio::process::Command {
        let mut command = tied_to_this_process(program());
        command.arg("directory").args(arguments).arg("--config").arg(self.config());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs `directory` with these arguments.
    pub async fn run(&self, arguments: &[&str]) -> Ended {
        let output = self.command(arguments).output().await.unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Ended { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// The number of requests whose method and path begin like this.
    pub fn count(&self, call: &str) -> usize {
        self.server.world().calls_of(call).count()
    }
}
