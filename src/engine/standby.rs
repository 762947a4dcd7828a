//! A replica that stands by: what it shows of the jobs is what the leader has written into the state.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::Engine;
use super::command::JobReport;
use crate::state::{LeftBehind, RunId};
use crate::values::Moment;

/// How long what was seen counts.
const FRESH: Duration = Duration::from_secs(1);

/// What is under way at the leader.
#[derive(Debug, Default)]
pub(super) struct LeadersRuns {
    seen_at: Option<Instant>,
    running: BTreeMap<String, RunId>,
    waiting: BTreeMap<String, u32>,
}

impl LeadersRuns {
    /// The report of a job, with what the leader does of it.
    pub(super) fn complete(&self, report: JobReport) -> JobReport {
        let id = report.id.as_str();
        JobReport {
            running: self.running.contains_key(id),
            run: self.running.get(id).copied(),
            waiting: self.waiting.get(id).copied().unwrap_or(0),
            ..report
        }
    }
}

impl Engine {
    /// Looks what the leader has written of the jobs.
    pub(super) async fn read_leaders_runs(&mut self, at: Moment) {
        if self.leaders_runs.seen_at.is_some_and(|seen| seen.elapsed() < FRESH) {
            return;
        }
        // What cannot be read is told by the store.
        let Ok(left) = self.journal.store.left_behind(at.wall).await else {
            return;
        };
        self.read_last_runs(self.plan().jobs.keys().cloned().collect()).await;
        let LeftBehind {
            stopped,
            failing,
            unfinished,
            queued,
            activations,
        } = left;
        for job in self.plan().jobs_in_order() {
            if job.enabled && !stopped.contains(job.id.as_str()) {
                self.scheduler.activate(&job.id, at.wall);
            } else {
                self.scheduler.deactivate(&job.id);
            }
            if let Some(state) = self.scheduler.get_mut(&job.id) {
                state.failing = failing.get(job.id.as_str()).cloned();
                let known = activations.get(job.id.as_str());
                state.fresh_at = known.map_or(at.service, |known| known.fresh_at.unwrap_or(known.since));
            }
        }
        // Times that have come are the leader's.
        self.scheduler.recompute(at.wall);
        self.leaders_runs = LeadersRuns {
            seen_at: Some(Instant::now()),
            running: unfinished.into_iter().map(|run| (run.job, run.run)).collect(),
            waiting: BTreeMap::new(),
        };
        for run in queued {
            *self.leaders_runs.waiting.entry(run.job).or_default() += 1;
        }
    }

    /// Forgets what the leader does.
    pub(super) fn forget_leaders_runs(&mut self) {
        self.leaders_runs = LeadersRuns::default();
    }
}
