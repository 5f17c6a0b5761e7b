//! sled's threads look every second, and every half, whether there is something to do, though they are woken when there is:
//! eleven times a second in all. Timer slack lets the kernel put that off while the processor sleeps anyway; on a busy one
//! they look as often as ever. A thread that is started has the slack of the one that started it (proc_pid_timerslack_ns(5);
//! `prctl(2)` has room for four seconds where a word has 32 bits).

use std::fs;
use std::thread;
use std::time::Duration;

use rustix::thread::gettid;

/// How much later at most: sled's eight threads then wake once a second together.
const SLACK: Duration = Duration::from_secs(10);

/// For this thread and those that it starts from now on.
pub(super) fn allow() {
    set(SLACK);
}

/// Sleeps no longer than it says.
pub(super) fn sleep(duration: Duration) {
    set(Duration::ZERO);
    thread::sleep(duration);
    allow();
}

/// Zero is what every thread has by default. Where this is not possible, they wake as often as they like.
fn set(slack: Duration) {
    let _ = fs::write(format!("/proc/{}/timerslack_ns", gettid().as_raw_nonzero()), slack.as_nanos().to_string());
}
