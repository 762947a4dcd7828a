//! Everything the outside may ask of the engine: its one inbox takes these, and each answer comes by a one-shot.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use super::runner::RunResult;
use crate::config::{Diff, Problem, Sources};
use crate::duplistatus::settings::Overrides;
use crate::sql::Database;
use crate::state::{LastRun, OutboxCounts, RunId};
use crate::values::JobId;

/// A way to answer one question.
pub(crate) type Reply<T> = oneshot::Sender<T>;
/// Where commands are put.
pub type Inbox = mpsc::Sender<Command>;

/// A question or an order.
#[derive(Debug)]
pub enum Command {
    /// Run a job now.
    Trigger {
        /// The job's id, as it was asked for.
        job: String,
        /// Told at once whether the run began.
        reply: Reply<Result<Triggered, Refusal>>,
    },
    /// Run a job soon, as something has told that there is work for it.
    Announce {
        /// The job's id, as it was asked for.
        job: String,
        /// Told at once which run will do it, which may be one that waits already.
        reply: Reply<Result<RunId, Refusal>>,
    },
    /// Make a job active, lifting an operator's stop.
    Start {
        /// The job's id, as it was asked for.
        job: String,
        /// Told when it is done.
        reply: Reply<Result<(), Refusal>>,
    },
    /// Make a job inactive until it is started or the configuration is reloaded on request.
    Stop {
        /// The job's id, as it was asked for.
        job: String,
        /// Told when it is done.
        reply: Reply<Result<(), Refusal>>,
    },
    /// End a run, or take back one that waits for its turn.
    Cancel {
        /// Its number.
        run: RunId,
        /// Told once it is asked to end.
        reply: Reply<Result<(), Refusal>>,
    },
    /// Read every source again.
    Reload {
        /// Why.
        cause: Cause,
        /// Told what changed, where someone waits for it.
        reply: Option<Reply<Reloaded>>,
    },
    /// The rows of the application's database that override the declaration were looked at.
    Rows {
        /// What stands in them.
        texts: Overrides,
    },
    /// Tell how things are.
    Report {
        /// Told at once.
        reply: Reply<Report>,
    },
    /// End, letting runs finish for a while.
    Shutdown,
}

/// Why the configuration is read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// An operator asked over HTTP; operator's stops are lifted.
    Operator,
    /// The process got SIGHUP.
    Signal,
    /// A file changed.
    File,
    /// The rows of the application's database changed, or it can be asked for them now.
    Database,
}

impl Cause {
    /// The word for it in logs and in `/health`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Signal => "SIGHUP",
            Self::File => "file",
            Self::Database => "database",
        }
    }
}

/// Why an order was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// No such job is declared, or, for a stop, active.
    Unknown,
    /// The job is running already and its runs must not overlap.
    Running,
    /// The job does not run by itself.
    Inactive,
    /// The run is over.
    Over,
    /// The state database cannot be written.
    State(String),
    /// The service is about to end.
    ShuttingDown,
}

/// A run that began.
#[derive(Debug)]
pub struct Triggered {
    /// Its number.
    pub run: RunId,
    /// Told how it ended.
    pub ended: oneshot::Receiver<RunResult>,
}

/// What came of a reload.
#[derive(Clone, Debug)]
pub enum Reloaded {
    /// The new plan is in force.
    Applied {
        /// What it changed.
        diff: Diff,
        /// What is not as declared although it is in force.
        problems: Vec<Problem>,
    },
    /// Everything runs on as before.
    Refused {
        /// Why.
        problems: Vec<Problem>,
    },
}

/// How things are.
#[derive(Clone, Debug)]
pub struct Report {
    /// The time of the report.
    pub at: Timestamp,
    /// When the service started.
    pub started_at: Timestamp,
    /// Active jobs, in the order they were activated.
    pub active: Vec<JobId>,
    /// Every declared job, in the order of the declaration.
    pub jobs: Vec<JobReport>,
    /// The messages that wait and that were abandoned.
    pub outbox: OutboxCounts,
    /// What is wrong with the state database.
    pub state_error: Option<String>,
    /// Whether the service is about to end.
    pub shutting_down: bool,
    /// The configuration in force.
    pub config: ConfigReport,
    /// The databases that jobs work on.
    pub(crate) databases: Vec<Database>,
    /// Why the application's database could not be asked for its overrides.
    pub overrides_error: Option<String>,
}

/// How one job is.
#[derive(Clone, Debug)]
pub struct JobReport {
    /// Its id.
    pub id: JobId,
    /// Its description.
    pub description: Option<String>,
    /// Its schedule, as declared.
    pub schedule: String,
    /// The zone of its schedule.
    pub time_zone: String,
    /// Whether it is declared as running by its schedule.
    pub enabled: bool,
    /// Whether it does so now.
    pub active: bool,
    /// Whether a run is in progress.
    pub running: bool,
    /// Its newest run in progress.
    pub run: Option<RunId>,
    /// How many rows its run under way has done.
    pub progress: u64,
    /// How many runs wait for their turn.
    pub waiting: u32,
    /// Why it is past its `max_age`, if it is.
    pub overdue: Option<String>,
    /// When it is next due.
    pub next_run: Option<Timestamp>,
    /// Its newest runs.
    pub last: LastRun,
}

/// The configuration in force and the last attempt to change it.
#[derive(Clone, Debug)]
pub struct ConfigReport {
    /// Where the declaration came from.
    pub source: String,
    /// When it was loaded.
    pub loaded_at: Timestamp,
    /// What is not as declared.
    pub problems: Vec<Problem>,
    /// The last reload, if there was one.
    pub last_reload: Option<LastReload>,
    /// What it was made of, kept as it was read.
    pub in_force: Arc<Sources>,
}

/// The last reload.
#[derive(Clone, Debug)]
pub struct LastReload {
    /// When.
    pub at: Timestamp,
    /// Why.
    pub cause: Cause,
    /// Whether its plan is in force.
    pub applied: bool,
    /// What was wrong.
    pub problems: Vec<Problem>,
}
