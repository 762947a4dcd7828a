//! Opens SQLite files that already exist.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use super::SqlError;

/// Opens the database at `path` for reading only. The file is never created.
pub(crate) fn open_read(path: &Path) -> Result<Connection, SqlError> {
    open(path, OpenFlags::SQLITE_OPEN_READ_ONLY)
}

/// Opens the database at `path` for reading and writing. The file is never created.
pub(crate) fn open_write(path: &Path) -> Result<Connection, SqlError> {
    open(path, OpenFlags::SQLITE_OPEN_READ_WRITE)
}

fn open(path: &Path, access: OpenFlags) -> Result<Connection, SqlError> {
    match std::fs::metadata(path) {
        Ok(found) if found.is_dir() => return Err(unusable(path, "is a folder, not a database")),
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(unusable(path, "does not exist"));
        }
        Err(error) => return Err(unusable(path, &format!("cannot be opened: {error}"))),
    }
    let because = |error: rusqlite::Error| SqlError::of_database(path, &error);
    let connection = Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX).map_err(because)?;
    // SQLite opens lazily: the first read is what finds a foreign or damaged file.
    connection
        .query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))
        .map_err(because)?;
    connection.pragma_update(None, "cache_size", -512).map_err(because)?;
    Ok(connection)
}

fn unusable(path: &Path, why: &str) -> SqlError {
    SqlError::lasting(format!("database {}: {why}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unusable_file_is_named_with_its_reason() {
        let folder = tempfile::tempdir().unwrap();
        let foreign = folder.path().join("foreign.db");
        std::fs::write(
            &foreign,
            "this is not a database, but it is long enough to be looked at".repeat(20),
        )
        .unwrap();
        for (path, why) in [
            (folder.path().join("none.db"), "does not exist"),
            (folder.path().to_owned(), "is a folder, not a database"),
            (foreign, "is not a SQLite database"),
        ] {
            let unusable = open_write(&path).unwrap_err();
            assert_eq!(unusable.message, format!("database {}: {why}", path.display()));
            assert!(unusable.to_string().contains(path.to_str().unwrap()));
        }
    }
}
