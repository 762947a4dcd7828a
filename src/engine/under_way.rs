//! The runs under way: their tasks, what is held of each, and whoever waits for one.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::oneshot;
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};
use tokio::time::Instant;

use super::runner::{self, Over, RunResult};
use super::scheduler::PendingRun;
use crate::config::{Invocation, Plan, Services};
use crate::kinds::{Recovery, recover};
use crate::run::{RunContext, Start};
use crate::state::{Origin, RunId, Status};
use crate::values::{CancelReason, CancellationToken, JobId, Progress, Threads, plural};

/// How many runs that ended are recorded at once.
const MOST_AT_ONCE: usize = 1000;
/// How often long runs tell how far they are.
pub(super) const BETWEEN_PROGRESS: Duration = Duration::from_secs(10);

/// The runs under way.
#[derive(Debug)]
pub(super) struct Runs {
    services: Services,
    tasks: JoinSet<TaskResult>,
    /// The tickets of runs that are recorded as ended while their work goes on.
    abandoned: JoinSet<u64>,
    by_task: HashMap<Id, RunHandle>,
    /// Whoever waits for a run that was asked for, by its ticket.
    pub(super) replies: HashMap<u64, oneshot::Sender<RunResult>>,
    last_progress: Instant,
    /// Takes up what runs of an earlier process left behind.
    recovery: JoinSet<()>,
    /// Asked for when that is to end.
    end_of_recovery: CancellationToken,
}

/// What the engine holds of a run under way.
#[derive(Debug)]
pub(super) struct RunHandle {
    pub(super) id: RunId,
    pub(super) run: PendingRun,
    begun_at: Instant,
    pub(super) start: Arc<Start>,
    task: AbortHandle,
    cancel: CancellationToken,
    progress: Progress,
}

impl RunHandle {
    /// How long it has lasted.
    pub(super) fn lasted(&self) -> Duration {
        self.begun_at.elapsed()
    }

    /// How many rows it has done.
    pub(super) fn rows(&self) -> u64 {
        self.progress.rows()
    }
}

/// What the task of a run gives.
type TaskResult = (RunResult, Option<Over>);

/// What becomes of runs under way.
#[derive(Debug)]
pub(super) enum Next {
    Ended(Vec<Ended>),
    /// The work of the abandoned run with this ticket is over.
    Over(u64),
    /// What an earlier process left behind is put right.
    Recovered,
}

/// A run that ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) handle: RunHandle,
    pub(super) result: RunResult,
    /// Where its work goes on.
    pub(super) over: Option<Over>,
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
            recovery: JoinSet::new(),
            end_of_recovery: CancellationToken::default(),
        }
    }

    /// Takes up what runs of an earlier process left behind, beside everything else.
    pub(super) fn take_up(&mut self, plan: &Plan) {
        let recovery = Recovery {
            store: self.services.store.clone(),
            clock: self.services.clock.clone(),
            turns: self.services.turns.clone(),
            targets: Arc::clone(&plan.targets),
            cancel: self.end_of_recovery.clone(),
        };
        self.recovery.spawn(recover(recovery));
    }

    /// Tells the runs under way that the service has begun to end.
    pub(super) fn announce_end(&self) {
        for handle in self.by_task.values() {
            handle.cancel.announce_end();
        }
        self.end_of_recovery.announce_end();
    }

    /// Whether what an earlier process left behind is still being put right.
    pub(super) fn is_recovering(&self) -> bool {
        !self.recovery.is_empty()
    }

    pub(super) fn delivery_threads(&self) -> Threads {
        self.services.delivery_threads.clone()
    }

    pub(super) fn len(&self) -> usize {
        self.by_task.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_task.is_empty()
    }

    /// Whether nothing goes on of any run, recorded as ended or not.
    pub(super) fn are_over(&self) -> bool {
        self.by_task.is_empty() && self.abandoned.is_empty()
    }

    /// Waits for the next run to end, and gives it with those that have ended, too; none at once when none is under way.
    pub(super) async fn next(&mut self) -> Option<Next> {
        tokio::select! {
            Some(first) = self.tasks.join_next_with_id() => Some(Next::Ended(self.ended_with(first))),
            Some(Ok(ticket)) = self.abandoned.join_next() => Some(Next::Over(ticket)),
            Some(_) = self.recovery.join_next() => Some(Next::Recovered),
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

    /// The newest run under way of a job.
    pub(super) fn newest_of(&self, job: &JobId) -> Option<RunId> {
        self.of(job).map(|handle| handle.id).max()
    }

    /// How many rows the runs under way of a job have done.
    pub(super) fn progress_of(&self, job: &JobId) -> u64 {
        self.of(job).map(RunHandle::rows).sum()
    }

    fn of(&self, job: &JobId) -> impl Iterator<Item = &RunHandle> {
        self.by_task.values().filter(move |handle| handle.run.job.id == *job)
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
                tracing::info!(job = %run.job.id, run = id.0, "{} so far", plural(done.rows(), "row"));
                progress.push((*id, done.rows()));
            }
        }
        progress
    }

    pub(super) fn cancel_all(&self) {
        for handle in self.by_task.values() {
            tracing::warn!(job = %handle.run.job.id, run = handle.id.0, "interrupted: the service is stopping");
            handle.cancel.cancel(CancelReason::Shutdown);
        }
    }

    /// Has every run end, as this replica leads no more; whoever waits for one hears of it.
    pub(super) fn end_without_lease(&mut self) {
        for handle in self.by_task.values() {
            tracing::warn!(job = %handle.run.job.id, run = handle.id.0, "interrupted: this replica no longer leads");
            handle.cancel.announce_end();
            handle.cancel.cancel(CancelReason::LeaseLost);
        }
        self.end_of_recovery.announce_end();
        self.end_of_recovery = CancellationToken::default();
    }

    /// Whether a run waits for a thread.
    pub(super) fn has_waiting(&self) -> bool {
        self.by_task.values().any(|handle| handle.start.begun_at().is_none())
    }

    /// Takes back runs that have waited for a thread for so long, and gives them, oldest first.
    pub(super) fn take_back(&mut self, waited: Duration) -> Vec<PendingRun> {
        let is_stuck = |handle: &RunHandle| {
            // One that was asked to end has done so already.
            let is_wanted = !handle.cancel.is_cancelled();
            is_wanted && handle.begun_at.elapsed() >= waited && handle.start.take_back()
        };
        let stuck = self.by_task.extract_if(|_, handle| is_stuck(handle));
        let mut runs: Vec<PendingRun> = stuck
            .map(|(_, handle)| {
                handle.task.abort();
                handle.run
            })
            .collect();
        runs.sort_by_key(|run| run.ticket);
        runs
    }

    /// The number of a run under way.
    pub(super) fn number_of(&self, ticket: u64) -> Option<RunId> {
        let mut handles = self.by_task.values();
        handles
            .find(|handle| handle.run.ticket == ticket)
            .map(|handle| handle.id)
    }

    pub(super) fn abandon(&mut self, ticket: u64, over: Over) {
        self.abandoned.spawn(async move {
            // Nothing is ever sent: it ends with the last that works for the run.
            let _ = over.await;
            ticket
        });
    }

    pub(super) fn replace(&self, ticket: u64) {
        for handle in self.by_task.values().filter(|handle| handle.run.ticket == ticket) {
            tracing::warn!(job = %handle.run.job.id, run = handle.id.0, "replaced by a newer run");
            handle.cancel.cancel(CancelReason::Replaced);
        }
    }

    pub(super) fn is_under_way(&self, run: RunId) -> bool {
        self.by_task.values().any(|handle| handle.id == run)
    }

    /// Has a run end that somebody has cancelled.
    pub(super) fn cancel(&self, run: RunId) {
        for handle in self.by_task.values().filter(|handle| handle.id == run) {
            tracing::warn!(job = %handle.run.job.id, run = run.0, "cancelled by hand");
            handle.cancel.cancel(CancelReason::ByHand);
        }
    }

    pub(super) fn begin(&mut self, plan: &Plan, id: RunId, run: PendingRun, now: Timestamp) {
        tracing::info!(job = %run.job.id, run = id.0, trigger = run.trigger.as_str(), "run started");
        let invocation = Invocation {
            now,
            scheduled_at: run.scheduled_at,
            run: Some(id),
            trigger: run.trigger,
            origin: Some(run.repeats.unwrap_or(Origin {
                run: id,
                scheduled_at: run.scheduled_at,
            })),
        };
        let (alive, over) = oneshot::channel();
        let ctx = RunContext {
            alive: Some(Arc::new(alive)),
            ..plan.context(&run.job, invocation, &self.services)
        };
        let (cancel, progress, start) = (ctx.cancel.clone(), ctx.progress.clone(), Arc::clone(&ctx.start));
        let task = self.tasks.spawn(runner::run(Arc::new(ctx), Arc::clone(&run.job), over));
        let handle = RunHandle {
            id,
            run,
            begun_at: Instant::now(),
            start,
            task,
            cancel,
            progress,
        };
        self.by_task.insert(handle.task.id(), handle);
    }

    /// Tells whoever waits for a run. They may have disconnected.
    pub(super) fn reply(&mut self, ticket: u64, result: impl FnOnce() -> RunResult) {
        if let Some(reply) = self.replies.remove(&ticket) {
            let _ = reply.send(result());
        }
    }
}
