//! Whose a document is, while it is under release: one list for the box. Two taps may want the same document, at two
//! stations at one moment or one after the other; and the recovery wants to know how a release ended of which nobody knows
//! it. One of them has it, and the others leave it alone: or one printed document would be recorded twice.
//!
//! A document that stays at the server (`retain`) is released anew by each tap: only a tap has it, never the recovery. And
//! such a tap cannot take the recovery's place: with its entry it would be forgotten that an earlier request, which takes
//! the document away, may still come to its end.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::domain::{EntryId, Release, TapId};

/// What a tap gets that wants a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Claim {
    /// Nobody had it.
    Free,
    /// The recovery had it; the tap's release takes this entry's place.
    InsteadOf(EntryId),
    /// Another tap has it, or the recovery and this one may not take its place.
    Elsewhere,
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Earlier {
    id: EntryId,
    /// Nothing was sent for it after this.
    sent: Instant,
}

#[derive(Clone, Copy, Debug)]
enum Holder {
    Recovery(Earlier),
    Tap { tap: TapId, earlier: Option<Earlier> },
}

/// Every document that is under release. A release that ended in the journal is not here.
#[derive(Debug, Default)]
pub(super) struct Claims(Mutex<HashMap<String, Holder>>);

impl Claims {
    /// An earlier run left a release open. A tap that has the document already has it with that.
    pub(super) fn was_left_open(&self, release: &Release, id: EntryId, sent: Instant) {
        if release.retain {
            return;
        }
        let left = Earlier { id, sent };
        match self.holders().entry(release.document.uuid.clone()).or_insert(Holder::Recovery(left)) {
            Holder::Recovery(earlier) => *earlier = left,
            Holder::Tap { earlier, .. } => *earlier = Some(left),
        }
    }

    /// A tap wants to release its document.
    pub(super) fn claim(&self, release: &Release) -> Claim {
        let (mut holders, uuid) = (self.holders(), &release.document.uuid);
        let earlier = match holders.get(uuid) {
            Some(Holder::Tap { .. }) => return Claim::Elsewhere,
            Some(Holder::Recovery(_)) if release.retain => return Claim::Elsewhere,
            Some(Holder::Recovery(earlier)) => Some(*earlier),
            None => None,
        };
        holders.insert(uuid.to_owned(), Holder::Tap { tap: release.tap, earlier });
        earlier.map_or(Claim::Free, |earlier| Claim::InsteadOf(earlier.id))
    }

    /// A tap could not store what it claimed: all is as before.
    pub(super) fn give_back(&self, tap: TapId, uuid: &str) {
        let mut holders = self.holders();
        if let Some(Holder::Tap { tap: holder, earlier }) = holders.get(uuid).copied()
            && holder == tap
        {
            match earlier {
                Some(earlier) => drop(holders.insert(uuid.to_owned(), Holder::Recovery(earlier))),
                None => drop(holders.remove(uuid)),
            }
        }
    }

    /// Until when an earlier release of this document may have been sent. It may have printed it.
    pub(super) fn sent_before(&self, uuid: &str) -> Option<Instant> {
        match self.holders().get(uuid)? {
            Holder::Recovery(earlier) => Some(earlier.sent),
            Holder::Tap { earlier, .. } => earlier.map(|earlier| earlier.sent),
        }
    }

    /// A tap is over with a document, if it had it.
    pub(super) fn end(&self, tap: TapId, uuid: &str) {
        let mut holders = self.holders();
        if matches!(holders.get(uuid), Some(Holder::Tap { tap: holder, .. }) if *holder == tap) {
            holders.remove(uuid);
        }
    }

    /// A tap is over with a document, and nobody knows how its release ended: the recovery has it from now on.
    pub(super) fn leave_open(&self, release: &Release, id: EntryId, sent: Instant) {
        self.end(release.tap, &release.document.uuid);
        self.was_left_open(release, id, sent);
    }

    /// The recovery knows how a release ended.
    pub(super) fn resolve(&self, release: &Release, id: EntryId) -> Turn {
        let (mut holders, uuid) = (self.holders(), &release.document.uuid);
        if release.retain {
            return Turn::Now;
        }
        match holders.get(uuid) {
            Some(Holder::Recovery(earlier)) if earlier.id == id => {
                holders.remove(uuid);
                Turn::Now
            }
            Some(Holder::Tap { earlier: Some(earlier), .. }) if earlier.id == id => Turn::Later,
            _ => Turn::Never,
        }
    }

    fn holders(&self) -> MutexGuard<'_, HashMap<String, Holder>> {
        // Nothing that holds it can panic half way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::domain::{Document, DocumentStatus, OutputPort, User};

    fn tap(number: u128) -> TapId {
        TapId::new(Timestamp::UNIX_EPOCH, number)
    }

    #[test]
    fn a_document_belongs_to_the_first_tap_that_wants_it_until_that_one_is_over_with_it() {
        let claims = Claims::default();
        assert_eq!(claims.claim(&release("a", 1, false)), Claim::Free);
        assert_eq!(claims.claim(&release("a", 2, false)), Claim::Elsewhere);
        claims.end(tap(2), "a");
        assert_eq!(claims.claim(&release("a", 2, false)), Claim::Elsewhere, "it is not the second one's to end");
        claims.end(tap(1), "a");
        assert_eq!(claims.claim(&release("a", 2, false)), Claim::Free);
    }

    /// The release of a document by a tap.
    fn release(document: &str, number: u128, retain: bool) -> Release {
        let document = Document {
            uuid: document.to_owned(),
            title: String::new(),
            user: String::new(),
            pages: None,
            color_pages: None,
            copies: None,
            duplex: None,
            grayscale: None,
            paper_size: None,
            created: None,
            status: DocumentStatus::Ready,
            port_name: None,
        };
        let user = User { name: "ada".to_owned(), provider: None };
        let (station, port) = ("lobby".into(), OutputPort::Serial("DEMO0001".to_owned()));
        Release { tap: tap(number), station, user, document, port, time: Timestamp::UNIX_EPOCH, record: true, retain }
    }

    #[test]
    fn a_release_left_open_is_ended_by_the_recovery_or_replaced_by_a_tap_never_both() {
        let (claims, sent) = (Claims::default(), Instant::now());
        let (a, b) = (release("a", 0, false), release("b", 0, false));
        claims.leave_open(&a, 7, sent);
        claims.leave_open(&b, 8, sent);
        assert_eq!(claims.claim(&release("a", 1, true)), Claim::Elsewhere, "it would be forgotten who was before");
        assert_eq!(claims.claim(&release("a", 1, false)), Claim::InsteadOf(7));
        assert_eq!((claims.resolve(&a, 7), claims.sent_before("a")), (Turn::Later, Some(sent)));
        claims.give_back(tap(1), "a");
        assert_eq!((claims.resolve(&a, 7), claims.resolve(&a, 7)), (Turn::Now, Turn::Never));
        assert_eq!(claims.claim(&release("b", 1, false)), Claim::InsteadOf(8));
        claims.leave_open(&release("b", 1, false), 9, sent);
        assert_eq!((claims.resolve(&b, 8), claims.resolve(&b, 9)), (Turn::Never, Turn::Now));
        assert_eq!(claims.claim(&release("b", 1, false)), Claim::Free);
    }

    #[test]
    fn a_document_that_stays_at_the_server_is_free_when_its_tap_is_over_and_still_ended_by_the_recovery() {
        let (claims, kept) = (Claims::default(), release("a", 1, true));
        assert_eq!((claims.claim(&kept), claims.claim(&release("a", 2, false))), (Claim::Free, Claim::Elsewhere));
        claims.leave_open(&kept, 7, Instant::now());
        assert_eq!(claims.claim(&release("a", 2, false)), Claim::Free);
        assert_eq!(claims.resolve(&kept, 7), Turn::Now);
    }
}
