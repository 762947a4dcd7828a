//! Whether the actions of jobs can work: their own rules, and their SQL compiled against the databases. Done once, when
//! the jobs stand.

use std::collections::BTreeMap;
use std::path::Path;

use super::merged::{Merged, below, path};
use super::plan::Job;
use super::problem::Problem;
use crate::sql::CheckedDatabase;
use crate::values::Severity;

/// What is wrong with the actions of `jobs`.
pub(super) fn check<'a>(merged: &Merged, jobs: impl Iterator<Item = &'a Job>) -> Vec<Problem> {
    let mut databases: BTreeMap<&Path, Option<CheckedDatabase>> = BTreeMap::new();
    let mut problems = Vec::new();
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
            let keys = issue.key.split('.').filter(|key| !key.is_empty());
            let place = keys.fold(at.clone(), |at, key| below(&at, key));
            problems.push(merged.problem(&place, issue.severity, issue.message));
        }
    }
    problems
}
