//! How runs begin, by schedule or because someone asked, and what happens when they end.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::oneshot;

use super::Engine;
use super::alerting::tell;
use super::command::{Refusal, Triggered};
use super::runner::RunResult;
use super::scheduler::{PendingRun, Step};
use super::under_way::{Ended, RunHandle};
use crate::config::{Job, Plan};
use crate::notifications::alert::Turn;
use crate::state::{Beginning, CANCELLED_BY_HAND, EndedRun, NewRun, RunId, Skip, Status, Trigger};
use crate::values::{JobId, Moment, counters, plural};

/// How many runs are recorded at once.
const AT_ONCE: usize = 250;
/// How long a run that was begun may wait for a thread: then it is queued again, as it was not to be begun.
pub(super) const MOST_WAIT: Duration = Duration::from_millis(100);
/// How much of a message is kept, in characters.
const LONGEST_MESSAGE: usize = 4096;

impl Engine {
    /// Begins what is due, once the state is there.
    pub(super) async fn start_what_is_due(&mut self, now: Timestamp) {
        if !self.journal.is_well() || self.recover(now).await.is_err() {
            return self.wait_for_the_state();
        }
        let steps = self.scheduler.due(now);
        self.carry_out(steps, now).await;
    }

    /// Carries out what the scheduler decided; all that begins, waits or is skipped is recorded at once.
    pub(super) async fn carry_out(&mut self, mut steps: Vec<Step>, now: Timestamp) {
        loop {
            let (mut begun, mut new) = (Vec::new(), Vec::new());
            for step in steps {
                match step {
                    Step::End(ticket) => self.runs.replace(ticket),
                    Step::Begin(run) if run.run.is_some() => begun.push(run),
                    Step::Begin(run) => new.push((run, Beginning::Now)),
                    Step::Skip(run, skip) if run.run.is_some() => self.drop_queued(vec![run], skip).await,
                    Step::Skip(run, skip) => new.push((run, Beginning::Skipped(skip))),
                }
            }
            let queued = self.scheduler.take_unrecorded();
            new.extend(queued.into_iter().map(|run| (run, Beginning::Queued)));
            let mut all_begin = true;
            // The first ones run while the next ones are recorded.
            while !begun.is_empty() || !new.is_empty() {
                let rest = new.split_off(new.len().min(AT_ONCE));
                all_begin &= self.record(std::mem::take(&mut begun), new, now).await;
                new = rest;
            }
            if all_begin {
                return;
            }
            // Times that were in the ledger already make room for others.
            steps = self.scheduler.ready();
        }
    }

    /// Records runs, and begins those that are to; whether every one is.
    async fn record(&mut self, mut begun: Vec<PendingRun>, new: Vec<(PendingRun, Beginning)>, now: Timestamp) -> bool {
        let ids = begun.iter().filter_map(|run| run.run).collect();
        let rows = new.iter().map(|(run, beginning)| new_run(run, beginning.clone()));
        let Ok(ids) = self.journal.store.record(ids, rows.collect(), now).await else {
            self.put_off(begun, new).await;
            return true;
        };
        let mut all_begin = true;
        for ((mut run, beginning), id) in new.into_iter().zip(ids) {
            match (beginning, id) {
                (Beginning::Queued, id) => self.scheduler.recorded(run.ticket, id),
                (Beginning::Skipped(skip), Some(_)) => {
                    count_skip(&run, &skip);
                    tracing::warn!(job = %run.job.id, at = %run.scheduled_at, "skipped: {}", skip.why);
                }
                (Beginning::Now, Some(number)) => {
                    // Should it be taken back, it is the same run that waits.
                    self.scheduler.begun_as(run.ticket, number);
                    run.run = id;
                    begun.push(run);
                }
                (_, None) => {
                    tracing::debug!(job = %run.job.id, at = %run.scheduled_at, "this time has already run");
                    self.scheduler.ended(run.ticket);
                    all_begin = false;
                }
            }
        }
        self.begin(begun, now).await;
        all_begin
    }

    /// Nothing begins, waits or is skipped that is not recorded: times are due again, and what was asked for is recorded
    /// later.
    async fn put_off(&mut self, begun: Vec<PendingRun>, new: Vec<(PendingRun, Beginning)>) {
        self.wait_for_the_state();
        self.take_back(&begun).await;
        for (run, beginning) in new {
            match beginning {
                Beginning::Queued if run.trigger.is_asked_for() => self.scheduler.record_later(),
                Beginning::Queued => drop(self.scheduler.number_of_queued(run.ticket)),
                _ => self.scheduler.ended(run.ticket),
            }
            if !run.trigger.is_asked_for() {
                self.scheduler.put_back(&run.job.id, run.scheduled_at);
            }
        }
    }

    /// Has the times that come while a shared state cannot be used be run late, as those that come while nobody leads are.
    fn wait_for_the_state(&mut self) {
        if self.replicas.is_some() && self.journal.is_recovered {
            self.scheduler.late_since = Some(self.heartbeat.handled_until());
        }
    }

    /// Has runs wait for their turn again that wait for a thread already, where nothing goes on.
    pub(super) async fn take_back_stuck(&mut self, waited: Duration, now: Timestamp) {
        let stuck = self.runs.take_back(waited);
        if stuck.is_empty() {
            return;
        }
        let ids = stuck.iter().filter_map(|run| run.run).collect();
        for run in &stuck {
            self.scheduler.is_held_up(&run.job);
        }
        // Where that fails, they count as interrupted after a crash, and are begun all the same without one.
        let _ = self.journal.store.requeue(ids, now).await;
        self.take_back(&stuck).await;
    }

    /// Queues runs again that did not begin, but for those of jobs that are not to run any more.
    async fn take_back(&mut self, runs: &[PendingRun]) {
        let taken_back = runs.iter().rev();
        let unwanted: Vec<PendingRun> = taken_back
            .filter_map(|run| self.scheduler.take_back(run.ticket))
            .collect();
        self.drop_queued(unwanted, Skip::unwanted()).await;
    }

    async fn begin(&mut self, runs: Vec<PendingRun>, now: Timestamp) {
        let (plan, moment) = (self.plan(), self.clock.moment());
        let mut messages = Vec::new();
        for run in runs {
            let Some(id) = run.run else { continue };
            let mut state = self.scheduler.get_mut(&run.job.id);
            if let Some(state) = &mut state {
                state.last.started_at = Some(now);
            }
            let telling = tell(&run.job, state, &plan, (id, Turn::Began), moment);
            messages.extend(telling.into_iter().flat_map(|telling| telling.messages));
            if run.trigger == Trigger::Schedule {
                let late = now.duration_since(run.scheduled_at).as_secs_f64();
                counters().lateness.observe(late.max(0.0));
            }
            self.runs.begin(&plan, id, run, now);
        }
        self.journal.post(messages, moment).await;
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
        let pending = self.scheduler.pending(&job, Trigger::Manual, now);
        let ticket = pending.ticket;
        let (reply, ended) = oneshot::channel();
        self.runs.replies.insert(ticket, reply);
        let mut steps = Vec::new();
        self.scheduler.admit(pending, &mut steps);
        let run = self.begin_asked_for(ticket, steps, now).await;
        if run.is_err() {
            self.runs.replies.remove(&ticket);
        }
        Ok(Triggered { run: run?, ended })
    }

    /// Has a job run that was told of work: after the run under way, which may have looked too early. One that waits already
    /// does for all that is told meanwhile.
    pub(super) async fn announce(&mut self, job: &str) -> Result<RunId, Refusal> {
        let job = self.declared(job)?;
        if self.shutdown.is_some() {
            return Err(Refusal::ShuttingDown);
        }
        if self.scheduler.get(&job.id).is_none_or(|state| state.active.is_none()) {
            return Err(Refusal::Inactive);
        }
        let now = self.clock.now();
        self.recover(now).await.map_err(Refusal::State)?;
        if let Some(waiting) = self.scheduler.queued(&job.id) {
            return Ok(waiting);
        }
        let pending = self.scheduler.pending(&job, Trigger::Webhook, now);
        let ticket = pending.ticket;
        self.scheduler.queue_up(pending);
        self.begin_asked_for(ticket, Vec::new(), now).await
    }

    /// Ends a run, or takes it back where it waits for its turn.
    pub(super) async fn cancel(&mut self, run: RunId) -> Result<(), Refusal> {
        if self.runs.is_under_way(run) {
            self.runs.cancel(run);
            // Should the process end before the run does, the next one knows; unless the state cannot be written, which keeps
            // nobody from ending a run.
            if let Err(error) = self.journal.store.note_cancelled(run).await {
                tracing::warn!(run = run.0, "that it was cancelled could not be noted: {error}");
            }
            return Ok(());
        }
        if let Some(queued) = self.scheduler.withdraw_run(run) {
            self.drop_queued(vec![queued], Skip::cancelled(CANCELLED_BY_HAND)).await;
            return Ok(());
        }
        match self.journal.store.run(run).await {
            // The next start would begin it.
            Ok(Some((found, _))) if found.status == Status::Queued => {
                let skipped = RunResult::without_work(Status::Skipped, CANCELLED_BY_HAND);
                self.journal
                    .finish(vec![row_of(run, &skipped, self.clock.moment())])
                    .await;
                Ok(())
            }
            Ok(Some(_)) => Err(Refusal::Over),
            Ok(None) => Err(Refusal::Unknown),
            Err(error) => Err(Refusal::State(error.message)),
        }
    }

    /// Has a run that is queued begin, if it may; gives its number.
    async fn begin_asked_for(&mut self, ticket: u64, mut steps: Vec<Step>, now: Timestamp) -> Result<RunId, Refusal> {
        steps.extend(self.scheduler.ready());
        self.carry_out(steps, now).await;
        let begun = self.runs.number_of(ticket);
        let run = begun.or_else(|| self.scheduler.number_of_queued(ticket));
        let why = || {
            let error = self.journal.store.error();
            error.unwrap_or_else(|| "the run could not be recorded".to_owned())
        };
        run.ok_or_else(|| Refusal::State(why()))
    }

    /// The declared job of that id.
    pub(super) fn declared(&self, job: &str) -> Result<Arc<Job>, Refusal> {
        let id: JobId = job.parse().map_err(|_| Refusal::Unknown)?;
        self.plan().jobs.get(&id).cloned().ok_or(Refusal::Unknown)
    }

    /// Records that runs which were queued do not take place, and why; whoever waits for one is told.
    pub(super) async fn drop_queued(&mut self, queued: Vec<PendingRun>, skip: Skip) {
        let now = self.clock.moment();
        let mut ended = Vec::new();
        for run in queued {
            let Some(id) = run.run else { continue };
            tracing::warn!(job = %run.job.id, at = %run.scheduled_at, "skipped: {}", skip.why);
            count_skip(&run, &skip);
            let skipped = || RunResult::without_work(Status::Skipped, skip.why.as_str());
            ended.push(row_of(id, &skipped(), now));
            self.runs.reply(run.ticket, skipped);
        }
        self.journal.finish(ended).await;
    }

    /// Leaves queued runs to the next start; whoever waits for one is told.
    pub(super) fn leave_queued(&mut self) {
        let queued = self.scheduler.withdraw_all();
        if !queued.is_empty() {
            let runs = plural(queued.len() as u64, "run");
            tracing::info!(
                "{runs} still queued; the next start goes on with them, by their jobs' rules of catching up"
            );
        }
        for run in queued {
            let why = "the service is stopping; the run is still queued, and begins after the next start";
            self.runs
                .reply(run.ticket, || RunResult::without_work(Status::Queued, why));
        }
    }

    /// Records how runs ended, and lets those begin that waited for them.
    pub(super) async fn finish(&mut self, ended: Vec<Ended>) {
        if !self.is_leading() || !self.journal.is_recovered {
            return self.forget(ended);
        }
        let now = self.clock.moment();
        let plan = self.plan();
        for Ended { handle, .. } in &ended {
            if let Some(worked) = handle.start.worked() {
                self.scheduler.learn(&handle.run.job, worked);
            }
        }
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
        self.begin_what_waited(now.wall).await;
    }

    /// Passes over how runs ended that began in an earlier term: the next leader has recorded what became of them.
    fn forget(&mut self, ended: Vec<Ended>) {
        for Ended { handle, result, over } in ended {
            let ticket = handle.run.ticket;
            tracing::warn!(job = %handle.run.job.id, run = handle.id.0, "not recorded: {}", result.message);
            self.runs.reply(ticket, || result);
            if let Some(over) = over {
                self.runs.abandon(ticket, over);
            }
        }
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

    fn note_end(&mut self, handle: &RunHandle, result: &RunResult, plan: &Plan, now: Moment) -> EndedRun {
        let (id, job) = (handle.id, &handle.run.job);
        count_run(handle, result);
        let message = result.message.as_str();
        let succeeded = result.status == Status::Success;
        let (status, trigger) = (result.status.as_str(), handle.run.trigger.as_str());
        let duration_ms = u64::try_from(handle.lasted().as_millis()).unwrap_or(u64::MAX);
        if succeeded {
            tracing::info!(job = %job.id, run = id.0, trigger, status, duration_ms, "{message}");
        } else if result.was_called_off {
            tracing::warn!(job = %job.id, run = id.0, trigger, status, duration_ms, "{message}");
        } else {
            tracing::error!(job = %job.id, run = id.0, trigger, status, duration_ms, "{message}");
        }
        let mut state = self.scheduler.get_mut(&job.id);
        if let Some(state) = &mut state {
            let last = &mut state.last;
            if succeeded {
                let new = |warning: &&String| !last.warnings.contains(warning);
                for warning in result.warnings.iter().filter(new) {
                    tracing::warn!(job = %job.id, run = id.0, "{warning}");
                }
                last.warnings.clone_from(&result.warnings);
                (last.succeeded_at, last.error) = (Some(now.wall), None);
                state.fresh_at = now.service;
            } else if !result.was_called_off {
                last.error = Some(message.to_owned());
            }
        }
        let turn = if succeeded {
            Turn::Succeeded(message)
        } else {
            Turn::Failed(message)
        };
        EndedRun {
            telling: (!result.was_called_off)
                .then(|| tell(job, state, plan, (id, turn), now))
                .flatten(),
            renews: (succeeded && job.policy.max_age.is_some()).then(|| job.id.clone()),
            ..row_of(id, result, now)
        }
    }
}

fn count_skip(run: &PendingRun, skip: &Skip) {
    let of = (run.job.id.to_string(), skip.reason);
    *counters().skipped.entry(of).or_default() += 1;
}

/// Counts a run that ended.
fn count_run(handle: &RunHandle, result: &RunResult) {
    let (job, kind) = (handle.run.job.id.to_string(), handle.run.job.action.name());
    let mut counters = counters();
    let of = (job.clone(), handle.run.trigger.as_str(), result.status.as_str());
    *counters.runs.entry(of).or_default() += 1;
    *counters.rows.entry(job.clone()).or_default() += handle.rows();
    let Some(began) = handle.start.begun_at() else { return };
    let took = began.elapsed();
    counters.took(kind, took);
    counters.last_durations.insert(job, took.as_secs_f64());
}

fn new_run(run: &PendingRun, beginning: Beginning) -> NewRun {
    NewRun {
        job: run.job.id.clone(),
        trigger: run.trigger,
        scheduled_at: run.scheduled_at,
        repeats: run.repeats.map(|origin| origin.run),
        beginning,
    }
}

/// What is recorded of a result that tells nobody anything.
pub(super) fn row_of(run: RunId, result: &RunResult, at: Moment) -> EndedRun {
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
        statistics: result.statistics.as_ref().map(ToString::to_string),
        output: result.output.clone(),
        telling: None,
        renews: None,
    }
}
