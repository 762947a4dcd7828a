//! Since when each active job has been active, and the newest time each was due: what a start needs to tell what was
//! missed.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rusqlite::{Connection, params};

use super::super::{Activation, StateError};
use super::{Sqlite, instant};
use crate::values::{JobId, Moment};

impl Sqlite {
    pub(in crate::state) fn activate(&mut self, jobs: &[(JobId, String)], now: Moment) -> Result<(), StateError> {
        self.all_or_nothing(|transaction| {
            for (job, times) in jobs {
                transaction
                    .prepare_cached(
                        "INSERT INTO activations (job, since, times, fresh_at) VALUES (?1, ?2, ?3, ?4)
                         ON CONFLICT (job) DO UPDATE SET since = excluded.since, times = excluded.times",
                    )?
                    .execute(params![
                        job.as_str(),
                        now.wall.as_millisecond(),
                        times,
                        now.service.as_millisecond()
                    ])?;
            }
            Ok(())
        })
    }

    pub(in crate::state) fn deactivate(&mut self, jobs: &[JobId]) -> Result<(), StateError> {
        self.all_or_nothing(|transaction| {
            for job in jobs {
                transaction
                    .prepare_cached("DELETE FROM activations WHERE job = ?1")?
                    .execute([job.as_str()])?;
            }
            Ok(())
        })
    }
}

/// What is known at `now` of every job that was active. Times to come, which a clock that was ahead has left, do not
/// count.
pub(super) fn read(connection: &Connection, now: Timestamp) -> rusqlite::Result<BTreeMap<String, Activation>> {
    connection
        .prepare(
            "SELECT job, since, times,
                 (SELECT max(scheduled_at) FROM runs WHERE runs.job = activations.job AND \"trigger\" NOT IN ('manual', 'webhook') AND scheduled_at <= ?1), fresh_at
             FROM activations",
        )?
        .query_map([now.as_millisecond()], |row| {
            let activation = Activation {
                since: instant(row.get(1)?),
                times: row.get(2)?,
                newest: row.get::<_, Option<i64>>(3)?.map(instant),
                fresh_at: row.get::<_, Option<i64>>(4)?.map(instant),
            };
            Ok((row.get(0)?, activation))
        })?
        .collect()
}

/// Counts the age of a job's last success from `at` on, in service time.
pub(super) fn renew(connection: &Connection, job: &JobId, at: Timestamp) -> rusqlite::Result<()> {
    connection
        .prepare_cached("UPDATE activations SET fresh_at = ?2 WHERE job = ?1")?
        .execute(params![job.as_str(), at.as_millisecond()])
        .map(drop)
}
