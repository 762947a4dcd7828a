//! Which jobs fail, since when, and when that was told last.

use std::collections::BTreeMap;

use super::super::statements::{Connection, Fault, Row, values};
use super::super::{Failing, StateError};
use super::Tables;
use crate::values::JobId;

/// Every job that fails.
pub(super) fn read(connection: &mut dyn Connection) -> Result<BTreeMap<String, Failing>, Fault> {
    let rows = connection.query("SELECT job, cause, since, told_at, failures FROM failing", &[])?;
    let read = |row: Row| {
        let failing = Failing {
            cause: row.get(1)?,
            since: row.get(2)?,
            told_at: row.get(3)?,
            failures: row.get(4)?,
        };
        Ok((row.get(0)?, failing))
    };
    rows.into_iter().map(read).collect()
}

/// Records how `job` stands.
pub(super) fn write(connection: &mut dyn Connection, job: &JobId, failing: Option<&Failing>) -> Result<(), Fault> {
    let Some(failing) = failing else {
        return connection
            .execute("DELETE FROM failing WHERE job = ?1", &values![job])
            .map(drop);
    };
    connection
        .execute(
            "INSERT INTO failing (job, cause, since, told_at, failures) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (job) DO UPDATE SET cause = excluded.cause, since = excluded.since,
                 told_at = excluded.told_at, failures = excluded.failures",
            &values![job, &failing.cause, failing.since, failing.told_at, failing.failures],
        )
        .map(drop)
}

impl Tables {
    pub(in crate::state) fn forget_failing(&mut self, job: &JobId) -> Result<(), StateError> {
        self.change(|connection| write(connection, job, None))
    }
}
