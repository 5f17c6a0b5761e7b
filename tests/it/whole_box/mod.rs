//! A whole box: Debian on an emulated machine with the package installed and two USB readers, from its first start
//! through pulled plugs and a power cut to the last job record. `tests/run box` makes what it needs and prints its facts.

mod readme;

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use jiff::Timestamp;
use print_release_agent::demo::scene::Scene;
use print_release_agent::demo::server::{Call, Kind, Options, PrintServer, ServerDocument};
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;

use crate::support::emulator::{Emulator, patiently};
use crate::support::mosquitto::Mosquitto;
use crate::support::tls::Authority;
use crate::support::{limit_of, program};

const UNIT: &str = "print-release-agent.service";
/// The agent's status is asked no longer than this for something that should come to hold.
const PATIENCE: Duration = Duration::from_secs(300);
/// Longer than the box lives.
const NEVER: Duration = Duration::from_secs(3600);
/// So many seconds the box is watched while nothing happens.
const IDLE_S: u64 = 60;

/// The readers, by the paths that stay theirs.
const SERIAL: &str = "/dev/serial/by-id/usb-QEMU_QEMU_USB_SERIAL_READER1-if00-port0";
const KEYBOARD: &str = "/dev/input/by-id/usb-QEMU_QEMU_USB_Keyboard_READER2-event-kbd";
/// The stick that the technician brings.
const STICK: &str = "/dev/vdb";

/// The architecture of the Debian, and the name of the package, for the board in `PRINT_RELEASE_BOARD` or for `aarch64`.
fn board() -> (&'static str, String) {
    let board = std::env::var("PRINT_RELEASE_BOARD");
    let (architecture, version) = match board.as_deref().unwrap_or("aarch64") {
        "aarch64" => ("arm64", ""),
        "armv7" => ("armhf", ""),
        "armv6" => ("armhf", "+armv6"),
        other => panic!("PRINT_RELEASE_BOARD is aarch64, armv7 or armv6, not {other}"),
    };
    (architecture, format!("print-release-agent_{}{version}_{architecture}.deb", env!("CARGO_PKG_VERSION")))
}

/// The box, and the facts about it that turned out not to hold.
struct Appliance {
    machine: Emulator,
    boots: u32,
    untrue: Vec<String>,
}

impl Appliance {
    /// Prints a fact with the time since the box was switched on. The test goes on if it does not hold, so that all others are seen too.
    async fn fact(&mut self, fact: &str, found: impl Display, holds: bool) {
        let mark = if holds { "yes" } else { "NO" };
        self.row(fact, found, mark).await;
        if !holds {
            self.untrue.push(fact.to_owned());
        }
    }

    /// Prints something that cannot be wrong.
    async fn note(&mut self, what: &str, found: impl Display) {
        self.row(what, found, "").await;
    }

    async fn row(&mut self, what: &str, found: impl Display, mark: &str) {
        let uptime = self.machine.output("cut -d ' ' -f 1 /proc/uptime").await;
        println!("{:>4} {uptime:>8}  {mark:<5}  {what:<62}  {found}", self.boots);
    }

    /// The agent's status as soon as the condition holds, or after a long wait without that.
    async fn status(&mut self, condition: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + PATIENCE;
        loop {
            let (code, text) = self.machine.run("print-release-agent status --json").await;
            let status = serde_json::from_str(&text).unwrap_or(Value::Null);
            if (code == 0 && condition(&status)) || Instant::now() > end {
                return status;
            }
        }
    }

    /// Waits until a line with this text is in a file of the box.
    async fn wait_for(&mut self, text: &str, file: &str) {
        self.machine.output(&format!("until grep -q '{text}' {file}; do sleep 0.1; done")).await;
    }

    /// Holds a card to a reader and waits until the tap is over and nothing waits for the server.
    async fn tap(&mut self, station: &str, card: &str) -> Value {
        let ended = |status: &Value| status["stations"][station]["taps"].as_u64().unwrap_or(0);
        let before = ended(&self.status(|_| true).await);
        self.hold(station, card).await;
        let settled = |status: &Value| {
            let waits = &status["outbox"]["pending"];
            ended(status) > before && status["stations"][station]["phase"] == "ready" && *waits == 0
        };
        self.status(settled).await["stations"][station]["last"].clone()
    }

    /// Holds a card to a reader.
    async fn hold(&mut self, station: &str, card: &str) {
        match station {
            "lobby" => self.machine.line.write_all(format!("{card}\r").as_bytes()).await.unwrap(),
            _ => self.machine.type_card(card).await,
        }
    }

    /// Prints a tap as a fact: all documents of the user were released and recorded once.
    async fn tap_counts(&mut self, scene: &Scene, fact: &str, station: &str, user: &str) {
        let documents: Vec<_> = scene.server.world().waiting(user).map(|document| document.uuid.clone()).collect();
        let last = self.tap(station, &card_of(scene, user)).await;
        let counts: Vec<_> = documents.iter().map(|uuid| scene.counts(uuid)).collect();
        let found = format!("{} {} in {} ms", documents.len(), text(&last["event"]), last["duration_ms"]);
        self.fact(fact, found, last["event"] == "released" && counts.iter().all(|counts| *counts == (1, 1))).await;
    }

    /// Pulls a reader, plugs it in again, holds a card to it.
    async fn pull_and_plug(&mut self, scene: &Scene, station: &'static str, user: &str) {
        let reader = |status: &Value| text(&status["stations"][station]["reader"]).to_owned();
        let (device, other) = if station == "lobby" { ("serial", "desk") } else { ("keyboard", "lobby") };
        self.machine.pull(device).await;
        let status = self.status(|status| reader(status) == "disconnected").await;
        let phases = [station, other].map(|name| text(&status["stations"][name]["phase"]).to_owned());
        let found = format!("{station}: {}, {other}: {}", phases[0], phases[1]);
        self.fact(
            &format!("the {device} reader is pulled: told, the other goes on"),
            found,
            phases == ["fault", "ready"],
        )
        .await;
        match device {
            "serial" => self.machine.plug_serial().await,
            _ => self.machine.plug_keyboard().await,
        }
        let status = self.status(|status| reader(status) == "connected").await;
        self.fact(&format!("the {device} reader is plugged in again"), reader(&status), reader(&status) == "connected")
            .await;
        scene.submit(user, &format!("After the {device} reader was away.pdf"));
        self.tap_counts(scene, &format!("a card at the {device} reader that came back"), station, user).await;
    }

    /// The time that the program took from its start to its readiness, by the service manager.
    async fn ready_after(&mut self) -> String {
        let times = "ActiveEnterTimestampMonotonic --property ExecMainStartTimestampMonotonic";
        let times: Vec<i64> = self.property(times).await.split_whitespace().flat_map(str::parse).collect();
        let took = times.iter().max().zip(times.iter().min()).map(|(ready, start)| (ready - start) / 1000);
        format!("ready {} ms after its start", took.unwrap_or(-1))
    }

    /// One line of the service manager's properties.
    async fn property(&mut self, name: &str) -> String {
        self.machine.output(&format!("systemctl show --value --property {name} {UNIT}")).await
    }
}

fn card_of(scene: &Scene, user: &str) -> String {
    scene.server.world().user(user).unwrap().cards[0].clone()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("?")
}

/// Makes the disk that the box starts with, and the stick that the technician brings, with the package and the server's CA.
fn outfit(scene: &Scene, authority: &Authority, image: &Path, package: &Path) -> (PathBuf, PathBuf) {
    let (disk, stick) = (scene.dir().join("disk"), scene.dir().join("stick"));
    std::fs::copy(image.join("disk.ext4"), &disk).expect("tests/box/image has made the disk");
    let brought = scene.dir().join("brought");
    std::fs::create_dir(&brought).unwrap();
    std::fs::copy(package, brought.join(package.file_name().unwrap())).expect("cross/package has made the package");
    std::fs::write(brought.join("ca.pem"), authority.pem()).unwrap();
    let mut make = Command::new("mke2fs");
    let made = make.args(["-q", "-t", "ext4", "-d"]).args([&brought, &stick]).arg("24M").stdout(Stdio::null()).status();
    assert!(made.unwrap().success());
    (disk, stick)
}

/// Prints one line about the program's user and rights, as the kernel has them.
const CREDENTIALS: &str = "awk '/^(Uid|CapEff|NoNewPrivs|Seccomp):/ { print $1 $2 }' /proc/$PID/status | tr '\\n' ' '";

/// Prints resident kB, wake-ups of all threads, and bytes written to the disk.
const USED: &str = "awk '/^VmRSS/ { rss = $2 } /^write_bytes/ { written = $2 } /^voluntary/ { woken += $2 }
    END { print rss, woken, written }' /proc/$PID/task/*/status /proc/$PID/io";

#[tokio::test]
#[ignore = "takes minutes and the disk of tests/box/image: tests/run box"]
async fn a_whole_box_installs_taps_loses_its_readers_and_its_power_and_accounts_for_every_document() {
    let _limit = limit_of(2 * NEVER);
    let authority = Authority::new();
    let server = PrintServer::start_tls(Options::default(), authority.server(false).0).await.unwrap();
    let scene = Scene::set_with(program(), server).unwrap();
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("target");
    let (architecture, package) = board();
    let image = target.join("box").join(architecture);
    let broker = Mosquitto::start("allow_anonymous true");
    let (disk, stick) = outfit(&scene, &authority, &image, &target.join("cross").join(&package));
    let on = async |console: &str| Emulator::power_on(architecture, &image, &disk, &stick, &image.join(console)).await;
    println!("{package}");
    println!("{:>4} {:>8}  {:<5}  {:<62}  found", "boot", "guest s", "holds", "fact");

    let mut appliance = Appliance { machine: on("console-1.log").await, boots: 1, untrue: Vec::new() };
    switch_on(&mut appliance).await;
    readme::install(&mut appliance, &scene, &broker, &package).await;
    works(&mut appliance, &scene).await;
    confined(&mut appliance).await;
    readme::watch(&mut appliance, &scene).await;
    readme::learn(&mut appliance).await;
    use_readers(&mut appliance, &scene).await;
    idle(&mut appliance).await;
    learn_the_time(&mut appliance).await;
    let cut = interrupt(&mut appliance, &scene).await;

    let Appliance { machine, untrue, .. } = appliance;
    machine.power_cut().await;
    scene.server.world().faults.clear();
    let mut appliance = Appliance { machine: on("console-2.log").await, boots: 2, untrue };
    come_back(&mut appliance, &scene, &cut).await;
    account(&mut appliance, &scene).await;
    readme::enroll(&mut appliance, &scene).await;
    stop(&mut appliance).await;
    let Appliance { machine, untrue, .. } = appliance;
    machine.power_off().await;
    assert!(untrue.is_empty(), "these facts do not hold: {untrue:#?}");
}

/// Waits until Debian is up.
async fn switch_on(appliance: &mut Appliance) {
    let state = appliance.machine.run("systemctl is-system-running --wait").await.1;
    let system = appliance.machine.output(". /etc/os-release; echo $PRETTY_NAME, Linux $(uname -rm), systemd: ").await;
    appliance.fact("the box is up", format!("{system}{state}"), state == "running").await;
    let clock = appliance.machine.output("date -u +%F").await;
    appliance.note("its clock, without a battery, as systemd sets it", clock).await;
}

/// Looks at the agent's status before the first card.
async fn works(appliance: &mut Appliance, scene: &Scene) {
    let well = |status: &Value| {
        let readers = ["lobby", "desk"].map(|station| status["stations"][station]["phase"] == "ready");
        readers == [true, true] && status["server"]["reachable"] == true
    };
    let status = appliance.status(well).await;
    appliance.fact("it reaches its server over TLS and both its readers", "both stations ready", well(&status)).await;
    let status = appliance.status(|status| status["time_uncertain"] == true).await;
    let uncertain = &status["time_uncertain"];
    appliance.fact("its clock is not the server's: the time is uncertain", uncertain, *uncertain == true).await;
    assert!(scene.server.world().releases.is_empty());
}

/// Looks at the unit's limits, as the kernel and systemd have them.
async fn confined(appliance: &mut Appliance) {
    let credentials = appliance.machine.output(&with_pid(CREDENTIALS)).await;
    let holds = !credentials.contains("Uid:0")
        && ["CapEff:0000000000000000", "NoNewPrivs:1", "Seccomp:2"].iter().all(|line| credentials.contains(line));
    appliance.fact("no user's rights, no capabilities, few system calls", &credentials, holds).await;
    let told = appliance.machine.output(&format!("systemd-analyze security --no-pager {UNIT} | tail -n 1")).await;
    let level: f64 = told.split_whitespace().find_map(|word| word.parse().ok()).unwrap_or(10.0);
    appliance.fact("exposure, by systemd-analyze: at most 1.5", level, level <= 1.5).await;
}

async fn use_readers(appliance: &mut Appliance, scene: &Scene) {
    appliance.tap_counts(scene, "a card at the keyboard reader", "desk", "linus").await;
    appliance.pull_and_plug(scene, "lobby", "grace").await;
    appliance.pull_and_plug(scene, "desk", "linus").await;
}

/// Measures the box while nothing happens (docs/measures.md, "Bars").
async fn idle(appliance: &mut Appliance) {
    let used = appliance.machine.output(&with_pid(&format!("{USED}; sleep {IDLE_S}; {USED}"))).await;
    let used: Vec<u64> = used.split_whitespace().flat_map(str::parse).collect();
    let [_, woken, written, rss, woken_then, written_then] = used[..] else {
        panic!("six numbers: {used:?}");
    };
    let (woken, written) = (woken_then - woken, written_then - written);
    appliance.fact("resident memory: at most 12 MiB", format!("{rss} KiB"), rss <= 12 << 10).await;
    let found = format!("{woken} in {IDLE_S} s");
    appliance.fact("wake-ups when idle: at most 2 a second", found, woken <= 2 * IDLE_S).await;
    appliance.fact("written to the disk when idle: nothing", format!("{written} bytes"), written == 0).await;
}

/// Sets the box's clock; an orderly stop writes the time down.
async fn learn_the_time(appliance: &mut Appliance) {
    appliance.machine.output(&format!("date -u -s @{}", Timestamp::now().as_second())).await;
    let (code, _) = appliance.machine.run(&format!("systemctl restart {UNIT}")).await;
    let known = |status: &Value| status["time_uncertain"] == false && status["server"]["reachable"] == true;
    let status = appliance.status(known).await;
    let found = format!("{}, uncertain: {}", text(&status["time"]), status["time_uncertain"]);
    appliance.fact("it is told the time, and restarts", found, code == 0 && known(&status)).await;
}

/// Documents on their way when the power goes.
struct Cut {
    unrecorded: String,
    unanswered: String,
    unsent: String,
}

/// Brings three taps as far as they may get, each to another place, and no further.
async fn interrupt(appliance: &mut Appliance, scene: &Scene) -> Cut {
    let unrecorded = scene.submit("grace", "Printed, not recorded.pdf");
    scene.befall(Call::Record, usize::MAX, Kind::CutBefore);
    appliance.hold("lobby", &card_of(scene, "grace")).await;
    let waits = |status: &Value| status["outbox"]["pending"].as_u64().unwrap_or(0);
    let status = appliance.status(|status| waits(status) == 1).await;
    appliance.fact("the server takes no job record: it waits", waits(&status), waits(&status) == 1).await;

    let unanswered = scene.submit("ada", "Printed, not answered.pdf");
    // Her other documents are set aside for a tap after the cut.
    let others = set_aside(scene, "ada", &unanswered);
    scene.befall(Call::Release, 1, Kind::HangAfter);
    appliance.hold("lobby", &card_of(scene, "ada")).await;
    patiently(scene.server.wait_until(|world| world.times_released(&unanswered) == 1)).await;
    scene.server.world().documents.extend(others);

    let unsent = scene.submit("linus", "Asked for, not printed.pdf");
    scene.befall(Call::Release, 1, Kind::Delay(NEVER));
    let asked = scene.server.world().count(Call::Release);
    appliance.hold("desk", &card_of(scene, "linus")).await;
    patiently(scene.server.wait_until(|world| world.count(Call::Release) > asked)).await;
    appliance.note("the power is cut, in the middle of two releases", "").await;
    Cut { unrecorded, unanswered, unsent }
}

/// Takes a user's documents but one from the server.
fn set_aside(scene: &Scene, user: &str, but: &str) -> Vec<ServerDocument> {
    let mut world = scene.server.world();
    let documents = std::mem::take(&mut world.documents);
    let (aside, stay) = documents.into_iter().partition(|document| document.user_name == user && document.uuid != but);
    world.documents = stay;
    aside
}

/// Looks at the second start: nobody touches the box, and it tells what became of the three taps.
async fn come_back(appliance: &mut Appliance, scene: &Scene, cut: &Cut) {
    let state = appliance.machine.run("systemctl is-system-running --wait").await.1;
    appliance.fact("the box is up again", &state, state == "running").await;
    let told = appliance.machine.run("dmesg | grep 'EXT4-fs (vda): '").await.1;
    appliance.note("its file system", told.lines().next().unwrap_or_default()).await;
    let (active, ready) = (appliance.property("ActiveState").await, appliance.ready_after().await);
    appliance.fact("the agent has started by itself", ready, active == "active").await;

    let failed = |status: &Value| status["stations"]["desk"]["failed"].clone();
    let over = |status: &Value| status["outbox"]["pending"] == 0 && failed(status) == 1;
    let status = appliance.status(|status| over(status) && scene.counts(&cut.unanswered).1 == 1).await;
    let found = format!("{}, uncertain: {}", text(&status["time"]), status["time_uncertain"]);
    appliance.fact("it knows that its clock is behind", found, status["time_uncertain"] == true).await;

    for (fact, uuid, counts, outcome) in [
        ("printed and not recorded: its record is delivered", &cut.unrecorded, (1, 1), None),
        ("printed and not answered: told as accepted, and recorded", &cut.unanswered, (1, 1), Some("accepted")),
        ("asked for and not printed: told as failed, not printed now", &cut.unsent, (0, 0), Some("failed")),
    ] {
        let log = format!("journalctl --boot --output cat --no-pager --unit {UNIT} | grep 'ended.*{uuid}'");
        let told = appliance.machine.run(&log).await.1;
        let found = scene.counts(uuid);
        let as_told = outcome.is_none_or(|outcome| told.contains(outcome));
        let found_text = format!("released {}, recorded {}", found.0, found.1);
        appliance.fact(fact, found_text, found == counts && as_told).await;
    }
    appliance.tap_counts(scene, "its owner holds the card again", "desk", "linus").await;
    appliance.tap_counts(scene, "another's documents that waited all the time", "lobby", "ada").await;
}

/// Counts at the server, and looks at the journal and the log of the box at the end.
async fn account(appliance: &mut Appliance, scene: &Scene) {
    let uuids: Vec<_> = scene.server.world().documents.iter().map(|document| document.uuid.clone()).collect();
    let counts: Vec<_> = uuids.iter().map(|uuid| scene.counts(uuid)).collect();
    let releases = scene.server.world().releases.len();
    let records = scene.server.world().records.len();
    let found = format!("{} documents, {releases} releases, {records} job records", uuids.len());
    let once = counts.iter().all(|counts| *counts == (1, 1)) && (releases, records) == (uuids.len(), uuids.len());
    appliance.fact("at the server: each document released once, recorded once", found, once).await;

    let (code, printed) = appliance.machine.run("print-release-agent queue verify").await;
    appliance.fact("the journal is whole", printed.lines().next().unwrap_or_default(), code == 0).await;
    let cards: Vec<_> = scene.server.world().users.iter().flat_map(|user| user.cards.clone()).collect();
    let log = format!("journalctl --no-pager | grep --count -E '{}'", cards.join("|"));
    let lines = appliance.machine.run(&log).await.1;
    appliance.fact("lines of the box's log with a card number", &lines, lines == "0").await;
}

async fn stop(appliance: &mut Appliance) {
    let (code, _) = appliance.machine.run(&format!("systemctl stop {UNIT}")).await;
    let result = appliance.property("Result").await;
    appliance.fact("it stops in order", &result, code == 0 && result == "success").await;
}

/// A script with the agent's process id in `$PID`.
fn with_pid(script: &str) -> String {
    format!("PID=$(systemctl show --value --property MainPID {UNIT}); {script}")
}
