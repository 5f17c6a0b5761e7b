//! Tracks which tap (or the recovery) currently owns each document of the box, so that two taps never release the same one.
//!
//! Two taps may want a document at one moment, at two stations or one after the other at one; and the recovery wants to
//! know how a release ended that was left open. One of them owns the document and the others leave it alone, or one
//! printed document would be recorded twice.
//!
//! A document that stays at the server (`retain`) is released anew by each tap: only a tap owns it, never the recovery. And
//! such a tap cannot take the recovery's place: with its entry it would be forgotten that an earlier request, which takes
//! the document away, may still come to its end.
//!
//! A list is as old as its question. A document whose release ended since then may stand in it as READY, so the time of
//! each release is remembered for as long as a list can be on its way.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::domain::{EntryId, OutputPort, Release, StationName, TapId};
use crate::planted;

/// A list that was asked for longer ago than this has been given up: no deadline of a tap is longer.
const LIST_AGE: Duration = Duration::from_secs(2 * 3600);

/// Documents that were released and are remembered for [`LIST_AGE`], at most.
const RELEASED_LIMIT: usize = 10_000;

/// The answer to a tap that wants a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Claim {
    /// Nobody owned it; now the tap does.
    Free,
    /// The recovery owned it; the tap's release takes this entry's place.
    InsteadOf(EntryId),
    /// A tap at another station owns it, or the recovery does and this tap may not take its place.
    Elsewhere,
    /// Another tap of the same station releases it, or it may have come out after the tap's list had been asked for.
    Outdated,
}

impl Claim {
    /// True when the tap owns the document now.
    pub(super) fn is_granted(self) -> bool {
        matches!(self, Self::Free | Self::InsteadOf(_))
    }
}

/// Whether the recovery may end a release that was left open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// It may, and the document is free from now on.
    Now,
    /// A tap wants to take its place, and may yet give it back.
    Later,
    /// Another release has taken its place.
    Never,
}

/// An open release that is not to be forgotten.
#[derive(Clone, Debug, PartialEq, Eq)]
struct EarlierRelease {
    /// `None` for one that was sent without an entry: the recovery cannot end it.
    id: Option<EntryId>,
    /// Nothing was sent for it after this.
    sent: Instant,
    port: OutputPort,
    record: bool,
}

impl EarlierRelease {
    /// A release that takes its place accounts for its paper too, so it has to name the same printer and want the same record.
    fn may_be_replaced_by(&self, release: &Release) -> bool {
        let is_alike = self.port == release.port && self.record == release.record;
        !release.retain && (is_alike || planted::is("replace-at-another-printer"))
    }
}

#[derive(Clone, Debug)]
enum Owner {
    Recovery(EarlierRelease),
    Tap { tap: TapId, station: StationName, earlier: Option<EarlierRelease> },
}

#[derive(Debug, Default)]
struct Documents {
    owners: HashMap<String, Owner>,
    /// Documents that may have come out, and when that was known; oldest first.
    released: VecDeque<(Instant, String)>,
}

/// Every document that is under release. A release that ended in the journal is not here.
#[derive(Debug, Default)]
pub(super) struct Claims(Mutex<Documents>);

impl Claims {
    /// An earlier run or tap left a release open. A tap that owns the document already owns it with that.
    pub(super) fn was_left_open(&self, release: &Release, id: Option<EntryId>, sent: Instant) {
        if release.retain {
            return;
        }
        let left = EarlierRelease { id, sent, port: release.port.clone(), record: release.record };
        let (mut documents, uuid) = (self.lock(), &release.document.uuid);
        match documents.owners.get_mut(uuid) {
            Some(Owner::Tap { earlier, .. }) => *earlier = Some(left),
            Some(Owner::Recovery(earlier)) => *earlier = left,
            None => drop(documents.owners.insert(uuid.to_owned(), Owner::Recovery(left))),
        }
    }

    /// A tap wants to release a document of a list that was asked for at `listed`.
    pub(super) fn claim(&self, release: &Release, listed: Instant) -> Claim {
        let (mut documents, uuid) = (self.lock(), &release.document.uuid);
        let earlier = match documents.owners.get(uuid) {
            Some(Owner::Tap { station, .. }) if *station == release.station => return Claim::Outdated,
            Some(Owner::Tap { .. }) => return Claim::Elsewhere,
            Some(Owner::Recovery(earlier)) if !earlier.may_be_replaced_by(release) => return Claim::Elsewhere,
            Some(Owner::Recovery(earlier)) => Some(earlier.clone()),
            None => None,
        };
        let since_then = documents.released.iter().rev().take_while(|(at, _)| *at >= listed);
        if since_then.into_iter().any(|(_, released)| released == uuid) && !planted::is("believe-an-old-list") {
            return Claim::Outdated;
        }
        let replaced = earlier.as_ref().and_then(|earlier| earlier.id);
        let station = release.station.clone();
        if planted::is("forget-a-claim") {
            return Claim::Free;
        }
        documents.owners.insert(uuid.to_owned(), Owner::Tap { tap: release.tap, station, earlier });
        replaced.map_or(Claim::Free, Claim::InsteadOf)
    }

    /// A tap could not store its claims: all is as before.
    pub(super) fn give_back(&self, tap: TapId, uuid: &str) {
        let mut documents = self.lock();
        if let Some(Owner::Tap { tap: owner, earlier, .. }) = documents.owners.get(uuid).cloned()
            && owner == tap
        {
            match earlier.filter(|_| !planted::is("lose-the-earlier-release")) {
                Some(earlier) => drop(documents.owners.insert(uuid.to_owned(), Owner::Recovery(earlier))),
                None => drop(documents.owners.remove(uuid)),
            }
        }
    }

    /// Until when an earlier release of this document may have been sent. It may have printed it.
    pub(super) fn sent_before(&self, uuid: &str) -> Option<Instant> {
        if planted::is("forget-earlier-sends") {
            return None;
        }
        match self.lock().owners.get(uuid)? {
            Owner::Recovery(earlier) => Some(earlier.sent),
            Owner::Tap { earlier, .. } => earlier.as_ref().map(|earlier| earlier.sent),
        }
    }

    /// A tap is over with a document, if it owned it; `released`: when it was known to come out.
    pub(super) fn end(&self, tap: TapId, uuid: &str, released: Option<Instant>) {
        let mut documents = self.lock();
        if matches!(documents.owners.get(uuid), Some(Owner::Tap { tap: owner, .. }) if *owner == tap) {
            documents.owners.remove(uuid);
            documents.remember(uuid, released);
        }
    }

    /// A tap is over with a document, and nobody knows how its release ended: the recovery owns it from now on.
    pub(super) fn leave_open(&self, release: &Release, id: Option<EntryId>, sent: Instant) {
        self.end(release.tap, &release.document.uuid, None);
        self.was_left_open(release, id, sent);
    }

    /// The recovery knows how a release ended; `released`: when it was known that the document came out.
    pub(super) fn resolve(&self, release: &Release, id: EntryId, released: Option<Instant>) -> Turn {
        let (mut documents, uuid) = (self.lock(), &release.document.uuid);
        if release.retain || planted::is("both-end-a-release") {
            return Turn::Now;
        }
        match documents.owners.get(uuid) {
            Some(Owner::Recovery(earlier)) if earlier.id == Some(id) => {
                documents.owners.remove(uuid);
                documents.remember(uuid, released);
                Turn::Now
            }
            Some(Owner::Tap { earlier: Some(earlier), .. }) if earlier.id == Some(id) => Turn::Later,
            _ => Turn::Never,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Documents> {
        // Nothing that holds it can panic half way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Documents {
    fn remember(&mut self, uuid: &str, released: Option<Instant>) {
        let Some(now) = released else {
            return;
        };
        self.released.push_back((now, uuid.to_owned()));
        let is_old = |at: Instant| now.saturating_duration_since(at) > LIST_AGE;
        while self.released.front().is_some_and(|(at, _)| is_old(*at)) || self.released.len() > RELEASED_LIMIT {
            self.released.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn tap(number: u128) -> TapId {
        TapId::new(Timestamp::UNIX_EPOCH, number)
    }

    /// A claim after a list that was asked for just now.
    fn claim(claims: &Claims, release: &Release) -> Claim {
        claims.claim(release, Instant::now())
    }

    #[test]
    fn a_document_belongs_to_the_first_tap_that_wants_it_until_that_one_is_over_with_it() {
        let claims = Claims::default();
        let attic = Release { station: "attic".into(), ..release("a", 2, false) };
        assert_eq!(claim(&claims, &release("a", 1, false)), Claim::Free);
        assert_eq!(
            (claim(&claims, &attic), claim(&claims, &release("a", 2, false))),
            (Claim::Elsewhere, Claim::Outdated)
        );
        claims.end(tap(2), "a", None);
        assert_eq!(claim(&claims, &attic), Claim::Elsewhere, "it is not the second one's to end");
        claims.end(tap(1), "a", None);
        assert_eq!(claim(&claims, &release("a", 2, false)), Claim::Free);
    }

    fn release(document: &str, number: u128, retain: bool) -> Release {
        Release { retain, ..Release::sample(document, number) }
    }

    #[test]
    fn a_release_left_open_is_ended_by_the_recovery_or_replaced_by_a_tap_never_both() {
        let (claims, sent) = (Claims::default(), Instant::now());
        let (a, b) = (release("a", 0, false), release("b", 0, false));
        claims.leave_open(&a, Some(7), sent);
        claims.leave_open(&b, Some(8), sent);
        assert_eq!(claim(&claims, &release("a", 1, true)), Claim::Elsewhere, "it would be forgotten who was before");
        assert_eq!(claim(&claims, &release("a", 1, false)), Claim::InsteadOf(7));
        assert_eq!((claims.resolve(&a, 7, None), claims.sent_before("a")), (Turn::Later, Some(sent)));
        claims.give_back(tap(1), "a");
        assert_eq!((claims.resolve(&a, 7, None), claims.resolve(&a, 7, None)), (Turn::Now, Turn::Never));
        assert_eq!(claim(&claims, &release("b", 1, false)), Claim::InsteadOf(8));
        claims.leave_open(&release("b", 1, false), Some(9), sent);
        assert_eq!((claims.resolve(&b, 8, None), claims.resolve(&b, 9, None)), (Turn::Never, Turn::Now));
        assert_eq!(claim(&claims, &release("b", 1, false)), Claim::Free);
    }

    #[test]
    fn a_document_that_stays_at_the_server_is_free_when_its_tap_is_over_and_still_ended_by_the_recovery() {
        let (claims, kept) = (Claims::default(), release("a", 1, true));
        assert_eq!((claim(&claims, &kept), claim(&claims, &release("a", 2, false))), (Claim::Free, Claim::Outdated));
        claims.leave_open(&kept, Some(7), Instant::now());
        assert_eq!(claim(&claims, &release("a", 2, false)), Claim::Free);
        assert_eq!(claims.resolve(&kept, 7, None), Turn::Now);
    }

    #[test]
    fn a_document_that_was_released_since_the_list_was_asked_for_is_not_released_again() {
        let (claims, asked) = (Claims::default(), Instant::now());
        assert_eq!(claims.claim(&release("a", 1, false), asked), Claim::Free);
        claims.end(tap(1), "a", Some(asked + Duration::from_millis(5)));
        assert_eq!(claims.claim(&release("a", 2, false), asked), Claim::Outdated);
        let asked_later = asked + Duration::from_millis(6);
        assert_eq!(claims.claim(&release("a", 2, false), asked_later), Claim::Free, "the server says READY again");
        claims.end(tap(2), "a", None);
        assert_eq!(claims.claim(&release("a", 3, false), asked_later), Claim::Free, "nothing came out");
    }

    #[test]
    fn only_a_release_at_the_same_printer_and_with_the_same_record_takes_the_place_of_one_that_was_left_open() {
        let claims = Claims::default();
        claims.leave_open(&release("a", 0, false), Some(7), Instant::now());
        let elsewhere = Release { port: OutputPort::Serial("DEMO0002".to_owned()), ..release("a", 1, false) };
        let unrecorded = Release { record: false, ..release("a", 1, false) };
        assert_eq!((claim(&claims, &elsewhere), claim(&claims, &unrecorded)), (Claim::Elsewhere, Claim::Elsewhere));
        assert_eq!(claim(&claims, &release("a", 1, false)), Claim::InsteadOf(7));
    }

    #[test]
    fn a_release_without_an_entry_that_may_have_been_sent_is_not_forgotten() {
        let (claims, sent) = (Claims::default(), Instant::now());
        assert_eq!(claim(&claims, &release("a", 1, false)), Claim::Free);
        claims.leave_open(&release("a", 1, false), None, sent);
        assert_eq!(claim(&claims, &release("a", 2, false)), Claim::Free);
        assert_eq!(claims.sent_before("a"), Some(sent), "the next attempt asks first");
    }
}
