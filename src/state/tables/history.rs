//! Reads recorded runs, piece by piece: the state has one connection, and no claim of a run is to wait for a long list.

use super::super::statements::{Connection, Fault, Row, Value, query_one, values};
use super::super::{Filter, RecentRun, RecentRuns, Run, StateError, Status, Trigger};
use super::Tables;
use crate::values::JobId;

/// How many runs are looked through at once.
const PIECE: i64 = 10_000;
/// What [`read_run`] reads. Of messages, a thousand characters are given: a page may have a thousand of them.
pub(super) const COLUMNS: &str = "id, job, \"trigger\", status, scheduled_at, started_at, finished_at,
     substr(message, 1, 1000), substr(error, 1, 1000), attempts, statistics";
/// How many they are.
pub(super) const COLUMNS_READ: usize = 11;

const MATCHING: &str = "FROM runs WHERE id <= ?1 AND id > ?1 - ?2
     AND (?3 IS NULL OR job = ?3) AND (?4 IS NULL OR status = ?4)
     AND (?5 IS NULL OR \"trigger\" = ?5)
     AND (?6 IS NULL OR started_at >= ?6) AND (?7 IS NULL OR started_at < ?7)";

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

impl Tables {
    /// Looks through the piece of the history that begins with the run `newest`, or with the newest of all. Of the runs
    /// that match `filter`, `filter.limit` after `filter.offset` are given.
    pub(in crate::state) fn history_piece(
        &mut self,
        filter: &Filter,
        newest: Option<i64>,
    ) -> Result<Piece, StateError> {
        self.read(|connection| read_piece(connection, filter, newest))
    }

    /// The newest runs of each of `jobs`, at most `most`, newest first.
    pub(in crate::state) fn recent_runs(&mut self, jobs: &[JobId], most: u32) -> Result<Vec<RecentRuns>, StateError> {
        self.read(|connection| {
            let rows: Vec<_> = jobs.iter().map(|job| values![job, most].to_vec()).collect();
            let found = connection.each(
                "SELECT id, status, started_at, finished_at FROM runs WHERE job = ?1 ORDER BY id DESC LIMIT ?2",
                &rows,
            )?;
            let read = |rows: &Vec<Row>| rows.iter().map(read_recent).collect::<Result<Vec<_>, Fault>>();
            let recent: Vec<Vec<RecentRun>> = found.iter().map(read).collect::<Result<_, _>>()?;
            let newest_over =
                |runs: &Vec<RecentRun>| runs.iter().find(|run| run.duration_ms.is_some()).map(|run| run.id);
            let over: Vec<_> = recent.iter().map(|runs| values![newest_over(runs)].to_vec()).collect();
            let said = connection.each(
                "SELECT substr(coalesce(error, message), 1, 200) FROM runs WHERE id = ?1",
                &over,
            )?;
            let with_message = |(runs, said): (Vec<RecentRun>, Vec<Row>)| {
                let message = said.first().map_or(Ok(None), |row| row.get(0))?;
                Ok(RecentRuns { runs, message })
            };
            recent.into_iter().zip(said).map(with_message).collect()
        })
    }
}

fn read_recent(row: &Row) -> Result<RecentRun, Fault> {
    let (began, ended): (i64, Option<i64>) = (row.get(2)?, row.get(3)?);
    Ok(RecentRun {
        id: row.get(0)?,
        status: row.get(1)?,
        at: row.get(2)?,
        duration_ms: ended.map(|ended| ended - began),
    })
}

fn read_piece(connection: &mut dyn Connection, filter: &Filter, newest: Option<i64>) -> Result<Piece, Fault> {
    let newest = match newest {
        Some(newest) => newest,
        None => end_of(connection, "max")?.unwrap_or(0),
    };
    let mut values: Vec<Value<'_>> = values![
        newest,
        PIECE,
        filter.job.as_deref(),
        filter.status.map(Status::as_str),
        filter.trigger.map(Trigger::as_str),
        filter.from,
        filter.to,
    ]
    .to_vec();
    let counted = query_one(connection, &format!("SELECT count(*) {MATCHING}"), &values)?;
    let matching = counted.map_or(Ok(0), |row| row.get(0))?;
    let runs = if filter.limit == 0 || matching <= i64::from(filter.offset) {
        Vec::new()
    } else {
        values.extend(values![u32::from(filter.limit), filter.offset]);
        let query = format!("SELECT {COLUMNS} {MATCHING} ORDER BY id DESC LIMIT ?8 OFFSET ?9");
        let rows = connection.query(&query, &values)?;
        rows.iter().map(read_run).collect::<Result<_, _>>()?
    };
    let next = newest - PIECE;
    let oldest = end_of(connection, "min")?.unwrap_or(i64::MAX);
    Ok(Piece {
        matching,
        runs,
        next: (next >= oldest).then_some(next),
    })
}

/// The first or the last number of a run.
fn end_of(connection: &mut dyn Connection, which: &str) -> Result<Option<i64>, Fault> {
    query_one(connection, &format!("SELECT {which}(id) FROM runs"), &[])?.map_or(Ok(None), |row| row.get(0))
}

pub(super) fn read_run(row: &Row) -> Result<Run, Fault> {
    let status: Status = row.get(3)?;
    let (started_at, finished_at): (i64, Option<i64>) = (row.get(5)?, row.get(6)?);
    Ok(Run {
        id: row.get(0)?,
        job: row.get(1)?,
        trigger: row.get(2)?,
        status,
        scheduled_at: row.get(4)?,
        started_at: if status == Status::Queued { None } else { row.get(5)? },
        finished_at: row.get(6)?,
        duration_ms: finished_at.map(|end| end - started_at),
        message: row.get(7)?,
        error: row.get(8)?,
        attempts: row.get(9)?,
        statistics: row
            .get::<Option<String>>(10)?
            .and_then(|statistics| serde_json::from_str(&statistics).ok()),
    })
}
