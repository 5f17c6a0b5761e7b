//! The parts of the package beside the program: manual, completions, configuration, unit, users. `tests/run package` tries the
//! package itself.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use print_release_agent::config::load;

use crate::support::{limit, program};

fn run(arguments: &[&str]) -> Output {
    Command::new(program()).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Lists the commands below `path` from the output of `--help`.
fn commands(path: &[String]) -> Vec<String> {
    let mut arguments: Vec<&str> = path.iter().map(String::as_str).collect();
    arguments.push("--help");
    let help = text(&run(&arguments).stdout);
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let names = listed.filter_map(|line| line.split_whitespace().next());
    names.filter(|name| *name != "help").map(str::to_owned).collect()
}

#[test]
fn every_command_has_a_page_and_its_parent_names_it() {
    let _limit = limit();
    let dir = tempfile::tempdir().unwrap();
    let pages = dir.path().join("man1");
    assert!(run(&["man", "--dir", pages.to_str().unwrap()]).status.success());
    let mut expected = BTreeSet::new();
    let mut paths = vec![Vec::new()];
    while let Some(path) = paths.pop() {
        let name = [&["print-release-agent".to_owned()], &path[..]].concat().join("-");
        let page = fs::read_to_string(pages.join(format!("{name}.1"))).unwrap();
        expected.insert(format!("{name}.1"));
        for command in commands(&path) {
            let named = format!("{name}-{command}").replace('-', "\\-");
            assert!(page.contains(&named), "{name}.1 does not name {command}");
            paths.push([&path[..], &[command]].concat());
        }
    }
    let written = fs::read_dir(&pages).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(written.collect::<BTreeSet<_>>(), expected);
    assert!(expected.len() > 10, "{expected:?}");
    assert_eq!(run(&["man"]).stdout, fs::read(pages.join("print-release-agent.1")).unwrap());
}

#[test]
fn pages_that_cannot_be_written_are_told_with_their_place() {
    let _limit = limit();
    let output = run(&["man", "--dir", "/dev/null/pages"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("/dev/null/pages"), "{}", text(&output.stderr));
}

#[test]
fn bash_completes_commands_of_both_levels() {
    let _limit = limit();
    let dir = tempfile::tempdir().unwrap();
    let script = dir.path().join("completions");
    fs::write(&script, run(&["completions", "bash"]).stdout).unwrap();
    for (typed, completed) in [("que", "queue"), ("queue ver", "verify"), ("completions zs", "zsh")] {
        // Bash completes in this way: it calls the function that the script registered.
        let ask = format!(
            "source {}; set -- $(complete -p print-release-agent); while [ \"$1\" != -F ]; do shift; done; asked=$2; \
             COMP_WORDS=(print-release-agent {typed}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
             $asked print-release-agent \"${{COMP_WORDS[-1]}}\" \"${{COMP_WORDS[-2]}}\"; echo \"${{COMPREPLY[@]}}\"",
            script.display()
        );
        let output = Command::new("bash").args(["-c", &ask]).output().unwrap();
        assert_eq!(text(&output.stdout).trim(), completed, "{}", text(&output.stderr));
    }
}

#[test]
fn completions_are_there_for_the_usual_shells_and_no_other() {
    let _limit = limit();
    for shell in ["bash", "zsh", "fish"] {
        let output = run(&["completions", shell]);
        assert!(output.status.success() && text(&output.stdout).contains("queue"), "{shell}");
    }
    assert_eq!(run(&["completions", "cmd"]).status.code(), Some(64));
}

#[test]
fn a_configuration_that_nobody_filled_in_ends_with_64_and_names_what_is_required() {
    let _limit = limit();
    let output = run(&["run", "--config", file("firmware-config/agent.toml").to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(64));
    let errors = text(&output.stderr);
    for key in ["[server] url", "api_key_file", "[station] name", "[station.reader] type", "output_port"] {
        assert!(errors.contains(key), "{key} in\n{errors}");
    }
}

#[test]
fn on_the_command_line_a_credential_is_the_file_beside_the_configuration() {
    let _limit = limit();
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("agent.toml");
    let minimal = "[server]\nurl = \"https://print.example.com/api/v1\"\napi_key_file = \"credential:api-key\"\n\
                   [[station]]\nname = \"lobby\"\n[station.printer]\noutput_port = \"192.0.2.10\"\n\
                   [station.reader]\ntype = \"tcp\"\nlisten = \"127.0.0.1:7001\"\n";
    fs::write(&config, minimal).unwrap();
    assert!(load(&config).unwrap_err().to_string().contains("api_key_file"));
    let key = dir.path().join("api-key");
    fs::write(&key, "the key\n").unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
    assert!(load(&config).unwrap_err().to_string().contains("chmod 600"));
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(load(&config).unwrap().server.api_key.expose(), "the key");
}

#[test]
fn the_group_of_the_udev_rules_is_the_one_that_the_agents_user_is_in() {
    let _limit = limit();
    let users = read("systemd/print-release-agent.sysusers");
    assert!(users.lines().any(|line| line == "m print-release-agent cardreader"), "{users}");
    let rules = read("firmware-config/udev/70-print-release-readers.rules");
    let groups: Vec<_> = rules.match_indices("GROUP=\"").map(|(at, found)| &rules[at + found.len()..]).collect();
    assert!(!groups.is_empty() && groups.iter().all(|group| group.starts_with("cardreader\"")));
    assert!(read("firmware-config/udev/70-print-release-leds.rules").contains("/bin/chgrp cardreader "));
}

#[test]
fn the_leds_that_the_unit_opens_are_those_of_the_udev_rule_the_example_and_the_boot_settings() {
    let _limit = limit();
    for name in ["print-release-green", "print-release-red"] {
        assert!(read("systemd/print-release-agent.service").contains(&format!("/sys/class/leds/{name}")));
        assert!(read("firmware-config/udev/70-print-release-leds.rules").contains(name));
        assert!(read("firmware-config/box/config.txt").contains(&format!("label={name}")));
    }
    assert!(read("firmware-config/agent.toml").contains("/sys/class/leds/print-release-green"));
}

fn file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn read(path: &str) -> String {
    fs::read_to_string(file(path)).unwrap()
}
