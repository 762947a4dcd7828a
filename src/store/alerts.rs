//! Which jobs fail, since when, and when that was told last.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rusqlite::{Connection, params};

use super::run::instant;
use crate::values::JobId;

/// How a job stands whose last run failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failing {
    /// What makes one failure the same as another.
    pub cause: String,
    /// The time of the first failure.
    pub since: Timestamp,
    /// The last time it was told to someone.
    pub told_at: Option<Timestamp>,
    /// How many runs failed.
    pub failures: u32,
}

/// Every job that fails, in an open state database.
pub(super) fn read(connection: &Connection) -> rusqlite::Result<BTreeMap<String, Failing>> {
    connection
        .prepare("SELECT job, cause, since, told_at, failures FROM failing")?
        .query_map([], |row| {
            let failing = Failing {
                cause: row.get(1)?,
                since: instant(row.get(2)?),
                told_at: row.get::<_, Option<i64>>(3)?.map(instant),
                failures: row.get(4)?,
            };
            Ok((row.get(0)?, failing))
        })?
        .collect()
}

/// Takes down how `job` stands.
pub(super) fn write(connection: &Connection, job: &JobId, failing: Option<&Failing>) -> rusqlite::Result<()> {
    let Some(failing) = failing else {
        return connection
            .prepare_cached("DELETE FROM failing WHERE job = ?1")?
            .execute([job.as_str()])
            .map(drop);
    };
    connection
        .prepare_cached("INSERT OR REPLACE INTO failing VALUES (?1, ?2, ?3, ?4, ?5)")?
        .execute(params![
            job.as_str(),
            failing.cause,
            failing.since.as_millisecond(),
            failing.told_at.map(Timestamp::as_millisecond),
            failing.failures
        ])
        .map(drop)
}
