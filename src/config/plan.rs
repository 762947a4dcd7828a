//! What the rest of the program may rely on: everything checked, every reference resolved.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::policy::Policy;
use crate::actions::{Action, Failure, Flaw, Forecast, LONGEST_DRY_RUN, Progress, Workbench};
use crate::notifications::Targets;
use crate::notifications::alert::Alerts;
use crate::store::sqlite::Stop;
use crate::values::{DatabaseId, Duration, GroupId, JobId, Schedule, Secret, TimeZone};

/// Everything the service is to do.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Plan {
    /// How it is reached.
    pub server: Server,
    /// Where it keeps its own state.
    pub state: State,
    /// The databases of its jobs.
    pub databases: BTreeMap<DatabaseId, Database>,
    /// The database whose settings override the declaration, and which tells the application the port; none where
    /// there are several and none is named.
    pub default_database: Option<DatabaseId>,
    /// Where messages can go.
    pub targets: Targets,
    /// How many runs may be under way at once.
    pub max_running: u32,
    /// How many of each group's runs may be; one, where a group is not declared.
    pub groups: BTreeMap<GroupId, u32>,
    /// The zone that messages tell dates in.
    pub time_zone: TimeZone,
    /// The jobs.
    pub jobs: BTreeMap<JobId, Arc<Job>>,
}

/// How the service is reached over HTTP.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Server {
    /// A name or address; `localhost` stands for both loopback addresses.
    pub host: String,
    /// The TCP port.
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
    /// The file.
    pub path: PathBuf,
    /// How long finished runs are kept.
    pub history: Duration,
}

/// A database that jobs work on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Database {
    /// The file.
    pub path: PathBuf,
    /// Whether no job may write it.
    pub read_only: bool,
    /// How long a run waits for another writer.
    pub busy_timeout: Duration,
}

/// One job.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Job {
    /// Its name.
    pub id: JobId,
    /// What it is for, in the words of the declaration.
    pub description: Option<String>,
    /// Whether it runs by its schedule.
    pub enabled: bool,
    /// When it runs.
    pub schedule: Schedule,
    /// The zone its schedule is read in.
    pub time_zone: TimeZone,
    /// How much later than its schedule says it runs, always: its share of `jitter`.
    pub offset: SignedDuration,
    /// How its runs come about.
    pub policy: Policy,
    /// How long a run may take.
    pub timeout: Duration,
    /// The database it works on.
    pub database: Database,
    /// Whom its runs are told to.
    pub notify: Alerts,
    /// What it does.
    pub action: Action,
    /// Its rank among the jobs of the declaration.
    pub rank: usize,
}

/// What passes between a run and whoever watches it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Signals {
    /// Asks the run to end.
    pub stop: Stop,
    /// Tells how far it is.
    pub progress: Progress,
}

/// The occasion of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Occasion {
    /// The time it begins.
    pub now: Timestamp,
    /// The time it was due.
    pub scheduled_at: Timestamp,
    /// Whether someone asked for it.
    pub by_hand: bool,
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
        format!("{} {} {:?}", self.schedule, self.time_zone, self.offset)
    }
}

impl Server {
    /// Whether it can only be reached from this machine.
    pub(crate) fn is_local(&self) -> bool {
        self.host == "localhost"
            || self
                .host
                .parse::<std::net::IpAddr>()
                .is_ok_and(|address| address.is_loopback())
    }
}

impl Plan {
    /// The jobs in the order of the declaration.
    pub(crate) fn jobs_in_order(&self) -> Vec<&Arc<Job>> {
        let mut jobs: Vec<_> = self.jobs.values().collect();
        jobs.sort_by_key(|job| job.rank);
        jobs
    }

    /// Everything a run of `job` may touch.
    pub(crate) fn workbench<'a>(&'a self, job: &'a Job, occasion: &'a Occasion, signals: &'a Signals) -> Workbench<'a> {
        Workbench {
            job: &job.id,
            now: occasion.now,
            scheduled_at: occasion.scheduled_at,
            by_hand: occasion.by_hand,
            database: &job.database.path,
            busy_timeout: job.database.busy_timeout.to_std(),
            progress: &signals.progress,
            state: &self.state.path,
            targets: &self.targets,
            zone: &self.time_zone,
            schedule_zone: &job.time_zone,
            stop: &signals.stop,
        }
    }

    /// What a run of `job` would do at `now`; changes nothing.
    ///
    /// # Errors
    /// Why that cannot be told.
    pub(crate) fn forecast(&self, job: &Job, now: Timestamp) -> Result<Forecast, Failure> {
        self.dry(job, now, |bench| job.action.forecast(bench))
    }

    /// What the rows of a job's database have against a run at `now`.
    pub(super) fn doubts(&self, job: &Job, now: Timestamp) -> Result<Vec<Flaw>, Failure> {
        self.dry(job, now, |bench| job.action.doubts(bench))
    }

    fn dry<T>(&self, job: &Job, now: Timestamp, work: impl FnOnce(&Workbench<'_>) -> T) -> T {
        let occasion = Occasion {
            now,
            scheduled_at: now,
            by_hand: true,
        };
        let signals = Signals {
            stop: Stop::after(LONGEST_DRY_RUN),
            ..Signals::default()
        };
        work(&self.workbench(job, &occasion, &signals))
    }

    /// The file of the default database.
    pub(crate) fn default_database_path(&self) -> Option<PathBuf> {
        let database = self.databases.get(self.default_database.as_ref()?)?;
        Some(database.path.clone())
    }
}
