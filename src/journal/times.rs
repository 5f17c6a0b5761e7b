//! The times of releases and records that are stored while the box does not know the time. They are stored without one (1970)
//! and with the moment at which they were made. When they are read, the time is derived from the offset of that boot, if it
//! is known ([`BootTimes`](super::boot_times::BootTimes)). No entry is rewritten for it.

use jiff::Timestamp;

use super::entry::StoredRelease;
use super::error::JournalError;
use super::store::Store;
use crate::clock::{self, Moment};
use crate::domain::{JobRecord, Release};

/// Written in place of a time that is not known.
const NO_TIME: Timestamp = Timestamp::UNIX_EPOCH;

impl Store {
    /// The release as it is to be stored, and when it was made if its time is not known.
    pub(super) fn timed_release(&mut self, mut release: Release) -> Result<(Release, Option<Moment>), JournalError> {
        if self.is_certain(release.time) {
            return Ok((release, None));
        }
        let (time, made) = self.this_moment()?;
        release.time = time;
        Ok((release, made))
    }

    /// The same for a record. One with the time of its release is stored with the stored time or the moment of that.
    pub(super) fn timed_record(
        &mut self,
        mut record: JobRecord,
        release: Option<&StoredRelease>,
    ) -> Result<(JobRecord, Option<Moment>), JournalError> {
        if self.is_certain(record.time) || (release.is_none() && clock::is_possible(record.time)) {
            return Ok((record, None));
        }
        let of_release = release.filter(|stored| [stored.release.time, NO_TIME].contains(&record.time));
        let (time, made) = match of_release {
            Some(stored) => (stored.release.time, stored.made.clone()),
            None => self.this_moment()?,
        };
        record.time = time;
        Ok((record, made))
    }

    /// The present time by the offset of this boot, if it is known. Otherwise this is the moment alone, and the boot is listed
    /// before the entry is stored.
    fn this_moment(&mut self) -> Result<(Timestamp, Option<Moment>), JournalError> {
        let now = Moment::now();
        if let Some(time) = self.database().boot_times().wall(&now) {
            return Ok((time, None));
        }
        let mut boots = self.database().boot_times().clone();
        if boots.add(&now) {
            self.set_boot_times(boots)?;
        }
        Ok((NO_TIME, Some(now)))
    }

    /// Stores the offset of this boot if entries need it and the time is known by now.
    pub(super) fn note_time(&mut self) -> Result<(), JournalError> {
        let wall = Timestamp::now();
        if !self.database().boot_times().has_unknown() || !self.is_certain(wall) {
            return Ok(());
        }
        let tally = self.database().tally();
        let mut boots = self.database().boot_times().clone();
        boots.learn(&Moment::now(), wall, tally.first_release.min(tally.first_record), self.next_id());
        self.set_boot_times(boots)?;
        tracing::info!("the time is known now: entries that were stored without one get theirs");
        Ok(())
    }
}
