//! The one table of values that the configuration knows and the agent cannot do yet.
//!
//! The keys are part of the file format from the start, so that a file does not change when the feature comes. The commit
//! that builds a feature deletes its line here.

/// Table, key and the values that are refused.
pub(super) const NOT_BUILT: &[(&str, &str, &[&str])] = &[
    ("station.login", "method", &["card+pin"]),
    ("station.printer", "check", &["warn", "block"]),
    ("station.printer", "confirm", &["on"]),
    ("station.release", "via", &["download", "card"]),
];

/// Whether the feature behind the value `word` of a key does not exist yet.
pub(super) fn lists(table: &str, key: &str, word: &str) -> bool {
    let row = NOT_BUILT.iter().find(|(its_table, its_key, _)| (*its_table, *its_key) == (table, key));
    row.is_some_and(|(_, _, words)| words.contains(&word))
}
