//! The table of `tests/run nothing-lost`: a row for each campaign, in the file that `PRINT_RELEASE_TABLE` names.

use std::fs::OpenOptions;
use std::io::Write;
use std::thread;

use super::platter::Dice;

/// The number of a campaign's tries and of its failures.
#[derive(Debug, PartialEq)]
pub struct Row {
    pub campaign: &'static str,
    pub tried: usize,
    /// Without a word.
    pub lost: usize,
    /// It is missing, and the box says so in its counts.
    pub lost_and_told: usize,
    pub released_twice: usize,
    /// And not counted as a possible duplicate.
    pub recorded_twice: usize,
    pub unknown: usize,
}

impl Row {
    /// A row without failures, of a test that has asserted that nothing was lost or doubled.
    pub fn held(campaign: &'static str, tried: usize) -> Self {
        Self { campaign, tried, lost: 0, lost_and_told: 0, released_twice: 0, recorded_twice: 0, unknown: 0 }
    }

    /// Appends the row to the table, if there is one.
    pub fn tell(&self) {
        let Some(path) = std::env::var_os("PRINT_RELEASE_TABLE") else {
            return;
        };
        let Self { campaign, tried, lost, lost_and_told, released_twice, recorded_twice, unknown } = self;
        let row =
            format!("{campaign}\t{tried}\t{lost}\t{lost_and_told}\t{released_twice}\t{recorded_twice}\t{unknown}\n");
        let mut table = OpenOptions::new().append(true).create(true).open(path).unwrap();
        table.write_all(row.as_bytes()).unwrap();
    }

    fn add(&mut self, other: &Self) {
        self.tried += other.tried;
        self.lost += other.lost;
        self.lost_and_told += other.lost_and_told;
        self.released_twice += other.released_twice;
        self.recorded_twice += other.recorded_twice;
        self.unknown += other.unknown;
    }
}

/// A part of a campaign, with its own random numbers: its row so far, and the story of each failure.
pub struct Lane {
    pub dice: Dice,
    pub row: Row,
    pub stories: Vec<String>,
}

/// The most stories that a campaign prints.
const STORIES: usize = 5;

/// Tries so often in several lanes at once, each on a thread of its own. The row of all lanes goes to the table, and the test
/// fails unless it shows nothing lost silently and nothing done twice.
pub fn in_lanes(
    campaign: &'static str,
    tries: usize,
    lanes: usize,
    dice: &mut Dice,
    run: impl Fn(&mut Lane, usize) + Sync,
) -> Row {
    let lanes = lanes.min(tries).max(1);
    let share = |lane: usize| tries / lanes + usize::from(lane < tries % lanes);
    let seeds: Vec<u32> = (0..lanes).map(|_| dice.roll(1 << 32) as u32).collect();
    let mut row = Row::held(campaign, 0);
    let mut stories = Vec::new();
    thread::scope(|scope| {
        let run = &run;
        let lane = |(number, seed): (usize, u32)| {
            scope.spawn(move || {
                let mut lane = Lane { dice: Dice::new(seed), row: Row::held(campaign, 0), stories: Vec::new() };
                run(&mut lane, share(number));
                lane
            })
        };
        let running: Vec<_> = seeds.into_iter().enumerate().map(lane).collect();
        for lane in running.into_iter().map(|lane| lane.join().unwrap()) {
            row.add(&lane.row);
            stories.extend(lane.stories);
        }
    });
    println!("{row:?}; {} stories, the first:", stories.len());
    stories.iter().take(STORIES).for_each(|story| println!("{story}"));
    row.tell();
    let failures = (row.lost, row.released_twice, row.recorded_twice);
    assert_eq!(failures, (0, 0, 0), "lost silently, released twice, recorded twice; the stories stand above");
    row
}
