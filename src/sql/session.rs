//! Declared SQL at work: inside the sandbox, with the values of a run, and under the write lock where it writes. Also
//! how a statement is interrupted, and how the WAL is kept short.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rusqlite::types::Value;
use rusqlite::{Connection, ErrorCode, Row, Statement, ToSql};

use super::{Sandbox, SqlError};
use crate::values::{CancellationToken, Parameter, Progress};

/// The values of a run, by the names that a statement (`:name`), a message (`{name}`) and a record (`":name"`) share.
pub(crate) type Parameters = BTreeMap<&'static str, Parameter>;

/// A connection on which a declared statement is run.
pub(crate) struct Session<'a> {
    pub connection: &'a Sandbox,
    pub parameters: Parameters,
    pub interrupt: &'a Interrupt,
    pub progress: &'a Progress,
}

/// What became of a piece of work under the write lock.
pub(crate) enum Taken {
    /// It is done: how many rows it changed, and how long the lock was held.
    Done(u64, Duration),
    /// It was taken back: too many rows, or too long.
    Back,
}

impl Session<'_> {
    /// Runs declared SQL inside the sandbox, with the given parameters beside those of the run; gives how many rows it
    /// changed. Rows that it returns are passed over.
    pub(crate) fn execute(&self, sql: &str, more: &[(&str, &Value)]) -> rusqlite::Result<u64> {
        let mut statement = self.connection.inside(|connection| connection.prepare_cached(sql))?;
        bind(&mut statement, &self.parameters, more)?;
        let mut rows = statement.raw_query();
        while self.connection.inside(|_| rows.next())?.is_some() {}
        Ok(self.connection.changes())
    }

    /// Reads the rows that declared SQL gives, inside the sandbox.
    pub(crate) fn read<T>(
        &self,
        sql: &str,
        read: impl Fn(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, SqlError> {
        let read_all = || -> rusqlite::Result<Vec<T>> {
            let mut statement = self.connection.inside(|connection| connection.prepare_cached(sql))?;
            bind(&mut statement, &self.parameters, &[])?;
            let mut found = Vec::new();
            let mut rows = statement.raw_query();
            // A table that has changed since has it compiled anew.
            while let Some(row) = self.connection.inside(|_| rows.next())? {
                found.push(read(row)?);
            }
            Ok(found)
        };
        read_all().map_err(|error| self.connection.explain(error))
    }

    /// A transaction that cannot be committed is not left open.
    fn commit(&self) -> Result<(), SqlError> {
        self.connection.run("COMMIT").map_err(|error| {
            let _ = self.connection.execute_batch("ROLLBACK");
            self.connection.explain(error)
        })
    }

    /// Does `work` under the write lock, all or nothing. It is taken back where it takes longer than `patience`, or says
    /// that it is not to stay.
    pub(crate) fn locked(
        &self,
        patience: Option<Duration>,
        work: impl FnOnce() -> rusqlite::Result<(u64, bool)>,
    ) -> Result<Taken, SqlError> {
        self.connection.run("BEGIN IMMEDIATE")?;
        let began = Instant::now();
        self.interrupt
            .end_statement_at(patience.map(|patience| began + patience));
        let done = work();
        let was_late = self.interrupt.is_late();
        self.interrupt.end_statement_at(None);
        match done {
            Ok((changed, true)) => {
                self.commit()?;
                Ok(Taken::Done(changed, began.elapsed()))
            }
            Ok((_, false)) => {
                self.connection.execute_batch("ROLLBACK")?;
                Ok(Taken::Back)
            }
            Err(error) => {
                let _ = self.connection.execute_batch("ROLLBACK");
                if was_late
                    && error.sqlite_error_code() == Some(ErrorCode::OperationInterrupted)
                    && !self.interrupt.is_cancelled()
                {
                    return Ok(Taken::Back);
                }
                Err(self.connection.explain(error))
            }
        }
    }
}

/// Gives every parameter of `statement` its value.
pub(crate) fn bind(
    statement: &mut Statement<'_>,
    parameters: &Parameters,
    more: &[(&str, &Value)],
) -> rusqlite::Result<()> {
    for index in 1..=statement.parameter_count() {
        let name = statement.parameter_name(index).unwrap_or("?").to_owned();
        let own = name.strip_prefix(':').and_then(|name| parameters.get(name));
        if let Some(value) = own {
            statement.raw_bind_parameter(index, value)?;
        } else if let Some((_, value)) = more.iter().find(|(other, _)| *other == name) {
            statement.raw_bind_parameter(index, value)?;
        } else {
            // Without a value it would be NULL, which nobody means.
            return Err(rusqlite::Error::InvalidParameterName(name));
        }
    }
    Ok(())
}

impl ToSql for Parameter {
    fn to_sql(&self) -> rusqlite::Result<rusqlite::types::ToSqlOutput<'_>> {
        match self {
            Self::Text(text) => text.to_sql(),
            Self::Integer(number) => number.to_sql(),
            Self::Real(number) => number.to_sql(),
            // What only PostgreSQL has columns for.
            other => Ok(other.to_string().into()),
        }
    }
}

/// Bytes of the log after which it is written back: less than the thousand usual pages at which an application's own
/// commit would.
const GROWN: i64 = 700 * 4096;
/// So few frames may be left to be written within the lock, so that the log begins anew.
const FEW: i64 = 20;
/// How often what others wrote meanwhile is written back, too.
const TRIES: u32 = 3;
/// Bytes at which a run waits for a reader that keeps the log from beginning anew.
const MOST: i64 = 16 * 1024 * 1024;
/// How long it waits for that.
const PATIENCE: Duration = Duration::from_secs(10);
const BETWEEN_TRIES: Duration = Duration::from_millis(20);

/// Has `connection` write the log back when it is told to, never as part of a commit.
pub(super) fn take_over(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    // With a write-ahead log, this loses no consistency, and no commit waits for the disk with the lock held.
    let mode: String = connection.pragma_query_value(None, "journal_mode", |row| row.get(0))?;
    if mode == "wal" {
        connection.pragma_update(None, "synchronous", "normal")?;
    }
    Ok(())
}

/// Writes the log back where it has grown, and has it begin anew; nobody waits for that but this run, and only where
/// the log has grown large.
pub(crate) fn checkpoint(connection: &Connection, interrupt: &Interrupt) -> Result<(), SqlError> {
    let page: i64 = connection.pragma_query_value(None, "page_size", |row| row.get(0))?;
    let began = Instant::now();
    loop {
        let bytes = frames_after(connection, interrupt, GROWN / page) * page;
        if bytes < MOST || interrupt.is_cancelled() {
            return Ok(());
        }
        if began.elapsed() >= PATIENCE {
            let megabytes = bytes / 1_000_000;
            return Err(SqlError {
                is_transient: true,
                ..SqlError::lasting(format!(
                    "the write-ahead log has grown to {megabytes} MB and cannot be reset, because another connection has kept a read transaction open"
                ))
            });
        }
        std::thread::sleep(BETWEEN_TRIES);
    }
}

/// Writes the log back where it has more than `grown` frames; gives how many it has then.
fn frames_after(connection: &Connection, interrupt: &Interrupt, grown: i64) -> i64 {
    let run = |mode: &str| {
        connection
            .query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| {
                Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?))
            })
            .unwrap_or((1, 0, 0))
    };
    let (_, mut frames, mut done) = run("NOOP");
    if frames < grown {
        return frames;
    }
    for _ in 0..TRIES {
        (_, frames, done) = run("PASSIVE");
        if frames - done <= FEW {
            break;
        }
    }
    if frames - done > FEW {
        return frames;
    }
    // It holds the write lock, and so must not wait for a reader.
    interrupt.end_statement_at(Some(Instant::now()));
    let (is_busy, ..) = run("RESTART");
    interrupt.end_statement_at(None);
    if is_busy == 0 { 0 } else { frames }
}

/// What SQLite looks at while it works.
#[derive(Clone, Debug)]
pub(crate) struct Interrupt {
    token: CancellationToken,
    made: Instant,
    /// Microseconds after `made` at which the statement under way is to end, though not the run.
    late_after: Arc<AtomicU64>,
}

impl Interrupt {
    pub(crate) fn new(token: &CancellationToken) -> Self {
        Self {
            token: token.clone(),
            made: Instant::now(),
            late_after: Arc::new(AtomicU64::new(u64::MAX)),
        }
    }

    /// Has the statement under way end at `end`; never, with none.
    pub(super) fn end_statement_at(&self, end: Option<Instant>) {
        let after = end.map(|end| end.saturating_duration_since(self.made).as_micros());
        let after = after.and_then(|after| u64::try_from(after).ok()).unwrap_or(u64::MAX);
        self.late_after.store(after, Ordering::Relaxed);
    }

    /// Whether the statement under way is to end.
    pub(super) fn is_late(&self) -> bool {
        let after = self.late_after.load(Ordering::Relaxed);
        after != u64::MAX && self.made.elapsed().as_micros() >= u128::from(after)
    }

    /// Whether the run is to end.
    pub(super) fn is_cancelled(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Makes `connection` end its statement when it should, and its wait for another writer then or after `patience`.
    pub(crate) fn govern(&self, connection: &mut Connection, patience: Duration) -> rusqlite::Result<()> {
        // Each step may be a call of a function that takes a while.
        const STEPS_BETWEEN_LOOKS: i32 = 100;
        const FIRST_WAITS: Duration = Duration::from_micros(500);
        const WAIT: Duration = Duration::from_millis(5);
        let (working, waiting) = (self.clone(), self.clone());
        connection.progress_handler(
            STEPS_BETWEEN_LOOKS,
            Some(move || working.is_cancelled() || working.is_late()),
        )?;
        connection.busy_handler(Some(move |waits: i32| {
            if waiting.is_late() {
                return false;
            }
            std::thread::sleep(if waits < 10 { FIRST_WAITS } else { WAIT });
            !waiting.is_cancelled() && WAIT.saturating_mul(waits.unsigned_abs()) < patience
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::values::CancelReason;

    #[test]
    fn an_endless_statement_ends_when_its_run_is_cancelled() {
        let mut connection = Connection::open_in_memory().unwrap();
        let token = CancellationToken::default();
        Interrupt::new(&token)
            .govern(&mut connection, Duration::from_secs(1))
            .unwrap();
        token.cancel(CancelReason::TimedOut);
        token.cancel(CancelReason::Shutdown);
        let endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";
        let error = connection.query_row(endless, [], |_| Ok(())).unwrap_err();
        assert_eq!(error.sqlite_error_code(), Some(ErrorCode::OperationInterrupted));
        assert_eq!(token.reason(), Some(CancelReason::TimedOut));
    }
}
