//! The station without a runtime: events in, effects out. One tap at a time here; several in [`several`].

mod several;

use jiff::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::domain::{Cause, Document, EntryId, Failure, Outcome, OutputPort, Release, ReleaseOptions, User, Who};

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
        tag: false,
        port: OutputPort::Address("192.0.2.10".to_owned()),
    }
}

fn document(uuid: &str, created_ms: i64) -> Document {
    Document {
        title: format!("title of {uuid}"),
        pages: Some(3),
        created: Timestamp::from_millisecond(created_ms).ok(),
        ..Document::sample(uuid)
    }
}

/// A station with a clock that only the test moves.
struct TestStation {
    station: Station,
    now: Now,
    taps: u128,
}

impl TestStation {
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
        let releases = self.up_to_storing(tap, documents);
        let admissions = (1..=releases.len() as EntryId).map(Admission::Stored).collect();
        (tap, self.stored(tap, releases, admissions))
    }

    fn answer(&mut self, tap: TapId, answer: TapAnswer) -> Vec<Effect> {
        self.handle(Event::Answer { tap, answer })
    }

    fn logged_in(&mut self, tap: TapId) -> Vec<Effect> {
        let user = User { name: "ada".to_owned(), provider: Some(1) };
        self.answer(tap, TapAnswer::LoggedIn(Ok(user)))
    }

    fn listed(&mut self, tap: TapId, documents: Vec<Document>) -> Vec<Effect> {
        let asked = self.now.monotonic;
        self.answer(tap, TapAnswer::Listed { asked, result: Ok(documents) })
    }

    /// A login, a list and the store that follows; gives the releases.
    fn up_to_storing(&mut self, tap: TapId, documents: Vec<Document>) -> Vec<Release> {
        self.logged_in(tap);
        let effects = self.listed(tap, documents);
        let [Effect::Store { releases, .. }] = effects.as_slice() else { panic!("{effects:?}") };
        releases.clone()
    }

    fn stored(&mut self, tap: TapId, releases: Vec<Release>, admissions: Vec<Admission>) -> Vec<Effect> {
        let admitted = admissions.into_iter().zip(releases).collect();
        self.answer(tap, TapAnswer::Stored(Ok(admitted)))
    }

    /// The answer to a release.
    fn released(&mut self, tap: TapId, document: &str, outcome: Outcome) -> Vec<Effect> {
        self.answer(tap, TapAnswer::Released { document: document.to_owned(), ending: Ending::Ended(outcome) })
    }

    fn ended(&mut self, tap: TapId) -> Vec<Effect> {
        self.answer(tap, TapAnswer::Ended)
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
    let mut stage = TestStation::with(policy());
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
    assert_eq!(stage.ended(tap), []);
    assert_eq!(stage.ended(tap), []);
    let effects = stage.ended(tap);
    assert_eq!(signals(&effects), [Signal::Done]);
    let report = report(&effects).unwrap();
    assert_eq!((report.verdict, report.pages, report.outcomes.len()), (Verdict::Released, 9, 3));
    assert!(!stage.station.is_busy());
}

#[test]
fn nothing_is_sent_before_it_is_stored() {
    let mut stage = TestStation::with(policy());
    let (tap, _) = stage.hold("04A1");
    stage.up_to_storing(tap, vec![document("a", 1)]);
    let full = Failure::new(Cause::Storage, "disk full");
    let effects = stage.answer(tap, TapAnswer::Stored(Err(full)));
    assert_eq!((sent(&effects), signals(&effects)), (Vec::<String>::new(), vec![Signal::Refused]));
}

#[test]
fn a_release_that_nobody_knows_of_is_reported_and_left_open() {
    let mut stage = TestStation::with(policy());
    let (tap, _) = stage.up_to_stored(vec![document("a", 1)]);
    let ending = Ending::LeftOpen(Reason::AnswerLost);
    let effects = stage.answer(tap, TapAnswer::Released { document: "a".to_owned(), ending });
    let [Effect::LeaveOpen { id: Some(1), release, .. }] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!(release.document.uuid, "a");
    assert_eq!(report(&stage.ended(tap)).unwrap().verdict, Verdict::Unknown);
}

#[test]
fn a_release_that_nobody_will_ever_know_of_ends_in_the_journal() {
    let mut stage = TestStation::with(policy());
    let (tap, _) = stage.up_to_stored(vec![document("a", 1)]);
    let effects = stage.released(tap, "a", Outcome::Unknown(Reason::Retained));
    assert!(matches!(&effects[..], [Effect::End { id: Some(1), record: None, .. }]), "{effects:?}");
    assert_eq!(report(&stage.ended(tap)).unwrap().verdict, Verdict::Unknown);
}

/// A tap with three documents, of which the journal admits them so.
fn admitted(admissions: [Admission; 3]) -> (TestStation, TapId, Vec<Effect>) {
    let mut stage = TestStation::with(Policy { parallel: 3, record: false, ..policy() });
    let (tap, _) = stage.hold("04A1");
    let releases = stage.up_to_storing(tap, vec![document("a", 1), document("b", 2), document("c", 3)]);
    let effects = stage.stored(tap, releases, admissions.to_vec());
    (stage, tap, effects)
}

#[test]
fn a_document_of_another_tap_is_not_sent_and_the_person_is_told() {
    let (mut stage, tap, effects) = admitted([Admission::Elsewhere, Admission::Stored(1), Admission::Elsewhere]);
    assert_eq!(sent(&effects), ["b"]);
    stage.released(tap, "b", Outcome::Accepted);
    assert_eq!((stage.ended(tap), stage.ended(tap)), (vec![], vec![]));
    let effects = stage.ended(tap);
    let report = report(&effects).unwrap();
    assert_eq!((report.verdict, &report.reason), (Verdict::Failed, &Some(Reason::AtAnotherStation)));
    assert_eq!(signals(&effects), [Signal::Partly]);
}

#[test]
fn a_document_that_has_come_out_since_the_list_was_asked_for_is_neither_sent_nor_a_failure() {
    let (mut stage, tap, effects) = admitted([Admission::Outdated, Admission::Stored(1), Admission::Outdated]);
    assert_eq!(sent(&effects), ["b"]);
    stage.released(tap, "b", Outcome::Accepted);
    assert_eq!(signals(&stage.ended(tap)), [Signal::Done]);
    let (stage, _, effects) = admitted([Admission::Outdated; 3]);
    assert_eq!((signals(&effects), stage.station.is_busy()), (vec![Signal::NoDocuments], false));
}

#[test]
fn a_release_without_an_entry_is_sent_and_ended_without_one() {
    let (mut stage, tap, effects) = admitted([Admission::Unstored; 3]);
    assert_eq!(sent(&effects), ["a", "b", "c"]);
    let effects = stage.released(tap, "a", Outcome::Accepted);
    assert!(matches!(&effects[..], [Effect::End { id: None, record: None, .. }]), "{effects:?}");
    let ending = Ending::LeftOpen(Reason::AnswerLost);
    let effects = stage.answer(tap, TapAnswer::Released { document: "b".to_owned(), ending });
    assert!(matches!(&effects[..], [Effect::LeaveOpen { id: None, .. }]), "{effects:?}");
}

#[test]
fn a_card_that_lies_on_the_reader_is_one_tap_until_it_has_been_away_for_the_debounce_time() {
    let mut stage = TestStation::with(policy());
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
    let mut stage = TestStation::with(Policy { debounce: Duration::ZERO, ..policy() });
    assert_ne!(stage.hold("04A1").1, []);
    assert_ne!(stage.hold("04A1").1, []);
}

#[test]
fn a_read_that_cannot_be_converted_is_refused_and_never_a_login() {
    let mut stage = TestStation::with(Policy { convert: "hex2dec".parse().ok(), ..policy() });
    let effects = stage.hold("not hex").1;
    assert_eq!(signals(&effects), [Signal::ReadError]);
    let report = report(&effects).unwrap();
    assert_eq!(report.reason, Some(Reason::CardNotConverted));
    let detail = report.detail.as_ref().unwrap().to_string();
    assert!(!detail.is_empty() && !detail.contains("not hex"), "{detail}");
    assert!(!stage.station.is_busy());
}

#[test]
fn every_failure_tells_the_person_what_it_means_for_them() {
    for (cause, signal) in [
        (Cause::Refused(Who::Login), Signal::UnknownCard),
        (Cause::Refused(Who::UnprovenLogin), Signal::UnknownCard),
        (Cause::Refused(Who::Key), Signal::Refused),
        (Cause::Refused(Who::Token), Signal::Refused),
        (Cause::NotFound, Signal::UnknownCard),
        (Cause::Unreachable, Signal::ServerUnreachable),
        (Cause::Lost { at_work: true }, Signal::ServerUnreachable),
        (Cause::Malformed, Signal::ServerUnreachable),
        (Cause::Overloaded { retry_after: None }, Signal::ServerUnreachable),
        (Cause::Rejected, Signal::Refused),
    ] {
        let mut stage = TestStation::with(policy());
        let (tap, _) = stage.hold("04A1");
        let effects = stage.answer(tap, TapAnswer::LoggedIn(Err(Failure::new(cause, "x"))));
        assert_eq!(signals(&effects), [signal], "{cause:?}");
    }
}

#[test]
fn a_tap_is_kept_while_the_server_is_away_only_where_the_policy_says_so_and_only_until_its_deadline() {
    for (hold, kept) in [(false, None), (true, Some(DEADLINE))] {
        let mut stage = TestStation::with(Policy { hold, ..policy() });
        let expected = kept.map(|kept| stage.now.monotonic + kept);
        let (tap, effects) = stage.hold("04A1");
        assert!(matches!(&effects[1], Effect::Login { until, .. } if *until == expected), "{effects:?}");
        stage.pass(Duration::from_secs(30));
        let effects = stage.logged_in(tap);
        assert_eq!(effects, [Effect::List { tap, until: expected }]);
        stage.pass(DEADLINE);
        let effects = stage.listed(tap, vec![document("a", 1)]);
        assert_eq!(signals(&effects), [Signal::ServerUnreachable], "too late to print");
    }
}

#[test]
fn a_card_that_no_station_may_take_is_reported_once_while_it_is_held() {
    let mut stage = TestStation::with(policy());
    let tap = TapId::new(stage.now.wall, 1);
    let refused = |stage: &mut TestStation| stage.handle(Event::CardRefused { tap, reason: Reason::RandomUid });
    let effects = refused(&mut stage);
    let [Effect::Feedback(Signal::Refused), Effect::Report(report)] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!((report.verdict, &report.reason), (Verdict::Refused, &Some(Reason::RandomUid)));
    stage.pass(Duration::from_millis(100));
    assert_eq!(refused(&mut stage), []);
    stage.pass(policy().debounce);
    assert_eq!(refused(&mut stage).len(), 2);
}
