//! Declaration -> plan: reads every section, fills in what a job inherits, and checks what only holds between
//! sections.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use figment::value::{Dict, Value};

use super::declaration::{self, SECTIONS};
use super::jobs::{JobContext, undeclared_database};
use super::merged::{Merged, below, path};
use super::plan::{Job, Plan, Server, State};
use super::problem::Problem;
use super::reading::{Resolver, unknown_key};
use super::sources::Environment;
use super::targets::holds_what_is_not_kept;
use crate::notifications::Targets;
use crate::sql::server::Server as DatabaseServer;
use crate::sql::{Database, Place};
use crate::state::{Place as StatePlace, StateServer};
use crate::values::{
    DatabaseId, Duration, GroupId, JobId, Secret, SecretSource, TimeZone, read_text_in_time, reading_secrets,
};

/// How long a run waits for another writer, unless it is declared.
const BUSY_TIMEOUT: Duration = Duration::from_seconds(30);

/// What the merged values come to.
pub(super) struct Resolved {
    /// The plan, where nothing keeps it from standing.
    pub plan: Option<Plan>,
    /// The jobs that stand, whatever else does not.
    pub jobs: BTreeMap<JobId, Arc<Job>>,
    pub problems: Vec<Problem>,
    /// What the texts of variables were read as, where no text is wanted.
    pub read_as: Vec<(Vec<String>, Value)>,
}

/// Makes the plan, as far as the problems allow, of every job or `only` of some.
pub(super) fn resolve(merged: &Merged, environment: &Environment, only: Option<&BTreeSet<String>>) -> Resolved {
    let (mut resolved, read) = with_secrets(environment, || {
        let mut resolver = Resolver::new(merged);
        for section in merged
            .sections()
            .filter(|section| !SECTIONS.contains(&section.as_str()))
        {
            let message = unknown_key(section, SECTIONS);
            resolver
                .problems
                .push(merged.problem_of_key(std::slice::from_ref(section), message));
        }
        for section in SECTIONS {
            if let Some(value) = merged.get(&[section]) {
                resolver.is_table(&path(&[section]), value);
            }
        }
        let (plan, jobs) = resolver.plan(environment, only);
        Resolved {
            plan,
            jobs,
            problems: resolver.problems,
            read_as: resolver.read_as,
        }
    });
    if let Some(plan) = &mut resolved.plan {
        plan.surroundings = Arc::new(environment.surroundings(&read, plan.server.token.as_ref()));
    }
    resolved
}

/// The section `server` alone, where it can be read.
pub(super) fn server(merged: &Merged, environment: &Environment) -> Option<Server> {
    Resolver::new(merged).server(environment.token())
}

/// The section `state` alone, where it can be read.
pub(super) fn state(merged: &Merged, environment: &Environment) -> Option<State> {
    let (state, _) = with_secrets(environment, || {
        Resolver::new(merged).section::<declaration::State>("state")
    });
    state.map(Into::into)
}

impl From<declaration::State> for State {
    fn from(declared: declaration::State) -> Self {
        let path = declared.path;
        let place = match declared.url {
            None => StatePlace::File(path),
            Some(address) => {
                let schema = address
                    .schema()
                    .map_or_else(|| declared.schema.to_string(), str::to_owned);
                let server = StateServer {
                    address: address.for_writing(),
                    schema,
                };
                StatePlace::Server {
                    server: Arc::new(server),
                    path,
                }
            }
        };
        Self {
            place,
            history: declared.history,
        }
    }
}

/// The section `log` alone, where it can be read.
pub(super) fn log(merged: &Merged) -> Option<declaration::Log> {
    Resolver::new(merged).section("log")
}

/// Does `work`, in which secrets can be read; gives those that were, with where they are kept.
fn with_secrets<T>(environment: &Environment, work: impl FnOnce() -> T) -> (T, Vec<(SecretSource, Secret)>) {
    let (environment, read) = (environment.clone(), Rc::new(RefCell::new(Vec::new())));
    let noted = Rc::clone(&read);
    let done = reading_secrets(
        Rc::new(move |source| {
            let text = environment.secret(source)?;
            noted.borrow_mut().push((source.clone(), Secret::new(text.clone())));
            Ok(text)
        }),
        work,
    );
    (done, read.take())
}

type Jobs = BTreeMap<JobId, Arc<Job>>;

impl Resolver<'_> {
    fn plan(&mut self, environment: &Environment, only: Option<&BTreeSet<String>>) -> (Option<Plan>, Jobs) {
        let server = self.server(environment.token());
        // What it says is in force before a plan is made.
        let _: Option<declaration::Log> = self.section("log");
        let state: Option<declaration::State> = self.section("state");
        let databases = self.databases();
        let Some(defaults) = self.section::<declaration::Defaults>("defaults") else {
            return (None, Jobs::new());
        };
        let default_database = self.default_database(&defaults, &databases);
        let targets = self.targets();
        if default_database.is_none() && defaults.database.is_none() && databases.len() > 1 {
            self.refuse_what_needs_the_application(&targets);
        }
        self.check_notify(&path(&["defaults"]), &defaults.notify, &targets);
        self.at_least_one(&["defaults", "max_running"], defaults.max_running);
        self.at_least_one(&["defaults", "retry", "max_attempts"], defaults.retry.max_attempts);
        let context = JobContext {
            defaults,
            default_database,
            databases,
            targets,
            engines: self.engines(),
        };
        let (jobs, order) = self.jobs(&context, only);
        let limits: Option<declaration::Limits> = self.section("limits");
        let groups = self.groups();
        let git_hosts = self.git_hosts();
        if only.is_none() {
            self.warn_of_unused_hosts(&git_hosts, jobs.values().map(|job| &**job));
        }
        let plan = limits.zip(state).zip(server).map(|((limits, state), server)| Plan {
            max_running: self.at_least_one(&["limits", "max_running"], limits.max_running),
            groups,
            server,
            state: state.into(),
            databases: context.databases,
            declares_databases: self.merged.built_in(&path(&["databases"])).is_none(),
            default_database: context.default_database,
            targets: Arc::new(context.targets),
            // One that is not a zone is a problem of its own, so that the plan is not used.
            time_zone: environment.time_zone().unwrap_or_else(|_| TimeZone::utc()),
            surroundings: Arc::default(),
            git_hosts: Arc::new(git_hosts),
            engines: Arc::new(context.engines),
            jobs: jobs.clone(),
            order,
        });
        (plan, jobs)
    }

    fn section<T: serde::de::DeserializeOwned>(&mut self, name: &str) -> Option<T> {
        // In the place of one that is not a table, which is told already, the rest is checked with what is built in.
        let declared = self.merged.get(&[name]).filter(|value| value.as_dict().is_some());
        let built_in = || self.merged.built_in(&path(&[name]));
        let value = declared
            .or_else(built_in)
            .cloned()
            .unwrap_or_else(|| Dict::new().into());
        self.read(&path(&[name]), value)
    }

    fn server(&mut self, token: Option<Secret>) -> Option<Server> {
        let declared: declaration::Server = self.section("server")?;
        let token = match (token, &declared.token_file) {
            (Some(token), _) => Some(token),
            (None, Some(file)) => self.token_from(file),
            (None, None) => None,
        };
        let server = Server {
            host: declared.host,
            port: declared.port,
            shutdown_grace: declared.shutdown_grace,
            allow_anonymous: declared.allow_anonymous,
            token,
            allowed_hosts: declared.allowed_hosts,
        };
        if server.token.is_none() && declared.token_file.is_none() && !server.allow_anonymous && !server.is_local() {
            let message = format!(
                "`{}` can be reached from other machines: set CRON_TOKEN or server.token_file, or allow_anonymous = true",
                server.host
            );
            self.fault(&["server", "host"], message);
        }
        Some(server)
    }

    fn token_from(&mut self, file: &Path) -> Option<Secret> {
        let at = ["server", "token_file"];
        match read_text_in_time(file) {
            Ok(text) if text.trim().is_empty() => {
                self.fault(&at, format!("{} is empty; a token is expected", file.display()));
            }
            Ok(text) => return Some(Secret::new(text.trim().to_owned())),
            Err(error) => self.fault(&at, format!("{} cannot be read: {error}", file.display())),
        }
        None
    }

    fn groups(&mut self) -> BTreeMap<GroupId, u32> {
        let mut groups = BTreeMap::new();
        for (name, at, value) in self.tables("groups") {
            let declared: Option<declaration::Group> = self.read(&at, value);
            match (name.parse::<GroupId>(), declared) {
                (Ok(id), Some(group)) => {
                    let limit = self.at_least_one(&["groups", id.as_str(), "max_running"], group.max_running);
                    groups.insert(id, limit);
                }
                (Err(why), _) => self.problems.push(self.merged.problem_of_key(&at, why)),
                (Ok(_), None) => {}
            }
        }
        groups
    }

    fn databases(&mut self) -> BTreeMap<DatabaseId, Database> {
        let mut databases = BTreeMap::new();
        for (id, at, value) in self.tables("databases") {
            if holds_what_is_not_kept(&value) {
                let why = "its secrets are not kept with the last good configuration; its jobs run once the declaration is fixed";
                self.problems.push(self.merged.problem_of_key(&at, why).into_warning());
                continue;
            }
            let declared: Option<declaration::Database> = self.read(&at, value);
            let database = declared.and_then(|declared| self.database(&at, declared));
            match id.parse::<DatabaseId>() {
                Ok(id) => databases.extend(database.map(|database| (id, database))),
                Err(why) => self.problems.push(self.merged.problem_of_key(&at, why)),
            }
        }
        databases
    }

    fn database(&mut self, at: &[String], declared: declaration::Database) -> Option<Database> {
        let merged = self.merged;
        let is_there = |key: &str| merged.get(&[&at[0], &at[1], key]).is_some();
        let mut refuse = |key: Option<&str>, why: &str| {
            let problem = match key {
                Some(key) => self.merged.problem_of_key(&below(at, key), why),
                None => self.merged.problem_of_key(at, why),
            };
            self.problems.push(problem);
        };
        let place = match (declared.path, declared.url) {
            (Some(path), None) => {
                if path.to_string_lossy().contains("://") {
                    refuse(
                        Some("path"),
                        "it is an address, not a file; an address is given as `url`",
                    );
                    return None;
                }
                if declared.time_zone.is_some() {
                    refuse(
                        Some("time_zone"),
                        "only a database with a `url` has one; a SQLite file holds UTC or texts",
                    );
                }
                Place::File(path)
            }
            (None, Some(address)) => Place::Server(Arc::new(DatabaseServer::new(address, declared.time_zone))),
            (Some(_), Some(_)) => {
                refuse(Some("url"), "a database has a `path` or a `url`, not both");
                return None;
            }
            // What cannot be read is told already.
            (None, None) if is_there("path") || is_there("url") => return None,
            (None, None) => {
                refuse(
                    None,
                    "`path`, a SQLite file, or `url`, a PostgreSQL database, is missing",
                );
                return None;
            }
        };
        Some(Database {
            place,
            read_only: declared.read_only.unwrap_or(false),
            busy_timeout: declared.busy_timeout.unwrap_or(BUSY_TIMEOUT).to_std(),
        })
    }

    fn declares_no_database(&self) -> bool {
        let declared = self.merged.get(&["databases"]);
        declared.is_none_or(|value| value.as_dict().is_some_and(Dict::is_empty))
    }

    fn default_database(
        &mut self,
        defaults: &declaration::Defaults,
        databases: &BTreeMap<DatabaseId, Database>,
    ) -> Option<DatabaseId> {
        match &defaults.database {
            // One whose own declaration is invalid is a problem already.
            Some(id) if self.is_declared_badly(id, databases) => {}
            None if databases.is_empty() && !self.declares_no_database() => {}
            Some(id) if databases.contains_key(id) => return Some(id.clone()),
            Some(id) => self.fault(&["defaults", "database"], undeclared_database(id, databases)),
            None if databases.len() == 1 => return databases.keys().next().cloned(),
            // Each job that names none says so.
            None => {}
        }
        None
    }

    /// Which database is the application's is not known where there are several.
    fn refuse_what_needs_the_application(&mut self, targets: &Targets) {
        for (id, target) in targets {
            if target.needs_application() {
                let why = "there are several databases; `defaults.database` must name the application's";
                self.fault(&["notifications", id.as_str(), target.name()], why);
            }
        }
    }
}
