//! The backups the application knows: of each job of each server, the newest.

use std::collections::HashMap;

use crate::sql::sqlite::{self, Connection, Row};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// A backup job of a server, and its newest backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Backup {
    pub server_id: String,
    pub server_name: String,
    pub name: String,
    /// When the newest backup was made, or the text that is not a date.
    pub newest: Result<Timestamp, String>,
}

impl Backup {
    /// The key its settings stand under.
    pub(crate) fn key(&self) -> String {
        format!("{}:{}", self.server_id, self.name)
    }
}

/// Every backup job, ordered by the names of server and job. One pass over the table in the order it is stored:
/// grouping by an index would read every page of it in a random order.
pub(crate) fn read(connection: &Connection) -> sqlite::Result<Vec<Backup>> {
    let mut newest: HashMap<String, HashMap<String, String>> = HashMap::new();
    let mut statement = connection.prepare("SELECT server_id, backup_name, date FROM backups NOT INDEXED")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let [server, name, date] = [text(row, 0)?, text(row, 1)?, text(row, 2)?];
        match newest.get_mut(server).and_then(|jobs| jobs.get_mut(name)) {
            Some(found) if found.as_str() >= date => {}
            Some(found) => date.clone_into(found),
            None => {
                newest
                    .entry(server.to_owned())
                    .or_default()
                    .insert(name.to_owned(), date.to_owned());
            }
        }
    }
    let names = server_names(connection)?;
    let mut backups: Vec<Backup> = newest
        .into_iter()
        .flat_map(|(server, jobs)| jobs.into_iter().map(move |(name, date)| (server.clone(), name, date)))
        .map(|(server_id, name, date)| Backup {
            server_name: names.get(&server_id).unwrap_or(&server_id).clone(),
            newest: read_instant(&date).ok_or(date),
            server_id,
            name,
        })
        .collect();
    backups.sort_by(|a, b| (&a.server_name, &a.name, &a.server_id).cmp(&(&b.server_name, &b.name, &b.server_id)));
    Ok(backups)
}

/// A column as text, without a copy; a value of another type counts as none.
fn text<'a>(row: &'a Row<'_>, column: usize) -> sqlite::Result<&'a str> {
    Ok(row.get_ref(column)?.as_str().unwrap_or_default())
}

fn server_names(connection: &Connection) -> sqlite::Result<HashMap<String, String>> {
    connection
        .prepare("SELECT id, name FROM servers")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect()
}

/// An instant as the application writes it: RFC 3339, or without a zone, which means UTC.
pub(crate) fn read_instant(text: &str) -> Option<Timestamp> {
    let local = || {
        text.parse::<DateTime>()
            .ok()?
            .to_zoned(TimeZone::UTC)
            .ok()
            .map(|zoned| zoned.timestamp())
    };
    text.parse().ok().or_else(local)
}
