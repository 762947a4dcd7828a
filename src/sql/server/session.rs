//! A session of one job on a server: its settings, and statements with the parameters of a run.

use std::time::Duration;

use super::Server;
use super::statement::Statement;
use crate::postgres::{Connection, PostgresError, Row, Session, ToSql, Type};
use crate::sql::{Parameters, SqlError};
use crate::values::{CancellationToken, Parameter};

/// How long a session may be idle: then the server ends it, should we be gone or asleep.
const IDLE: &str = "8s";
/// What a session is called that checks statements.
pub(super) const CHECK: &str = "validate";
/// The same within a transaction.
const IDLE_IN_TRANSACTION: &str = "10s";
/// Has the server end a statement soon whose client is gone.
const NOTICED: &str = "SET client_connection_check_interval = '2s'";
/// How much longer we wait than the server may take.
const MARGIN: Duration = Duration::from_secs(2);
/// How long it may take where nothing is said.
const PATIENCE: Duration = Duration::from_secs(10);

/// A session on a server.
#[derive(Debug)]
pub(crate) struct ServerSession {
    connection: Connection,
    place: String,
    /// The values of the run.
    pub parameters: Parameters,
    patience: Duration,
}

impl ServerSession {
    /// A session of `job` in which no statement takes longer than `patience`, or waits longer for a lock than `locks`.
    pub(crate) fn open(server: &Server, job: &str, patience: Duration, locks: Duration) -> Result<Self, SqlError> {
        let settings = vec![
            ("statement_timeout", in_millis(patience)),
            ("lock_timeout", in_millis(locks)),
            ("idle_in_transaction_session_timeout", IDLE_IN_TRANSACTION.to_owned()),
            // What only checks may wait for other databases meanwhile.
            (
                "idle_session_timeout",
                if job == CHECK { "10min" } else { IDLE }.to_owned(),
            ),
            ("TimeZone", server.zone().to_string()),
            ("DateStyle", "ISO".to_owned()),
            // How a backslash in a text is read.
            ("standard_conforming_strings", "on".to_owned()),
            // Rows that a policy hides would go unseen.
            ("row_security", "off".to_owned()),
        ];
        let session = Session {
            name: format!("duplistatus-cron/{job}"),
            settings,
        };
        let place = server.address.place().to_owned();
        let mut connection = Connection::open(&server.address, &session).map_err(|error| of_place(&place, &error))?;
        // Not every server can do that.
        let _ = connection.batch(NOTICED, PATIENCE);
        Ok(Self {
            connection,
            place,
            parameters: Parameters::new(),
            patience,
        })
    }

    /// Has statements end when `interrupt` asks for that.
    pub(crate) fn end_with(&mut self, interrupt: &CancellationToken) {
        self.connection.end_with(interrupt);
    }

    /// What `error` means, for people.
    pub(crate) fn explain(&self, error: &PostgresError) -> SqlError {
        if error.code.is_some() {
            return SqlError {
                message: format!("the database {}", error.why),
                is_transient: error.is_transient(),
            };
        }
        of_place(&self.place, error)
    }

    /// Runs one statement whose parameters are those of the run, and `more`; gives the rows it returns.
    pub(crate) fn query(&mut self, sql: &str, more: &[(&str, Parameter)]) -> Result<Vec<Row>, PostgresError> {
        self.with(sql, more, |connection, sql, parameters, patience| {
            connection.query(sql, parameters, patience)
        })
    }

    /// Runs one statement whose parameters are those of the run, and `more`; gives how many rows it changed.
    pub(crate) fn execute(&mut self, sql: &str, more: &[(&str, Parameter)]) -> Result<u64, PostgresError> {
        self.with(sql, more, |connection, sql, parameters, patience| {
            connection.execute(sql, parameters, patience)
        })
    }

    /// Runs statements of our own.
    pub(crate) fn run(&mut self, sql: &str) -> Result<(), PostgresError> {
        self.connection.batch(sql, PATIENCE)
    }

    /// Does `work` in a transaction that changes nothing.
    pub(crate) fn reading<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, PostgresError>,
    ) -> Result<T, PostgresError> {
        // After the first query nothing can make it a transaction that writes.
        self.run("BEGIN READ ONLY; SELECT 1")?;
        let done = work(self);
        if !self.connection.is_broken() {
            self.run("ROLLBACK")?;
        }
        done.map_err(PostgresError::while_reading)
    }

    /// Runs one query in such a transaction.
    pub(crate) fn read(&mut self, sql: &str) -> Result<Vec<Row>, PostgresError> {
        self.reading(|session| session.query(sql, &[]))
    }

    /// The columns that a statement returns.
    pub(crate) fn columns(&mut self, sql: &str) -> Result<Vec<String>, PostgresError> {
        self.describe(&Statement::of(sql))
    }

    /// Has the server read one statement; gives the columns it returns.
    pub(super) fn describe(&mut self, statement: &Statement) -> Result<Vec<String>, PostgresError> {
        let types = self.types_of(statement);
        let columns = self.connection.describe(&statement.sql, &types, PATIENCE)?;
        Ok(columns.into_iter().map(|(name, _)| name).collect())
    }

    /// Has the server tell how it would run one statement, whatever its parameters are.
    pub(super) fn explain_prepared(&mut self, sql: &str) -> Result<Vec<Row>, PostgresError> {
        let statement = Statement::of(sql);
        let types = self.types_of(&statement);
        let in_brackets = |items: Vec<&str>| match items.as_slice() {
            [] => String::new(),
            items => format!("({})", items.join(", ")),
        };
        let values = in_brackets(types.iter().map(|_| "NULL").collect());
        let types = in_brackets(types.iter().map(Type::name).collect());
        let prepare = format!("PREPARE explained {types} AS {}", statement.sql);
        self.connection.execute(&prepare, &Vec::new(), PATIENCE)?;
        let explain = format!("EXPLAIN (VERBOSE, FORMAT JSON) EXECUTE explained {values}");
        let explained = self.connection.query(&explain, &Vec::new(), PATIENCE);
        if explained.is_ok() {
            self.run("DEALLOCATE explained")?;
        }
        explained
    }

    fn types_of(&self, statement: &Statement) -> Vec<Type> {
        let of = |name: &String| self.parameters.get(name.as_str()).map(|value| bound(name, value).1);
        statement
            .names
            .iter()
            .map(|name| of(name).unwrap_or(Type::TEXT))
            .collect()
    }

    fn with<T>(
        &mut self,
        sql: &str,
        more: &[(&str, Parameter)],
        ask: impl FnOnce(&mut Connection, &str, &crate::postgres::Parameters<'_>, Duration) -> Result<T, PostgresError>,
    ) -> Result<T, PostgresError> {
        let statement = Statement::of(sql);
        let value = |name: &String| {
            let more = more.iter().find(|(other, _)| other == name).map(|(_, value)| value);
            more.or_else(|| self.parameters.get(name.as_str()))
                .map(|value| bound(name, value))
        };
        let bound: Vec<_> = statement.names.iter().filter_map(value).collect();
        let parameters = bound.iter().map(|(value, kind)| (&**value, kind.clone())).collect();
        ask(
            &mut self.connection,
            &statement.sql,
            &parameters,
            self.patience + MARGIN,
        )
    }
}

/// A setting of time, as large as the server takes it.
fn in_millis(duration: Duration) -> String {
    format!("{}ms", duration.as_millis().min(i32::MAX.unsigned_abs().into()))
}

fn of_place(place: &str, error: &PostgresError) -> SqlError {
    SqlError {
        message: format!("database {place} {}", error.why),
        is_transient: error.is_transient(),
    }
}

/// A value as the server takes it, with its type.
fn bound(name: &str, value: &Parameter) -> (Box<dyn ToSql + Sync>, Type) {
    match value {
        Parameter::Text(text) => (Box::new(text.clone()), Type::TEXT),
        // What functions of dates take.
        Parameter::Integer(number) if name == "retention_days" => {
            (Box::new(i32::try_from(*number).unwrap_or(i32::MAX)), Type::INT4)
        }
        Parameter::Integer(number) => (Box::new(*number), Type::INT8),
        Parameter::Real(number) => (Box::new(*number), Type::FLOAT8),
        Parameter::Instant(at) => (Box::new(*at), Type::TIMESTAMPTZ),
        Parameter::DateTime(at) => (Box::new(*at), Type::TIMESTAMP),
        Parameter::Date(at) => (Box::new(*at), Type::DATE),
    }
}
