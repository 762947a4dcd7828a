//! The kinds of work a job can declare: a closed list, one file for each with its keys, its rules and its work.
//! A new kind is a file here, a variant and an arm of [`Action`], and an example. When a run begins, and what
//! becomes of its outcome, is left to `engine`.

mod aftercare;
mod alert;
mod batch_delete;
mod bounds;
mod cleanup;
mod comparison;
mod compile;
mod examination;
mod fence;
mod forecast;
mod functions;
mod impact;
mod misfit;
mod moment;
mod outcome;
mod overdue_backups;
mod pace;
mod record;
mod retention;
mod row_key;
mod scope;
mod session;
mod shared;
mod sql;
mod statement;
mod ties;
mod tokens;
mod write_back;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::notifications::{Courier, Delivered, Targets};
use crate::store::sqlite::Stop;
use crate::values::{JobId, TargetId, TimeZone};

pub(crate) use alert::Alert;
pub(crate) use cleanup::Cleanup;
pub(crate) use fence::Fenced;
pub(crate) use forecast::Forecast;
pub(crate) use outcome::{Failure, Flaw, Report, Weight};
pub(crate) use overdue_backups::OverdueBackups;
pub(crate) use sql::Sql;

/// What a job does: exactly one kind, named by the key it stands under.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Action {
    /// Deletes rows of one table that are past their time.
    Cleanup(Cleanup),
    /// Runs one declared statement.
    Sql(Sql),
    /// Looks for backups that did not come.
    OverdueBackups(OverdueBackups),
    /// Tells what a query finds.
    Alert(Alert),
}

impl Action {
    /// The keys a kind can stand under, as the declaration writes them.
    pub(crate) const KINDS: &[&str] = &["cleanup", "sql", "overdue_backups", "alert"];

    fn kind(&self) -> &dyn Kind {
        match self {
            Self::Cleanup(kind) => kind,
            Self::Sql(kind) => kind,
            Self::OverdueBackups(kind) => kind,
            Self::Alert(kind) => kind,
        }
    }

    /// The key it stands under.
    pub(crate) fn name(&self) -> &'static str {
        self.kind().name()
    }

    /// Whether it writes its database.
    pub(crate) fn writes(&self) -> bool {
        self.kind().writes()
    }

    /// What is wrong with the declaration of this action; `database` is the one it works on, where that is there.
    pub(crate) fn flaws(&self, database: Option<&Fenced>) -> Vec<Flaw> {
        self.kind().flaws(database)
    }

    /// The targets it names, by the keys below its own table that name them.
    pub(crate) fn targets(&self) -> Vec<(Vec<&str>, &[TargetId])> {
        self.kind().targets()
    }

    /// Does the work once.
    ///
    /// # Errors
    /// Why it was not done; nothing is half done then unless the message says so.
    pub(crate) fn run(&self, bench: &Workbench<'_>) -> Result<Report, Failure> {
        self.kind().run(bench)
    }

    /// What a run would do now; changes nothing.
    ///
    /// # Errors
    /// Why that cannot be told.
    pub(crate) fn forecast(&self, bench: &Workbench<'_>) -> Result<Forecast, Failure> {
        self.kind()
            .forecast(bench)
            .map_err(|failure| forecast::why_not(failure, bench))
    }

    /// What the rows of its database have against a run now, which only reading them tells.
    ///
    /// # Errors
    /// Why that cannot be told.
    pub(crate) fn doubts(&self, bench: &Workbench<'_>) -> Result<Vec<Flaw>, Failure> {
        self.kind()
            .doubts(bench)
            .map_err(|failure| forecast::why_not(failure, bench))
    }
}

/// What every kind can do.
trait Kind {
    fn name(&self) -> &'static str;
    fn writes(&self) -> bool {
        true
    }
    fn flaws(&self, database: Option<&Fenced>) -> Vec<Flaw>;
    fn targets(&self) -> Vec<(Vec<&str>, &[TargetId])> {
        Vec::new()
    }
    fn run(&self, bench: &Workbench<'_>) -> Result<Report, Failure>;
    fn forecast(&self, bench: &Workbench<'_>) -> Result<Forecast, Failure>;
    fn doubts(&self, _bench: &Workbench<'_>) -> Result<Vec<Flaw>, Failure> {
        Ok(Vec::new())
    }
}

/// How long [`Action::forecast`] and [`Action::doubts`] may take.
pub(crate) const LONGEST_DRY_RUN: Duration = forecast::LONGEST;

/// Everything a run may touch: a kind reads no clock, no variable and no other file.
#[derive(Debug)]
pub(crate) struct Workbench<'a> {
    /// Whose run.
    pub job: &'a JobId,
    /// The time it began.
    pub now: Timestamp,
    /// The time it was due.
    pub scheduled_at: Timestamp,
    /// The file of the job's database.
    pub database: &'a Path,
    /// How long it waits for another writer of the database.
    pub busy_timeout: Duration,
    /// Told how far the run is.
    pub progress: &'a Progress,
    /// Asked when the run must end.
    pub stop: &'a Stop,
    /// The state database, which has the outbox.
    pub state: &'a Path,
    /// Where messages can go.
    pub targets: &'a Targets,
    /// The zone that messages tell dates in.
    pub zone: &'a TimeZone,
    /// The zone of the job's schedule.
    pub schedule_zone: &'a TimeZone,
    /// Whether someone asked for the run, and so wants everything tried at once.
    pub by_hand: bool,
}

/// How long a run waits for its messages; what is left goes on in the background.
const PATIENCE: Duration = Duration::from_secs(20);

impl Workbench<'_> {
    /// Sees to the first attempt of the messages that a run, which began at `began`, has posted.
    fn deliver(&self, began: Instant, tells_failures: bool) -> Result<Delivered, Failure> {
        let now = || -> Timestamp {
            let passed = SignedDuration::try_from(began.elapsed()).unwrap_or_default();
            self.now.checked_add(passed).unwrap_or(self.now)
        };
        let courier = Courier {
            state: self.state,
            targets: self.targets,
            now: &now,
            tells_failures,
            stop: self.stop,
        };
        Ok(courier.deliver(began + PATIENCE)?)
    }
}

/// How far a run is: rows so far, for whoever watches.
#[derive(Clone, Debug, Default)]
pub(crate) struct Progress(Arc<AtomicU64>);

impl Progress {
    /// Tells how many rows are done.
    pub(crate) fn set(&self, rows: u64) {
        self.0.store(rows, Ordering::Relaxed);
    }

    /// How many rows are done.
    pub(crate) fn rows(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
