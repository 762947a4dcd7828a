//! `/api/schedules`: the jobs with their next times, and their recorded runs.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Answer, Context, Request, tasks};
use crate::engine::Command;
use crate::engine::command::{JobReport, Refusal};
use crate::state::{Filter, RunId, Status};
use crate::values::iso;

/// `GET /api/schedules`
pub(super) fn list(context: &Context, _request: &Request, _job: &str) -> Answer {
    let Some(report) = context.ask(|reply| Command::Report { reply }) else {
        return Answer::stuck();
    };
    let jobs: Vec<Value> = report.jobs.iter().map(describe).collect();
    Answer::ok(json!({ "jobs": jobs }))
}

pub(super) fn describe(job: &JobReport) -> Value {
    let mut described = json!({
        "id": job.id,
        "next_run": job.next_run.map(iso),
        "description": job.description,
        "schedule": job.schedule,
        "time_zone": job.time_zone,
        "enabled": job.enabled,
        "active": job.active,
        "running": job.running,
        "last_run": job.last.started_at.map(iso),
    });
    if job.running {
        described["progress"] = job.progress.into();
    }
    described
}

/// `POST /api/schedules/run/:job`: runs it now and answers when it is done.
pub(super) fn run(context: &Context, _request: &Request, job: &str) -> Answer {
    let triggered = match tasks::begin(context, job) {
        None => return Answer::stuck(),
        Some(Err(Refusal::Unknown)) => {
            return Answer::new(404, json!({ "detail": "Job not found" }));
        }
        Some(Err(refusal)) => {
            let status = tasks::refusal_status(&refusal);
            return Answer::new(status, json!({ "detail": tasks::in_words(&refusal, job) }));
        }
        Some(Ok(triggered)) => triggered,
    };
    let run = triggered.run;
    let Some(ended) = context.wait(triggered.ended) else {
        return Answer::stuck();
    };
    Answer::ok(json!({
        "status": "executed",
        "job": job,
        "run_id": run,
        "success": ended.status == Status::Success,
        "outcome": ended.status,
        "message": ended.message,
        "statistics": ended.statistics,
    }))
}

/// `GET /api/schedules/:job/plan`: what a run would do now; changes nothing.
pub(super) fn plan(context: &Context, _request: &Request, job: &str) -> Answer {
    let Some(report) = context.ask(|reply| Command::Report { reply }) else {
        return Answer::stuck();
    };
    let plan = std::sync::Arc::clone(&context.plans.borrow());
    let Some(job) = plan.jobs.values().find(|found| found.id.as_str() == job) else {
        return Answer::error(404, format!("no job `{job}` is declared"));
    };
    match context.runtime.block_on(plan.dry_run(job, report.at, &context.dry)) {
        Ok(Some(mut found)) => {
            found.json["lines"] = found.lines.into();
            Answer::ok(found.json)
        }
        Ok(None) => Answer::ok(json!({})),
        Err(failure) => Answer::error(503, failure.message),
    }
}

/// `GET /api/schedules/executions`
pub(super) fn executions(context: &Context, request: &Request, _job: &str) -> Answer {
    let filter = match read_filter(request) {
        Ok(filter) => filter,
        Err(why) => return Answer::error(400, why),
    };
    match context.runtime.block_on(context.store.history(filter)) {
        Ok(history) => Answer::ok(json!({ "total": history.total, "executions": history.runs })),
        Err(error) => Answer::error(503, error.message),
    }
}

/// `GET /api/schedules/executions/:run`: one run, with what its programs printed.
pub(super) fn execution(context: &Context, _request: &Request, run: &str) -> Answer {
    let unknown = || Answer::error(404, format!("there is no run {run}"));
    let Ok(id) = run.parse() else { return unknown() };
    match context.runtime.block_on(context.store.run(RunId(id))) {
        Ok(Some((run, output))) => {
            let mut body = json!(run);
            body["output"] = json!(output);
            Answer::ok(body)
        }
        Ok(None) => unknown(),
        Err(error) => Answer::error(503, error.message),
    }
}

/// `POST /api/schedules/executions/:run/cancel`: ends a run under way, or takes back one that waits for its turn.
pub(super) fn cancel(context: &Context, _request: &Request, run: &str) -> Answer {
    let unknown = || Answer::error(404, format!("there is no run {run}"));
    let Ok(id) = run.parse() else { return unknown() };
    match context.ask(|reply| Command::Cancel { run: RunId(id), reply }) {
        None => Answer::stuck(),
        Some(Ok(())) => Answer::ok(json!({ "message": format!("run {run} was asked to end") })),
        Some(Err(Refusal::Unknown)) => unknown(),
        Some(Err(Refusal::Over)) => Answer::error(409, format!("run {run} is over")),
        Some(Err(refusal)) => Answer::error(tasks::refusal_status(&refusal), tasks::in_words(&refusal, run)),
    }
}

fn read_filter(request: &Request) -> Result<Filter, String> {
    let mut filter = Filter::default();
    for (key, value) in &request.query {
        let refuse = |why: String| format!("{key}: {why}");
        match key.as_str() {
            "job" => filter.job = Some(value.clone()),
            "status" => filter.status = Some(value.parse().map_err(refuse)?),
            "trigger" => filter.trigger = Some(value.parse().map_err(refuse)?),
            "from" => filter.from = Some(read_instant(value).map_err(refuse)?),
            "to" => filter.to = Some(read_instant(value).map_err(refuse)?),
            "before" => filter.before = Some(RunId(read_number(value, i64::MAX).map_err(refuse)?)),
            "limit" => filter.limit = read_number(value, 1000).map_err(refuse)?,
            "offset" => filter.offset = read_number(value, u32::MAX).map_err(refuse)?,
            _ => {
                return Err(format!(
                    "unknown filter `{key}`; known filters: job, status, trigger, from, to, before, limit, offset"
                ));
            }
        }
    }
    Ok(filter)
}

fn read_instant(text: &str) -> Result<Timestamp, String> {
    text.parse()
        .map_err(|_| format!("`{text}` is not an instant such as 2026-11-20T12:30:00Z"))
}

fn read_number<N: std::str::FromStr + PartialOrd + std::fmt::Display + Copy>(text: &str, most: N) -> Result<N, String> {
    text.parse()
        .ok()
        .filter(|number| *number <= most)
        .ok_or_else(|| format!("`{text}` is not a whole number from 0 to {most}"))
}
