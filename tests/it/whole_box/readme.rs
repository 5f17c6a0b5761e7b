//! "Install on a Raspberry Pi" of README.md: each step as it is written there. The box's own names replace those of the examples.

use print_release_agent::demo::scene::Scene;
use print_release_agent::demo::server::{Call, OPEN_KEY, TRUSTED_KEY};

use super::{Appliance, KEYBOARD, SERIAL, STICK, UNIT, patiently, text};
use crate::support::mosquitto::Mosquitto;

const README: &str = include_str!("../../../README.md");

/// The ids of qemu's devices; they have the form of the README's examples, `1234` and `5678`.
const SERIAL_USB: (&str, &str) = ("0403", "6001");
const KEYBOARD_USB: (&str, &str) = ("0627", "0001");

/// A reader that sends the card's bytes, where the server has them as a decimal number.
const LEARNED: [(&str, &str); 3] = [("04A2B3C4", "0077771716"), ("1234ABCD", "0305441741"), ("00FF00FF", "0016711935")];
const STEPS: &str = "hex2dec|pad-left(10,0)";

/// A command as README.md has it.
fn written(command: &'static str) -> &'static str {
    assert!(README.contains(&format!("`{command}`")), "README.md has no `{command}`");
    command
}

/// The block of this language in the section.
fn block(language: &str) -> String {
    let section = README.split("\n## Install on a Raspberry Pi\n").nth(1).expect("README.md has the section");
    let block = section.split(&format!("```{language}\n")).nth(1).and_then(|rest| rest.split("```").next());
    let lines = block.expect("the section has the block").lines();
    lines.map(|line| line.strip_prefix("   ").unwrap_or(line)).collect::<Vec<_>>().join("\n")
}

/// The smallest useful file, and three things that only this box needs: a server with a CA of its own, whose requests must not time
/// out before the power is cut in the middle of a release; a broker; a second station.
fn configuration(scene: &Scene, broker: &Mosquitto) -> String {
    let at = |url: String| url.replace("localhost", "demo.example");
    let (url, oauth_url, port) = (at(scene.server.url()), at(scene.server.oauth_url()), broker.port());
    let block = block("toml");
    let example = |key| block.lines().find(|line| line.starts_with(key)).expect("the block has this key");
    let server = format!(
        "[server]\noauth_url = \"{oauth_url}\"\nca_file = \"/etc/print-release-agent/ca.pem\"\nrequest_timeout = \"30s\""
    );
    let smallest = block
        .replace("[server]", &server)
        .replace(example("url = "), &format!("url = \"{url}\""))
        .replace(example("device = "), &format!("device = \"{SERIAL}\""));
    format!(
        r#"{smallest}
[[station]]
name = "desk"
[station.reader]
type = "hid"
device = "{KEYBOARD}"
profile = "keyboard"
[station.printer]
output_port = "192.0.2.10"
[mqtt]
url = "mqtt://demo.example:{port}"
"#
    )
}

/// Steps 1 to 7, as far as the agent's start.
pub(super) async fn install(appliance: &mut Appliance, scene: &Scene, broker: &Mosquitto, package: &str) {
    let command = written("apt install ./print-release-agent_0.1.0_arm64.deb");
    let command = command.replace("print-release-agent_0.1.0_arm64.deb", package);
    let (code, printed) = appliance.machine.run(&format!("mount {STICK} /mnt && cd /mnt && {command}")).await;
    let found = if code == 0 { &command } else { &printed };
    appliance.fact("1: the package installs, and asks for no other", found, code == 0).await;
    let active = appliance.property("ActiveState").await;
    appliance.fact("without a configuration it waits to be started", &active, active == "inactive").await;

    let listed = appliance.machine.output(written("print-release-agent readers list")).await;
    let ids = [SERIAL_USB, KEYBOARD_USB].map(|(vendor, product)| format!("{vendor}:{product}"));
    let missing: Vec<_> = [SERIAL, KEYBOARD, &ids[0], &ids[1]].into_iter().filter(|it| !listed.contains(it)).collect();
    appliance.fact("2: `readers list` has both readers", format!("missing: {missing:?}"), missing.is_empty()).await;

    for (file, (vendor, product)) in [("71-reader", SERIAL_USB), ("72-reader", KEYBOARD_USB)] {
        let rule = block("sh").replace("71-reader", file).replace("1234", vendor).replace("5678", product);
        appliance.machine.output(&rule).await;
    }
    let groups = format!("udevadm settle && stat --dereference --format %G {SERIAL} {KEYBOARD} | paste -sd ' '");
    let groups = appliance.machine.output(&groups).await;
    appliance.fact("3: by the rule the agent may open them", &groups, groups == "cardreader cardreader").await;

    let agent_toml = configuration(scene, broker);
    let fill_in = format!(
        "cp /mnt/ca.pem /etc/print-release-agent/ && cat >/etc/print-release-agent/agent.toml <<'TOML'\n{agent_toml}TOML\n"
    );
    appliance.machine.output(&fill_in).await;
    set_key(appliance, OPEN_KEY).await;
    let (code, printed) = appliance.machine.run(written("print-release-agent check")).await;
    let wrong: Vec<_> = printed.lines().filter(|line| line.starts_with("FAILED")).collect();
    let found = format!("{} lines, wrong: {wrong:?}", printed.lines().count());
    appliance.fact("6: `check` finds everything in order", found, code == 0).await;

    let (code, _) = appliance.machine.run(written("systemctl start print-release-agent")).await;
    let started = appliance.property("ActiveState").await;
    let log = format!("journalctl --no-pager --output cat --unit {UNIT}");
    let found = if code == 0 { appliance.ready_after().await } else { appliance.machine.run(&log).await.1 };
    appliance.fact("7: the agent starts", found, code == 0 && started == "active").await;
}

/// Step 5.
async fn set_key(appliance: &mut Appliance, key: &str) {
    let command = written("install -m 600 /dev/stdin /etc/print-release-agent/api-key");
    appliance.machine.output(&format!("{command} <<'KEY'\n{key}\nKEY\n")).await;
}

/// The rest of step 7: `readers watch` shows a card.
pub(super) async fn watch(appliance: &mut Appliance, scene: &Scene) {
    let command = written("print-release-agent readers watch");
    let watch = format!("{command} lobby >/run/watched 2>&1 & echo $! >/run/watcher");
    appliance.machine.output(&watch).await;
    appliance.wait_for("the agent runs", "/run/watched").await;
    appliance.tap_counts(scene, "a card at the serial reader", "lobby", "grace").await;
    let watched = appliance.machine.output("kill $(cat /run/watcher); cat /run/watched").await;
    let card = scene.server.world().user("grace").unwrap().cards[0].clone();
    let seen = watched.lines().any(|line| line.starts_with("read ") && line.ends_with(&card));
    appliance.fact("`readers watch`, beside the agent, shows the read", seen, seen).await;
}

/// Step 8: cards that the server knows by other numbers.
pub(super) async fn learn(appliance: &mut Appliance) {
    let numbers: String = LEARNED.map(|(_, number)| format!("{number}\\n")).concat();
    let command = written("print-release-agent readers learn");
    appliance.machine.output(&format!("printf '{numbers}' | {command} lobby >/run/learned 2>&1 &")).await;
    // After the last number there is nothing more to be typed, which ends it at the next card.
    for (card, read) in (1..).zip(LEARNED.map(|(read, _)| read).into_iter().chain(["0A0B0C0D"])) {
        appliance.wait_for(&format!("hold card {card} "), "/run/learned").await;
        appliance.tap("lobby", read).await;
    }
    appliance.wait_for("convert =", "/run/learned").await;
    let learned = appliance.machine.output("grep convert /run/learned").await;
    appliance.fact("8: `readers learn` finds the conversion", &learned, learned.contains(STEPS)).await;

    let pairs = LEARNED.map(|(read, number)| format!("{read}={number}")).join(" ");
    let command = written("card learn READ=NUMBER ...").replace("READ=NUMBER ...", &pairs);
    let (_, learned) = appliance.machine.run(&format!("print-release-agent {command}")).await;
    appliance.fact("`card learn` finds it too", STEPS, learned.contains(&format!("convert = \"{STEPS}\""))).await;
    let (read, number) = LEARNED[0];
    let command = written("card convert --with 'STEPS' READ").replace("STEPS", STEPS).replace("READ", read);
    let (_, converted) = appliance.machine.run(&format!("print-release-agent {command}")).await;
    appliance.fact("`card convert` shows what it does", &command, converted.contains(number)).await;
}

/// Step 9: another API key, which demands a trusted device.
pub(super) async fn enroll(appliance: &mut Appliance, scene: &Scene) {
    set_key(appliance, TRUSTED_KEY).await;
    let approved = async {
        patiently(scene.server.wait_until(|world| world.count(Call::Token) > 0)).await;
        assert!(scene.server.world().approve("box"), "the device has registered");
    };
    let ((code, printed), ()) = tokio::join!(appliance.machine.run(written("print-release-agent enroll")), approved);
    let found = printed.lines().last().unwrap_or_default().to_owned();
    appliance.fact("9: `enroll` makes it a trusted device", found, code == 0).await;

    let section = "printf '[server.device]\\nregister = true\\n' >>/etc/print-release-agent/agent.toml";
    appliance.machine.output(&format!("{section} && systemctl restart {UNIT}")).await;
    let status = appliance.status(|status| status["server"]["device"] == "trusted").await;
    let device = text(&status["server"]["device"]);
    appliance.fact("as which the agent goes on", device, device == "trusted").await;
    scene.submit("grace", "For a trusted device.pdf");
    appliance.tap_counts(scene, "a card at a trusted device", "lobby", "grace").await;
}
