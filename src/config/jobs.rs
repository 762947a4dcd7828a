//! Resolves the jobs: what each inherits, its one kind, its database, and whether its action can work.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use figment::value::Value;
use rusqlite::Connection;

use super::declaration;
use super::kinds::below;
use super::merged::path;
use super::plan::{Database, Job};
use super::problem::Severity;
use super::reading::read;
use super::resolve::{Resolver, undeclared_database};
use crate::actions::{Action, Weight};
use crate::notifications::{Target, Targets};
use crate::store::sqlite::open_read;
use crate::values::{DatabaseId, JobId};

/// What jobs inherit and refer to.
pub(super) struct JobContext {
    pub defaults: declaration::Defaults,
    pub default_database: Option<DatabaseId>,
    pub databases: BTreeMap<DatabaseId, Database>,
    pub targets: Targets,
    /// The databases opened so far, for compiling SQL.
    pub open: BTreeMap<PathBuf, Option<Connection>>,
}

impl Resolver<'_> {
    pub(super) fn jobs(&mut self, context: &mut JobContext) -> BTreeMap<JobId, Arc<Job>> {
        let mut declared: Vec<(String, Value)> = self.merged.table(&["jobs"]).into_iter().collect();
        declared.sort_by_cached_key(|(id, _)| self.merged.position(&path(&["jobs", id])));
        let mut jobs = BTreeMap::new();
        for (rank, (name, value)) in declared.into_iter().enumerate() {
            let at = path(&["jobs", &name]);
            let id = name
                .parse::<JobId>()
                .map_err(|why| self.problems.push(self.merged.problem_of_key(&at, why)))
                .ok();
            let job = self.job(&at, id, value, rank, context);
            jobs.extend(job.map(|job| (job.id.clone(), Arc::new(job))));
        }
        jobs
    }

    fn job(
        &mut self,
        at: &[String],
        id: Option<JobId>,
        value: Value,
        rank: usize,
        context: &mut JobContext,
    ) -> Option<Job> {
        let (value, action) = self.take_kind::<Action>(at, value, "job", Action::KINDS);
        let declared: declaration::Job = read(self.merged, at, value, &mut self.problems)?;
        let database = self.database_of(at, declared.database.as_ref(), context)?;
        let notify = self.alerts(at, declared.notify.as_ref(), &context.defaults.notify, &context.targets);
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
            notify,
            action,
            rank,
        })
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
        for (key, named) in action.targets() {
            let place = key.iter().fold(below(at, action.name()), |at, key| below(&at, key));
            for id in named {
                if let Some(Target::Healthchecks(_)) = context.targets.get(id) {
                    let why = format!(
                        "`{id}` gets pings of runs, which is no way to tell of backups; name it in the job's `notify`"
                    );
                    self.problems.push(self.merged.problem(&place, Severity::Error, why));
                }
            }
            self.check_targets(&place, named, &context.targets);
        }
        for flaw in action.flaws(open.as_ref()) {
            let keys = flaw.key.split('.').filter(|key| !key.is_empty());
            let place = keys.fold(below(at, action.name()), |at, key| below(&at, key));
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
