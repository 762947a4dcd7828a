//! What a start finds in the state: stops, failures, runs that were cut off, and times that were missed.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::Engine;
use super::alerting::tell;
use super::runner::RunResult;
use super::runs::row_of;
use super::scheduler::{PendingRun, Step};
use crate::config::OnInterrupt;
use crate::notifications::alert::Turn;
use crate::process::end_strays;
use crate::state::{
    Activation, CANCELLED_BY_HAND, EndedRun, LeftBehind, QueuedRun, StateError, Status, Trigger, Unfinished,
};
use crate::values::{JobId, Moment, blocking, plural};

impl Engine {
    /// Takes up what an earlier process left behind, once.
    pub(super) async fn recover(&mut self, now: Timestamp) -> Result<(), String> {
        if self.journal.is_recovered {
            return Ok(());
        }
        let Some(term) = self.term.clone() else {
            return Err("this replica stands by".to_owned());
        };
        // What began in an earlier term must be over before anything of it is begun again.
        if !self.runs.are_over() {
            return Err("runs of an earlier term are still ending".to_owned());
        }
        let in_words = |error: StateError| error.message;
        let noted = self.journal.store.noted_time().await.map_err(in_words)?;
        let left = self.journal.store.left_behind(now).await;
        let LeftBehind {
            stopped,
            failing,
            unfinished,
            queued,
            activations,
        } = left.map_err(in_words)?;
        self.journal.is_recovered = true;
        if let Some(last) = noted {
            self.clock.resume(last);
        }
        self.end_strays(&unfinished).await;
        self.runs.take_up(&self.plan());
        self.journal.postpone_clearing(now);
        let stopped: BTreeSet<JobId> = stopped.iter().filter_map(|job| job.parse().ok()).collect();
        if !stopped.is_empty() {
            let names: Vec<&str> = stopped.iter().map(JobId::as_str).collect();
            tracing::info!(
                "stopped by an operator, until started or reloaded: {}",
                names.join(", ")
            );
        }
        for job in &stopped {
            self.deactivate(job).await;
        }
        self.journal.stopped = stopped;
        for (job, failing) in failing {
            let Ok(job) = job.parse::<JobId>() else { continue };
            match self.scheduler.get_mut(&job) {
                Some(state) => state.failing = Some(failing),
                // As of one that a reload removes: declared again, it is told to fail anew.
                None => drop(self.journal.store.forget_failing(job).await),
            }
        }
        let moment = self.clock.moment_at(now);
        let closed: Vec<EndedRun> = unfinished
            .iter()
            .map(|run| self.close_interrupted(run, moment))
            .collect();
        self.journal.finish(closed).await;
        self.read_last_runs(self.plan().jobs.keys().cloned().collect()).await;
        self.resume(&activations, moment).await;
        self.scheduler.late_since = term.handled_until;
        self.resume_queued(queued, now).await;
        self.run_at_start(&activations, now, term.is_handover).await;
        Ok(())
    }

    /// Ends programs that an earlier process left running as it was killed.
    async fn end_strays(&self, unfinished: &[Unfinished]) {
        let runs = unfinished.iter().map(|unfinished| unfinished.run.to_string()).collect();
        let place = self.journal.store.place();
        let ended = blocking(move || end_strays(&place, &runs)).await;
        if ended > 0 {
            let programs = plural(ended as u64, "program");
            tracing::warn!("ended {programs} that an earlier process had left running");
        }
    }

    /// Reads what is known of the newest runs of jobs.
    pub(super) async fn read_last_runs(&mut self, jobs: Vec<JobId>) {
        for (job, last) in self.journal.store.last_runs(jobs).await.unwrap_or_default() {
            if let Some(state) = self.scheduler.get_mut(&job) {
                state.last = last;
            }
        }
    }

    /// Closes a run that an earlier process did not finish, and has that told.
    fn close_interrupted(&mut self, unfinished: &Unfinished, now: Moment) -> EndedRun {
        let why = match self.replicas {
            None => "the service ended during this run",
            Some(_) => "the replica that did this run was lost, or lost its lease",
        };
        let (job, run) = (unfinished.job.as_str(), unfinished.run);
        if unfinished.was_cancelled {
            tracing::info!(job, run = run.0, "{CANCELLED_BY_HAND}");
            return row_of(
                run,
                &RunResult::without_work(Status::Interrupted, CANCELLED_BY_HAND),
                now,
            );
        }
        tracing::warn!(job, run = run.0, "interrupted: {why}");
        let plan = self.plan();
        // The job may be gone from the declaration.
        let telling = self.declared(job).ok().and_then(|job| {
            let state = self.scheduler.get_mut(&job.id);
            tell(&job, state, &plan, (run, Turn::Failed(why)), now)
        });
        EndedRun {
            telling,
            ..row_of(run, &RunResult::without_work(Status::Interrupted, why), now)
        }
    }

    /// Has the times of active jobs count from where an earlier process left off. One whose times are others now, or
    /// that was not active then, counts from now.
    async fn resume(&mut self, activations: &BTreeMap<String, Activation>, moment: Moment) {
        let now = moment.wall;
        let mut new = Vec::new();
        for job in self.scheduler.active() {
            let known = activations.get(job.id.as_str());
            if let Some(state) = self.scheduler.get_mut(&job.id) {
                // An earlier version did not note it.
                let last = |known: &Activation| state.last.succeeded_at.map_or(known.since, |at| at.max(known.since));
                state.fresh_at = known.map_or(moment.service, |known| known.fresh_at.unwrap_or_else(|| last(known)));
            }
            let Some(known) = known.filter(|known| known.times == job.times()) else {
                new.push((job.id.clone(), job.times()));
                continue;
            };
            if let Some(active) = self.scheduler.get_mut(&job.id).and_then(|state| state.active.as_mut()) {
                active.since = known.since;
            }
            // Should the state have lost what it had confirmed, this process still knows what it has handled.
            let handled = self.heartbeat.handled_until();
            let left_off = known
                .newest
                .map_or(known.since, |newest| newest.max(known.since))
                .max(handled);
            if let Some(missed) = job.next_after(left_off.min(now)).filter(|at| *at <= now) {
                self.scheduler.put_back(&job.id, missed);
            }
        }
        self.scheduler.note_downtime(now);
        // What cannot be recorded now counts from now at the next start.
        let _ = self.journal.store.activate(new, moment).await;
        // What is not active now has nothing to catch up when it is again.
        let is_gone = |job: &JobId| self.scheduler.get(job).is_none_or(|state| state.active.is_none());
        let known = activations.keys().filter_map(|job| job.parse().ok());
        let gone = known.filter(is_gone).collect();
        let _ = self.journal.store.deactivate(gone).await;
    }

    /// Goes on with the runs that an earlier process left queued.
    async fn resume_queued(&mut self, queued: Vec<QueuedRun>, now: Timestamp) {
        const WHY: &str = "the job was stopped, changed or removed while the run was queued";
        let (mut runs, mut gone) = (Vec::new(), Vec::new());
        for QueuedRun {
            run,
            job,
            trigger,
            scheduled_at,
            repeats,
        } in queued
        {
            let Ok(job) = self.declared(&job) else {
                gone.push((run, job));
                continue;
            };
            let is_active = self.scheduler.get(&job.id).is_some_and(|state| state.active.is_some());
            if !is_active && trigger != Trigger::Manual {
                gone.push((run, job.id.to_string()));
                continue;
            }
            let run = PendingRun {
                run: Some(run),
                repeats,
                ..self.scheduler.pending(&job, trigger, scheduled_at)
            };
            runs.push(run);
        }
        let at = self.clock.moment_at(now);
        let dropped = gone.into_iter().map(|(run, job)| {
            tracing::warn!(job, run = run.0, "skipped: {WHY}");
            row_of(run, &RunResult::without_work(Status::Skipped, WHY), at)
        });
        self.journal.finish(dropped.collect()).await;
        let steps = self.scheduler.resume(runs, now);
        self.carry_out(steps, now).await;
    }

    /// Runs what is to run at every start, and again what was cut off and may be repeated.
    async fn run_at_start(&mut self, activations: &BTreeMap<String, Activation>, now: Timestamp, is_handover: bool) {
        let mut steps: Vec<Step> = Vec::new();
        for job in self.scheduler.active() {
            let may_rerun = job.policy.on_interrupt == OnInterrupt::Rerun && activations.contains_key(job.id.as_str());
            let interrupted = self.scheduler.get(&job.id).and_then(|state| state.last.interrupted);
            let repeats = interrupted.filter(|_| may_rerun);
            let trigger = if repeats.is_some() {
                Trigger::CatchUp
            } else {
                Trigger::Schedule
            };
            // Where another replica was there, the service has not started.
            if repeats.is_some() || (job.schedule.has_start() && !is_handover) {
                let run = self.scheduler.pending(&job, trigger, now);
                self.scheduler.admit(PendingRun { repeats, ..run }, &mut steps);
            }
        }
        steps.extend(self.scheduler.ready());
        self.carry_out(steps, now).await;
    }
}
