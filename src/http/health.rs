//! `GET /health`: the four fields the web application knows, then how the service really is.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::{Answer, Context, Request, tasks};
use crate::config::Severity;
use crate::engine::Command;
use crate::engine::command::Report;
use crate::store::sqlite::open_read;
use crate::values::iso;

/// `GET /health`: 200, or 503 when the service fails at what it is for.
pub(super) fn get(context: &Context, _request: &Request, _job: &str) -> Answer {
    let Some(report) = context.ask(|reply| Command::Report { reply }) else {
        let reasons = ["the engine does not answer"];
        let body = json!({ "isRunning": false, "activeTasks": [], "lastRunTimes": {}, "errors": {}, "status": "failing", "reasons": reasons });
        return Answer { status: 503, body };
    };
    let failing: Vec<String> = report.state_error.iter().cloned().collect();
    let degraded = degradations(&report);
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
    let by_job = |value: fn(&crate::engine::command::JobReport) -> Option<String>| -> Map<String, Value> {
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
        "config": config(report),
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
fn degradations(report: &Report) -> Vec<String> {
    let mut reasons: Vec<String> = report.databases.iter().filter_map(|path| trouble_with(path)).collect();
    reasons.extend(report.overrides_error.clone().filter(|error| !reasons.contains(error)));
    let in_force = report
        .config
        .problems
        .iter()
        .filter(|problem| problem.severity != Severity::Warning);
    reasons.extend(in_force.map(ToString::to_string));
    if let Some(last) = report.config.last_reload.as_ref().filter(|last| !last.applied) {
        reasons.push(format!(
            "the reload at {} was refused: {} problems",
            iso(last.at),
            last.problems.len()
        ));
    }
    let failed = report
        .jobs
        .iter()
        .filter_map(|job| Some(format!("job {}: {}", job.id, job.last.error.as_ref()?)));
    reasons.extend(failed);
    if report.shutting_down {
        reasons.push("the service is about to end".to_owned());
    }
    reasons
}

fn trouble_with(database: &Path) -> Option<String> {
    open_read(database).err().map(|unusable| unusable.to_string())
}
