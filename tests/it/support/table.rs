//! The table of `tests/run nothing-lost`: a row for each campaign, in the file that `PRINT_RELEASE_TABLE` names.

use std::fs::OpenOptions;
use std::io::Write;

/// The number of a campaign's tries and of its failures.
pub struct Row {
    pub campaign: &'static str,
    pub tried: usize,
    pub lost: usize,
    pub released_twice: usize,
    pub recorded_twice: usize,
    pub unknown: usize,
}

impl Row {
    /// A row without failures, of a test that has asserted that nothing was lost or doubled.
    pub fn held(campaign: &'static str, tried: usize) -> Self {
        Self { campaign, tried, lost: 0, released_twice: 0, recorded_twice: 0, unknown: 0 }
    }

    /// Appends the row to the table, if there is one.
    pub fn tell(&self) {
        let Some(path) = std::env::var_os("PRINT_RELEASE_TABLE") else {
            return;
        };
        let Self { campaign, tried, lost, released_twice, recorded_twice, unknown } = self;
        let row = format!("{campaign}\t{tried}\t{lost}\t{released_twice}\t{recorded_twice}\t{unknown}\n");
        let mut table = OpenOptions::new().append(true).create(true).open(path).unwrap();
        table.write_all(row.as_bytes()).unwrap();
    }
}
