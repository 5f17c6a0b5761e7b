//! The time by which entries may be too old. This box's clock alone proves no age: one that runs ahead for a moment would have
//! everything given up. So the server's clock has to agree, as it was last told in this run.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use jiff::{SignedDuration, Timestamp};

/// The server's time and the moment at which it was told; `None` before the first.
#[derive(Clone, Debug, Default)]
pub(super) struct TrustedTime(Arc<Mutex<Option<(Timestamp, Instant)>>>);

impl TrustedTime {
    pub(super) fn learn(&self, server: Timestamp) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((server, Instant::now()));
    }

    /// The latest time that it certainly is by now: the earlier one of this box's clock, which shows `wall`, and the server's.
    pub(super) fn at(&self, wall: Timestamp) -> Option<Timestamp> {
        let (server, told) = (*self.0.lock().unwrap_or_else(PoisonError::into_inner))?;
        let passed = SignedDuration::try_from(told.elapsed()).ok()?;
        Some(server.checked_add(passed).ok()?.min(wall))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_clocks_the_one_behind_is_believed_and_one_alone_is_not() {
        let (time, wall) = (TrustedTime::default(), Timestamp::now());
        assert_eq!(time.at(wall), None);
        let days = SignedDuration::from_hours(40 * 24);
        time.learn(wall + days);
        assert_eq!(time.at(wall), Some(wall));
        time.learn(wall - days);
        let by_server = time.at(wall).unwrap().duration_since(wall - days);
        assert!(by_server >= SignedDuration::ZERO && by_server < days, "{by_server}");
    }
}
