//! Which jobs fail, since when, and when that was told last.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rusqlite::{Connection, params};

use super::super::{Failing, StateError};
use super::{Sqlite, instant};
use crate::values::JobId;

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

/// Records how `job` stands.
pub(super) fn write(connection: &Connection, job: &JobId, failing: Option<&Failing>) -> rusqlite::Result<()> {
    let Some(failing) = failing else {
        return connection
            .prepare_cached("DELETE FROM failing WHERE job = ?1")?
            .execute([job.as_str()])
            .map(drop);
    };
    connection
        .prepare_cached(
            "INSERT INTO failing (job, cause, since, told_at, failures) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (job) DO UPDATE SET cause = excluded.cause, since = excluded.since,
                 told_at = excluded.told_at, failures = excluded.failures",
        )?
        .execute(params![
            job.as_str(),
            failing.cause,
            failing.since.as_millisecond(),
            failing.told_at.map(Timestamp::as_millisecond),
            failing.failures
        ])
        .map(drop)
}

impl Sqlite {
    pub(in crate::state) fn forget_failing(&mut self, job: &JobId) -> Result<(), StateError> {
        self.with(|connection| write(connection, job, None))
    }
}
