//! How things are, for `/health` and `/api/schedules`.

use super::Engine;
use super::command::{JobReport, Report};

impl Engine {
    pub(super) fn report(&mut self) -> Report {
        let at = self.clock.now();
        let jobs = self.plan.jobs_in_order().into_iter().map(|job| JobReport {
            id: job.id.clone(),
            description: job.description.clone(),
            schedule: job.schedule.to_string(),
            time_zone: job.time_zone.to_string(),
            enabled: job.enabled,
            active: self.timetable.is_active(&job.id),
            running: self.runs.has(&job.id),
            next_run: self.timetable.next_of(&job.id),
            last: self.last_runs.get(&job.id).cloned().unwrap_or_default(),
        });
        Report {
            at,
            started_at: self.started_at,
            active: self.timetable.active(),
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
