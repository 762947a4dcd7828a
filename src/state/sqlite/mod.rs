//! The state in a SQLite file.
//!
//! The file is opened when it is first needed, again after a failure, and by this connection alone: without other
//! programs beside it, SQLite needs no shared memory, and so a disk that is full cannot end the process by a signal.
//! Every change is on the disk before anyone goes by it, but for those of which a lost one does no harm.

mod activations;
mod failing;
mod findings;
mod history;
mod last_good;
mod ledger;
mod lock;
mod outbox;
mod outputs;
mod schema;
mod successor;

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, ErrorCode, OptionalExtension, Transaction, TransactionBehavior, params};

use super::{CANCELLED_BY_HAND, LeftBehind, RunId, StateError, Status, Trigger};
use crate::sql::SqlError;
use crate::values::{JobId, Moment, beside, identity};
pub(crate) use ledger::MOST_CLEARED;
pub(crate) use lock::Lock;
use outbox::Claimed;

/// The state in a file.
#[derive(Debug)]
pub(super) struct Sqlite {
    path: PathBuf,
    connection: Option<Connection>,
    /// What was opened first: no other is the state of this process.
    files: Option<Files>,
    /// Whether another one was told of what this one has claimed, as it stands in its place.
    is_replaced: bool,
    /// When this process last claimed a run.
    last_claim: Timestamp,
    claimed: Claimed,
}

/// What a change that was made survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Durability {
    /// The end of the process, but not that of the machine.
    Process,
    /// The end of the machine.
    Disk,
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
            files: None,
            is_replaced: false,
            last_claim: Timestamp::MIN,
            claimed: Claimed::new(),
        }
    }

    /// Does `work` on the connection, which is opened where there is none.
    fn with<T>(&mut self, work: impl FnOnce(&mut Connection) -> rusqlite::Result<T>) -> Result<T, StateError> {
        self.refuse_another_file()?;
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.open()?,
        };
        let done = work(&mut connection);
        // The log comes with the first change.
        if self.files.is_none_or(|files| files.log.is_none()) {
            self.files = Files::at(&self.path);
        }
        match done {
            Ok(value) => {
                self.connection = Some(connection);
                Ok(value)
            }
            Err(error) => {
                if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) {
                    self.connection = Some(connection);
                } else if let Some(files) = &mut self.files {
                    // Closing may end the log, and another one comes.
                    files.log = None;
                }
                Err(SqlError::of_database(&self.path, &error).into())
            }
        }
    }

    fn open(&mut self) -> Result<Connection, StateError> {
        let connection = schema::open(&self.path)?;
        // What is told later is told by ourselves.
        if self.files.is_none() {
            successor::take_over(&connection, &self.path).map_err(|error| SqlError::of_database(&self.path, &error))?;
        }
        Ok(connection)
    }

    /// What is written to a file that was moved away nobody finds again, and what another one has not recorded would
    /// run twice: nothing is done until the file is back. The other one is not opened: beside our log, that would damage
    /// both.
    fn refuse_another_file(&mut self) -> Result<(), StateError> {
        let Some(files) = self.files else { return Ok(()) };
        let there = Files::at(&self.path);
        let is_same = |there: Files| there.state == files.state && (files.log.is_none() || there.log == files.log);
        if there.is_some_and(is_same) {
            if std::mem::take(&mut self.is_replaced) {
                successor::take_back(&self.path);
            }
            return Ok(());
        }
        let what = if there.is_some() {
            successor::tell(&self.path, self.last_claim, files.state);
            self.is_replaced = true;
            "was replaced by another file while the service was running; nothing runs until the original is back, with its log, or the service is restarted with the new one"
        } else {
            "is gone: it was deleted, moved or unmounted; nothing runs until it is back, with its log, or the service is restarted"
        };
        Err(SqlError::lasting(format!("database {} {what}", self.path.display())).into())
    }

    /// Does `work` in a transaction: all or nothing, and on the disk.
    fn all_or_nothing<T>(
        &mut self,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, StateError> {
        self.transaction(Durability::Disk, work)
    }

    fn transaction<T>(
        &mut self,
        durability: Durability,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, StateError> {
        self.with(|connection| {
            if durability == Durability::Process {
                connection.pragma_update(None, "synchronous", "normal")?;
            }
            let done = (|| {
                let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
                let done = work(&transaction)?;
                transaction.commit()?;
                Ok(done)
            })();
            if durability == Durability::Process {
                connection.pragma_update(None, "synchronous", "full")?;
            }
            done
        })
    }

    /// Runs one statement, which is kept compiled.
    fn execute(&mut self, sql: &str, parameters: impl rusqlite::Params) -> Result<(), StateError> {
        self.with(|connection| connection.prepare_cached(sql)?.execute(parameters).map(drop))
    }

    /// Writes down what both clocks show, which tells whether the state can be written, and where the next start
    /// begins to count.
    pub(super) fn note_time(&mut self, now: Moment) -> Result<(), StateError> {
        self.transaction(Durability::Process, |transaction| {
            transaction
                .prepare_cached(
                    "INSERT INTO service_time (id, service, wall) VALUES (1, ?1, ?2)
                     ON CONFLICT (id) DO UPDATE SET service = excluded.service, wall = excluded.wall",
                )?
                .execute(params![now.service.as_millisecond(), now.wall.as_millisecond()])
                .map(drop)
        })
    }

    /// What both clocks showed when that was last written down.
    pub(super) fn noted_time(&mut self) -> Result<Option<Moment>, StateError> {
        self.with(|connection| {
            connection
                .query_row("SELECT service, wall FROM service_time", [], |row| {
                    Ok(Moment {
                        service: instant(row.get(0)?),
                        wall: instant(row.get(1)?),
                    })
                })
                .optional()
        })
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
                queued: ledger::queued(connection)?,
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

    pub(super) fn note_cancelled(&mut self, run: RunId) -> Result<(), StateError> {
        self.execute(
            "UPDATE runs SET error = ?2 WHERE id = ?1 AND status = 'running'",
            params![run.0, CANCELLED_BY_HAND],
        )
    }

    pub(super) fn lift_stops(&mut self, job: Option<&JobId>) -> Result<(), StateError> {
        self.execute(
            "DELETE FROM stops WHERE ?1 IS NULL OR job = ?1",
            [job.map(JobId::as_str)],
        )
    }
}

/// Device and number of the state's file, and of its log where there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Files {
    state: (u64, u64),
    log: Option<(u64, u64)>,
}

impl Files {
    /// Those at `path`, where there is a state.
    fn at(path: &Path) -> Option<Self> {
        Some(Self {
            state: identity(path)?,
            log: identity(&beside(path, "-wal")),
        })
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
    use super::super::{Beginning, NewRun};
    use super::*;

    #[test]
    fn a_file_of_another_program_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("backups.db");
        Connection::open(&path)
            .unwrap()
            .execute_batch("CREATE TABLE servers (id)")
            .unwrap();
        let error = Sqlite::new(&path).noted_time().unwrap_err();
        assert!(error.message.contains("belongs to another program"), "{error}");
    }

    #[test]
    fn a_file_that_was_moved_or_replaced_is_not_written_and_its_successor_runs_nothing_twice() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let hour = |hour: i64| instant(hour * 3_600_000);
        let moment = |number: i64| Moment {
            wall: hour(number),
            service: hour(0),
        };
        let rename = |from: &str, to: &str| {
            for end in ["", "-wal"] {
                let _ = std::fs::rename(beside(&at(from), end), beside(&at(to), end));
            }
        };
        let claim = |state: &mut Sqlite, number: i64| {
            let run = NewRun {
                job: "a".parse().unwrap(),
                trigger: Trigger::Schedule,
                scheduled_at: hour(number),
                repeats: None,
                beginning: Beginning::Now,
            };
            state.record(&[], &[run], hour(number))
        };
        let mut state = Sqlite::new(&at("state.db"));
        let job: JobId = "a".parse().unwrap();
        state.activate(&[(job, "times".to_owned())], moment(1)).unwrap();
        drop(state);
        std::fs::copy(at("state.db"), at("older.db")).unwrap();
        let mut state = Sqlite::new(&at("state.db"));
        claim(&mut state, 5).unwrap();
        rename("state.db", "aside.db");
        let error = claim(&mut state, 6).unwrap_err();
        assert!(error.message.contains("is gone"), "{error}");
        assert!(!at("state.db").exists(), "none is made in its place");
        rename("aside.db", "state.db");
        claim(&mut state, 7).unwrap();
        std::fs::rename(at("state.db"), at("aside.db")).unwrap();
        std::fs::copy(at("older.db"), at("state.db")).unwrap();
        let error = claim(&mut state, 8).unwrap_err();
        assert!(error.message.contains("was replaced"), "{error}");
        std::fs::remove_file(at("state.db")).unwrap();
        std::fs::rename(at("aside.db"), at("state.db")).unwrap();
        assert!(at("state.db-ran").exists(), "the other one was told");
        claim(&mut state, 9).unwrap();
        assert!(!at("state.db-ran").exists(), "it is not the other one's any more");
        rename("state.db", "aside.db");
        std::fs::rename(at("older.db"), at("state.db")).unwrap();
        assert!(state.note_time(moment(10)).is_err());
        drop(state);
        let since = |name: &str| Sqlite::new(&at(name)).left_behind(hour(11)).unwrap().activations["a"].since;
        assert_eq!(
            since("state.db"),
            hour(9),
            "what was claimed is not claimed again, nor is more"
        );
        let mut back = Sqlite::new(&at("aside.db"));
        assert_eq!(claim(&mut back, 9).unwrap(), [None], "it is whole");
        // The original is put back after the end: what the other one was told is not meant for it.
        drop(back);
        let own = identity(&at("aside.db")).unwrap();
        successor::tell(&at("aside.db"), hour(20), own);
        let left = Sqlite::new(&at("aside.db")).left_behind(hour(21)).unwrap();
        assert_eq!(left.unfinished.len(), 3, "its runs are still its own");
        assert!(!at("aside.db-ran").exists());
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
        drop(state);
        let mut state = Sqlite::new(&path);
        assert_eq!(stopped(&mut state), ["a", "b"]);
        state.lift_stops(Some(&a)).unwrap();
        assert_eq!(stopped(&mut state), ["b"]);
        state.lift_stops(None).unwrap();
        assert!(stopped(&mut state).is_empty());
    }
}
