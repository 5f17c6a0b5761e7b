//! The search: tries every sensible order of steps on one read, stage by stage.

use std::collections::HashMap;

use super::CardExample;
use super::finish::{Agreement, Value, endings};
use super::stages::{Aim, STAGES, SearchStage};
use crate::convert::step::ConversionStep;
use crate::convert::{Conversion, MAX_CHARS, parse};

/// The most values that are looked at.
const MAX_VALUES: usize = 20_000;
/// The most conversions of either kind that are kept for the other pairs to judge.
const MAX_CANDIDATES: usize = 1024;

/// The conversions that the search found on the lead.
#[derive(Default)]
pub(super) struct Candidates {
    /// The conversions that give the whole number.
    pub(super) whole: Vec<Conversion>,
    /// The conversions that give the start or the end of the number.
    pub(super) near: Vec<Conversion>,
}

/// Searches on the pair at the position `lead`.
pub(super) fn candidates(lead: usize, pairs: &[CardExample]) -> Candidates {
    let Some((read, number)) = pairs.get(lead) else { return Candidates::default() };
    if read.is_empty() || number.is_empty() || read.chars().count() > MAX_CHARS {
        return Candidates::default();
    }
    let mut search =
        Search { aim: Aim::new(number, pairs), left: MAX_VALUES, parsed: HashMap::new(), found: Candidates::default() };
    search.explore(STAGES, read);
    search.found
}

struct Search<'a> {
    aim: Aim<'a>,
    /// The number of values that may still be looked at.
    left: usize,
    /// The parsed steps of every option so far, because each option comes up many times.
    parsed: HashMap<String, Option<Vec<ConversionStep>>>,
    found: Candidates,
}

impl Search<'_> {
    /// Tries every option of every stage, the empty one first, so that the simple conversions come first.
    fn explore(&mut self, stages: &[SearchStage], value: &str) {
        let Some(left) = self.left.checked_sub(1) else { return };
        self.left = left;
        let Some((stage, later)) = stages.split_first() else { return self.finish(value) };
        for option in [String::new()].into_iter().chain(stage(&self.aim, value)) {
            let Some(result) = self.run(&option, value) else { continue };
            self.aim.path.push(option);
            self.explore(later, &result);
            self.aim.path.pop();
        }
    }

    /// Runs the steps of an option on `value`; `None` if they cannot work on it.
    fn run(&mut self, option: &str, value: &str) -> Option<String> {
        if !self.parsed.contains_key(option) {
            self.parsed.insert(option.to_owned(), parse::steps(option).ok());
        }
        let steps = self.parsed.get(option)?.as_ref()?;
        steps.iter().try_fold(value.to_owned(), |text, step| step.run(&text, value).ok())
    }

    fn finish(&mut self, text: &str) {
        if self.aim.is_idle() {
            return;
        }
        let Aim { widths, one_length, .. } = &self.aim;
        let value = Value { text, shortest: self.aim.is_shortest(), widths, one_length: *one_length };
        let endings = endings(value, self.aim.number);
        let near = endings.is_empty() && Agreement::of(text, self.aim.number).describe().is_some();
        if near && self.found.near.len() < MAX_CANDIDATES {
            self.found.near.extend(self.conversion(""));
        }
        for ending in endings {
            if self.found.whole.len() < MAX_CANDIDATES {
                self.found.whole.extend(self.conversion(&ending));
            }
        }
    }

    fn conversion(&self, ending: &str) -> Option<Conversion> {
        let steps = self.aim.path.iter().map(String::as_str).chain([ending]).filter(|steps| !steps.is_empty());
        steps.collect::<Vec<_>>().join("|").parse().ok()
    }
}
