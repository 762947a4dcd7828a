//! `GET /api/schedules/:job/why`: what was decided about a job, and what comes next.

use serde_json::{Value, json};

use super::{Answer, Context, Request};
use crate::engine::Command;
use crate::engine::command::JobReport;
use crate::state::{Filter, Run, Status};
use crate::values::iso;

/// How many decisions are told.
const MOST: u16 = 20;

/// `GET /api/schedules/:job/why`
pub(super) fn get(context: &Context, _request: &Request, job: &str) -> Answer {
    let Some(report) = context.ask(|reply| Command::Report { reply }) else {
        return Answer::stuck();
    };
    let Some(found) = report.jobs.iter().find(|found| found.id.as_str() == job) else {
        return Answer::error(404, format!("no job `{job}` is declared"));
    };
    let filter = Filter {
        job: Some(job.to_owned()),
        limit: MOST,
        ..Filter::default()
    };
    match context.runtime.block_on(context.store.history(filter)) {
        Ok(history) => Answer::ok(json!({
            "job": job,
            "summary": summary(found),
            "next_run": found.next_run.map(iso),
            "decisions": history.runs.iter().map(decision).collect::<Vec<_>>(),
        })),
        Err(error) => Answer::error(503, error.message),
    }
}

pub(super) fn summary(job: &JobReport) -> String {
    let now = match (job.running, job.waiting) {
        (true, 0) => "a run is in progress; ".to_owned(),
        (true, waiting) => format!("a run is in progress and {waiting} queued; "),
        (false, 0) => String::new(),
        (false, waiting) => format!("{waiting} queued (concurrency limit); "),
    };
    let next = match job.next_run {
        Some(at) => format!("due next at {}, by `{}` in {}", iso(at), job.schedule, job.time_zone),
        None if job.active => format!("active, but `{}` has no further times", job.schedule),
        None if !job.enabled => "inactive: it is declared with `enabled = false`".to_owned(),
        None => "inactive: stopped until it is started or the configuration is reloaded".to_owned(),
    };
    now + &next
}

fn decision(run: &Run) -> Value {
    let said = run.error.as_deref().or(run.message.as_deref()).unwrap_or_default();
    let due = iso(run.scheduled_at);
    let took = run
        .duration_ms
        .map_or_else(String::new, |took| format!(" after {took} ms"));
    let (word, why) = match run.status {
        Status::Skipped => ("skipped", format!("due {due}: {said}")),
        Status::Queued => ("queued", format!("due {due}, by {}", run.trigger.as_str())),
        Status::Running => ("running", format!("due {due}, by {}", run.trigger.as_str())),
        status => (
            "fired",
            format!(
                "due {due}, by {}: {}{took}: {said}",
                run.trigger.as_str(),
                status.as_str()
            ),
        ),
    };
    let at = run.started_at.unwrap_or(run.scheduled_at);
    json!({ "at": iso(at), "decision": word, "why": why, "run": run.id, "status": run.status })
}
