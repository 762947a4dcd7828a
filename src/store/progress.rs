//! What is taken down of a run while it is under way.

use jiff::Timestamp;
use rusqlite::params;

use super::run::RunId;
use super::sqlite::Unusable;
use super::state::State;

impl State {
    /// Takes down that a run which waited begins.
    pub(crate) fn note_start(&mut self, run: RunId, now: Timestamp) -> Result<(), Unusable> {
        self.with(|connection| {
            connection
                .prepare_cached("UPDATE runs SET started_at = ?2 WHERE id = ?1")?
                .execute(params![run.0, now.as_millisecond()])
                .map(drop)
        })
    }

    /// Takes down how many rows a run under way has done.
    pub(crate) fn note_progress(&mut self, run: RunId, rows: u64) -> Result<(), Unusable> {
        let message = format!("{rows} rows so far");
        self.with(|connection| {
            connection
                .execute(
                    "UPDATE runs SET message = ?2 WHERE id = ?1 AND status = 'running'",
                    params![run.0, message],
                )
                .map(drop)
        })
    }
}
