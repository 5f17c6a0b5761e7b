//! The MQTT topics (docs/operating.md, "MQTT topics") and Home Assistant's discovery messages (docs/operating.md, "Home
//! Assistant"). Pure.
//!
//! Invariant: names are `[a-z0-9-]`, as the configuration checks, so `_` and `/` keep them apart and no two stations of
//! any two agents share a topic or a `unique_id`.
//!
//! This module does not build a status; it only names the keys of one that Home Assistant shall show.

use serde_json::{Value, json};

/// The availability of a connected agent, and the word by which Home Assistant announces its start.
pub const ONLINE: &str = "online";
/// The availability of an agent that said goodbye or lost its link.
pub const OFFLINE: &str = "offline";

/// The sender's name in discovery messages (`origin` in Home Assistant's "MQTT", "Discovery payload").
const ORIGIN: &str = "print-release-agent";
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Every topic of one agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topics {
    /// The beginning of the agent's own topics: `<t>/<a>`.
    base: String,
    agent: String,
    /// Home Assistant's topic prefix; empty when discovery is off.
    discovery: String,
}

impl Topics {
    /// Takes the prefix of all topics, the agent's name and Home Assistant's prefix, which is empty for no discovery.
    pub fn new(prefix: &str, agent: &str, discovery: &str) -> Self {
        Self { base: format!("{prefix}/{agent}"), agent: agent.to_owned(), discovery: discovery.to_owned() }
    }

    /// The retained topic of [`ONLINE`] and [`OFFLINE`], and of the last will.
    pub fn availability(&self) -> String {
        format!("{}/availability", self.base)
    }

    /// The retained topic of the agent's status.
    pub fn status(&self) -> String {
        format!("{}/status", self.base)
    }

    /// The retained topic of one station's status.
    pub fn station_status(&self, station: &str) -> String {
        format!("{}/{station}/status", self.base)
    }

    /// The topic of one station's events, which are not retained.
    pub fn station_event(&self, station: &str) -> String {
        format!("{}/{station}/event", self.base)
    }

    /// The topic on which Home Assistant says [`ONLINE`] when it has started; `None` when discovery is off.
    pub fn discovery_status(&self) -> Option<String> {
        (!self.discovery.is_empty()).then(|| format!("{}/status", self.discovery))
    }

    /// The retained messages, topic and payload, that make Home Assistant show `station`; none when discovery is off.
    ///
    /// Each entity has a message of its own ("Single component discovery payload"), and all belong to one device. An empty
    /// payload on the same topics removes the entities again.
    pub fn discovery(&self, station: &str) -> Vec<(String, String)> {
        if self.discovery.is_empty() {
            return Vec::new();
        }
        let device = format!("{}_{station}", self.agent);
        entities()
            .into_iter()
            .map(|(component, what, mut config)| {
                let id = format!("{device}_{what}");
                config["unique_id"] = json!(id);
                config["state_topic"] = json!(self.station_status(station));
                config["value_template"] = json!(format!("{{{{ value_json.{what} }}}}"));
                // `online` and `offline` are Home Assistant's defaults, so its payloads need no keys.
                config["availability_topic"] = json!(self.availability());
                config["qos"] = json!(1);
                config["device"] = json!({
                    "identifiers": [device],
                    "name": format!("{} {station}", self.agent),
                    "model": "Print release station",
                    "sw_version": VERSION,
                });
                config["origin"] = json!({ "name": ORIGIN, "sw_version": VERSION });
                (format!("{}/{component}/{id}/config", self.discovery), config.to_string())
            })
            .collect()
    }
}

/// The entities of a station: each one's component, its key in the station's status, and its special settings.
///
/// An `enum` sensor names all its `options` and has no `state_class` ("MQTT Sensor"). With `total_increasing` Home Assistant
/// takes the step back to 0 at a restart for a new start ("Sensor entity", "Long-term statistics").
fn entities() -> [(&'static str, &'static str, Value); 6] {
    let counter = |name| json!({ "name": name, "state_class": "total_increasing" });
    [
        (
            "sensor",
            "phase",
            json!({ "name": "Phase", "device_class": "enum", "options": ["ready", "busy", "offline", "fault"] }),
        ),
        (
            "binary_sensor",
            "reader",
            json!({
                "name": "Reader", "device_class": "connectivity", "entity_category": "diagnostic",
                "payload_on": "connected", "payload_off": "disconnected",
            }),
        ),
        ("sensor", "printer", json!({ "name": "Printer", "entity_category": "diagnostic" })),
        ("sensor", "taps", counter("Taps")),
        ("sensor", "released", counter("Released documents")),
        ("sensor", "failed", counter("Failed documents")),
    ]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn topics() -> Topics {
        Topics::new("print-release", "lobby-box", "homeassistant")
    }

    /// Gives every discovery message of a station, as topic and parsed payload.
    fn discovered(topics: &Topics, station: &str) -> Vec<(String, Value)> {
        topics.discovery(station).into_iter().map(|(t, p)| (t, serde_json::from_str(&p).unwrap())).collect()
    }

    /// The station's status as docs/operating.md has it ("MQTT topics").
    fn status() -> Value {
        json!({ "phase": "ready", "reader": "connected", "printer": "ready", "taps": 0, "released": 0, "failed": 0 })
    }

    /// Takes the key out of `{{ value_json.KEY }}`.
    fn shown_key(config: &Value) -> &str {
        let template = config["value_template"].as_str().unwrap();
        template.strip_prefix("{{ value_json.").and_then(|rest| rest.strip_suffix(" }}")).unwrap()
    }

    #[test]
    fn the_topics_are_those_of_the_contract() {
        let topics = topics();
        assert_eq!(topics.availability(), "print-release/lobby-box/availability");
        assert_eq!(topics.status(), "print-release/lobby-box/status");
        assert_eq!(topics.station_status("lobby"), "print-release/lobby-box/lobby/status");
        assert_eq!(topics.station_event("lobby"), "print-release/lobby-box/lobby/event");
        assert_eq!(topics.discovery_status().unwrap(), "homeassistant/status");
    }

    #[test]
    fn every_value_of_the_station_status_is_an_entity_and_every_entity_shows_one() {
        let shown: BTreeSet<_> =
            discovered(&topics(), "lobby").iter().map(|(_, config)| shown_key(config).to_owned()).collect();
        let keys: BTreeSet<_> = status().as_object().unwrap().keys().cloned().collect();
        assert_eq!(shown, keys);
    }

    #[test]
    fn an_entity_reads_the_topics_that_the_agent_writes() {
        let topics = topics();
        for (_, config) in discovered(&topics, "lobby") {
            assert_eq!(config["state_topic"], topics.station_status("lobby"));
            assert_eq!(config["availability_topic"], topics.availability());
        }
    }

    #[test]
    fn a_discovery_topic_is_made_of_its_component_and_unique_id() {
        for (topic, config) in discovered(&topics(), "lobby") {
            let [prefix, component, id, last] = topic.split('/').collect::<Vec<_>>().try_into().unwrap();
            assert_eq!((prefix, last), ("homeassistant", "config"));
            assert!(["sensor", "binary_sensor"].contains(&component), "{component}");
            assert_eq!(config["unique_id"], id);
            assert_eq!(id, format!("lobby-box_lobby_{}", shown_key(&config)));
        }
    }

    #[test]
    fn the_states_that_home_assistant_is_told_include_those_that_are_sent() {
        let status = status();
        for (topic, config) in discovered(&topics(), "lobby") {
            let state = &status[shown_key(&config)];
            if let Some(options) = config["options"].as_array() {
                assert_eq!(config["device_class"], "enum");
                assert!(options.contains(state), "{options:?}");
            }
            if topic.contains("/binary_sensor/") {
                assert!([&config["payload_on"], &config["payload_off"]].contains(&state), "{config}");
            }
            assert_eq!(config["state_class"] == "total_increasing", state.is_number(), "{config}");
        }
    }

    #[test]
    fn the_entities_of_a_station_are_one_device_and_say_who_sent_them() {
        let discovered = discovered(&topics(), "lobby");
        for (_, config) in &discovered {
            assert_eq!(config["device"], discovered[0].1["device"]);
            assert_eq!(config["device"]["identifiers"], json!(["lobby-box_lobby"]));
            assert_eq!(config["origin"]["name"], "print-release-agent");
        }
    }

    #[test]
    fn without_a_prefix_there_is_no_discovery() {
        let topics = Topics::new("print-release", "lobby-box", "");
        assert_eq!(topics.discovery("lobby"), []);
        assert_eq!(topics.discovery_status(), None);
    }

    proptest! {
        #[test]
        fn the_names_can_be_read_back_from_every_topic(
            agent in "[a-z0-9-]{1,32}", station in "[a-z0-9-]{1,32}", prefix in "[a-z]{1,9}(/[a-z]{1,9})?",
        ) {
            let topics = Topics::new(&prefix, &agent, "homeassistant");
            for topic in [topics.station_status(&station), topics.station_event(&station)] {
                let parts: Vec<_> = topic.rsplitn(4, '/').collect();
                prop_assert_eq!(&parts[1..], [&station, &agent, &prefix]);
            }
            for (topic, _) in topics.discovery(&station) {
                let id = topic.split('/').nth(2).unwrap();
                prop_assert_eq!(id.split('_').take(2).collect::<Vec<_>>(), [&agent, &station]);
            }
        }
    }
}
