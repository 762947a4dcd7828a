//! The application's settings: `configurations(key, value)`, text or JSON in each.

use std::path::Path;
use std::time::Duration;

use crate::sql::sqlite::{self, Connection, OptionalExtension};
use crate::sql::{SqlError, open_read, open_write};

/// The row that holds the port and the tasks' schedules, shared with the web application.
pub(crate) const CRON_SERVICE: &str = "cron_service";
/// The row that holds overrides in the shape of jobs.toml.
pub(crate) const CRON_OVERRIDES: &str = "cron_overrides";

/// The value of setting `key`; `None` where there is no such row, or it holds nothing.
pub(crate) fn get(connection: &Connection, key: &str) -> sqlite::Result<Option<String>> {
    connection
        .query_row(
            "SELECT CAST(value AS TEXT) FROM configurations WHERE key = ?1",
            [key],
            |row| row.get(0),
        )
        .optional()
        .map(Option::flatten)
}

/// Whether the application has settings at all: any other one may share its database with this service.
pub(crate) fn exist(connection: &Connection) -> sqlite::Result<bool> {
    connection.query_row(
        "SELECT count(*) > 0 FROM sqlite_schema WHERE name = 'configurations' COLLATE NOCASE",
        [],
        |row| row.get(0),
    )
}

/// The texts of the rows that override the declaration; none of an application without settings.
pub(crate) fn overrides(connection: &Connection) -> sqlite::Result<Overrides> {
    if !exist(connection)? {
        return Ok(Overrides::default());
    }
    Ok(Overrides {
        cron_service: get(connection, CRON_SERVICE)?,
        cron_overrides: get(connection, CRON_OVERRIDES)?,
    })
}

/// The same of a database, where it can be read at once.
pub(crate) fn overrides_now(database: &Path) -> Option<Overrides> {
    let connection = open_read(database).ok()?;
    connection.busy_timeout(Duration::from_secs(1)).ok()?;
    overrides(&connection).ok()
}

/// The texts of the rows that override the declaration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// Row [`CRON_SERVICE`].
    pub cron_service: Option<String>,
    /// Row [`CRON_OVERRIDES`].
    pub cron_overrides: Option<String>,
}

/// Sets `key` to `value`; changes nothing where it is that already.
pub(crate) fn set(connection: &Connection, key: &str, value: &str) -> sqlite::Result<()> {
    connection
        .execute(
            "INSERT INTO configurations (key, value) VALUES (?1, ?2)
             ON CONFLICT (key) DO UPDATE SET value = excluded.value WHERE value IS NOT excluded.value",
            (key, value),
        )
        .map(drop)
}

/// Writes `port` into the row `cron_service`, where the application looks for the service, and nothing else in it.
/// Gives whether that was a change. A row that holds no JSON object is left alone.
pub(crate) fn publish_port(database: &Path, port: u16) -> Result<bool, SqlError> {
    // It is tried again, so that another writer is not waited for for long.
    const PATIENCE: Duration = Duration::from_secs(1);
    let connection = open_write(database)?;
    let written = connection
        .busy_timeout(PATIENCE)
        .and_then(|()| write_port(&connection, port));
    written.map_err(|error| SqlError::of_database(database, &error))
}

fn write_port(connection: &Connection, port: u16) -> sqlite::Result<bool> {
    if !exist(connection)? {
        return Ok(false);
    }
    let text = get(connection, CRON_SERVICE)?;
    let row: Option<serde_json::Value> = text.as_deref().and_then(|text| serde_json::from_str(text).ok());
    let is_told = |row: &serde_json::Value| row["port"].as_u64() == Some(u64::from(port));
    // Looked at first, so that the write lock is taken only where there is something to write.
    if text.is_some() && row.is_none_or(|row| !row.is_object() || is_told(&row)) {
        return Ok(false);
    }
    // SQLite changes the one value in the text it finds, also one the application has written meanwhile.
    let changed = connection.execute(
        "INSERT INTO configurations (key, value) VALUES (?1, json_object('port', ?2))
         ON CONFLICT (key) DO UPDATE SET value = json_set(value, '$.port', ?2) WHERE json_valid(value)",
        (CRON_SERVICE, port),
    )?;
    Ok(changed > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(value: Option<&str>) -> Connection {
        let connection = Connection::open_in_memory().unwrap();
        connection
            .execute_batch("CREATE TABLE configurations (key TEXT PRIMARY KEY NOT NULL, value TEXT)")
            .unwrap();
        if let Some(value) = value {
            connection
                .execute("INSERT INTO configurations VALUES ('cron_service', ?1)", [value])
                .unwrap();
        }
        connection
    }

    #[test]
    fn only_the_port_changes_in_the_row() {
        for (before, changed, after) in [
            (
                Some(r#"{"tasks":{"b":1,"a":2},"port":1234,"more":1.10}"#),
                true,
                Some(r#"{"tasks":{"b":1,"a":2},"port":9667,"more":1.10}"#),
            ),
            (Some(r#"{"port": 9667}"#), false, Some(r#"{"port": 9667}"#)),
            (Some("broken"), false, Some("broken")),
            (None, true, Some(r#"{"port":9667}"#)),
        ] {
            let connection = settings(before);
            assert_eq!(write_port(&connection, 9667).unwrap(), changed, "{before:?}");
            assert_eq!(get(&connection, CRON_SERVICE).unwrap().as_deref(), after);
        }
    }
}
