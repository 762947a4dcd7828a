//! What the programs of runs printed: whole of the newest runs of each job, the end of older ones, so that a job that runs
//! every minute leaves little.

use super::super::statements::{Connection, Fault, query_one, values};
use super::super::{EndedRun, Run, RunId, StateError, Status};
use super::Tables;
use super::history::{COLUMNS, COLUMNS_READ, read_run};

/// How many of a job's newest runs that went well keep it whole, and how many that did not.
const WHOLE: [u32; 2] = [100, 20];
/// How many characters of older ones are kept.
const REST: u32 = 1024;
/// What stands in the place of what is gone.
const CUT: &str = "[…]\n";

impl Tables {
    /// A recorded run, with what its programs printed, as far as it is kept.
    pub(in crate::state) fn run(&mut self, id: RunId) -> Result<Option<(Run, Option<String>)>, StateError> {
        self.read(|connection| {
            let row = query_one(
                connection,
                &format!("SELECT {COLUMNS}, (SELECT text FROM outputs WHERE run = id) FROM runs WHERE id = ?1"),
                &values![id],
            )?;
            row.map(|row| Ok((read_run(&row)?, row.get(COLUMNS_READ)?))).transpose()
        })
    }
}

/// Keeps what the programs of a run printed, and less of what older ones did.
pub(super) fn keep(connection: &mut dyn Connection, ended: &EndedRun) -> Result<(), Fault> {
    let Some(text) = &ended.output else { return Ok(()) };
    let succeeded = ended.status == Status::Success;
    connection.execute(
        "INSERT INTO outputs (run, job, succeeded, text) SELECT id, job, ?2, ?3 FROM runs WHERE id = ?1
         ON CONFLICT (run) DO UPDATE SET succeeded = excluded.succeeded, text = excluded.text",
        &values![ended.run, succeeded, text],
    )?;
    // Each run that ends makes one other too old.
    connection.execute(
        &format!(
            "UPDATE outputs SET text = ?4 || substr(text, length(text) - {REST} + 1)
             WHERE length(text) > {REST} + length(?4) AND run = (
                 SELECT older.run FROM outputs AS older JOIN outputs AS ended ON older.job = ended.job AND older.succeeded = ended.succeeded
                 WHERE ended.run = ?1 AND ended.succeeded = ?2 ORDER BY older.run DESC LIMIT 1 OFFSET ?3)"
        ),
        &values![ended.run, succeeded, WHOLE[usize::from(succeeded)], CUT],
    )?;
    Ok(())
}
