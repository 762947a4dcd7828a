//! Runs that were queued when the service ended: which of them begin after all, by their jobs' rules of catching up. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::missed::{self, Disposition, Due};
use super::scheduler::{MOST_TIMES, PendingRun, Scheduler, Step};
use crate::config::Job;
use crate::values::JobId;

impl Scheduler {
    /// Queues runs again that an earlier process left queued, as far as their jobs' rules of catching up want them; the
    /// others are skipped. Times that were missed since are to be known already.
    pub(super) fn resume(&mut self, runs: Vec<PendingRun>, now: Timestamp) -> Vec<Step> {
        let mut of_jobs: BTreeMap<JobId, Vec<PendingRun>> = BTreeMap::new();
        for run in runs {
            of_jobs.entry(run.job.id.clone()).or_default().push(run);
        }
        let mut steps = Vec::new();
        for runs in of_jobs.into_values() {
            let (asked_for, mut of_schedule): (Vec<_>, Vec<_>) =
                runs.into_iter().partition(|run| run.trigger.is_asked_for());
            of_schedule.sort_by_key(|run| run.scheduled_at);
            let Some(job) = of_schedule
                .first()
                .or(asked_for.first())
                .map(|run| Arc::clone(&run.job))
            else {
                continue;
            };
            let due = Due {
                times: of_schedule
                    .iter()
                    .map(|run| run.scheduled_at)
                    .chain(self.newest_missed(&job, now))
                    .collect(),
                job,
                earlier: None,
                was_down: true,
                late_since: None,
            };
            let dispositions = missed::decide_each(&due, now);
            for (run, disposition) in of_schedule.into_iter().zip(dispositions) {
                match disposition {
                    Disposition::Run(_) | Disposition::Late => self.queue_up(run),
                    Disposition::Skip(why) => steps.push(Step::Skip(run, why)),
                }
            }
            for run in asked_for {
                self.queue_up(run);
            }
        }
        steps
    }

    /// The newest time up to `now` that a job was due and has not been told of.
    fn newest_missed(&self, job: &Job, now: Timestamp) -> Option<Timestamp> {
        let mut newest = self.get(&job.id)?.next().filter(|at| *at <= now)?;
        for _ in 0..MOST_TIMES {
            match job.next_after(newest).filter(|at| *at <= now) {
                Some(next) => newest = next,
                None => break,
            }
        }
        Some(newest)
    }
}
