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
use crate::sql::server::{CheckedServer, Rights};
use crate::sql::{CheckedDatabase, Database, Place, SqlError, open_read_in_time};
use crate::state::{Place as StatePlace, Store};
use crate::values::{Clock, JobId, Severity, plural};

/// What is wrong with the actions of `jobs`.
pub(super) fn check<'a>(merged: &Merged, engines: &Engines, jobs: impl Iterator<Item = &'a Job>) -> Vec<Problem> {
    let mut databases: BTreeMap<&Path, Option<CheckedDatabase>> = BTreeMap::new();
    let jobs: Vec<&Job> = jobs.collect();
    open_servers(&jobs, &mut databases);
    let (mut problems, mut folders, mut claimed) = (Vec::new(), Vec::new(), BTreeMap::new());
    for job in jobs {
        let database = job.database.as_ref().and_then(|database| {
            let opened = databases.entry(database.key());
            opened.or_insert_with(|| CheckedDatabase::open(database)).as_ref()
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

/// Connects to servers all at once: one that does not answer holds up no other.
fn open_servers<'a>(jobs: &[&'a Job], databases: &mut BTreeMap<&'a Path, Option<CheckedDatabase>>) {
    let of_jobs = jobs.iter().filter_map(|job| job.database.as_ref());
    let servers: BTreeMap<&Path, &Database> = of_jobs
        .filter(|database| database.file().is_none())
        .map(|database| (database.key(), database))
        .collect();
    std::thread::scope(|scope| {
        let opening: Vec<_> = servers
            .into_iter()
            .map(|(key, database)| (key, scope.spawn(|| CheckedDatabase::open(database))))
            .collect();
        for (key, opened) in opening {
            databases.insert(key, opened.join().ok().flatten());
        }
    });
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
    let services = Services::dry(Store::on(&plan.state.place), Clock::system());
    let mut found = Vec::new();
    if let StatePlace::Server { server, .. } = &plan.state.place
        && let Some(trouble) = server.trouble()
    {
        found.push(merged.problem(&path(&["state", "url"]), Severity::Warning, trouble));
    }
    let mut jobs_of: BTreeMap<Option<&Path>, Vec<&Job>> = BTreeMap::new();
    for job in plan.jobs_in_order() {
        let key = job.database.as_ref().map(Database::key);
        jobs_of.entry(key).or_default().push(job);
    }
    for (key, jobs) in jobs_of {
        let declared = plan.databases.iter().find(|(_, database)| Some(database.key()) == key);
        if let Some((id, database)) = declared {
            let (trouble, excess) = look_at(database, &jobs);
            let key = if database.file().is_some() { "path" } else { "url" };
            let warning = |why| merged.problem(&path(&["databases", id.as_str(), key]), Severity::Warning, why);
            found.extend(excess.map(warning));
            if let Some(error) = trouble {
                let of_jobs = plural(jobs.len() as u64, "job");
                found.push(warning(format!(
                    "{error}: the SQL and the settings of {of_jobs} could not be checked"
                )));
                continue;
            }
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

/// Why a database cannot be looked at; and of one on a server, what its role may do that none of `jobs` needs.
fn look_at(database: &Database, jobs: &[&Job]) -> (Option<SqlError>, Option<String>) {
    let server = match &database.place {
        Place::File(file) => return (open_read_in_time(file).err(), None),
        Place::Server(server) => CheckedServer::open(server),
    };
    let mut needed = Rights::new();
    for (table, rights) in jobs.iter().flat_map(|job| job.action.rights()) {
        needed.entry(table).or_default().extend(rights);
    }
    (server.error().cloned(), server.excess(&needed))
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
