//! The runs in the state database: each scheduled time once, how each ended, and what was told of it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use super::alerts::{self, Failing};
use super::outbox::{self, Letter};
use super::run::{Finish, LastRun, NewRun, RunId, Status};
use super::sqlite::Unusable;
use super::state::State;
use crate::values::JobId;

/// What is told of a run, to be taken down together with its end.
#[derive(Clone, Debug)]
pub(crate) struct Telling {
    /// The run's job.
    pub job: JobId,
    /// How the job stands after the run, if it fails.
    pub failing: Option<Failing>,
    /// The messages.
    pub letters: Vec<Letter>,
}

/// A run that ended.
#[derive(Clone, Debug)]
pub(crate) struct Ended {
    /// Its number.
    pub run: RunId,
    /// How.
    pub finish: Finish,
    /// What is told of it.
    pub telling: Option<Telling>,
}

fn insert(connection: &Connection, run: &NewRun, skipped: Option<&str>) -> rusqlite::Result<Option<RunId>> {
    let status = if skipped.is_some() {
        Status::Skipped
    } else {
        Status::Running
    };
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
                skipped.map(|_| run.started_at.as_millisecond()),
                skipped
            ],
            |row| row.get(0).map(RunId),
        )
        .optional()
}

fn close(connection: &Connection, ended: &Ended) -> rusqlite::Result<()> {
    let finish = &ended.finish;
    connection
        .prepare_cached(
            "UPDATE runs SET status = ?2, finished_at = ?3, message = ?4, error = ?5, attempts = ?6, output = ?7 WHERE id = ?1",
        )?
        .execute(params![
            ended.run.0,
            finish.status,
            finish.at.as_millisecond(),
            finish.message,
            finish.error,
            finish.attempts,
            finish.output
        ])?;
    if let Some(telling) = &ended.telling {
        alerts::write(connection, &telling.job, telling.failing.as_ref())?;
        outbox::put(connection, &telling.letters, finish.at)?;
    }
    Ok(())
}

/// How many runs are dropped at once: nobody is to wait for millions.
pub(crate) const MOST_CLEARED: usize = 5000;

impl State {
    /// Takes down runs that begin, or, with a reason, that do not take place: all or none. `None` for one whose
    /// scheduled time is in the ledger already: it must not run again.
    pub(crate) fn record(&mut self, runs: &[(NewRun, Option<String>)]) -> Result<Vec<Option<RunId>>, Unusable> {
        self.with(|connection| {
            let transaction = connection.unchecked_transaction()?;
            let ids = runs
                .iter()
                .map(|(run, skipped)| insert(&transaction, run, skipped.as_deref()))
                .collect::<rusqlite::Result<_>>()?;
            transaction.commit()?;
            Ok(ids)
        })
    }

    /// Takes down how runs ended, together with what is told of them: all or none.
    pub(crate) fn finish(&mut self, ended: &[Ended]) -> Result<(), Unusable> {
        self.with(|connection| {
            let transaction = connection.unchecked_transaction()?;
            for run in ended {
                close(&transaction, run)?;
            }
            transaction.commit()
        })
    }

    /// Posts letters about a run that begins.
    pub(crate) fn post(&mut self, letters: &[Letter], now: Timestamp) -> Result<(), Unusable> {
        self.with(|connection| outbox::put(connection, letters, now))
    }

    /// The runs that have not ended, with their jobs.
    pub(crate) fn unfinished(&mut self) -> Result<Vec<(String, RunId)>, Unusable> {
        self.with(|connection| {
            connection
                .prepare("SELECT job, id FROM runs WHERE status = 'running' ORDER BY id")?
                .query_map([], |row| Ok((row.get(0)?, RunId(row.get(1)?))))?
                .collect()
        })
    }

    /// How the newest run of `job` ended, if it did.
    pub(crate) fn newest_status(&mut self, job: &JobId) -> Result<Option<Status>, Unusable> {
        self.with(|connection| {
            connection
                .query_row(
                    "SELECT status FROM runs WHERE job = ?1 AND status <> 'skipped' ORDER BY id DESC LIMIT 1",
                    [job.as_str()],
                    |row| row.get(0),
                )
                .optional()
        })
    }

    /// Forgets that `job` fails, once it is not declared any more.
    pub(crate) fn forget_failing(&mut self, job: &JobId) -> Result<(), Unusable> {
        self.with(|connection| alerts::write(connection, job, None))
    }

    /// The jobs that fail.
    pub(crate) fn failing(&mut self) -> Result<BTreeMap<String, Failing>, Unusable> {
        self.with(alerts::read)
    }

    /// Drops messages that ended before `before`, and at most [`MOST_CLEARED`] runs; gives how many.
    pub(crate) fn forget_runs(&mut self, before: Timestamp) -> Result<usize, Unusable> {
        let before = before.as_millisecond();
        self.with(|connection| {
            connection.execute("DELETE FROM outbox WHERE finished_at < ?1 AND noted = 1", [before])?;
            // The newest of each job stays: it tells a start what was run.
            connection.execute(
                "DELETE FROM runs WHERE id IN (SELECT id FROM runs AS old WHERE finished_at < ?1
                     AND (\"trigger\" = 'manual' OR EXISTS (SELECT 1 FROM runs AS newer WHERE newer.job = old.job
                         AND newer.id > old.id AND newer.\"trigger\" <> 'manual')) LIMIT ?2)",
                (before, i64::try_from(MOST_CLEARED).unwrap_or(i64::MAX)),
            )
        })
    }

    /// Sums up the newest runs of `job`.
    pub(crate) fn last_run(&mut self, job: &JobId) -> Result<LastRun, Unusable> {
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
        for (job, trigger, taken) in [
            ("a", Trigger::Schedule, true),
            ("a", Trigger::Schedule, false),
            ("a", Trigger::CatchUp, false),
            ("b", Trigger::Schedule, true),
            ("a", Trigger::Manual, true),
            ("a", Trigger::Manual, true),
        ] {
            let ids = state.record(&[(due(job, trigger), None)]).unwrap();
            assert_eq!(ids[0].is_some(), taken, "{job} {trigger:?}");
        }
    }

    #[test]
    fn the_end_of_a_run_and_what_is_told_of_it_are_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.db");
        let run = due("a", Trigger::Schedule);
        let id = State::new(&path).record(&[(run.clone(), None)]).unwrap()[0].unwrap();
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
            attempts: 1,
            output: None,
        };
        let letter = Letter {
            subject: "s".to_owned(),
            cause: "c".to_owned(),
            channel: "ops".to_owned(),
            envelope: "{}".to_owned(),
            supersedes: true,
        };
        let telling = Telling {
            job: run.job.clone(),
            failing: Some(failing.clone()),
            letters: vec![letter],
        };
        let ended = Ended {
            run: id,
            finish,
            telling: Some(telling),
        };
        next.finish(&[ended]).unwrap();
        assert!(next.unfinished().unwrap().is_empty());
        assert_eq!(next.outbox_depth().unwrap().pending, 1);
        assert_eq!(next.failing().unwrap()["a"], failing);
        let last = next.last_run(&run.job).unwrap();
        assert_eq!((last.error.as_deref(), last.succeeded_at), (Some("gone"), None));
    }
}
