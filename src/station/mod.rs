//! The one state machine: what a station does about each thing that happens to it. Pure.
//!
//! [`Station::handle`] takes an event and the time and answers with effects, in order. The agent carries them out and
//! brings every answer back as an event. Nothing here waits, so nothing here can be late: the deadline is judged when
//! a release's turn comes.
//!
//! Invariants:
//! - One tap at a time; at most [`QUEUE_LIMIT`] more wait for their turn.
//! - No [`Effect::Release`] before [`Event::Stored`] said that all releases of the tap are durable, with one exception:
//!   where no job record is wanted, a full disk does not keep people from printing ([`Admission::Unstored`]).
//! - Every release gets exactly one [`Effect::End`] or [`Effect::FindOut`], and the tap ends when all of those are done.
//! - Every accepted read gets exactly one [`Effect::Report`].

mod exchange;
mod tap;
#[cfg(test)]
mod tests;

use std::collections::{HashSet, VecDeque};
use std::time::{Duration, Instant};

use crate::convert::{Conversion, ConvertError};
use crate::domain::{CardNumber, Cause, Document, Now, OutputPort, Read, ReleaseOptions, Secret, StationName, TapId};
use crate::feedback::Signal;
pub use exchange::{Admission, Effect, Event, Report, Verdict};
use tap::{Step, Tap};

/// Taps that may wait while one is busy; the next one is refused with feedback.
pub const QUEUE_LIMIT: usize = 4;

/// Which of the waiting documents a tap releases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Select {
    /// All, in the server's order.
    All,
    /// Only the one submitted last.
    Newest,
    /// Only the one submitted first.
    Oldest,
}

/// What a station does with a card. Comes from `[[station]]`.
#[derive(Clone, Debug)]
pub struct Policy {
    /// The station's name.
    pub name: StationName,
    /// From a read to a card number; `None`: the read as it is.
    pub convert: Option<Conversion>,
    /// The same card, away for less than this, is one tap.
    pub debounce: Duration,
    /// Which documents.
    pub select: Select,
    /// At most so many documents a tap.
    pub limit: usize,
    /// At most so many releases at a time.
    pub parallel: usize,
    /// How they differ from what was submitted.
    pub options: ReleaseOptions,
    /// True: a tap whose server is away is kept until the deadline. False: it is refused at once.
    pub hold: bool,
    /// A release that has not been sent this long after the card was held is not sent any more.
    pub deadline: Duration,
    /// Whether the server is told a job record for each released document.
    pub record: bool,
    /// Where to.
    pub port: OutputPort,
}

/// One reader and one printer that belong together.
#[derive(Debug)]
pub struct Station {
    policy: Policy,
    current: Option<Tap>,
    queue: VecDeque<(TapId, CardNumber, Instant)>,
    last: Option<(Read, Instant)>,
    /// The last card that was refused at the reader: why and when.
    refused: Option<(&'static str, Instant)>,
    stopping: bool,
}

impl Station {
    /// A station that waits for its first card.
    pub fn new(policy: Policy) -> Self {
        Self { policy, current: None, queue: VecDeque::new(), last: None, refused: None, stopping: false }
    }

    /// True while a tap is under way.
    pub fn is_busy(&self) -> bool {
        self.current.is_some()
    }

    /// The one entrance. An answer to a tap that is over is ignored.
    pub fn handle(&mut self, event: Event, now: Now) -> Vec<Effect> {
        let mut effects = match event {
            Event::Read { read, tap } => self.read(read, tap, now),
            Event::CardRefused { tap, reason } => self.card_refused(tap, reason, now),
            Event::ReadError => vec![Effect::Feedback(Signal::ReadError)],
            Event::Stop => self.stop(now),
            Event::LoggedIn { tap, result } => self.step(tap, now, |it, policy| it.logged_in(result, policy)),
            Event::Listed { tap, result } => self.step(tap, now, |it, policy| it.listed(result, policy, now)),
            Event::Stored { tap, result } => self.step(tap, now, |it, policy| it.stored(result, policy, now)),
            Event::Released { tap, document, outcome } => {
                self.step(tap, now, |it, policy| it.released(&document, outcome, policy, now))
            }
            Event::Ended { tap } => self.step(tap, now, |it, policy| it.ended(policy, now)),
        };
        if self.current.is_none()
            && let Some((tap, card, at)) = self.queue.pop_front()
        {
            // No signal: it was told when it began to wait, and the one before it is being told how it ended.
            effects.push(self.begin(tap, card, at));
        }
        effects
    }

    fn read(&mut self, read: Read, tap: TapId, now: Now) -> Vec<Effect> {
        let at = now.monotonic;
        if self.stopping || self.is_repeat(&read, at) {
            return Vec::new();
        }
        match self.convert(&read) {
            Err(error) => refuse(tap, Signal::ReadError, format!("card not converted: {error}")),
            Ok(card) => {
                if self.current.is_none() {
                    vec![Effect::Feedback(Signal::Reading), self.begin(tap, card, at)]
                } else if self.queue.len() < QUEUE_LIMIT {
                    self.queue.push_back((tap, card, at));
                    vec![Effect::Feedback(Signal::Reading)]
                } else {
                    refuse(tap, Signal::Refused, "busy".to_owned())
                }
            }
        }
    }

    /// As a read, it is told once while the card is held.
    fn card_refused(&mut self, tap: TapId, reason: &'static str, now: Now) -> Vec<Effect> {
        let at = now.monotonic;
        let before = self.refused.replace((reason, at));
        let repeat = before.is_some_and(|(last, seen)| last == reason && at - seen < self.policy.debounce);
        if self.stopping || repeat { Vec::new() } else { refuse(tap, Signal::Refused, reason.to_owned()) }
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

    fn begin(&mut self, tap: TapId, card: CardNumber, at: Instant) -> Effect {
        let current = self.current.insert(Tap::new(tap, at));
        Effect::Login { tap, card, until: current.held(&self.policy) }
    }

    fn stop(&mut self, now: Now) -> Vec<Effect> {
        self.stopping = true;
        let waiting = std::mem::take(&mut self.queue);
        waiting
            .into_iter()
            .flat_map(|(tap, _, at)| {
                let mut effects = refuse(tap, Signal::Refused, "stopping".to_owned());
                if let Some(Effect::Report(report)) = effects.last_mut() {
                    report.duration = now.monotonic - at;
                }
                effects
            })
            .collect()
    }

    /// Moves the tap at work, if it is this one, and closes it when it is over.
    fn step(&mut self, tap: TapId, now: Now, step: impl FnOnce(&mut Tap, &Policy) -> Step) -> Vec<Effect> {
        let Some(current) = self.current.as_mut().filter(|current| current.id == tap) else {
            return Vec::new();
        };
        match step(current, &self.policy) {
            Step::Go(effects) => effects,
            Step::Over { signal, verdict, reason } => {
                let report = current.report(verdict, reason, now);
                self.current = None;
                vec![Effect::Feedback(signal), Effect::Report(report)]
            }
        }
    }
}

/// A read that never became a tap at work.
fn refuse(tap: TapId, signal: Signal, reason: String) -> Vec<Effect> {
    let report = Report {
        tap,
        verdict: Verdict::Refused,
        reason,
        user: None,
        outcomes: Vec::new(),
        pages: 0,
        duration: Duration::ZERO,
    };
    vec![Effect::Feedback(signal), Effect::Report(report)]
}

/// The documents that this tap is to release, of those that the server listed.
fn select(mut documents: Vec<Document>, policy: &Policy) -> Vec<Document> {
    let mut seen = HashSet::new();
    documents.retain(|document| document.status == crate::domain::DocumentStatus::Ready);
    documents.retain(|document| seen.insert(document.uuid.clone()));
    match policy.select {
        Select::All => {}
        Select::Newest => {
            documents = documents.into_iter().max_by_key(|document| document.created).into_iter().collect()
        }
        Select::Oldest => {
            documents = documents.into_iter().min_by_key(|document| document.created).into_iter().collect()
        }
    }
    documents.truncate(policy.limit);
    documents
}

/// What the person is told when the server's answer ends the tap.
fn signal_of(cause: Cause) -> (Signal, Verdict) {
    use crate::domain::Who;
    match cause {
        Cause::Refused(Who::Login) | Cause::NotFound => (Signal::UnknownCard, Verdict::Refused),
        Cause::Refused(Who::Token) | Cause::NotReady | Cause::Rejected => (Signal::Refused, Verdict::Refused),
        Cause::Storage => (Signal::Refused, Verdict::Failed),
        Cause::Unreachable | Cause::Lost { .. } | Cause::Malformed | Cause::Overloaded { .. } => {
            (Signal::ServerUnreachable, Verdict::Failed)
        }
    }
}
