//! Since when each active job has been active, and the newest time each was due: what a start needs to tell what was
//! missed.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::super::statements::{Connection, Fault, values};
use super::super::{Activation, StateError};
use super::Tables;
use crate::values::{JobId, Moment};

impl Tables {
    pub(in crate::state) fn activate(&mut self, jobs: &[(JobId, String)], now: Moment) -> Result<(), StateError> {
        let row = |(job, times)| values![job, times, now.wall, now.service].to_vec();
        self.change(|connection| {
            let rows: Vec<_> = jobs.iter().map(|(job, times)| row((job, times))).collect();
            connection
                .each(
                    "INSERT INTO activations (job, times, since, fresh_at) VALUES (?1, ?2, ?3, ?4)
                     ON CONFLICT (job) DO UPDATE SET since = excluded.since, times = excluded.times",
                    &rows,
                )
                .map(drop)
        })
    }

    pub(in crate::state) fn deactivate(&mut self, jobs: &[JobId]) -> Result<(), StateError> {
        self.change(|connection| {
            let rows: Vec<_> = jobs.iter().map(|job| values![job].to_vec()).collect();
            connection
                .each("DELETE FROM activations WHERE job = ?1", &rows)
                .map(drop)
        })
    }
}

/// What is known at `now` of every job that was active. Times to come, which a clock that was ahead has left, do not
/// count.
pub(super) fn read(connection: &mut dyn Connection, now: Timestamp) -> Result<BTreeMap<String, Activation>, Fault> {
    let rows = connection.query(
        "SELECT job, since, times,
             (SELECT max(scheduled_at) FROM runs WHERE runs.job = activations.job AND \"trigger\" NOT IN ('manual', 'webhook') AND scheduled_at <= ?1), fresh_at
         FROM activations",
        &values![now],
    )?;
    let read = |row: super::Row| {
        let activation = Activation {
            since: row.get(1)?,
            times: row.get(2)?,
            newest: row.get(3)?,
            fresh_at: row.get(4)?,
        };
        Ok((row.get(0)?, activation))
    };
    rows.into_iter().map(read).collect()
}
