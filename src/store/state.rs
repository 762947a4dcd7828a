//! The service's own state database: the ledger of runs and the operator's stops. One owner, the engine, writes it.
//!
//! The file is opened when it is first needed and again after a failure: a full disk stops runs, never the service.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rusqlite::{Connection, ErrorCode, params};

use super::depth::{self, Depth};
use super::schema;
use super::sqlite::Unusable;
use crate::values::JobId;

/// The state database.
#[derive(Debug)]
pub(crate) struct State {
    path: PathBuf,
    connection: Option<Connection>,
}

impl State {
    /// Names the file; nothing is opened yet.
    pub(crate) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            connection: None,
        }
    }

    /// The jobs an operator has stopped.
    pub(crate) fn stops(&mut self) -> Result<Vec<String>, Unusable> {
        self.with(|connection| {
            connection
                .prepare_cached("SELECT job FROM stops ORDER BY job")?
                .query_map([], |row| row.get(0))?
                .collect()
        })
    }

    /// Remembers that an operator has stopped `job`.
    pub(crate) fn stop(&mut self, job: &JobId, now: Timestamp) -> Result<(), Unusable> {
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
    pub(crate) fn lift_stops(&mut self, job: Option<&JobId>) -> Result<(), Unusable> {
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
    pub(crate) fn outbox_depth(&mut self) -> Result<Depth, Unusable> {
        self.with(depth::depth)
    }

    /// Whether the state can be written now: tries to take the write lock.
    pub(crate) fn probe(&mut self) -> Result<(), Unusable> {
        // Our own messages are written beside it: a lock that is held for a moment is no fault.
        self.with(|connection| connection.execute_batch("BEGIN IMMEDIATE; ROLLBACK"))
    }

    pub(super) fn with<T>(&mut self, work: impl Fn(&Connection) -> rusqlite::Result<T>) -> Result<T, Unusable> {
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
    use super::*;

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
    fn a_lock_that_is_held_for_a_moment_is_no_fault() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.db");
        let mut state = State::new(&path);
        state.probe().unwrap();
        let other = Connection::open(&path).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        let (held, is_held) = std::sync::mpsc::channel();
        let releases = std::thread::spawn(move || {
            held.send(()).unwrap();
            std::thread::sleep(std::time::Duration::from_millis(50));
            other.execute_batch("ROLLBACK").unwrap();
        });
        is_held.recv().unwrap();
        state.probe().unwrap();
        releases.join().unwrap();
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
