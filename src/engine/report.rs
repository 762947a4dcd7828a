//! How things are, for `/health` and `/api/schedules`.

use super::Engine;
use super::command::{JobReport, Report};
use crate::state::OutboxCounts;

impl Engine {
    pub(super) async fn report(&mut self) -> Report {
        let (at, plan) = (self.clock.moment(), self.plan());
        self.journal.look_for_someone(at).await;
        if !self.is_leading() {
            self.read_leaders_runs(at).await;
        }
        let outbox = if self.journal.is_well() {
            self.journal.store.outbox_counts().await.unwrap_or_default()
        } else {
            OutboxCounts::default()
        };
        let jobs = plan.jobs_in_order().filter_map(|job| {
            let state = self.scheduler.get(&job.id)?;
            let report = JobReport {
                id: job.id.clone(),
                description: job.description.clone(),
                schedule: job.schedule.to_string(),
                time_zone: job.time_zone.to_string(),
                enabled: job.enabled,
                active: state.active.is_some(),
                running: state.running > 0,
                next_run: state.next(),
                run: self.runs.newest_of(&job.id),
                progress: self.runs.progress_of(&job.id),
                waiting: state.queued,
                overdue: state.overdue(at.service),
                last: state.last.clone(),
            };
            let leads = self.is_leading();
            Some(if leads {
                report
            } else {
                self.leaders_runs.complete(report)
            })
        });
        let is_missed = plan.misses_databases();
        let databases = plan.databases.values().filter(|_| is_missed);
        let overrides_error = self.reloader.overrides_error().filter(|_| is_missed);
        Report {
            at: at.wall,
            started_at: self.clock.started_at,
            active: self.scheduler.active().iter().map(|job| job.id.clone()).collect(),
            jobs: jobs.collect(),
            outbox,
            state_error: self.journal.store.error(),
            shutting_down: self.shutdown.is_some(),
            config: self.reloader.report.clone(),
            databases: databases.cloned().collect(),
            overrides_error,
        }
    }
}
