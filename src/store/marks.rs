//! Since when each active job has been active, and the newest time each was due: what a start needs to tell what was
//! missed.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rusqlite::{Connection, params};

use super::run::instant;
use super::sqlite::Unusable;
use super::state::State;
use crate::values::JobId;

/// What is known of an active job from before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Since when it has been active with those times.
    pub since: Timestamp,
    /// What its times depend on, as text.
    pub times: String,
    /// The newest time that is in the ledger.
    pub newest: Option<Timestamp>,
}

impl State {
    /// What is known at `now` of every job that was active. Times to come, which a clock that was ahead has left, do not
    /// count.
    pub(crate) fn marks(&mut self, now: Timestamp) -> Result<BTreeMap<String, Mark>, Unusable> {
        self.with(|connection| read(connection, now))
    }

    /// Takes down that jobs are active from `now` with these times.
    pub(crate) fn mark(&mut self, jobs: &[(&JobId, String)], now: Timestamp) -> Result<(), Unusable> {
        self.with(|connection| {
            let transaction = connection.unchecked_transaction()?;
            for (job, times) in jobs {
                transaction
                    .prepare_cached("INSERT OR REPLACE INTO marks VALUES (?1, ?2, ?3)")?
                    .execute(params![job.as_str(), now.as_millisecond(), times])?;
            }
            transaction.commit()
        })
    }

    /// Takes down that a job is not active any more.
    pub(crate) fn unmark(&mut self, job: &JobId) -> Result<(), Unusable> {
        self.with(|connection| {
            connection
                .execute("DELETE FROM marks WHERE job = ?1", [job.as_str()])
                .map(drop)
        })
    }
}

fn read(connection: &Connection, now: Timestamp) -> rusqlite::Result<BTreeMap<String, Mark>> {
    connection
        .prepare(
            "SELECT job, since, times,
                 (SELECT max(scheduled_at) FROM runs WHERE runs.job = marks.job AND \"trigger\" <> 'manual' AND scheduled_at <= ?1)
             FROM marks",
        )?
        .query_map([now.as_millisecond()], |row| {
            let mark = Mark {
                since: instant(row.get(1)?),
                times: row.get(2)?,
                newest: row.get::<_, Option<i64>>(3)?.map(instant),
            };
            Ok((row.get(0)?, mark))
        })?
        .collect()
}
