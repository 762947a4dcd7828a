//! The file of the state database: made where it is missing, refused where it is not ours.

use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;

use super::sqlite::{Unusable, describe};

/// The steps that led to the schema as it is; how many of them a file has taken is its `user_version`.
const STEPS: &[&str] = &[
    concat!(include_str!("state.sql"), include_str!("outbox.sql")),
    include_str!("alerts.sql"),
    include_str!("marks.sql"),
    include_str!("findings.sql"),
    include_str!("last_good.sql"),
];
/// How long a write waits for a reader that has the file locked, as a checkpoint of another process may.
pub(super) const BUSY: Duration = Duration::from_millis(500);

/// Opens the state database at `path`, making it and its folder where they are missing.
///
/// # Errors
/// When it cannot be made or opened, or belongs to another program.
pub(super) fn open(path: &Path) -> Result<Connection, Unusable> {
    let unusable = |why: String| Unusable {
        path: path.to_owned(),
        why,
    };
    if path.is_dir() {
        return Err(unusable("is a folder, not a database".to_owned()));
    }
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(|error| unusable(format!("its folder cannot be made: {error}")))?;
    }
    prepare(path)
        .map_err(|error| unusable(describe(&error)))?
        .map_err(unusable)
}

/// The opened database with its schema in place, or why it is not ours to use.
fn prepare(path: &Path) -> rusqlite::Result<Result<Connection, String>> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY)?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "normal")?;
    connection.pragma_update(None, "cache_size", -512)?;
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if version == 0 && tables > 0 {
        return Ok(Err(
            "belongs to another program; state.path must name a file of its own".to_owned(),
        ));
    }
    let Some(missing) = usize::try_from(version).ok().and_then(|taken| STEPS.get(taken..)) else {
        return Ok(Err(format!(
            "was written by a newer version of this program (schema {version})"
        )));
    };
    if !missing.is_empty() {
        let (steps, version) = (missing.concat(), STEPS.len());
        connection.execute_batch(&format!(
            "BEGIN IMMEDIATE; {steps} PRAGMA user_version = {version}; COMMIT"
        ))?;
    }
    Ok(Ok(connection))
}
