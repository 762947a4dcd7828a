//! The statements of the state as every engine understands them: parameters are `?1`, `?2`, …, instants are milliseconds
//! since 1970, and a truth is 0 or 1. What is read of a row is checked as it is read.

use std::borrow::Cow;
use std::fmt;

use jiff::Timestamp;

use super::{RunId, Status, Trigger};
use crate::postgres::PostgresError;
use crate::values::JobId;

/// What a change that was made survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Durability {
    /// The end of the process, but not that of the machine.
    Process,
    /// The end of the machine.
    Disk,
}

/// Why a statement failed.
#[derive(Debug)]
pub(super) enum Fault {
    Sqlite(rusqlite::Error),
    Postgres(PostgresError),
    /// This replica leads no more.
    NotLeading,
    /// A column does not hold what it should.
    Misread(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(error) => error.fmt(f),
            Self::Postgres(error) => error.fmt(f),
            Self::NotLeading => f.write_str("this replica does not lead"),
            Self::Misread(why) => f.write_str(why),
        }
    }
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

/// What statements are run on.
pub(super) trait Connection {
    /// Runs a statement; gives the rows it returns.
    fn query(&mut self, sql: &str, values: &[Value<'_>]) -> Result<Vec<Row>, Fault>;

    /// Runs a statement; gives how many rows it changed.
    fn execute(&mut self, sql: &str, values: &[Value<'_>]) -> Result<u64, Fault>;

    /// Runs a statement once for each of `rows`, in their order, without waiting for one to send the next; gives what each
    /// returns.
    fn each(&mut self, sql: &str, rows: &[Vec<Value<'_>>]) -> Result<Vec<Vec<Row>>, Fault>;
}

/// Runs a statement that returns one row at most.
pub(super) fn query_one(
    connection: &mut dyn Connection,
    sql: &str,
    values: &[Value<'_>],
) -> Result<Option<Row>, Fault> {
    Ok(connection.query(sql, values)?.into_iter().next())
}

/// A parameter, whose type is known even where it is null.
#[derive(Clone, Debug)]
pub(super) enum Value<'a> {
    Integer(Option<i64>),
    Text(Option<Cow<'a, str>>),
}

/// The parameters of a statement.
macro_rules! values {
    ($($value:expr),* $(,)?) => { [$($crate::state::statements::Value::from($value)),*] };
}
pub(super) use values;

macro_rules! value_of {
    ($($type:ty: $value:ident => $integer:expr;)*) => { $(
        impl From<$type> for Value<'_> {
            fn from($value: $type) -> Self { Self::Integer($integer) }
        }
    )* };
}
value_of! {
    i64: value => Some(value);
    u32: value => Some(value.into());
    usize: value => Some(i64::try_from(value).unwrap_or(i64::MAX));
    bool: value => Some(value.into());
    RunId: value => Some(value.0);
    Timestamp: value => Some(value.as_millisecond());
    Option<RunId>: value => value.map(|run| run.0);
    Option<Timestamp>: value => value.map(Timestamp::as_millisecond);
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(Some(text.into()))
    }
}

impl<'a> From<&'a String> for Value<'a> {
    fn from(text: &'a String) -> Self {
        Self::from(text.as_str())
    }
}

impl From<String> for Value<'_> {
    fn from(text: String) -> Self {
        Self::Text(Some(text.into()))
    }
}

impl<'a> From<&'a JobId> for Value<'a> {
    fn from(job: &'a JobId) -> Self {
        Self::from(job.as_str())
    }
}

impl<'a> From<Option<&'a str>> for Value<'a> {
    fn from(text: Option<&'a str>) -> Self {
        Self::Text(text.map(Into::into))
    }
}

impl From<Status> for Value<'_> {
    fn from(status: Status) -> Self {
        Self::from(status.as_str())
    }
}

impl From<Trigger> for Value<'_> {
    fn from(trigger: Trigger) -> Self {
        Self::from(trigger.as_str())
    }
}

/// What a statement returns in one row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row(pub Vec<Cell>);

/// What stands in one column of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Cell {
    Null,
    Integer(i64),
    Text(String),
}

impl Row {
    /// What stands in the column of that number, counted from 0.
    pub(super) fn get<T: FromCell>(&self, column: usize) -> Result<T, Fault> {
        let cell = self.0.get(column).unwrap_or(&Cell::Null);
        T::from_cell(cell).ok_or_else(|| Fault::Misread(format!("column {} of a row holds {cell:?}", column + 1)))
    }
}

/// What can be read of a column.
pub(super) trait FromCell: Sized {
    /// `None` where the column holds something else.
    fn from_cell(cell: &Cell) -> Option<Self>;
}

impl<T: FromCell> FromCell for Option<T> {
    fn from_cell(cell: &Cell) -> Option<Self> {
        match cell {
            Cell::Null => Some(None),
            there => T::from_cell(there).map(Some),
        }
    }
}

macro_rules! cell_of {
    ($($type:ty: $kind:ident($value:ident) => $read:expr;)*) => { $(
        impl FromCell for $type {
            fn from_cell(cell: &Cell) -> Option<Self> {
                match cell { Cell::$kind($value) => $read, _ => None }
            }
        }
    )* };
}
cell_of! {
    i64: Integer(value) => Some(*value);
    u32: Integer(value) => u32::try_from(*value).ok();
    bool: Integer(value) => Some(*value != 0);
    RunId: Integer(value) => Some(RunId(*value));
    Timestamp: Integer(millis) => Some(Timestamp::from_millisecond(*millis).unwrap_or_default());
    String: Text(text) => Some(text.clone());
    Status: Text(word) => word.parse().ok();
    Trigger: Text(word) => word.parse().ok();
}
