//! Several taps under way at one station, and answers that fit none of them.

use super::*;

/// A second tap, of another person, up to its stored releases.
fn second(stage: &mut TestStation, documents: Vec<Document>) -> (TapId, Vec<Effect>) {
    let (tap, effects) = stage.hold("04B2");
    assert!(matches!(effects[..], [Effect::Feedback(Signal::Reading), Effect::Login { .. }]), "{effects:?}");
    let releases = stage.up_to_storing(tap, documents);
    let admissions = (101..=100 + releases.len() as EntryId).map(Admission::Stored).collect();
    (tap, stage.stored(tap, releases, admissions))
}

#[test]
fn the_next_person_logs_in_at_once_and_their_releases_follow_those_of_the_one_before() {
    let mut stage = TestStation::with(policy());
    let (first, effects) = stage.up_to_stored(vec![document("a", 1), document("b", 2), document("c", 3)]);
    assert_eq!(sent(&effects), ["a", "b"]);
    let (next, effects) = second(&mut stage, vec![document("x", 4), document("y", 5)]);
    assert_eq!(sent(&effects), Vec::<String>::new());
    assert_eq!(sent(&stage.released(first, "a", Outcome::Accepted)), ["c"]);
    assert_eq!(sent(&stage.released(first, "c", Outcome::Accepted)), Vec::<String>::new(), "b is still on its way");
    assert_eq!(sent(&stage.released(first, "b", Outcome::Accepted)), ["x", "y"]);
    stage.released(next, "x", Outcome::Accepted);
    stage.released(next, "y", Outcome::Accepted);
    stage.ended(next);
    assert_eq!(signals(&stage.ended(next)), [Signal::Done]);
    assert!(stage.station.is_busy(), "the outcomes of the first are not durable yet");
}

#[test]
fn the_light_belongs_to_the_last_person_and_the_report_to_everybody() {
    let mut stage = TestStation::with(policy());
    let (first, _) = stage.up_to_stored(vec![document("a", 1)]);
    let (next, _) = stage.hold("04B2");
    stage.released(first, "a", Outcome::Accepted);
    let effects = stage.ended(first);
    assert_eq!((signals(&effects), report(&effects).unwrap().tap), (vec![], first));
    let refused = Failure::new(Cause::Refused(Who::Login), "403");
    assert_eq!(signals(&stage.answer(next, TapAnswer::LoggedIn(Err(refused)))), [Signal::UnknownCard]);
}

#[test]
fn a_document_that_an_earlier_tap_is_releasing_is_not_waiting_any_more() {
    let mut stage = TestStation::with(policy());
    stage.up_to_stored(vec![document("a", 1), document("b", 2), document("c", 3)]);
    let (again, _) = stage.hold("04B2");
    stage.logged_in(again);
    let effects = stage.listed(again, vec![document("a", 1), document("c", 3), document("d", 4)]);
    let [Effect::Store { releases, .. }] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!(releases.iter().map(|release| release.document.uuid.as_str()).collect::<Vec<_>>(), ["d"]);
    let (third, _) = stage.hold("04C3");
    stage.logged_in(third);
    let effects = stage.listed(third, vec![document("d", 4)]);
    assert_eq!((signals(&effects), report(&effects).unwrap().reason.clone()), (vec![], Some(Reason::NoDocuments)));
}

#[test]
fn five_taps_may_be_under_way_and_the_sixth_is_refused() {
    let mut stage = TestStation::with(policy());
    for number in 0..TAP_LIMIT {
        let effects = stage.hold(&format!("card {number}")).1;
        assert!(matches!(effects[..], [Effect::Feedback(Signal::Reading), Effect::Login { .. }]), "{effects:?}");
    }
    let effects = stage.hold("one too many").1;
    assert_eq!(signals(&effects), [Signal::Refused]);
    assert_eq!(report(&effects).unwrap().reason, Some(Reason::Busy));
}

#[test]
fn a_stop_refuses_those_who_wait_and_lets_stored_releases_end() {
    let mut stage = TestStation::with(policy());
    let (tap, _) = stage.up_to_stored(vec![document("a", 1)]);
    let (next, _) = second(&mut stage, vec![document("x", 4)]);
    stage.hold("a third");
    let effects = stage.handle(Event::Stop);
    assert_eq!(report(&effects).unwrap().reason, Some(Reason::Stopping));
    assert_eq!(stage.hold("a fourth").1, []);
    assert_eq!(sent(&stage.released(tap, "a", Outcome::Accepted)), ["x"]);
    stage.ended(tap);
    stage.released(next, "x", Outcome::Accepted);
    stage.ended(next);
    assert!(!stage.station.is_busy());
}

#[test]
fn an_answer_that_fits_no_phase_ends_its_tap_and_leaves_its_releases_open() {
    let mut stage = TestStation::with(policy());
    let (tap, _) = stage.up_to_stored(vec![document("a", 1), document("b", 2), document("c", 3)]);
    let (next, _) = second(&mut stage, vec![document("x", 4)]);
    let effects = stage.listed(tap, vec![]);
    assert!(
        matches!(effects[0], Effect::Abandon { phase: "releasing", answer: "listed", .. }),
        "it is cut off before its releases are left open: {effects:?}"
    );
    let open = |effect: &Effect| match effect {
        Effect::LeaveOpen { id, .. } => *id,
        _ => None,
    };
    let mut ids: Vec<_> = effects.iter().filter_map(open).collect();
    ids.sort_unstable();
    assert_eq!(ids, [1, 2, 3]);
    let report = report(&effects).unwrap();
    assert_eq!((report.verdict, &report.reason), (Verdict::Unknown, &Some(Reason::UnexpectedAnswer)));
    assert_eq!(sent(&effects), ["x"], "the next one goes on");
    assert_eq!(stage.released(tap, "a", Outcome::Accepted), [], "an answer to a tap that has ended");
    stage.released(next, "x", Outcome::Accepted);
    stage.ended(next);
    assert!(!stage.station.is_busy());
}

#[test]
fn releases_that_were_stored_for_a_tap_that_has_ended_are_left_open() {
    let mut stage = TestStation::with(policy());
    let (tap, _) = stage.hold("04A1");
    let releases = stage.up_to_storing(tap, vec![document("a", 1), document("b", 2)]);
    let effects = stage.ended(tap);
    assert!(matches!(effects[0], Effect::Abandon { phase: "storing", answer: "ended", .. }), "{effects:?}");
    let effects = stage.stored(tap, releases, vec![Admission::Stored(7), Admission::Elsewhere]);
    assert!(matches!(&effects[..], [Effect::LeaveOpen { id: Some(7), .. }]), "{effects:?}");
}

#[test]
fn taps_that_do_not_end_in_time_are_given_up_and_reported() {
    let mut stage = TestStation::with(policy());
    stage.up_to_stored(vec![document("a", 1), document("b", 2), document("c", 3)]);
    second(&mut stage, vec![document("x", 4)]);
    stage.handle(Event::Stop);
    let effects = stage.handle(Event::GiveUp);
    let open = effects.iter().filter(|effect| matches!(effect, Effect::LeaveOpen { .. })).count();
    let reports = effects.iter().filter(|effect| matches!(effect, Effect::Report(_))).count();
    assert_eq!((open, reports, sent(&effects).len(), stage.station.is_busy()), (4, 2, 0, false));
    assert_eq!(report(&effects).unwrap().reason, Some(Reason::Stopping));
}

#[test]
fn releases_without_an_entry_that_come_for_a_tap_that_has_ended_are_given_up() {
    let mut stage = TestStation::with(Policy { record: false, ..policy() });
    let (tap, _) = stage.hold("04A1");
    let releases = stage.up_to_storing(tap, vec![document("a", 1)]);
    stage.ended(tap);
    let effects = stage.stored(tap, releases, vec![Admission::Unstored]);
    assert!(matches!(effects[..], [Effect::LeaveOpen { id: None, .. }]), "{effects:?}");
}

/// A person taps again because nothing came. The second tap ends at once, for the first one is about to release what waits;
/// and then the first one cannot.
#[test]
fn a_person_who_tapped_twice_sees_how_the_first_tap_ends() {
    let mut stage = TestStation::with(policy());
    let (first, _) = stage.hold("04A1");
    stage.up_to_storing(first, vec![document("a", 1)]);
    stage.pass(Duration::from_secs(3));
    // Somebody else taps in between.
    let (other, _) = stage.hold("04B2");
    let (second, _) = stage.hold("04A1");
    stage.logged_in(second);
    let effects = stage.listed(second, vec![document("a", 1)]);
    assert_eq!((signals(&effects), report(&effects).unwrap().reason.clone()), (vec![], Some(Reason::NoDocuments)));
    let refused = Failure::new(Cause::Refused(Who::Login), "403");
    assert_eq!(signals(&stage.answer(other, TapAnswer::LoggedIn(Err(refused)))), []);
    let full = Failure::new(Cause::Storage, "disk full");
    assert_eq!(signals(&stage.answer(first, TapAnswer::Stored(Err(full)))), [Signal::Refused]);
}

/// Something that the world does next.
#[derive(Clone, Debug)]
enum Move {
    Hold,
    /// Answers one open effect: which, and how.
    Answer(prop::sample::Index, u8),
    /// An answer that nobody asked for, to one of the taps.
    Misfit(prop::sample::Index, u8),
    Pass(u64),
    Stop,
    GiveUp,
}

fn moves() -> impl Strategy<Value = Move> {
    prop_oneof![
        3 => Just(Move::Hold),
        20 => (any::<prop::sample::Index>(), any::<u8>()).prop_map(|(which, how)| Move::Answer(which, how)),
        1 => (any::<prop::sample::Index>(), any::<u8>()).prop_map(|(which, how)| Move::Misfit(which, how)),
        2 => (0u64..40).prop_map(Move::Pass),
        1 => Just(Move::Stop),
        1 => Just(Move::GiveUp),
    ]
}

/// The rest of the world: what it was asked for and has not answered, and what it has seen.
struct World {
    stage: TestStation,
    open: Vec<Effect>,
    held: Vec<TapId>,
    reports: Vec<TapId>,
    abandoned: Vec<TapId>,
    /// Documents under release, each with its tap.
    sent: Vec<(TapId, String)>,
    /// Each stored release, with the number of times that it was ended or left open.
    ended: std::collections::BTreeMap<EntryId, usize>,
    stored: EntryId,
    /// The numbers under which releases were admitted.
    admitted: std::collections::BTreeSet<EntryId>,
    documents: usize,
}

impl World {
    fn take(&mut self, effects: Vec<Effect>) -> Result<(), TestCaseError> {
        for effect in effects {
            match &effect {
                Effect::Feedback(_) => continue,
                Effect::Report(report) => {
                    prop_assert!(!self.reports.contains(&report.tap), "reported twice");
                    self.reports.push(report.tap);
                    continue;
                }
                Effect::Abandon { tap, .. } => {
                    self.abandoned.push(*tap);
                    // Its sending was cut off.
                    self.open.retain(|open| !matches!(open, Effect::Release { tap: of, .. } if of == tap));
                    self.sent.retain(|(of, _)| of != tap);
                    continue;
                }
                Effect::Release { tap, release, .. } => {
                    let order = |of: &TapId| self.held.iter().position(|held| held == of);
                    let later = self.sent.iter().any(|(of, _)| order(of) > order(tap));
                    prop_assert!(!later, "a release of a later tap is on its way");
                    let twice = self.sent.iter().any(|(_, document)| *document == release.document.uuid);
                    prop_assert!(!twice, "a document is on its way twice");
                    self.sent.push((*tap, release.document.uuid.clone()));
                    prop_assert!(self.sent.iter().filter(|(of, _)| of == tap).count() <= self.stage.policy_parallel());
                }
                Effect::End { id: Some(id), .. } | Effect::LeaveOpen { id: Some(id), .. } => {
                    *self.ended.entry(*id).or_default() += 1;
                }
                _ => {}
            }
            self.open.push(effect);
        }
        Ok(())
    }

    /// An answer of some kind to an effect.
    fn answer(&mut self, effect: &Effect, how: u8) -> Option<(TapId, TapAnswer)> {
        let unreachable = || Failure::new(Cause::Unreachable, "x");
        Some(match effect {
            Effect::Login { tap, .. } => {
                let user = User { name: "ada".to_owned(), provider: None };
                (*tap, TapAnswer::LoggedIn(if how == 0 { Err(unreachable()) } else { Ok(user) }))
            }
            Effect::List { tap, .. } => {
                let documents = (0..usize::from(how % 5)).map(|n| document(&format!("d{}", self.documents + n), 1));
                let documents = documents.collect();
                self.documents += usize::from(how % 3);
                (*tap, TapAnswer::Listed { asked: self.stage.now.monotonic, result: Ok(documents) })
            }
            Effect::Store { tap, releases, .. } => {
                if how == 255 {
                    return Some((*tap, TapAnswer::Stored(Err(unreachable()))));
                }
                let admissions = releases.iter().map(|release| {
                    self.stored += 1;
                    let admission = match how % 8 {
                        0 => Admission::Elsewhere,
                        1 => Admission::Outdated,
                        _ => {
                            self.admitted.insert(self.stored);
                            Admission::Stored(self.stored)
                        }
                    };
                    (admission, release.clone())
                });
                (*tap, TapAnswer::Stored(Ok(admissions.collect())))
            }
            Effect::Release { tap, release, .. } => {
                self.sent.retain(|(_, document)| *document != release.document.uuid);
                let ending = match how % 4 {
                    0 => Ending::Ended(Outcome::Accepted),
                    1 => Ending::Ended(Outcome::Failed(Reason::NotReady)),
                    2 => Ending::Ended(Outcome::Unknown(Reason::Retained)),
                    _ => Ending::LeftOpen(Reason::AnswerLost),
                };
                (*tap, TapAnswer::Released { document: release.document.uuid.clone(), ending })
            }
            Effect::End { tap, .. } | Effect::LeaveOpen { tap, .. } => (*tap, TapAnswer::Ended),
            Effect::Feedback(_) | Effect::Abandon { .. } | Effect::Report(_) => return None,
        })
    }

    fn answer_open(&mut self, index: usize, how: u8) -> Result<(), TestCaseError> {
        let effect = self.open.swap_remove(index);
        let Some((tap, answer)) = self.answer(&effect, how) else { return Ok(()) };
        let effects = self.stage.answer(tap, answer);
        self.take(effects)
    }
}

impl TestStation {
    fn policy_parallel(&self) -> usize {
        policy().parallel
    }
}

proptest! {
    /// Things happen in any order, answers that nobody asked for among them: releases are sent in the order of the
    /// taps, none of them twice; each that was stored is ended or left open exactly once; every card that was accepted is
    /// reported exactly once; and the station is free in the end.
    #[test]
    fn every_tap_ends_and_every_stored_release_ends_once(moves in proptest::collection::vec(moves(), 1..150)) {
        let mut world = World {
            stage: TestStation::with(policy()),
            open: Vec::new(),
            held: Vec::new(),
            reports: Vec::new(),
            abandoned: Vec::new(),
            sent: Vec::new(),
            ended: Default::default(),
            stored: 0,
            admitted: Default::default(),
            documents: 0,
        };
        for step in moves {
            match step {
                Move::Hold => {
                    let (tap, effects) = world.stage.hold(&format!("card {}", world.held.len()));
                    if !effects.is_empty() {
                        world.held.push(tap);
                    }
                    world.take(effects)?;
                }
                Move::Answer(which, how) if !world.open.is_empty() => {
                    let index = which.index(world.open.len());
                    world.answer_open(index, how)?;
                }
                Move::Misfit(which, how) if !world.held.is_empty() => {
                    let tap = world.held[which.index(world.held.len())];
                    let answer = match how % 4 {
                        0 => TapAnswer::Ended,
                        3 => TapAnswer::Lost,
                        1 => TapAnswer::Released { document: "nobody's".to_owned(), ending: Ending::Ended(Outcome::Accepted) },
                        _ => TapAnswer::LoggedIn(Ok(User { name: "ada".to_owned(), provider: None })),
                    };
                    let effects = world.stage.answer(tap, answer);
                    world.take(effects)?;
                }
                Move::Pass(seconds) => world.stage.pass(Duration::from_secs(seconds)),
                Move::Stop => {
                    let effects = world.stage.handle(Event::Stop);
                    world.take(effects)?;
                }
                Move::GiveUp => {
                    // The loop stops the sending before it gives the taps up.
                    world.open.retain(|open| !matches!(open, Effect::Release { .. }));
                    world.sent.clear();
                    let effects = world.stage.handle(Event::GiveUp);
                    world.take(effects)?;
                }
                Move::Answer(..) | Move::Misfit(..) => {}
            }
        }
        while !world.open.is_empty() {
            world.answer_open(0, 4)?;
        }
        prop_assert!(!world.stage.station.is_busy(), "{:?}", world.stage.station);
        let mut reports = world.reports.clone();
        reports.sort_unstable();
        let mut held = world.held.clone();
        held.sort_unstable();
        prop_assert_eq!(reports, held);
        let once: std::collections::BTreeMap<EntryId, usize> = world.admitted.iter().map(|id| (*id, 1)).collect();
        prop_assert_eq!(world.ended, once);
    }
}

#[test]
fn a_station_slows_down_for_somebody_who_tries_card_after_card() {
    let mut it = TestStation::with(policy());
    let refused = |it: &mut TestStation, card: &str| {
        let (tap, effects) = it.hold(card);
        let is_asked = effects.iter().any(|effect| matches!(effect, Effect::Login { .. }));
        if is_asked {
            let unknown = Failure::new(Cause::Refused(Who::Login), "unknown");
            it.answer(tap, TapAnswer::LoggedIn(Err(unknown)));
        }
        is_asked.then_some(()).ok_or_else(|| format!("{effects:?}"))
    };
    for card in 0..10 {
        refused(&mut it, &format!("card {card}")).unwrap();
    }
    let told = refused(&mut it, "card 10").unwrap_err();
    assert!(told.contains("TooManyRefused") && told.contains("Feedback(Refused)"), "{told}");
    it.pass(Duration::from_secs(5));
    refused(&mut it, "card 11").unwrap();
    refused(&mut it, "card 12").unwrap_err();
    it.pass(Duration::from_secs(5));
    let (tap, _) = it.hold("a person");
    it.logged_in(tap);
    refused(&mut it, "card 13").unwrap();
}
