//! The documents are the contract: everything that they name is there, and they name everything that is there.
//!
//! References from comments lead to headings, links lead to files, and the tables of `docs/operating.md` are compared with
//! the program in both directions.

mod operating;
mod reasons;
mod references;

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::fs;
use std::path::Path;

use crate::support::limit;
use regex::Regex;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).unwrap()
}

/// The files of the repository that `take` wants, by their paths from its root.
fn files(take: impl Fn(&Path) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![root().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            let name = entry.file_name().unwrap().to_string_lossy().into_owned();
            if entry.is_dir() {
                let is_made = ["target", ".git", "artifacts", "corpus"].contains(&&*name);
                folders.extend((!is_made).then_some(entry));
            } else if take(&entry) {
                found.push(entry.strip_prefix(root()).unwrap().display().to_string());
            }
        }
    }
    found.sort();
    found
}

fn has_end(path: &Path, ends: &[&str]) -> bool {
    path.extension().is_some_and(|end| ends.iter().any(|wanted| end == *wanted))
}

/// Sources and everything else that has comments: scripts without an ending too.
fn commented() -> Vec<String> {
    files(|path| {
        let is_script = || fs::read(path).is_ok_and(|bytes| bytes.starts_with(b"#!"));
        has_end(path, &["rs", "toml", "sh", "service", "rules", "conf", "sysusers", "tmpfiles", "js"])
            || path.extension().is_none() && is_script()
    })
}

fn documents() -> Vec<String> {
    files(|path| has_end(path, &["md"]))
}

/// The comments of a file, each with the number of its first line; lines that follow each other are one comment.
fn comments(path: &str, text: &str) -> Vec<(usize, String)> {
    let mark = if path.ends_with(".rs") || path.ends_with(".js") { "//" } else { "#" };
    let mut found: Vec<(usize, String)> = Vec::new();
    let mut goes_on = false;
    for (number, line) in (1..).zip(text.lines()) {
        let own = line.trim_start().strip_prefix(mark);
        // A comment behind code stands after a blank; a URL or a colour does not.
        let behind = || line.split_once(&format!(" {mark} ")).map(|(_, comment)| comment);
        match own.or_else(behind) {
            Some(comment) => {
                let comment = comment.trim_start_matches(['/', '!', '#']).trim();
                match found.last_mut() {
                    Some((_, before)) if goes_on => *before = format!("{before} {comment}"),
                    _ => found.push((number, comment.to_owned())),
                }
                goes_on = own.is_some();
            }
            None => goes_on = false,
        }
    }
    found
}

fn headings(document: &str) -> BTreeSet<String> {
    let text = read(document);
    let mut in_block = false;
    let lines = text.lines().filter(|line| {
        in_block ^= line.trim_start().starts_with("```");
        !in_block && line.starts_with('#')
    });
    lines.map(|line| line.trim_start_matches('#').trim().replace('`', "")).collect()
}

/// Nothing is left over; or the test fails with everything that is.
#[track_caller]
fn nothing<T: Debug>(what: &str, left: &[T]) {
    let lines: Vec<_> = left.iter().map(|problem| format!("  {problem:?}")).collect();
    assert!(left.is_empty(), "{what}:\n{}", lines.join("\n"));
}

/// Both sets are the same; or the test says what is missing on which side.
#[track_caller]
fn same(what: &str, documented: &BTreeSet<String>, real: &BTreeSet<String>) {
    let missing: Vec<_> = real.difference(documented).collect();
    let surplus: Vec<_> = documented.difference(real).collect();
    assert!(missing.is_empty(), "{what}: docs/operating.md lacks {missing:?}");
    assert!(surplus.is_empty(), "{what}: docs/operating.md has {surplus:?}, and the program has not");
}

/// A section of a document, without its heading, up to the next heading of the same or a higher level.
fn section(document: &str, heading: &str) -> String {
    let text = read(document);
    let mut lines =
        text.lines().skip_while(|line| line.trim_start_matches('#').trim() != heading || !line.starts_with('#'));
    let level = |line: &str| line.chars().take_while(|c| *c == '#').count();
    let own = level(lines.next().unwrap_or_else(|| panic!("{document} has no heading {heading:?}")));
    lines.take_while(|line| level(line) == 0 || level(line) > own).map(|line| format!("{line}\n")).collect()
}

/// The rows of the tables of a section of docs/operating.md whose first column has this heading.
fn rows(heading: &str, first: &str) -> Vec<Vec<String>> {
    let section = section("docs/operating.md", heading);
    let mut found = Vec::new();
    let mut wanted = false;
    for line in section.lines() {
        let Some(row) = line.strip_prefix('|').and_then(|row| row.strip_suffix('|')) else {
            wanted = false;
            continue;
        };
        let cells: Vec<String> = row.split('|').map(|cell| cell.trim().to_owned()).collect();
        if cells[0] == first {
            wanted = true;
        } else if wanted && !cells[0].starts_with("--") {
            found.push(cells);
        }
    }
    assert!(!found.is_empty(), "docs/operating.md, {heading:?} has no table of {first:?}");
    found
}

/// The words in backticks.
fn words(text: &str) -> Vec<String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

fn first_words(rows: &[Vec<String>]) -> BTreeSet<String> {
    rows.iter().flat_map(|row| words(&row[0])).collect()
}

fn set<S: Into<String>>(words: impl IntoIterator<Item = S>) -> BTreeSet<String> {
    words.into_iter().map(Into::into).collect()
}

/// README's tree names every folder of the repository and every part of the program.
#[test]
fn the_tree_of_the_readme_names_what_is_there() {
    let _limit = limit();
    let tree = section("README.md", "The tree");
    let mut missing = Vec::new();
    for folder in ["", "src", "tests", "docs"] {
        for entry in fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().path()) {
            let path = entry.strip_prefix(root()).unwrap().display().to_string();
            // Folders of the root, and everything in the others; not the output of the build.
            let counts = entry.is_dir() && path != "target" && !path.starts_with('.') || !folder.is_empty();
            if counts && !tree.contains(&path) {
                missing.push(path);
            }
        }
    }
    nothing("README.md, \"The tree\" lacks", &missing);
}

#[test]
fn every_variable_of_the_tests_is_explained_to_contributors() {
    let _limit = limit();
    let (variable, mut used) = (regex("PRINT_RELEASE_[A-Z]+(_[A-Z]+)*"), BTreeSet::new());
    for path in commented().iter() {
        used.extend(variable.find_iter(&read(path)).map(|found| found.as_str().to_owned()));
    }
    let explained: BTreeSet<_> = words(&section("CONTRIBUTING.md", "tests/run")).into_iter().collect();
    nothing("CONTRIBUTING.md lacks", &used.difference(&explained).collect::<Vec<_>>());
}
