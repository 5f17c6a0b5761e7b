//! Decides whether a release is sent again: the one place that does. Pure: answers, timers and the time come in, the next thing to do
//! comes out.
//!
//! A *send* is a request that may have reached the server and was not refused. A document is never sent a second time
//! unless the server itself says that it is READY, asked at a time when the first request had settled: when the server
//! was certainly no longer at work on it.
//!
//! A tap, a tap whose document an earlier request may still print, and the recovery all run through [`Attempt`]. They differ in
//! their [`Mandate`]: the recovery has no user token, so it never sends and only finds out.

use std::time::{Duration, Instant};

use super::evidence::{Evidence, evidence};
use crate::backoff::Backoff;
use crate::domain::{Cause, DocumentStatus, Outcome, Reason};
use crate::planted;

/// Between two requests for one release while its person waits.
const TAP_RETRY: Backoff = match Backoff::new(Duration::from_millis(100), Duration::from_secs(2)) {
    Ok(backoff) => backoff,
    Err(_) => panic!("checked when compiled"),
};

/// Between two questions about a release for which nobody waits.
const RECOVERY_RETRY: Backoff = match Backoff::new(Duration::from_millis(500), Duration::from_secs(60)) {
    Ok(backoff) => backoff,
    Err(_) => panic!("checked when compiled"),
};

/// So long the recovery asks about one release after a start. Then nobody knows.
const ASK_FOR: Duration = Duration::from_secs(7 * 24 * 3_600);

/// The right to send, or only to ask.
#[derive(Clone, Copy, Debug)]
enum Mandate {
    /// Send, until the deadline.
    Release { deadline: Instant },
    /// Only find out, until then.
    FindOut { until: Instant },
}

/// The progress of the attempt.
#[derive(Clone, Copy, Debug)]
enum AttemptState {
    /// No request can be at work at the server.
    Unsent,
    /// The request is on its way.
    Sending,
    /// A request may have been done; the server is certainly no longer at work on it after `settled`.
    InDoubt { settled: Instant },
    /// The same, and the server is being asked since `since`.
    Asking { settled: Instant, since: Instant },
    /// It has come to its end.
    Over,
}

/// Something that the attempt waited for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum AttemptEvent {
    /// The attempt begins, or its timer has run out.
    Due,
    /// The answer to [`AttemptStep::Send`].
    Answered(Result<(), Cause>),
    /// The answer to [`AttemptStep::AskStatus`]; `None`: the server does not list the document.
    Status(Result<Option<DocumentStatus>, Cause>),
}

/// The next thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum AttemptStep {
    /// Send the release.
    Send,
    /// Ask where the document stands.
    AskStatus,
    /// Come back with [`AttemptEvent::Due`] then.
    Wait(Instant),
    /// The release has ended so.
    End(Outcome),
    /// Nobody knows yet how it ended: leave it open for the recovery.
    LeaveOpen(Reason),
}

/// One release on its way to an outcome.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempt {
    mandate: Mandate,
    /// The server was asked to keep the document.
    retain: bool,
    /// So long after a request was given up the server is no longer at work on it.
    settles_in: Duration,
    backoff: Backoff,
    state: AttemptState,
}

impl Mandate {
    /// The time after which it is pointless to wait for anything but certainty.
    fn end(self) -> Instant {
        match self {
            Self::Release { deadline: end } | Self::FindOut { until: end } => end,
        }
    }
}

impl Attempt {
    /// A tap's attempt: it may send until `deadline`. `sent_before`: an earlier request of this document, not sent after
    /// this time, may still have printed it.
    pub(crate) fn of_tap(retain: bool, deadline: Instant, sent_before: Option<Instant>, settles_in: Duration) -> Self {
        let state = match sent_before {
            None => AttemptState::Unsent,
            Some(sent) => AttemptState::InDoubt { settled: sent + settles_in },
        };
        Self { mandate: Mandate::Release { deadline }, retain, settles_in, backoff: TAP_RETRY, state }
    }

    /// The recovery's attempt: the release may have been sent, but not after `sent`.
    pub(crate) fn of_recovery(retain: bool, sent: Instant, settles_in: Duration) -> Self {
        let state = AttemptState::InDoubt { settled: sent + settles_in };
        let mandate = Mandate::FindOut { until: sent + ASK_FOR };
        Self { mandate, retain, settles_in, backoff: RECOVERY_RETRY, state }
    }

    /// Takes what happened at `now` and says what to do next. `random` is uniform over all its values.
    pub(crate) fn handle(&mut self, event: AttemptEvent, now: Instant, random: u64) -> AttemptStep {
        let step = match (self.state, event) {
            (AttemptState::Unsent, AttemptEvent::Due) => self.send(now),
            (AttemptState::InDoubt { settled }, AttemptEvent::Due) => self.ask(settled, now),
            (AttemptState::Sending, AttemptEvent::Answered(Ok(()))) => AttemptStep::End(Outcome::Accepted),
            (AttemptState::Sending, AttemptEvent::Answered(Err(cause))) => self.not_acknowledged(cause, now, random),
            (AttemptState::Asking { settled, since }, AttemptEvent::Status(Ok(status))) => {
                self.judge(status, since >= settled, settled, now, random)
            }
            (AttemptState::Asking { settled, .. }, AttemptEvent::Status(Err(cause))) => {
                self.not_told(cause, settled, now, random)
            }
            // No caller does this; and if one did, nothing would be sent.
            _ => AttemptStep::LeaveOpen(Reason::UnexpectedAnswer),
        };
        if matches!(step, AttemptStep::End(_) | AttemptStep::LeaveOpen(_)) {
            self.state = AttemptState::Over;
        }
        step
    }

    fn send(&mut self, now: Instant) -> AttemptStep {
        match self.mandate {
            Mandate::Release { deadline } if now < deadline => {
                self.state = AttemptState::Sending;
                AttemptStep::Send
            }
            Mandate::Release { .. } => AttemptStep::End(Outcome::Failed(Reason::Deadline)),
            Mandate::FindOut { .. } => AttemptStep::End(Outcome::Failed(Reason::Interrupted)),
        }
    }

    /// A person waits for the answer, so a tap asks at once: PRINTED counts whenever it is seen. The recovery asks when the
    /// answer is certain to settle it.
    fn ask(&mut self, settled: Instant, now: Instant) -> AttemptStep {
        if matches!(self.mandate, Mandate::FindOut { .. }) && now < settled {
            return AttemptStep::Wait(settled);
        }
        self.state = AttemptState::Asking { settled, since: now };
        AttemptStep::AskStatus
    }

    fn not_acknowledged(&mut self, cause: Cause, now: Instant, random: u64) -> AttemptStep {
        let cause = match cause {
            Cause::Overloaded { .. } if planted::is("a-plea-for-patience-is-no-work") => Cause::Unreachable,
            Cause::Lost { .. } if planted::is("a-lost-answer-is-no-work") => Cause::Unreachable,
            cause => cause,
        };
        let patience = match cause {
            Cause::Unreachable => {
                self.state = AttemptState::Unsent;
                return AttemptStep::Wait(now + self.backoff.next(random));
            }
            // A connection that was cut, and even an error from something between, does not stop the server's work.
            Cause::Lost { .. } | Cause::Malformed => Duration::ZERO,
            // Neither does a plea for patience: a back end may go on behind the balancer that gave it.
            Cause::Overloaded { retry_after } => Duration::from_secs(retry_after.unwrap_or(0).into()),
            Cause::Refused(_) | Cause::NotFound | Cause::NotReady | Cause::Rejected | Cause::Storage => {
                return AttemptStep::End(Outcome::Failed(cause.into()));
            }
        };
        self.backoff.reset();
        self.state = AttemptState::InDoubt { settled: now + self.settles_in };
        let pause = self.backoff.next(random);
        AttemptStep::Wait((now + pause.max(patience)).min(self.mandate.end().max(now + pause)))
    }

    fn judge(
        &mut self,
        status: Option<DocumentStatus>,
        is_settled: bool,
        settled: Instant,
        now: Instant,
        random: u64,
    ) -> AttemptStep {
        let is_settled = is_settled || planted::is("believe-ready-at-once");
        match (evidence(status, self.retain), self.mandate) {
            (Evidence::Released, _) => AttemptStep::End(Outcome::Accepted),
            (Evidence::GivenUp, _) => AttemptStep::End(Outcome::Failed(Reason::AtTheServer)),
            (Evidence::Retained, _) => AttemptStep::End(Outcome::Unknown(Reason::Retained)),
            (Evidence::Waiting, _) if is_settled => {
                self.state = AttemptState::Unsent;
                self.send(now)
            }
            (Evidence::Waiting, _) => self.ask_again(settled, now, random),
            // The user's list is not the whole truth; the history may know more.
            (Evidence::None, Mandate::FindOut { .. }) if planted::is("absent-is-not-printed") => {
                AttemptStep::End(Outcome::Failed(Reason::Interrupted))
            }
            (Evidence::None, Mandate::Release { .. }) => AttemptStep::LeaveOpen(Reason::NotListed),
            (Evidence::None, Mandate::FindOut { .. }) => AttemptStep::End(Outcome::Unknown(Reason::NotListed)),
        }
    }

    fn not_told(&mut self, cause: Cause, settled: Instant, now: Instant, random: u64) -> AttemptStep {
        match self.mandate {
            Mandate::Release { deadline } if matches!(cause, Cause::Refused(_)) || now >= deadline => {
                AttemptStep::LeaveOpen(cause.into())
            }
            Mandate::Release { .. } => self.ask_again(settled, now, random),
            Mandate::FindOut { until } => match cause {
                Cause::Refused(_) => AttemptStep::End(Outcome::Unknown(Reason::HistoryNotAllowed)),
                Cause::Rejected => AttemptStep::End(Outcome::Unknown(Reason::HistoryRejected)),
                Cause::NotFound => AttemptStep::End(Outcome::Unknown(Reason::HistoryNotFound)),
                _ if now >= until => AttemptStep::End(Outcome::Unknown(cause.into())),
                _ => self.ask_again(settled, now, random),
            },
        }
    }

    fn ask_again(&mut self, settled: Instant, now: Instant, random: u64) -> AttemptStep {
        self.state = AttemptState::InDoubt { settled };
        AttemptStep::Wait(now + self.backoff.next(random))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SETTLES_IN: Duration = Duration::from_secs(30);
    const DEADLINE: Duration = Duration::from_secs(90);
    const LOST: Cause = Cause::Lost { at_work: true };

    fn after(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn an_answer_that_is_lost_is_asked_for_and_ready_counts_only_when_the_request_has_settled() {
        let start = Instant::now();
        let mut attempt = Attempt::of_tap(false, start + DEADLINE, None, SETTLES_IN);
        assert_eq!(attempt.handle(AttemptEvent::Due, start, 0), AttemptStep::Send);
        assert!(matches!(attempt.handle(AttemptEvent::Answered(Err(LOST)), start, 0), AttemptStep::Wait(_)));
        assert_eq!(attempt.handle(AttemptEvent::Due, after(start, 29), 0), AttemptStep::AskStatus);
        let ready = AttemptEvent::Status(Ok(Some(DocumentStatus::Ready)));
        let told = attempt.handle(ready, after(start, 31), 0);
        assert!(matches!(told, AttemptStep::Wait(_)), "asked too early, whenever the answer comes: {told:?}");
        assert_eq!(attempt.handle(AttemptEvent::Due, after(start, 30), 0), AttemptStep::AskStatus);
        assert_eq!(attempt.handle(ready, after(start, 31), 0), AttemptStep::Send);
    }

    #[test]
    fn an_earlier_request_is_asked_about_before_anything_is_sent() {
        let start = Instant::now();
        let mut attempt = Attempt::of_tap(false, start + DEADLINE, Some(start), SETTLES_IN);
        assert_eq!(attempt.handle(AttemptEvent::Due, start, 0), AttemptStep::AskStatus);
        let printed = AttemptEvent::Status(Ok(Some(DocumentStatus::Printed)));
        assert_eq!(attempt.handle(printed, start, 0), AttemptStep::End(Outcome::Accepted));
    }

    #[test]
    fn without_a_connection_nothing_was_sent_and_it_is_tried_until_the_deadline() {
        let start = Instant::now();
        let mut attempt = Attempt::of_tap(false, start + DEADLINE, None, SETTLES_IN);
        assert_eq!(attempt.handle(AttemptEvent::Due, start, 0), AttemptStep::Send);
        assert!(matches!(
            attempt.handle(AttemptEvent::Answered(Err(Cause::Unreachable)), start, 0),
            AttemptStep::Wait(_)
        ));
        assert_eq!(attempt.handle(AttemptEvent::Due, after(start, 89), 0), AttemptStep::Send);
        assert!(matches!(
            attempt.handle(AttemptEvent::Answered(Err(Cause::Unreachable)), start, 0),
            AttemptStep::Wait(_)
        ));
        let end = AttemptStep::End(Outcome::Failed(Reason::Deadline));
        assert_eq!(attempt.handle(AttemptEvent::Due, after(start, 90), 0), end);
    }

    #[test]
    fn patience_is_what_the_server_asks_for_but_never_beyond_the_deadline_and_the_request_may_still_be_at_work() {
        for (retry_after, asks_at) in [(Some(60), 60), (Some(7_200), 90)] {
            let start = Instant::now();
            let mut attempt = Attempt::of_tap(false, start + DEADLINE, None, SETTLES_IN);
            assert_eq!(attempt.handle(AttemptEvent::Due, start, 0), AttemptStep::Send);
            let told = attempt.handle(AttemptEvent::Answered(Err(Cause::Overloaded { retry_after })), start, 0);
            assert_eq!(told, AttemptStep::Wait(after(start, asks_at)));
            assert_eq!(attempt.handle(AttemptEvent::Due, after(start, asks_at), 0), AttemptStep::AskStatus);
        }
    }

    #[test]
    fn a_release_whose_turn_comes_after_the_deadline_is_not_sent_but_an_earlier_request_is_asked_about() {
        let start = Instant::now();
        let mut unsent = Attempt::of_tap(false, start, None, SETTLES_IN);
        let too_late = AttemptStep::End(Outcome::Failed(Reason::Deadline));
        assert_eq!(unsent.handle(AttemptEvent::Due, start, 0), too_late);
        let mut taken_over = Attempt::of_tap(false, start, Some(start), SETTLES_IN);
        assert_eq!(taken_over.handle(AttemptEvent::Due, after(start, 40), 0), AttemptStep::AskStatus);
        let printed = AttemptEvent::Status(Ok(Some(DocumentStatus::Printed)));
        assert_eq!(taken_over.handle(printed, after(start, 40), 0), AttemptStep::End(Outcome::Accepted));
    }

    #[test]
    fn the_recovery_never_sends() {
        let start = Instant::now();
        let mut attempt = Attempt::of_recovery(false, start, SETTLES_IN);
        assert_eq!(attempt.handle(AttemptEvent::Due, start, 0), AttemptStep::Wait(after(start, 30)));
        assert_eq!(attempt.handle(AttemptEvent::Due, after(start, 30), 0), AttemptStep::AskStatus);
        let end = AttemptStep::End(Outcome::Failed(Reason::Interrupted));
        assert_eq!(attempt.handle(AttemptEvent::Status(Ok(Some(DocumentStatus::Ready))), after(start, 30), 0), end);
    }

    #[test]
    fn the_recovery_gives_up_where_it_may_not_ask_and_after_a_week() {
        for (cause, days, expected) in [
            (Cause::Refused(crate::domain::Who::Token), 0, Some(Reason::HistoryNotAllowed)),
            (Cause::Rejected, 0, Some(Reason::HistoryRejected)),
            (Cause::NotFound, 0, Some(Reason::HistoryNotFound)),
            (Cause::Unreachable, 0, None),
            (Cause::Unreachable, 7, Some(Reason::ServerUnreachable)),
        ] {
            let start = Instant::now();
            let mut attempt = Attempt::of_recovery(false, start, Duration::ZERO);
            let now = after(start, days * 24 * 3_600);
            assert_eq!(attempt.handle(AttemptEvent::Due, now, 0), AttemptStep::AskStatus);
            match (attempt.handle(AttemptEvent::Status(Err(cause)), now, 0), expected) {
                (AttemptStep::End(Outcome::Unknown(reason)), Some(expected)) => assert_eq!(reason, expected),
                (AttemptStep::Wait(_), None) => {}
                other => panic!("{cause:?} {other:?}"),
            }
        }
    }

    #[test]
    fn a_server_that_asks_for_hours_of_patience_and_says_ready_does_not_keep_an_attempt_beyond_its_deadline() {
        let start = Instant::now();
        let mut attempt = Attempt::of_tap(false, start + DEADLINE, None, SETTLES_IN);
        let (mut now, mut event, mut questions) = (start, AttemptEvent::Due, 0);
        while now < start + DEADLINE + 2 * SETTLES_IN {
            event = match attempt.handle(event, now, 7) {
                AttemptStep::Send => AttemptEvent::Answered(Err(Cause::Overloaded { retry_after: Some(36_000) })),
                AttemptStep::AskStatus => {
                    questions += 1;
                    AttemptEvent::Status(Ok(Some(DocumentStatus::Ready)))
                }
                AttemptStep::Wait(until) => {
                    now = until;
                    AttemptEvent::Due
                }
                AttemptStep::End(_) | AttemptStep::LeaveOpen(_) => return,
            };
        }
        panic!("still at it after {:?}, with {questions} questions", now - start);
    }

    #[test]
    fn an_event_that_nobody_asked_for_sends_nothing() {
        let start = Instant::now();
        let mut attempt = Attempt::of_tap(false, start + DEADLINE, None, SETTLES_IN);
        let unexpected = AttemptStep::LeaveOpen(Reason::UnexpectedAnswer);
        assert_eq!(attempt.handle(AttemptEvent::Status(Ok(Some(DocumentStatus::Ready))), start, 0), unexpected);
        assert_eq!(attempt.handle(AttemptEvent::Due, start, 0), unexpected);
    }

    /// The fate of the next request.
    #[derive(Clone, Copy, Debug)]
    enum Fate {
        /// It does not reach the server.
        Unreachable,
        /// The server refuses it.
        Refused,
        /// Something before the server asks for patience; the server may go on and print it after so many seconds.
        Overloaded { prints: Option<u64> },
        /// It is done after so many seconds, and the answer comes or is lost.
        Done { after: u64, answered: bool },
        /// It is lost on its way, and nobody knows.
        Vanished,
    }

    /// One turn of the world, with all that it may do.
    #[derive(Clone, Copy, Debug)]
    struct Round {
        fate: Fate,
        /// The status question is answered (0 to 5), not asked for want of a connection (6), lost (7) or refused (8).
        told: u8,
        /// Seconds that the answer takes, at most what a request may take.
        takes: u64,
        /// The power is pulled, and the box starts again: only the journal is left.
        restart: bool,
        /// Somebody makes the document READY again.
        again: bool,
        random: u64,
    }

    fn rounds() -> impl Strategy<Value = Round> {
        let fate = prop_oneof![
            Just(Fate::Unreachable),
            Just(Fate::Refused),
            prop::option::of(0..30u64).prop_map(|prints| Fate::Overloaded { prints }),
            (0..30u64, any::<bool>()).prop_map(|(after, answered)| Fate::Done { after, answered }),
            Just(Fate::Vanished),
        ];
        let rare = || prop::bool::weighted(0.1);
        (fate, 0u8..9, 0..10u64, rare(), rare(), any::<u64>())
            .prop_map(|(fate, told, takes, restart, again, random)| Round { fate, told, takes, restart, again, random })
    }

    /// A server with one document, as it really stands there.
    struct Server {
        /// The times at which a request will have printed it.
        prints_at: Vec<Instant>,
        printed: Vec<Instant>,
        ready: bool,
    }

    impl Server {
        fn status(&mut self, now: Instant) -> DocumentStatus {
            self.prints_at.sort_unstable();
            while self.prints_at.first().is_some_and(|at| *at <= now) {
                // A request prints whatever stands there: nothing but the agent's care prevents a second print.
                self.printed.push(self.prints_at.remove(0));
                self.ready = false;
            }
            if self.ready { DocumentStatus::Ready } else { DocumentStatus::Printed }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        /// Answers come, are lost, late or refusals, and the box starts again at any time: no second send without a
        /// READY that was seen after the first had settled; and every release ends.
        #[test]
        fn a_document_is_never_sent_twice_unless_the_server_says_ready_again(
            rounds in proptest::collection::vec(rounds(), 1..40),
        ) {
            let start = Instant::now();
            let mut server = Server { prints_at: Vec::new(), printed: Vec::new(), ready: true };
            let mut attempt = Attempt::of_tap(false, start + DEADLINE, None, SETTLES_IN);
            let (mut now, mut event) = (start, AttemptEvent::Due);
            // The last send that was not refused, and whether READY was seen after it had settled.
            let mut last_send: Option<Instant> = None;
            let mut ready_since = true;
            let mut allowed_prints = 1;
            let mut ended = None;
            let quiet = Round { fate: Fate::Vanished, told: 0, takes: 1, restart: false, again: false, random: 7 };
            let calm = std::iter::repeat_n(quiet, 400);
            for round in rounds.into_iter().chain(calm) {
                if round.again && !server.ready && server.status(now) == DocumentStatus::Printed && server.prints_at.is_empty() {
                    server.ready = true;
                    allowed_prints += 1;
                }
                if round.restart {
                    // The journal says that the release is open, and not whether it was sent.
                    attempt = Attempt::of_recovery(false, now, SETTLES_IN);
                    event = AttemptEvent::Due;
                    now += Duration::from_secs(round.takes);
                }
                let asked_at = now;
                event = match attempt.handle(event, now, round.random) {
                    AttemptStep::Send => {
                        prop_assert!(last_send.is_none() || ready_since, "sent again, and nobody said READY");
                        if !matches!(round.fate, Fate::Unreachable | Fate::Refused) {
                            (last_send, ready_since) = (Some(now + Duration::from_secs(round.takes)), false);
                        }
                        now += Duration::from_secs(round.takes);
                        AttemptEvent::Answered(match round.fate {
                            Fate::Unreachable => Err(Cause::Unreachable),
                            Fate::Refused => Err(Cause::NotReady),
                            Fate::Overloaded { prints } => {
                                server.prints_at.extend(prints.map(|after| asked_at + Duration::from_secs(after)));
                                Err(Cause::Overloaded { retry_after: Some(round.takes as u32 * 3_600) })
                            }
                            Fate::Vanished => Err(LOST),
                            Fate::Done { after, answered } => {
                                server.prints_at.push(asked_at + Duration::from_secs(after));
                                if answered { Ok(()) } else { Err(Cause::Malformed) }
                            }
                        })
                    }
                    AttemptStep::AskStatus => {
                        let status = server.status(now);
                        now += Duration::from_secs(round.takes);
                        AttemptEvent::Status(match round.told {
                            6 => Err(Cause::Unreachable),
                            7 => Err(LOST),
                            8 => Err(Cause::Refused(crate::domain::Who::Token)),
                            _ => {
                                let settled = last_send.is_none_or(|sent| asked_at >= sent + SETTLES_IN);
                                ready_since |= settled && status == DocumentStatus::Ready;
                                Ok(Some(status))
                            }
                        })
                    }
                    AttemptStep::Wait(until) => {
                        prop_assert!(until > now, "a wait that is none would be a busy loop");
                        now = until;
                        AttemptEvent::Due
                    }
                    AttemptStep::End(outcome) => {
                        ended = Some(outcome);
                        break;
                    }
                    AttemptStep::LeaveOpen(_) => {
                        attempt = Attempt::of_recovery(false, now, SETTLES_IN);
                        AttemptEvent::Due
                    }
                };
            }
            server.status(now + Duration::from_secs(3_600));
            prop_assert!(server.printed.len() <= allowed_prints, "printed {} times", server.printed.len());
            let ended = ended.ok_or_else(|| TestCaseError::fail("it has no end"))?;
            if matches!(ended, Outcome::Failed(_)) {
                prop_assert!(server.printed.len() < allowed_prints, "printed, and told as failed");
            }
        }

        /// The same release, taken over by a second tap while an earlier request may still print it.
        #[test]
        fn a_tap_that_takes_a_release_over_waits_until_the_earlier_request_has_settled(
            prints_after in proptest::option::of(0..30u64), taken_over in 0..40u64, takes in 0..10u64, random: u64,
        ) {
            let sent = Instant::now();
            let mut now = after(sent, taken_over);
            let prints_at = prints_after.map(|seconds| after(sent, seconds)).into_iter().collect();
            let mut server = Server { prints_at, printed: Vec::new(), ready: true };
            let mut attempt = Attempt::of_tap(false, now + DEADLINE, Some(sent), SETTLES_IN);
            let mut event = AttemptEvent::Due;
            let outcome = loop {
                event = match attempt.handle(event, now, random) {
                    AttemptStep::Send => {
                        server.prints_at.push(now);
                        AttemptEvent::Answered(Ok(()))
                    }
                    AttemptStep::AskStatus => {
                        let status = server.status(now);
                        now += Duration::from_secs(takes);
                        AttemptEvent::Status(Ok(Some(status)))
                    }
                    AttemptStep::Wait(until) => {
                        now = until;
                        AttemptEvent::Due
                    }
                    AttemptStep::End(outcome) => break outcome,
                    AttemptStep::LeaveOpen(reason) => return Err(TestCaseError::fail(format!("left open: {reason}"))),
                };
            };
            server.status(after(now, 3_600));
            prop_assert_eq!((outcome, server.printed.len()), (Outcome::Accepted, 1));
        }
    }
}
