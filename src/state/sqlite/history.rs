//! Reads recorded runs, piece by piece: the state has one connection, and no claim of a run is to wait for a long list.

use jiff::Timestamp;
use rusqlite::{Connection, Row, named_params, params};

use super::super::{Filter, RecentRun, RecentRuns, Run, RunId, StateError, Status};
use super::{Sqlite, instant};
use crate::values::JobId;

/// How many runs are looked through at once.
const PIECE: i64 = 10_000;
/// What [`read_run`] reads. Of messages, a thousand characters are given: a page may have a thousand of them.
pub(super) const COLUMNS: &str = "id, job, \"trigger\", status, scheduled_at, started_at, finished_at,
     substr(message, 1, 1000), substr(error, 1, 1000), attempts, statistics";
/// How many they are.
pub(super) const COLUMNS_READ: usize = 11;

const MATCHING: &str = "FROM runs WHERE id <= :newest AND id > :newest - :piece
     AND (:job IS NULL OR job = :job) AND (:status IS NULL OR status = :status)
     AND (:trigger IS NULL OR \"trigger\" = :trigger)
     AND (:from IS NULL OR started_at >= :from) AND (:to IS NULL OR started_at < :to)";

/// What a piece of the history holds.
#[derive(Debug)]
pub(in crate::state) struct Piece {
    /// How many of its runs match the filter.
    pub matching: i64,
    /// Those of them that are wanted, newest first.
    pub runs: Vec<Run>,
    /// The newest run of the next piece; `None` after the last.
    pub next: Option<i64>,
}

impl Sqlite {
    /// Looks through the piece of the history that begins with the run `newest`, or with the newest of all. Of the runs
    /// that match `filter`, `filter.limit` after `filter.offset` are given.
    pub(in crate::state) fn history_piece(
        &mut self,
        filter: &Filter,
        newest: Option<i64>,
    ) -> Result<Piece, StateError> {
        self.with(|connection| read_piece(connection, filter, newest))
    }
}

impl Sqlite {
    /// The newest runs of each of `jobs`, at most `most`, newest first.
    pub(in crate::state) fn recent_runs(&mut self, jobs: &[JobId], most: u32) -> Result<Vec<RecentRuns>, StateError> {
        self.with(|connection| {
            let mut newest = connection.prepare_cached(
                "SELECT id, status, started_at, finished_at FROM runs WHERE job = ?1 ORDER BY id DESC LIMIT ?2",
            )?;
            let mut said =
                connection.prepare_cached("SELECT substr(coalesce(error, message), 1, 200) FROM runs WHERE id = ?1")?;
            let mut of_job = |job: &JobId| {
                let runs = newest.query_map(params![job.as_str(), most], read_recent)?;
                let runs: Vec<RecentRun> = runs.collect::<rusqlite::Result<_>>()?;
                let over = runs.iter().find(|run| run.duration_ms.is_some());
                let message = match over {
                    Some(run) => said.query_row([run.id.0], |row| row.get(0))?,
                    None => None,
                };
                Ok(RecentRuns { runs, message })
            };
            jobs.iter().map(&mut of_job).collect()
        })
    }
}

fn read_recent(row: &Row<'_>) -> rusqlite::Result<RecentRun> {
    let (began, ended): (i64, Option<i64>) = (row.get(2)?, row.get(3)?);
    Ok(RecentRun {
        id: RunId(row.get(0)?),
        status: row.get(1)?,
        at: instant(began),
        duration_ms: ended.map(|ended| ended - began),
    })
}

fn read_piece(connection: &Connection, filter: &Filter, newest: Option<i64>) -> rusqlite::Result<Piece> {
    let end_of = |which: &str| -> rusqlite::Result<Option<i64>> {
        let mut query = connection.prepare_cached(&format!("SELECT {which}(id) FROM runs"))?;
        query.query_row([], |row| row.get(0))
    };
    let newest = match newest {
        Some(newest) => newest,
        None => end_of("max")?.unwrap_or(0),
    };
    let millis = |at: Option<Timestamp>| at.map(Timestamp::as_millisecond);
    let (from, to) = (millis(filter.from), millis(filter.to));
    let matching = connection
        .prepare_cached(&format!("SELECT count(*) {MATCHING}"))?
        .query_row(
            named_params! {":newest": newest, ":piece": PIECE, ":job": filter.job, ":status": filter.status,
            ":trigger": filter.trigger, ":from": from, ":to": to},
            |row| row.get(0),
        )?;
    let runs = if filter.limit == 0 || matching <= i64::from(filter.offset) {
        Vec::new()
    } else {
        connection
            .prepare_cached(&format!(
                "SELECT {COLUMNS} {MATCHING} ORDER BY id DESC LIMIT :limit OFFSET :offset"
            ))?
            .query_map(
                named_params! {":newest": newest, ":piece": PIECE, ":job": filter.job, ":status": filter.status,
                ":trigger": filter.trigger, ":from": from, ":to": to, ":limit": filter.limit, ":offset": filter.offset},
                read_run,
            )?
            .collect::<rusqlite::Result<_>>()?
    };
    let next = newest - PIECE;
    let oldest = end_of("min")?.unwrap_or(i64::MAX);
    Ok(Piece {
        matching,
        runs,
        next: (next >= oldest).then_some(next),
    })
}

pub(super) fn read_run(row: &Row<'_>) -> rusqlite::Result<Run> {
    let status: Status = row.get(3)?;
    let started_at: i64 = row.get(5)?;
    let finished_at: Option<i64> = row.get(6)?;
    Ok(Run {
        id: RunId(row.get(0)?),
        job: row.get(1)?,
        trigger: row.get(2)?,
        status,
        scheduled_at: instant(row.get(4)?),
        started_at: (status != Status::Queued).then(|| instant(started_at)),
        finished_at: finished_at.map(instant),
        duration_ms: finished_at.map(|end| end - started_at),
        message: row.get(7)?,
        error: row.get(8)?,
        attempts: row.get(9)?,
        statistics: row
            .get::<_, Option<String>>(10)?
            .and_then(|statistics| serde_json::from_str(&statistics).ok()),
    })
}
