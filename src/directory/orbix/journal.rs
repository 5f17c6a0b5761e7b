//! The people whom the server has taken, in a file beside the one that was pushed (docs/directory.md, "Orbix").
//!
//! A line is appended and synced after each acknowledgement and before the next request. A kill can leave a part of a line at the
//! end, which the next push cuts off: those people are sent again, which does no harm. The file holds hashes and no names.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use super::people::OrbixPerson;
use crate::directory::DirectoryError;
use crate::directory::lock::try_lock;
use crate::durable;

/// The form of a line.
const VERSION: u32 = 1;

/// The largest journal that is read: ten million people.
const SIZE_LIMIT: u64 = 1 << 30;

#[derive(Serialize, Deserialize)]
struct JournalLine {
    version: u32,
    /// The hash of each person's place (service, customer, group, user), and that of the data that were sent.
    done: Vec<(String, String)>,
}

/// The people whom the server took, with their data.
#[derive(Debug, Default)]
pub struct TakenPeople {
    /// The service and the customer; a file may be pushed to several.
    service: String,
    taken: BTreeMap<String, String>,
    /// The bytes of whole lines.
    length: u64,
}

impl TakenPeople {
    /// Reads the journal at `path`, and makes none.
    ///
    /// # Errors
    /// It is there and cannot be read.
    pub fn read(path: &Path, service: &str) -> Result<Self, DirectoryError> {
        let mut text = Vec::new();
        match File::open(path) {
            Ok(file) => {
                let read = file.take(SIZE_LIMIT).read_to_end(&mut text);
                read.map_err(|error| DirectoryError::disk(path, &error))?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(DirectoryError::disk(path, &error)),
        }
        Ok(Self::of(&text, service))
    }

    /// A line that cannot be read counts as none.
    fn of(text: &[u8], service: &str) -> Self {
        let mut taken = BTreeMap::new();
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        for line in text[..whole].split(|byte| *byte == b'\n') {
            if let Ok(JournalLine { version: VERSION, done }) = serde_json::from_slice(line) {
                taken.extend(done);
            }
        }
        Self { service: service.to_owned(), taken, length: u64::try_from(whole).unwrap_or(0) }
    }

    /// Whether the server has taken this person with these data.
    pub fn has(&self, person: &OrbixPerson) -> bool {
        self.taken.get(&self.place(person)).is_some_and(|data| *data == data_hash(person))
    }

    fn place(&self, person: &OrbixPerson) -> String {
        hash(&[&self.service, &person.group, &person.domain, &person.logon])
    }
}

fn data_hash(person: &OrbixPerson) -> String {
    hash(&[&person.description, &person.name, &person.email])
}

/// 128 bits of a hash of texts, none of which has a zero byte in it.
fn hash(parts: &[&str]) -> String {
    let hash = digest(&SHA256, parts.join("\0").as_bytes());
    hash.as_ref().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// The journal while one push writes it.
#[derive(Debug)]
pub struct PushJournal {
    path: PathBuf,
    file: File,
    /// The people taken so far.
    pub taken: TakenPeople,
}

impl PushJournal {
    /// Opens the journal at `path` for this push alone, or makes it.
    ///
    /// # Errors
    /// It cannot be written, or another push has it.
    pub fn open(path: PathBuf, service: &str) -> Result<Self, DirectoryError> {
        let disk = |error: io::Error| DirectoryError::disk(&path, &error);
        let options = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
        let mut file = options.map_err(disk)?;
        if !try_lock(&file).map_err(disk)? {
            let held = "push the file: another push of it is under way; let it end, or end it".to_owned();
            return Err(DirectoryError::Unfit(held));
        }
        let taken = TakenPeople::read(&path, service)?;
        file.set_len(taken.length).map_err(disk)?;
        file.seek(io::SeekFrom::End(0)).map_err(disk)?;
        durable::sync_names(&path).map_err(disk)?;
        Ok(Self { path, file, taken })
    }

    /// Notes people whom the server has taken. It is durable when this returns `Ok`.
    ///
    /// # Errors
    /// The disk does not take it.
    pub fn add<'a>(&mut self, people: impl Iterator<Item = &'a OrbixPerson>) -> Result<(), DirectoryError> {
        let done: Vec<_> = people.map(|person| (self.taken.place(person), data_hash(person))).collect();
        if done.is_empty() {
            return Ok(());
        }
        let mut line =
            serde_json::to_vec(&JournalLine { version: VERSION, done: done.clone() }).expect("hashes are always JSON");
        line.push(b'\n');
        let written = self.file.write_all(&line).and_then(|()| self.file.sync_data());
        written.map_err(|error| DirectoryError::disk(&self.path, &error))?;
        self.taken.taken.extend(done);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn person(logon: &str, email: &str) -> OrbixPerson {
        OrbixPerson {
            line: 2,
            group: "G".to_owned(),
            description: String::new(),
            logon: logon.to_owned(),
            domain: "NDD".to_owned(),
            name: String::new(),
            email: email.to_owned(),
        }
    }

    #[test]
    fn a_person_is_taken_with_the_last_data_that_were_sent() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("people.csv.journal");
        let (old, new) = (person("ana", "a@x"), person("ana", "b@x"));
        let mut journal = PushJournal::open(path.clone(), "here").unwrap();
        journal.add([&old].into_iter()).unwrap();
        assert!(journal.taken.has(&old) && !journal.taken.has(&new));
        drop(journal);
        let mut journal = PushJournal::open(path.clone(), "here").unwrap();
        journal.add([&new].into_iter()).unwrap();
        assert!(!journal.taken.has(&old) && journal.taken.has(&new), "the server has the new data only");
        assert!(!TakenPeople::read(&path, "elsewhere").unwrap().has(&new), "another customer's people are others");
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(!text.contains("ana") && !text.contains("b@x"), "{text}");
    }

    #[test]
    fn a_line_that_a_kill_cut_short_is_cut_off() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let mut journal = PushJournal::open(path.clone(), "here").unwrap();
        journal.add([&person("ana", "")].into_iter()).unwrap();
        let first = std::fs::read(&path).unwrap();
        journal.add([&person("bea", "")].into_iter()).unwrap();
        drop(journal);
        let both = std::fs::read(&path).unwrap();
        for cut in first.len()..both.len() {
            std::fs::write(&path, &both[..cut]).unwrap();
            let mut journal = PushJournal::open(path.clone(), "here").unwrap();
            assert!(journal.taken.has(&person("ana", "")) && !journal.taken.has(&person("bea", "")), "{cut}");
            journal.add([&person("bea", "")].into_iter()).unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), both, "{cut}");
        }
    }

    #[test]
    fn two_pushes_of_one_file_do_not_run_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let first = PushJournal::open(path.clone(), "here").unwrap();
        assert!(matches!(PushJournal::open(path.clone(), "here"), Err(DirectoryError::Unfit(_))));
        drop(first);
        assert!(PushJournal::open(path, "here").is_ok());
    }
}
