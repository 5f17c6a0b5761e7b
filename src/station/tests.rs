//! The station without a runtime: events in, effects out.

use jiff::Timestamp;
use proptest::prelude::*;

use super::tap::ELSEWHERE;
use super::*;
use crate::domain::{DocumentStatus, EntryId, Failure, Outcome, User, Who};

const DEADLINE: Duration = Duration::from_secs(90);

fn policy() -> Policy {
    Policy {
        name: "lobby".into(),
        convert: None,
        debounce: Duration::from_secs(2),
        select: Select::All,
        limit: 50,
        parallel: 2,
        options: ReleaseOptions::default(),
        hold: false,
        deadline: DEADLINE,
        record: true,
        port: OutputPort::Address("192.0.2.10".to_owned()),
    }
}

fn document(uuid: &str, created_ms: i64) -> Document {
    Document {
        uuid: uuid.to_owned(),
        title: format!("title of {uuid}"),
        user: "ada".to_owned(),
        pages: Some(3),
        color_pages: Some(0),
        copies: Some(1),
        duplex: None,
        grayscale: None,
        paper_size: None,
        created: Timestamp::from_millisecond(created_ms).ok(),
        status: DocumentStatus::Ready,
        port_name: None,
    }
}

/// A station with a clock that only the test moves.
struct Stage {
    station: Station,
    now: Now,
    taps: u128,
}

impl Stage {
    fn with(policy: Policy) -> Self {
        let now = Now { monotonic: Instant::now(), wall: Timestamp::UNIX_EPOCH };
        Self { station: Station::new(policy), now, taps: 0 }
    }

    fn pass(&mut self, time: Duration) {
        self.now.monotonic += time;
    }

    fn handle(&mut self, event: Event) -> Vec<Effect> {
        self.station.handle(event, self.now)
    }

    fn hold(&mut self, card: &str) -> (TapId, Vec<Effect>) {
        self.taps += 1;
        let tap = TapId::new(self.now.wall, self.taps);
        (tap, self.handle(Event::Read { read: Read(Secret::new(card)), tap }))
    }

    /// A tap up to its stored releases; gives the effects of [`Event::Stored`].
    fn up_to_stored(&mut self, documents: Vec<Document>) -> (TapId, Vec<Effect>) {
        let (tap, _) = self.hold("04A1");
        let user = User { name: "ada".to_owned(), provider: Some(1) };
        self.handle(Event::LoggedIn { tap, result: Ok(user) });
        let stored = self.handle(Event::Listed { tap, result: Ok(documents) });
        let [Effect::Store { releases, .. }] = stored.as_slice() else { panic!("{stored:?}") };
        let stored = (1..=releases.len() as EntryId).map(Admission::Stored).collect();
        (tap, self.handle(Event::Stored { tap, result: Ok(stored) }))
    }

    /// The answer to a release.
    fn released(&mut self, tap: TapId, document: &str, outcome: Outcome) -> Vec<Effect> {
        self.handle(Event::Released { tap, document: document.to_owned(), outcome })
    }
}

fn sent(effects: &[Effect]) -> Vec<String> {
    let document = |effect: &Effect| match effect {
        Effect::Release { release, .. } => Some(release.document.uuid.clone()),
        _ => None,
    };
    effects.iter().filter_map(document).collect()
}

fn signals(effects: &[Effect]) -> Vec<Signal> {
    let signal = |effect: &Effect| match effect {
        Effect::Feedback(signal) => Some(*signal),
        _ => None,
    };
    effects.iter().filter_map(signal).collect()
}

fn report(effects: &[Effect]) -> Option<&Report> {
    effects.iter().find_map(|effect| match effect {
        Effect::Report(report) => Some(report),
        _ => None,
    })
}

#[test]
fn a_tap_releases_what_waits_at_most_so_many_at_a_time_and_ends_when_all_is_durable() {
    let mut stage = Stage::with(policy());
    let (tap, effects) = stage.up_to_stored(vec![document("a", 1), document("b", 2), document("c", 3)]);
    assert_eq!(sent(&effects), ["a", "b"]);
    let effects = stage.released(tap, "b", Outcome::Accepted);
    assert!(
        matches!(&effects[0], Effect::End { id: Some(2), outcome: Outcome::Accepted, record: Some(_), .. }),
        "{effects:?}"
    );
    assert_eq!(sent(&effects), ["c"]);
    stage.released(tap, "a", Outcome::Accepted);
    stage.released(tap, "c", Outcome::Accepted);
    assert_eq!(stage.handle(Event::Ended { tap }), []);
    assert_eq!(stage.handle(Event::Ended { tap }), []);
    let effects = stage.handle(Event::Ended { tap });
    assert_eq!(signals(&effects), [Signal::Done]);
    let report = report(&effects).unwrap();
    assert_eq!((report.verdict, report.pages, report.outcomes.len()), (Verdict::Released, 9, 3));
    assert!(!stage.station.is_busy());
}

#[test]
fn nothing_is_sent_before_it_is_stored() {
    let mut stage = Stage::with(policy());
    let (tap, _) = stage.hold("04A1");
    stage.handle(Event::LoggedIn { tap, result: Ok(User { name: "ada".to_owned(), provider: None }) });
    let effects = stage.handle(Event::Listed { tap, result: Ok(vec![document("a", 1)]) });
    assert!(matches!(effects.as_slice(), [Effect::Store { .. }]), "{effects:?}");
    let full = Failure::new(Cause::Storage, "disk full");
    let effects = stage.handle(Event::Stored { tap, result: Err(full) });
    assert_eq!((sent(&effects), signals(&effects)), (Vec::<String>::new(), vec![Signal::Refused]));
}

#[test]
fn a_release_whose_turn_comes_after_the_deadline_is_never_sent() {
    let mut stage = Stage::with(Policy { parallel: 1, ..policy() });
    let (tap, effects) = stage.up_to_stored(vec![document("a", 1), document("b", 2)]);
    assert_eq!(sent(&effects), ["a"]);
    stage.pass(DEADLINE);
    let effects = stage.released(tap, "a", Outcome::Accepted);
    assert!(sent(&effects).is_empty());
    assert!(
        matches!(&effects[1], Effect::End { id: Some(2), outcome: Outcome::Failed(_), record: None, .. }),
        "{effects:?}"
    );
    stage.handle(Event::Ended { tap });
    let effects = stage.handle(Event::Ended { tap });
    assert_eq!(signals(&effects), [Signal::Partly]);
    assert_eq!(report(&effects).unwrap().verdict, Verdict::Failed);
}

#[test]
fn an_outcome_that_nobody_knows_is_reported_and_left_open_unless_nobody_ever_will() {
    for (why, left_open) in [("answer-lost", true), (Outcome::RETAINED, false)] {
        let mut stage = Stage::with(policy());
        let (tap, _) = stage.up_to_stored(vec![document("a", 1)]);
        let effects = stage.released(tap, "a", Outcome::Unknown(why.to_owned()));
        match &effects[..] {
            [Effect::FindOut { id: 1, release, .. }] if left_open => assert_eq!(release.document.uuid, "a"),
            [Effect::End { id: Some(1), record: None, .. }] if !left_open => {}
            _ => panic!("{why}: {effects:?}"),
        }
        let effects = stage.handle(Event::Ended { tap });
        assert_eq!(report(&effects).unwrap().verdict, Verdict::Unknown);
    }
}

/// A tap with three documents, of which the journal admits them so.
fn admitted(admissions: [Admission; 3]) -> (Stage, TapId, Vec<Effect>) {
    let mut stage = Stage::with(Policy { parallel: 3, record: false, ..policy() });
    let (tap, _) = stage.hold("04A1");
    stage.handle(Event::LoggedIn { tap, result: Ok(User { name: "ada".to_owned(), provider: None }) });
    stage.handle(Event::Listed { tap, result: Ok(vec![document("a", 1), document("b", 2), document("c", 3)]) });
    let effects = stage.handle(Event::Stored { tap, result: Ok(admissions.to_vec()) });
    (stage, tap, effects)
}

#[test]
fn what_another_tap_has_is_not_sent_and_the_person_is_told() {
    let (mut stage, tap, effects) = admitted([Admission::Elsewhere, Admission::Stored(1), Admission::Elsewhere]);
    assert_eq!(sent(&effects), ["b"]);
    stage.released(tap, "b", Outcome::Accepted);
    assert_eq!((stage.handle(Event::Ended { tap }), stage.handle(Event::Ended { tap })), (vec![], vec![]));
    let effects = stage.handle(Event::Ended { tap });
    let report = report(&effects).unwrap();
    assert_eq!((report.verdict, report.reason.as_str()), (Verdict::Failed, ELSEWHERE));
    assert_eq!(signals(&effects), [Signal::Partly]);
}

#[test]
fn what_has_no_entry_is_sent_and_ended_without_one_and_never_left_open() {
    let (mut stage, tap, effects) = admitted([Admission::Unstored; 3]);
    assert_eq!(sent(&effects), ["a", "b", "c"]);
    for (document, outcome) in [("a", Outcome::Accepted), ("b", Outcome::Unknown("answer-lost".to_owned()))] {
        let effects = stage.released(tap, document, outcome);
        assert!(matches!(&effects[..], [Effect::End { id: None, record: None, .. }]), "{effects:?}");
    }
}

#[test]
fn a_document_that_the_server_lists_twice_is_released_once() {
    let chosen = super::select(vec![document("a", 1), document("b", 2), document("a", 1)], &policy());
    assert_eq!(chosen.len(), 2);
}

#[test]
fn the_policy_chooses_the_documents() {
    for (select, limit, expected) in [
        (Select::All, 50, vec!["b", "a", "c"]),
        (Select::All, 2, vec!["b", "a"]),
        (Select::Newest, 50, vec!["c"]),
        (Select::Oldest, 50, vec!["a"]),
    ] {
        let mut waiting = vec![document("b", 2), document("a", 1), document("c", 3), document("d", 4)];
        waiting[3].status = DocumentStatus::Coming;
        let chosen = super::select(waiting, &Policy { select, limit, ..policy() });
        let uuids: Vec<_> = chosen.iter().map(|document| document.uuid.as_str()).collect();
        assert_eq!(uuids, expected, "{select:?} {limit}");
    }
}

#[test]
fn a_card_that_lies_on_the_reader_is_one_tap_until_it_has_been_away_for_the_debounce_time() {
    let mut stage = Stage::with(policy());
    assert_ne!(stage.hold("04A1").1, []);
    for _ in 0..100 {
        stage.pass(Duration::from_millis(65));
        assert_eq!(stage.hold("04A1").1, []);
    }
    stage.pass(Duration::from_secs(2));
    assert_eq!(signals(&stage.hold("04A1").1), [Signal::Reading]);
}

#[test]
fn without_a_debounce_time_every_read_is_a_tap() {
    let mut stage = Stage::with(Policy { debounce: Duration::ZERO, ..policy() });
    assert_ne!(stage.hold("04A1").1, []);
    assert_ne!(stage.hold("04A1").1, []);
}

#[test]
fn four_cards_wait_for_a_busy_station_and_the_fifth_is_refused() {
    let mut stage = Stage::with(policy());
    let (first, _) = stage.hold("card 0");
    for number in 1..=QUEUE_LIMIT {
        assert_eq!(signals(&stage.hold(&format!("card {number}")).1), [Signal::Reading]);
    }
    let effects = stage.hold("one too many").1;
    assert_eq!(signals(&effects), [Signal::Refused]);
    assert_eq!(report(&effects).unwrap().reason, "busy");
    let refused = Failure::new(Cause::Refused(Who::Login), "403");
    let effects = stage.handle(Event::LoggedIn { tap: first, result: Err(refused) });
    assert_eq!(signals(&effects), [Signal::UnknownCard]);
    assert!(matches!(effects.last(), Some(Effect::Login { .. })), "{effects:?}");
}

#[test]
fn a_stop_refuses_those_who_wait_and_lets_the_tap_at_work_end() {
    let mut stage = Stage::with(policy());
    let (tap, _) = stage.up_to_stored(vec![document("a", 1)]);
    stage.hold("another");
    let effects = stage.handle(Event::Stop);
    assert_eq!(report(&effects).unwrap().reason, "stopping");
    assert_eq!(stage.hold("a third").1, []);
    stage.released(tap, "a", Outcome::Accepted);
    let effects = stage.handle(Event::Ended { tap });
    assert_eq!(signals(&effects), [Signal::Done]);
    assert!(!stage.station.is_busy());
}

#[test]
fn a_read_that_cannot_be_converted_is_refused_and_never_a_login() {
    let mut stage = Stage::with(Policy { convert: "hex2dec".parse().ok(), ..policy() });
    let effects = stage.hold("not hex").1;
    assert_eq!(signals(&effects), [Signal::ReadError]);
    assert!(!report(&effects).unwrap().reason.contains("not hex"));
    assert!(!stage.station.is_busy());
}

#[test]
fn every_failure_tells_the_person_what_it_means_for_them() {
    for (cause, signal) in [
        (Cause::Refused(Who::Login), Signal::UnknownCard),
        (Cause::Refused(Who::Token), Signal::Refused),
        (Cause::Unreachable, Signal::ServerUnreachable),
        (Cause::Lost { at_work: true }, Signal::ServerUnreachable),
        (Cause::Malformed, Signal::ServerUnreachable),
        (Cause::Overloaded { retry_after: None }, Signal::ServerUnreachable),
        (Cause::Rejected, Signal::Refused),
    ] {
        let mut stage = Stage::with(policy());
        let (tap, _) = stage.hold("04A1");
        let effects = stage.handle(Event::LoggedIn { tap, result: Err(Failure::new(cause, "x")) });
        assert_eq!(signals(&effects), [signal], "{cause:?}");
    }
}

#[test]
fn a_tap_is_kept_while_the_server_is_away_only_where_the_policy_says_so_and_only_until_its_deadline() {
    for (hold, kept) in [(false, None), (true, Some(DEADLINE))] {
        let mut stage = Stage::with(Policy { hold, ..policy() });
        let expected = kept.map(|kept| stage.now.monotonic + kept);
        let (tap, effects) = stage.hold("04A1");
        assert!(matches!(&effects[1], Effect::Login { until, .. } if *until == expected), "{effects:?}");
        stage.pass(Duration::from_secs(30));
        let user = User { name: "ada".to_owned(), provider: None };
        let effects = stage.handle(Event::LoggedIn { tap, result: Ok(user) });
        assert_eq!(effects, [Effect::List { tap, until: expected }]);
        stage.pass(DEADLINE);
        let effects = stage.handle(Event::Listed { tap, result: Ok(vec![document("a", 1)]) });
        assert_eq!(signals(&effects), [Signal::ServerUnreachable], "too late to print");
    }
}

proptest! {
    /// Whatever happens in whatever order: every stored release is sent at most once and ended exactly once, a read that
    /// was accepted is reported exactly once, and the station is free in the end.
    #[test]
    fn every_release_ends_once_and_every_tap_is_reported_once(
        count in 1usize..12,
        parallel in 1usize..5,
        order in proptest::collection::vec((any::<prop::sample::Index>(), 0u8..4, 0u64..40), 12),
    ) {
        let mut stage = Stage::with(Policy { parallel, ..policy() });
        let documents = (0..count).map(|n| document(&format!("d{n}"), n as i64)).collect();
        let (tap, effects) = stage.up_to_stored(documents);
        let (mut in_flight, mut ended, mut reports) = (sent(&effects), 0, 0);
        let is_end = |effect: &&Effect| matches!(effect, Effect::End { .. } | Effect::FindOut { .. });
        let mut ends = effects.iter().filter(is_end).count();
        let mut sends = in_flight.len();
        for (index, outcome, wait) in order {
            if in_flight.is_empty() {
                break;
            }
            prop_assert!(in_flight.len() <= parallel);
            stage.pass(Duration::from_secs(wait));
            let document = in_flight.swap_remove(index.index(in_flight.len()));
            let outcome = match outcome {
                0 => Outcome::Printed,
                1 => Outcome::Accepted,
                2 => Outcome::Failed("x".to_owned()),
                _ => Outcome::Unknown("x".to_owned()),
            };
            let effects = stage.released(tap, &document, outcome.clone());
            prop_assert_eq!(stage.released(tap, &document, outcome), vec![], "told twice");
            let new = sent(&effects);
            sends += new.len();
            in_flight.extend(new);
            ends += effects.iter().filter(is_end).count();
        }
        while ended < ends {
            ended += 1;
            let effects = stage.handle(Event::Ended { tap });
            reports += usize::from(report(&effects).is_some());
        }
        prop_assert_eq!(ends, count);
        prop_assert!(sends <= count);
        prop_assert_eq!(reports, 1);
        prop_assert!(!stage.station.is_busy());
    }
}

#[test]
fn a_card_that_no_station_may_take_is_reported_once_while_it_is_held() {
    let mut stage = Stage::with(policy());
    let tap = TapId::new(stage.now.wall, 1);
    let refused = |stage: &mut Stage| stage.handle(Event::CardRefused { tap, reason: "random-uid" });
    let effects = refused(&mut stage);
    let [Effect::Feedback(Signal::Refused), Effect::Report(report)] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!((report.verdict, report.reason.as_str()), (Verdict::Refused, "random-uid"));
    stage.pass(Duration::from_millis(100));
    assert_eq!(refused(&mut stage), []);
    stage.pass(policy().debounce);
    assert_eq!(refused(&mut stage).len(), 2);
}
