//! One run: its work on a blocking thread, under a deadline that ends it, tried again where that may help. A panic is
//! a failed run.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinError;
use tokio::time::Instant;

use crate::actions::{Failure, Report};
use crate::config::{Job, Occasion, Plan, Signals};
use crate::store::Status;
use crate::store::sqlite::{Stop, StopReason};
use crate::values::spread;

/// How often a wait for another attempt looks whether the run is to end.
const LOOK: Duration = Duration::from_millis(250);

/// What came of the work.
#[derive(Debug)]
pub(super) struct Outcome {
    pub status: Status,
    pub message: String,
    pub statistics: Option<serde_json::Value>,
    pub troubles: Vec<String>,
    pub attempts: u32,
}

impl Outcome {
    pub(super) fn failed(status: Status, message: String) -> Self {
        Self {
            status,
            message,
            statistics: None,
            troubles: Vec::new(),
            attempts: 1,
        }
    }
}

/// Runs `job` of `plan`, again and again while a failure may pass.
pub(super) async fn run(plan: Arc<Plan>, job: Arc<Job>, occasion: Occasion, signals: Signals) -> Outcome {
    let deadline = Instant::now() + job.timeout.to_std();
    let retry = job.policy.retry;
    let mut wait = retry.backoff.to_std();
    for attempt in 1.. {
        let (mut outcome, may_pass) = attempt_once(&plan, &job, occasion, &signals, deadline).await;
        outcome.attempts = attempt;
        // Whoever asked for a run wants to hear of it now.
        let is_last = attempt >= retry.max_attempts || occasion.by_hand || Instant::now() + wait >= deadline;
        if !may_pass || is_last || signals.stop.asked().is_some() {
            return outcome;
        }
        tracing::warn!(job = %job.id, attempt, "tried again in {wait:?}: {}", outcome.message);
        if !pause(spread(wait, number_of(&job, attempt)), &signals.stop).await {
            outcome = failed(&Failure::lasting(outcome.message), signals.stop.asked(), job.timeout);
            return outcome;
        }
        wait = wait.saturating_mul(2);
    }
    Outcome::failed(Status::Failed, "no attempt was made".to_owned())
}

/// One attempt; whether its failure may pass.
async fn attempt_once(
    plan: &Arc<Plan>,
    job: &Arc<Job>,
    occasion: Occasion,
    signals: &Signals,
    deadline: Instant,
) -> (Outcome, bool) {
    let (plan, job, governed) = (Arc::clone(plan), Arc::clone(job), signals.clone());
    let timeout = job.timeout;
    let mut work = tokio::task::spawn_blocking(move || {
        let result = job.action.run(&plan.workbench(&job, &occasion, &governed));
        (result, governed.stop.asked())
    });
    let done = tokio::select! {
        done = &mut work => done,
        () = tokio::time::sleep_until(deadline) => {
            signals.stop.ask(StopReason::TimedOut);
            // What it does must be over before anything else is done.
            work.await
        }
    };
    match done {
        Ok((Ok(report), _)) => (succeeded(report), false),
        Ok((Err(failure), asked)) => (failed(&failure, asked, timeout), failure.may_pass),
        Err(error) => (Outcome::failed(Status::Failed, panic_message(error)), false),
    }
}

fn succeeded(report: Report) -> Outcome {
    Outcome {
        status: Status::Success,
        message: report.message,
        statistics: report.statistics,
        troubles: report.troubles,
        attempts: 1,
    }
}

fn failed(failure: &Failure, asked: Option<StopReason>, timeout: crate::values::Duration) -> Outcome {
    match asked {
        None => Outcome::failed(Status::Failed, failure.message.clone()),
        Some(StopReason::TimedOut) => Outcome::failed(
            Status::TimedOut,
            format!(
                "not done within {timeout}, its timeout; {}",
                left(failure, "what was not committed is undone")
            ),
        ),
        Some(StopReason::Interrupted) => Outcome::failed(
            Status::Interrupted,
            format!(
                "the service ended during this run; {}",
                left(failure, "what was not committed is undone")
            ),
        ),
        Some(StopReason::Replaced) => {
            Outcome::failed(Status::Interrupted, "ended to make room for a newer run".to_owned())
        }
    }
}

/// What a run that was ended leaves behind.
fn left<'a>(failure: &'a Failure, nothing: &'a str) -> &'a str {
    failure.done.as_deref().unwrap_or(nothing)
}

/// Waits, unless the run is to end; whether it waited to the end.
async fn pause(wait: Duration, stop: &Stop) -> bool {
    let end = Instant::now() + wait;
    while Instant::now() < end {
        if stop.asked().is_some() {
            return false;
        }
        tokio::time::sleep_until(end.min(Instant::now() + LOOK)).await;
    }
    stop.asked().is_none()
}

/// A number of the job's own for each attempt.
fn number_of(job: &Job, attempt: u32) -> u32 {
    let bytes = job.id.as_str().bytes();
    bytes.fold(attempt, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()))
}

fn panic_message(error: JoinError) -> String {
    let Ok(panic) = error.try_into_panic() else {
        return "the run was cancelled".to_owned();
    };
    let text = panic
        .downcast_ref::<&str>()
        .map(ToString::to_string)
        .or_else(|| panic.downcast_ref::<String>().cloned());
    format!(
        "the run panicked, which is a fault of this program: {}",
        text.unwrap_or_default()
    )
}
