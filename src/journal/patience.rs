//! Waits for sled's flush, which may have been forgotten.
//!
//! A write of sled 0.34.7 that fails sets the error that all later calls return, and wakes nobody: a flush that began to wait
//! just before waits for ever (`exit_reservation` in its `pagecache/logger.rs`). Every other flush that sees the error wakes those
//! that wait. So when one takes long, another one is begun: on a disk that is only slow it waits like the first.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use super::error::{JournalError, sled_error};

/// A flush that takes longer is helped by another one, that one after twice the time by a third, and so on.
const LONG: Duration = Duration::from_secs(2);

struct WakeThread(Thread);

impl Wake for WakeThread {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Writes all earlier changes to sled's file, as the flush that ends first has.
pub(super) fn flush(db: &sled::Db) -> Result<(), JournalError> {
    first_of(|| Box::pin(db.flush_async()), LONG).map(drop).map_err(sled_error)
}

/// The result of the first that ends. Another one is begun whenever all so far have taken long.
fn first_of<'a, T>(begin: impl Fn() -> Pin<Box<dyn Future<Output = T> + 'a>>, long: Duration) -> T {
    let waker = Waker::from(Arc::new(WakeThread(thread::current())));
    let mut context = Context::from_waker(&waker);
    let (mut begun, mut long) = (vec![begin()], long);
    let mut next = Instant::now() + long;
    loop {
        for one in &mut begun {
            if let Poll::Ready(result) = one.as_mut().poll(&mut context) {
                return result;
            }
        }
        let now = Instant::now();
        if now < next {
            thread::park_timeout(next - now);
        } else {
            begun.push(begin());
            long *= 2;
            next = now + long;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::{pending, ready};

    use super::*;

    #[test]
    fn one_that_is_never_woken_is_helped_by_another() {
        let begun = Cell::new(0);
        let begin = || -> Pin<Box<dyn Future<Output = u32> + '_>> {
            begun.set(begun.get() + 1);
            if begun.get() < 3 { Box::pin(pending()) } else { Box::pin(ready(begun.get())) }
        };
        assert_eq!(first_of(begin, Duration::from_millis(1)), 3);
    }

    #[test]
    fn what_was_inserted_is_in_the_file_after_a_flush() {
        let dir = tempfile::tempdir().unwrap();
        let db = sled::open(dir.path()).unwrap();
        db.insert("key", "a value that is easily found").unwrap();
        flush(&db).unwrap();
        let file = std::fs::read(dir.path().join("db")).unwrap();
        assert!(file.windows(12).any(|bytes| bytes == b"a value that"));
    }
}
