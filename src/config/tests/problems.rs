//! Problems: all of them at once, each at its place, none with a secret.

use std::path::Path;

use proptest::prelude::*;
use toml::Value;

use super::{SHIPPED, SMALLEST, Site, keys::shipped_keys, problems};
use crate::config::load;

#[test]
fn two_mistakes_are_told_at_once_with_line_and_column() {
    let text = "[server]\nurl = \"https://print.example.com:7300\"\napi_key_file = \"credential:api-key\"\n\n\
                [[station]]\nname = \"lobby\"\n[station.reader]\ntype = \"serial\"\ndevice = \"/dev/ttyUSB0\"\n  \
                debounce =  2\n[station.printer]\noutput_port = \"192.0.2.10\"\n";
    let lines = problems(Site::new().parse(text));
    assert_eq!(lines.len(), 2, "{lines:#?}");
    assert_eq!(
        lines[0],
        "agent.toml:2:7: [server] url: must end in /api/v1 (for example https://print.example.com:7300/api/v1)"
    );
    assert!(lines[1].starts_with("agent.toml:10:15: [station.reader] debounce: must be a duration"), "{}", lines[1]);
}

#[test]
fn an_empty_file_lacks_everything_that_is_required() {
    assert_eq!(
        problems(Site::new().parse("")),
        [
            "agent.toml:1:1: [server] url: is required",
            "agent.toml:1:1: [server] api_key_file: is required, a file with the API key of the server",
            "agent.toml:1:1: station: must be there 1 to 32 times, each as [[station]]",
        ]
    );
}

#[test]
fn a_missing_key_is_told_at_the_header_of_its_table() {
    let this = Site::new();
    let text = this.smallest().replace("output_port = \"192.0.2.10\"\n", "");
    let header = 1 + text.lines().position(|line| line == "[station.printer]").expect("a header");
    let expected = format!("agent.toml:{header}:1: [station.printer] output_port: is required");
    assert_eq!(problems(this.parse(&text)), [expected]);
}

#[test]
fn an_unknown_key_is_refused_in_every_table_at_its_place() {
    let this = Site::new();
    for table in shipped_keys().into_keys() {
        let lines = this.problems_with(&[(&table, "qqqqqqqq", 1.into())]);
        let [line] = &lines[..] else { panic!("[{table}]: {lines:#?}") };
        assert!(line.ends_with("qqqqqqqq: unknown key"), "{line}");
    }
    let text = format!("colour = 1\n{}", this.smallest());
    assert_eq!(problems(this.parse(&text)), ["agent.toml:1:1: colour: unknown key"]);
}

#[test]
fn an_unknown_key_comes_with_the_one_that_was_meant() {
    let this = Site::new();
    for (table, key, expected) in [
        ("server", "api_key_fil", "did you mean \"api_key_file\"?"),
        ("server", "devcie", "did you mean \"device\"?"),
        ("", "sever", "did you mean \"server\"?"),
        ("station", "output_port", "it belongs to [station.printer]"),
        ("agent", "level", "it belongs to [log]"),
    ] {
        let lines = this.problems_with(&[(table, key, 1.into())]);
        assert!(lines[0].ends_with(&format!("{key}: unknown key; {expected}")), "{lines:#?}");
    }
}

#[test]
fn stations_have_different_names_and_double_brackets() {
    let this = Site::new();
    let station = SMALLEST.split("\n\n").nth(1).expect("a station");
    let text = format!("{}\n{station}\n", this.smallest());
    let [line] = &problems(this.parse(&text))[..] else { panic!("one problem") };
    let name = 2 + text.lines().count() - station.lines().count();
    assert_eq!(line, &format!("agent.toml:{name}:8: [station] name: is the name of another station too"));

    let text = this.smallest().replace("[[station]]", "[station]");
    assert!(problems(this.parse(&text))[0].contains("each as [[station]]"));
    let text = this.smallest() + &format!("\n{station}\n").repeat(32);
    assert!(problems(this.parse(&text))[0].contains("1 to 32 times"));
}

#[test]
fn broken_toml_is_told_beside_the_other_mistakes_and_hides_none() {
    let text = "[server]\nurl = https://print.example.com\nproxi = \"\"\n[log]\nlevel = \"loud\nformat = 7\n";
    let lines = problems(Site::new().parse(text));
    let places: Vec<_> = lines.iter().map(|line| line.split(": ").next().unwrap_or_default()).collect();
    // Two more are missing: the API key at the header of [server], and all of [[station]].
    let expected = ["1:1", "1:1", "2:7", "3:1", "5:14", "6:10"].map(|place| format!("agent.toml:{place}"));
    assert_eq!(places, expected, "{lines:#?}");
    assert!(lines[2].contains("in quotes") && lines[3].contains("did you mean \"proxy\"?"), "{lines:#?}");
}

#[test]
fn keys_that_broken_toml_may_have_swallowed_are_not_called_missing() {
    let this = Site::new();
    let text = this.smallest().replace("[[station]]", "[[station]");
    let lines = problems(this.parse(&text));
    assert!(!lines.iter().any(|line| line.contains("is required")), "{lines:#?}");
}

#[test]
fn a_problem_keeps_to_one_line_whatever_a_key_is_called() {
    let lines = Site::new().problems_with(&[("log", "le\nvel", 1.into())]);
    assert!(lines.len() == 1 && !lines[0].contains('\n'), "{lines:?}");
}

#[test]
fn no_problem_shows_a_value() {
    let this = Site::new();
    let secrets = ["hunter2", "/hunter2", "https://hunter2@h", "credential:../hunter2", "hunter2\nhunter2"];
    let values = secrets.iter().flat_map(|secret| [(*secret).into(), Value::Array(vec![(*secret).into()])]);
    let values: Vec<Value> = values.collect();
    for (table, keys) in shipped_keys() {
        // The messages for a conversion or a profile come from their own modules.
        for key in keys.iter().filter(|key| !["convert", "profile"].contains(&key.as_str())) {
            for value in &values {
                if let Err(problems) = this.with(&[(&table, key, value.clone())]) {
                    let shown = format!("{problems} {problems:?}");
                    assert!(!shown.contains("hunter2"), "[{table}] {key}: {shown}");
                }
            }
        }
    }
}

#[test]
fn a_file_that_cannot_be_read_is_a_problem() {
    let this = Site::new();
    let missing = this.directory.path().join("missing.toml");
    let problem = load(&missing).map(drop).expect_err("no file").to_string();
    assert!(problem.starts_with(&format!("{}: cannot be read: ", missing.display())), "{problem}");
    let problem = load(Path::new("/")).map(drop).expect_err("a directory").to_string();
    assert_eq!(problem, "/: is not a regular file");
}

#[test]
fn a_file_is_loaded_with_the_name_of_this_host_where_no_id_is_set() {
    let this = Site::new();
    let path = this.file("agent.toml", &format!("[agent]\nid = \"box-7\"\n{}", this.smallest()), 0o644);
    assert_eq!(load(Path::new(&path)).expect("a good file").agent.id, "box-7");
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in any::<String>()) {
        let _ = Site::new().parse(&text);
    }

    #[test]
    fn no_damage_to_a_file_makes_the_parser_panic(
        at in 0..SHIPPED.len(),
        length in 0_usize..40,
        patch in "[\\[\\]{}=\"'.,#a\\\\\n 0-9]{0,12}",
    ) {
        let mut bytes = SHIPPED.as_bytes().to_vec();
        let end = (at + length).min(bytes.len());
        bytes.splice(at..end, patch.into_bytes());
        prop_assert!(Site::new().parse(&String::from_utf8_lossy(&bytes)).is_err());
    }
}
