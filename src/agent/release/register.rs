//! The register of releases: who owns which document, and what the journal holds of it. Claim, store, end, leave open and
//! free stand here; nobody else touches the claims.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use tokio::sync::{OnceCell, mpsc};

use super::claims::{Claim, Claims, Turn};
use crate::backoff::Backoff;
use crate::domain::{EntryId, JobRecord, Outcome, Reason, Release, StationName, TapId};
use crate::journal::{Journal, JournalError, StoredRelease};
use crate::planted;
use crate::random;
use crate::station::Admission;

/// Releases in doubt that may wait for the recovery; those beyond wait in the journal for the next run.
pub(in crate::agent) const IN_DOUBT_LIMIT: usize = 1_000;

/// Between two attempts to store an outcome.
const RETRY: Backoff = match Backoff::new(Duration::from_millis(100), Duration::from_secs(2)) {
    Ok(backoff) => backoff,
    Err(_) => panic!("checked when compiled"),
};

/// Attempts to store an outcome before the recovery takes over.
const END_ATTEMPTS: usize = 10;

/// The end of a release, and the job record that follows from it.
#[derive(Clone, Debug)]
pub(in crate::agent) struct EndedRelease {
    /// The journal's number, if it has an entry.
    pub(in crate::agent) id: Option<EntryId>,
    pub(in crate::agent) document: String,
    pub(in crate::agent) outcome: Outcome,
    pub(in crate::agent) record: Option<JobRecord>,
}

/// A release that the recovery is to bring to its end.
#[derive(Debug)]
pub(in crate::agent) enum InDoubtRelease {
    /// Nobody knows how it ended.
    Open { id: EntryId, release: Box<Release>, sent: Instant },
    /// Its outcome is known and told, and the journal has not taken it yet.
    Unstored { station: StationName, id: EntryId, ended: Box<EndedRelease> },
}

/// Claims and journal of all releases of the box.
#[derive(Debug)]
pub(in crate::agent) struct Register {
    journal: Journal,
    claims: Claims,
    /// The releases that earlier runs left open, once the journal has told.
    earlier: OnceCell<Vec<StoredRelease>>,
    in_doubt: mpsc::Sender<InDoubtRelease>,
    /// When this run began: an earlier one sent nothing after it.
    started: Instant,
}

impl Register {
    /// A register whose releases in doubt go to `in_doubt`.
    pub(in crate::agent) fn new(journal: Journal, in_doubt: mpsc::Sender<InDoubtRelease>, started: Instant) -> Self {
        Self { journal, claims: Claims::default(), earlier: OnceCell::new(), in_doubt, started }
    }

    /// When this run began.
    pub(super) fn started(&self) -> Instant {
        self.started
    }

    /// The releases that earlier runs left open. Must finish before the first store: afterwards open releases cannot be
    /// attributed to an earlier run.
    pub(in crate::agent) async fn left_open(&self) -> Result<&[StoredRelease], JournalError> {
        let ask = || async {
            let open = self.journal.open_releases().await.inspect_err(|error| {
                tracing::error!(%error, "releases of an earlier run not read yet");
            })?;
            if planted::is("forget-open-releases") {
                return Ok(Vec::new());
            }
            for stored in open.iter().filter(|_| !planted::is("own-nothing-of-an-earlier-run")) {
                self.claims.was_left_open(&stored.release, Some(stored.id), self.started);
            }
            Ok(open)
        };
        self.earlier.get_or_try_init(ask).await.map(Vec::as_slice)
    }

    /// Claims the documents and makes the releases durable of those that are this tap's. Their list was asked for at
    /// `listed`.
    pub(in crate::agent) async fn store(
        &self,
        tap: TapId,
        releases: &[Release],
        listed: Instant,
    ) -> Result<Vec<Admission>, JournalError> {
        // Without it nobody knows which requests of an earlier run may still be at work.
        self.left_open().await?;
        let claims: Vec<Claim> = releases.iter().map(|release| self.claims.claim(release, listed)).collect();
        let own = |(claim, release): (&Claim, &Release)| claim.is_granted().then(|| release.clone());
        let own: Vec<Release> = claims.iter().zip(releases).filter_map(own).collect();
        if planted::is("send-without-an-entry") {
            return Ok(claims.iter().map(|_| Admission::Unstored).collect());
        }
        let mut admitted: VecDeque<Admission> = match self.store_own(&own).await {
            Ok(ids) => ids.into_iter().map(Admission::Stored).collect(),
            // The exception to the first promise: a full disk keeps nobody from printing where no record is wanted.
            Err(JournalError::Full) if !own.iter().any(|release| release.record) => {
                tracing::error!(%tap, releases = own.len(), "the disk is full: released without an entry");
                std::iter::repeat_n(Admission::Unstored, own.len()).collect()
            }
            Err(error) => {
                own.iter().for_each(|release| self.claims.give_back(tap, &release.document.uuid));
                return Err(error);
            }
        };
        if let Err(error) = self.remove_replaced(&claims).await {
            // The new entries were not sent, and the old ones go on.
            for (release, admission) in own.iter().zip(&admitted) {
                self.withdraw(release, *admission);
                self.claims.give_back(tap, &release.document.uuid);
            }
            return Err(error);
        }
        let mut admission = |claim| match claim {
            Claim::Elsewhere => Admission::Elsewhere,
            Claim::Outdated => Admission::Outdated,
            // There are as many as there are own releases.
            Claim::Free | Claim::InsteadOf(_) => admitted.pop_front().unwrap_or(Admission::Elsewhere),
        };
        Ok(claims.into_iter().map(&mut admission).collect())
    }

    async fn store_own(&self, own: &[Release]) -> Result<Vec<EntryId>, JournalError> {
        if own.is_empty() { Ok(Vec::new()) } else { self.journal.store_releases(own.to_vec()).await }
    }

    /// Before anything is sent: an old entry that outlived its successor would be recorded a second time.
    async fn remove_replaced(&self, claims: &[Claim]) -> Result<(), JournalError> {
        let replaced = |claim: &Claim| if let Claim::InsteadOf(id) = claim { Some(*id) } else { None };
        let replaced: Vec<EntryId> = claims.iter().filter_map(replaced).collect();
        if replaced.is_empty() || planted::is("keep-the-replaced-release") {
            Ok(())
        } else {
            self.journal.remove_replaced(replaced).await
        }
    }

    /// Ends a release that is durable and will not be sent.
    fn withdraw(&self, release: &Release, admission: Admission) {
        if let Admission::Stored(id) = admission {
            let outcome = Outcome::Failed(Reason::Storage);
            let ended = EndedRelease { id: Some(id), document: release.document.uuid.clone(), outcome, record: None };
            let station = release.station.clone();
            self.hand_over(InDoubtRelease::Unstored { station, id, ended: Box::new(ended) });
        }
    }

    /// Until when an earlier release of this document may have been sent. It may have printed it.
    pub(super) fn sent_before(&self, document: &str) -> Option<Instant> {
        self.claims.sent_before(document)
    }

    /// Makes an outcome durable and frees the document. An outcome that the journal does not take goes to the recovery.
    pub(in crate::agent) async fn end(&self, station: &StationName, tap: TapId, ended: EndedRelease) {
        while let Some(id) = ended.id
            && !self.store_patiently(station, id, &ended).await
        {
            tracing::error!(station = &**station, id, "outcome not stored yet; trying until it is");
            let ended = Box::new(ended.clone());
            if self.hand_over(InDoubtRelease::Unstored { station: station.clone(), id, ended }) {
                break;
            }
        }
        self.claims.end(tap, &ended.document, may_have_come_out(&ended.outcome));
    }

    async fn store_patiently(&self, station: &StationName, id: EntryId, ended: &EndedRelease) -> bool {
        let mut backoff = RETRY;
        for _ in 0..END_ATTEMPTS {
            match self.store_end(id, ended).await {
                Ok(()) => return true,
                Err(error) => tracing::warn!(station = &**station, id, %error, "outcome not stored yet"),
            }
            if planted::is("give-up-an-outcome") {
                return true;
            }
            tokio::time::sleep(backoff.next(random::word())).await;
        }
        false
    }

    /// Makes an outcome durable with its job record.
    pub(super) async fn store_end(&self, id: EntryId, ended: &EndedRelease) -> Result<(), JournalError> {
        self.journal.end_release(id, ended.outcome.clone(), ended.record.clone()).await
    }

    /// Leaves a release open in the journal, for the recovery to find out how it ended. Without an entry it is only
    /// remembered that it may have been sent. False where the recovery has no room for it, so that the next start asks.
    pub(in crate::agent) fn leave_open(&self, id: Option<EntryId>, release: Release) -> bool {
        let sent = Instant::now();
        self.claims.leave_open(&release, id, sent);
        if planted::is("leave-open-for-nobody") {
            return true;
        }
        id.is_none_or(|id| self.hand_over(InDoubtRelease::Open { id, release: Box::new(release), sent }))
    }

    /// Whether the recovery may end a release that was left open, whose outcome it knows now. If so, the document is free.
    pub(super) fn resolve(&self, release: &Release, id: EntryId, outcome: &Outcome) -> Turn {
        self.claims.resolve(release, id, may_have_come_out(outcome))
    }

    fn hand_over(&self, release: InDoubtRelease) -> bool {
        let handed_over = self.in_doubt.try_send(release);
        if let Err(error) = &handed_over {
            tracing::error!(%error, "too many releases are in doubt");
        }
        handed_over.is_ok()
    }
}

/// The time from which on a list tells the truth about a document again, if its paper may have come out.
fn may_have_come_out(outcome: &Outcome) -> Option<Instant> {
    match outcome {
        Outcome::Failed(_) => None,
        Outcome::Printed | Outcome::Accepted | Outcome::Unknown(_) => Some(Instant::now()),
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::journal::Limits;

    fn tap(number: u128) -> TapId {
        TapId::new(Timestamp::UNIX_EPOCH, number)
    }

    fn release(document: &str, number: u128) -> Release {
        Release { time: Timestamp::now(), ..Release::sample(document, number) }
    }

    fn ended(id: EntryId, document: &str, outcome: Outcome) -> EndedRelease {
        EndedRelease { id: Some(id), document: document.to_owned(), outcome, record: None }
    }

    /// A register over a real journal, and the way to its recovery.
    fn register(dir: &std::path::Path) -> (Register, Journal, mpsc::Receiver<InDoubtRelease>) {
        let journal = Journal::open(dir, Limits::NONE, None).unwrap();
        let (in_doubt, recovery) = mpsc::channel(IN_DOUBT_LIMIT);
        (Register::new(journal.clone(), in_doubt, Instant::now()), journal, recovery)
    }

    #[tokio::test]
    async fn one_of_two_taps_gets_a_document_and_an_ended_one_is_free_for_the_next_list() {
        let dir = tempfile::tempdir().unwrap();
        let (register, journal, _recovery) = register(dir.path());
        let listed = Instant::now();
        let first = register.store(tap(1), &[release("a", 1), release("b", 1)], listed).await.unwrap();
        let [Admission::Stored(a), Admission::Stored(b)] = first[..] else { panic!("{first:?}") };
        let attic = |document| Release { station: "attic".into(), ..release(document, 2) };
        let second = register.store(tap(2), &[attic("b"), attic("c")], listed).await.unwrap();
        assert!(matches!(second[..], [Admission::Elsewhere, Admission::Stored(_)]), "{second:?}");
        register.end(&"lobby".into(), tap(1), ended(a, "a", Outcome::Accepted)).await;
        register.end(&"lobby".into(), tap(1), ended(b, "b", Outcome::Failed(Reason::NotReady))).await;
        let third = register.store(tap(3), &[release("a", 3), release("b", 3)], listed).await.unwrap();
        assert!(matches!(third[..], [Admission::Outdated, Admission::Stored(_)]), "a has come out: {third:?}");
        let fourth = register.store(tap(4), &[release("a", 4)], Instant::now()).await.unwrap();
        assert!(matches!(fourth[..], [Admission::Stored(_)]), "the server lists it again: {fourth:?}");
        assert_eq!(journal.open_releases().await.unwrap().len(), 3);
    }

    #[tokio::test]
    async fn a_release_left_open_goes_to_the_recovery_until_a_tap_takes_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let (register, journal, mut recovery) = register(dir.path());
        let stored = register.store(tap(1), &[release("a", 1)], Instant::now()).await.unwrap();
        let [Admission::Stored(id)] = stored[..] else { panic!("{stored:?}") };
        assert!(register.leave_open(Some(id), release("a", 1)));
        assert!(matches!(recovery.recv().await, Some(InDoubtRelease::Open { id: open, .. }) if open == id));
        let next = register.store(tap(2), &[release("a", 2)], Instant::now()).await.unwrap();
        assert!(matches!(next[..], [Admission::Stored(_)]), "{next:?}");
        assert!(register.sent_before("a").is_some(), "the earlier request may still print it");
        assert_eq!(register.resolve(&release("a", 1), id, &Outcome::Accepted), Turn::Later);
        assert_eq!(journal.open_releases().await.unwrap().len(), 1, "the new entry has taken the old one's place");
    }

    /// While the recovery owns the document, a tap is told of the earlier request and asks. When the recovery has just given
    /// up (here: it may not read the history), a list from before that must not be trusted either.
    #[tokio::test]
    async fn a_list_from_before_a_request_had_settled_is_not_trusted_after_the_recovery_gave_up() {
        let dir = tempfile::tempdir().unwrap();
        let (register, _journal, _recovery) = register(dir.path());
        let stored = register.store(tap(1), &[release("a", 1)], Instant::now()).await.unwrap();
        let [Admission::Stored(id)] = stored[..] else { panic!("{stored:?}") };
        register.leave_open(Some(id), release("a", 1));
        // Asked for at once, answered late: the request may have printed it since.
        let listed = Instant::now();
        let outcome = Outcome::Unknown(Reason::HistoryNotAllowed);
        assert_eq!(register.resolve(&release("a", 1), id, &outcome), Turn::Now);
        register.store_end(id, &ended(id, "a", outcome)).await.unwrap();
        let next = register.store(tap(2), &[release("a", 2)], listed).await.unwrap();
        let knows = register.sent_before("a").is_some() || matches!(next[..], [Admission::Outdated]);
        assert!(knows, "it will be sent at once, and nobody said READY when the first request had settled: {next:?}");
    }

    #[tokio::test]
    async fn a_journal_that_takes_nothing_gives_the_documents_back() {
        let dir = tempfile::tempdir().unwrap();
        let (register, journal, _recovery) = register(dir.path());
        register.left_open().await.unwrap();
        journal.break_down().await;
        assert_eq!(register.store(tap(1), &[release("a", 1)], Instant::now()).await, Err(JournalError::Closed));
        assert_eq!(register.claims.claim(&release("a", 2), Instant::now()), Claim::Free);
    }

    #[tokio::test]
    async fn a_release_in_doubt_for_which_the_recovery_has_no_room_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let (register, _journal, _recovery) = register(dir.path());
        for id in 1..=IN_DOUBT_LIMIT as EntryId {
            assert!(register.leave_open(Some(id), release(&format!("document {id}"), 1)));
        }
        assert!(!register.leave_open(Some(0), release("one too many", 1)));
    }
}
