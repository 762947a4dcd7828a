//! Knows when each active job is next due. Pure: the caller says what time it is, and running what is due belongs
//! to the engine.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;

use crate::config::Job;
use crate::values::JobId;

/// The active jobs and their next times.
#[derive(Debug, Default)]
pub struct Timetable {
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

/// A job whose time has come.
#[derive(Clone, Debug)]
pub struct Due {
    /// The job.
    pub job: Arc<Job>,
    /// The time it was due.
    pub scheduled_at: Timestamp,
}

impl Timetable {
    /// Makes `job` active, due next after `now`. Changes nothing when it is active already.
    pub fn activate(&mut self, job: &Arc<Job>, now: Timestamp) {
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
        self.set_next(&job.id, next_after(job, now));
    }

    /// Puts a changed declaration in the place of the one an active job has. Its next time changes only with its
    /// schedule.
    pub fn replace(&mut self, job: &Arc<Job>, now: Timestamp) {
        let Some(entry) = self.entries.get_mut(&job.id) else {
            return;
        };
        let same_times = entry.job.schedule == job.schedule && entry.job.time_zone == job.time_zone;
        entry.job = Arc::clone(job);
        if !same_times {
            self.set_next(&job.id, next_after(job, now));
        }
    }

    /// Makes a job inactive; false when it was not active.
    pub fn deactivate(&mut self, id: &JobId) -> bool {
        self.set_next(id, None);
        self.entries.remove(id).is_some()
    }

    /// Counts the jobs as activated in the order of `ids`.
    pub fn order_by<'a>(&mut self, ids: impl Iterator<Item = &'a JobId>) {
        for id in ids {
            if let Some(entry) = self.entries.get_mut(id) {
                entry.activation = self.activations;
                self.activations += 1;
            }
        }
    }

    /// Takes out every job that is due at `now` and sets its next time.
    pub fn due(&mut self, now: Timestamp) -> Vec<Due> {
        let mut due = Vec::new();
        while let Some((at, id)) = self.queue.first().filter(|(at, _)| *at <= now).cloned() {
            let job = Arc::clone(&self.entries[&id].job);
            self.set_next(&id, next_after(&job, now));
            due.push(Due { job, scheduled_at: at });
        }
        due
    }

    /// Puts back a time that was due and could not be run.
    pub fn put_back(&mut self, due: &Due) {
        self.set_next(&due.job.id, Some(due.scheduled_at));
    }

    /// Sets every next time anew, after the clock was set back.
    pub fn recompute(&mut self, now: Timestamp) {
        let jobs: Vec<Arc<Job>> = self.entries.values().map(|entry| Arc::clone(&entry.job)).collect();
        for job in jobs {
            self.set_next(&job.id, next_after(&job, now));
        }
    }

    /// The time the next job is due.
    #[must_use]
    pub fn next_wake(&self) -> Option<Timestamp> {
        self.queue.first().map(|(at, _)| *at)
    }

    /// Whether the job is active.
    #[must_use]
    pub fn is_active(&self, id: &JobId) -> bool {
        self.entries.contains_key(id)
    }

    /// When the job is next due; `None` when it is not active.
    #[must_use]
    pub fn next_of(&self, id: &JobId) -> Option<Timestamp> {
        self.entries.get(id)?.next
    }

    /// The active jobs, in the order they were activated.
    #[must_use]
    pub fn active(&self) -> Vec<JobId> {
        let mut active: Vec<_> = self.entries.iter().collect();
        active.sort_by_key(|(_, entry)| entry.activation);
        active.into_iter().map(|(id, _)| id.clone()).collect()
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

fn next_after(job: &Job, now: Timestamp) -> Option<Timestamp> {
    job.schedule.next_after(now, &job.time_zone)
}
