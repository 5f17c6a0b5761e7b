//! What a reader sends, as data: the files of `firmware-config/readers/`, built in, or a file of one's own.

use std::path::Path;
use std::time::Duration;

use serde::Deserialize;

/// The profiles that come with the program.
const BUILT_IN: [(&str, &str); 1] = [("line", include_str!("../../firmware-config/readers/line.toml"))];

/// The longest read that a profile may ask for.
const MAX_BYTES_LIMIT: usize = 1024;

/// The longest silence inside a read that a profile may allow.
const IDLE_LIMIT: Duration = Duration::from_secs(5);

/// Why there is no such profile.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// Neither built in nor a file.
    #[error("find profile {name:?}: built in are {known}; or give the path of a file")]
    Unknown {
        /// As configured.
        name: String,
        /// What there is.
        known: String,
    },
    /// The file does not say what a profile says.
    #[error("read profile {name:?}: {detail}")]
    Invalid {
        /// As configured.
        name: String,
        /// What is wrong, with its line.
        detail: String,
    },
}

/// How a reader's bytes become reads.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// For people.
    pub description: String,
    /// Where a read begins and ends.
    pub frame: FrameFormat,
}

/// Where a read begins and ends.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FrameFormat {
    /// Any of these characters ends a read.
    pub end: Vec<char>,
    /// A longer read is noise.
    pub max_bytes: usize,
    /// Milliseconds of silence after which half a read is dropped.
    pub idle_ms: u64,
}

impl FrameFormat {
    /// The silence after which half a read is dropped.
    pub fn idle(&self) -> Duration {
        Duration::from_millis(self.idle_ms)
    }
}

/// The profile of this name, or in the file of this path.
///
/// # Errors
/// Permanent until somebody mends the configuration or the file.
pub fn load(name: &str) -> Result<Profile, ProfileError> {
    let built_in = BUILT_IN.iter().find(|(known, _)| *known == name).map(|(_, text)| (*text).to_owned());
    let text = match built_in {
        Some(text) => text,
        None if Path::new(name).is_file() => std::fs::read_to_string(name)
            .map_err(|error| ProfileError::Invalid { name: name.to_owned(), detail: error.to_string() })?,
        None => {
            let known: Vec<_> = BUILT_IN.iter().map(|(known, _)| *known).collect();
            return Err(ProfileError::Unknown { name: name.to_owned(), known: known.join(", ") });
        }
    };
    parse(&text).map_err(|detail| ProfileError::Invalid { name: name.to_owned(), detail })
}

fn parse(text: &str) -> Result<Profile, String> {
    let profile: Profile = toml::from_str(text).map_err(|error| error.to_string())?;
    let frame = &profile.frame;
    if frame.end.is_empty() || !frame.end.iter().all(char::is_ascii) {
        return Err("frame.end must list at least one ASCII character".to_owned());
    }
    if !(1..=MAX_BYTES_LIMIT).contains(&frame.max_bytes) {
        return Err(format!("frame.max_bytes must be 1 to {MAX_BYTES_LIMIT}"));
    }
    if frame.idle().is_zero() || frame.idle() > IDLE_LIMIT {
        return Err(format!("frame.idle_ms must be 1 to {}", IDLE_LIMIT.as_millis()));
    }
    Ok(profile)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_profile_is_valid() {
        for (name, _) in BUILT_IN {
            load(name).unwrap();
        }
    }

    #[test]
    fn a_profile_of_ones_own_is_told_what_is_wrong_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mine.toml");
        let good = "description = 'x'\n[frame]\nend = ['\\r']\nmax_bytes = 9\nidle_ms = 5\n".replace('\'', "\"");
        std::fs::write(&path, good.replace("max_bytes = 9", "max_bytes = 0")).unwrap();
        let error = load(path.to_str().unwrap()).unwrap_err().to_string();
        assert!(error.contains("max_bytes must be 1 to 1024"), "{error}");
        std::fs::write(&path, good).unwrap();
        assert_eq!(load(path.to_str().unwrap()).unwrap().frame.max_bytes, 9);
    }

    #[test]
    fn an_unknown_profile_names_those_that_there_are() {
        assert!(load("lime").unwrap_err().to_string().contains("built in are line"));
    }
}
