//! What this process has counted since it began, for `/metrics`. There is one of it for the whole process, as there is one
//! log: every part counts where something happens, and hands nothing around.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use super::lock;

static COUNTERS: Mutex<Counters> = Mutex::new(Counters {
    runs: BTreeMap::new(),
    durations: BTreeMap::new(),
    lateness: Histogram::new(&[0.001, 0.005, 0.025, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0]),
    last_durations: BTreeMap::new(),
    skipped: BTreeMap::new(),
    rows: BTreeMap::new(),
    notifications: BTreeMap::new(),
    requests: BTreeMap::new(),
});

/// The upper bounds of runs' durations, in seconds.
const DURATIONS: &[f64] = &[0.01, 0.05, 0.25, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0];

/// What was counted.
#[derive(Debug)]
pub(crate) struct Counters {
    /// Runs that ended, by job, trigger and status.
    pub runs: BTreeMap<(String, &'static str, &'static str), u64>,
    /// How long runs took, by kind.
    pub durations: BTreeMap<&'static str, Histogram>,
    /// How much later than scheduled runs began.
    pub lateness: Histogram,
    /// How long the last run of each job took, in seconds.
    pub last_durations: BTreeMap<String, f64>,
    /// Runs that did not take place, by job and reason.
    pub skipped: BTreeMap<(String, &'static str), u64>,
    /// Rows that runs of each job have deleted or changed.
    pub rows: BTreeMap<String, u64>,
    /// Attempts to deliver messages, by channel and result.
    pub notifications: BTreeMap<(String, &'static str), u64>,
    /// Requests, by route and status.
    pub requests: BTreeMap<(&'static str, u16), u64>,
}

/// The counters of this process.
pub(crate) fn counters() -> MutexGuard<'static, Counters> {
    lock(&COUNTERS)
}

impl Counters {
    /// Counts how long a run of that kind took.
    pub(crate) fn took(&mut self, kind: &'static str, duration: Duration) {
        let histogram = self.durations.entry(kind).or_insert(Histogram::new(DURATIONS));
        histogram.observe(duration.as_secs_f64());
    }
}

/// How often something was at most so much.
#[derive(Debug)]
pub(crate) struct Histogram {
    bounds: &'static [f64],
    /// One for each bound, and one for what is beyond the last.
    counts: [u64; 11],
    pub sum: f64,
}

impl Histogram {
    const fn new(bounds: &'static [f64]) -> Self {
        Self {
            bounds,
            counts: [0; 11],
            sum: 0.0,
        }
    }

    /// Counts a value.
    pub(crate) fn observe(&mut self, value: f64) {
        let bucket = self.bounds.iter().take_while(|bound| value > **bound).count();
        self.counts[bucket] += 1;
        self.sum += value;
    }

    /// Each bound with how many values were at most that, and how many there were in all.
    pub(crate) fn cumulative(&self) -> (Vec<(f64, u64)>, u64) {
        let mut total = 0;
        let mut up_to = |count: &u64| {
            total += count;
            total
        };
        let buckets = self.bounds.iter().zip(&self.counts);
        let buckets = buckets.map(|(bound, count)| (*bound, up_to(count))).collect();
        (buckets, self.counts.iter().sum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_hold_what_is_at_most_their_bound() {
        let mut histogram = Histogram::new(DURATIONS);
        for value in [0.01, 0.02, 7200.0] {
            histogram.observe(value);
        }
        let (buckets, total) = histogram.cumulative();
        assert_eq!((buckets[0], buckets[1], total), ((0.01, 1), (0.05, 2), 3));
        assert_eq!(buckets.last(), Some(&(3600.0, 2)));
    }
}
