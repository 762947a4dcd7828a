//! Reads recorded runs for `GET /api/schedules/executions`, on a connection of its own beside the engine's.

use std::path::Path;

use jiff::Timestamp;
use rusqlite::{Connection, Row, named_params};

use super::run::{Run, RunId, Status, Trigger, instant};
use super::sqlite::{Unusable, open_read};

/// Which runs are wanted, newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// Only those of this job.
    pub job: Option<String>,
    /// Only those that ended so.
    pub status: Option<Status>,
    /// Only those started by this.
    pub trigger: Option<Trigger>,
    /// Only those that began then or later.
    pub from: Option<Timestamp>,
    /// Only those that began before then.
    pub to: Option<Timestamp>,
    /// At most so many, 1000 at the most.
    pub limit: u16,
    /// After so many.
    pub offset: u32,
}

impl Default for Filter {
    fn default() -> Self {
        Self {
            job: None,
            status: None,
            trigger: None,
            from: None,
            to: None,
            limit: 100,
            offset: 0,
        }
    }
}

/// Recorded runs and how many match in all.
#[derive(Clone, Debug)]
pub struct History {
    /// How many runs match the filter.
    pub total: i64,
    /// Those of the wanted page.
    pub runs: Vec<Run>,
}

/// How much of a message is given, in characters: a page may have a thousand.
const LONGEST: u32 = 1000;

const MATCHING: &str = "FROM runs WHERE (:job IS NULL OR job = :job) AND (:status IS NULL OR status = :status)
     AND (:trigger IS NULL OR \"trigger\" = :trigger)
     AND (:from IS NULL OR started_at >= :from) AND (:to IS NULL OR started_at < :to)";

impl History {
    /// Reads the runs that match `filter` from the state database at `path`.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn read(path: &Path, filter: &Filter) -> Result<Self, Unusable> {
        let connection = open_read(path)?;
        Self::query(&connection, filter).map_err(|error| Unusable::from_sqlite(path, &error))
    }

    fn query(connection: &Connection, filter: &Filter) -> rusqlite::Result<Self> {
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
        Ok(Self { total, runs })
    }
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
