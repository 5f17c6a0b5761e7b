//! The limit against somebody who tries card after card: many different ones that the server refuses make a station slow. Pure.
//!
//! A card is known here by a hash under a key that is drawn for this station at its start and never leaves it.

use std::collections::VecDeque;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::time::{Duration, Instant};

use crate::domain::Read;

/// So many different cards that were refused within [`WINDOW`] make the station slow.
const DIFFERENT: usize = 10;

/// The time within which they count; and it ends after so long a time without another.
const WINDOW: Duration = Duration::from_secs(60);

/// A slow station takes one read in this time.
const PAUSE: Duration = Duration::from_secs(5);

/// A card, as this limit knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CardMark(u64);

#[derive(Debug, Default)]
pub(super) struct GuessLimit {
    key: RandomState,
    /// The last refusal of each card, the oldest first; never more than [`DIFFERENT`].
    refused: VecDeque<(CardMark, Instant)>,
    is_slow: bool,
    /// When a read was taken last.
    taken: Option<Instant>,
}

impl GuessLimit {
    /// Takes a read, unless the station is slow and the last one was taken a moment ago.
    pub(super) fn take(&mut self, read: &Read, now: Instant) -> Option<CardMark> {
        self.forget(now);
        if self.is_slow && self.taken.is_some_and(|taken| now.duration_since(taken) < PAUSE) {
            return None;
        }
        self.taken = Some(now);
        Some(CardMark(self.key.hash_one(read.0.expose())))
    }

    /// The server does not know the card.
    pub(super) fn refused(&mut self, card: CardMark, now: Instant) {
        self.forget(now);
        self.refused.retain(|(other, _)| *other != card);
        if self.refused.len() == DIFFERENT {
            self.refused.pop_front();
        }
        self.refused.push_back((card, now));
        self.is_slow |= self.refused.len() == DIFFERENT;
    }

    /// The server knows the card: a person stands there, and no machine.
    pub(super) fn accepted(&mut self) {
        (self.refused, self.is_slow) = (VecDeque::new(), false);
    }

    /// A slow station stays so until a minute has passed since the last refusal, however few there are by then.
    fn forget(&mut self, now: Instant) {
        self.refused.retain(|(_, refused)| now.duration_since(*refused) < WINDOW);
        self.is_slow &= !self.refused.is_empty();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Secret;

    fn card(number: usize) -> Read {
        Read(Secret::new(number.to_string()))
    }

    /// Refuses so many cards, a second apart, and gives the time of the last.
    fn refuse(limit: &mut GuessLimit, cards: impl Iterator<Item = usize>, start: Instant) -> Instant {
        let mut now = start;
        for number in cards {
            now += Duration::from_secs(1);
            let mark = limit.take(&card(number), now).unwrap();
            limit.refused(mark, now);
        }
        now
    }

    #[test]
    fn after_ten_different_refused_cards_in_a_minute_one_read_in_five_seconds_is_taken() {
        let mut limit = GuessLimit::default();
        let mut now = refuse(&mut limit, 0..DIFFERENT, Instant::now());
        for number in 100..110 {
            assert!(limit.take(&card(number), now + PAUSE / 2).is_none(), "{number}");
            now += PAUSE;
            let mark = limit.take(&card(number), now).unwrap();
            limit.refused(mark, now);
        }
    }

    #[test]
    fn the_same_cards_again_or_too_few_in_a_minute_do_no_harm() {
        let mut limit = GuessLimit::default();
        let now = refuse(&mut limit, (0..50).map(|number| number % (DIFFERENT - 1)), Instant::now());
        assert!(limit.take(&card(500), now).is_some());
        let mut slowly = (GuessLimit::default(), now);
        for number in 0..100 {
            slowly.1 += WINDOW / 9 + Duration::from_millis(1);
            let mark = slowly.0.take(&card(number), slowly.1).unwrap();
            slowly.0.refused(mark, slowly.1);
        }
        assert!(slowly.0.take(&card(500), slowly.1).is_some());
    }

    #[test]
    fn it_ends_at_an_accepted_card_or_after_a_minute_without_a_refusal() {
        let mut limit = GuessLimit::default();
        let now = refuse(&mut limit, 0..DIFFERENT, Instant::now());
        assert!(limit.take(&card(500), now).is_none());
        limit.accepted();
        assert!(limit.take(&card(500), now).is_some());
        let now = refuse(&mut limit, 0..DIFFERENT, now);
        assert!(limit.take(&card(500), now).is_none());
        let later = now + WINDOW;
        for _ in 0..3 {
            assert!(limit.take(&card(500), later).is_some());
        }
    }

    #[test]
    fn no_card_number_is_kept() {
        let mut limit = GuessLimit::default();
        let mark = limit.take(&Read(Secret::new("04A1B2C3")), Instant::now()).unwrap();
        limit.refused(mark, Instant::now());
        assert!(!format!("{limit:?}").contains("04A1B2C3"));
    }
}
