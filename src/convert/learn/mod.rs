//! The solver behind `card learn`: it finds the conversions that turn given reads into given numbers.
//!
//! It tries the combinations of steps that real installations have on the pair with the longest number (`search`,
//! `finish`), and every other pair has to confirm the result. The conversions that fit are ranked by simplicity and
//! described (`judge`). If several make no difference to cards of this shape (`probe`), only the simplest stays.
//!
//! Reads and numbers are secret. Nothing here shows them except a [`Conversion`], which may contain a constant of at
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

/// The most conversions of either kind that are given out.
pub const MAX_ANSWERS: usize = 12;
/// A conversion with more steps than the simplest one and these does the same in a roundabout way, and is dropped.
const MORE_STEPS: usize = 3;
/// The most conversions that are compared on made-up reads.
const MAX_COMPARED: usize = 48;
/// Two conversions count as the same only if at least so many made-up reads give numbers, because most made-up reads have
/// a wrong parity.
const LEAST_TELLING: usize = 16;
/// With at least so many pairs, a conversion that fits all but one of them shows that this one is mistyped.
const ENOUGH_TO_DOUBT_ONE: usize = 3;

/// The result of the search.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Learned {
    /// The conversions that fit all pairs, the simplest first.
    pub fits: Vec<LearnedConversion>,
    /// The conversions that come closest, the closest first; only if none fits all pairs.
    pub partial: Vec<LearnedConversion>,
}

/// One conversion that the solver found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LearnedConversion {
    /// The steps that were found.
    pub conversion: Conversion,
    /// The number of characters of a number that come from the read and not from a constant or padding. If the
    /// conversion fits only in part, it is the number of characters that agree. The least of all pairs counts.
    pub digits: usize,
    /// One line for people, with an explanation and warnings.
    pub note: String,
}

/// A read and the number that the server has for the card.
type CardExample = (String, String);

/// Finds the conversions that turn every read into its number.
///
/// One pair is enough to start with, three are enough to be sure. A pair with an empty side fits nothing.
#[must_use]
pub fn learn(pairs: &[CardExample]) -> Learned {
    let mut leads: Vec<usize> = (0..pairs.len()).collect();
    leads.sort_by_key(|&place| Reverse(pairs[place].1.chars().count()));
    // If the mistyped one of many pairs is the lead, nothing fits; then another pair becomes the lead.
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

/// The conversions that fit all pairs. One with constants, or one much less simple than the first, stays only if there is no
/// other.
fn fits(candidates: &Candidates, pairs: &[CardExample]) -> Vec<LearnedConversion> {
    let all = |conversion: &&Conversion| misfits(conversion, pairs).next().is_none();
    let answer = |conversion: &Conversion| judge::answer(conversion, pairs);
    let mut answers = distinct(candidates.whole.iter().filter(all).filter_map(answer).collect(), pairs);
    if let Some(first) = answers.first().map(|answer| answer.conversion.clone()) {
        let most = first.steps().count() + MORE_STEPS;
        answers.retain(|LearnedConversion { conversion, .. }| {
            judge::constant(conversion) <= judge::constant(&first) && conversion.steps().count() <= most
        });
    }
    answers
}

/// The conversions that fit all pairs but one, which is then probably mistyped.
fn all_but_one(candidates: &Candidates, pairs: &[CardExample]) -> Vec<LearnedConversion> {
    if pairs.len() < ENOUGH_TO_DOUBT_ONE {
        return Vec::new();
    }
    let answer = |conversion: &Conversion| {
        let mut misfits = misfits(conversion, pairs);
        let (wrong, None) = (misfits.next()?, misfits.next()) else { return None };
        let others: Vec<CardExample> =
            pairs.iter().enumerate().filter(|(place, _)| *place != wrong).map(|(_, pair)| pair.clone()).collect();
        let answer = judge::answer(conversion, &others)?;
        let note = format!("fits all pairs but number {}: check that one; {}", wrong + 1, answer.note);
        Some(LearnedConversion { note, ..answer })
    };
    distinct(candidates.whole.iter().filter_map(answer).collect(), pairs)
}

/// The conversions that give the first or the last characters of every number.
fn nearly(candidates: &Candidates, pairs: &[CardExample]) -> Vec<LearnedConversion> {
    let answer = |conversion: &Conversion| {
        let agreements = pairs.iter().map(|(read, number)| Some(Agreement::of(&conversion.apply(read).ok()?, number)));
        let least = agreements.reduce(|one, other| Some(one?.least(other?)))??;
        let (digits, note) = least.describe()?;
        Some(LearnedConversion { conversion: conversion.clone(), digits, note })
    };
    let mut answers = distinct(candidates.near.iter().filter_map(answer).collect(), pairs);
    answers.sort_by_key(|answer| Reverse(answer.digits));
    answers
}

/// The positions of the pairs that `conversion` does not fit.
fn misfits<'a>(conversion: &'a Conversion, pairs: &'a [CardExample]) -> impl Iterator<Item = usize> + 'a {
    let misfit = |(_, (read, number)): &(usize, &CardExample)| conversion.apply(read).as_ref() != Ok(number);
    pairs.iter().enumerate().filter(misfit).map(|(place, _)| place)
}

/// Keeps only the simplest of those conversions that cannot be told apart, and sorts them by simplicity.
fn distinct(mut answers: Vec<LearnedConversion>, pairs: &[CardExample]) -> Vec<LearnedConversion> {
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
