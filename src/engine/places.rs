//! How many runs may be under way on each database, for reading and for writing. Pure.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::config::Job;
use crate::sql::{MOST_THREADS, Mode};

/// Runs on one database that may be under way at once: one for each of its threads.
#[expect(clippy::cast_possible_truncation, reason = "it is small")]
const THREADS: u32 = MOST_THREADS as u32;
/// So many of one job, at most, so that no job keeps the others from their database.
const SHARE: u32 = THREADS / 2;
/// Runs that may be under way at once, at most, where they are so quick that as many are over in [`SUPPLY`].
const MOST: u32 = 1024;
/// In microseconds: more could be asked for in less time, and none waits so long for a thread that it is taken back.
const SUPPLY: u64 = 40_000;
/// The newest run counts for one part in so many.
const WEIGHT: u64 = 8;

/// The places on every database.
#[derive(Debug, Default)]
pub(super) struct AllPlaces(BTreeMap<PathBuf, [Places; 2]>);

/// Those of the runs that read one database, or write it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Places {
    pub running: u32,
    /// How long a run works, in microseconds, the last ones counting most; none where that is not known.
    mean: Option<u64>,
}

impl AllPlaces {
    /// The places of the runs that do with its database what `job` does; none where it has no database.
    pub(super) fn of(&self, job: &Job) -> Option<Places> {
        let (database, mode) = (job.database.as_ref()?, job.action.database()?);
        let places = self.0.get(database.key()).copied().unwrap_or_default();
        Some(places[index_of(mode)])
    }

    /// The same, to be changed.
    pub(super) fn of_mut(&mut self, job: &Job) -> Option<&mut Places> {
        let (database, mode) = (job.database.as_ref()?, job.action.database()?);
        if !self.0.contains_key(database.key()) {
            self.0.insert(database.key().to_owned(), Default::default());
        }
        Some(&mut self.0.get_mut(database.key())?[index_of(mode)])
    }
}

impl Places {
    /// Whether another run may begin.
    pub(super) fn has_room(self) -> bool {
        self.running < self.most()
    }

    /// How many runs of one job may be under way.
    pub(super) fn share(self) -> u32 {
        if self.most() > THREADS { self.most() } else { SHARE }
    }

    fn most(self) -> u32 {
        let in_time = self.mean.map_or(0, |mean| SUPPLY / mean.max(1));
        u32::try_from(in_time).unwrap_or(MOST).clamp(THREADS, MOST)
    }

    /// Learns how long a run worked.
    pub(super) fn learn(&mut self, worked: Duration) {
        let worked = u64::try_from(worked.as_micros()).unwrap_or(u64::MAX / WEIGHT);
        // The first ones prove nothing: a connection had to be opened.
        let before = self.mean.unwrap_or(SUPPLY);
        self.mean = Some((before / WEIGHT * (WEIGHT - 1)).saturating_add(worked / WEIGHT));
    }

    /// Learns that runs wait for a thread.
    pub(super) fn are_held_up(&mut self) {
        self.mean = None;
    }
}

fn index_of(mode: Mode) -> usize {
    match mode {
        Mode::Read => 0,
        Mode::Write => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quick_runs_get_a_supply_of_places_until_one_is_slow() {
        let mut places = Places {
            running: THREADS,
            mean: None,
        };
        assert!(!places.has_room());
        (0..100).for_each(|_| places.learn(Duration::from_micros(50)));
        assert!(places.has_room());
        places.learn(Duration::from_secs(1));
        assert!(!places.has_room());
    }
}
