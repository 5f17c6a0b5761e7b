//! `[mqtt]`: the broker that the operator listens to.

use super::{
    Broker, Tls, address,
    check::{Checked, off_or, one_of, some, text},
    secret::secret,
    section::Section,
};
use crate::domain::Secret;

/// Longest prefix of a topic: the whole topic may have 65,535 bytes, and no dashboard shows so many.
const MAX_TOPIC: usize = 256;

/// The broker, and the topics and names of the messages to it.
#[derive(Clone, Debug)]
pub struct MqttConfig {
    pub(crate) broker: Broker,
    /// Its user name for this box.
    pub(crate) username: Option<String>,
    /// Its password, only with a user name.
    pub(crate) password: Option<Secret>,
    /// Trust and identity; only with TLS.
    pub(crate) tls: Tls,
    pub(crate) topic: String,
    /// The prefix of Home Assistant's discovery topics, unless it is off.
    pub(crate) discovery: Option<String>,
    /// The form in which a user name appears.
    pub(crate) users: UserNamePolicy,
}

/// `mqtt.users`: user names in messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserNamePolicy {
    /// Names appear as the server has them.
    Plain,
    /// A keyed hash stands in: the same person looks the same, without a name.
    Hash,
    /// Messages have no name.
    Omit,
}

impl MqttConfig {
    /// `None` when it is switched off; its other keys are checked all the same.
    pub(super) fn read(section: &mut Section<'_, '_>) -> Option<Self> {
        let users = [("plain", UserNamePolicy::Plain), ("hash", UserNamePolicy::Hash), ("omit", UserNamePolicy::Omit)];
        let broker = section.optional("url", text(address::broker));
        let username = section.optional("username", text(some));
        let password = secret(section, "password", "password_file");
        // MQTT 3.1.1, section 3.1.2.9: no password without a user name.
        if section.is_set("password") || section.is_set("password_file") {
            section.require("username", "is required with a password");
        }
        let tls = Tls::read(section, broker.as_ref().is_none_or(|broker| broker.tls));
        let topic = section.get("topic", "print-release".to_owned(), text(topic_prefix));
        let discovery = Some("homeassistant".to_owned());
        let discovery = section.get("discovery", discovery, off_or(text(topic_prefix)));
        let users = section.get("users", UserNamePolicy::Hash, one_of(&users));
        Some(Self { broker: broker?, username, password, tls, topic, discovery, users })
    }
}

/// The beginning of a topic that is published (MQTT 3.1.1, section 4.7: no wildcards).
fn topic_prefix(text: &str) -> Checked<String> {
    let fits = (1..=MAX_TOPIC).contains(&text.len()) && !text.contains(['+', '#']);
    match fits && !text.starts_with(['/', '$']) && !text.ends_with('/') {
        true => Ok(text.to_owned()),
        false => Err(format!(
            "must be a topic of 1 to {MAX_TOPIC} bytes without + or #, without / at either end, \
             not beginning with $"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_prefix_can_be_published_under() {
        for good in ["print-release", "site/floor 2/print"] {
            assert!(topic_prefix(good).is_ok(), "{good}");
        }
        let long = "t".repeat(MAX_TOPIC + 1);
        for bad in ["", "a/+", "#", "/a", "a/", "$SYS", long.as_str()] {
            assert!(topic_prefix(bad).is_err(), "{bad}");
        }
    }
}
