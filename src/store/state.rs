//! The service's own state database: the ledger of runs and the operator's stops. One owner, the engine, writes it.
//!
//! The file is opened when it is first needed and again after a failure: a full disk stops runs, never the service.

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, ErrorCode, OptionalExtension, params};

use super::outbox::{self, Depth};
use super::run::{Finish, LastRun, NewRun, RunId, Status};
use super::schema;
use super::sqlite::Unusable;
use crate::values::JobId;

/// The state database.
#[derive(Debug)]
pub struct State {
    path: PathBuf,
    connection: Option<Connection>,
}

impl State {
    /// Names the file; nothing is opened yet.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            connection: None,
        }
    }

    /// Takes down that a run begins. `None` when its scheduled time is in the ledger already: it must not run again.
    ///
    /// # Errors
    /// When the state cannot be written; then the run must not begin.
    pub fn begin(&mut self, run: &NewRun) -> Result<Option<RunId>, Unusable> {
        self.insert(run, Status::Running, None)
    }

    /// Takes down that a run does not take place, and why.
    ///
    /// # Errors
    /// As [`State::begin`].
    pub fn skip(&mut self, run: &NewRun, why: &str) -> Result<Option<RunId>, Unusable> {
        self.insert(run, Status::Skipped, Some(why))
    }

    fn insert(&mut self, run: &NewRun, status: Status, error: Option<&str>) -> Result<Option<RunId>, Unusable> {
        let finished_at = (status != Status::Running).then(|| run.started_at.as_millisecond());
        self.with(|connection| {
            connection
                .prepare_cached(
                    "INSERT INTO runs (job, \"trigger\", status, scheduled_at, started_at, finished_at, error)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT DO NOTHING RETURNING id",
                )?
                .query_row(
                    params![
                        run.job.as_str(),
                        run.trigger,
                        status,
                        run.scheduled_at.as_millisecond(),
                        run.started_at.as_millisecond(),
                        finished_at,
                        error
                    ],
                    |row| row.get(0).map(RunId),
                )
                .optional()
        })
    }

    /// Takes down how a run ended.
    ///
    /// # Errors
    /// When the state cannot be written.
    pub fn finish(&mut self, id: RunId, finish: &Finish) -> Result<(), Unusable> {
        self.with(|connection| {
            connection
                .prepare_cached(
                    "UPDATE runs SET status = ?2, finished_at = ?3, message = ?4, error = ?5 WHERE id = ?1",
                )?
                .execute(params![
                    id.0,
                    finish.status,
                    finish.at.as_millisecond(),
                    finish.message,
                    finish.error
                ])
                .map(drop)
        })
    }

    /// Closes every run that an earlier process left running, and gives their jobs and numbers.
    ///
    /// # Errors
    /// When the state cannot be written.
    pub fn close_interrupted(&mut self, now: Timestamp) -> Result<Vec<(String, RunId)>, Unusable> {
        self.with(|connection| {
            connection
                .prepare(
                    "UPDATE runs SET status = 'interrupted', finished_at = ?1,
                     error = 'the service ended during this run' WHERE status = 'running' RETURNING job, id",
                )?
                .query_map([now.as_millisecond()], |row| Ok((row.get(0)?, RunId(row.get(1)?))))?
                .collect()
        })
    }

    /// Drops runs and messages that ended before `before`; gives how many runs.
    ///
    /// # Errors
    /// When the state cannot be written.
    pub fn forget_runs(&mut self, before: Timestamp) -> Result<usize, Unusable> {
        let before = before.as_millisecond();
        self.with(|connection| {
            connection.execute("DELETE FROM outbox WHERE finished_at < ?1 AND noted = 1", [before])?;
            connection.execute("DELETE FROM runs WHERE finished_at < ?1", [before])
        })
    }

    /// Sums up the newest runs of `job`.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn last_run(&mut self, job: &JobId) -> Result<LastRun, Unusable> {
        self.with(|connection| LastRun::read(connection, job))
    }

    /// The jobs an operator has stopped.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn stops(&mut self) -> Result<Vec<String>, Unusable> {
        self.with(|connection| {
            connection
                .prepare_cached("SELECT job FROM stops ORDER BY job")?
                .query_map([], |row| row.get(0))?
                .collect()
        })
    }

    /// Remembers that an operator has stopped `job`.
    ///
    /// # Errors
    /// When the state cannot be written.
    pub fn stop(&mut self, job: &JobId, now: Timestamp) -> Result<(), Unusable> {
        self.with(|connection| {
            connection
                .execute(
                    "INSERT OR REPLACE INTO stops VALUES (?1, ?2)",
                    params![job.as_str(), now.as_millisecond()],
                )
                .map(drop)
        })
    }

    /// Lifts the stop of `job`, or of every job.
    ///
    /// # Errors
    /// When the state cannot be written.
    pub fn lift_stops(&mut self, job: Option<&JobId>) -> Result<(), Unusable> {
        self.with(|connection| {
            connection
                .execute(
                    "DELETE FROM stops WHERE ?1 IS NULL OR job = ?1",
                    [job.map(JobId::as_str)],
                )
                .map(drop)
        })
    }

    /// How many messages wait and were given up.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn outbox_depth(&mut self) -> Result<Depth, Unusable> {
        self.with(outbox::depth)
    }

    /// Whether the state can be written now: tries to take the write lock.
    ///
    /// # Errors
    /// When it cannot, with the reason.
    pub fn probe(&mut self) -> Result<(), Unusable> {
        self.with(|connection| {
            connection.busy_timeout(Duration::ZERO)?;
            let probed = connection.execute_batch("BEGIN IMMEDIATE; ROLLBACK");
            connection.busy_timeout(schema::BUSY)?;
            probed
        })
    }

    fn with<T>(&mut self, work: impl Fn(&Connection) -> rusqlite::Result<T>) -> Result<T, Unusable> {
        let connection = match self.connection.take() {
            // A file that was moved away or deleted under us would take writes that nobody finds again.
            Some(connection) if self.path.exists() => connection,
            _ => schema::open(&self.path)?,
        };
        match work(&connection) {
            Ok(value) => {
                self.connection = Some(connection);
                Ok(value)
            }
            Err(error) => {
                if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) {
                    self.connection = Some(connection);
                }
                Err(Unusable::from_sqlite(&self.path, &error))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::run::Trigger;
    use super::*;

    fn due(job: &str, trigger: Trigger) -> NewRun {
        let at = "2026-11-20T12:30:00Z".parse().unwrap();
        NewRun {
            job: job.parse().unwrap(),
            trigger,
            scheduled_at: at,
            started_at: at,
        }
    }

    #[test]
    fn a_scheduled_time_is_taken_once_and_manual_runs_as_often_as_asked() {
        let folder = tempfile::tempdir().unwrap();
        let mut state = State::new(&folder.path().join("new/state.db"));
        assert!(state.begin(&due("a", Trigger::Schedule)).unwrap().is_some());
        assert!(state.begin(&due("a", Trigger::Schedule)).unwrap().is_none());
        assert!(state.begin(&due("a", Trigger::CatchUp)).unwrap().is_none());
        assert!(state.begin(&due("b", Trigger::Schedule)).unwrap().is_some());
        assert!(state.begin(&due("a", Trigger::Manual)).unwrap().is_some());
        assert!(state.begin(&due("a", Trigger::Manual)).unwrap().is_some());
    }

    #[test]
    fn what_an_earlier_process_left_running_is_closed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.db");
        let run = due("a", Trigger::Schedule);
        let id = State::new(&path).begin(&run).unwrap().unwrap();
        let mut next = State::new(&path);
        assert_eq!(next.close_interrupted(run.started_at).unwrap(), [("a".to_owned(), id)]);
        assert!(next.close_interrupted(run.started_at).unwrap().is_empty());
        let last = next.last_run(&run.job).unwrap();
        assert_eq!(last.error.as_deref(), Some("the service ended during this run"));
        assert_eq!(last.succeeded_at, None);
    }

    #[test]
    fn a_file_of_another_program_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("backups.db");
        Connection::open(&path)
            .unwrap()
            .execute_batch("CREATE TABLE servers (id)")
            .unwrap();
        let unusable = State::new(&path).probe().unwrap_err();
        assert!(unusable.why.contains("belongs to another program"), "{unusable}");
    }

    #[test]
    fn a_stop_is_remembered_until_it_is_lifted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.db");
        let now = "2026-11-20T12:30:00Z".parse().unwrap();
        let (a, b): (JobId, JobId) = ("a".parse().unwrap(), "b".parse().unwrap());
        let mut state = State::new(&path);
        for job in [&a, &a, &b] {
            state.stop(job, now).unwrap();
        }
        assert_eq!(State::new(&path).stops().unwrap(), ["a", "b"]);
        state.lift_stops(Some(&a)).unwrap();
        assert_eq!(state.stops().unwrap(), ["b"]);
        state.lift_stops(None).unwrap();
        assert!(state.stops().unwrap().is_empty());
    }
}
