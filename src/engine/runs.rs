//! The runs under way: how they begin, by schedule or by hand, and what happens when they end.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::oneshot;
use tokio::task::{Id, JoinSet};

use super::Engine;
use super::command::{Ended, Refusal, Triggered};
use super::dispatcher::{Step, Wanted};
use super::runner::{self, Outcome};
use crate::config::{Job, Occasion, Plan, Signals};
use crate::notifications::alert::Turn;
use crate::store::sqlite::StopReason;
use crate::store::{NewRun, RunId, Status, Trigger};
use crate::values::JobId;

/// How many runs that ended are taken down at once.
const MOST_AT_ONCE: usize = 1000;

/// The runs under way.
#[derive(Default, Debug)]
pub(super) struct Runs {
    tasks: JoinSet<Outcome>,
    by_task: HashMap<Id, Running>,
    /// Whoever waits for a run that was asked for, by its ticket.
    pub(super) replies: HashMap<u64, oneshot::Sender<Ended>>,
}

/// A run under way.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) id: RunId,
    pub(super) wanted: Wanted,
    pub(super) signals: Signals,
}

impl Runs {
    pub(super) fn len(&self) -> usize {
        self.by_task.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_task.is_empty()
    }

    /// Waits for the next run to end, and gives it with those that have ended, too; none at once when none is under way.
    pub(super) async fn next_ended(&mut self) -> Option<Vec<(Running, Outcome)>> {
        let mut ended = vec![self.tasks.join_next_with_id().await?];
        while ended.len() < MOST_AT_ONCE
            && let Some(next) = self.tasks.try_join_next_with_id()
        {
            ended.push(next);
        }
        let runs = ended.into_iter().filter_map(|ended| {
            let (task, outcome) = match ended {
                Ok(ended) => ended,
                Err(error) => (error.id(), Outcome::failed(Status::Failed, error.to_string())),
            };
            Some((self.by_task.remove(&task)?, outcome))
        });
        Some(runs.collect())
    }

    /// How many rows the runs under way of a job have done.
    pub(super) fn progress_of(&self, job: &JobId) -> u64 {
        let of_job = self.by_task.values().filter(|run| run.wanted.job.id == *job);
        of_job.map(|run| run.signals.progress.rows()).sum()
    }

    /// The runs under way that have done something, with how many rows.
    pub(super) fn progress(&self) -> impl Iterator<Item = (&JobId, RunId, u64)> {
        let runs = self.by_task.values();
        runs.map(|run| (&run.wanted.job.id, run.id, run.signals.progress.rows()))
            .filter(|(.., rows)| *rows > 0)
    }

    pub(super) fn ask_all_to_end(&self) {
        for run in self.by_task.values() {
            tracing::warn!(job = %run.wanted.job.id, run = %run.id, "interrupted: the service ends");
            run.signals.stop.ask(StopReason::Interrupted);
        }
    }

    fn ask_to_end(&self, ticket: u64) {
        for run in self.by_task.values().filter(|run| run.wanted.ticket == ticket) {
            tracing::warn!(job = %run.wanted.job.id, run = %run.id, "ended: a newer run takes its place");
            run.signals.stop.ask(StopReason::Replaced);
        }
    }

    fn begin(&mut self, plan: &Arc<Plan>, run: Running, occasion: Occasion) {
        let work = runner::run(
            Arc::clone(plan),
            Arc::clone(&run.wanted.job),
            occasion,
            run.signals.clone(),
        );
        let task = self.tasks.spawn(work).id();
        self.by_task.insert(task, run);
    }
}

impl Engine {
    pub(super) fn start_what_is_due(&mut self, now: Timestamp) {
        if !self.journal.is_well() || self.open_state(now).is_err() {
            return;
        }
        let steps = self.dispatcher.due(now, &self.plan);
        self.carry_out(steps, now);
    }

    /// Carries out what the dispatcher decided; all that begins is taken down in one transaction.
    pub(super) fn carry_out(&mut self, mut steps: Vec<Step>, now: Timestamp) {
        while !steps.is_empty() {
            let mut runs = Vec::new();
            for step in steps {
                match step {
                    Step::End(ticket) => self.runs.ask_to_end(ticket),
                    Step::Begin(wanted) => runs.push((wanted, None)),
                    Step::Skip(wanted, why) => runs.push((wanted, Some(why))),
                }
            }
            let begun = self.begin_or_record(runs, now);
            // Times that were in the ledger already make room for others.
            steps = if begun {
                Vec::new()
            } else {
                self.dispatcher.ready(&self.plan)
            };
        }
        self.record_waiting(now);
    }

    /// Whether every one that was to begin did.
    fn begin_or_record(&mut self, runs: Vec<(Wanted, Option<String>)>, now: Timestamp) -> bool {
        let (recorded, new): (Vec<_>, Vec<_>) = runs.into_iter().partition(|(wanted, _)| wanted.run.is_some());
        for (wanted, why) in recorded {
            match why {
                None => self.begin(wanted, now),
                Some(why) => self.drop_waiting(vec![wanted], &why),
            }
        }
        let rows: Vec<(NewRun, Option<String>)> = new
            .iter()
            .map(|(wanted, why)| (new_run(wanted, now), why.clone()))
            .collect();
        let Ok(ids) = self.journal.record(&rows) else {
            for (wanted, _) in new {
                self.dispatcher.ended(wanted.ticket);
                self.dispatcher.timetable.put_back(&wanted.job.id, wanted.scheduled_at);
            }
            return true;
        };
        let mut all = true;
        for ((mut wanted, why), id) in new.into_iter().zip(ids) {
            match (why, id) {
                (Some(why), Some(_)) => {
                    tracing::warn!(job = %wanted.job.id, at = %wanted.scheduled_at, "skipped: {why}");
                }
                (None, Some(_)) => {
                    wanted.run = id;
                    self.begin(wanted, now);
                }
                (_, None) => {
                    tracing::debug!(job = %wanted.job.id, at = %wanted.scheduled_at, "this time was run already");
                    self.dispatcher.ended(wanted.ticket);
                    all = false;
                }
            }
        }
        all
    }

    pub(super) fn trigger(&mut self, job: &str) -> Result<Triggered, Refusal> {
        let job = self.declared(job)?;
        if self.ending.is_some() {
            return Err(Refusal::ShuttingDown);
        }
        if self.dispatcher.refuses(&job).is_some() {
            return Err(Refusal::Running);
        }
        let now = self.clock.now();
        self.open_state(now).map_err(Refusal::State)?;
        let mut wanted = self.dispatcher.wanted(&job, Trigger::Manual, now);
        let recorded = self.journal.record(&[(new_run(&wanted, now), None)]);
        let id = recorded.map_err(Refusal::State)?.into_iter().next().flatten();
        let run = id.ok_or(Refusal::Running)?;
        wanted.run = Some(run);
        let (reply, ended) = oneshot::channel();
        self.runs.replies.insert(wanted.ticket, reply);
        let mut steps = Vec::new();
        self.dispatcher.admit(wanted, &mut steps);
        steps.extend(self.dispatcher.ready(&self.plan));
        self.carry_out(steps, now);
        Ok(Triggered { run, ended })
    }

    fn begin(&mut self, wanted: Wanted, now: Timestamp) {
        let Some(id) = wanted.run else { return };
        if wanted.scheduled_at < now {
            self.journal.note_start(id, now);
        }
        let job = &wanted.job;
        tracing::info!(job = %job.id, run = %id, trigger = wanted.trigger.as_str(), "run started");
        self.last_runs.entry(job.id.clone()).or_default().started_at = Some(now);
        let occasion = Occasion {
            now,
            scheduled_at: wanted.scheduled_at,
            by_hand: wanted.trigger == Trigger::Manual,
        };
        let letters = self.tell(job, id, Turn::Began, now).map(|telling| telling.letters);
        if let Some(letters) = letters {
            self.journal.post(&letters, now);
            self.posted.notify_one();
        }
        let signals = Signals::default();
        self.runs.begin(&self.plan, Running { id, wanted, signals }, occasion);
    }

    /// The declared job of that id.
    pub(super) fn declared(&self, job: &str) -> Result<Arc<Job>, Refusal> {
        let id: JobId = job.parse().map_err(|_| Refusal::Unknown)?;
        self.plan.jobs.get(&id).cloned().ok_or(Refusal::Unknown)
    }
}

pub(super) fn new_run(wanted: &Wanted, now: Timestamp) -> NewRun {
    NewRun {
        job: wanted.job.id.clone(),
        trigger: wanted.trigger,
        scheduled_at: wanted.scheduled_at,
        started_at: now,
    }
}
