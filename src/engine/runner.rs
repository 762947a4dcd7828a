//! One run: its work on a blocking thread, under a deadline that ends it. A panic is a failed run.

use std::sync::Arc;

use tokio::task::JoinError;

use crate::actions::Report;
use crate::config::{Job, Occasion, Plan};
use crate::store::Status;
use crate::store::sqlite::{Stop, StopReason};

/// What came of the work.
pub(super) struct Outcome {
    pub status: Status,
    pub message: String,
    pub statistics: Option<serde_json::Value>,
    pub troubles: Vec<String>,
}

/// Runs `job` of `plan` once.
pub(super) async fn run(plan: Arc<Plan>, job: Arc<Job>, occasion: Occasion, stop: Stop) -> Outcome {
    let timeout = job.timeout;
    let deadline = stop.clone();
    let mut work = tokio::task::spawn_blocking(move || {
        let result = job.action.run(&plan.workbench(&job, &occasion, &stop));
        (result, stop.asked())
    });
    let done = tokio::select! {
        done = &mut work => done,
        () = tokio::time::sleep(timeout.to_std()) => {
            deadline.ask(StopReason::TimedOut);
            work.await
        }
    };
    match done {
        Ok((
            Ok(Report {
                message,
                statistics,
                troubles,
            }),
            _,
        )) => Outcome {
            status: Status::Success,
            message,
            statistics,
            troubles,
        },
        Ok((Err(_), Some(StopReason::TimedOut))) => failed(
            Status::TimedOut,
            format!("not done within {timeout}, its timeout; what was not committed is undone"),
        ),
        Ok((Err(_), Some(StopReason::Interrupted))) => {
            failed(Status::Interrupted, "the service ended during this run".to_owned())
        }
        Ok((Err(failure), None)) => failed(Status::Failed, failure.0),
        Err(error) => failed(Status::Failed, panic_message(error)),
    }
}

fn failed(status: Status, message: String) -> Outcome {
    Outcome {
        status,
        message,
        statistics: None,
        troubles: Vec::new(),
    }
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
