//! Everything the engine knows of one job beside its declaration.

use std::sync::Arc;

use jiff::Timestamp;

use crate::config::Job;
use crate::state::{Failing, LastRun};
use crate::values::iso;

/// One job.
#[derive(Debug)]
pub(crate) struct JobState {
    pub job: Arc<Job>,
    /// Whether a reload has taken it out of the declaration; it is forgotten once its runs are over.
    pub is_removed: bool,
    /// That it runs by its schedule, if it does.
    pub active: Option<Active>,
    /// How many runs are under way.
    pub running: u32,
    pub queued: u32,
    pub last: LastRun,
    pub failing: Option<Failing>,
    /// Since when it has not succeeded, in service time: its last success, or when it became active.
    pub fresh_at: Timestamp,
}

/// A job that runs by its schedule.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Active {
    pub since: Timestamp,
    pub next: Option<Timestamp>,
    /// Whether the service was down when the next time came.
    pub was_down: bool,
    /// How many were activated before it: the order that `activeTasks` shows.
    pub rank: u64,
}

impl JobState {
    pub(super) fn new(job: &Arc<Job>) -> Self {
        Self {
            job: Arc::clone(job),
            is_removed: false,
            active: None,
            running: 0,
            queued: 0,
            last: LastRun::default(),
            failing: None,
            fresh_at: Timestamp::MAX,
        }
    }

    /// When it is next due; `None` when it is not active.
    pub(super) fn next(&self) -> Option<Timestamp> {
        self.active?.next
    }

    /// Why it is past its `max_age`, if it is at `now`, in service time.
    pub(super) fn overdue(&self, now: Timestamp) -> Option<String> {
        let max_age = self.job.policy.max_age?;
        self.active?;
        let age = now.duration_since(self.fresh_at);
        (age > max_age.signed()).then(|| match self.last.succeeded_at {
            Some(last) => format!("its last success, at {}, is older than max_age ({max_age})", iso(last)),
            None => format!("it has not succeeded within max_age ({max_age})"),
        })
    }
}
