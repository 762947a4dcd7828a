//! `GET /health`: the four fields the web application knows, then how the service really is.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Map, Value, json};
use tokio::runtime::Handle;

use super::{Answer, Context, Request, replicas, tasks};
use crate::engine::command::{JobReport, Report};
use crate::engine::{Command, Replicas};
use crate::sql::{Database, Place, open_read};
use crate::values::{Severity, VERSION, iso, lock, plural};

/// How many problems of a refused reload are told.
const MOST_PROBLEMS: usize = 5;

/// How long the engine and the databases may take for their answers; then what was known before counts.
const PATIENCE: Duration = Duration::from_millis(250);
/// An engine that does not get on for so long is stuck.
const STUCK: Duration = Duration::from_secs(15);
/// A database that does not answer for so long is told.
const SLOW: Duration = Duration::from_secs(2);
/// How long the answer of a server counts: each takes a connection.
const BETWEEN_QUESTIONS: Duration = Duration::from_secs(10);

/// How the service is.
pub(super) struct Health {
    /// What the engine last told, if it ever did.
    pub report: Option<Arc<Report>>,
    pub status: &'static str,
    pub reasons: Vec<String>,
}

/// `GET /health`: 200, or 503 when the service fails at what it is for. It answers at once, whatever hangs.
pub(super) fn get(context: &Context, _request: &Request, _job: &str) -> Answer {
    let health = look(context);
    let body = match &health.report {
        Some(report) => {
            let mut body = describe(report, &health);
            if let (Some(body), Some(replicas)) = (body.as_object_mut(), &context.replicas) {
                body.extend(replicas::describe(&replicas.seen()));
            }
            body
        }
        None => {
            json!({ "isRunning": false, "activeTasks": [], "lastRunTimes": {}, "errors": {}, "status": health.status, "reasons": health.reasons })
        }
    };
    Answer::new(if health.status == "failing" { 503 } else { 200 }, body)
}

/// Looks how the service is, at once, whatever hangs.
pub(super) fn look(context: &Context) -> Health {
    // It is kept where it is made, should it come too late for this one.
    let _ = context.ask_for(PATIENCE, |reply| Command::Report { reply });
    let known = context.heartbeat.last_report();
    // An engine that has just taken something up only has a lot to do.
    let stuck = Some(context.heartbeat.busy_for())
        .filter(|age| *age > STUCK)
        .map(|age| {
            let seconds = age.as_secs();
            format!("the engine has not answered for {seconds} s")
        });
    let Some(report) = known else {
        let reason = context.store.error().or(stuck);
        let reason = reason.unwrap_or_else(|| "the engine has not answered yet".to_owned());
        return Health {
            report: None,
            status: "failing",
            reasons: vec![reason],
        };
    };
    let past_age = report
        .jobs
        .iter()
        .filter_map(|job| Some(format!("job {}: {}", job.id, job.overdue.as_ref()?)));
    let state_error = context.store.error();
    let seen = context.replicas.as_ref().map(Replicas::seen);
    let leaderless = seen.as_ref().and_then(replicas::leaderless);
    let failing = stuck.into_iter().chain(state_error).chain(leaderless).chain(past_age);
    let failing: Vec<String> = failing.collect();
    let troubles = context.databases.troubles(&report.databases, &context.runtime);
    let of_replicas = seen.as_ref().map(replicas::degradations).unwrap_or_default();
    let degraded = [degradations(&report, troubles), of_replicas].concat();
    let status = match (failing.is_empty(), degraded.is_empty()) {
        (false, _) => "failing",
        (true, false) => "degraded",
        (true, true) => "ok",
    };
    Health {
        reasons: failing.into_iter().chain(degraded).collect(),
        report: Some(report),
        status,
    }
}

fn describe(report: &Report, health: &Health) -> Value {
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
        "status": health.status,
        "reasons": health.reasons,
        "version": VERSION,
        "uptimeSeconds": report.at.duration_since(report.started_at).as_secs().max(0),
        "nextRunTimes": by_job(|job| job.next_run.map(iso)),
        "progress": by_job(|job| (job.progress > 0).then(|| format!("{} so far", plural(job.progress, "row")))),
        "config": config(report),
        "outbox": outbox(report),
    })
}

pub(super) fn outbox(report: &Report) -> Value {
    json!({ "pending": report.outbox.pending, "dead": report.outbox.dead })
}

pub(super) fn config(report: &Report) -> Value {
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
fn degradations(report: &Report, troubles: Vec<String>) -> Vec<String> {
    let mut reasons = troubles;
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

/// What is known of the databases that jobs work on, by what their files looked like: one that was found good and has
/// not changed since is not opened again for every request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Databases(Arc<(Mutex<HashMap<PathBuf, Known>>, Condvar)>);

#[derive(Debug, Default)]
struct Known {
    /// The file that was found good.
    good: Option<Stamp>,
    /// When a server was asked.
    asked_at: Option<Instant>,
    trouble: Option<String>,
    /// Since when it is being looked at.
    looked_at_since: Option<Instant>,
}

impl Known {
    fn trouble(&self, shown: &str) -> Option<String> {
        let waited = self.looked_at_since.map(|since| since.elapsed());
        match waited.filter(|waited| *waited > SLOW) {
            Some(waited) => Some(format!("database {shown} has not answered for {} s", waited.as_secs())),
            None => self.trouble.clone(),
        }
    }
}

fn look_at_file(path: &Path, good: Option<Stamp>) -> Known {
    let stamp = std::fs::metadata(path)
        .ok()
        .map(|found| (found.ino(), found.len(), found.mode(), found.modified().ok()));
    let trouble = if stamp.is_some() && stamp == good {
        None
    } else {
        open_read(path).err().map(|unusable| unusable.to_string())
    };
    Known {
        good: stamp.filter(|_| trouble.is_none()),
        trouble,
        ..Known::default()
    }
}

/// What tells a file that was replaced, written or given other permissions.
type Stamp = (u64, u64, u32, Option<SystemTime>);

impl Databases {
    /// What is wrong with the files, as far as that can be told in a moment.
    fn troubles(&self, databases: &[Database], runtime: &Handle) -> Vec<String> {
        let (known, looked) = &*self.0;
        let mut known = lock(known);
        for database in databases {
            let entry = known.entry(database.key().to_owned()).or_default();
            // One that was in trouble may be well again.
            let counts_for = if entry.trouble.is_some() {
                BETWEEN_QUESTIONS / 10
            } else {
                BETWEEN_QUESTIONS
            };
            let was_asked = entry.asked_at.is_some_and(|asked| asked.elapsed() < counts_for);
            if entry.looked_at_since.is_none() && !was_asked {
                entry.looked_at_since = Some(Instant::now());
                let (others, database, good) = (self.clone(), database.clone(), entry.good);
                runtime.spawn_blocking(move || others.look(&database, good));
            }
        }
        let is_looked_at = |known: &mut HashMap<PathBuf, Known>| {
            let mut of_these = databases.iter().filter_map(|database| known.get(database.key()));
            of_these.any(|entry| entry.looked_at_since.is_some())
        };
        let waited = looked.wait_timeout_while(known, PATIENCE, is_looked_at);
        let (known, _) = waited.unwrap_or_else(PoisonError::into_inner);
        databases
            .iter()
            .filter_map(|database| known.get(database.key())?.trouble(&database.shown()))
            .collect()
    }

    /// What was last known to be wrong with a database.
    pub(super) fn trouble_with(&self, database: &Database) -> Option<String> {
        lock(&self.0.0).get(database.key())?.trouble(&database.shown())
    }

    /// Looks at one database, which may wait for it, and tells those who wait for that.
    fn look(&self, database: &Database, good: Option<Stamp>) {
        let found = match &database.place {
            Place::File(path) => look_at_file(path, good),
            Place::Server(server) => Known {
                trouble: server.trouble(),
                asked_at: Some(Instant::now()),
                ..Known::default()
            },
        };
        let (known, looked) = &*self.0;
        lock(known).insert(database.key().to_owned(), found);
        looked.notify_all();
    }
}
