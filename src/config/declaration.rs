//! The words a declaration may say, section by section, as they are written. Built-in settings lie underneath, so
//! that only what may be left out for good is optional. What a kind of job may say stands with the kind.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

use super::plan::{CatchUp, Concurrency, OnInterrupt, Retry};
use crate::postgres::Address;
use crate::values::{DatabaseId, Duration, GroupId, Schedule, TableName, TargetId, TimeZone};

/// The sections a declaration may have.
pub(super) const SECTIONS: &[&str] = &[
    "server",
    "log",
    "state",
    "databases",
    "limits",
    "groups",
    "defaults",
    "notifications",
    "git_hosts",
    "engines",
    "jobs",
];

/// Those whose tables are keyed by ids.
pub(super) const KEYED: &[&str] = &["jobs", "databases", "notifications", "git_hosts", "engines", "groups"];

/// `[server]`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Server {
    pub host: String,
    pub port: u16,
    pub shutdown_grace: Duration,
    pub token_file: Option<PathBuf>,
    pub allow_anonymous: bool,
    pub allowed_hosts: Vec<String>,
}

/// `[log]`
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Log {
    pub level: LogLevel,
    pub format: LogFormat,
}

/// The lowest level that is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
}

/// The form of lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// Text on a terminal, else JSON
    Auto,
    /// For programs
    Json,
    /// For people
    Text,
}

/// `[state]`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct State {
    pub path: PathBuf,
    /// A PostgreSQL database that several replicas share, in the place of `path`
    pub url: Option<Address>,
    /// The schema of the tables there, unless the address names one
    pub schema: TableName,
    pub history: Duration,
}

/// `[databases.<id>]`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Database {
    /// A SQLite file
    pub path: Option<PathBuf>,
    /// A database on a PostgreSQL server, `postgresql://user:password@host:port/name`
    pub url: Option<Address>,
    /// The zone of its columns that say none; of a server only
    pub time_zone: Option<TimeZone>,
    pub read_only: Option<bool>,
    pub busy_timeout: Option<Duration>,
}

/// `[defaults]`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Defaults {
    pub database: Option<DatabaseId>,
    pub time_zone: TimeZone,
    pub timeout: Duration,
    pub notify: Notify,
    pub jitter: Option<Duration>,
    pub catch_up: CatchUp,
    pub starting_deadline: Duration,
    pub concurrency_policy: Concurrency,
    pub max_running: u32,
    pub retry: Retry,
    pub max_age: Option<Duration>,
    pub on_interrupt: OnInterrupt,
}

/// `[limits]`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Limits {
    pub max_running: u32,
}

/// `[groups.<id>]`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Group {
    pub max_running: u32,
}

/// `notify` of a job or of `[defaults]`; each key is inherited by itself.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Notify {
    pub on_failure: Option<Vec<TargetId>>,
    pub on_success: Option<Vec<TargetId>>,
    pub on_recovery: Option<Vec<TargetId>>,
    pub repeat_after: Option<Duration>,
}

impl Notify {
    pub(super) const NONE: Self = Self {
        on_failure: None,
        on_success: None,
        on_recovery: None,
        repeat_after: None,
    };
}

/// `retry` of a job; each key is inherited by itself.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct OwnRetry {
    pub max_attempts: Option<u32>,
    pub backoff: Option<Duration>,
}

/// `[jobs.<id>]`, but for the kind.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Job {
    // Missing it is a problem, but what else is wrong with the job is told all the same.
    #[schemars(required)]
    pub schedule: Option<Schedule>,
    pub description: Option<String>,
    pub enabled: Option<bool>,
    pub time_zone: Option<TimeZone>,
    pub timeout: Option<Duration>,
    pub database: Option<DatabaseId>,
    pub notify: Option<Notify>,
    pub jitter: Option<Duration>,
    pub catch_up: Option<CatchUp>,
    pub starting_deadline: Option<Duration>,
    pub concurrency_policy: Option<Concurrency>,
    pub max_running: Option<u32>,
    pub group: Option<GroupId>,
    pub retry: Option<OwnRetry>,
    pub max_age: Option<Duration>,
    pub on_interrupt: Option<OnInterrupt>,
}
