//! Why a database, or a statement in it, could not be used: in words for the person who can fix it.

use std::fmt;
use std::path::Path;

use rusqlite::ErrorCode;

/// Why a database, or a statement in it, could not be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SqlError {
    pub message: String,
    /// Whether another attempt may do better: another connection held a lock, or had the memory.
    pub is_transient: bool,
}

impl SqlError {
    /// An error that would come again.
    pub(crate) fn lasting(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            is_transient: false,
        }
    }

    /// What `error` means, met in the database at `path`.
    pub(crate) fn of_database(path: &Path, error: &rusqlite::Error) -> Self {
        Self {
            message: format!("database {} {}", path.display(), describe(error)),
            is_transient: is_transient(error),
        }
    }
}

impl fmt::Display for SqlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<rusqlite::Error> for SqlError {
    fn from(error: rusqlite::Error) -> Self {
        Self {
            message: format!("the database {}", describe(&error)),
            is_transient: is_transient(&error),
        }
    }
}

fn is_transient(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::OutOfMemory)
    )
}

/// A SQLite error as the rest of a sentence that begins with the database.
pub(crate) fn describe(error: &rusqlite::Error) -> String {
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => "is not a SQLite database".to_owned(),
        Some(ErrorCode::DatabaseCorrupt) => "is damaged; restore it from a copy".to_owned(),
        Some(ErrorCode::ReadOnly) => "cannot be written: it is read-only for this process".to_owned(),
        Some(ErrorCode::CannotOpen) => "cannot be opened: check the permissions of the file and its folder".to_owned(),
        Some(ErrorCode::DatabaseBusy) => "is locked by another writer".to_owned(),
        Some(ErrorCode::OutOfMemory) => "cannot be used now: SQLite is out of memory".to_owned(),
        Some(ErrorCode::DiskFull) => "cannot grow: the disk is full".to_owned(),
        Some(ErrorCode::SystemIoFailure) => {
            format!("cannot be read or written ({error}); the disk may be full or failing")
        }
        _ => reported(error),
    }
}

fn reported(error: &rusqlite::Error) -> String {
    let message = match error {
        rusqlite::Error::SqliteFailure(_, Some(message)) | rusqlite::Error::SqlInputError { msg: message, .. } => {
            message.clone()
        }
        other => other.to_string(),
    };
    let name = |start: &str| message.strip_prefix(start).map(str::to_owned);
    if let Some(table) = name("no such table: ") {
        format!("has no table `{}`", table.trim_start_matches("main."))
    } else if let Some(column) = name("no such column: ") {
        format!("has no column `{column}`")
    } else {
        format!("reports: {message}")
    }
}
