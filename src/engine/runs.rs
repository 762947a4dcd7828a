//! The runs under way: how one begins, by schedule or by hand, and what happens when it ends.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::oneshot;
use tokio::task::{Id, JoinSet};

use super::Engine;
use super::command::{Ended, Refusal, Triggered};
use super::runner::{self, Outcome};
use super::timetable::Due;
use crate::config::{Job, Occasion, Plan};
use crate::notifications::alert::Turn;
use crate::store::sqlite::{Stop, StopReason};
use crate::store::{Finish, NewRun, RunId, Status, Telling, Trigger};
use crate::values::JobId;

/// The runs under way.
#[derive(Default, Debug)]
pub(super) struct Runs {
    tasks: JoinSet<Outcome>,
    by_task: HashMap<Id, Running>,
    by_job: BTreeMap<JobId, RunId>,
}

/// A run under way.
#[derive(Debug)]
pub(super) struct Running {
    id: RunId,
    job: Arc<Job>,
    stop: Stop,
    waiting: Option<oneshot::Sender<Ended>>,
}

impl Runs {
    pub(super) fn len(&self) -> usize {
        self.by_task.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_task.is_empty()
    }

    /// Whether a run of the job is under way.
    pub(super) fn has(&self, job: &JobId) -> bool {
        self.by_job.contains_key(job)
    }

    /// Waits for the next run to end; `None` at once when none is under way.
    pub(super) async fn next_ended(&mut self) -> Option<(Running, Outcome)> {
        let (task, outcome) = match self.tasks.join_next_with_id().await? {
            Ok((task, outcome)) => (task, outcome),
            Err(error) => {
                let outcome = Outcome {
                    status: Status::Failed,
                    message: error.to_string(),
                    statistics: None,
                    troubles: Vec::new(),
                };
                (error.id(), outcome)
            }
        };
        let run = self.by_task.remove(&task)?;
        self.by_job.remove(&run.job.id);
        Some((run, outcome))
    }

    pub(super) fn ask_all_to_end(&self) {
        for run in self.by_task.values() {
            tracing::warn!(job = %run.job.id, run = %run.id, "interrupted: the service ends");
            run.stop.ask(StopReason::Interrupted);
        }
    }

    fn begin(&mut self, plan: &Arc<Plan>, run: Running, occasion: Occasion) {
        let work = runner::run(Arc::clone(plan), Arc::clone(&run.job), occasion, run.stop.clone());
        let task = self.tasks.spawn(work).id();
        self.by_job.insert(run.job.id.clone(), run.id);
        self.by_task.insert(task, run);
    }
}

impl Engine {
    pub(super) fn start_what_is_due(&mut self, now: Timestamp) {
        if !self.journal.is_well() || self.open_state(now).is_err() {
            return;
        }
        for due in self.timetable.due(now) {
            if !self.start_scheduled(&due, now) {
                self.timetable.put_back(&due);
            }
        }
    }

    /// Starts a run whose time has come; false when it could not be written down and must be tried again.
    fn start_scheduled(&mut self, due: &Due, now: Timestamp) -> bool {
        let job = &due.job;
        let new = NewRun {
            job: job.id.clone(),
            trigger: Trigger::Schedule,
            scheduled_at: due.scheduled_at,
            started_at: now,
        };
        if self.runs.has(&job.id) {
            tracing::warn!(job = %job.id, "skipped: its last run is still under way");
            return self.journal.skip(&new, "the last run was still under way").is_ok();
        }
        match self.journal.begin(&new) {
            Ok(Some(id)) => self.begin(job, id, &new, None),
            Ok(None) => {
                tracing::debug!(job = %job.id, at = %due.scheduled_at, "this time was run already");
                return true;
            }
            Err(_) => return false,
        }
        self.note_start(job, now);
        true
    }

    pub(super) fn trigger(&mut self, job: &str) -> Result<Triggered, Refusal> {
        let job = self.declared(job)?;
        if self.ending.is_some() {
            return Err(Refusal::ShuttingDown);
        }
        if self.runs.has(&job.id) {
            return Err(Refusal::Running);
        }
        let now = self.clock.now();
        self.open_state(now).map_err(Refusal::State)?;
        let new = NewRun {
            job: job.id.clone(),
            trigger: Trigger::Manual,
            scheduled_at: now,
            started_at: now,
        };
        let run = self
            .journal
            .begin(&new)
            .map_err(Refusal::State)?
            .ok_or(Refusal::Running)?;
        let (reply, ended) = oneshot::channel();
        self.begin(&job, run, &new, Some(reply));
        self.note_start(&job, now);
        Ok(Triggered { run, ended })
    }

    fn begin(&mut self, job: &Arc<Job>, id: RunId, new: &NewRun, waiting: Option<oneshot::Sender<Ended>>) {
        tracing::info!(job = %job.id, run = %id, trigger = new.trigger.as_str(), "run started");
        let occasion = Occasion {
            now: new.started_at,
            scheduled_at: new.scheduled_at,
            by_hand: new.trigger == Trigger::Manual,
        };
        let letters = self.tell(job, id, Turn::Began, new.started_at).letters;
        self.journal.post(&letters, new.started_at);
        if !letters.is_empty() {
            self.posted.notify_one();
        }
        let run = Running {
            id,
            job: Arc::clone(job),
            stop: Stop::default(),
            waiting,
        };
        self.runs.begin(&self.plan, run, occasion);
    }

    /// Takes down the end of a run, and has what it tells delivered.
    pub(super) fn finish_in_journal(&mut self, run: RunId, finish: Finish, telling: Option<Telling>) {
        let tells = telling.as_ref().is_some_and(|telling| !telling.letters.is_empty());
        self.journal.finish(run, finish, telling);
        if tells {
            self.posted.notify_one();
        }
    }

    fn note_start(&mut self, job: &Job, now: Timestamp) {
        self.last_runs.entry(job.id.clone()).or_default().started_at = Some(now);
    }

    /// The declared job of that id.
    pub(super) fn declared(&self, job: &str) -> Result<Arc<Job>, Refusal> {
        let id: JobId = job.parse().map_err(|_| Refusal::Unknown)?;
        self.plan.jobs.get(&id).cloned().ok_or(Refusal::Unknown)
    }

    pub(super) fn finish(&mut self, run: Running, outcome: Outcome) {
        let now = self.clock.now();
        let Outcome {
            status,
            message,
            statistics,
            troubles,
        } = outcome;
        let last = self.last_runs.entry(run.job.id.clone()).or_default();
        let (said, error) = if status == Status::Success {
            tracing::info!(job = %run.job.id, run = %run.id, "{message}");
            last.succeeded_at = Some(now);
            for trouble in troubles.iter().filter(|trouble| !last.troubles.contains(trouble)) {
                tracing::warn!(job = %run.job.id, run = %run.id, "{trouble}");
            }
            last.troubles = troubles;
            last.error = None;
            (Some(message.clone()), None)
        } else {
            tracing::error!(job = %run.job.id, run = %run.id, status = status.as_str(), "{message}");
            last.error = Some(message.clone());
            (None, Some(message.clone()))
        };
        let turn = match &error {
            None => Turn::Succeeded(&message),
            Some(why) => Turn::Failed(why),
        };
        let telling = self.tell(&run.job, run.id, turn, now);
        let finish = Finish {
            status,
            at: now,
            message: said,
            error,
        };
        self.finish_in_journal(run.id, finish, Some(telling));
        if let Some(waiting) = run.waiting {
            // Whoever waited may have hung up.
            let _ = waiting.send(Ended {
                run: run.id,
                status,
                message,
                statistics,
            });
        }
    }
}
