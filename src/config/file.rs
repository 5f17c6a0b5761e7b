//! Finds and reads the files that a configuration names.
//!
//! A message says what is wrong with a file and never its name, because somebody may have pasted a secret in place of a
//! path. The line and column of the problem show which file is meant.

use std::{
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

use super::{
    Environment,
    check::{self, Checked},
};

/// Largest configuration: twice that of the most stations with every key and comment.
const MAX_CONFIGURATION: u64 = 256 << 10;

/// Largest public file: four times a bundle of every public trust anchor.
const MAX_PUBLIC: u64 = 1 << 20;

/// Largest secret: twice the PEM of an RSA key of 8,192 bits.
const MAX_SECRET: u64 = 16 << 10;

/// The prefix of a value that names a systemd credential.
const CREDENTIAL: &str = "credential:";

/// The permission bits of group and others.
const OTHERS: u32 = 0o077;

/// The readers that a file may be open to.
#[derive(Clone, Copy, PartialEq)]
enum FileReaders {
    Anyone,
    OwnerOnly,
}

/// Reads the public file that the configuration names as `place`.
pub(super) fn public(place: &str, env: &Environment) -> Checked<Vec<u8>> {
    let (path, _) = locate(place, env)?;
    let bytes = read(&path, MAX_PUBLIC, FileReaders::Anyone).map_err(named)?;
    Ok(bytes.to_vec())
}

/// Reads the secret file that the configuration names as `place`.
pub(super) fn private(place: &str, env: &Environment) -> Checked<Zeroizing<String>> {
    let (path, readers) = locate(place, env)?;
    let bytes = read(&path, MAX_SECRET, readers).map_err(named)?;
    utf8(&bytes).map_err(named)
}

/// Whether `place` has the form of a file's name. It does not look whether the file is there.
pub(super) fn is_place(place: &str) -> Checked<()> {
    match place.strip_prefix(CREDENTIAL) {
        Some(name) => plain_name(name),
        None => check::path(place).map(drop).map_err(|why| format!("{why}, or credential:NAME")),
    }
}

/// Reads the credential `name`, if there is one.
pub(super) fn credential(name: &str, env: &Environment) -> Option<Checked<Zeroizing<String>>> {
    let (path, readers) = of_credential(name, env);
    path.exists().then(|| utf8(&read(&path, MAX_SECRET, readers)?))
}

/// The file of a credential, and its allowed readers: systemd guards its own by their directory.
fn of_credential(name: &str, env: &Environment) -> (PathBuf, FileReaders) {
    match &env.credentials {
        Some(directory) => (directory.join(name), FileReaders::Anyone),
        None => (env.beside.join(name), FileReaders::OwnerOnly),
    }
}

/// Reads the configuration itself, which may hold secrets.
pub(super) fn configuration(path: &Path) -> Checked<Zeroizing<String>> {
    utf8(&read(path, MAX_CONFIGURATION, FileReaders::Anyone)?)
}

fn named(why: String) -> String {
    format!("names a file that {why}")
}

/// The path that `place` means, and the allowed readers if it is a secret.
fn locate(place: &str, env: &Environment) -> Checked<(PathBuf, FileReaders)> {
    let Some(name) = place.strip_prefix(CREDENTIAL) else {
        let path = check::path(place).map_err(|why| format!("{why}, or credential:NAME"))?;
        return Ok((path, FileReaders::OwnerOnly));
    };
    plain_name(name)?;
    let (path, readers) = of_credential(name, env);
    match (path.exists(), &env.credentials) {
        (true, _) => Ok((path, readers)),
        (false, Some(_)) => Err(format!("needs the credential {name}: the unit gives it with LoadCredential=")),
        (false, None) => {
            Err(format!("needs the credential {name}: outside its unit that is the file {}", path.display()))
        }
    }
}

/// The name of a credential does not leave its directory.
fn plain_name(name: &str) -> Checked<()> {
    match name.is_empty() || name.starts_with('.') || name.contains('/') {
        true => Err("must have the plain name of a credential after credential:".to_owned()),
        false => Ok(()),
    }
}

fn read(path: &Path, limit: u64, readers: FileReaders) -> Checked<Zeroizing<Vec<u8>>> {
    let unreadable = |error: io::Error| format!("cannot be read: {error}");
    // This is checked before the file is opened, because opening a pipe would wait for its writer.
    if !fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err("is not a regular file".to_owned());
    }
    let file = File::open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    if readers == FileReaders::OwnerOnly && metadata.permissions().mode() & OTHERS != 0 {
        return Err("is open to group or others: run chmod 600 on it".to_owned());
    }
    // Room for all of it from the start: a buffer that grows leaves copies of a secret behind.
    let room = usize::try_from(metadata.len().min(limit) + 1).unwrap_or_default();
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    let read = file.take(limit + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    match u64::try_from(read) {
        Ok(length) if length <= limit => Ok(bytes),
        _ => Err(format!("has more than {limit} bytes")),
    }
}

fn utf8(bytes: &[u8]) -> Checked<Zeroizing<String>> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(Zeroizing::new(text.to_owned())),
        Err(_) => Err("is not UTF-8 text".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    /// A directory with one file `name` of `mode`, and its path as a configuration has it.
    fn file(name: &str, content: &[u8], mode: u32) -> (TempDir, String) {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join(name);
        fs::write(&path, content).expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("a mode");
        let place = path.to_str().expect("a path").to_owned();
        (directory, place)
    }

    fn environment(credentials: Option<&Path>) -> Environment {
        Environment {
            hostname: String::new(),
            credentials: credentials.map(Path::to_owned),
            beside: PathBuf::from("/nonexistent"),
        }
    }

    #[test]
    fn a_secret_that_others_may_read_is_refused_with_the_cure() {
        for mode in [0o640, 0o604, 0o660, 0o610, 0o601, 0o644] {
            let (_directory, place) = file("key", b"secret", mode);
            let refusal = private(&place, &environment(None)).expect_err("an open file");
            assert!(refusal.contains("chmod 600"), "{mode:o}: {refusal}");
        }
        for mode in [0o600, 0o400] {
            let (_directory, place) = file("key", b"secret", mode);
            assert!(private(&place, &environment(None)).is_ok(), "{mode:o}");
        }
    }

    #[test]
    fn a_public_file_may_be_open_to_all() {
        let (_directory, place) = file("ca.pem", b"public", 0o644);
        assert_eq!(public(&place, &environment(None)).as_deref(), Ok(&b"public"[..]));
    }

    #[test]
    fn a_credential_is_read_from_the_directory_of_the_service() {
        let (directory, _) = file("api-key", b"secret", 0o440);
        let env = environment(Some(directory.path()));
        let secret = private("credential:api-key", &env).expect("a credential");
        assert_eq!(secret.as_str(), "secret");
        assert!(private("credential:other", &env).is_err());
    }

    #[test]
    fn without_a_service_a_credential_is_a_file_beside_the_configuration_and_its_owners_alone() {
        for (mode, expected) in [(0o600, Ok("secret")), (0o640, Err("chmod 600"))] {
            let (directory, _) = file("api-key", b"secret", mode);
            let env = Environment { beside: directory.path().to_owned(), ..environment(None) };
            match (private("credential:api-key", &env), expected) {
                (Ok(secret), Ok(expected)) => assert_eq!(secret.as_str(), expected),
                (Err(refusal), Err(expected)) => assert!(refusal.contains(expected), "{refusal}"),
                (got, _) => panic!("{mode:o}: {got:?}"),
            }
        }
    }

    #[test]
    fn a_credential_that_is_not_there_says_where_it_would_come_from() {
        let (directory, _) = file("api-key", b"secret", 0o600);
        let refusal = |env| private("credential:other", &env).expect_err("none");
        let (service, command) = (refusal(environment(Some(directory.path()))), refusal(environment(None)));
        assert!(service.contains("LoadCredential="), "{service}");
        assert!(command.contains("/nonexistent/other"), "{command}");
    }

    #[test]
    fn a_credential_name_does_not_leave_its_directory() {
        let (directory, _) = file("api-key", b"secret", 0o600);
        let env = environment(Some(&directory.path().join("inner")));
        for name in ["", ".", "..", "../api-key", "/etc/passwd", "a/b"] {
            let refusal = private(&format!("credential:{name}"), &env).expect_err(name);
            assert!(refusal.contains("plain name"), "{refusal}");
        }
    }

    #[test]
    fn what_is_no_readable_text_file_of_fair_size_is_refused() {
        let (directory, binary) = file("key", b"\xff\xfe", 0o600);
        let (_other, large) = file("key", &vec![b'a'; 1 + (16 << 10)], 0o600);
        let missing = directory.path().join("missing").display().to_string();
        let folder = directory.path().display().to_string();
        for (place, expected) in [
            (binary.as_str(), "not UTF-8"),
            (large.as_str(), "more than 16384 bytes"),
            (missing.as_str(), "cannot be read"),
            (folder.as_str(), "not a regular file"),
            ("relative", "starts with /"),
        ] {
            let refusal = private(place, &environment(None)).expect_err(expected);
            assert!(refusal.contains(expected), "{refusal}");
            assert!(!refusal.contains(place), "{refusal} tells the place");
        }
    }
}
