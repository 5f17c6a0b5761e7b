//! No token, password or code is where it must not be: in output, logs, arguments, or the state directory of somebody else.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;

use print_release_agent::demo::directory::{HeaderStyle, NeighbourFaultKind};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, prlimit};
use tokio::process::Child;

use super::{Ended, Site};
use crate::support::{limit, skipped, soon};

/// Every secret of a site, so far.
fn secrets(site: &Site) -> Vec<String> {
    let world = site.server.world();
    let mut secrets = world.ezeep.issued.clone();
    secrets.extend(world.zops.issued.iter().cloned());
    secrets.extend(world.orbix.bearers.iter().cloned());
    secrets.extend([world.zops.account.1.clone(), world.orbix.client.1.clone()]);
    secrets
}

#[track_caller]
fn shows_none(what: &str, text: &str, secrets: &[String]) {
    let shown = secrets.iter().find(|secret| text.contains(secret.as_str()));
    assert_eq!(shown, None, "{what}: {text}");
}

/// Runs every command, with everything that can go wrong, and gives what they printed.
async fn everything(site: &Site) -> Vec<Ended> {
    let file = site.file("people.csv");
    fs::write(&file, "group,description,logon,domain,name,email\nG,,ana,NDD,,\nH,,bea,NDD,,\n").unwrap();
    site.server.world().orbix.repeats_the_bearer = true;
    site.server.world().orbix.refused_logons.insert("ana".to_owned());
    let code = site.server.world().ezeep.code();
    let mut ended =
        vec![site.run(&["ezeep", "pair", "--code", &format!("http://127.0.0.1:8632/?code={code}&state=x")]).await];
    for json in [&["--json"][..], &[]] {
        for command in [
            &["ezeep", "groups"][..],
            &["ezeep", "users"],
            &["ezeep", "group", "g0"],
            &["ezeep", "group-create", "n"],
            &["orbix", "push", &file],
            &["zops", "enroll"],
            &["zops", "status"],
            &["zops", "revoke"],
        ] {
            for kind in [
                None,
                Some(NeighbourFaultKind::Garbage),
                Some(NeighbourFaultKind::CutAfter),
                Some(NeighbourFaultKind::Status { code: 500, retry_after: None }),
            ] {
                if let Some(kind) = kind {
                    site.server.befall("", 1, kind);
                }
                ended.push(site.run(&[command, json].concat()).await);
                site.server.world().faults.clear();
            }
        }
        let code = site.server.world().ezeep.code();
        ended.push(site.run(&["ezeep", "pair", "--code", &code]).await);
        site.server.world().ezeep.expire();
    }
    ended
}

#[tokio::test]
async fn no_output_at_trace_level_shows_a_secret_and_every_file_of_one_is_its_owners() {
    let _limit = limit();
    let site = Site::new().await;
    site.server.world().zops.style = HeaderStyle::Word;
    site.configure(
        "token_url = \"BASE/auth/connect/token\"\nclient_id = \"orbix-client\"\nclient_secret_file = \"DIR/orbix-secret\"",
        "",
    );
    let ended = everything(&site).await;
    let secrets = secrets(&site);
    assert!(secrets.len() > 20, "tokens were issued: {}", secrets.len());
    for ended in &ended {
        shows_none("an output", &ended.text(), &secrets);
    }
    assert!(
        ended.iter().any(|ended| ended.text().contains("You said ***")),
        "a server that repeats the bearer is masked"
    );
    for entry in fs::read_dir(site.file("state")).unwrap().map(Result::unwrap) {
        let mode = entry.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{:?}", entry.path());
    }
    let journal = fs::read_to_string(site.file("people.csv.journal")).unwrap();
    shows_none("the journal", &journal, &secrets);
}

#[tokio::test]
async fn a_running_command_shows_no_secret_to_other_processes_and_leaves_no_core_file() {
    let _limit = limit();
    let site = Site::new().await;
    let mut hung = Vec::new();
    for (call, command) in [("POST /zops/api/v1/consumers", "zops"), ("POST /orbix", "orbix")] {
        site.server.befall(call, 1, NeighbourFaultKind::Delay(std::time::Duration::from_secs(600)));
        let file = site.file("people.csv");
        fs::write(&file, "group,description,logon,domain,name,email\nG,,ana,NDD,,\n").unwrap();
        let arguments = if command == "zops" { vec!["zops", "enroll"] } else { vec!["orbix", "push", &file] };
        let child = site.command(&arguments).current_dir(site.dir.path()).spawn().unwrap();
        soon(site.server.wait_until(|world| world.calls_of(call).count() > 0)).await;
        hung.push(child);
    }
    let secrets = secrets(&site);
    for child in hung {
        let id = child.id().unwrap();
        for file in ["cmdline", "environ"] {
            let text = fs::read(format!("/proc/{id}/{file}")).unwrap_or_default();
            shows_none(file, &String::from_utf8_lossy(&text), &secrets);
        }
        assert!(!leaves_a_core(child).await, "no core file is made of it");
    }
    let mut other = tokio::process::Command::new("sleep");
    let other = other.arg("600").current_dir(site.dir.path()).spawn().unwrap();
    if !leaves_a_core(other).await {
        skipped("this system makes no core files");
    }
}

/// Ends a process by a signal that asks for a core file, and tells whether the kernel made one.
async fn leaves_a_core(mut child: Child) -> bool {
    let id = Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()).unwrap();
    // Only of this process: the others of this run leave none in the folder that they were started in.
    let limit = getrlimit(Resource::Core);
    prlimit(Some(id), Resource::Core, Rlimit { current: limit.maximum, ..limit }).unwrap();
    kill_process(id, Signal::QUIT).unwrap();
    soon(child.wait()).await.unwrap().core_dumped()
}
