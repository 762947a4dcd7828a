//! The file of the state database: made where it is missing, refused where it is not ours.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use crate::sql::SqlError;
use crate::values::beside;

/// The steps that led to the schema as it is; how many of them a file has taken is its `user_version`.
const STEPS: &[&str] = &[
    concat!(include_str!("state.sql"), include_str!("outbox.sql")),
    include_str!("alerts.sql"),
    include_str!("marks.sql"),
    include_str!("findings.sql"),
    include_str!("last_good.sql"),
    // Earlier versions kept secrets in it.
    "DELETE FROM last_good;",
    "ALTER TABLE marks RENAME TO activations; ALTER TABLE outbox RENAME COLUMN envelope TO notification;",
    include_str!("service_time.sql"),
    include_str!("outputs.sql"),
    // Whoever asks may do so more than once in a moment.
    "DROP INDEX runs_ledger;
     CREATE UNIQUE INDEX runs_ledger ON runs (job, scheduled_at) WHERE \"trigger\" NOT IN ('manual', 'webhook');",
];
/// Its owner may read and write it, and nobody else.
const PRIVATE: u32 = 0o600;
/// How long opening waits for another program that has the file open for a moment.
const BUSY: Duration = Duration::from_millis(500);

/// Opens the state database at `path`, making it and its folder where they are missing.
pub(super) fn open(path: &Path) -> Result<Connection, SqlError> {
    let unusable = |why: String| SqlError::lasting(format!("database {} {why}", path.display()));
    match std::fs::metadata(path) {
        Ok(found) if found.is_dir() => return Err(unusable("is a folder, not a database".to_owned())),
        Ok(found) if !found.is_file() => return Err(unusable("is not a regular file".to_owned())),
        _ => {}
    }
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)
            .map_err(|error| unusable(format!("cannot be made, as its folder cannot: {error}")))?;
    }
    keep_private(path).map_err(|error| unusable(format!("cannot be made: {error}")))?;
    prepare(path)
        .map_err(|error| SqlError::of_database(path, &error))?
        .map_err(unusable)
}

/// Makes the file, or makes it its owner's alone: SQLite gives the files beside it the same mode. One that belongs to
/// another program is left as it is.
fn keep_private(path: &Path) -> io::Result<()> {
    let Ok(found) = std::fs::metadata(path) else {
        return OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(PRIVATE)
            .open(path)
            .map(drop);
    };
    let is_open_to_others = found.permissions().mode() & 0o077 != 0;
    if !is_open_to_others {
        return Ok(());
    }
    let is_ours = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)
        .and_then(|connection| connection.table_exists(None, "outbox"));
    for end in ["", "-wal", "-shm"].iter().filter(|_| is_ours == Ok(true)) {
        // One that is not there, or another user's, is left as it is.
        let _ = std::fs::set_permissions(beside(path, end), std::fs::Permissions::from_mode(PRIVATE));
    }
    Ok(())
}

/// The opened database with its schema in place, or why it is not ours to use.
fn prepare(path: &Path) -> rusqlite::Result<Result<Connection, String>> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY)?;
    connection.pragma_update(None, "locking_mode", "exclusive")?;
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
    // Only now is it known to be ours.
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update(None, "cache_size", -512)?;
    if !missing.is_empty() {
        connection.pragma_update(None, "secure_delete", true)?;
        let (steps, version) = (missing.concat(), STEPS.len());
        connection.execute_batch(&format!(
            "BEGIN IMMEDIATE; {steps} PRAGMA user_version = {version}; COMMIT"
        ))?;
    }
    Ok(Ok(connection))
}
