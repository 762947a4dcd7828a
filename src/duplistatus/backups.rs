//! The backups the application knows: of each job of each server, the newest.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use rusqlite::{Connection, Row};

/// A backup job of a server, and its newest backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backup {
    /// The server's id.
    pub server_id: String,
    /// The server's name.
    pub server_name: String,
    /// The job's name.
    pub name: String,
    /// When the newest backup was made, or the text that is no date.
    pub newest: Result<Timestamp, String>,
}

impl Backup {
    /// The key its settings stand under.
    #[must_use]
    pub fn key(&self) -> String {
        format!("{}:{}", self.server_id, self.name)
    }
}

/// Every backup job, ordered by the names of server and job. One pass over the table, whatever its size.
///
/// # Errors
/// When the tables cannot be read.
pub fn read(connection: &Connection) -> rusqlite::Result<Vec<Backup>> {
    connection
        .prepare(
            "SELECT server_id, coalesce(servers.name, server_id), backup_name, newest
             FROM (SELECT server_id, backup_name, max(date) AS newest FROM backups GROUP BY server_id, backup_name)
             LEFT JOIN servers ON servers.id = server_id ORDER BY 2, 3, 1",
        )?
        .query_map([], read_row)?
        .collect()
}

fn read_row(row: &Row<'_>) -> rusqlite::Result<Backup> {
    let date: String = row.get(3)?;
    Ok(Backup {
        server_id: row.get(0)?,
        server_name: row.get(1)?,
        name: row.get(2)?,
        newest: read_instant(&date).ok_or(date),
    })
}

/// An instant as the application writes it: RFC 3339, or without a zone, which means UTC.
#[must_use]
pub fn read_instant(text: &str) -> Option<Timestamp> {
    let local = || {
        text.parse::<DateTime>()
            .ok()?
            .to_zoned(TimeZone::UTC)
            .ok()
            .map(|zoned| zoned.timestamp())
    };
    text.parse().ok().or_else(local)
}
