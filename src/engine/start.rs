//! What a start finds in the state: stops, failures, runs that were cut off, and times that were missed.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::Engine;
use super::dispatcher::Step;
use super::journal::LeftBehind;
use crate::config::{Job, OnInterrupt};
use crate::notifications::alert::Turn;
use crate::store::marks::Mark;
use crate::store::{self, Finish, RunId, Status, Trigger};
use crate::values::JobId;

impl Engine {
    /// Opens the state, once.
    pub(super) fn open_state(&mut self, now: Timestamp) -> Result<(), String> {
        let Some(LeftBehind {
            failing,
            unfinished,
            marks,
        }) = self.journal.open(now)?
        else {
            return Ok(());
        };
        let stopped = self.journal.stopped().clone();
        if !stopped.is_empty() {
            let names: Vec<&str> = stopped.iter().map(JobId::as_str).collect();
            tracing::info!(
                "stopped by an operator, until started or reloaded: {}",
                names.join(", ")
            );
        }
        for job in stopped {
            self.deactivate(&job);
        }
        self.failing = failing;
        let closed = unfinished
            .iter()
            .map(|(job, run)| self.close_interrupted(job, *run, now))
            .collect();
        self.finish_in_journal(closed);
        let known = self.journal.last_runs(self.plan.jobs.keys());
        self.last_runs.extend(known);
        self.take_up(&marks, now);
        self.run_at_start(&marks, now);
        Ok(())
    }

    /// Closes a run that an earlier process did not finish, and has that told.
    fn close_interrupted(&mut self, job: &str, run: RunId, now: Timestamp) -> store::Ended {
        const WHY: &str = "the service ended during this run";
        tracing::warn!(job, run = %run, "interrupted: {WHY}");
        // The job may be gone from the declaration.
        let job = self.declared(job).ok();
        store::Ended {
            run,
            finish: Finish::without_result(Status::Interrupted, now, WHY),
            telling: job.and_then(|job| self.tell(&job, run, Turn::Failed(WHY), now)),
        }
    }

    /// Has the times of active jobs count from where an earlier process left off. One whose times are others now, or
    /// that was not active then, counts from now.
    fn take_up(&mut self, marks: &BTreeMap<String, Mark>, now: Timestamp) {
        let mut unknown: Vec<Arc<Job>> = Vec::new();
        for job in self.dispatcher.timetable.active_jobs() {
            let Some(mark) = marks.get(job.id.as_str()).filter(|mark| mark.times == job.times()) else {
                self.active_since.insert(job.id.clone(), now);
                unknown.push(job);
                continue;
            };
            self.active_since.insert(job.id.clone(), mark.since);
            let left_off = mark.newest.map_or(mark.since, |newest| newest.max(mark.since)).min(now);
            if let Some(missed) = job.next_after(left_off).filter(|at| *at <= now) {
                self.dispatcher.timetable.put_back(&job.id, missed);
            }
        }
        self.journal.mark(&unknown, now);
        // What is not active now has nothing to catch up when it is again.
        for job in marks.keys().filter_map(|job| job.parse().ok()) {
            if !self.dispatcher.timetable.is_active(&job) {
                self.journal.unmark(&job);
            }
        }
    }

    /// Runs what is to run at every start, and again what was cut off and may be repeated.
    fn run_at_start(&mut self, marks: &BTreeMap<String, Mark>, now: Timestamp) {
        let mut steps: Vec<Step> = Vec::new();
        for job in self.dispatcher.timetable.active_jobs() {
            let may_rerun = job.policy.on_interrupt == OnInterrupt::Rerun && marks.contains_key(job.id.as_str());
            let reruns = may_rerun && self.journal.was_interrupted(&job.id);
            let trigger = if reruns { Trigger::CatchUp } else { Trigger::Schedule };
            if reruns || job.schedule.has_start() {
                let wanted = self.dispatcher.wanted(&job, trigger, now);
                self.dispatcher.admit(wanted, &mut steps);
            }
        }
        steps.extend(self.dispatcher.ready(&self.plan));
        self.carry_out(steps, now);
    }
}
