//! Timer slack for sled's threads. They check every second or half second whether there is something to do, eleven times a
//! second in all, although they are woken when there is. Timer slack lets the kernel delay this while the processor sleeps;
//! on a busy box they check as often as ever. A thread inherits the slack of the one that starts it
//! (proc_pid_timerslack_ns(5); `prctl(2)` has room for only four seconds on a machine of 32 bits).

use std::fs;
use std::thread;
use std::time::Duration;

use rustix::thread::gettid;

/// The longest delay. With it sled's eight threads together wake once a second.
const SLACK: Duration = Duration::from_secs(10);

/// Sets the slack of this thread and of those that it starts from now on.
pub(super) fn allow() {
    set(SLACK);
}

/// Sleeps without slack, so that it takes no longer than asked.
pub(super) fn sleep(duration: Duration) {
    set(Duration::ZERO);
    thread::sleep(duration);
    allow();
}

/// Zero restores the default of every thread. A kernel that refuses costs only some wake-ups.
fn set(slack: Duration) {
    let _ = fs::write(format!("/proc/{}/timerslack_ns", gettid().as_raw_nonzero()), slack.as_nanos().to_string());
}
