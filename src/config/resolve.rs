//! Declaration -> plan: reads every section, fills in what a job inherits, and checks what only holds between
//! sections.

use std::collections::BTreeMap;
use std::path::Path;

use figment::error::Kind;
use figment::value::{Dict, Value};

use super::declaration::{self, SECTIONS};
use super::jobs::JobContext;
use super::merged::{Merged, path};
use super::plan::{Database, Plan, Server, State};
use super::problem::{Problem, Severity};
use super::reading::{describe, read, unknown_key};
use super::sources::Environment;
use crate::notifications::{Target, Targets};
use crate::values::with_suggestion;
use crate::values::{DatabaseId, Duration, GroupId, Secret, TimeZone};

/// How long a run waits for another writer, unless it is declared.
const BUSY_TIMEOUT: Duration = Duration::from_seconds(30);

/// Makes the plan, as far as the problems it gives allow.
pub(super) fn resolve(merged: &Merged<'_>, environment: &Environment) -> (Option<Plan>, Vec<Problem>) {
    let mut resolver = Resolver {
        merged,
        problems: Vec::new(),
    };
    for section in merged
        .sections()
        .filter(|section| !SECTIONS.contains(&section.as_str()))
    {
        resolver
            .problems
            .push(merged.problem_of_key(std::slice::from_ref(section), unknown_key(section, SECTIONS)));
    }
    for section in SECTIONS {
        if let Some(value) = merged.get(&[section]) {
            resolver.is_table(&path(&[section]), value);
        }
    }
    let plan = resolver.plan(environment);
    (plan, resolver.problems)
}

/// The section `server` alone, where it can be read.
pub(super) fn server(merged: &Merged<'_>, environment: &Environment) -> Option<Server> {
    Resolver {
        merged,
        problems: Vec::new(),
    }
    .server(environment.token())
}

pub(super) struct Resolver<'a> {
    pub merged: &'a Merged<'a>,
    pub problems: Vec<Problem>,
}

impl Resolver<'_> {
    fn plan(&mut self, environment: &Environment) -> Option<Plan> {
        let server = self.server(environment.token());
        let state: Option<declaration::State> = self.section("state");
        let databases = self.databases();
        let defaults: Option<declaration::Defaults> = self.section("defaults");
        let default_database = defaults
            .as_ref()
            .and_then(|defaults| self.default_database(defaults, &databases));
        let defaults = defaults?;
        let targets = self.targets(environment);
        if default_database.is_none() && defaults.database.is_none() && databases.len() > 1 {
            self.refuse_what_needs_the_application(&targets);
        }
        self.check_notify(&path(&["defaults"]), &defaults.notify, &targets);
        self.at_least_one(&["defaults", "max_running"], defaults.max_running);
        self.at_least_one(&["defaults", "retry", "max_attempts"], defaults.retry.max_attempts);
        let mut context = JobContext {
            defaults,
            default_database: default_database.clone(),
            databases,
            targets,
            open: BTreeMap::new(),
        };
        let jobs = self.jobs(&mut context);
        let JobContext { databases, targets, .. } = context;
        let limits: Option<declaration::Limits> = self.section("limits");
        let groups = self.groups();
        let state = state?;
        Some(Plan {
            max_running: self.at_least_one(&["limits", "max_running"], limits?.max_running),
            groups,
            server: server?,
            state: State {
                path: state.path,
                history: state.history,
            },
            databases,
            default_database,
            targets,
            // One that is no zone is a problem of its own, so that the plan is not used.
            time_zone: environment.time_zone().unwrap_or_else(|_| TimeZone::utc()),
            jobs,
        })
    }

    fn section<T: serde::de::DeserializeOwned>(&mut self, name: &str) -> Option<T> {
        // In the place of one that is no table, which is told already, the rest is checked with what is built in.
        let declared = self.merged.get(&[name]).filter(|value| value.as_dict().is_some());
        let built_in = || self.merged.built_in(&path(&[name]));
        let value = declared
            .or_else(built_in)
            .cloned()
            .unwrap_or_else(|| Dict::new().into());
        read(self.merged, &path(&[name]), value, &mut self.problems)
    }

    /// Whether `value`, which stands at `at`, is a table; notes it where it is none.
    pub(super) fn is_table(&mut self, at: &[String], value: &Value) -> bool {
        if value.as_dict().is_none() {
            let hidden = at[0] == "notifications";
            let why = describe(&Kind::InvalidType(value.to_actual(), "a map".to_owned()), hidden);
            self.problems.push(self.merged.problem(at, Severity::Error, why));
        }
        value.as_dict().is_some()
    }

    fn fault(&mut self, at: &[&str], message: impl Into<String>) {
        self.problems
            .push(self.merged.problem(&path(at), Severity::Error, message));
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
                "`{}` is reached from other machines: set CRON_TOKEN or server.token_file, or allow_anonymous = true",
                server.host
            );
            self.fault(&["server", "host"], message);
        }
        Some(server)
    }

    fn token_from(&mut self, file: &Path) -> Option<Secret> {
        let at = ["server", "token_file"];
        match std::fs::read_to_string(file) {
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
        for (name, value) in self.merged.table("groups") {
            let at = ["groups", name];
            if !self.is_table(&path(&at), value) {
                continue;
            }
            let declared: Option<declaration::Group> = read(self.merged, &path(&at), value.clone(), &mut self.problems);
            match (name.parse::<GroupId>(), declared) {
                (Ok(id), Some(group)) => {
                    let limit = self.at_least_one(&[at[0], id.as_str(), "max_running"], group.max_running);
                    groups.insert(id, limit);
                }
                (Err(why), _) => self.problems.push(self.merged.problem_of_key(&path(&at), why)),
                (Ok(_), None) => {}
            }
        }
        groups
    }

    /// Notes a limit of nothing, which would let nothing run.
    pub(super) fn at_least_one(&mut self, at: &[&str], limit: u32) -> u32 {
        if limit == 0 {
            self.fault(at, "1 or more is expected: with 0, nothing would ever run");
        }
        limit
    }

    fn databases(&mut self) -> BTreeMap<DatabaseId, Database> {
        let mut databases = BTreeMap::new();
        for (id, value) in self.merged.table("databases") {
            let at = path(&["databases", id]);
            if !self.is_table(&at, value) {
                continue;
            }
            let declared: Option<declaration::Database> = read(self.merged, &at, value.clone(), &mut self.problems);
            match id.parse::<DatabaseId>() {
                Ok(id) => databases.extend(declared.map(|declared| {
                    let database = Database {
                        path: declared.path,
                        read_only: declared.read_only.unwrap_or(false),
                        busy_timeout: declared.busy_timeout.unwrap_or(BUSY_TIMEOUT),
                    };
                    (id, database)
                })),
                Err(why) => self.problems.push(self.merged.problem_of_key(&at, why)),
            }
        }
        databases
    }

    fn declares_no_database(&self) -> bool {
        let declared = self.merged.get(&["databases"]);
        declared.is_none_or(|value| value.as_dict().is_some_and(Dict::is_empty))
    }

    /// Whether the database is declared, but cannot be used.
    pub(super) fn is_declared_badly(&self, id: &DatabaseId, databases: &BTreeMap<DatabaseId, Database>) -> bool {
        !databases.contains_key(id) && self.merged.get(&["databases", id.as_str()]).is_some()
    }

    fn default_database(
        &mut self,
        defaults: &declaration::Defaults,
        databases: &BTreeMap<DatabaseId, Database>,
    ) -> Option<DatabaseId> {
        match &defaults.database {
            // One whose own declaration is no good is a problem already.
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
            if let Target::Duplistatus(_) = target {
                let why = "there are several databases; `defaults.database` must name the application's";
                self.fault(&["notifications", id.as_str(), target.name()], why);
            }
        }
    }
}

pub(super) fn undeclared_database(id: &DatabaseId, databases: &BTreeMap<DatabaseId, Database>) -> String {
    let declared: Vec<&str> = databases.keys().map(DatabaseId::as_str).collect();
    let sentence = format!("no database `{id}` is declared; there are {}", declared.join(", "));
    with_suggestion(sentence, id.as_str(), declared.iter().copied())
}
