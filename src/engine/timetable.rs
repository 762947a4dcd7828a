//! Knows when each active job is next due. Pure: the caller says what time it is, and what becomes of the times that
//! are due belongs to `missed` and the dispatcher.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use jiff::Timestamp;

use crate::config::Job;
use crate::values::JobId;

/// How many times of one job are told one by one; of those before them, only how many there were.
const MOST_TIMES: usize = 1000;
/// How many times are counted before the search jumps to now.
const MOST_COUNTED: usize = 200_000;

/// The active jobs and their next times.
#[derive(Debug, Default)]
pub(crate) struct Timetable {
    entries: BTreeMap<JobId, Entry>,
    queue: BTreeSet<(Timestamp, JobId)>,
    activations: u64,
}

#[derive(Debug)]
struct Entry {
    job: Arc<Job>,
    next: Option<Timestamp>,
    /// How many were activated before it: the order that `activeTasks` shows.
    activation: u64,
}

/// A job whose time has come, perhaps more than once.
#[derive(Clone, Debug)]
pub(crate) struct Due {
    /// The job.
    pub job: Arc<Job>,
    /// The times it was due, oldest first: the newest thousand.
    pub times: Vec<Timestamp>,
    /// How many there were before them, and the first of those.
    pub earlier: Option<(usize, Timestamp)>,
}

impl Timetable {
    /// Makes `job` active, due next after `now`. Changes nothing when it is active already.
    pub(crate) fn activate(&mut self, job: &Arc<Job>, now: Timestamp) {
        if self.entries.contains_key(&job.id) {
            return;
        }
        let activation = self.activations;
        self.activations += 1;
        self.entries.insert(
            job.id.clone(),
            Entry {
                job: Arc::clone(job),
                next: None,
                activation,
            },
        );
        self.set_next(&job.id, job.next_after(now));
    }

    /// Puts a changed declaration in the place of the one an active job has. Its next time changes only with its
    /// schedule; whether it did is given.
    pub(crate) fn replace(&mut self, job: &Arc<Job>, now: Timestamp) -> bool {
        let Some(entry) = self.entries.get_mut(&job.id) else {
            return false;
        };
        let same_times = entry.job.times() == job.times();
        entry.job = Arc::clone(job);
        if !same_times {
            self.set_next(&job.id, job.next_after(now));
        }
        !same_times
    }

    /// Makes a job inactive; false when it was not active.
    pub(crate) fn deactivate(&mut self, id: &JobId) -> bool {
        self.set_next(id, None);
        self.entries.remove(id).is_some()
    }

    /// Counts the jobs as activated in the order of `ids`.
    pub(crate) fn order_by<'a>(&mut self, ids: impl Iterator<Item = &'a JobId>) {
        for id in ids {
            if let Some(entry) = self.entries.get_mut(id) {
                entry.activation = self.activations;
                self.activations += 1;
            }
        }
    }

    /// Takes out every job that is due at `now` and sets its next time.
    pub(crate) fn due(&mut self, now: Timestamp) -> Vec<Due> {
        let mut due = Vec::new();
        while let Some((first, id)) = self.queue.first().filter(|(at, _)| *at <= now).cloned() {
            let job = Arc::clone(&self.entries[&id].job);
            let (mut times, mut earlier) = (VecDeque::from([first]), 0);
            let mut next = job.next_after(first);
            while let Some(at) = next.filter(|at| *at <= now) {
                times.push_back(at);
                if times.len() > MOST_TIMES {
                    times.pop_front();
                    earlier += 1;
                }
                next = job.next_after(if earlier < MOST_COUNTED { at } else { now });
            }
            self.set_next(&id, next);
            due.push(Due {
                job,
                times: times.into(),
                earlier: (earlier > 0).then_some((earlier, first)),
            });
        }
        due
    }

    /// Makes an active job due next at `at`: a time that could not be run, or was missed.
    pub(crate) fn put_back(&mut self, id: &JobId, at: Timestamp) {
        if self.next_of(id).is_none_or(|next| at < next) {
            self.set_next(id, Some(at));
        }
    }

    /// Sets every next time anew, after the clock was set.
    pub(crate) fn recompute(&mut self, now: Timestamp) {
        let jobs: Vec<Arc<Job>> = self.entries.values().map(|entry| Arc::clone(&entry.job)).collect();
        for job in jobs {
            self.set_next(&job.id, job.next_after(now));
        }
    }

    /// The time the next job is due.
    pub(crate) fn next_wake(&self) -> Option<Timestamp> {
        self.queue.first().map(|(at, _)| *at)
    }

    /// Whether the job is active.
    pub(crate) fn is_active(&self, id: &JobId) -> bool {
        self.entries.contains_key(id)
    }

    /// When the job is next due; `None` when it is not active.
    pub(crate) fn next_of(&self, id: &JobId) -> Option<Timestamp> {
        self.entries.get(id)?.next
    }

    /// The active jobs, in the order they were activated.
    pub(crate) fn active(&self) -> Vec<JobId> {
        self.active_jobs().into_iter().map(|job| job.id.clone()).collect()
    }

    /// The declarations of the active jobs, in the order they were activated.
    pub(crate) fn active_jobs(&self) -> Vec<Arc<Job>> {
        let mut active: Vec<_> = self.entries.values().collect();
        active.sort_by_key(|entry| entry.activation);
        active.into_iter().map(|entry| Arc::clone(&entry.job)).collect()
    }

    fn set_next(&mut self, id: &JobId, next: Option<Timestamp>) {
        let Some(entry) = self.entries.get_mut(id) else { return };
        if let Some(old) = entry.next {
            self.queue.remove(&(old, id.clone()));
        }
        entry.next = next;
        self.queue.extend(next.map(|at| (at, id.clone())));
    }
}
