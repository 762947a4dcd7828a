//! The last declaration that could be used, kept without its secrets for a start at which it is broken.

use std::path::Path;

use rusqlite::{Connection, params};

use super::schema;
use super::sqlite::Unusable;

/// Keeps the files of a declaration, by name and text.
pub(crate) fn keep(state: &Path, files: &[(String, String)]) -> Result<(), Unusable> {
    let connection = schema::open(state)?;
    let unusable = |error: rusqlite::Error| Unusable::from_sqlite(state, &error);
    if read(&connection).map_err(unusable)? == files {
        return Ok(());
    }
    write(&connection, files).map_err(unusable)
}

fn write(connection: &Connection, files: &[(String, String)]) -> rusqlite::Result<()> {
    let transaction = connection.unchecked_transaction()?;
    transaction.execute("DELETE FROM last_good", [])?;
    for (position, (name, text)) in files.iter().enumerate() {
        let position = i64::try_from(position).unwrap_or(i64::MAX);
        transaction.execute(
            "INSERT INTO last_good VALUES (?1, ?2, ?3)",
            params![name, position, text],
        )?;
    }
    transaction.commit()
}

/// The files that were kept; none where none were.
pub(crate) fn kept(state: &Path) -> Result<Vec<(String, String)>, Unusable> {
    let connection = schema::open(state)?;
    read(&connection).map_err(|error| Unusable::from_sqlite(state, &error))
}

fn read(connection: &Connection) -> rusqlite::Result<Vec<(String, String)>> {
    connection
        .prepare("SELECT name, text FROM last_good ORDER BY position")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect()
}
