//! The solver behind `card learn`: which conversions turn these reads into these numbers?
//!
//! It tries the combinations of steps that installations really have on the pair with the longest number
//! (`search`, `finish`) and lets every other pair confirm what it finds. What fits is ranked by simplicity and
//! described (`judge`); of several conversions that make no difference to cards of this shape (`probe`) only the
//! simplest stays.
//!
//! Reads and numbers are secret. Nothing here shows them but a [`Conversion`], which may hold a constant of at
//! most a third of a number.

mod finish;
mod judge;
mod probe;
mod search;
mod stages;

use std::cmp::Reverse;
use std::collections::HashSet;

use self::finish::Agreement;
use self::judge::Complexity;
use self::search::Candidates;
use super::Conversion;

/// The most answers of either kind.
pub const MAX_ANSWERS: usize = 12;
/// A conversion with so many steps more than the simplest that fits does the same in a roundabout way.
const MORE_STEPS: usize = 3;
/// The most answers that are compared on made-up reads.
const MAX_COMPARED: usize = 48;
/// Made-up reads that must give numbers before two conversions are called the same: most have a wrong parity.
const LEAST_TELLING: usize = 16;
/// From so many pairs on, all but one of them fitting says that the one is mistyped.
const ENOUGH_TO_DOUBT_ONE: usize = 3;

/// What the pairs of reads and numbers tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Learned {
    /// Conversions that fit all pairs, simplest first.
    pub fits: Vec<Answer>,
    /// Only where nothing fits: what comes closest, closest first.
    pub partial: Vec<Answer>,
}

/// One conversion that the solver found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The conversion.
    pub conversion: Conversion,
    /// How many characters of a number it makes out of the read, rather than out of a constant or padding; of a
    /// partial answer, how many agree. Of all pairs the least.
    pub digits: usize,
    /// One line for people: what it is, and what to beware of.
    pub note: String,
}

/// A read and its number.
type Pair = (String, String);

/// Finds the conversions that turn every read into its number.
///
/// One pair is enough to start with, three are enough to be sure. A pair with an empty side fits nothing.
#[must_use]
pub fn learn(pairs: &[Pair]) -> Learned {
    let mut leads: Vec<usize> = (0..pairs.len()).collect();
    leads.sort_by_key(|&place| Reverse(pairs[place].1.chars().count()));
    // If the wrong one of many pairs leads, nothing fits: then another leads.
    let tries = if pairs.len() < ENOUGH_TO_DOUBT_ONE { 1 } else { 2 };
    for lead in leads.into_iter().take(tries) {
        let candidates = search::candidates(lead, pairs);
        let fits = fits(&candidates, pairs);
        let mut partial = Vec::new();
        if fits.is_empty() {
            partial.extend(all_but_one(&candidates, pairs));
            partial.extend(nearly(&candidates, pairs));
            partial.truncate(MAX_ANSWERS);
        }
        if !(fits.is_empty() && partial.is_empty()) {
            return Learned { fits, partial };
        }
    }
    Learned::default()
}

/// What fits all pairs; with constants, or much less simple than the first, only if nothing else does.
fn fits(candidates: &Candidates, pairs: &[Pair]) -> Vec<Answer> {
    let all = |conversion: &&Conversion| misfits(conversion, pairs).next().is_none();
    let answer = |conversion: &Conversion| judge::answer(conversion, pairs);
    let mut answers = distinct(candidates.whole.iter().filter(all).filter_map(answer).collect(), pairs);
    if let Some(first) = answers.first().map(|answer| answer.conversion.clone()) {
        let most = first.steps().count() + MORE_STEPS;
        answers.retain(|Answer { conversion, .. }| {
            judge::constant(conversion) <= judge::constant(&first) && conversion.steps().count() <= most
        });
    }
    answers
}

/// What fits all pairs but one, which is then probably wrong.
fn all_but_one(candidates: &Candidates, pairs: &[Pair]) -> Vec<Answer> {
    if pairs.len() < ENOUGH_TO_DOUBT_ONE {
        return Vec::new();
    }
    let answer = |conversion: &Conversion| {
        let mut misfits = misfits(conversion, pairs);
        let (wrong, None) = (misfits.next()?, misfits.next()) else { return None };
        let others: Vec<Pair> =
            pairs.iter().enumerate().filter(|(place, _)| *place != wrong).map(|(_, pair)| pair.clone()).collect();
        let answer = judge::answer(conversion, &others)?;
        let note = format!("fits all pairs but number {}: check that one; {}", wrong + 1, answer.note);
        Some(Answer { note, ..answer })
    };
    distinct(candidates.whole.iter().filter_map(answer).collect(), pairs)
}

/// What gives the first or the last characters of every number.
fn nearly(candidates: &Candidates, pairs: &[Pair]) -> Vec<Answer> {
    let answer = |conversion: &Conversion| {
        let agreements = pairs.iter().map(|(read, number)| Some(Agreement::of(&conversion.apply(read).ok()?, number)));
        let least = agreements.reduce(|one, other| Some(one?.least(other?)))??;
        let (digits, note) = least.tell()?;
        Some(Answer { conversion: conversion.clone(), digits, note })
    };
    let mut answers = distinct(candidates.near.iter().filter_map(answer).collect(), pairs);
    answers.sort_by_key(|answer| Reverse(answer.digits));
    answers
}

/// The places of the pairs that `conversion` does not fit.
fn misfits<'a>(conversion: &'a Conversion, pairs: &'a [Pair]) -> impl Iterator<Item = usize> + 'a {
    let misfit = |(_, (read, number)): &(usize, &Pair)| conversion.apply(read).as_ref() != Ok(number);
    pairs.iter().enumerate().filter(misfit).map(|(place, _)| place)
}

/// The simplest of those answers that cannot be told apart, simplest first.
fn distinct(mut answers: Vec<Answer>, pairs: &[Pair]) -> Vec<Answer> {
    let Some((read, _)) = pairs.first() else { return answers };
    answers.sort_by_cached_key(|answer| Complexity::of(&answer.conversion, read));
    answers.dedup();
    answers.truncate(MAX_COMPARED);
    let reads = probe::reads(pairs);
    let mut seen = HashSet::new();
    answers.retain(|answer| {
        let numbers: Vec<Option<String>> = reads.iter().map(|read| answer.conversion.apply(read).ok()).collect();
        let telling = numbers.iter().flatten().count() >= LEAST_TELLING;
        !telling || seen.insert(numbers)
    });
    answers.truncate(MAX_ANSWERS);
    answers
}

#[cfg(test)]
mod tests;
