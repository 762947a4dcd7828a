//! What only the rows of the databases tell of a plan: whether its runs would refuse to begin, and what could not be
//! checked at all. `validate` asks for it; a start and a reload do not wait for it.

use std::collections::BTreeMap;
use std::path::Path;

use jiff::Timestamp;

use super::merged::{Merged, below, path};
use super::plan::{Job, Plan};
use super::problem::Problem;
use crate::sql::open_read;
use crate::values::{Severity, plural};

/// A warning for everything that a run at `now` would meet, or that could not be checked.
pub(super) async fn examine(merged: &Merged, plan: &Plan, problems: &[Problem], now: Timestamp) -> Vec<Problem> {
    let mut found = Vec::new();
    let mut jobs_of: BTreeMap<&Path, Vec<&Job>> = BTreeMap::new();
    for job in plan.jobs_in_order() {
        if let Some(database) = &job.database {
            jobs_of.entry(&database.path).or_default().push(job);
        }
    }
    for (file, jobs) in jobs_of {
        if let Err(error) = open_read(file) {
            let id = plan.databases.iter().find(|(_, database)| database.path == file);
            let at = id.map_or_else(Vec::new, |(id, _)| path(&["databases", id.as_str(), "path"]));
            let of_jobs = plural(jobs.len() as u64, "job");
            let why = format!("{error}: the SQL and the settings of {of_jobs} could not be checked");
            found.push(merged.problem(&at, Severity::Warning, why));
            continue;
        }
        for job in jobs {
            let at = path(&["jobs", job.id.as_str()]);
            let is_at_fault = problems
                .iter()
                .any(|problem| problem.severity.is_error() && problem.keys.starts_with(&at));
            // What is at fault is told already, and what does not run by itself may wait for what is yet to come.
            if job.enabled && !is_at_fault {
                found.extend(check_rows(merged, plan, job, now).await);
            }
        }
    }
    found
}

async fn check_rows(merged: &Merged, plan: &Plan, job: &Job, now: Timestamp) -> Vec<Problem> {
    let at = below(&path(&["jobs", job.id.as_str()]), job.action.name());
    let warning = |at: &[String], why: String| merged.problem(at, Severity::Warning, why);
    match plan.check_rows(job, now).await {
        Ok(issues) => issues
            .into_iter()
            .map(|issue| warning(&below(&at, &issue.key), issue.message))
            .collect(),
        Err(failure) => vec![warning(&at, format!("could not be checked: {}", failure.message))],
    }
}
