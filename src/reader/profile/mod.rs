//! The profile of a reader model, as data: how its bytes become reads, and how it is spoken to. Profiles are the files of
//! `firmware-config/readers/`, which are built in, or a file of the technician's own. `line.toml` there explains every key.

mod format;
mod limits;
mod pattern;

use std::path::Path;

use serde::Deserialize;

pub use format::{Bytes, Check, FrameFormat, Length, PollFormat, SignalFormat};
pub use pattern::Pattern;

macro_rules! built_in {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../../firmware-config/readers/", $name, ".toml")))),*]
    };
}

/// The profiles that come with the program, each with its name and its text.
pub const BUILT_IN: &[(&str, &str)] = built_in![
    "line",
    "acr122u",
    "aeg-id",
    "brady-wavepoint",
    "codatex",
    "em18",
    "gwiot-7941e",
    "gwiot-7941w",
    "id-12la",
    "idteck-rfk101",
    "keyboard",
    "keyboard-no-enter",
    "parallax",
    "pn532",
    "promag-mf7",
    "rdm6300",
    "rfideas-acp",
    "rfideas-cdc",
    "twn4-simple",
];

/// Why a profile cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// The name is neither that of a built-in profile nor the path of a file.
    #[error("find profile {name:?}: built in are {known}; or give the path of a file")]
    Unknown {
        /// The name from the configuration.
        name: String,
        /// The names of the built-in profiles.
        known: String,
    },
    /// The file is not a valid profile.
    #[error("read profile {name:?}: {detail}")]
    Invalid {
        /// The path from the configuration.
        name: String,
        /// The mistake, with its line if it has one.
        detail: String,
    },
}

/// The description of one reader model.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// The name of the model, for people.
    pub description: String,
    /// The speed at which the reader leaves its factory, in bits a second.
    pub baud: Option<u32>,
    /// The shape of a read among the reader's bytes.
    pub frame: FrameFormat,
    /// The polls of a reader that has to be asked for cards.
    pub poll: Option<PollFormat>,
    /// The commands for the reader's own light and beep.
    pub signal: Option<SignalFormat>,
}

/// Loads the built-in profile of this name, or else the file at this path.
///
/// # Errors
/// There is no such profile, or its file is wrong. The error stays until somebody corrects the configuration or the file.
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
    profile.check()?;
    Ok(profile)
}

#[cfg(test)]
mod tests;
