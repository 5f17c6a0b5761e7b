//! Decides whether a job record is sent, sent again, or left to a person: the one place that does. Pure: answers come in, the next
//! thing to do comes out.
//!
//! The server has no idempotency key. So a record is marked on disk before it is sent, and while the mark stands it may
//! have arrived: it is in doubt. It is looked up first and sent again only if it is not there; where nobody may look, or the
//! history does not tell, it is sent again and counted as a possible duplicate.

use jiff::Timestamp;

use crate::config::InDoubt;
use crate::domain::Cause;
use crate::planted;

/// Whether the server has a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    Arrived,
    Absent,
    /// Nobody can tell: the history has rows that this record may have left, or another box.
    Ambiguous,
}

/// Something that the delivery waited for.
#[derive(Clone, Copy, Debug)]
pub(super) enum DeliveryEvent {
    /// It begins, or begins again after [`DeliveryStep::Keep`].
    Due,
    /// The answer to [`DeliveryStep::LookUp`].
    LookedUp(Result<Arrival, Cause>),
    /// The answer to [`DeliveryStep::Send`].
    Answered(Result<(), Cause>),
}

/// The next thing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum DeliveryStep {
    /// Look for the record that was sent at this time of the server's clock.
    LookUp(Timestamp),
    /// Mark it on disk, and then send it.
    Send { possible_duplicate: bool },
    /// The server has it.
    Acknowledge,
    /// The server refused it for good: it becomes a dead letter.
    Bury,
    /// It stays for this cause, and is tried again.
    Keep { mark: MarkAfter, cause: Cause },
}

/// The mark on disk of a record that stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MarkAfter {
    /// It stands: the record may have arrived.
    Stays,
    /// It is put back: the last attempt certainly did not arrive, but an earlier one may have.
    Is(Option<Timestamp>),
}

/// One job record on its way to the server.
#[derive(Clone, Copy, Debug)]
pub(super) struct Delivery {
    in_doubt: InDoubt,
    /// When it was sent, if it may have arrived.
    attempted: Option<Timestamp>,
    state: DeliveryState,
}

#[derive(Clone, Copy, Debug)]
enum DeliveryState {
    Waiting,
    LookingUp,
    Sending,
    Over,
}

impl Delivery {
    /// The delivery of a record with this mark.
    pub(super) fn new(attempted: Option<Timestamp>, in_doubt: InDoubt) -> Self {
        Self { in_doubt, attempted, state: DeliveryState::Waiting }
    }

    /// Takes what happened and says what to do next.
    pub(super) fn handle(&mut self, event: DeliveryEvent) -> DeliveryStep {
        match (self.state, event) {
            (DeliveryState::Waiting, DeliveryEvent::Due) => match (self.attempted, self.in_doubt) {
                (None, _) => self.send(false),
                (Some(attempted), InDoubt::Reconcile) => {
                    self.state = DeliveryState::LookingUp;
                    DeliveryStep::LookUp(attempted)
                }
                (Some(_), InDoubt::Resend) => self.send(true),
            },
            (DeliveryState::LookingUp, DeliveryEvent::LookedUp(Ok(Arrival::Arrived))) => {
                self.end(DeliveryStep::Acknowledge)
            }
            (DeliveryState::LookingUp, DeliveryEvent::LookedUp(Ok(Arrival::Absent))) => {
                self.attempted = None;
                self.send(false)
            }
            // Nobody can know: the history does not tell, or may not be read.
            (
                DeliveryState::LookingUp,
                DeliveryEvent::LookedUp(
                    Ok(Arrival::Ambiguous) | Err(Cause::Refused(_) | Cause::Rejected | Cause::NotFound),
                ),
            ) => self.send(true),
            (DeliveryState::LookingUp, DeliveryEvent::LookedUp(Err(cause))) => self.keep(MarkAfter::Stays, cause),
            (DeliveryState::Sending, DeliveryEvent::Answered(Ok(()))) => self.end(DeliveryStep::Acknowledge),
            (DeliveryState::Sending, DeliveryEvent::Answered(Err(Cause::Rejected | Cause::NotReady))) => {
                self.end(DeliveryStep::Bury)
            }
            (DeliveryState::Sending, DeliveryEvent::Answered(Err(cause))) if cause.is_in_doubt() => {
                self.keep(MarkAfter::Stays, cause)
            }
            (DeliveryState::Sending, DeliveryEvent::Answered(Err(cause))) => {
                self.keep(MarkAfter::Is(self.attempted), cause)
            }
            // No caller does this; and if one did, nothing would be sent or forgotten.
            _ => DeliveryStep::Keep { mark: MarkAfter::Stays, cause: Cause::Malformed },
        }
    }

    fn send(&mut self, possible_duplicate: bool) -> DeliveryStep {
        let possible_duplicate = possible_duplicate && !planted::is("count-no-duplicate");
        self.state = DeliveryState::Sending;
        DeliveryStep::Send { possible_duplicate }
    }

    fn end(&mut self, step: DeliveryStep) -> DeliveryStep {
        self.state = DeliveryState::Over;
        step
    }

    /// This delivery is over; the outbox begins another one with the mark on disk.
    fn keep(&mut self, mark: MarkAfter, cause: Cause) -> DeliveryStep {
        let mark = if planted::is("take-the-mark-back") { MarkAfter::Is(None) } else { mark };
        self.end(DeliveryStep::Keep { mark, cause })
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;
    use proptest::prelude::*;

    use super::*;
    use crate::domain::Who;

    const LOST: Cause = Cause::Lost { at_work: true };

    /// Seconds after which the server is no longer at work on a request.
    const SETTLES_IN: i64 = 30;

    fn at(second: i64) -> Timestamp {
        Timestamp::constant(1_790_000_000, 0) + SignedDuration::from_secs(second)
    }

    #[test]
    fn a_record_in_doubt_is_looked_up_before_it_is_sent_again() {
        let mut delivery = Delivery::new(Some(at(0)), InDoubt::Reconcile);
        assert_eq!(delivery.handle(DeliveryEvent::Due), DeliveryStep::LookUp(at(0)));
        assert_eq!(
            delivery.handle(DeliveryEvent::LookedUp(Ok(Arrival::Absent))),
            DeliveryStep::Send { possible_duplicate: false }
        );
        let unmarked = DeliveryStep::Keep { mark: MarkAfter::Is(None), cause: Cause::Unreachable };
        assert_eq!(
            delivery.handle(DeliveryEvent::Answered(Err(Cause::Unreachable))),
            unmarked,
            "the first one is not there"
        );
    }

    #[test]
    fn a_record_of_which_the_history_does_not_tell_is_sent_again_and_counted() {
        let refused = Err(Cause::Refused(Who::Token));
        for (in_doubt, looked_up) in [
            (InDoubt::Reconcile, Some(refused)),
            (InDoubt::Reconcile, Some(Ok(Arrival::Ambiguous))),
            (InDoubt::Resend, None),
        ] {
            let mut delivery = Delivery::new(Some(at(0)), in_doubt);
            let mut step = delivery.handle(DeliveryEvent::Due);
            if let Some(answer) = looked_up {
                step = delivery.handle(DeliveryEvent::LookedUp(answer));
            }
            assert_eq!(step, DeliveryStep::Send { possible_duplicate: true });
            let still = DeliveryStep::Keep { mark: MarkAfter::Is(Some(at(0))), cause: Cause::Unreachable };
            assert_eq!(
                delivery.handle(DeliveryEvent::Answered(Err(Cause::Unreachable))),
                still,
                "the first one may be there"
            );
        }
    }

    #[test]
    fn a_history_that_cannot_be_reached_now_tells_nothing() {
        let mut delivery = Delivery::new(Some(at(0)), InDoubt::Reconcile);
        assert_eq!(delivery.handle(DeliveryEvent::Due), DeliveryStep::LookUp(at(0)));
        let later = DeliveryStep::Keep { mark: MarkAfter::Stays, cause: Cause::Unreachable };
        assert_eq!(delivery.handle(DeliveryEvent::LookedUp(Err(Cause::Unreachable))), later);
    }

    #[test]
    fn a_refusal_for_good_buries_and_a_record_that_may_have_arrived_stays_marked() {
        let answered = |cause| {
            let mut delivery = Delivery::new(None, InDoubt::Reconcile);
            assert_eq!(delivery.handle(DeliveryEvent::Due), DeliveryStep::Send { possible_duplicate: false });
            delivery.handle(DeliveryEvent::Answered(Err(cause)))
        };
        assert_eq!((answered(Cause::Rejected), answered(Cause::NotReady)), (DeliveryStep::Bury, DeliveryStep::Bury));
        let busy = |retry_after| Cause::Overloaded { retry_after };
        for cause in [LOST, Cause::Lost { at_work: false }, Cause::Malformed, busy(None), busy(Some(7))] {
            assert_eq!(answered(cause), DeliveryStep::Keep { mark: MarkAfter::Stays, cause });
        }
        for cause in [Cause::Unreachable, Cause::Refused(Who::Token), Cause::NotFound] {
            assert_eq!(answered(cause), DeliveryStep::Keep { mark: MarkAfter::Is(None), cause });
        }
    }

    #[test]
    fn an_event_that_nobody_asked_for_neither_sends_nor_forgets() {
        let mut delivery = Delivery::new(None, InDoubt::Reconcile);
        let step = delivery.handle(DeliveryEvent::Answered(Ok(())));
        assert!(matches!(step, DeliveryStep::Keep { mark: MarkAfter::Stays, .. }), "{step:?}");
    }

    /// The states of a record, which is always in exactly one of them.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum RecordState {
        Waiting,
        InDoubt(Timestamp),
        Acknowledged,
        Buried,
        /// Its age or the journal's limit ended it.
        GivenUp,
        /// A person dropped the dead letter.
        Dropped,
    }

    #[derive(Clone, Copy, Debug)]
    enum Fate {
        Unreachable,
        /// Refused for good.
        Rejected,
        /// Refused for now, by the token.
        RefusedNow,
        /// Something before the server asks for patience; the server may go on and record it after so many seconds.
        Overloaded {
            recorded: Option<i64>,
        },
        /// It is recorded after so many seconds, and the answer comes or is lost.
        Recorded {
            after: i64,
            answered: bool,
        },
        Vanished,
    }

    #[derive(Clone, Copy, Debug)]
    struct Round {
        fate: Fate,
        /// 0: the history may not be read; 1: it cannot be reached; 2: it has a stranger's row that looks the same; else it tells.
        history: u8,
        /// The power is pulled before the next step.
        restart: bool,
        /// 0: the journal gives the record up; 1: a person drops it, if it is a dead letter; 2: or tries it again.
        person: u8,
        waits: i64,
    }

    fn rounds() -> impl Strategy<Value = Round> {
        let fate = prop_oneof![
            Just(Fate::Unreachable),
            Just(Fate::Rejected),
            Just(Fate::RefusedNow),
            prop::option::of(0..SETTLES_IN).prop_map(|recorded| Fate::Overloaded { recorded }),
            (0..SETTLES_IN, any::<bool>()).prop_map(|(after, answered)| Fate::Recorded { after, answered }),
            Just(Fate::Vanished),
        ];
        (fate, 0u8..8, prop::bool::weighted(0.15), 0u8..60, 0..200i64)
            .prop_map(|(fate, history, restart, person, waits)| Round { fate, history, restart, person, waits })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        /// Answers come, are lost, late or refusals, and the power is pulled at any time: a record is in exactly one
        /// state, it is only acknowledged if it arrived, it arrives twice only if that was counted as possible, and the last
        /// two states are counted.
        #[test]
        fn a_record_arrives_once_or_its_duplicate_is_counted_and_it_is_always_in_one_state(
            rounds in proptest::collection::vec(rounds(), 1..60), resend in prop::bool::weighted(0.2),
        ) {
            let in_doubt = if resend { InDoubt::Resend } else { InDoubt::Reconcile };
            let (mut state, mut now) = (RecordState::Waiting, 0);
            let (mut arrivals, mut possible_duplicates, mut lost): (Vec<i64>, u32, u32) = (Vec::new(), 0, 0);
            let begin = |state| match state {
                RecordState::Waiting => Some(Delivery::new(None, in_doubt)),
                RecordState::InDoubt(at) => Some(Delivery::new(Some(at), in_doubt)),
                _ => None,
            };
            let (mut delivery, mut event) = (begin(state), DeliveryEvent::Due);
            let mut retries = 0;
            for round in rounds {
                now += 1;
                match (round.person, state) {
                    (0, RecordState::Waiting | RecordState::InDoubt(_) | RecordState::Buried) => {
                        (state, delivery) = (RecordState::GivenUp, None);
                        lost += 1;
                    }
                    (1..20, RecordState::Buried) => {
                        state = RecordState::Dropped;
                        lost += 1;
                    }
                    (20..50, RecordState::Buried) => {
                        // A person sends it again, under a new number: refused for good means that it is not there.
                        (state, event) = (RecordState::Waiting, DeliveryEvent::Due);
                        delivery = begin(state);
                        retries += 1;
                    }
                    _ => {}
                }
                if round.restart {
                    (delivery, event) = (begin(state), DeliveryEvent::Due);
                }
                let Some(running) = &mut delivery else { continue };
                event = match running.handle(event) {
                    DeliveryStep::LookUp(sent) => {
                        prop_assert_eq!(state, RecordState::InDoubt(sent));
                        // The look-up waits until the last attempt has settled.
                        now = now.max(sent.duration_since(at(0)).as_secs() + SETTLES_IN);
                        DeliveryEvent::LookedUp(match round.history {
                            0 => Err(Cause::Refused(Who::Token)),
                            1 => Err(LOST),
                            2 => Ok(Arrival::Ambiguous),
                            _ if arrivals.iter().any(|arrived| *arrived <= now) => Ok(Arrival::Arrived),
                            _ => Ok(Arrival::Absent),
                        })
                    }
                    DeliveryStep::Send { possible_duplicate } => {
                        possible_duplicates += u32::from(possible_duplicate);
                        state = RecordState::InDoubt(at(now));
                        let sent = now;
                        now += round.waits % 10;
                        DeliveryEvent::Answered(match round.fate {
                            Fate::Unreachable => Err(Cause::Unreachable),
                            Fate::Rejected => Err(Cause::Rejected),
                            Fate::RefusedNow => Err(Cause::Refused(Who::Token)),
                            Fate::Overloaded { recorded } => {
                                arrivals.extend(recorded.map(|after| sent + after));
                                Err(Cause::Overloaded { retry_after: None })
                            }
                            Fate::Vanished => Err(LOST),
                            Fate::Recorded { after, answered } => {
                                arrivals.push(sent + after);
                                if answered { Ok(()) } else { Err(LOST) }
                            }
                        })
                    }
                    DeliveryStep::Acknowledge => {
                        prop_assert!(!arrivals.is_empty(), "forgotten, and it never arrived");
                        (state, delivery) = (RecordState::Acknowledged, None);
                        continue;
                    }
                    DeliveryStep::Bury => {
                        (state, delivery) = (RecordState::Buried, None);
                        continue;
                    }
                    DeliveryStep::Keep { mark, .. } => {
                        if let MarkAfter::Is(mark) = mark {
                            state = mark.map_or(RecordState::Waiting, RecordState::InDoubt);
                        }
                        now += round.waits;
                        (delivery, event) = (begin(state), DeliveryEvent::Due);
                        continue;
                    }
                };
            }
            let ends_lost = matches!(state, RecordState::GivenUp | RecordState::Dropped);
            prop_assert_eq!(lost, u32::from(ends_lost), "counted as often as it happened");
            let extra = arrivals.len().saturating_sub(1) as u32;
            prop_assert!(extra <= possible_duplicates + retries, "{} arrivals, {possible_duplicates} counted", arrivals.len());
            if state == RecordState::Waiting {
                prop_assert!(arrivals.is_empty() || possible_duplicates + retries > 0, "it arrived, and waits as if it had not");
            }
        }
    }
}
