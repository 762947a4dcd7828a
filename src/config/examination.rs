//! What only the rows of the databases tell of a plan: whether its runs would refuse to begin, and what could not be
//! checked at all. `validate` asks for it; a start and a reload do not wait for it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use jiff::Timestamp;

use super::kinds::below;
use super::merged::{Merged, path};
use super::plan::{Job, Plan};
use super::problem::{Problem, Severity};
use crate::store::sqlite::open_read;
use crate::values::plural;

/// A warning for everything that a run at `now` would meet, or that could not be checked.
pub(super) fn examine(merged: &Merged<'_>, plan: &Plan, problems: &[Problem], now: Timestamp) -> Vec<Problem> {
    let mut found = Vec::new();
    let mut jobs_of: BTreeMap<&Path, Vec<&Job>> = BTreeMap::new();
    for job in plan.jobs_in_order() {
        jobs_of.entry(&job.database.path).or_default().push(job);
    }
    for (file, jobs) in jobs_of {
        if let Err(unusable) = open_read(file) {
            let id = plan.databases.iter().find(|(_, database)| database.path == file);
            let at = id.map_or_else(Vec::new, |(id, _)| path(&["databases", id.as_str(), "path"]));
            let of_jobs = plural(jobs.len() as u64, "job");
            let why = format!("{unusable}: the SQL and the settings of {of_jobs} could not be checked");
            found.push(merged.problem(&at, Severity::Warning, why));
            continue;
        }
        let is_at_fault = |job: &&&Job| {
            let at = path(&["jobs", job.id.as_str()]);
            problems
                .iter()
                .any(|problem| problem.severity.is_error() && problem.keys.starts_with(&at))
        };
        let faulty: BTreeSet<_> = jobs.iter().filter(is_at_fault).map(|job| &job.id).collect();
        // What is at fault is told already, and what does not run by itself may wait for what is yet to come.
        let runs = jobs.iter().filter(|job| job.enabled && !faulty.contains(&job.id));
        found.extend(runs.flat_map(|job| of_job(merged, plan, job, now)));
    }
    found
}

fn of_job(merged: &Merged<'_>, plan: &Plan, job: &Job, now: Timestamp) -> Vec<Problem> {
    let at = below(&path(&["jobs", job.id.as_str()]), job.action.name());
    let warning = |at: &[String], why: String| merged.problem(at, Severity::Warning, why);
    match plan.doubts(job, now) {
        Ok(doubts) => doubts
            .into_iter()
            .map(|doubt| warning(&below(&at, &doubt.key), doubt.message))
            .collect(),
        Err(failure) => vec![warning(&at, format!("could not be checked: {}", failure.message))],
    }
}
