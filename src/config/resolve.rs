//! Declaration -> plan: reads every section, fills in what a job inherits, and checks what only holds between
//! sections.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use figment::value::{Dict, Value};
use rusqlite::Connection;

use super::declaration::{self, SECTIONS};
use super::merged::{Merged, path};
use super::plan::{Database, Job, Plan, Server, State};
use super::problem::{Problem, Severity};
use super::reading::{read, unknown_key};
use crate::actions::{Action, Weight};
use crate::store::sqlite::open_read;
use crate::values::{DatabaseId, JobId, Secret};

/// Makes the plan, as far as the problems it gives allow.
pub(super) fn resolve(merged: &Merged<'_>, token: Option<Secret>) -> (Option<Plan>, Vec<Problem>) {
    let mut resolver = Resolver { merged, problems: Vec::new() };
    for section in merged.sections().filter(|section| !SECTIONS.contains(&section.as_str())) {
        resolver.problems.push(merged.problem_of_key(std::slice::from_ref(section), unknown_key(section, SECTIONS)));
    }
    let plan = resolver.plan(token);
    (plan, resolver.problems)
}

/// The section `server` alone, where it can be read.
pub(super) fn server(merged: &Merged<'_>, token: Option<Secret>) -> Option<Server> {
    Resolver { merged, problems: Vec::new() }.server(token)
}

struct Resolver<'a> {
    merged: &'a Merged<'a>,
    problems: Vec<Problem>,
}

impl Resolver<'_> {
    fn plan(&mut self, token: Option<Secret>) -> Option<Plan> {
        let server = self.server(token);
        let state: Option<declaration::State> = self.section("state");
        let databases = self.databases();
        let defaults: Option<declaration::Defaults> = self.section("defaults");
        let default_database = defaults.as_ref().and_then(|defaults| self.default_database(defaults, &databases));
        let defaults = defaults?;
        let context = JobContext { defaults, default_database: default_database.clone(), databases, open: BTreeMap::new() };
        let (jobs, databases) = self.jobs(context);
        let state = state?;
        Some(Plan {
            server: server?,
            state: State { path: state.path, history: state.history },
            databases,
            default_database: default_database?,
            jobs,
        })
    }

    fn section<T: serde::de::DeserializeOwned>(&mut self, name: &str) -> Option<T> {
        let value = self.merged.get(&[name]).cloned().unwrap_or_else(|| Dict::new().into());
        read(self.merged, &path(&[name]), value, &mut self.problems)
    }

    fn fault(&mut self, at: &[&str], message: impl Into<String>) {
        self.problems.push(self.merged.problem(&path(at), Severity::Error, message));
    }

    fn server(&mut self, token: Option<Secret>) -> Option<Server> {
        let declared: declaration::Server = self.section("server")?;
        let token = match (token, &declared.token_file) {
            (Some(token), _) => Some(token),
            (None, Some(file)) => self.token_from(file),
            (None, None) => None,
        };
        if token.is_none() && declared.token_file.is_none() && !declared.allow_anonymous && !is_loopback(&declared.host) {
            self.fault(
                &["server", "host"],
                format!(
                    "`{}` is reached from other machines: set CRON_TOKEN or server.token_file, or allow_anonymous = true",
                    declared.host
                ),
            );
        }
        Some(Server {
            host: declared.host,
            port: declared.port,
            shutdown_grace: declared.shutdown_grace,
            token,
            allowed_hosts: declared.allowed_hosts,
        })
    }

    fn token_from(&mut self, file: &Path) -> Option<Secret> {
        let at = ["server", "token_file"];
        match std::fs::read_to_string(file) {
            Ok(text) if text.trim().is_empty() => self.fault(&at, format!("{} is empty; a token is expected", file.display())),
            Ok(text) => return Some(Secret::new(text.trim().to_owned())),
            Err(error) => self.fault(&at, format!("{} cannot be read: {error}", file.display())),
        }
        None
    }

    fn databases(&mut self) -> BTreeMap<DatabaseId, Database> {
        let mut databases = BTreeMap::new();
        for (id, value) in self.merged.table(&["databases"]) {
            let at = path(&["databases", &id]);
            let declared: Option<declaration::Database> = read(self.merged, &at, value, &mut self.problems);
            match id.parse::<DatabaseId>() {
                Ok(id) => databases.extend(declared.map(|declared| (id, Database { path: declared.path }))),
                Err(why) => self.problems.push(self.merged.problem_of_key(&at, why)),
            }
        }
        databases
    }

    fn default_database(&mut self, defaults: &declaration::Defaults, databases: &BTreeMap<DatabaseId, Database>) -> Option<DatabaseId> {
        match &defaults.database {
            Some(id) if databases.contains_key(id) => return Some(id.clone()),
            Some(id) => self.fault(&["defaults", "database"], undeclared_database(id, databases)),
            None if databases.len() == 1 => return databases.keys().next().cloned(),
            None => self.fault(
                &["databases"],
                format!("there are {} databases; `defaults.database` must name the one meant by jobs that name none", databases.len()),
            ),
        }
        None
    }

    fn jobs(&mut self, mut context: JobContext) -> (BTreeMap<JobId, Arc<Job>>, BTreeMap<DatabaseId, Database>) {
        let mut declared: Vec<(String, Value)> = self.merged.table(&["jobs"]).into_iter().collect();
        declared.sort_by_cached_key(|(id, _)| self.merged.position(&path(&["jobs", id])));
        let mut jobs = BTreeMap::new();
        for (rank, (name, value)) in declared.into_iter().enumerate() {
            let at = path(&["jobs", &name]);
            let id = name.parse::<JobId>().map_err(|why| self.problems.push(self.merged.problem_of_key(&at, why))).ok();
            let job = self.job(&at, id, value, rank, &mut context);
            jobs.extend(job.map(|job| (job.id.clone(), Arc::new(job))));
        }
        (jobs, context.databases)
    }

    fn job(&mut self, at: &[String], id: Option<JobId>, value: Value, rank: usize, context: &mut JobContext) -> Option<Job> {
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
        let Value::Dict(tag, mut job) = value else { return (value, None) };
        let mut kinds: Vec<&str> = Action::KINDS.iter().copied().filter(|kind| job.contains_key(*kind)).collect();
        if kinds.is_empty() {
            let message = format!("the job has no kind; exactly one of {} is expected", Action::KINDS.join(", "));
            self.problems.push(self.merged.problem(at, Severity::Error, message));
        }
        if kinds.len() > 1 {
            // The kind that came last is the one to point at, for it may stand in a row that can be set aside.
            let sources = |kind: &&str| self.merged.problem(&below(at, kind), Severity::Error, format!("the job has more than one kind: {}", kinds.join(", ")));
            let extra = kinds.iter().map(sources).max_by_key(|problem| (problem.source.clone(), problem.place));
            self.problems.extend(extra);
        }
        let mut action = None;
        for kind in kinds.drain(..) {
            let Some(keys) = job.remove(kind) else { continue };
            let keys = Value::from(Dict::from([(kind.to_owned(), keys)]));
            action = read(self.merged, at, keys, &mut self.problems);
        }
        (Value::Dict(tag, job), action)
    }

    fn database_of(&mut self, at: &[String], named: Option<&DatabaseId>, context: &JobContext) -> Option<PathBuf> {
        let id = named.or(context.default_database.as_ref())?;
        let database = context.databases.get(id);
        if database.is_none() {
            let message = undeclared_database(id, &context.databases);
            self.problems.push(self.merged.problem(&below(at, "database"), Severity::Error, message));
        }
        database.map(|database| database.path.clone())
    }

    fn check_action(&mut self, at: &[String], action: &Action, enabled: bool, database: &Path, context: &mut JobContext) {
        let open = context.open.entry(database.to_owned()).or_insert_with(|| open_read(database).ok());
        for flaw in action.flaws(open.as_ref()) {
            let kind = below(at, action.name());
            let place = if flaw.key.is_empty() { kind } else { below(&kind, flaw.key) };
            let severity = match flaw.weight {
                Weight::Broken => Severity::Error,
                // A job that does not run by itself may wait for a table that is yet to come.
                Weight::Mismatch if enabled => Severity::Mismatch,
                Weight::Mismatch | Weight::Notable => Severity::Warning,
            };
            self.problems.push(self.merged.problem(&place, severity, flaw.message));
        }
    }
}

/// What jobs inherit and refer to.
struct JobContext {
    defaults: declaration::Defaults,
    default_database: Option<DatabaseId>,
    databases: BTreeMap<DatabaseId, Database>,
    /// The databases opened so far, for compiling SQL.
    open: BTreeMap<PathBuf, Option<Connection>>,
}

fn below(at: &[String], key: &str) -> Vec<String> {
    at.iter().cloned().chain([key.to_owned()]).collect()
}

fn undeclared_database(id: &DatabaseId, databases: &BTreeMap<DatabaseId, Database>) -> String {
    let declared: Vec<&str> = databases.keys().map(DatabaseId::as_str).collect();
    format!("no database `{id}` is declared; there are {}", declared.join(", "))
}

/// Whether `host` can only be reached from this machine.
fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}
