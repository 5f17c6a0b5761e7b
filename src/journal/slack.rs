//! sled's threads look every second, and every half, whether there is something to do, though they are woken when there is:
//! eleven times a second in all. Timer slack (`prctl(2)`) lets the kernel put that off while the processor sleeps anyway; on
//! a busy one they look as often as ever.

use std::num::NonZeroU64;
use std::thread;
use std::time::Duration;

use rustix::thread::set_current_timer_slack;

/// How much later at most, in nanoseconds: sled's eight threads then wake once a second together.
const SLACK: NonZeroU64 = NonZeroU64::new(10_000_000_000).unwrap();

/// For this thread and those that it starts from now on, which have the slack of the one that started them.
pub(super) fn allow() {
    set(Some(SLACK));
}

/// Sleeps no longer than it says.
pub(super) fn sleep(duration: Duration) {
    set(None);
    thread::sleep(duration);
    allow();
}

/// `None` is what every thread has by default. Where this is not possible, they wake as often as they like.
fn set(slack: Option<NonZeroU64>) {
    let _ = set_current_timer_slack(slack);
}
