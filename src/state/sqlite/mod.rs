//! The state in a SQLite file.
//!
//! The file is opened when it is first needed and again after a failure: a full disk stops runs, never the service.

mod activations;
mod failing;
mod findings;
mod history;
mod last_good;
mod ledger;
mod lock;
mod outbox;
mod schema;

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior, params};

use super::{LeftBehind, StateError, Status, Trigger};
use crate::sql::SqlError;
use crate::values::JobId;
pub(super) use history::read_history;
pub(crate) use ledger::MOST_CLEARED;
pub(crate) use lock::Lock;

/// The state in a file.
#[derive(Debug)]
pub(super) struct Sqlite {
    path: PathBuf,
    connection: Option<Connection>,
}

impl From<SqlError> for StateError {
    fn from(error: SqlError) -> Self {
        Self {
            message: format!("state {}", error.message),
            is_transient: error.is_transient,
        }
    }
}

impl Sqlite {
    pub(super) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            connection: None,
        }
    }

    /// Does `work` on the connection, which is opened where there is none.
    fn with<T>(&mut self, work: impl FnOnce(&mut Connection) -> rusqlite::Result<T>) -> Result<T, StateError> {
        let mut connection = match self.connection.take() {
            // A file that was moved away or deleted under us would take writes that nobody finds again.
            Some(connection) if self.path.exists() => connection,
            _ => schema::open(&self.path)?,
        };
        match work(&mut connection) {
            Ok(value) => {
                self.connection = Some(connection);
                Ok(value)
            }
            Err(error) => {
                if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) {
                    self.connection = Some(connection);
                }
                Err(SqlError::of_database(&self.path, &error).into())
            }
        }
    }

    /// Does `work` in a transaction: all or nothing.
    fn all_or_nothing<T>(
        &mut self,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, StateError> {
        self.with(|connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let done = work(&transaction)?;
            transaction.commit()?;
            Ok(done)
        })
    }

    /// Runs one statement, which is kept compiled.
    fn execute(&mut self, sql: &str, parameters: impl rusqlite::Params) -> Result<(), StateError> {
        self.with(|connection| connection.prepare_cached(sql)?.execute(parameters).map(drop))
    }

    pub(super) fn probe(&mut self) -> Result<(), StateError> {
        // A lock that another process holds for a moment is not a fault: the connection waits for it.
        self.with(|connection| connection.execute_batch("BEGIN IMMEDIATE; ROLLBACK"))
    }

    pub(super) fn left_behind(&mut self, now: Timestamp) -> Result<LeftBehind, StateError> {
        self.with(|connection| {
            Ok(LeftBehind {
                stopped: connection
                    .prepare("SELECT job FROM stops")?
                    .query_map([], |row| row.get(0))?
                    .collect::<rusqlite::Result<_>>()?,
                failing: failing::read(connection)?,
                unfinished: ledger::unfinished(connection)?,
                activations: activations::read(connection, now)?,
            })
        })
    }

    pub(super) fn stop(&mut self, job: &JobId, now: Timestamp) -> Result<(), StateError> {
        self.execute(
            "INSERT INTO stops (job, stopped_at) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
            params![job.as_str(), now.as_millisecond()],
        )
    }

    pub(super) fn lift_stops(&mut self, job: Option<&JobId>) -> Result<(), StateError> {
        self.execute(
            "DELETE FROM stops WHERE ?1 IS NULL OR job = ?1",
            [job.map(JobId::as_str)],
        )
    }
}

/// An instant as the state writes it: milliseconds since 1970.
fn instant(millis: i64) -> Timestamp {
    Timestamp::from_millisecond(millis).unwrap_or_default()
}

/// A word of a closed list as the value of a column.
macro_rules! column_of_word {
    ($name:ident) => {
        impl ToSql for $name {
            fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
                Ok(self.as_str().into())
            }
        }

        impl FromSql for $name {
            fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
                value.as_str()?.parse().map_err(|_| FromSqlError::InvalidType)
            }
        }
    };
}
column_of_word!(Status);
column_of_word!(Trigger);

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
        let error = Sqlite::new(&path).probe().unwrap_err();
        assert!(error.message.contains("belongs to another program"), "{error}");
    }

    #[test]
    fn a_lock_that_is_held_for_a_moment_is_no_fault() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.db");
        let mut state = Sqlite::new(&path);
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
        let mut state = Sqlite::new(&path);
        for job in [&a, &a, &b] {
            state.stop(job, now).unwrap();
        }
        let stopped = |state: &mut Sqlite| state.left_behind(now).unwrap().stopped.into_iter().collect::<Vec<_>>();
        assert_eq!(stopped(&mut Sqlite::new(&path)), ["a", "b"]);
        state.lift_stops(Some(&a)).unwrap();
        assert_eq!(stopped(&mut state), ["b"]);
        state.lift_stops(None).unwrap();
        assert!(stopped(&mut state).is_empty());
    }
}
