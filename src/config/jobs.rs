//! Resolves the jobs: what each inherits, its one kind, its database, and the targets it names.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use figment::value::Value;
use jiff::{SignedDuration, Timestamp};

use super::declaration;
use super::merged::{below, path};
use super::plan::{Job, Policy, Retry};
use super::reading::Resolver;
use super::targets::holds_what_is_not_kept;
use crate::docker::Engines;
use crate::kinds::Action;
use crate::notifications::Targets;
use crate::sql::{Database, Mode};
use crate::values::{DatabaseId, Duration, JobId, Severity, with_suggestion};

/// What jobs inherit and refer to.
pub(super) struct JobContext {
    pub defaults: declaration::Defaults,
    pub default_database: Option<DatabaseId>,
    pub databases: BTreeMap<DatabaseId, Database>,
    pub targets: Targets,
    pub engines: Engines,
}

impl Resolver<'_> {
    /// Resolves every job, or `only` some.
    pub(super) fn jobs(
        &mut self,
        context: &JobContext,
        only: Option<&BTreeSet<String>>,
    ) -> (BTreeMap<JobId, Arc<Job>>, Vec<JobId>) {
        let merged = self.merged;
        let mut declared: Vec<(&String, &Value)> = merged.table("jobs").collect();
        declared.sort_by_cached_key(|(id, _)| merged.position(&path(&["jobs", id])));
        let (mut jobs, mut order) = (BTreeMap::new(), Vec::new());
        let is_wanted = |name: &String| only.is_none_or(|only| only.contains(name));
        for (name, value) in declared.into_iter().filter(|(name, _)| is_wanted(name)) {
            let at = path(&["jobs", name]);
            let id = name
                .parse::<JobId>()
                .map_err(|why| self.problems.push(self.merged.problem_of_key(&at, why)))
                .ok();
            let Some(job) = self.job(&at, id, value.clone(), context) else {
                continue;
            };
            order.push(job.id.clone());
            jobs.insert(job.id.clone(), Arc::new(job));
        }
        self.warn_of_thundering_herds(&jobs);
        (jobs, order)
    }

    fn job(&mut self, at: &[String], id: Option<JobId>, value: Value, context: &JobContext) -> Option<Job> {
        if !self.is_table(at, &value) {
            return None;
        }
        if holds_what_is_not_kept(&value) {
            let why =
                "its secrets are not kept with the last good configuration; it runs once the declaration is fixed";
            self.problems.push(self.merged.problem_of_key(at, why).into_warning());
            return None;
        }
        let (value, action) = self.take_kind::<Action>(at, value, "job", Action::KINDS);
        let is_scheduled = value.as_dict().is_some_and(|table| table.contains_key("schedule"));
        let declared: declaration::Job = self.read(at, value)?;
        if !is_scheduled {
            let at = below(at, "schedule");
            self.problems
                .push(self.merged.problem(&at, Severity::Error, "this key is missing"));
        }
        let notify = self.alerts(at, declared.notify.as_ref(), &context.defaults.notify, &context.targets);
        let policy = self.policy(at, &declared, &context.defaults);
        let has_no_database = action.as_ref().is_some_and(|action| action.database().is_none());
        let database = if has_no_database && declared.database.is_none() {
            None
        } else {
            Some(self.database_of(at, declared.database.as_ref(), context))
        };
        let action = action?;
        let database = database.map_or(Some(None), |found| found.map(Some))?;
        self.check_references(at, &action, database.as_ref(), context);
        let id = id?;
        Some(Job {
            offset: share_of(declared.jitter.or(context.defaults.jitter), &id),
            policy,
            id,
            description: declared.description,
            enabled: declared.enabled.unwrap_or(true),
            schedule: declared.schedule?,
            time_zone: declared.time_zone.unwrap_or_else(|| context.defaults.time_zone.clone()),
            timeout: declared.timeout.unwrap_or(context.defaults.timeout),
            database,
            notify,
            action,
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

    /// Whether the database is declared, but cannot be used.
    pub(super) fn is_declared_badly(&self, id: &DatabaseId, databases: &BTreeMap<DatabaseId, Database>) -> bool {
        !databases.contains_key(id) && self.merged.get(&["databases", id.as_str()]).is_some()
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

    /// What is wrong between an action and the database and targets it names.
    fn check_references(&mut self, at: &[String], action: &Action, database: Option<&Database>, context: &JobContext) {
        let is_read_only = database.is_some_and(|database| database.read_only);
        if is_read_only && action.database() == Some(Mode::Write) {
            let why = "it writes, but its database is declared as read_only";
            self.problems
                .push(self.merged.problem(&below(at, action.name()), Severity::Error, why));
        }
        if let Err(why) = action.check_engine(&context.engines) {
            let place = below(&below(at, action.name()), "engine");
            self.problems.push(self.merged.problem(&place, Severity::Error, why));
        }
        for (key, named) in action.targets() {
            let place = key.iter().fold(below(at, action.name()), |at, key| below(&at, key));
            for id in named {
                if context.targets.get(id).is_some_and(|target| target.is_run_monitor()) {
                    let why = format!(
                        "`{id}` is a run monitor and cannot receive these messages; name it in the job's `notify`"
                    );
                    self.problems.push(self.merged.problem(&place, Severity::Error, why));
                }
            }
            self.check_targets(&place, named, &context.targets);
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

pub(super) fn undeclared_database(id: &DatabaseId, databases: &BTreeMap<DatabaseId, Database>) -> String {
    let declared: Vec<&str> = databases.keys().map(DatabaseId::as_str).collect();
    let sentence = format!(
        "no database `{id}` is declared; declared databases: {}",
        declared.join(", ")
    );
    with_suggestion(sentence, id.as_str(), declared.iter().copied())
}

/// So many jobs in one minute are a herd.
const HERD: usize = 10;
/// The Monday that times are compared on.
const REFERENCE: i64 = 1_767_571_200;

impl Resolver<'_> {
    pub(super) fn warn_of_thundering_herds(&mut self, jobs: &BTreeMap<JobId, Arc<Job>>) {
        if jobs.len() < HERD {
            return;
        }
        let start = Timestamp::from_second(REFERENCE).unwrap_or_default();
        let mut by_minute: BTreeMap<i64, Vec<&JobId>> = BTreeMap::new();
        let spread = |job: &&Arc<Job>| job.policy.group.is_none() && job.offset.is_zero();
        for job in jobs.values().filter(|job| job.enabled).filter(spread) {
            if let Some(first) = job.next_after(start) {
                by_minute.entry(first.as_second() / 60).or_default().push(&job.id);
            }
        }
        for ids in by_minute.values().filter(|ids| ids.len() >= HERD) {
            let names: Vec<&str> = ids.iter().take(3).map(|id| id.as_str()).collect();
            let message = format!(
                "{} jobs begin in the same minute ({}, …); spread them with `jitter`, or run them in turn with a `group`",
                ids.len(),
                names.join(", ")
            );
            let at = path(&["jobs", ids[0].as_str(), "schedule"]);
            self.problems.push(self.merged.problem(&at, Severity::Warning, message));
        }
    }
}
