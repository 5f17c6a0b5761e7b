//! The one state machine: it decides what a station does about each thing that happens to it. Pure.
//!
//! [`Station::handle`] takes an event and the time and answers with effects, in order. The agent carries them out and
//! brings every answer back as an event. Nothing here waits, so nothing here can be late: the deadline is judged when
//! a release's turn comes.
//!
//! Invariants:
//! - At most [`TAP_LIMIT`] taps are under way. Each logs in and lists at once; releases are sent in the order of the taps.
//! - No [`Effect::Release`] before [`TapAnswer::Stored`] said that all releases of the tap are durable, with one exception:
//!   where no job record is wanted, a full disk does not keep people from printing ([`Admission::Unstored`]).
//! - Every release gets exactly one [`Effect::End`] or [`Effect::LeaveOpen`], and the tap ends when all of those are done.
//! - Every accepted read gets exactly one [`Effect::Report`]. An answer that fits no phase ends its tap
//!   ([`Effect::Abandon`]); an answer to a tap that is over is ignored.
//! - Somebody who tries card after card makes the station slow ([`guessing`]).
//! - The light belongs to the last person who tapped: an earlier tap that ends is told to the operator only.

mod exchange;
mod guessing;
mod policy;
mod signal;
mod tap;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use crate::convert::ConvertError;
use crate::domain::{CardNumber, Now, Read, Reason, Release, Secret, TapId, Verdict};
use crate::feedback::Signal;
use crate::planted;
pub(crate) use exchange::{Admission, Effect, Ending, Event, Report, TapAnswer};
use guessing::GuessLimit;
pub(crate) use policy::Policy;
pub(crate) use policy::Select;
use tap::{Tap, TapStep};

/// Taps that may be under way at a time; the next one is refused with feedback.
pub(crate) const TAP_LIMIT: usize = 5;

/// One reader and one printer that belong together.
#[derive(Debug)]
pub(crate) struct Station {
    policy: Policy,
    /// In the order in which the cards were held.
    taps: VecDeque<Tap>,
    /// The tap of the person who stands there.
    light: Option<TapId>,
    /// The last read, and when it was last seen.
    last: Option<(Read, Instant)>,
    /// The last card that was refused at the reader: why and when.
    refused: Option<(Reason, Instant)>,
    guesses: GuessLimit,
    stopping: bool,
}

impl Station {
    /// A station that waits for its first card.
    pub(crate) fn new(policy: Policy) -> Self {
        let guesses = GuessLimit::default();
        Self { policy, taps: VecDeque::new(), light: None, last: None, refused: None, guesses, stopping: false }
    }

    /// True while a tap is under way.
    pub(crate) fn is_busy(&self) -> bool {
        !self.taps.is_empty()
    }

    /// The one entrance.
    pub(crate) fn handle(&mut self, event: Event, now: Now) -> Vec<Effect> {
        let mut effects = match event {
            Event::Read { read, tap } => self.read(read, tap, now),
            Event::CardRefused { tap, reason } => self.card_refused(tap, reason, now),
            Event::ReadError => vec![Effect::Feedback(Signal::ReadError)],
            Event::Stop => self.stop(now),
            Event::GiveUp => self.give_up(now),
            Event::Answer { tap, answer } => self.answer(tap, answer, now),
        };
        effects.extend(self.send());
        effects
    }

    fn read(&mut self, read: Read, tap: TapId, now: Now) -> Vec<Effect> {
        let at = now.monotonic;
        if self.stopping || self.is_repeat(&read, at) {
            return Vec::new();
        }
        self.light = Some(tap);
        match self.convert(&read) {
            Err(error) => refuse(tap, Reason::CardNotConverted, Some(error)),
            Ok(_) if self.taps.len() >= TAP_LIMIT => refuse(tap, Reason::Busy, None),
            Ok(card) => {
                let Some(mark) = self.guesses.take(&read, at) else {
                    return refuse(tap, Reason::TooManyRefused, None);
                };
                let begun = Tap::new(tap, mark, at);
                let until = begun.kept_until(&self.policy);
                self.taps.push_back(begun);
                vec![Effect::Feedback(Signal::Reading), Effect::Login { tap, card, until }]
            }
        }
    }

    /// A refused card is debounced like a read.
    fn card_refused(&mut self, tap: TapId, reason: Reason, now: Now) -> Vec<Effect> {
        let at = now.monotonic;
        let before = self.refused.replace((reason.clone(), at));
        let repeat = before.is_some_and(|(last, seen)| last == reason && at - seen < self.policy.debounce);
        if self.stopping || repeat {
            return Vec::new();
        }
        self.light = Some(tap);
        refuse(tap, reason, None)
    }

    fn convert(&self, read: &Read) -> Result<CardNumber, ConvertError> {
        match &self.policy.convert {
            None => Ok(CardNumber(read.0.clone())),
            Some(convert) => convert.apply(read.0.expose()).map(|number| CardNumber(Secret::new(number))),
        }
    }

    /// A card counts as held until it has been away for the debounce time: readers repeat while it lies on them.
    fn is_repeat(&mut self, read: &Read, at: Instant) -> bool {
        let repeat = self.last.as_ref().is_some_and(|(last, seen)| last == read && at - *seen < self.policy.debounce);
        self.last = Some((read.clone(), at));
        repeat
    }

    /// Refuses those who wait for an earlier tap and have nothing stored yet; the others end by themselves.
    fn stop(&mut self, now: Now) -> Vec<Effect> {
        self.stopping = true;
        let mut effects = Vec::new();
        let mut kept = VecDeque::new();
        for tap in std::mem::take(&mut self.taps) {
            if kept.is_empty() || !tap.has_nothing_stored() {
                kept.push_back(tap);
            } else {
                effects.extend(self.over(tap, Signal::Refused, Verdict::Refused, Some(Reason::Stopping), now));
            }
        }
        self.taps = kept;
        effects
    }

    /// Moves the tap that asked, and closes it when it is over.
    fn answer(&mut self, id: TapId, answer: TapAnswer, now: Now) -> Vec<Effect> {
        let Some(index) = self.taps.iter().position(|tap| tap.id == id) else {
            return late(id, answer);
        };
        let earlier = self.taps.iter().take(index);
        let taken = earlier.flat_map(|tap| tap.documents().map(|document| (document.to_owned(), tap.id)));
        let taken: HashMap<String, TapId> = taken.collect();
        let (name, card) = (answer.name(), self.taps[index].card);
        match &answer {
            TapAnswer::LoggedIn(Ok(_)) => self.guesses.accepted(),
            TapAnswer::LoggedIn(Err(failure)) if signal::after_failure(failure.cause).0 == Signal::UnknownCard => {
                self.guesses.refused(card, now.monotonic);
            }
            _ => {}
        }
        match self.taps[index].handle(answer, &self.policy, now, &taken) {
            TapStep::Go(effects) => effects,
            TapStep::Over { signal, verdict, reason } => match self.taps.remove(index) {
                Some(tap) => self.over(tap, signal, verdict, reason, now),
                None => Vec::new(),
            },
            TapStep::Covered { by } => {
                // The person waits for the same documents, and sees how that tap ends.
                if self.light == Some(id) && !planted::is("lose-the-covering-light") {
                    self.light = Some(by);
                }
                let tap = self.taps.remove(index);
                let reason = Some(Reason::NoDocuments);
                let tap = tap.filter(|_| !planted::is("lose-the-covered-tap"));
                tap.map(|tap| Effect::Report(tap.report(Verdict::Released, reason, now))).into_iter().collect()
            }
            TapStep::Misfit { phase } => {
                let mut effects = vec![Effect::Abandon { tap: id, phase, answer: name }];
                effects.extend(self.abandon(index, Reason::UnexpectedAnswer, now));
                effects
            }
        }
    }

    /// Ends the taps that did not come to an end of their own; each is reported.
    fn give_up(&mut self, now: Now) -> Vec<Effect> {
        let mut effects = Vec::new();
        while !self.taps.is_empty() {
            effects.extend(self.abandon(0, Reason::Stopping, now));
        }
        effects
    }

    fn abandon(&mut self, index: usize, reason: Reason, now: Now) -> Vec<Effect> {
        let Some(mut tap) = self.taps.remove(index) else {
            return Vec::new();
        };
        let mut effects = tap.abandon(&reason, now);
        effects.extend(self.over(tap, Signal::Refused, Verdict::Unknown, Some(reason), now));
        effects
    }

    /// Releases leave in the order of the taps: none of a later one before the last of an earlier one was answered.
    fn send(&mut self) -> Vec<Effect> {
        let mut effects = Vec::new();
        for tap in &mut self.taps {
            effects.extend(tap.send(&self.policy));
            if tap.may_still_send() {
                break;
            }
        }
        effects
    }

    fn over(&self, tap: Tap, signal: Signal, verdict: Verdict, reason: Option<Reason>, now: Now) -> Vec<Effect> {
        let light = (self.light == Some(tap.id)).then_some(Effect::Feedback(signal));
        light.into_iter().chain([Effect::Report(tap.report(verdict, reason, now))]).collect()
    }
}

/// An answer to a tap that is over changes nothing, but releases that were admitted meanwhile are not to be forgotten: they
/// were never sent, and the recovery ends them.
fn late(tap: TapId, answer: TapAnswer) -> Vec<Effect> {
    let TapAnswer::Stored(Ok(admitted)) = answer else {
        return Vec::new();
    };
    let left_open = |(admission, release): (Admission, Release)| {
        let id = match admission {
            Admission::Stored(id) => Some(id),
            Admission::Unstored => None,
            Admission::Elsewhere | Admission::Outdated => return None,
        };
        Some(Effect::LeaveOpen { tap, id, release: Box::new(release), reason: Reason::UnexpectedAnswer })
    };
    admitted.into_iter().filter_map(left_open).collect()
}

/// The end of a read that never became a tap at work.
fn refuse(tap: TapId, reason: Reason, detail: Option<ConvertError>) -> Vec<Effect> {
    let report = Report {
        tap,
        verdict: Verdict::Refused,
        reason: Some(reason.clone()),
        detail,
        user: None,
        outcomes: Vec::new(),
        pages: 0,
        duration: Duration::ZERO,
    };
    vec![Effect::Feedback(signal::of_reason(&reason)), Effect::Report(report)]
}
