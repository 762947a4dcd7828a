//! One run: its work under a deadline that ends it, tried again where that may help. A panic is a failed run.

use std::any::Any;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until, timeout};

use crate::config::Job;
use crate::run::{Failure, Report, RunContext};
use crate::state::{CANCELLED_BY_HAND, REPLACED, Status};
use crate::values::{CancelReason, spread};

/// What came of a run.
#[derive(Clone, Debug)]
pub struct RunResult {
    /// How it ended.
    pub status: Status,
    /// What it has to say, or why it did not end well.
    pub message: String,
    /// Figures, for kinds that give some.
    pub statistics: Option<serde_json::Value>,
    /// What its programs have printed, as far as that is kept.
    pub output: Option<String>,
    /// What could not be done though the rest was.
    pub warnings: Vec<String>,
    /// How often it was tried.
    pub attempts: u32,
    /// Whether it was ended for a newer run or by hand, which is not a failure of its job.
    pub was_called_off: bool,
}

impl RunResult {
    /// That of a run without anything to show for itself.
    pub(super) fn without_work(status: Status, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
            statistics: None,
            output: None,
            warnings: Vec::new(),
            attempts: 1,
            was_called_off: false,
        }
    }
}

/// What came of one attempt.
struct Attempt {
    done: Result<Report, Failure>,
    /// Whether it had been asked to end before that.
    asked: Option<CancelReason>,
    /// Whether it goes on, as it did not end when it was asked to.
    is_abandoned: bool,
}

/// Told when the last thread of an abandoned run is over.
pub(super) type Over = oneshot::Receiver<()>;

/// Runs `job`, again and again while its failures may pass. Gives `over` back where the work goes on: until then nothing
/// may take its place.
pub(super) async fn run(ctx: Arc<RunContext>, job: Arc<Job>, over: Over) -> (RunResult, Option<Over>) {
    let (result, is_abandoned) = attempts(&ctx, &job).await;
    (result, is_abandoned.then_some(over))
}

/// The result of the last attempt, and whether it goes on.
async fn attempts(ctx: &Arc<RunContext>, job: &Arc<Job>) -> (RunResult, bool) {
    let retry = job.policy.retry;
    let (mut wait, mut attempts) = (retry.backoff.to_std(), 1);
    loop {
        ctx.attempt.store(attempts, Ordering::Relaxed);
        let attempt = attempt(ctx, job).await;
        // One that never began has ended, too.
        let deadline = ctx.start.begun_at().unwrap_or_else(Instant::now) + job.timeout.to_std();
        let asked = attempt.done.as_ref().err().and_then(|failure| failure.retry_after);
        let pause = spread(wait, number_of(job, attempts)).max(asked.unwrap_or_default());
        let is_transient = attempt.done.as_ref().is_err_and(|failure| failure.is_transient);
        // Whoever asked for a run wants to hear of it now.
        let is_last = attempts >= retry.max_attempts
            || ctx.is_manual()
            || Instant::now().checked_add(pause).is_none_or(|at| at >= deadline);
        if !is_transient || is_last || ctx.cancel.is_cancelled() {
            return result_of(attempt, ctx, job, attempts);
        }
        if let Err(failure) = &attempt.done {
            tracing::warn!(job = %job.id, attempt = attempts, "retrying in {pause:?}: {}", failure.message);
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = ctx.cancel.cancelled() => {
                let asked = ctx.cancel.reason();
                return result_of(Attempt { asked, ..attempt }, ctx, job, attempts);
            }
        }
        wait = wait.saturating_mul(2);
        attempts += 1;
    }
}

async fn attempt(ctx: &Arc<RunContext>, job: &Arc<Job>) -> Attempt {
    // What has no database waits for no place.
    if job.database.is_none() {
        ctx.start.begin();
    }
    let mut work = Box::pin(catching(job.action.run(ctx)));
    let end_is_asked_for = async {
        let deadline = async { sleep_until(ctx.start.begun().await + job.timeout.to_std()).await };
        tokio::select! {
            () = deadline => ctx.cancel.cancel(CancelReason::TimedOut),
            () = ctx.cancel.cancelled() => {}
        }
    };
    let done = tokio::select! {
        // Whether it ended before it was asked to is seen at once.
        done = &mut work => Some((done, ctx.cancel.reason())),
        // What it does must be over before anything else is done, unless it does not listen.
        () = end_is_asked_for => timeout(job.action.takes_to_end(), &mut work).await.ok().map(|done| (done, ctx.cancel.reason())),
    };
    if let Some((done, asked)) = done {
        return Attempt {
            done: done.unwrap_or_else(|panic| Err(Failure::lasting(panic_message(panic.as_ref())))),
            asked,
            is_abandoned: false,
        };
    }
    let why = "it did not stop when cancelled, and was abandoned";
    let left = Failure {
        done: Some(why.to_owned()),
        ..Failure::lasting(why)
    };
    Attempt {
        done: Err(left),
        asked: ctx.cancel.reason(),
        is_abandoned: true,
    }
}

/// Does `work`; a panic in it is its result.
async fn catching<T>(work: impl Future<Output = T>) -> Result<T, Box<dyn Any + Send>> {
    let mut work = pin!(work);
    poll_fn(|context| {
        let polled = catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context)));
        match polled {
            Ok(polled) => polled.map(Ok),
            Err(panic) => Poll::Ready(Err(panic)),
        }
    })
    .await
}

fn result_of(attempt: Attempt, ctx: &RunContext, job: &Job, attempts: u32) -> (RunResult, bool) {
    // One that succeeds all the same has succeeded.
    let was_asked = matches!(attempt.asked, Some(CancelReason::Replaced | CancelReason::ByHand));
    let was_called_off = was_asked && attempt.done.is_err();
    let result = match attempt.done {
        Ok(report) => RunResult {
            statistics: report.statistics,
            warnings: report.warnings,
            ..RunResult::without_work(Status::Success, report.message)
        },
        Err(failure) => failed(failure, attempt.asked, job),
    };
    let result = RunResult {
        output: ctx.output.text(),
        attempts,
        was_called_off,
        ..result
    };
    (result, attempt.is_abandoned)
}

fn failed(failure: Failure, asked: Option<CancelReason>, job: &Job) -> RunResult {
    let left = match (&failure.done, &job.database) {
        (Some(done), _) => done.as_str(),
        (None, Some(_)) => "uncommitted changes were rolled back",
        (None, None) => failure.message.as_str(),
    };
    let (status, message) = match asked {
        None => (Status::Failed, failure.message.clone()),
        Some(CancelReason::TimedOut) => (Status::TimedOut, format!("timed out after {}; {left}", job.timeout)),
        Some(CancelReason::Shutdown) => (
            Status::Interrupted,
            format!("the service stopped during this run; {left}"),
        ),
        Some(CancelReason::LeaseLost) => (
            Status::Interrupted,
            format!("this replica lost its lease during the run; {left}"),
        ),
        Some(CancelReason::Replaced) => (Status::Interrupted, REPLACED.to_owned()),
        Some(CancelReason::ByHand) => (Status::Interrupted, format!("{CANCELLED_BY_HAND}; {left}")),
    };
    RunResult {
        statistics: failure.statistics.map(|statistics| *statistics),
        ..RunResult::without_work(status, message)
    }
}

/// A number of the job's own for each attempt.
fn number_of(job: &Job, attempt: u32) -> u32 {
    let bytes = job.id.as_str().bytes();
    bytes.fold(attempt, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()))
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .map(ToString::to_string)
        .or_else(|| panic.downcast_ref::<String>().cloned());
    format!("the run panicked, a bug in this program: {}", text.unwrap_or_default())
}
