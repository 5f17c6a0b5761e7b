//! Checked values, and every kind of value that is refused.

use std::{num::NonZeroU16, time::Duration};

use toml::Value;

use super::{SMALLEST, Site, keys::shipped_keys};
use crate::config::{Endpoint, PrinterAddress, Transport, Via, not_built::NOT_BUILT};
use crate::domain::Duplex;

#[test]
fn the_smallest_useful_file_is_enough() {
    let this = Site::new();
    let config = this.parse(&this.smallest()).expect("the smallest file");
    assert_eq!(config.agent.id, "lobby-box");
    assert_eq!(config.server.url.as_str(), "https://print.example.com:7300/api/v1");
    assert_eq!(config.server.oauth_url.as_str(), "https://print.example.com:7400/oauth/v1");
    assert_eq!(config.server.api_key.expose(), "key-in-a-file");
    assert_eq!(config.server.connect_timeout, Duration::from_secs(3));
    assert_eq!(config.server.device.client_id, "lobby-box");
    let [station] = &config.stations[..] else { panic!("{} stations", config.stations.len()) };
    let device = "/dev/serial/by-id/usb-OEM_RFID_Device__COM_-if00".into();
    assert_eq!(station.reader.transport, Transport::Serial { device, baud: 9600 });
    assert_eq!(station.printer.output_port, "192.0.2.10");
    assert_eq!(station.release.copies, None);
    let broker = config.mqtt.expect("a broker").broker;
    assert_eq!((broker.endpoint.host.as_str(), broker.endpoint.port, broker.tls), ("broker.example.com", 1883, false));
    let http = config.http.expect("a page");
    assert_eq!((http.listen, http.hosts), (([127, 0, 0, 1], 8631).into(), Vec::new()));
    assert_eq!(config.warnings, Vec::<String>::new());
}

#[test]
fn a_line_has_the_rate_of_the_file_or_else_of_the_profile_or_else_the_usual_one() {
    let rate = |edits: &[(&str, &str, Value)]| {
        let config = Site::new().with(edits).expect("a serial line");
        let Transport::Serial { baud, .. } = config.stations[0].reader.transport else { panic!("it is serial") };
        (baud, config.warnings.len())
    };
    let (mf7, set) =
        (("station.reader", "profile", "promag-mf7".into()), |baud: Value| ("station.reader", "baud", baud));
    assert_eq!(rate(&[]), (9600, 0));
    assert_eq!(rate(std::slice::from_ref(&mf7)), (19200, 0));
    assert_eq!(rate(&[mf7.clone(), set("".into())]), (19200, 0), "as the shipped file has it");
    assert_eq!(
        rate(&[mf7, set(9600.into())]),
        (9600, 1),
        "somebody set the reader so, and is told that it is not usual"
    );
}

#[test]
fn empty_text_switches_off() {
    let config = Site::new()
        .with(&[("http", "listen", "".into()), ("mqtt", "url", "".into()), ("station.reader", "convert", "".into())])
        .expect("all off");
    assert!(config.http.is_none() && config.mqtt.is_none() && config.stations[0].reader.convert.is_none());
    let config = Site::new().with(&[("mqtt", "discovery", "".into())]).expect("no discovery");
    assert_eq!(config.mqtt.expect("a broker").discovery, None);
}

#[test]
fn set_values_arrive() {
    let config = Site::new()
        .with(&[
            ("agent", "id", "box-7".into()),
            ("server", "pin_sha256", vec!["0".repeat(64)].into()),
            ("station.release", "copies", 2.into()),
            ("station.release", "grayscale", true.into()),
            ("station.release", "duplex", "long-edge".into()),
            ("station.reader", "convert", "hex2dec".into()),
            ("log", "level", "debug".into()),
        ])
        .expect("good values");
    let station = &config.stations[0];
    assert_eq!((config.agent.id.as_str(), config.server.device.client_id.as_str()), ("box-7", "box-7"));
    assert_eq!(config.server.pins, [[0; 32]]);
    assert_eq!(station.release.copies, NonZeroU16::new(2));
    assert_eq!((station.release.grayscale, station.release.duplex), (Some(true), Some(Duplex::LongEdge)));
    assert_eq!((station.release.via, &station.printer.mac), (Via::Server, &None));
    assert_eq!(station.reader.convert, Some("hex2dec".parse().expect("a conversion")));
    assert_eq!(config.log.level, tracing::Level::DEBUG);
}

#[test]
fn every_key_refuses_a_value_of_a_wrong_type() {
    let this = Site::new();
    let date = Value::Datetime("1979-05-27".parse().expect("a date"));
    for (table, keys) in shipped_keys() {
        for key in keys {
            let lines = this.problems_with(&[(&table, &key, date.clone())]);
            let label = if table.is_empty() { format!(" {key}: ") } else { format!(" [{table}] {key}: ") };
            assert!(lines.iter().any(|line| line.contains(&label)), "{label}: {lines:?}");
        }
    }
}

#[test]
fn values_out_of_bounds_are_refused_with_what_is_expected() {
    let this = Site::new();
    let cases: [(&str, &str, Value, &str); 39] = [
        ("agent", "id", "Lobby Box".into(), "a-z, 0-9 and -"),
        ("agent", "state_dir", "state".into(), "starts with /"),
        ("agent", "control_socket", "".into(), "starts with /"),
        ("server", "url", "http://print.example.com/api/v1".into(), "https://"),
        ("server", "url", "https://print.example.com".into(), "must end in /api/v1"),
        ("server", "oauth_url", "https://print.example.com/".into(), "must end in /oauth/v1"),
        ("server", "pin_sha256", vec!["abc"].into(), "64 hex digits"),
        ("server", "pin_sha256", vec![7].into(), "pin 1 must be text"),
        ("server", "proxy", "socks5://h".into(), "http://proxy.example.com:3128"),
        ("server", "connect_timeout", "61s".into(), "\"100ms\" to \"1m\""),
        ("server", "request_timeout", 10.into(), "a duration in quotes"),
        ("server", "history_datetime", "true".into(), "without quotes"),
        ("station", "name", "Lobby".into(), "a-z, 0-9 and -"),
        ("station.reader", "type", "usb".into(), "\"serial\", \"hid\""),
        ("station.reader", "device", "ttyACM0".into(), "starts with /"),
        ("station.reader", "profile", "nonesuch".into(), "profile"),
        ("station.reader", "profile", "".into(), "must not be empty"),
        ("station.reader", "baud", 9601.into(), "9600"),
        ("station.reader", "debounce", "61s".into(), "\"0s\" to \"1m\""),
        ("station.reader", "convert", "hex3dec".into(), "no step has this name"),
        ("station.login", "method", "pin".into(), "\"card\""),
        ("station.printer", "output_port", "".into(), "is required"),
        ("station.printer", "output_port", "a\nb".into(), "control characters"),
        ("station.printer", "address", "lpd://printer".into(), "socket://printer:9100"),
        ("station.release", "limit", 201.into(), "1 to 200"),
        ("station.release", "parallel", 17.into(), "1 to 16"),
        ("station.release", "copies", 1000.into(), "0 to 999"),
        ("station.release", "grayscale", "yes".into(), "\"as-submitted\", \"true\", \"false\""),
        ("station.release", "deadline", "2h".into(), "\"1s\" to \"1h\""),
        ("outbox", "max_entries", 0.into(), "1 to 1000000"),
        ("outbox", "retry_max", "500ms".into(), "shorter than retry_min"),
        ("mqtt", "url", "http://broker".into(), "mqtt://"),
        ("mqtt", "topic", "a/#".into(), "without + or #"),
        ("http", "listen", "localhost".into(), "127.0.0.1:8631"),
        ("http", "hosts", "box".into(), "must be a list"),
        ("http", "hosts", vec!["box:80"].into(), "name 1 must be a host name"),
        ("http", "hosts", vec!["http://box"].into(), "name 1 must be a host name"),
        ("log", "level", "loud".into(), "\"info\""),
        ("log", "format", "".into(), "\"auto\""),
    ];
    for (table, key, value, expected) in cases {
        let lines = this.problems_with(&[(table, key, value)]);
        let [line] = &lines[..] else { panic!("{table} {key}: {lines:#?}") };
        assert!(line.contains(&format!("[{table}] {key}: ")) && line.contains(expected), "{line}");
    }
}

#[test]
fn what_is_not_built_says_so_when_it_is_switched_on() {
    let this = Site::new();
    for (table, key, words) in NOT_BUILT {
        for word in *words {
            let value = match *word {
                "true" => true.into(),
                "*" => "/sys/class/leds/green".into(),
                word => word.into(),
            };
            let lines = this.problems_with(&[(table, key, value)]);
            let label = format!("[{table}] {key}: ");
            let line = lines.iter().find(|line| line.contains(&label)).expect(&label);
            assert!(line.contains("not built yet"), "{line}");
        }
    }
}

#[test]
fn a_reader_needs_the_keys_of_its_type() {
    let this = Site::new();
    let cases: [(&[(&str, &str)], &str); 5] = [
        (&[("device", "")], "device: is required"),
        (&[("type", "tcp")], "listen: is required, or else connect"),
        (&[("type", "tcp"), ("listen", "127.0.0.1:1"), ("connect", "h:1")], "cannot be set together with listen"),
        (&[("type", "http")], "listen: is required"),
        (&[("type", "pcsc")], "reader_name: is required"),
    ];
    for (edits, expected) in cases {
        let edits: Vec<_> = edits.iter().map(|(key, value)| ("station.reader", *key, (*value).into())).collect();
        let lines = this.problems_with(&edits);
        assert!(lines.iter().any(|line| line.contains(expected)), "{expected}: {lines:#?}");
    }
}

#[test]
fn a_key_without_effect_is_told_and_does_no_harm() {
    let this = Site::new();
    let cases: [(&str, &str, Value, &str); 5] = [
        ("station.reader", "listen", "127.0.0.1:7001".into(), "is only used with type = \"tcp\" or \"http\""),
        ("station.reader", "connect", "reader:4001".into(), "is only used with type = \"tcp\""),
        ("station.reader", "reader_name", "ACR122U".into(), "is only used with type = \"pcsc\""),
        ("station.printer", "mac", "00:11:22:33:44:55".into(), "is only used with release.via"),
        ("station.printer", "address", "socket://printer".into(), "is only used with release.via"),
    ];
    for (table, key, value, expected) in cases {
        let warnings = this.with(&[(table, key, value)]).expect("it does no harm").warnings;
        let [warning] = &warnings[..] else { panic!("{table} {key}: {warnings:#?}") };
        assert!(warning.contains(&format!("[{table}] {key}: {expected}")), "{warning}");
    }
    let hid = [("station.reader", "type", "hid".into()), ("station.reader", "baud", 19200.into())];
    let warnings = this.with(&hid).expect("it does no harm").warnings;
    assert!(warnings.iter().any(|line| line.contains("baud: is only used with type = \"serial\"")), "{warnings:#?}");
}

#[test]
fn a_release_has_what_its_way_needs_at_the_printer() {
    let this = Site::new();
    let via = |word: &str| ("station.release", "via", word.into());
    for (way, expected) in [("card", "mac: is required"), ("download", "address: is required")] {
        let lines = this.problems_with(&[via(way)]);
        assert!(lines.iter().any(|line| line.contains(expected)), "{expected}: {lines:#?}");
    }
}

#[test]
fn addresses_are_taken_apart() {
    let this = Site::new();
    let config = this
        .with(&[
            ("mqtt", "url", "mqtts://broker.example.com".into()),
            ("server", "oauth_url", "https://login.example.com/oauth/v1".into()),
        ])
        .expect("good addresses");
    let broker = config.mqtt.expect("a broker").broker;
    assert_eq!((broker.endpoint.port, broker.tls), (8883, true));
    assert_eq!(config.server.oauth_url.as_str(), "https://login.example.com/oauth/v1");
    let socket = PrinterAddress::Socket(Endpoint { host: "printer".to_owned(), port: 9100 });
    assert_eq!(crate::config::address::printer("socket://printer"), Ok(socket));
}

#[test]
fn a_server_on_this_machine_may_be_plain_and_then_has_no_tls_settings() {
    let this = Site::new();
    let plain = ("server", "url", "http://127.0.0.1:8080/api/v1".into());
    let config = this.with(std::slice::from_ref(&plain)).expect("a plain server");
    assert_eq!(config.server.oauth_url.as_str(), "http://127.0.0.1:7400/oauth/v1");
    let ca = this.file("ca.pem", "-----BEGIN CERTIFICATE-----\n", 0o644);
    let pin = vec!["0".repeat(64)];
    let lines = this.problems_with(&[plain, ("server", "ca_file", ca.into()), ("server", "pin_sha256", pin.into())]);
    assert!(lines.len() == 2 && lines.iter().all(|line| line.contains("only used with")), "{lines:#?}");
}

#[test]
fn without_a_host_name_the_agent_needs_an_id() {
    let env = crate::config::Environment::default();
    let lines = super::problems(crate::config::parse(SMALLEST, "agent.toml".as_ref(), &env));
    assert!(lines[0].contains("[agent] id: is required"), "{lines:#?}");
}
