//! The way of an agent to its disk: jobs one after the other, each of which takes its time, and perhaps fails.

use std::sync::Arc;

use tokio::sync::{Mutex, watch};

use super::books::Books;
use super::disk::DiskModel;
use super::world::{pause, world};
use crate::journal::{Counts, JournalError};

/// The way of a run to the disk of its box.
#[derive(Clone, Debug)]
pub(crate) struct DiskHandle {
    pub(super) number: usize,
    pub(super) run: u32,
    turn: Arc<Mutex<()>>,
    counts: watch::Sender<Counts>,
}

impl DiskHandle {
    pub(super) fn new(number: usize, run: u32) -> (Self, watch::Receiver<Counts>) {
        let counts = world().boxes[number].disk.counts(false);
        let (counts, receiver) = watch::channel(counts);
        (Self { number, run, turn: Arc::default(), counts }, receiver)
    }

    /// Does a job, one after the other. `is_duty`: an earlier promise needs it, so a full disk does it too.
    pub(crate) async fn carry_out<T>(
        &self,
        is_duty: bool,
        mut job: impl FnMut(&mut DiskModel) -> Result<T, JournalError>,
    ) -> Result<T, JournalError> {
        let _turn = self.turn.lock().await;
        let Some(luck) = self.luck(is_duty) else {
            return std::future::pending().await;
        };
        if luck.full && !is_duty {
            pause(1).await;
            return Err(JournalError::Full);
        }
        let mut result = None;
        if luck.early {
            result = Some(self.apply(&mut job, luck.full));
        }
        pause(luck.takes).await;
        if !world().is_alive(self.number, self.run) {
            return std::future::pending().await;
        }
        if luck.fails {
            // It may be there or not; nobody was told that it is. A promise that nobody was told of is taken back.
            return Err(JournalError::Disk("a sync failed".to_owned()));
        }
        result.unwrap_or_else(|| self.apply(&mut job, luck.full))
    }

    /// The luck of the next job; `None` when this run is over.
    fn luck(&self, is_duty: bool) -> Option<DiskLuck> {
        let mut world = world();
        if !world.is_alive(self.number, self.run) {
            return None;
        }
        let full = world.weather.full_disks.contains(&self.number);
        let (slow, failing) = (world.weather.slow_disks, world.weather.failing_syncs.contains(&self.number));
        let dice = &mut world.boxes[self.number].dice;
        let takes = if dice.percent(slow) { dice.between(200, 6_000) } else { dice.between(1, 12) };
        let fails = failing && dice.percent(30);
        // A failed write of a promise leaves nothing behind: its numbers were never given out.
        Some(DiskLuck { full, takes, early: (is_duty || !fails) && dice.percent(50), fails })
    }

    fn apply<T>(
        &self,
        job: &mut impl FnMut(&mut DiskModel) -> Result<T, JournalError>,
        full: bool,
    ) -> Result<T, JournalError> {
        let mut guard = world();
        let world = &mut *guard;
        let moment = world.boxes[self.number].moment();
        let disk = &mut world.boxes[self.number].disk;
        disk.now = Some(moment);
        disk.note_time()?;
        let result = job(disk);
        let counts = disk.counts(full);
        let seen = std::mem::take(&mut disk.seen);
        for seen in seen {
            Books::see(world, self.number, seen);
        }
        drop(guard);
        self.counts.send_if_modified(|known| std::mem::replace(known, counts) != counts);
        result
    }
}

struct DiskLuck {
    full: bool,
    takes: u64,
    early: bool,
    fails: bool,
}
