//! The runs in the state database: each scheduled time once, how each ended, and what was told of it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rusqlite::{OptionalExtension, params};

use super::alerts::{self, Failing};
use super::outbox::{self, Letter};
use super::run::{Finish, LastRun, NewRun, RunId, Status};
use super::sqlite::Unusable;
use super::state::State;
use crate::values::JobId;

/// What is told of a run, to be taken down together with its end.
#[derive(Clone, Debug)]
pub struct Telling {
    /// The run's job.
    pub job: JobId,
    /// How the job stands after the run, if it fails.
    pub failing: Option<Failing>,
    /// The messages.
    pub letters: Vec<Letter>,
}

impl State {
    /// Takes down that a run begins. `None` when its scheduled time is in the ledger already: it must not run again.
    ///
    /// # Errors
    /// When the state cannot be written; then the run must not begin.
    pub fn begin(&mut self, run: &NewRun) -> Result<Option<RunId>, Unusable> {
        self.insert(run, Status::Running, None)
    }

    /// Takes down that a run does not take place, and why.
    ///
    /// # Errors
    /// As [`State::begin`].
    pub fn skip(&mut self, run: &NewRun, why: &str) -> Result<Option<RunId>, Unusable> {
        self.insert(run, Status::Skipped, Some(why))
    }

    fn insert(&mut self, run: &NewRun, status: Status, error: Option<&str>) -> Result<Option<RunId>, Unusable> {
        let finished_at = (status != Status::Running).then(|| run.started_at.as_millisecond());
        self.with(|connection| {
            connection
                .prepare_cached(
                    "INSERT INTO runs (job, \"trigger\", status, scheduled_at, started_at, finished_at, error)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT DO NOTHING RETURNING id",
                )?
                .query_row(
                    params![
                        run.job.as_str(),
                        run.trigger,
                        status,
                        run.scheduled_at.as_millisecond(),
                        run.started_at.as_millisecond(),
                        finished_at,
                        error
                    ],
                    |row| row.get(0).map(RunId),
                )
                .optional()
        })
    }

    /// Takes down how a run ended, together with what is told of it.
    ///
    /// # Errors
    /// When the state cannot be written.
    pub fn finish(&mut self, id: RunId, finish: &Finish, telling: Option<&Telling>) -> Result<(), Unusable> {
        self.with(|connection| {
            let transaction = connection.unchecked_transaction()?;
            transaction
                .prepare_cached(
                    "UPDATE runs SET status = ?2, finished_at = ?3, message = ?4, error = ?5 WHERE id = ?1",
                )?
                .execute(params![
                    id.0,
                    finish.status,
                    finish.at.as_millisecond(),
                    finish.message,
                    finish.error
                ])?;
            if let Some(telling) = telling {
                alerts::write(&transaction, &telling.job, telling.failing.as_ref())?;
                outbox::put(&transaction, &telling.letters, finish.at)?;
            }
            transaction.commit()
        })
    }

    /// Posts letters about a run that begins.
    ///
    /// # Errors
    /// When the state cannot be written.
    pub fn post(&mut self, letters: &[Letter], now: Timestamp) -> Result<(), Unusable> {
        self.with(|connection| outbox::put(connection, letters, now))
    }

    /// The runs that have not ended, with their jobs.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn unfinished(&mut self) -> Result<Vec<(String, RunId)>, Unusable> {
        self.with(|connection| {
            connection
                .prepare("SELECT job, id FROM runs WHERE status = 'running' ORDER BY id")?
                .query_map([], |row| Ok((row.get(0)?, RunId(row.get(1)?))))?
                .collect()
        })
    }

    /// Forgets that `job` fails, once it is not declared any more.
    ///
    /// # Errors
    /// When the state cannot be written.
    pub fn forget_failing(&mut self, job: &JobId) -> Result<(), Unusable> {
        self.with(|connection| alerts::write(connection, job, None))
    }

    /// The jobs that fail.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn failing(&mut self) -> Result<BTreeMap<String, Failing>, Unusable> {
        self.with(alerts::read)
    }

    /// Drops runs and messages that ended before `before`; gives how many runs.
    ///
    /// # Errors
    /// When the state cannot be written.
    pub fn forget_runs(&mut self, before: Timestamp) -> Result<usize, Unusable> {
        let before = before.as_millisecond();
        self.with(|connection| {
            connection.execute("DELETE FROM outbox WHERE finished_at < ?1 AND noted = 1", [before])?;
            connection.execute("DELETE FROM runs WHERE finished_at < ?1", [before])
        })
    }

    /// Sums up the newest runs of `job`.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn last_run(&mut self, job: &JobId) -> Result<LastRun, Unusable> {
        self.with(|connection| LastRun::read(connection, job))
    }
}

#[cfg(test)]
mod tests {
    use super::super::run::Trigger;
    use super::*;

    fn due(job: &str, trigger: Trigger) -> NewRun {
        let at = "2026-11-20T12:30:00Z".parse().unwrap();
        NewRun {
            job: job.parse().unwrap(),
            trigger,
            scheduled_at: at,
            started_at: at,
        }
    }

    #[test]
    fn a_scheduled_time_is_taken_once_and_manual_runs_as_often_as_asked() {
        let folder = tempfile::tempdir().unwrap();
        let mut state = State::new(&folder.path().join("new/state.db"));
        assert!(state.begin(&due("a", Trigger::Schedule)).unwrap().is_some());
        assert!(state.begin(&due("a", Trigger::Schedule)).unwrap().is_none());
        assert!(state.begin(&due("a", Trigger::CatchUp)).unwrap().is_none());
        assert!(state.begin(&due("b", Trigger::Schedule)).unwrap().is_some());
        assert!(state.begin(&due("a", Trigger::Manual)).unwrap().is_some());
        assert!(state.begin(&due("a", Trigger::Manual)).unwrap().is_some());
    }

    #[test]
    fn the_end_of_a_run_and_what_is_told_of_it_are_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.db");
        let run = due("a", Trigger::Schedule);
        let id = State::new(&path).begin(&run).unwrap().unwrap();
        let mut next = State::new(&path);
        assert_eq!(next.unfinished().unwrap(), [("a".to_owned(), id)]);
        let failing = Failing {
            cause: "gone".to_owned(),
            since: run.started_at,
            told_at: Some(run.started_at),
            failures: 1,
        };
        let finish = Finish {
            status: Status::Interrupted,
            at: run.started_at,
            message: None,
            error: Some("gone".to_owned()),
        };
        let letter = Letter {
            subject: "s".to_owned(),
            cause: "c".to_owned(),
            channel: "ops".to_owned(),
            envelope: "{}".to_owned(),
        };
        let telling = Telling {
            job: run.job.clone(),
            failing: Some(failing.clone()),
            letters: vec![letter],
        };
        next.finish(id, &finish, Some(&telling)).unwrap();
        assert!(next.unfinished().unwrap().is_empty());
        assert_eq!(next.outbox_depth().unwrap().pending, 1);
        assert_eq!(next.failing().unwrap()["a"], failing);
        let last = next.last_run(&run.job).unwrap();
        assert_eq!((last.error.as_deref(), last.succeeded_at), (Some("gone"), None));
    }
}
