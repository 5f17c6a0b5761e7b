//! The one way to read a key.
//!
//! A [`ConfigFile`] is the parsed text and its problems; a [`Section`] is one of its tables. A section hands out each key
//! once, by name, with its check and its default beside it; a key that nobody took when the section ends is unknown. So a
//! key cannot be ignored, and the keys that the code reads are the keys that exist.
//!
//! After a problem the reading goes on with the default or with `None`, to find every other problem too. Such values
//! never get out: [`ConfigFile::verdict`] gives a result only when there is no problem.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use toml::de::{DeTable, DeValue};

use super::{
    Environment,
    check::{Checked, off_or, spelling},
    nearest::nearest,
    not_built,
    problems::{Notes, Position, Problems},
    syntax::Syntax,
};

/// Every table that was read, by name, with its keys.
pub(super) type KnownKeys = BTreeMap<String, BTreeSet<&'static str>>;

/// One configuration file while it is read.
pub(super) struct ConfigFile<'t> {
    text: &'t str,
    env: &'t Environment,
    problems: Notes,
    warnings: Notes,
    /// Lines that are no TOML. Any other problem on them only follows from that.
    broken_lines: BTreeSet<usize>,
    /// False where broken TOML may have swallowed keys, so that a missing key is no problem of its own.
    is_whole: bool,
    /// The keys that the code asked for.
    pub(super) known: KnownKeys,
    /// Table, key and place of the keys in the file that the code did not ask for.
    unknown: Vec<(String, String, usize)>,
}

impl<'t> ConfigFile<'t> {
    /// Reads all of `text` with `read`.
    pub(super) fn read<T>(
        text: &'t str,
        source: &Path,
        env: &'t Environment,
        read: impl FnOnce(&mut Section<'_, 't>) -> T,
    ) -> (Self, T) {
        let syntax = Syntax::of(text);
        let mut file = Self {
            text,
            env,
            problems: Notes::about(source),
            warnings: Notes::about(source),
            broken_lines: BTreeSet::new(),
            is_whole: syntax.is_whole,
            known: KnownKeys::new(),
            unknown: Vec::new(),
        };
        for (at, error) in syntax.errors {
            let at = Position::of(at, text);
            if file.broken_lines.insert(at.line) {
                file.problems.add(at, error);
            }
        }
        let result = file.section(String::new(), 0, syntax.root, read);
        (file, result)
    }

    /// `result` and the warnings, if there is no problem.
    pub(super) fn verdict<T>(mut self, result: Option<T>) -> Result<(T, Vec<String>), Problems> {
        for (table, key, at) in std::mem::take(&mut self.unknown) {
            let hint = self.hint(&table, &key);
            self.problem(at, &label(&table, &key), &format!("unknown key{hint}"));
        }
        match result {
            Some(result) if self.problems.is_empty() => Ok((result, self.warnings.into_lines())),
            _ => Err(self.problems.into()),
        }
    }

    /// A guess at the key that was meant, or at the table that an unknown key belongs to.
    fn hint(&self, table: &str, key: &str) -> String {
        let here = self.known.get(table).into_iter().flatten();
        if let Some(near) = nearest(key, here.copied()) {
            return format!("; did you mean \"{near}\"?");
        }
        let elsewhere = self.known.iter().filter(|(_, keys)| keys.contains(key));
        match elsewhere.collect::<Vec<_>>()[..] {
            [(other, _)] if !other.is_empty() => format!("; it belongs to [{other}]"),
            _ => String::new(),
        }
    }

    fn section<T>(
        &mut self,
        name: String,
        at: usize,
        table: DeTable<'t>,
        read: impl FnOnce(&mut Section<'_, 't>) -> T,
    ) -> T {
        let mut section = Section { file: self, name, at, table, asked: BTreeMap::new() };
        let result = read(&mut section);
        let Section { name, table, asked, .. } = section;
        for key in table.keys() {
            let place = key.span().start;
            // A key in quotes may have line breaks; a problem has one line.
            self.unknown.push((name.clone(), key.get_ref().escape_debug().to_string(), place));
        }
        self.known.entry(name).or_default().extend(asked.into_keys());
        result
    }

    fn problem(&mut self, at: usize, label: &str, message: &str) {
        let at = Position::of(at, self.text);
        if !self.broken_lines.contains(&at.line) {
            self.problems.add(at, format!("{label}: {message}"));
        }
    }
}

/// The name of a key in a problem.
fn label(table: &str, key: &str) -> String {
    match table {
        "" => key.to_owned(),
        _ => format!("[{table}] {key}"),
    }
}

/// The place of a key in the file, and whether it has a value there.
#[derive(Clone, Copy)]
enum KeyPlace {
    Absent,
    /// The key stands here with the empty text, which is "off" or "the default".
    Empty(usize),
    Set(usize),
}

/// One table while it is read.
pub(super) struct Section<'d, 't> {
    file: &'d mut ConfigFile<'t>,
    /// Dotted, like `station.reader`; empty for the file itself.
    name: String,
    /// The place of its header.
    at: usize,
    table: DeTable<'t>,
    asked: BTreeMap<&'static str, KeyPlace>,
}

impl<'t> Section<'_, 't> {
    /// The value of `key`; `default` when it is absent.
    pub(super) fn get<T>(
        &mut self,
        key: &'static str,
        default: T,
        check: impl FnOnce(&DeValue<'_>) -> Checked<T>,
    ) -> T {
        let Some(value) = self.take(key) else { return default };
        match check(value.get_ref()) {
            Ok(checked) => {
                // The value is kept, so that the keys that depend on it are checked by the one that was meant.
                if not_built::lists(&self.name, key, spelling(value.get_ref())) {
                    self.problem(key, "this value is known but not built yet");
                }
                checked
            }
            Err(message) => {
                self.problem(key, &message);
                default
            }
        }
    }

    /// The value of `key`; `None` when it is absent or empty.
    pub(super) fn optional<T>(
        &mut self,
        key: &'static str,
        check: impl FnOnce(&DeValue<'_>) -> Checked<T>,
    ) -> Option<T> {
        self.get(key, None, off_or(check))
    }

    /// The value of `key`, which must be there.
    pub(super) fn required<T>(
        &mut self,
        key: &'static str,
        check: impl FnOnce(&DeValue<'_>) -> Checked<T>,
    ) -> Option<T> {
        let value = self.optional(key, check);
        self.require(key, "is required");
        value
    }

    /// Notes `message` unless `key`, which was read before, is set.
    pub(super) fn require(&mut self, key: &'static str, message: &str) {
        if !self.is_set(key) {
            self.problem(key, message);
        }
    }

    /// Whether this table has `key`, which need not have been read.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Whether the file has `key`, which was read before, with anything but the empty text.
    pub(super) fn is_set(&self, key: &str) -> bool {
        matches!(self.asked.get(key), Some(KeyPlace::Set(_)))
    }

    /// The surroundings of the program.
    pub(super) fn env(&self) -> &'t Environment {
        self.file.env
    }

    /// Reads the table `key` of this one with `read`; an absent table is an empty one.
    pub(super) fn table<T>(&mut self, key: &'static str, read: impl FnOnce(&mut Section<'_, 't>) -> T) -> T {
        let name = self.child(key);
        let (at, table) = match self.take(key) {
            None => (self.at, DeTable::new()),
            Some(value) => (value.span().start, self.expect_table(key, value.into_inner())),
        };
        self.file.section(name, at, table, read)
    }

    /// Reads every `[[key]]` with `read`. There must be one at least and `limit` at most.
    pub(super) fn tables<T>(
        &mut self,
        key: &'static str,
        limit: usize,
        mut read: impl FnMut(&mut Section<'_, 't>) -> T,
    ) -> Vec<T> {
        let array = match self.take(key).map(|value| value.into_inner()) {
            Some(DeValue::Array(array)) if (1..=limit).contains(&array.len()) => array,
            _ => {
                self.problem(key, &format!("must be there 1 to {limit} times, each as [[{key}]]"));
                return Vec::new();
            }
        };
        let name = self.child(key);
        let elements = array.into_iter().map(|element| {
            let at = element.span().start;
            let table = self.expect_table(key, element.into_inner());
            self.file.section(name.clone(), at, table, &mut read)
        });
        elements.collect()
    }

    /// Notes a problem of `key`, which was read before: at its place, or at the header if it is absent.
    pub(super) fn problem(&mut self, key: &'static str, message: &str) {
        let at = match self.place(key) {
            KeyPlace::Absent if !self.file.is_whole => return,
            KeyPlace::Absent => self.at,
            KeyPlace::Empty(at) | KeyPlace::Set(at) => at,
        };
        self.file.problem(at, &label(&self.name, key), message);
    }

    /// Notes that `key` works but should not stay so.
    pub(super) fn warn(&mut self, key: &'static str, message: &str) {
        if let KeyPlace::Set(at) = self.place(key) {
            let at = Position::of(at, self.file.text);
            let label = label(&self.name, key);
            self.file.warnings.add(at, format!("{label}: {message}"));
        }
    }

    fn place(&self, key: &str) -> KeyPlace {
        self.asked.get(key).copied().unwrap_or(KeyPlace::Absent)
    }

    fn take(&mut self, key: &'static str) -> Option<toml::Spanned<DeValue<'t>>> {
        let value = self.table.remove_entry(key).map(|(_, value)| value);
        let place = match &value {
            None => KeyPlace::Absent,
            Some(value) if value.get_ref().as_str() == Some("") => KeyPlace::Empty(value.span().start),
            Some(value) => KeyPlace::Set(value.span().start),
        };
        self.asked.insert(key, place);
        value
    }

    fn expect_table(&mut self, key: &'static str, value: DeValue<'t>) -> DeTable<'t> {
        match value {
            DeValue::Table(table) => table,
            other => {
                self.problem(key, &format!("must be a table, this is of type {}", other.type_str()));
                DeTable::new()
            }
        }
    }

    fn child(&self, key: &str) -> String {
        match self.name.as_str() {
            "" => key.to_owned(),
            name => format!("{name}.{key}"),
        }
    }
}
