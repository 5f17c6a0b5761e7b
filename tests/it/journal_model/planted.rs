//! Bugs of the real journal, each planted by name (src/planted.rs), and the search for them. Only a build with the feature `planted`
//! has them, as that of `tests/run simulate --bugs`.

use std::time::Instant;

use super::{PLANTED, under};
use crate::support::limit;
use crate::support::preload::Preload;

#[test]
fn planted_bugs_of_the_journal_are_found() {
    let _limit = limit();
    let Some(disk) = Preload::compile() else { return };
    let bugs = [
        "journal-answers-before-the-sync",
        "journal-believes-a-failed-sync",
        "journal-forgets-that-it-sent",
        "journal-forgets-to-count-what-goes",
        "journal-forgets-what-was-delivered",
        "journal-skips-the-mark",
    ];
    println!("{:<36} {:>16} {:>8}", "planted bug of the journal", "found after", "seconds");
    let mut missed = Vec::new();
    for bug in bugs {
        let began = Instant::now();
        let output = under(&disk).env(PLANTED, bug).env("PROPTEST_MAX_SHRINK_ITERS", "0").output().unwrap();
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        let tried = told.lines().find_map(|line| line.strip_prefix("sequences tried: ")).unwrap_or("?");
        let found = !output.status.success() && told.contains("1 failed");
        println!("{bug:<36} {:>16} {:>8.1}", if found { tried } else { "not found" }, began.elapsed().as_secs_f32());
        missed.extend((!found).then_some(bug));
    }
    assert!(missed.is_empty(), "not found: {missed:?}");
}
