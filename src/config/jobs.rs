//! Resolves the jobs: what each inherits, its one kind, its database, and whether its action can work.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use figment::value::{Dict, Value};
use rusqlite::Connection;

use super::declaration;
use super::merged::path;
use super::plan::{Database, Job};
use super::problem::Severity;
use super::reading::read;
use super::resolve::{Resolver, undeclared_database};
use crate::actions::{Action, Weight};
use crate::store::sqlite::open_read;
use crate::values::{DatabaseId, JobId};

/// What jobs inherit and refer to.
pub(super) struct JobContext {
    pub defaults: declaration::Defaults,
    pub default_database: Option<DatabaseId>,
    pub databases: BTreeMap<DatabaseId, Database>,
    /// The databases opened so far, for compiling SQL.
    pub open: BTreeMap<PathBuf, Option<Connection>>,
}

impl Resolver<'_> {
    pub(super) fn jobs(
        &mut self,
        mut context: JobContext,
    ) -> (BTreeMap<JobId, Arc<Job>>, BTreeMap<DatabaseId, Database>) {
        let mut declared: Vec<(String, Value)> = self.merged.table(&["jobs"]).into_iter().collect();
        declared.sort_by_cached_key(|(id, _)| self.merged.position(&path(&["jobs", id])));
        let mut jobs = BTreeMap::new();
        for (rank, (name, value)) in declared.into_iter().enumerate() {
            let at = path(&["jobs", &name]);
            let id = name
                .parse::<JobId>()
                .map_err(|why| self.problems.push(self.merged.problem_of_key(&at, why)))
                .ok();
            let job = self.job(&at, id, value, rank, &mut context);
            jobs.extend(job.map(|job| (job.id.clone(), Arc::new(job))));
        }
        (jobs, context.databases)
    }

    fn job(
        &mut self,
        at: &[String],
        id: Option<JobId>,
        value: Value,
        rank: usize,
        context: &mut JobContext,
    ) -> Option<Job> {
        let (value, action) = self.take_action(at, value);
        let declared: declaration::Job = read(self.merged, at, value, &mut self.problems)?;
        let database = self.database_of(at, declared.database.as_ref(), context)?;
        let action = action?;
        let enabled = declared.enabled.unwrap_or(true);
        self.check_action(at, &action, enabled, &database, context);
        Some(Job {
            id: id?,
            description: declared.description,
            enabled,
            schedule: declared.schedule,
            time_zone: declared.time_zone.unwrap_or_else(|| context.defaults.time_zone.clone()),
            timeout: declared.timeout.unwrap_or(context.defaults.timeout),
            database,
            action,
            rank,
        })
    }

    /// Takes the one kind out of a job's table and reads it.
    fn take_action(&mut self, at: &[String], value: Value) -> (Value, Option<Action>) {
        let Value::Dict(tag, mut job) = value else {
            return (value, None);
        };
        let mut kinds: Vec<&str> = Action::KINDS
            .iter()
            .copied()
            .filter(|kind| job.contains_key(*kind))
            .collect();
        if kinds.is_empty() {
            let message = format!(
                "the job has no kind; exactly one of {} is expected",
                Action::KINDS.join(", ")
            );
            self.problems.push(self.merged.problem(at, Severity::Error, message));
        }
        if kinds.len() > 1 {
            // The kind that came last is the one to point at, for it may stand in a row that can be set aside.
            let sources = |kind: &&str| {
                self.merged.problem(
                    &below(at, kind),
                    Severity::Error,
                    format!("the job has more than one kind: {}", kinds.join(", ")),
                )
            };
            let extra = kinds
                .iter()
                .map(sources)
                .max_by_key(|problem| (problem.source.clone(), problem.place));
            self.problems.extend(extra);
        }
        let mut action = None;
        let before = self.problems.len();
        for kind in kinds.drain(..) {
            let Some(keys) = job.remove(kind) else { continue };
            let keys = Value::from(Dict::from([(kind.to_owned(), keys)]));
            action = read(self.merged, at, keys, &mut self.problems);
        }
        // What follows from a value that is no good is no news: the rules are checked once it is mended.
        (Value::Dict(tag, job), action.filter(|_| self.problems.len() == before))
    }

    fn database_of(&mut self, at: &[String], named: Option<&DatabaseId>, context: &JobContext) -> Option<PathBuf> {
        let id = named.or(context.default_database.as_ref())?;
        let database = context.databases.get(id);
        if database.is_none() {
            let message = undeclared_database(id, &context.databases);
            self.problems
                .push(self.merged.problem(&below(at, "database"), Severity::Error, message));
        }
        database.map(|database| database.path.clone())
    }

    fn check_action(
        &mut self,
        at: &[String],
        action: &Action,
        enabled: bool,
        database: &Path,
        context: &mut JobContext,
    ) {
        let open = context
            .open
            .entry(database.to_owned())
            .or_insert_with(|| open_read(database).ok());
        for flaw in action.flaws(open.as_ref()) {
            let kind = below(at, action.name());
            let place = if flaw.key.is_empty() {
                kind
            } else {
                below(&kind, flaw.key)
            };
            let severity = match flaw.weight {
                Weight::Broken => Severity::Error,
                // A job that does not run by itself may wait for a table that is yet to come.
                Weight::Mismatch if !enabled => continue,
                Weight::Mismatch => Severity::Mismatch,
                Weight::Notable => Severity::Warning,
            };
            self.problems.push(self.merged.problem(&place, severity, flaw.message));
        }
    }
}

fn below(at: &[String], key: &str) -> Vec<String> {
    at.iter().cloned().chain([key.to_owned()]).collect()
}
