//! The runs under way: how they begin, by schedule or because someone asked, and what happens when they end.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::oneshot;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::Instant;

use super::Engine;
use super::alerting::tell;
use super::command::{Refusal, Triggered};
use super::runner::{self, Over, RunResult};
use super::scheduler::{PendingRun, Step};
use crate::config::{Invocation, Job, Plan, Services};
use crate::notifications::alert::Turn;
use crate::run::RunContext;
use crate::state::{EndedRun, NewRun, RunId, Status, Trigger};
use crate::values::{CancelReason, CancellationToken, JobId, Progress, plural};

/// How many runs that ended are recorded at once.
const MOST_AT_ONCE: usize = 1000;
/// How often long runs tell how far they are.
pub(super) const BETWEEN_PROGRESS: Duration = Duration::from_secs(10);
/// How much of a message is kept, in characters.
const LONGEST_MESSAGE: usize = 4096;

/// The runs under way.
#[derive(Debug)]
pub(super) struct Runs {
    services: Services,
    tasks: JoinSet<TaskResult>,
    /// The tickets of runs that are recorded as ended while their work goes on.
    abandoned: JoinSet<u64>,
    by_task: HashMap<Id, RunHandle>,
    /// Whoever waits for a run that was asked for, by its ticket.
    replies: HashMap<u64, oneshot::Sender<RunResult>>,
    last_progress: Instant,
}

/// What the engine holds of a run under way.
#[derive(Debug)]
pub(super) struct RunHandle {
    id: RunId,
    run: PendingRun,
    cancel: CancellationToken,
    progress: Progress,
}

/// What the task of a run gives.
type TaskResult = (RunResult, Option<Over>);

/// What becomes of runs under way.
#[derive(Debug)]
pub(super) enum Next {
    Ended(Vec<Ended>),
    /// The work of the abandoned run with this ticket is over.
    Over(u64),
}

/// A run that ended.
#[derive(Debug)]
pub(super) struct Ended {
    handle: RunHandle,
    result: RunResult,
    /// Where its work goes on.
    over: Option<Over>,
}

impl Runs {
    pub(super) fn new(services: Services) -> Self {
        Self {
            services,
            tasks: JoinSet::new(),
            abandoned: JoinSet::new(),
            by_task: HashMap::new(),
            replies: HashMap::new(),
            last_progress: Instant::now(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.by_task.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_task.is_empty()
    }

    /// Waits for the next run to end, and gives it with those that have ended, too; none at once when none is under way.
    pub(super) async fn next(&mut self) -> Option<Next> {
        tokio::select! {
            Some(first) = self.tasks.join_next_with_id() => Some(Next::Ended(self.ended_with(first))),
            Some(Ok(ticket)) = self.abandoned.join_next() => Some(Next::Over(ticket)),
            else => None,
        }
    }

    fn ended_with(&mut self, first: Result<(Id, TaskResult), JoinError>) -> Vec<Ended> {
        let mut ended = vec![first];
        while ended.len() < MOST_AT_ONCE
            && let Some(next) = self.tasks.try_join_next_with_id()
        {
            ended.push(next);
        }
        let of_task = |ended| {
            let (task, (result, over)) = match ended {
                Ok(ended) => ended,
                Err(error) => {
                    let error: JoinError = error;
                    let result = RunResult::without_work(Status::Failed, error.to_string());
                    (error.id(), (result, None))
                }
            };
            let handle = self.by_task.remove(&task)?;
            Some(Ended { handle, result, over })
        };
        ended.into_iter().filter_map(of_task).collect()
    }

    /// How many rows the runs under way of a job have done.
    pub(super) fn progress_of(&self, job: &JobId) -> u64 {
        let of_job = self.by_task.values().filter(|handle| handle.run.job.id == *job);
        of_job.map(|handle| handle.progress.rows()).sum()
    }

    /// The runs under way that have done something since that was last told, with how many rows.
    pub(super) fn take_progress(&mut self) -> Vec<(RunId, u64)> {
        if self.is_empty() || self.last_progress.elapsed() < BETWEEN_PROGRESS {
            return Vec::new();
        }
        self.last_progress = Instant::now();
        let mut progress = Vec::new();
        for RunHandle {
            id,
            run,
            progress: done,
            ..
        } in self.by_task.values()
        {
            if done.rows() > 0 {
                tracing::info!(job = %run.job.id, run = %id, "{} so far", plural(done.rows(), "row"));
                progress.push((*id, done.rows()));
            }
        }
        progress
    }

    pub(super) fn cancel_all(&self) {
        for handle in self.by_task.values() {
            tracing::warn!(job = %handle.run.job.id, run = %handle.id, "interrupted: the service is stopping");
            handle.cancel.cancel(CancelReason::Shutdown);
        }
    }

    fn abandon(&mut self, ticket: u64, over: Over) {
        self.abandoned.spawn(async move {
            // Nothing is ever sent: it ends with the last that works for the run.
            let _ = over.await;
            ticket
        });
    }

    fn replace(&self, ticket: u64) {
        for handle in self.by_task.values().filter(|handle| handle.run.ticket == ticket) {
            tracing::warn!(job = %handle.run.job.id, run = %handle.id, "replaced by a newer run");
            handle.cancel.cancel(CancelReason::Replaced);
        }
    }

    fn begin(&mut self, plan: &Plan, id: RunId, run: PendingRun, now: Timestamp) {
        tracing::info!(job = %run.job.id, run = %id, trigger = run.trigger.as_str(), "run started");
        let invocation = Invocation {
            now,
            scheduled_at: run.scheduled_at,
            manual: run.trigger == Trigger::Manual,
        };
        let (alive, over) = oneshot::channel();
        let ctx = RunContext {
            alive: Some(Arc::new(alive)),
            ..plan.context(&run.job, invocation, &self.services)
        };
        let (cancel, progress) = (ctx.cancel.clone(), ctx.progress.clone());
        let task = self
            .tasks
            .spawn(runner::run(Arc::new(ctx), Arc::clone(&run.job), over))
            .id();
        let handle = RunHandle {
            id,
            run,
            cancel,
            progress,
        };
        self.by_task.insert(task, handle);
    }

    /// Tells whoever waits for a run. They may have disconnected.
    fn reply(&mut self, ticket: u64, result: impl FnOnce() -> RunResult) {
        if let Some(reply) = self.replies.remove(&ticket) {
            let _ = reply.send(result());
        }
    }
}

impl Engine {
    /// Begins what is due, once the state is there.
    pub(super) async fn start_what_is_due(&mut self, now: Timestamp) {
        if !self.journal.is_well() || self.recover(now).await.is_err() {
            return;
        }
        let steps = self.scheduler.due(now);
        self.carry_out(steps, now).await;
    }

    /// Carries out what the scheduler decided; all that begins is recorded at once.
    pub(super) async fn carry_out(&mut self, mut steps: Vec<Step>, now: Timestamp) {
        while !steps.is_empty() {
            let mut runs = Vec::new();
            for step in steps {
                match step {
                    Step::End(ticket) => self.runs.replace(ticket),
                    Step::Begin(run) => runs.push((run, None)),
                    Step::Skip(run, why) => runs.push((run, Some(why))),
                }
            }
            let all_began = self.begin_or_skip(runs, now).await;
            // Times that were in the ledger already make room for others.
            steps = if all_began { Vec::new() } else { self.scheduler.ready() };
        }
        self.record_queued(now).await;
    }

    /// Whether every one that was to begin did.
    async fn begin_or_skip(&mut self, runs: Vec<(PendingRun, Option<String>)>, now: Timestamp) -> bool {
        let (queued, new): (Vec<_>, Vec<_>) = runs.into_iter().partition(|(run, _)| run.run.is_some());
        let mut begun = Vec::new();
        for (run, why) in queued {
            match why {
                None => begun.push(run),
                Some(why) => self.drop_queued(vec![run], &why).await,
            }
        }
        let waited = begun.iter().filter(|run| run.scheduled_at < now);
        let waited: Vec<RunId> = waited.filter_map(|run| run.run).collect();
        // What cannot be noted of the beginning of a run is told at its end.
        let _ = self.journal.store.begin(waited, now).await;
        let rows = new.iter().map(|(run, why)| (new_run(run, now), why.clone())).collect();
        let Ok(ids) = self.journal.store.record(rows).await else {
            for (run, _) in new {
                self.scheduler.ended(run.ticket);
                self.scheduler.put_back(&run.job.id, run.scheduled_at);
            }
            self.begin(begun, now).await;
            return true;
        };
        let mut all_began = true;
        for ((mut run, why), id) in new.into_iter().zip(ids) {
            match (why, id) {
                (Some(why), Some(_)) => {
                    tracing::warn!(job = %run.job.id, at = %run.scheduled_at, "skipped: {why}");
                }
                (None, Some(_)) => {
                    run.run = id;
                    begun.push(run);
                }
                (_, None) => {
                    tracing::debug!(job = %run.job.id, at = %run.scheduled_at, "this time has already run");
                    self.scheduler.ended(run.ticket);
                    all_began = false;
                }
            }
        }
        self.begin(begun, now).await;
        all_began
    }

    async fn begin(&mut self, runs: Vec<PendingRun>, now: Timestamp) {
        let plan = self.plan();
        let mut messages = Vec::new();
        for run in runs {
            let Some(id) = run.run else { continue };
            let mut state = self.scheduler.get_mut(&run.job.id);
            if let Some(state) = &mut state {
                state.last.started_at = Some(now);
            }
            let telling = tell(&run.job, state, &plan, (id, Turn::Began), now);
            messages.extend(telling.into_iter().flat_map(|telling| telling.messages));
            self.runs.begin(&plan, id, run, now);
        }
        self.journal.post(messages, now).await;
    }

    pub(super) async fn trigger(&mut self, job: &str) -> Result<Triggered, Refusal> {
        let job = self.declared(job)?;
        if self.shutdown.is_some() {
            return Err(Refusal::ShuttingDown);
        }
        if self.scheduler.refusal(&job).is_some() {
            return Err(Refusal::Running);
        }
        let now = self.clock.now();
        self.recover(now).await.map_err(Refusal::State)?;
        let mut pending = self.scheduler.pending(&job, Trigger::Manual, now);
        let recorded = self.journal.store.record(vec![(new_run(&pending, now), None)]).await;
        let ids = recorded.map_err(|error| Refusal::State(error.message))?;
        let run = ids.into_iter().next().flatten().ok_or(Refusal::Running)?;
        pending.run = Some(run);
        let (reply, ended) = oneshot::channel();
        self.runs.replies.insert(pending.ticket, reply);
        let mut steps = Vec::new();
        self.scheduler.admit(pending, &mut steps);
        steps.extend(self.scheduler.ready());
        self.carry_out(steps, now).await;
        Ok(Triggered { run, ended })
    }

    /// The declared job of that id.
    pub(super) fn declared(&self, job: &str) -> Result<Arc<Job>, Refusal> {
        let id: JobId = job.parse().map_err(|_| Refusal::Unknown)?;
        self.plan().jobs.get(&id).cloned().ok_or(Refusal::Unknown)
    }

    /// Records the runs that are queued, so that none is lost without a word.
    async fn record_queued(&mut self, now: Timestamp) {
        let queued = self.scheduler.take_unrecorded();
        let rows = queued.iter().map(|run| (new_run(run, now), None)).collect();
        // Where that fails, they are recorded when they begin.
        let ids = self.journal.store.record(rows).await.unwrap_or_default();
        for (run, id) in queued.iter().zip(ids) {
            self.scheduler.recorded(run.ticket, id);
        }
    }

    /// Records that runs which were queued do not take place, and why; whoever waits for one is told.
    pub(super) async fn drop_queued(&mut self, queued: Vec<PendingRun>, why: &str) {
        let now = self.clock.now();
        let mut ended = Vec::new();
        for run in queued {
            let Some(id) = run.run else { continue };
            tracing::warn!(job = %run.job.id, at = %run.scheduled_at, "skipped: {why}");
            let skipped = || RunResult::without_work(Status::Skipped, why);
            ended.push(row_of(id, &skipped(), now));
            self.runs.reply(run.ticket, skipped);
        }
        self.journal.finish(ended).await;
    }

    /// Records how runs ended, and lets those begin that waited for them.
    pub(super) async fn finish(&mut self, ended: Vec<Ended>) {
        let now = self.clock.now();
        let plan = self.plan();
        let rows = ended
            .iter()
            .map(|ended| self.note_end(&ended.handle, &ended.result, &plan, now))
            .collect();
        self.journal.finish(rows).await;
        for Ended { handle, result, over } in ended {
            let ticket = handle.run.ticket;
            self.runs.reply(ticket, || result);
            match over {
                None => self.scheduler.ended(ticket),
                Some(over) => self.runs.abandon(ticket, over),
            }
        }
        self.begin_what_waited(now).await;
    }

    /// Frees the place of an abandoned run, whose work is over.
    pub(super) async fn free(&mut self, ticket: u64) {
        self.scheduler.ended(ticket);
        self.begin_what_waited(self.clock.now()).await;
    }

    async fn begin_what_waited(&mut self, now: Timestamp) {
        if self.shutdown.is_none() {
            let steps = self.scheduler.ready();
            self.carry_out(steps, now).await;
        }
    }

    fn note_end(&mut self, handle: &RunHandle, result: &RunResult, plan: &Plan, now: Timestamp) -> EndedRun {
        let (id, job) = (handle.id, &handle.run.job);
        let message = result.message.as_str();
        let succeeded = result.status == Status::Success;
        if succeeded {
            tracing::info!(job = %job.id, run = %id, "{message}");
        } else {
            tracing::error!(job = %job.id, run = %id, status = result.status.as_str(), "{message}");
        }
        let mut state = self.scheduler.get_mut(&job.id);
        if let Some(state) = &mut state {
            let last = &mut state.last;
            if succeeded {
                let new = |warning: &&String| !last.warnings.contains(warning);
                for warning in result.warnings.iter().filter(new) {
                    tracing::warn!(job = %job.id, run = %id, "{warning}");
                }
                last.warnings.clone_from(&result.warnings);
                (last.succeeded_at, last.error) = (Some(now), None);
            } else if !result.was_replaced {
                last.error = Some(message.to_owned());
            }
        }
        let turn = if succeeded {
            Turn::Succeeded(message)
        } else {
            Turn::Failed(message)
        };
        EndedRun {
            telling: (!result.was_replaced)
                .then(|| tell(job, state, plan, (id, turn), now))
                .flatten(),
            ..row_of(id, result, now)
        }
    }
}

fn new_run(run: &PendingRun, now: Timestamp) -> NewRun {
    NewRun {
        job: run.job.id.clone(),
        trigger: run.trigger,
        scheduled_at: run.scheduled_at,
        started_at: now,
    }
}

/// What is recorded of a result that tells nobody anything.
pub(super) fn row_of(run: RunId, result: &RunResult, at: Timestamp) -> EndedRun {
    let message = &result.message;
    EndedRun {
        run,
        status: result.status,
        at,
        message: match message.char_indices().nth(LONGEST_MESSAGE) {
            Some((end, _)) => format!("{}…", &message[..end]),
            None => message.clone(),
        },
        attempts: result.attempts,
        output: result.statistics.as_ref().map(ToString::to_string),
        telling: None,
    }
}
