//! The wait before the next attempt: exponential with full jitter. Pure: the randomness comes in.
//!
//! Invariants: a delay is never shorter than `min` nor longer than `max`; the range it is drawn from grows from
//! `min..=2 * min` by doubling until it is `min..=max`, so that a fleet that lost its server together comes back apart.
//!
//! It neither waits nor decides that the trouble is over: the caller sleeps, and calls [`Backoff::reset`].

use std::time::Duration;

use crate::planted;

/// Why two durations make no backoff.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BackoffError {
    /// The shortest delay is zero, which would be a busy loop.
    #[error("build a backoff: its shortest delay is zero; give it at least 1 ms")]
    Zero,
    /// The shortest delay is longer than the longest.
    #[error("build a backoff: its shortest delay {min:?} is longer than its longest {max:?}; swap them")]
    Inverted {
        /// The shortest delay asked for.
        min: Duration,
        /// The longest delay asked for.
        max: Duration,
    },
    /// The longest delay cannot be counted in nanoseconds (584 years).
    #[error("build a backoff: its longest delay {max:?} is out of range; give it at most a year")]
    TooLong {
        /// The longest delay asked for.
        max: Duration,
    },
}

/// The delays between attempts, each drawn from a range that doubles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// In nanoseconds, as the other two.
    min: u64,
    max: u64,
    /// The upper end of the range that the last delay was drawn from; `min` before the first.
    ceiling: u64,
}

impl Backoff {
    /// Delays from `min` to `max`. A constant backoff is checked by the compiler.
    pub const fn new(min: Duration, max: Duration) -> Result<Self, BackoffError> {
        if min.is_zero() {
            return Err(BackoffError::Zero);
        }
        if min.as_nanos() > max.as_nanos() {
            return Err(BackoffError::Inverted { min, max });
        }
        if max.as_nanos() > u64::MAX as u128 {
            return Err(BackoffError::TooLong { max });
        }
        let (min, max) = (min.as_nanos() as u64, max.as_nanos() as u64);
        Ok(Self { min, max, ceiling: min })
    }

    /// The delay before the next attempt. `random` is uniform over all its values.
    pub fn next(&mut self, random: u64) -> Duration {
        let max = if planted::is("wait-without-limit") { u64::MAX } else { self.max };
        self.ceiling = self.ceiling.saturating_mul(2).min(max);
        let span = u128::from(self.ceiling - self.min);
        let share = span * u128::from(random) / u128::from(u64::MAX);
        // `share` is at most `span`, so neither line can overflow.
        Duration::from_nanos(self.min + share as u64)
    }

    /// Starts again with the shortest delays, once the attempts have worked for a while.
    pub fn reset(&mut self) {
        self.ceiling = self.min;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LONGEST: u64 = u64::MAX;

    fn backoff() -> impl Strategy<Value = (Duration, Duration, Backoff)> {
        (1..=u64::MAX, 1..=u64::MAX).prop_map(|(a, b)| {
            let (min, max) = (Duration::from_nanos(a.min(b)), Duration::from_nanos(a.max(b)));
            (min, max, Backoff::new(min, max).unwrap())
        })
    }

    proptest! {
        #[test]
        fn every_delay_is_between_the_two_ends((min, max, mut backoff) in backoff(), randoms: Vec<u64>) {
            for random in randoms {
                let delay = backoff.next(random);
                prop_assert!((min..=max).contains(&delay), "{delay:?}");
            }
        }

        #[test]
        fn the_longest_delays_double_and_then_stay_at_the_maximum((min, max, mut backoff) in backoff()) {
            let mut expected = min;
            for _ in 0..70 {
                expected = expected.saturating_mul(2).min(max);
                prop_assert_eq!(backoff.next(LONGEST), expected);
            }
            prop_assert_eq!(expected, max, "70 doublings reach any maximum");
        }

        #[test]
        fn a_reset_makes_it_as_new((min, max, mut backoff) in backoff(), randoms: Vec<u64>) {
            let used = randoms.into_iter().map(|random| backoff.next(random)).count();
            backoff.reset();
            prop_assert_eq!(Ok(backoff), Backoff::new(min, max), "after {} delays", used);
        }

        #[test]
        fn more_randomness_never_waits_less((_, _, backoff) in backoff(), a: u64, b: u64) {
            let delay = |random| { let mut backoff = backoff; backoff.next(random) };
            prop_assert!(delay(a.min(b)) <= delay(a.max(b)));
        }
    }

    #[test]
    fn the_jitter_is_full_from_the_first_delay_on() {
        let new = || Backoff::new(Duration::from_secs(1), Duration::from_secs(60)).unwrap();
        assert_eq!(new().next(0), Duration::from_secs(1));
        assert_eq!(new().next(LONGEST), Duration::from_secs(2));
    }

    #[test]
    fn ends_that_make_no_range_are_refused() {
        let (short, long) = (Duration::from_secs(1), Duration::from_secs(2));
        assert_eq!(Backoff::new(Duration::ZERO, long), Err(BackoffError::Zero));
        assert_eq!(Backoff::new(long, short), Err(BackoffError::Inverted { min: long, max: short }));
        assert_eq!(Backoff::new(short, Duration::MAX), Err(BackoffError::TooLong { max: Duration::MAX }));
        assert!(Backoff::new(short, short).is_ok());
    }
}
