//! `GET /api/overview`: everything the page needs at each refresh, in one answer with a tag.

use serde::Serialize;
use serde_json::Value;

use super::{Answer, Body, Context, Request, health, replicas};
use crate::config::Plan;
use crate::engine::command::JobReport;
use crate::state::{RecentRuns, RunId, Status};
use crate::values::{JobId, VERSION_AND_COMMIT, iso};

/// How many of a job's runs are told.
const MOST_RUNS: u32 = 20;

/// What is told. It holds nothing that changes by itself, such as the time: the header `Date` tells that.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Overview<'a> {
    version: &'static str,
    started_at: String,
    status: &'static str,
    reasons: Vec<String>,
    jobs: Vec<Job<'a>>,
    databases: Vec<Database<'a>>,
    config: Value,
    outbox: Value,
    /// None where there is only one.
    replicas: Option<Vec<replicas::Replica>>,
}

#[derive(Serialize)]
struct Database<'a> {
    name: &'a str,
    path: String,
    trouble: Option<String>,
}

#[derive(Serialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own in the answer")]
struct Job<'a> {
    id: &'a JobId,
    kind: Option<&'static str>,
    /// Whether a run changes something, so that a person is asked first.
    asks: bool,
    /// How it is, in one or three words.
    state: &'static str,
    description: Option<&'a str>,
    schedule: &'a str,
    words: Option<String>,
    time_zone: &'a str,
    enabled: bool,
    active: bool,
    running: bool,
    run: Option<RunId>,
    waiting: u32,
    progress: u64,
    next_run: Option<String>,
    last_run: Option<String>,
    error: Option<&'a str>,
    overdue: Option<&'a str>,
    warnings: &'a [String],
    message: Option<&'a str>,
    /// Number, status, when it began and how long it took, in milliseconds: twenty for each job, so they are short.
    runs: Vec<(RunId, Status, i64, Option<i64>)>,
}

/// `GET /api/overview`
pub(super) fn get(context: &Context, _request: &Request, _job: &str) -> Answer {
    let health = health::look(context);
    let Some(report) = health.report else {
        return Answer::error(503, health.reasons.join("; "));
    };
    let ids = report.jobs.iter().map(|job| job.id.clone()).collect();
    let runs = match context.runtime.block_on(context.store.recent_runs(ids, MOST_RUNS)) {
        Ok(runs) => runs,
        Err(error) => return Answer::error(503, error.message),
    };
    let plan = std::sync::Arc::clone(&context.plans.borrow());
    let jobs = report.jobs.iter().zip(&runs);
    let used = plan
        .databases
        .iter()
        .filter(|(_, database)| report.databases.contains(database));
    let overview = Overview {
        version: VERSION_AND_COMMIT,
        started_at: iso(report.started_at),
        status: health.status,
        reasons: health.reasons,
        jobs: jobs.map(|(job, runs)| describe(job, runs, &plan)).collect(),
        databases: used
            .map(|(name, database)| Database {
                name: name.as_str(),
                path: database.shown(),
                trouble: context.databases.trouble_with(database),
            })
            .collect(),
        config: health::config(&report),
        outbox: health::outbox(&report),
        replicas: context
            .replicas
            .as_ref()
            .map(|replicas| replicas::list(&replicas.seen())),
    };
    let Ok(text) = serde_json::to_string(&overview) else {
        return Answer::error(500, "the overview could not be written, a bug in this program");
    };
    Answer {
        status: 200,
        body: Body::Text(text, "application/json"),
        is_tagged: true,
    }
}

fn state_of(job: &JobReport, recent: &RecentRuns) -> &'static str {
    match job {
        _ if job.running => "running",
        _ if job.waiting > 0 => "queued",
        _ if job.last.error.is_some() => "failing",
        _ if job.overdue.is_some() => "overdue",
        _ if !job.active && job.enabled => "stopped",
        _ if !job.active => "disabled",
        _ if !job.last.warnings.is_empty() => "warning",
        _ if recent.runs.is_empty() => "not run yet",
        _ => "ok",
    }
}

fn describe<'a>(job: &'a JobReport, recent: &'a RecentRuns, plan: &Plan) -> Job<'a> {
    let declared = plan.jobs.get(&job.id);
    let runs = recent.runs.iter();
    Job {
        id: &job.id,
        kind: declared.map(|job| job.action.name()),
        asks: declared.is_none_or(|job| !job.action.only_looks()),
        state: state_of(job, recent),
        description: job.description.as_deref(),
        schedule: &job.schedule,
        words: declared.map(|job| job.schedule.in_words()),
        time_zone: &job.time_zone,
        enabled: job.enabled,
        active: job.active,
        running: job.running,
        run: job.run,
        waiting: job.waiting,
        progress: job.progress,
        next_run: job.next_run.map(iso),
        last_run: job.last.started_at.map(iso),
        error: job.last.error.as_deref(),
        overdue: job.overdue.as_deref(),
        warnings: &job.last.warnings,
        message: recent.message.as_deref(),
        runs: runs
            .map(|run| (run.id, run.status, run.at.as_millisecond(), run.duration_ms))
            .collect(),
    }
}
