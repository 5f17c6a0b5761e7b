//! One tap on its way: login, list, store, release, end. Each method is one step of the table in the design, section 2.

use std::collections::VecDeque;
use std::time::Instant;

use super::{Admission, Effect, Policy, Report, Verdict, select, signal_of};
use crate::domain::{Document, EntryId, Failure, JobRecord, Now, Outcome, Release, TapId, User};
use crate::feedback::Signal;

/// Reasons that come from an answer of the server, not from its absence.
const REFUSALS: [&str; 7] =
    ["not-ready", "rejected", "not-allowed", "not-found", "at the server", Outcome::RETAINED, ELSEWHERE];

/// Why something was not sent any more.
const DEADLINE: &str = "deadline";

/// Another tap has the document, at this or at another station of the box.
pub(super) const ELSEWHERE: &str = "at-another-station";

/// What a step leads to.
#[must_use]
pub(super) enum Step {
    /// On with these.
    Go(Vec<Effect>),
    /// The tap is over.
    Over { signal: Signal, verdict: Verdict, reason: String },
}

#[derive(Debug)]
pub(super) struct Tap {
    pub(super) id: TapId,
    started: Instant,
    user: Option<User>,
    /// Those that [`Effect::Store`] was asked to make durable.
    stored: Vec<Release>,
    /// May be sent, and not yet sent.
    waiting: VecDeque<(Option<EntryId>, Release)>,
    /// Sent, and not yet ended.
    sent: Vec<(Option<EntryId>, Release)>,
    /// How many [`Effect::End`] and [`Effect::FindOut`] are not yet done.
    ending: usize,
    outcomes: Vec<Outcome>,
    pages: u32,
}

impl Tap {
    pub(super) fn new(id: TapId, started: Instant) -> Self {
        Self {
            id,
            started,
            user: None,
            stored: Vec::new(),
            waiting: VecDeque::new(),
            sent: Vec::new(),
            ending: 0,
            outcomes: Vec::new(),
            pages: 0,
        }
    }

    /// Until when this tap is kept while the server is away, where the policy keeps it.
    pub(super) fn held(&self, policy: &Policy) -> Option<Instant> {
        policy.hold.then_some(self.started + policy.deadline)
    }

    pub(super) fn logged_in(&mut self, result: Result<User, Failure>, policy: &Policy) -> Step {
        match result {
            Err(failure) => over(&failure),
            Ok(user) => {
                self.user = Some(user);
                Step::Go(vec![Effect::List { tap: self.id, until: self.held(policy) }])
            }
        }
    }

    pub(super) fn listed(&mut self, result: Result<Vec<Document>, Failure>, policy: &Policy, now: Now) -> Step {
        let documents = match result {
            Err(failure) => return over(&failure),
            Ok(documents) => select(documents, policy),
        };
        if !documents.is_empty() && now.monotonic >= self.started + policy.deadline {
            let reason = DEADLINE.to_owned();
            return Step::Over { signal: Signal::ServerUnreachable, verdict: Verdict::Failed, reason };
        }
        let Some(user) = self.user.clone() else {
            // A list before a login cannot be ours to release.
            return Step::Go(Vec::new());
        };
        if documents.is_empty() {
            let reason = "no-documents".to_owned();
            return Step::Over { signal: Signal::NoDocuments, verdict: Verdict::Released, reason };
        }
        let release = |document| Release {
            tap: self.id,
            station: policy.name.clone(),
            user: user.clone(),
            document,
            port: policy.port.clone(),
            time: now.wall,
            record: policy.record,
            retain: policy.options.retain,
        };
        self.stored = documents.into_iter().map(release).collect();
        Step::Go(vec![Effect::Store { tap: self.id, releases: self.stored.clone() }])
    }

    pub(super) fn stored(&mut self, result: Result<Vec<Admission>, Failure>, policy: &Policy, now: Now) -> Step {
        let admissions = match result {
            Err(failure) => return over(&failure),
            Ok(admissions) => admissions,
        };
        let mut effects = Vec::new();
        for (admission, release) in admissions.into_iter().zip(std::mem::take(&mut self.stored)) {
            match admission {
                Admission::Stored(id) => self.waiting.push_back((Some(id), release)),
                Admission::Unstored => self.waiting.push_back((None, release)),
                Admission::Elsewhere => {
                    effects.push(self.end(None, release, Outcome::Failed(ELSEWHERE.to_owned()), now));
                }
            }
        }
        effects.extend(self.send(policy, now));
        Step::Go(effects)
    }

    pub(super) fn released(&mut self, document: &str, outcome: Outcome, policy: &Policy, now: Now) -> Step {
        let Some(index) = self.sent.iter().position(|(_, sent)| sent.document.uuid == document) else {
            return Step::Go(Vec::new());
        };
        let (id, release) = self.sent.swap_remove(index);
        let mut effects = vec![self.end(id, release, outcome, now)];
        effects.extend(self.send(policy, now));
        Step::Go(effects)
    }

    pub(super) fn ended(&mut self, policy: &Policy, now: Now) -> Step {
        self.ending = self.ending.saturating_sub(1);
        let effects = self.send(policy, now);
        if self.sent.is_empty() && self.ending == 0 { self.finish() } else { Step::Go(effects) }
    }

    /// As many releases as may run at a time; what is past its deadline ends unsent.
    fn send(&mut self, policy: &Policy, now: Now) -> Vec<Effect> {
        let deadline = self.started + policy.deadline;
        let mut effects = Vec::new();
        while self.sent.len() < policy.parallel
            && let Some((id, release)) = self.waiting.pop_front()
        {
            if now.monotonic >= deadline {
                effects.push(self.end(id, release, Outcome::Failed(DEADLINE.to_owned()), now));
            } else {
                let boxed = Box::new(release.clone());
                self.sent.push((id, release));
                effects.push(Effect::Release { tap: self.id, release: boxed, deadline });
            }
        }
        effects
    }

    fn end(&mut self, id: Option<EntryId>, release: Release, outcome: Outcome, now: Now) -> Effect {
        self.ending += 1;
        self.outcomes.push(outcome.clone());
        if let Some(id) = id
            && outcome.may_be_found_out()
        {
            return Effect::FindOut { tap: self.id, id, release: Box::new(release) };
        }
        let record = (outcome.is_released() && release.record).then(|| Box::new(JobRecord::of(&release, now.wall)));
        if outcome.is_released() {
            self.pages = self.pages.saturating_add(release.document.pages.unwrap_or(0));
        }
        Effect::End { tap: self.id, id, document: release.document.uuid, outcome, record }
    }

    fn finish(&self) -> Step {
        let released = self.outcomes.iter().filter(|outcome| outcome.is_released()).count();
        let unknown = self.outcomes.iter().any(|outcome| matches!(outcome, Outcome::Unknown(_)));
        let first_reason = self.outcomes.iter().find_map(|outcome| match outcome {
            Outcome::Failed(reason) | Outcome::Unknown(reason) => Some(reason.clone()),
            Outcome::Printed | Outcome::Accepted => None,
        });
        let verdict = match (&first_reason, unknown) {
            (None, _) => Verdict::Released,
            (Some(_), true) => Verdict::Unknown,
            (Some(_), false) => Verdict::Failed,
        };
        let signal = match (released, &first_reason) {
            (_, None) => Signal::Done,
            (0, Some(reason)) if REFUSALS.contains(&reason.as_str()) => Signal::Refused,
            (0, Some(_)) => Signal::ServerUnreachable,
            (_, Some(_)) => Signal::Partly,
        };
        Step::Over { signal, verdict, reason: first_reason.unwrap_or_default() }
    }

    pub(super) fn report(&mut self, verdict: Verdict, reason: String, now: Now) -> Report {
        Report {
            tap: self.id,
            verdict,
            reason,
            user: self.user.take(),
            outcomes: std::mem::take(&mut self.outcomes),
            pages: self.pages,
            duration: now.monotonic - self.started,
        }
    }
}

fn over(failure: &Failure) -> Step {
    let (signal, verdict) = signal_of(failure.cause);
    Step::Over { signal, verdict, reason: failure.cause.word().to_owned() }
}
