//! How things are, for `/health` and `/api/schedules`.

use jiff::Timestamp;

use tokio::time::Instant;

use super::command::{JobReport, Report};
use super::{BETWEEN_PROGRESS, Engine};
use crate::config::Job;
use crate::values::iso;

impl Engine {
    /// Tells now and then how far long runs are.
    pub(super) fn tell_progress(&mut self) {
        if self.runs.is_empty() || self.last_progress.elapsed() < BETWEEN_PROGRESS {
            return;
        }
        self.last_progress = Instant::now();
        let under_way: Vec<_> = self
            .runs
            .progress()
            .map(|(job, run, rows)| (job.clone(), run, rows))
            .collect();
        for (job, run, rows) in under_way {
            tracing::info!(job = %job, run = %run, "{rows} rows so far");
            self.journal.note_progress(run, rows);
        }
    }

    /// Why the job is past its `max_age`, if it is.
    fn overdue(&self, job: &Job, now: Timestamp) -> Option<String> {
        let max_age = job.policy.max_age?;
        let since = *self.active_since.get(&job.id)?;
        let last = self.last_runs.get(&job.id).and_then(|last| last.succeeded_at);
        let age = now.duration_since(last.map_or(since, |last| last.max(since)));
        let most = max_age.signed();
        (age > most).then(|| match last {
            Some(last) => format!("its last success, at {}, is older than max_age, {max_age}", iso(last)),
            None => format!("it has not succeeded once in max_age, {max_age}"),
        })
    }

    pub(super) fn report(&mut self) -> Report {
        let at = self.clock.now();
        let jobs = self.plan.jobs_in_order().into_iter().map(|job| JobReport {
            id: job.id.clone(),
            description: job.description.clone(),
            schedule: job.schedule.to_string(),
            time_zone: job.time_zone.to_string(),
            enabled: job.enabled,
            active: self.dispatcher.timetable.is_active(&job.id),
            running: self.dispatcher.running(&job.id) > 0,
            next_run: self.dispatcher.timetable.next_of(&job.id),
            progress: self.runs.progress_of(&job.id),
            waiting: self.dispatcher.waiting(&job.id),
            overdue: self.overdue(job, at),
            last: self.last_runs.get(&job.id).cloned().unwrap_or_default(),
        });
        Report {
            at,
            started_at: self.started_at,
            active: self.dispatcher.timetable.active(),
            jobs: jobs.collect(),
            outbox: self.journal.outbox_depth(),
            state_error: self.journal.look(at),
            shutting_down: self.ending.is_some(),
            config: self.reloads.report.clone(),
            databases: self
                .plan
                .databases
                .values()
                .map(|database| database.path.clone())
                .collect(),
            overrides_error: self.reloads.overrides_error(),
        }
    }
}
