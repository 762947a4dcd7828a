//! The databases that jobs work on: opened, checked, sandboxed, emptied in batches, explained. SQLite is the one engine
//! there is; what a row means is left to the kinds of jobs, and the service's own state to `state`.

mod batch_delete;
mod check;
mod comparison;
mod error;
mod explain;
mod functions;
mod impact;
mod maintenance;
mod misfit;
mod pool;
mod row_key;
mod sandbox;
mod schema;
mod session;
mod tokens;

use std::path::PathBuf;
use std::time::Duration;

pub(crate) use batch_delete::{Deletion, Pace, check_batches};
pub(crate) use check::{CheckedDatabase, READING, WRITING, compile, missing_table};
pub(crate) use comparison::{Comparison, comparisons};
pub(crate) use error::SqlError;
pub(crate) use explain::explain;
pub(crate) use impact::{plain, search};
pub(crate) use maintenance::Maintenance;
pub(crate) use misfit::{Held, in_words};
pub(crate) use pool::{MOST_THREADS, Mode, Pool, Visit, open_read, open_read_in_time, open_write};
pub(crate) use row_key::RowKey;
/// The types of SQLite itself, for whoever reads tables of its own.
pub(crate) use rusqlite as sqlite;
pub(crate) use sandbox::Sandbox;
pub(crate) use session::{Interrupt, Parameters, Session, Taken, bind, checkpoint};
pub(crate) use tokens::{TokenKind, parameters_of, tokens};

/// A database that jobs work on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Database {
    pub path: PathBuf,
    pub read_only: bool,
    /// How long a run waits for another writer.
    pub busy_timeout: Duration,
}
