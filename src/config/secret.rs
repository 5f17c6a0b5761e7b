//! Secrets: wiped from memory when dropped, never shown.
//!
//! A secret comes from a file that only its owner may read, from a systemd credential, or, with a warning,
//! from the configuration itself.

use std::fmt;

use super::{
    Environment,
    check::{Checked, text},
    file,
    section::Section,
};
use crate::domain::Secret;

/// A password, key or token, without the newline that editors put at its end.
fn line(text: &str) -> Checked<Secret> {
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err("must not be empty".to_owned()),
        line if line.contains(char::is_control) => Err("must be a single line without control characters".to_owned()),
        line => Ok(Secret::new(line)),
    }
}

/// A private key in PEM.
fn pem(text: &str) -> Checked<Secret> {
    match text.contains("PRIVATE KEY-----") {
        true => Ok(Secret::new(text)),
        false => Err("must be a private key in PEM".to_owned()),
    }
}

/// The secret that stands in the configuration as `inline` or, better, in the file that `file` names.
pub(super) fn secret(section: &mut Section<'_, '_>, inline: &'static str, file: &'static str) -> Option<Secret> {
    let here = section.optional(inline, text(line));
    let there = in_file(section, file, line);
    match (section.is_set(inline), section.is_set(file)) {
        (true, true) => section.problem(inline, &format!("cannot be set together with {file}")),
        (true, false) => section
            .warn(inline, &format!("is a secret in this file; a file of its own with mode 0600 is better: {file}")),
        _ => {}
    }
    here.or(there)
}

/// The fewest characters of a key that nobody can guess: 128 bits in hex.
const KEY_LENGTH: usize = 32;

/// The key in the systemd credential `name`, if this service has one. A problem with it is noted at `key`.
pub(super) fn credential(section: &mut Section<'_, '_>, name: &str, key: &'static str) -> Option<Secret> {
    let content = file::credential(name, section.env())?;
    let secret = content.and_then(|content| match line(&content)? {
        short if short.expose().len() < KEY_LENGTH => Err(format!("has fewer than {KEY_LENGTH} characters")),
        secret => Ok(secret),
    });
    secret.map_err(|why| section.problem(key, &format!("belongs to a credential {name} that {why}"))).ok()
}

/// The private key in the file that `key` names.
pub(super) fn private_key(section: &mut Section<'_, '_>, key: &'static str) -> Option<Secret> {
    in_file(section, key, pem)
}

/// A file with a secret that is read when it is needed, and not with the configuration.
#[derive(Clone)]
pub struct SecretFile {
    key: &'static str,
    place: String,
    env: Environment,
}

impl SecretFile {
    /// The file that `key` names; only the form of its name is checked.
    pub(super) fn named_by(section: &mut Section<'_, '_>, key: &'static str) -> Option<Self> {
        let env = section.env().clone();
        section.optional(key, text(|place| file::is_place(place).map(|()| Self { key, place: place.to_owned(), env })))
    }

    /// Reads the secret.
    ///
    /// # Errors
    /// The file cannot be used; the message names the key and shows nothing of the file.
    pub fn read(&self) -> Result<Secret, String> {
        let content = file::private(&self.place, &self.env);
        let secret =
            content.and_then(|content| line(&content).map_err(|why| format!("names a file whose content {why}")));
        secret.map_err(|why| format!("{}: {why}", self.key))
    }
}

/// The name may be a secret that stands in the wrong place.
impl fmt::Debug for SecretFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

fn in_file(section: &mut Section<'_, '_>, key: &'static str, form: fn(&str) -> Checked<Secret>) -> Option<Secret> {
    let env = section.env();
    section.optional(
        key,
        text(|place| {
            let content = file::private(place, env)?;
            form(&content).map_err(|why| format!("names a file whose content {why}"))
        }),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_does_not_show_a_secret() {
        let secret = line("hunter2").expect("a secret");
        assert_eq!(format!("{:?} {:#?}", secret, Some(&secret)), "*** Some(\n    ***,\n)");
        assert_eq!(secret.expose(), "hunter2");
    }

    #[test]
    fn the_newline_of_an_editor_is_no_part_of_a_secret() {
        for text in ["abc", "abc\n", "abc\r\n"] {
            assert_eq!(line(text).expect("a secret").expose(), "abc");
        }
        assert_eq!(line(" a b ").expect("a secret").expose(), " a b ");
    }

    #[test]
    fn empty_and_many_lines_are_no_secret_and_stay_untold() {
        for text in ["", "\n", "abc\ndef\n", "abc\tdef"] {
            let refusal = line(text).expect_err(text);
            assert!(!refusal.contains("abc"), "{refusal}");
        }
        assert!(pem("-----BEGIN CERTIFICATE-----").is_err());
    }
}
