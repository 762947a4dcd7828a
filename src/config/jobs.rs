//! Resolves the jobs: what each inherits, its one kind, its database, and whether its action can work.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use figment::value::Value;
use jiff::SignedDuration;

use super::declaration;
use super::kinds::below;
use super::merged::path;
use super::plan::{Database, Job};
use super::policy::{Policy, Retry};
use super::problem::Severity;
use super::reading::read;
use super::resolve::{Resolver, undeclared_database};
use crate::actions::{Action, Fenced, Weight};
use crate::notifications::{Target, Targets};
use crate::store::sqlite::open_read;
use crate::values::{DatabaseId, Duration, JobId};

/// What jobs inherit and refer to.
pub(super) struct JobContext {
    pub defaults: declaration::Defaults,
    pub default_database: Option<DatabaseId>,
    pub databases: BTreeMap<DatabaseId, Database>,
    pub targets: Targets,
    /// The databases opened so far, for compiling SQL.
    pub open: BTreeMap<PathBuf, Option<Fenced>>,
}

impl Resolver<'_> {
    pub(super) fn jobs(&mut self, context: &mut JobContext) -> BTreeMap<JobId, Arc<Job>> {
        let merged = self.merged;
        let mut declared: Vec<(&String, &Value)> = merged.table("jobs").collect();
        declared.sort_by_cached_key(|(id, _)| merged.position(&path(&["jobs", id])));
        let mut jobs = BTreeMap::new();
        for (rank, (name, value)) in declared.into_iter().enumerate() {
            let at = path(&["jobs", name]);
            let id = name
                .parse::<JobId>()
                .map_err(|why| self.problems.push(self.merged.problem_of_key(&at, why)))
                .ok();
            let job = self.job(&at, id, value.clone(), rank, context);
            jobs.extend(job.map(|job| (job.id.clone(), Arc::new(job))));
        }
        self.warn_of_herds(&jobs);
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
        if !self.is_table(at, &value) {
            return None;
        }
        let (value, action) = self.take_kind::<Action>(at, value, "job", Action::KINDS);
        let is_scheduled = value.as_dict().is_some_and(|table| table.contains_key("schedule"));
        let declared: declaration::Job = read(self.merged, at, value, &mut self.problems)?;
        if !is_scheduled {
            let at = below(at, "schedule");
            self.problems
                .push(self.merged.problem(&at, Severity::Error, "this key is missing"));
        }
        let database = self.database_of(at, declared.database.as_ref(), context);
        let notify = self.alerts(at, declared.notify.as_ref(), &context.defaults.notify, &context.targets);
        let policy = self.policy(at, &declared, &context.defaults);
        let action = action?;
        let enabled = declared.enabled.unwrap_or(true);
        let database = database?;
        self.check_action(at, &action, enabled, &database, context);
        let id = id?;
        Some(Job {
            offset: share_of(declared.jitter.or(context.defaults.jitter), &id),
            policy,
            id,
            description: declared.description,
            enabled,
            schedule: declared.schedule?,
            time_zone: declared.time_zone.unwrap_or_else(|| context.defaults.time_zone.clone()),
            timeout: declared.timeout.unwrap_or(context.defaults.timeout),
            database,
            notify,
            action,
            rank,
        })
    }

    fn policy(&mut self, at: &[String], own: &declaration::Job, defaults: &declaration::Defaults) -> Policy {
        let policy = Policy {
            catch_up: own.catch_up.unwrap_or(defaults.catch_up),
            starting_deadline: own.starting_deadline.unwrap_or(defaults.starting_deadline),
            concurrency: own.concurrency_policy.unwrap_or(defaults.concurrency_policy),
            max_running: own.max_running.unwrap_or(defaults.max_running),
            group: own.group.clone(),
            retry: Retry {
                max_attempts: own
                    .retry
                    .and_then(|retry| retry.max_attempts)
                    .unwrap_or(defaults.retry.max_attempts),
                backoff: own
                    .retry
                    .and_then(|retry| retry.backoff)
                    .unwrap_or(defaults.retry.backoff),
            },
            max_age: own.max_age.or(defaults.max_age),
            on_interrupt: own.on_interrupt.unwrap_or(defaults.on_interrupt),
        };
        let at: Vec<&str> = at.iter().map(String::as_str).collect();
        if let Some(most) = own.max_running {
            self.at_least_one(&[at[0], at[1], "max_running"], most);
        }
        if let Some(attempts) = own.retry.and_then(|retry| retry.max_attempts) {
            self.at_least_one(&[at[0], at[1], "retry", "max_attempts"], attempts);
        }
        policy
    }

    fn database_of(&mut self, at: &[String], named: Option<&DatabaseId>, context: &JobContext) -> Option<Database> {
        let Some(id) = named.or(context.default_database.as_ref()) else {
            if context.defaults.database.is_none() && context.databases.len() > 1 {
                let declared: Vec<&str> = context.databases.keys().map(DatabaseId::as_str).collect();
                let why = format!(
                    "it names no database, and there are several: {}; `database` here or `defaults.database` must name one",
                    declared.join(", ")
                );
                self.problems.push(self.merged.problem_of_key(at, why));
            }
            return None;
        };
        let database = context.databases.get(id);
        if database.is_none() && !self.is_declared_badly(id, &context.databases) {
            let message = undeclared_database(id, &context.databases);
            self.problems
                .push(self.merged.problem(&below(at, "database"), Severity::Error, message));
        }
        database.cloned()
    }

    fn check_action(
        &mut self,
        at: &[String],
        action: &Action,
        enabled: bool,
        database: &Database,
        context: &mut JobContext,
    ) {
        let open = context
            .open
            .entry(database.path.clone())
            .or_insert_with(|| Fenced::around(open_read(&database.path).ok()?).ok());
        if database.read_only && action.writes() {
            let why = "it writes, but its database is declared as read_only";
            self.problems
                .push(self.merged.problem(&below(at, action.name()), Severity::Error, why));
        }
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

/// A job's share of the jitter: the same in every run and after every start, for it depends on the id alone.
fn share_of(jitter: Option<Duration>, id: &JobId) -> SignedDuration {
    let Some(jitter) = jitter else {
        return SignedDuration::ZERO;
    };
    // FNV-1a, which no release of the standard library changes.
    let hash = id.as_str().bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let seconds = jitter.to_std().as_secs().max(1);
    SignedDuration::from_secs(i64::try_from(hash % seconds).unwrap_or(0))
}
