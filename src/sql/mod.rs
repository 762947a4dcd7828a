//! The databases that jobs work on: opened, checked, fenced in, emptied in batches, explained. Most of it is about SQLite
//! files; `server` has what is another matter on a PostgreSQL server. What a row means is left to the kinds of jobs, and
//! the service's own state to `state`.

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
pub(crate) mod server;
mod session;
mod tokens;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub(crate) use batch_delete::{Deletion, Pace, check_batches};
pub(crate) use check::{CheckedDatabase, CheckedFile, READING, WRITING, compile, missing_table};
pub(crate) use comparison::{Comparison, comparisons};
pub(crate) use error::SqlError;
pub(crate) use explain::explain;
pub(crate) use impact::{plain, search};
pub(crate) use maintenance::Maintenance;
pub(crate) use misfit::{Held, LONG_UNWRITTEN, in_words};
pub(crate) use pool::{MOST_THREADS, Mode, Pool, Visit, open_read, open_read_in_time, open_write};
pub(crate) use row_key::RowKey;
/// The types of SQLite itself, for whoever reads tables of its own.
pub(crate) use rusqlite as sqlite;
pub(crate) use sandbox::Sandbox;
pub(crate) use session::{Interrupt, Parameters, Session, Taken, bind, checkpoint};
pub(crate) use tokens::{TokenKind, parameters_of, tokens};

use server::{Server, names_of_parameters};

/// A database that jobs work on.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Database {
    pub place: Place,
    pub read_only: bool,
    /// How long a run waits for another writer.
    pub busy_timeout: Duration,
}

/// The language that a database understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    Sqlite,
    Postgresql,
}

impl Dialect {
    /// That of the database; of one that is not known, the usual one.
    pub(crate) fn of(database: Option<&CheckedDatabase>) -> Self {
        match database {
            Some(CheckedDatabase::Server(_)) => Self::Postgresql,
            Some(CheckedDatabase::File(_)) | None => Self::Sqlite,
        }
    }

    /// The parameters in `sql`: the names of those in the form `:name`, the others whole.
    pub(crate) fn parameters_of(self, sql: &str) -> Vec<&str> {
        match self {
            Self::Sqlite => parameters_of(sql),
            Self::Postgresql => names_of_parameters(sql),
        }
    }
}

/// Where a database is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Place {
    /// In a SQLite file.
    File(PathBuf),
    /// On a PostgreSQL server.
    Server(Arc<Server>),
}

impl Database {
    /// The file it is in, where it is in one.
    pub(crate) fn file(&self) -> Option<&Path> {
        match &self.place {
            Place::File(path) => Some(path),
            Place::Server(_) => None,
        }
    }

    /// What tells it from other databases.
    pub(crate) fn key(&self) -> &Path {
        match &self.place {
            Place::File(path) => path,
            Place::Server(server) => Path::new(server.key()),
        }
    }

    /// Where it is, without secrets.
    pub(crate) fn shown(&self) -> String {
        match &self.place {
            Place::File(path) => path.display().to_string(),
            Place::Server(server) => server.address.place().to_owned(),
        }
    }
}
