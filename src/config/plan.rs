//! What the rest of the program may rely on: everything checked, every reference resolved.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::docker::Engines;
use crate::git::GitHosts;
use crate::kinds::Action;
use crate::notifications::Targets;
use crate::notifications::alert::Alerts;
use crate::process::Surroundings;
use crate::sql::Database;
use crate::state::Place;
use crate::values::{DatabaseId, Duration, GroupId, JobId, Schedule, Secret, TimeZone, is_this_machine};

/// Everything the service is to do.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub server: Server,
    pub state: State,
    pub databases: BTreeMap<DatabaseId, Database>,
    /// Whether they are declared, and not the one that everyone has.
    pub declares_databases: bool,
    /// The database whose settings override the declaration, and which tells the application the port; none where
    /// there are several and none is named.
    pub default_database: Option<DatabaseId>,
    pub targets: Arc<Targets>,
    /// How many runs may be under way at once.
    pub max_running: u32,
    /// How many of each group's runs may be; one, where a group is not declared.
    pub groups: BTreeMap<GroupId, u32>,
    /// The zone that messages tell dates in.
    pub time_zone: TimeZone,
    /// What hosts of repositories ask for.
    pub git_hosts: Arc<GitHosts>,
    /// The container engines that are declared.
    pub engines: Arc<Engines>,
    /// What programs inherit.
    pub surroundings: Arc<Surroundings>,
    pub jobs: BTreeMap<JobId, Arc<Job>>,
    /// Their ids, in the order of the declaration.
    pub order: Vec<JobId>,
}

/// How the service is reached over HTTP.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Server {
    /// A name or address; `localhost` stands for both loopback addresses.
    pub host: String,
    pub port: u16,
    /// How long runs may go on after the service was told to end.
    pub shutdown_grace: Duration,
    /// Whether it may be reached from other machines without a token.
    pub allow_anonymous: bool,
    /// What a request must carry, where one is set.
    pub token: Option<Secret>,
    /// Names that a request's Host may have besides loopback and `host`.
    pub allowed_hosts: Vec<String>,
}

/// Where the service keeps its own state.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct State {
    pub place: Place,
    pub history: Duration,
}

/// One job.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Job {
    pub id: JobId,
    /// What it is for, in the words of the declaration.
    pub description: Option<String>,
    pub enabled: bool,
    pub schedule: Schedule,
    /// The zone its schedule is read in.
    pub time_zone: TimeZone,
    /// How much later than its schedule says it runs, always: its share of `jitter`.
    pub offset: SignedDuration,
    pub policy: Policy,
    pub timeout: Duration,
    /// The database it works on, for kinds that have one.
    pub database: Option<Database>,
    /// Whom its runs are told to.
    pub notify: Alerts,
    pub action: Action,
}

impl Job {
    /// When it is due next after `after`.
    pub(crate) fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        let unshifted = after.checked_sub(self.offset).ok()?;
        self.schedule
            .next_after(unshifted, &self.time_zone)?
            .checked_add(self.offset)
            .ok()
    }

    /// Everything its times depend on, as text.
    pub(crate) fn times(&self) -> String {
        format!("{} {} {}s", self.schedule, self.time_zone, self.offset.as_secs())
    }
}

impl Server {
    /// Whether it can only be reached from this machine.
    pub(crate) fn is_local(&self) -> bool {
        is_this_machine(&self.host)
    }
}

impl Plan {
    /// The jobs in the order of the declaration.
    pub(crate) fn jobs_in_order(&self) -> impl Iterator<Item = &Arc<Job>> {
        self.order.iter().filter_map(|id| self.jobs.get(id))
    }

    /// Whether somebody misses a database that is not there: the one that everyone has without declaring it is missed by
    /// those only whose jobs use one.
    pub(crate) fn misses_databases(&self) -> bool {
        self.declares_databases || self.jobs.values().any(|job| job.database.is_some())
    }

    /// Shares with `old` the jobs that have not changed, which others keep hold of.
    pub(crate) fn keep_unchanged(&mut self, old: &Self) {
        for (id, job) in &mut self.jobs {
            if let Some(known) = old.jobs.get(id).filter(|known| **known == *job) {
                *job = Arc::clone(known);
            }
        }
    }

    /// The file of the default database, where it is one.
    pub(crate) fn default_database_path(&self) -> Option<PathBuf> {
        let database = self.databases.get(self.default_database.as_ref()?)?;
        database.file().map(Path::to_owned)
    }
}

/// What becomes of times that were missed while the service was down or the clock was put forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum CatchUp {
    /// They are skipped.
    None,
    /// One run makes up for all of them.
    Once,
    /// Each is run, one after the other.
    All,
}

/// What becomes of a run that is due while another of the same job is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Concurrency {
    /// It is skipped.
    Forbid,
    /// It waits; only one does.
    Queue,
    /// The one under way is ended.
    Replace,
    /// Both run, up to `max_running`.
    Allow,
}

impl fmt::Display for Concurrency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Forbid => "forbid",
            Self::Queue => "queue",
            Self::Replace => "replace",
            Self::Allow => "allow",
        })
    }
}

/// What becomes of a run that the end of the service cut off, at the next start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OnInterrupt {
    /// It is recorded as interrupted.
    Record,
    /// It is recorded so, and run again.
    Rerun,
}

/// How often a failure that may pass is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Retry {
    /// How many attempts there are, the first included.
    pub max_attempts: u32,
    /// The wait before the second; it doubles with each further one.
    pub backoff: Duration,
}

/// How a job's runs come about.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Policy {
    /// What becomes of missed times.
    pub catch_up: CatchUp,
    /// A missed time older than this is skipped.
    pub starting_deadline: Duration,
    /// What becomes of runs that overlap.
    pub concurrency: Concurrency,
    /// How many runs may overlap where they may.
    pub max_running: u32,
    /// The group whose limit the job shares.
    pub group: Option<GroupId>,
    /// How often a failure is tried again.
    pub retry: Retry,
    /// A job whose last success is older makes the service's health fail.
    pub max_age: Option<Duration>,
    /// What becomes of a run that was cut off.
    pub on_interrupt: OnInterrupt,
}
