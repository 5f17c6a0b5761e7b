//! References, links and names of tests in comments and documents lead somewhere.

use std::fs;
use std::path::{Component, Path, PathBuf};

use super::{commented, comments, documents, headings, nothing, read, regex, root};
use crate::support::limit;

/// `docs/NAME.md, "Heading"`, also across the lines of a comment; the heading may be left out.
const REFERENCE: &str = r#"((?:docs/[a-z-]+|README|CONTRIBUTING|SECURITY|CHANGELOG|cross/README|firmware-config/README)\.md)(?:, "([^"]+)")?"#;

#[test]
fn every_reference_of_a_comment_leads_to_a_heading_that_is_there() {
    let _limit = limit();
    let (reference, mut wrong) = (regex(REFERENCE), Vec::new());
    for path in commented().iter().chain(&documents()) {
        let text = read(path);
        let pieces = if path.ends_with(".md") { vec![(1, text.replace('\n', " "))] } else { comments(path, &text) };
        for (line, comment) in pieces {
            for found in reference.captures_iter(&comment) {
                let document = &found[1];
                let heading = found.get(2).map(|heading| heading.as_str().replace('`', ""));
                let is_there = root().join(document).is_file()
                    && heading.as_ref().is_none_or(|heading| headings(document).contains(heading));
                if !is_there {
                    wrong.push((format!("{path}:{line}"), document.to_owned(), heading));
                }
            }
        }
    }
    nothing("references that lead nowhere", &wrong);
}

#[test]
fn no_comment_refers_to_a_document_that_a_clone_does_not_hold() {
    let _limit = limit();
    // Put together here, so that this file does not hold them.
    let gone = [["design, ", "section"], ["design, ", "promise"], ["api-", "notes"], ["(00", "1"], ["readers", ".md"]];
    let gone = gone.map(|parts| parts.concat());
    let trap = regex(r"(^|[^0-9A-Za-z_`])T[0-9]{1,2}($|[^0-9A-Za-z_`])");
    let mut found = Vec::new();
    for path in commented().iter().chain(&documents()) {
        let text = read(path);
        let is_document = path.ends_with(".md");
        // A profile may have times that its reader's manual calls by a T and a number.
        if !is_document && !path.starts_with("firmware-config/readers/") {
            for (line, comment) in comments(path, &text).into_iter().filter(|(_, comment)| trap.is_match(comment)) {
                found.push((format!("{path}:{line}"), comment.chars().take(80).collect::<String>()));
            }
        }
        for (number, line) in (1..).zip(text.lines()) {
            if gone.iter().any(|gone| line.contains(gone.as_str())) {
                found.push((format!("{path}:{number}"), line.trim().to_owned()));
            }
        }
    }
    nothing("references to documents that are not in the repository", &found);
}

#[test]
fn every_link_between_documents_leads_somewhere() {
    let _limit = limit();
    let (link, mut wrong) = (regex(r"\]\(([^)]+)\)"), Vec::new());
    let anchor = |heading: &String| -> String {
        let kept =
            heading.to_lowercase().chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c)).collect::<String>();
        kept.replace(' ', "-")
    };
    for path in documents() {
        for found in link.captures_iter(&read(&path)) {
            let (file, at) = found[1].split_once('#').map_or((&found[1], None), |(file, at)| (file, Some(at)));
            if file.contains("://") {
                continue;
            }
            let target = if file.is_empty() { path.clone() } else { beside(&path, file) };
            let is_there = root().join(&target).exists()
                && at.is_none_or(|at| headings(&target).iter().map(anchor).any(|anchor| anchor == at));
            if !is_there {
                wrong.push((path.clone(), found[1].to_owned()));
            }
        }
    }
    nothing("links that lead nowhere", &wrong);
}

/// A path that is written in `document`, from the root of the repository.
fn beside(document: &str, file: &str) -> String {
    let mut path = PathBuf::from(document).parent().unwrap().to_owned();
    for part in Path::new(file).components() {
        match part {
            Component::ParentDir => drop(path.pop()),
            part => path.push(part),
        }
    }
    path.display().to_string()
}

/// `file::test` in backticks: a file of tests and a function in it.
#[test]
fn every_test_that_a_document_names_is_there() {
    let _limit = limit();
    let (test, mut wrong, mut count) = (regex(r"`((?:src|tests)/[a-z0-9_/]+\.rs)::([a-z0-9_]+)`"), Vec::new(), 0);
    for path in documents() {
        for found in test.captures_iter(&read(&path)) {
            count += 1;
            let text = fs::read_to_string(root().join(&found[1])).unwrap_or_default();
            if !text.contains(&format!("fn {}(", &found[2])) {
                wrong.push((path.clone(), found[0].to_owned()));
            }
        }
    }
    nothing("tests that are not there", &wrong);
    assert!(count > 20, "the promises name their tests: {count}");
}

/// `src/...`, `tests/...` and the like in backticks, with the braces of the shell.
#[test]
fn every_file_that_a_document_names_is_there() {
    let _limit = limit();
    let top = regex(r"^(src|tests|docs|cross|systemd|firmware-config)/[A-Za-z0-9_./{},-]+$");
    let mut wrong = Vec::new();
    for path in documents() {
        for named in super::words(&read(&path)).into_iter().filter(|word| top.is_match(word)) {
            let paths = match named.split_once('{').and_then(|(head, rest)| Some((head, rest.split_once('}')?))) {
                Some((head, (names, end))) => names.split(',').map(|name| format!("{head}{name}{end}")).collect(),
                None => vec![named],
            };
            wrong.extend(
                paths.into_iter().filter(|named| !root().join(named).exists()).map(|named| (path.clone(), named)),
            );
        }
    }
    nothing("files that are not there", &wrong);
}
