//! One tap: logging in, listing, storing, releasing. Each phase takes one kind of answer, and any other is a fault that ends
//! the tap.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use super::exchange::{Admission, Effect, Ending, Report, TapAnswer};
use super::guessing::CardMark;
use super::policy::{Policy, Selection, select};
use super::signal::{after_failure, after_login, after_releases, of_reason};
use crate::domain::{Document, EntryId, Failure, JobRecord, Now, Outcome, Reason, Release, TapId, User, Verdict};
use crate::feedback::Signal;
use crate::planted;

/// The result of a step.
#[must_use]
pub(super) enum TapStep {
    /// The tap goes on with these.
    Go(Vec<Effect>),
    /// The tap is over.
    Over { signal: Signal, verdict: Verdict, reason: Option<Reason> },
    /// The tap is over: earlier taps are releasing everything that waits, this one among them.
    Covered { by: TapId },
    /// The answer fits no phase.
    Misfit { phase: &'static str },
}

#[derive(Debug)]
pub(super) struct Tap {
    pub(super) id: TapId,
    pub(super) card: CardMark,
    started: Instant,
    /// The limit left documents for the next tap.
    more_remain: bool,
    phase: TapPhase,
}

/// The phase of a tap, with all that belongs to it there.
#[derive(Debug)]
enum TapPhase {
    LoggingIn,
    Listing { user: User },
    Storing { user: User, releases: Vec<Release> },
    Releasing(Releasing),
}

/// A release that was admitted, with the journal's number if it has an entry.
type Admitted = (Option<EntryId>, Release);

#[derive(Debug)]
struct Releasing {
    user: User,
    /// May be sent, and not yet sent.
    waiting: VecDeque<Admitted>,
    /// Sent, and not yet answered.
    sent: Vec<Admitted>,
    /// The number of [`Effect::End`] and [`Effect::LeaveOpen`] that are not yet done.
    ending: usize,
    outcomes: Vec<Outcome>,
    pages: u32,
}

impl TapPhase {
    fn name(&self) -> &'static str {
        match self {
            Self::LoggingIn => "logging-in",
            Self::Listing { .. } => "listing",
            Self::Storing { .. } => "storing",
            Self::Releasing(_) => "releasing",
        }
    }
}

impl Tap {
    pub(super) fn new(id: TapId, card: CardMark, started: Instant) -> Self {
        Self { id, card, started, more_remain: false, phase: TapPhase::LoggingIn }
    }

    /// Until when this tap is kept while the server is away, where the policy keeps it.
    pub(super) fn kept_until(&self, policy: &Policy) -> Option<Instant> {
        policy.hold.then_some(self.started + policy.deadline)
    }

    /// True while nothing of it is stored: such a tap can be refused without a trace.
    pub(super) fn has_nothing_stored(&self) -> bool {
        matches!(self.phase, TapPhase::LoggingIn | TapPhase::Listing { .. })
    }

    /// True until its last release was answered: later taps send nothing before.
    pub(super) fn may_still_send(&self) -> bool {
        match &self.phase {
            TapPhase::LoggingIn | TapPhase::Listing { .. } | TapPhase::Storing { .. } => true,
            TapPhase::Releasing(it) => !it.waiting.is_empty() || !it.sent.is_empty(),
        }
    }

    /// The documents that this tap is about to release: they come out, so no later tap lists them as waiting.
    pub(super) fn documents(&self) -> impl Iterator<Item = &str> {
        let (stored, admitted) = match &self.phase {
            TapPhase::LoggingIn | TapPhase::Listing { .. } => (None, None),
            TapPhase::Storing { releases, .. } => (Some(releases), None),
            TapPhase::Releasing(it) => (None, Some(it.waiting.iter().chain(&it.sent))),
        };
        let stored = stored.into_iter().flatten();
        stored.chain(admitted.into_iter().flatten().map(|(_, release)| release)).map(|it| it.document.uuid.as_str())
    }

    /// Moves the tap on. `taken` are the documents that earlier taps of this station are about to release, each with its tap.
    pub(super) fn handle(
        &mut self,
        answer: TapAnswer,
        policy: &Policy,
        now: Now,
        taken: &HashMap<String, TapId>,
    ) -> TapStep {
        match (&mut self.phase, answer) {
            (TapPhase::LoggingIn, TapAnswer::LoggedIn(result)) => self.logged_in(result, policy),
            (TapPhase::Listing { .. }, TapAnswer::Listed { asked, result }) => match result {
                Err(failure) => over(after_failure(failure.cause), &failure),
                Ok(documents) => self.listed(documents, asked, policy, now, taken),
            },
            (TapPhase::Storing { user, .. }, TapAnswer::Stored(result)) => match result {
                Err(failure) => over(after_failure(failure.cause), &failure),
                Ok(admitted) => {
                    let user = user.clone();
                    self.stored(user, admitted, now)
                }
            },
            (TapPhase::Releasing(it), TapAnswer::Released { document, ending }) => {
                let Some(index) = it.sent.iter().position(|(_, sent)| sent.document.uuid == document) else {
                    return TapStep::Misfit { phase: "releasing" };
                };
                let (id, release) = it.sent.swap_remove(index);
                TapStep::Go(vec![it.end(self.id, id, release, ending, now)])
            }
            (TapPhase::Releasing(it), TapAnswer::Ended) if it.ending > 0 => {
                it.ending -= 1;
                it.step(self.more_remain)
            }
            (phase, _) => TapStep::Misfit { phase: phase.name() },
        }
    }

    fn logged_in(&mut self, result: Result<User, Failure>, policy: &Policy) -> TapStep {
        match result {
            Err(failure) => over(after_login(failure.cause), &failure),
            Ok(user) => {
                self.phase = TapPhase::Listing { user };
                TapStep::Go(vec![Effect::List { tap: self.id, until: self.kept_until(policy) }])
            }
        }
    }

    fn listed(
        &mut self,
        documents: Vec<Document>,
        asked: Instant,
        policy: &Policy,
        now: Now,
        taken: &HashMap<String, TapId>,
    ) -> TapStep {
        let covered_by = documents.iter().find_map(|document| taken.get(&document.uuid).copied());
        let Selection { documents, more_remain, converting } = select(documents, policy, taken);
        self.more_remain = more_remain;
        if documents.is_empty() {
            let nothing = || if converting { still_converting() } else { no_documents() };
            return covered_by.map_or_else(nothing, |by| TapStep::Covered { by });
        }
        if now.monotonic >= self.started + policy.deadline {
            let reason = Some(Reason::Deadline);
            return TapStep::Over { signal: Signal::ServerUnreachable, verdict: Verdict::Failed, reason };
        }
        let Some(user) = self.user().cloned() else {
            return TapStep::Misfit { phase: self.phase.name() };
        };
        let release = |document| Release {
            tap: self.id,
            station: policy.name.clone(),
            user: user.clone(),
            document,
            port: policy.port.clone(),
            time: now.wall,
            record: policy.record,
            retain: policy.options.retain,
            tag: policy.tag,
        };
        let releases: Vec<Release> = documents.into_iter().map(release).collect();
        self.phase = TapPhase::Storing { user: user.clone(), releases: releases.clone() };
        TapStep::Go(vec![Effect::Store { tap: self.id, releases, listed: asked }])
    }

    fn stored(&mut self, user: User, admitted: Vec<(Admission, Release)>, now: Now) -> TapStep {
        let (waiting, sent, outcomes) = (VecDeque::new(), Vec::new(), Vec::new());
        let mut it = Releasing { user, waiting, sent, ending: 0, outcomes, pages: 0 };
        let mut effects = Vec::new();
        for (admission, release) in admitted {
            match admission {
                Admission::Stored(id) => it.waiting.push_back((Some(id), release)),
                Admission::Unstored => it.waiting.push_back((None, release)),
                Admission::Elsewhere if planted::is("release-what-another-tap-has") => {
                    it.waiting.push_back((None, release));
                }
                Admission::Elsewhere => {
                    let ending = Ending::Ended(Outcome::Failed(Reason::AtAnotherStation));
                    effects.push(it.end(self.id, None, release, ending, now));
                }
                Admission::Outdated => {}
            }
        }
        let nothing_left = it.waiting.is_empty() && it.ending == 0;
        self.phase = TapPhase::Releasing(it);
        if nothing_left { no_documents() } else { TapStep::Go(effects) }
    }

    /// As many releases as may run at a time. Each attempt judges the deadline itself: one whose document an earlier request
    /// may still print has to ask before it ends.
    pub(super) fn send(&mut self, policy: &Policy) -> Vec<Effect> {
        let patience = if planted::is("send-after-the-deadline") { 20 } else { 1 };
        let (tap, deadline) = (self.id, self.started + policy.deadline * patience);
        let TapPhase::Releasing(it) = &mut self.phase else {
            return Vec::new();
        };
        let mut effects = Vec::new();
        while it.sent.len() < policy.parallel
            && let Some((id, release)) = it.waiting.pop_front()
        {
            let boxed = Box::new(release.clone());
            it.sent.push((id, release));
            effects.push(Effect::Release { tap, release: boxed, deadline });
        }
        effects
    }

    /// Gives the tap up. Its stored releases are left open, sent or not: the recovery finds out.
    pub(super) fn abandon(&mut self, reason: &Reason, now: Now) -> Vec<Effect> {
        let tap = self.id;
        let TapPhase::Releasing(it) = &mut self.phase else {
            return Vec::new();
        };
        let open: Vec<Admitted> = it.sent.drain(..).chain(it.waiting.drain(..)).collect();
        open.into_iter().map(|(id, release)| it.end(tap, id, release, Ending::LeftOpen(reason.clone()), now)).collect()
    }

    pub(super) fn report(self, verdict: Verdict, reason: Option<Reason>, now: Now) -> Report {
        let duration = now.monotonic - self.started;
        let (user, outcomes, pages) = match self.phase {
            TapPhase::LoggingIn => (None, Vec::new(), 0),
            TapPhase::Listing { user } | TapPhase::Storing { user, .. } => (Some(user), Vec::new(), 0),
            TapPhase::Releasing(it) => (Some(it.user), it.outcomes, it.pages),
        };
        Report { tap: self.id, verdict, reason, detail: None, user, outcomes, pages, duration }
    }

    fn user(&self) -> Option<&User> {
        match &self.phase {
            TapPhase::LoggingIn => None,
            TapPhase::Listing { user } | TapPhase::Storing { user, .. } => Some(user),
            TapPhase::Releasing(it) => Some(&it.user),
        }
    }
}

impl Releasing {
    fn end(&mut self, tap: TapId, id: Option<EntryId>, release: Release, ending: Ending, now: Now) -> Effect {
        self.ending += 1;
        let is_off = release.document.storage_online == Some(false);
        let outcome = match ending {
            // The server said before that it cannot reach the document's bytes.
            Ending::Ended(Outcome::Failed(Reason::NotReady | Reason::Rejected)) if is_off => {
                Outcome::Failed(Reason::ComputerOff)
            }
            Ending::Ended(outcome) => outcome,
            Ending::LeftOpen(reason) => {
                self.outcomes.push(Outcome::Unknown(reason.clone()));
                return Effect::LeaveOpen { tap, id, release: Box::new(release), reason };
            }
        };
        self.outcomes.push(outcome.clone());
        let record = (outcome.is_released() && release.record).then(|| Box::new(JobRecord::of(&release, now.wall)));
        if outcome.is_released() {
            self.pages = self.pages.saturating_add(release.document.pages.unwrap_or(0));
        }
        Effect::End { tap, id, document: release.document.uuid, outcome, record }
    }

    fn step(&self, more_remain: bool) -> TapStep {
        if !self.waiting.is_empty() || !self.sent.is_empty() || self.ending > 0 {
            return TapStep::Go(Vec::new());
        }
        let first_bad = |outcome: &Outcome| outcome.reason().cloned();
        let Some(reason) = self.outcomes.iter().find_map(first_bad) else {
            let reason = more_remain.then_some(Reason::MoreRemain);
            let signal = reason.as_ref().map_or(Signal::Done, of_reason);
            return TapStep::Over { signal, verdict: Verdict::Released, reason };
        };
        let unknown = self.outcomes.iter().any(|outcome| matches!(outcome, Outcome::Unknown(_)));
        let verdict = if unknown { Verdict::Unknown } else { Verdict::Failed };
        let some_came = self.outcomes.iter().any(Outcome::is_released);
        TapStep::Over { signal: after_releases(some_came, &reason), verdict, reason: Some(reason) }
    }
}

fn no_documents() -> TapStep {
    let reason = Reason::NoDocuments;
    TapStep::Over { signal: of_reason(&reason), verdict: Verdict::Released, reason: Some(reason) }
}

/// Everything that waits is still being made ready: the person may come again.
fn still_converting() -> TapStep {
    let reason = Reason::Converting;
    TapStep::Over { signal: of_reason(&reason), verdict: Verdict::Refused, reason: Some(reason) }
}

fn over((signal, verdict): (Signal, Verdict), failure: &Failure) -> TapStep {
    TapStep::Over { signal, verdict, reason: Some(failure.cause.into()) }
}
