//! Whether the actions of jobs can work: their own rules, and their SQL compiled against the databases, once, when the
//! plan stands. `validate` also looks at the rows that a run would meet now.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::invocation::Services;
use super::merged::{Merged, below, inside, path};
use super::plan::{Job, Plan};
use super::problem::Problem;
use crate::docker::Engines;
use crate::sql::{CheckedDatabase, open_read_in_time};
use crate::state::Store;
use crate::values::{Clock, JobId, Severity, plural};

/// What is wrong with the actions of `jobs`.
pub(super) fn check<'a>(merged: &Merged, engines: &Engines, jobs: impl Iterator<Item = &'a Job>) -> Vec<Problem> {
    let mut databases: BTreeMap<&Path, Option<CheckedDatabase>> = BTreeMap::new();
    let (mut problems, mut folders, mut claimed) = (Vec::new(), Vec::new(), BTreeMap::new());
    for job in jobs {
        let file = job.database.as_ref().map(|database| database.path.as_path());
        let database = file.and_then(|file| {
            let opened = databases.entry(file).or_insert_with(|| CheckedDatabase::open(file));
            opened.as_ref()
        });
        let at = below(&path(&["jobs", job.id.as_str()]), job.action.name());
        for issue in job.action.check(database) {
            // A job that does not run by itself may wait for a table that is yet to come.
            if issue.severity == Severity::Mismatch && !job.enabled {
                continue;
            }
            problems.push(merged.problem(&inside(&at, &issue.key), issue.severity, issue.message));
        }
        if let Some(needed) = job.action.needs().filter(|needed| *needed >= job.timeout.to_std()) {
            let why = format!(
                "the job's timeout is {}, and one container alone may take {} s by what is declared here: what is not finished in time is undone",
                job.timeout,
                needed.as_secs()
            );
            problems.push(merged.problem(&at, Severity::Warning, why));
        }
        for (key, claim) in job.action.claims(engines) {
            if let Some(other) = claimed.insert(claim.clone(), &job.id) {
                let why = format!("the job `{other}` updates {claim} as well; one of the two is enough");
                problems.push(merged.problem(&below(&at, key), Severity::Error, why));
            }
        }
        if let Some((other, why)) = shared_folder(job, &mut folders) {
            let why = format!("it {why} the folder of the job `{other}`; each needs one of its own");
            problems.push(merged.problem(&below(&at, "folder"), Severity::Error, why));
        }
    }
    problems
}

/// The job whose folder is the same as that of `job`, or around it, or in it.
fn shared_folder(job: &Job, folders: &mut Vec<(PathBuf, JobId)>) -> Option<(JobId, &'static str)> {
    let folder = std::path::absolute(job.action.folder()?).ok()?;
    // Where a link leads to a folder that is there already, it is that one.
    let folder = std::fs::canonicalize(&folder).unwrap_or(folder);
    let found = folders.iter().find_map(|(other, id)| match () {
        () if *other == folder => Some((id.clone(), "is")),
        () if folder.starts_with(other) => Some((id.clone(), "is inside")),
        () if other.starts_with(&folder) => Some((id.clone(), "holds")),
        () => None,
    });
    folders.push((folder, job.id.clone()));
    found
}

/// A warning for everything that a run at `now` would meet, or that could not be checked.
pub(super) async fn examine(merged: &Merged, plan: &Plan, problems: &[Problem], now: Timestamp) -> Vec<Problem> {
    // Nothing is asked of the state, so that none is made.
    let services = Services::dry(Store::at(&plan.state.path), Clock::system());
    let mut found = Vec::new();
    let mut jobs_of: BTreeMap<Option<&Path>, Vec<&Job>> = BTreeMap::new();
    for job in plan.jobs_in_order() {
        let file = job.database.as_ref().map(|database| database.path.as_path());
        jobs_of.entry(file).or_default().push(job);
    }
    for (file, jobs) in jobs_of {
        if let Some(Err(error)) = file.map(open_read_in_time) {
            let id = plan
                .databases
                .iter()
                .find(|(_, database)| Some(database.path.as_path()) == file);
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
                found.extend(examine_job(merged, plan, job, now, &services).await);
            }
        }
    }
    found
}

async fn examine_job(merged: &Merged, plan: &Plan, job: &Job, now: Timestamp, services: &Services) -> Vec<Problem> {
    let at = below(&path(&["jobs", job.id.as_str()]), job.action.name());
    let warning = |at: &[String], why: String| merged.problem(at, Severity::Warning, why);
    match plan.examine(job, now, services).await {
        Ok(issues) => issues
            .into_iter()
            .map(|issue| warning(&inside(&at, &issue.key), issue.message))
            .collect(),
        Err(failure) => vec![warning(&at, format!("could not be checked: {}", failure.message))],
    }
}
