//! The state in a SQLite file.
//!
//! The file is opened when it is first needed, again after a failure, and by this connection alone: without other
//! programs beside it, SQLite needs no shared memory, and so a disk that is full cannot end the process by a signal.
//! Every change is on the disk before anyone goes by it, but for those of which a lost one does no harm.

mod lock;
mod schema;
mod successor;

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{ErrorCode, ToSql, TransactionBehavior, params_from_iter};

use super::StateError;
use super::statements::{Cell, Connection, Durability, Fault, Row, Value};
use crate::sql::SqlError;
use crate::values::{beside, identity};
pub(crate) use lock::Lock;

/// The state in a file.
#[derive(Debug)]
pub(super) struct Sqlite {
    path: PathBuf,
    connection: Option<rusqlite::Connection>,
    /// What was opened first: no other is the state of this process.
    files: Option<Files>,
    /// Whether another one was told of what this one has claimed, as it stands in its place.
    is_replaced: bool,
    /// When this process last claimed a run.
    last_claim: Timestamp,
}

impl From<SqlError> for StateError {
    fn from(error: SqlError) -> Self {
        Self {
            message: format!("state {}", error.message),
            is_transient: error.is_transient,
            is_not_leading: false,
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
        }
    }

    /// Whether there is a file.
    pub(super) fn is_there(&self) -> bool {
        self.path.exists()
    }

    /// Notes that times up to `now` are claimed.
    pub(super) fn note_claim(&mut self, now: Timestamp) {
        self.last_claim = now;
    }

    /// Does `work`, which changes nothing.
    pub(super) fn read<T>(
        &mut self,
        work: impl FnOnce(&mut dyn Connection) -> Result<T, Fault>,
    ) -> Result<T, StateError> {
        self.with(|connection| work(&mut &*connection))
    }

    /// Does `work` in a transaction: all or nothing.
    pub(super) fn change<T>(
        &mut self,
        durability: Durability,
        work: impl FnOnce(&mut dyn Connection) -> Result<T, Fault>,
    ) -> Result<T, StateError> {
        self.with(|connection| {
            if durability == Durability::Process {
                connection.pragma_update(None, "synchronous", "normal")?;
            }
            let done = (|| {
                let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
                let done = work(&mut &*transaction)?;
                transaction.commit()?;
                Ok(done)
            })();
            if durability == Durability::Process {
                connection.pragma_update(None, "synchronous", "full")?;
            }
            done
        })
    }

    /// Does `work` on the connection, which is opened where there is none.
    fn with<T>(&mut self, work: impl FnOnce(&mut rusqlite::Connection) -> Result<T, Fault>) -> Result<T, StateError> {
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
            Err(Fault::Sqlite(error)) => {
                if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) {
                    self.connection = Some(connection);
                } else if let Some(files) = &mut self.files {
                    // Closing may end the log, and another one comes.
                    files.log = None;
                }
                Err(SqlError::of_database(&self.path, &error).into())
            }
            Err(other) => {
                self.connection = Some(connection);
                let shown = self.path.display();
                Err(SqlError::lasting(format!("database {shown} cannot be read: {other}")).into())
            }
        }
    }

    fn open(&mut self) -> Result<rusqlite::Connection, StateError> {
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
}

impl Connection for &rusqlite::Connection {
    fn query(&mut self, sql: &str, values: &[Value<'_>]) -> Result<Vec<Row>, Fault> {
        query(self, sql, values)
    }

    fn execute(&mut self, sql: &str, values: &[Value<'_>]) -> Result<u64, Fault> {
        let changed = self.prepare_cached(sql)?.execute(params_from_iter(values))?;
        Ok(changed as u64)
    }

    fn each(&mut self, sql: &str, rows: &[Vec<Value<'_>>]) -> Result<Vec<Vec<Row>>, Fault> {
        rows.iter().map(|values| query(self, sql, values)).collect()
    }
}

fn query(connection: &rusqlite::Connection, sql: &str, values: &[Value<'_>]) -> Result<Vec<Row>, Fault> {
    let mut statement = connection.prepare_cached(sql)?;
    let columns = statement.column_count();
    let mut found = statement.query(params_from_iter(values))?;
    let mut rows = Vec::new();
    while let Some(row) = found.next()? {
        let cell = |column| row.get_ref(column).map(cell_of);
        rows.push(Row((0..columns).map(cell).collect::<rusqlite::Result<_>>()?));
    }
    Ok(rows)
}

fn cell_of(value: ValueRef<'_>) -> Cell {
    match value {
        ValueRef::Null => Cell::Null,
        ValueRef::Integer(integer) => Cell::Integer(integer),
        // The tables are strict: there is nothing else.
        other => Cell::Text(other.as_str().unwrap_or_default().to_owned()),
    }
}

impl ToSql for Value<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        match self {
            Self::Integer(integer) => integer.to_sql(),
            Self::Text(text) => Ok(ToSqlOutput::Borrowed(
                text.as_deref().map_or(ValueRef::Null, ValueRef::from),
            )),
        }
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

#[cfg(test)]
mod tests {
    use super::super::tables::Tables;
    use super::super::{Beginning, NewRun, Trigger};
    use super::*;
    use crate::values::{JobId, Moment};

    #[test]
    fn a_file_of_another_program_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("backups.db");
        rusqlite::Connection::open(&path)
            .unwrap()
            .execute_batch("CREATE TABLE servers (id)")
            .unwrap();
        let error = Tables::at(&path).noted_time().unwrap_err();
        assert!(error.message.contains("belongs to another program"), "{error}");
    }

    #[test]
    fn a_file_that_was_moved_or_replaced_is_not_written_and_its_successor_runs_nothing_twice() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let hour = |hour: i64| Timestamp::from_second(hour * 3600).unwrap();
        let moment = |number: i64| Moment {
            wall: hour(number),
            service: hour(0),
        };
        let rename = |from: &str, to: &str| {
            for end in ["", "-wal"] {
                let _ = std::fs::rename(beside(&at(from), end), beside(&at(to), end));
            }
        };
        let claim = |state: &mut Tables, number: i64| {
            let run = NewRun {
                job: "a".parse().unwrap(),
                trigger: Trigger::Schedule,
                scheduled_at: hour(number),
                repeats: None,
                beginning: Beginning::Now,
            };
            state.record(&[], &[run], hour(number))
        };
        let mut state = Tables::at(&at("state.db"));
        let job: JobId = "a".parse().unwrap();
        state.activate(&[(job, "times".to_owned())], moment(1)).unwrap();
        drop(state);
        std::fs::copy(at("state.db"), at("older.db")).unwrap();
        let mut state = Tables::at(&at("state.db"));
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
        let since = |name: &str| Tables::at(&at(name)).left_behind(hour(11)).unwrap().activations["a"].since;
        assert_eq!(
            since("state.db"),
            hour(9),
            "what was claimed is not claimed again, nor is more"
        );
        let mut back = Tables::at(&at("aside.db"));
        assert_eq!(claim(&mut back, 9).unwrap(), [None], "it is whole");
        // The original is put back after the end: what the other one was told is not meant for it.
        drop(back);
        let own = identity(&at("aside.db")).unwrap();
        successor::tell(&at("aside.db"), hour(20), own);
        let left = Tables::at(&at("aside.db")).left_behind(hour(21)).unwrap();
        assert_eq!(left.unfinished.len(), 3, "its runs are still its own");
        assert!(!at("aside.db-ran").exists());
    }
}
