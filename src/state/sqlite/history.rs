//! Reads recorded runs, on a connection of its own beside the one that writes.

use std::path::Path;

use jiff::Timestamp;
use rusqlite::{Connection, Row, named_params};

use super::super::{Filter, History, Run, RunId, StateError};
use super::instant;
use crate::sql::{SqlError, open_read};

/// How much of a message is given, in characters: a page may have a thousand.
const LONGEST: u32 = 1000;

const MATCHING: &str = "FROM runs WHERE (:job IS NULL OR job = :job) AND (:status IS NULL OR status = :status)
     AND (:trigger IS NULL OR \"trigger\" = :trigger)
     AND (:from IS NULL OR started_at >= :from) AND (:to IS NULL OR started_at < :to)";

pub(in crate::state) fn read_history(path: &Path, filter: &Filter) -> Result<History, StateError> {
    let connection = open_read(path)?;
    query(&connection, filter).map_err(|error| SqlError::of_database(path, &error).into())
}

fn query(connection: &Connection, filter: &Filter) -> rusqlite::Result<History> {
    let millis = |at: Option<Timestamp>| at.map(Timestamp::as_millisecond);
    let (from, to) = (millis(filter.from), millis(filter.to));
    let total = connection.query_row(
            &format!("SELECT count(*) {MATCHING}"),
            named_params! {":job": filter.job, ":status": filter.status, ":trigger": filter.trigger, ":from": from, ":to": to},
            |row| row.get(0),
        )?;
    let runs = connection
            .prepare(&format!(
                "SELECT id, job, \"trigger\", status, scheduled_at, started_at, finished_at,
                 substr(message, 1, {LONGEST}), substr(error, 1, {LONGEST}), attempts, output
                 {MATCHING} ORDER BY id DESC LIMIT :limit OFFSET :offset"
            ))?
            .query_map(
                named_params! {":job": filter.job, ":status": filter.status, ":trigger": filter.trigger, ":from": from, ":to": to,
                ":limit": filter.limit, ":offset": filter.offset},
                read_run,
            )?
            .collect::<rusqlite::Result<_>>()?;
    Ok(History { total, runs })
}

fn read_run(row: &Row<'_>) -> rusqlite::Result<Run> {
    let started_at: i64 = row.get(5)?;
    let finished_at: Option<i64> = row.get(6)?;
    Ok(Run {
        id: RunId(row.get(0)?),
        job: row.get(1)?,
        trigger: row.get(2)?,
        status: row.get(3)?,
        scheduled_at: instant(row.get(4)?),
        started_at: instant(started_at),
        finished_at: finished_at.map(instant),
        duration_ms: finished_at.map(|end| end - started_at),
        message: row.get(7)?,
        error: row.get(8)?,
        attempts: row.get(9)?,
        output: row
            .get::<_, Option<String>>(10)?
            .and_then(|output| serde_json::from_str(&output).ok()),
    })
}
