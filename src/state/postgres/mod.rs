//! The state in a PostgreSQL database, which several replicas share. Whoever holds the lease may change it: every change is
//! a transaction that begins with a look at the lease, and keeps others from taking it until the change is made. What
//! became of a change is found out where the connection breaks in the middle of it.
//!
//! Nothing is kept in a session, so that all of it works through a connection pooler.

mod election;
mod lease;
mod schema;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use super::StateError;
use super::statements::{self, Cell, Durability, Fault, Row, Value};
use crate::postgres::{self, Address, Connection, PostgresError, Session, ToSql, Type, apart};
pub(crate) use election::{Candidate, Leader, LeaseAction, Replica, Request, Tick};
pub(crate) use lease::Term;

use lease::Lease;
use schema::SchemaError;

/// How long the server may take for an answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long until what became of a change is asked again.
const SOON: Duration = Duration::from_millis(100);
/// The bounds of a transaction: a replica that sleeps in the middle of one holds nobody up for long.
const BOUNDS: &str = "SET LOCAL lock_timeout = '1s'; SET LOCAL statement_timeout = '5s'; SET LOCAL idle_in_transaction_session_timeout = '5s'";

/// Where a state is kept on a server.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct StateServer {
    pub address: Address,
    pub schema: String,
}

impl StateServer {
    /// Where it is, without secrets.
    pub(crate) fn shown(&self) -> String {
        format!("{} (schema {})", self.address.place(), self.schema)
    }

    /// Why it cannot be used now, if it cannot. It waits for that, and makes nothing.
    pub(crate) fn trouble(&self) -> Option<String> {
        let looked = apart(|| {
            let mut connection = Connection::open(&self.address, &Session::default())?;
            schema::may_be_made(&mut connection, &self.schema)
        });
        match looked {
            Ok(None) => None,
            Ok(Some(why)) => Some(format!("state database {} {why}", self.shown())),
            Err(error) => Some(self.error(&error).message),
        }
    }

    fn connect(&self, name: &str) -> Result<Connection, StateError> {
        let session = Session {
            name: name.to_owned(),
            settings: Vec::new(),
        };
        let connected = Connection::open(&self.address, &session);
        let mut connection = connected.map_err(|error| self.error(&error))?;
        schema::prepare(&mut connection, &self.schema).map_err(|error| match error {
            SchemaError::Postgres(error) => self.error(&error),
            SchemaError::Foreign => StateError {
                message: format!(
                    "state database {} belongs to another program: its table `version` is not ours; `state.schema` must name a schema of its own",
                    self.shown()
                ),
                is_transient: false,
                is_not_leading: false,
            },
            SchemaError::Newer(version) => StateError {
                message: format!(
                    "state database {} was written by a newer version of this program (schema {version})",
                    self.shown()
                ),
                is_transient: false,
                is_not_leading: false,
            },
        })?;
        Ok(connection)
    }

    fn error(&self, error: &PostgresError) -> StateError {
        StateError {
            message: format!("state database {} {}", self.shown(), error.why),
            is_transient: error.is_transient(),
            is_not_leading: false,
        }
    }
}

/// The state on a server.
#[derive(Debug)]
pub(super) struct Postgres {
    server: Arc<StateServer>,
    connection: Option<Connection>,
    lease: Lease,
}

impl Postgres {
    fn new(server: Arc<StateServer>, lease: Lease) -> Self {
        Self {
            server,
            connection: None,
            lease,
        }
    }

    /// Whether there is a state already.
    pub(super) fn is_there(&self) -> bool {
        let opened = Connection::open(&self.server.address, &Session::default());
        opened.is_ok_and(|mut connection| schema::is_there(&mut connection, &self.server.schema).unwrap_or(false))
    }

    /// Does `work`, which changes nothing.
    pub(super) fn read<T>(
        &mut self,
        work: impl FnOnce(&mut dyn statements::Connection) -> Result<T, Fault>,
    ) -> Result<T, StateError> {
        let begin = format!("BEGIN READ ONLY; SET LOCAL search_path = \"{}\"", self.server.schema);
        self.with(|connection, _| {
            connection.batch(&begin, PATIENCE)?;
            let done = work(&mut Statements(connection));
            if !connection.is_broken() {
                connection.batch("ROLLBACK", PATIENCE)?;
            }
            done
        })
    }

    /// Does `work` as the leader, all or nothing.
    pub(super) fn change<T>(
        &mut self,
        durability: Durability,
        work: impl FnOnce(&mut dyn statements::Connection) -> Result<T, Fault>,
    ) -> Result<T, StateError> {
        let Some(Term { number, .. }) = self.lease.term() else {
            return Err(StateError::not_leading());
        };
        let begin = begin(&self.server.schema, (&self.lease.holder, number), durability);
        let lease = self.lease.clone();
        self.with(|connection, server| {
            connection.batch(&begin, PATIENCE)?;
            let done = fence(connection, (&lease.holder, number)).and_then(|transaction| {
                let done = work(&mut Statements(connection))?;
                Ok((done, transaction))
            });
            let (done, transaction) = match done {
                Ok(done) => done,
                Err(fault) => {
                    if !connection.is_broken() {
                        connection.batch("ROLLBACK", PATIENCE)?;
                    }
                    return Err(fault);
                }
            };
            match connection.batch("COMMIT", PATIENCE) {
                Ok(()) => Ok(done),
                Err(error) if !error.is_broken => Err(error.into()),
                Err(error) => find_out(server, (&lease, number), &transaction, error).map(|()| done),
            }
        })
        .inspect_err(|error| {
            if error.is_not_leading {
                self.lease.end(number);
            }
        })
    }

    /// Does `work` on the connection, which is opened where there is none.
    fn with<T>(
        &mut self,
        work: impl FnOnce(&mut Connection, &StateServer) -> Result<T, Fault>,
    ) -> Result<T, StateError> {
        let mut connection = match self.connection.take().filter(|connection| !connection.is_broken()) {
            Some(connection) => connection,
            None => self.server.connect("duplistatus-cron")?,
        };
        let done = work(&mut connection, &self.server);
        self.connection = Some(connection).filter(|connection| !connection.is_broken());
        done.map_err(|fault| match fault {
            Fault::Postgres(error) => self.server.error(&error),
            Fault::NotLeading => StateError::not_leading(),
            other => StateError {
                message: format!("state database {} cannot be read: {other}", self.server.shown()),
                is_transient: false,
                is_not_leading: false,
            },
        })
    }
}

fn begin(schema: &str, (holder, term): (&str, i64), durability: Durability) -> String {
    let commit = match durability {
        Durability::Disk => "on",
        Durability::Process => "off",
    };
    format!(
        "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL search_path = \"{schema}\"; {BOUNDS}; SET LOCAL synchronous_commit = {commit};
         SET LOCAL duplistatus_cron.term = '{term}'; SET LOCAL duplistatus_cron.holder = '{holder}'"
    )
}

/// Makes sure of the lease until the transaction ends; gives the transaction's number.
fn fence(connection: &mut Connection, (holder, term): (&str, i64)) -> Result<String, Fault> {
    let version = i64::try_from(schema::VERSION).unwrap_or(0);
    // A weaker lock does not keep another one from taking the lease.
    let held = connection.query(
        "SELECT pg_current_xact_id()::text FROM leader WHERE name = 'main' AND holder = $1 AND term = $2 AND expires_at > now()
         AND (SELECT version FROM version) <= $3 FOR SHARE",
        &vec![
            (&holder, Type::TEXT),
            (&term, Type::INT8),
            (&version, Type::INT8),
        ],
        PATIENCE,
    )?;
    held.first().map(|row| row.get(0)).ok_or(Fault::NotLeading)
}

/// Finds out whether a transaction was committed whose connection broke at its end. Nothing may go on before that is known,
/// or this process leads no more: then the next leader sees to what is there.
fn find_out(
    server: &StateServer,
    (lease, number): (&Lease, i64),
    transaction: &String,
    error: PostgresError,
) -> Result<(), Fault> {
    tracing::warn!("the connection to the state broke while a change was being made; finding out whether it was");
    while lease.term().is_some_and(|term| term.number == number) {
        if let Some(status) = status_of(server, transaction) {
            return match status.as_str() {
                "committed" => Ok(()),
                _ => Err(error.into()),
            };
        }
        std::thread::sleep(SOON);
    }
    Err(Fault::NotLeading)
}

/// What became of a transaction; `None` as long as that is not known.
fn status_of(server: &StateServer, transaction: &String) -> Option<String> {
    let mut connection = server.connect("duplistatus-cron").ok()?;
    let sql = "SELECT pg_xact_status($1::xid8)";
    let found = connection.query(sql, &vec![(transaction, Type::TEXT)], PATIENCE).ok()?;
    let status: Option<String> = found.first()?.get(0);
    // Whatever is too old to be known was never committed by us.
    Some(status.unwrap_or_default()).filter(|status| status != "in progress")
}

impl From<PostgresError> for Fault {
    fn from(error: PostgresError) -> Self {
        Self::Postgres(error)
    }
}

/// The statements of the tables, on a connection.
struct Statements<'a>(&'a mut Connection);

impl statements::Connection for Statements<'_> {
    fn query(&mut self, sql: &str, values: &[Value<'_>]) -> Result<Vec<Row>, Fault> {
        let values = without_nul(values);
        let rows = self.0.query(&numbered(sql), &typed(&values), PATIENCE)?;
        rows.iter().map(row_of).collect()
    }

    fn execute(&mut self, sql: &str, values: &[Value<'_>]) -> Result<u64, Fault> {
        let values = without_nul(values);
        Ok(self.0.execute(&numbered(sql), &typed(&values), PATIENCE)?)
    }

    fn each(&mut self, sql: &str, rows: &[Vec<Value<'_>>]) -> Result<Vec<Vec<Row>>, Fault> {
        let rows: Vec<_> = rows.iter().map(|values| without_nul(values)).collect();
        let rows: Vec<_> = rows.iter().map(|values| typed(values)).collect();
        let found = self.0.each(&numbered(sql), &rows, PATIENCE)?;
        found.iter().map(|rows| rows.iter().map(row_of).collect()).collect()
    }
}

/// No statement of the tables has a question mark but for its parameters.
fn numbered(sql: &str) -> String {
    sql.replace('?', "$")
}

/// A server keeps no NUL in a text.
fn without_nul<'a>(values: &'a [Value<'a>]) -> Cow<'a, [Value<'a>]> {
    let has_nul = |value: &Value<'_>| matches!(value, Value::Text(Some(text)) if text.contains('\0'));
    if !values.iter().any(has_nul) {
        return values.into();
    }
    let clean = |value: &Value<'a>| match value {
        Value::Text(Some(text)) => Value::Text(Some(text.replace('\0', "\u{fffd}").into())),
        other => other.clone(),
    };
    values.iter().map(clean).collect::<Vec<_>>().into()
}

fn typed<'a>(values: &'a [Value<'_>]) -> postgres::Parameters<'a> {
    let typed = |value: &'a Value<'_>| -> (&'a (dyn ToSql + Sync), Type) {
        match value {
            Value::Integer(integer) => (integer, Type::INT8),
            Value::Text(text) => (text, Type::TEXT),
        }
    };
    values.iter().map(typed).collect()
}

fn row_of(row: &postgres::Row) -> Result<Row, Fault> {
    let cell = |index: usize| {
        let kind = row.columns()[index].type_();
        let found = match *kind {
            Type::INT8 => row
                .try_get::<_, Option<i64>>(index)
                .map(|value| value.map(Cell::Integer)),
            Type::INT4 => row
                .try_get::<_, Option<i32>>(index)
                .map(|value| value.map(|value| Cell::Integer(value.into()))),
            _ => row
                .try_get::<_, Option<String>>(index)
                .map(|value| value.map(Cell::Text)),
        };
        let cell = found.map_err(|_| Fault::Misread(format!("column {} of a row is a {kind}", index + 1)))?;
        Ok::<_, Fault>(cell.unwrap_or(Cell::Null))
    };
    Ok(Row((0..row.len()).map(cell).collect::<Result<_, _>>()?))
}
