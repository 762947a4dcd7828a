//! What the programs of runs printed: whole of the newest runs of each job, the end of older ones, so that a job that runs
//! every minute leaves little.

use rusqlite::{Connection, OptionalExtension, params};

use super::super::{EndedRun, Run, RunId, StateError, Status};
use super::Sqlite;
use super::history::{COLUMNS, COLUMNS_READ, read_run};

/// How many of a job's newest runs that went well keep it whole, and how many that did not.
const WHOLE: [u32; 2] = [100, 20];
/// How many characters of older ones are kept.
const REST: u32 = 1024;

impl Sqlite {
    /// A recorded run, with what its programs printed, as far as it is kept.
    pub(in crate::state) fn run(&mut self, id: RunId) -> Result<Option<(Run, Option<String>)>, StateError> {
        self.with(|connection| {
            connection
                .prepare_cached(&format!(
                    "SELECT {COLUMNS}, (SELECT text FROM outputs WHERE run = id) FROM runs WHERE id = ?1"
                ))?
                .query_row([id.0], |row| Ok((read_run(row)?, row.get(COLUMNS_READ)?)))
                .optional()
        })
    }
}

/// Keeps what the programs of a run printed, and less of what older ones did.
pub(super) fn keep(connection: &Connection, ended: &EndedRun) -> rusqlite::Result<()> {
    let Some(text) = &ended.output else { return Ok(()) };
    let succeeded = ended.status == Status::Success;
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO outputs (run, job, succeeded, text) SELECT id, job, ?2, ?3 FROM runs WHERE id = ?1",
        )?
        .execute(params![ended.run.0, succeeded, text])?;
    // Each run that ends makes one other too old.
    connection
        .prepare_cached(
            "UPDATE outputs SET text = '[…]' || char(10) || substr(text, -?4) WHERE length(text) > ?4 + 4 AND run = (
                 SELECT older.run FROM outputs AS older JOIN outputs AS ended ON older.job = ended.job AND older.succeeded = ended.succeeded
                 WHERE ended.run = ?1 AND ended.succeeded = ?2 ORDER BY older.run DESC LIMIT 1 OFFSET ?3)",
        )?
        .execute(params![ended.run.0, succeeded, WHOLE[usize::from(succeeded)], REST])?;
    Ok(())
}
