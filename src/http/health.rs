//! `GET /health`: the four fields the web application knows, then how the service really is.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use serde_json::{Map, Value, json};

use super::{Answer, Context, Request, tasks};
use crate::engine::Command;
use crate::engine::command::{JobReport, Report};
use crate::sql::open_read;
use crate::values::{Severity, iso, plural};

/// How many problems of a refused reload are told.
const MOST_PROBLEMS: usize = 5;

/// `GET /health`: 200, or 503 when the service fails at what it is for.
pub(super) fn get(context: &Context, _request: &Request, _job: &str) -> Answer {
    let Some(report) = context.ask(|reply| Command::Report { reply }) else {
        let reasons = ["the engine does not answer"];
        let body = json!({ "isRunning": false, "activeTasks": [], "lastRunTimes": {}, "errors": {}, "status": "failing", "reasons": reasons });
        return Answer { status: 503, body };
    };
    let past_age = report
        .jobs
        .iter()
        .filter_map(|job| Some(format!("job {}: {}", job.id, job.overdue.as_ref()?)));
    let failing: Vec<String> = report.state_error.iter().cloned().chain(past_age).collect();
    let degraded = degradations(&report, &context.databases);
    let status = match (failing.is_empty(), degraded.is_empty()) {
        (false, _) => "failing",
        (true, false) => "degraded",
        (true, true) => "ok",
    };
    let reasons: Vec<String> = failing.into_iter().chain(degraded).collect();
    Answer {
        status: if status == "failing" { 503 } else { 200 },
        body: describe(&report, status, &reasons),
    }
}

fn describe(report: &Report, status: &str, reasons: &[String]) -> Value {
    let by_job = |value: fn(&JobReport) -> Option<String>| -> Map<String, Value> {
        report
            .jobs
            .iter()
            .filter_map(|job| Some((job.id.to_string(), value(job)?.into())))
            .collect()
    };
    json!({
        "isRunning": true,
        "activeTasks": report.active,
        "lastRunTimes": by_job(|job| job.last.succeeded_at.map(iso)),
        "errors": by_job(|job| job.last.error.clone()),
        "status": status,
        "reasons": reasons,
        "version": env!("CARGO_PKG_VERSION"),
        "uptimeSeconds": report.at.duration_since(report.started_at).as_secs().max(0),
        "nextRunTimes": by_job(|job| job.next_run.map(iso)),
        "progress": by_job(|job| (job.progress > 0).then(|| format!("{} so far", plural(job.progress, "row")))),
        "config": config(report),
        "outbox": { "pending": report.outbox.pending, "dead": report.outbox.dead },
    })
}

fn config(report: &Report) -> Value {
    let last = report.config.last_reload.as_ref().map(|last| {
        json!({
            "at": iso(last.at),
            "cause": last.cause.as_str(),
            "applied": last.applied,
            "problems": last.problems.iter().map(tasks::problem).collect::<Vec<_>>(),
        })
    });
    json!({
        "source": report.config.source,
        "loadedAt": iso(report.config.loaded_at),
        "problems": report.config.problems.iter().map(tasks::problem).collect::<Vec<_>>(),
        "lastReload": last,
    })
}

/// Everything that is not as it should be, though the service does its work.
fn degradations(report: &Report, databases: &FoundGood) -> Vec<String> {
    let mut reasons: Vec<String> = report
        .databases
        .iter()
        .filter_map(|path| databases.trouble_with(path))
        .collect();
    reasons.extend(report.overrides_error.clone().filter(|error| !reasons.contains(error)));
    let in_force = report
        .config
        .problems
        .iter()
        .filter(|problem| problem.severity != Severity::Warning);
    reasons.extend(in_force.map(ToString::to_string));
    if let Some(last) = report.config.last_reload.as_ref().filter(|last| !last.applied) {
        let errors: Vec<String> = last
            .problems
            .iter()
            .filter(|problem| problem.severity.is_error())
            .map(ToString::to_string)
            .collect();
        let shown = errors
            .iter()
            .take(MOST_PROBLEMS)
            .cloned()
            .collect::<Vec<_>>()
            .join("; ");
        let more = errors.len().saturating_sub(MOST_PROBLEMS);
        let more = if more > 0 {
            format!("; and {more} more")
        } else {
            String::new()
        };
        reasons.push(format!("the reload at {} was refused: {shown}{more}", iso(last.at)));
    }
    let failed = report
        .jobs
        .iter()
        .filter_map(|job| Some(format!("job {}: {}", job.id, job.last.error.as_ref()?)));
    reasons.extend(failed);
    let warnings = |job: &JobReport| {
        job.last
            .warnings
            .iter()
            .map(|warning| format!("job {}: {warning}", job.id))
            .collect::<Vec<_>>()
    };
    reasons.extend(report.jobs.iter().flat_map(warnings));
    if report.outbox.dead > 0 {
        let messages = plural(report.outbox.dead, "message");
        reasons.push(format!(
            "{messages} could not be delivered and {} abandoned",
            if report.outbox.dead == 1 { "was" } else { "were" }
        ));
    }
    if report.shutting_down {
        reasons.push("the service is shutting down".to_owned());
    }
    reasons
}

/// Databases that were found good, by what their files looked like then: one that has not changed since is not
/// opened again for every request.
#[derive(Clone, Debug, Default)]
pub(crate) struct FoundGood(Arc<Mutex<HashMap<PathBuf, Stamp>>>);

/// What tells a file that was replaced, written or given other permissions.
type Stamp = (u64, u64, u32, Option<SystemTime>);

impl FoundGood {
    fn trouble_with(&self, database: &Path) -> Option<String> {
        let stamp = std::fs::metadata(database)
            .ok()
            .map(|found| (found.ino(), found.len(), found.mode(), found.modified().ok()));
        let mut good = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if stamp.is_some() && good.get(database) == stamp.as_ref() {
            return None;
        }
        match (open_read(database), stamp) {
            (Err(unusable), _) => {
                good.remove(database);
                Some(unusable.to_string())
            }
            (Ok(_), stamp) => {
                good.extend(stamp.map(|stamp| (database.to_owned(), stamp)));
                None
            }
        }
    }
}
