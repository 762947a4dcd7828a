//! Declared SQL at work: inside the sandbox, with the values of a run, and under the write lock where it writes.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rusqlite::types::Value;
use rusqlite::{ErrorCode, Row, Statement, ToSql};

use super::{Interrupt, Sandbox, SqlError};
use crate::values::{Parameter, Progress};

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
        self.connection.execute_batch("COMMIT").map_err(|error| {
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
        self.connection.execute_batch("BEGIN IMMEDIATE")?;
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
        }
    }
}
