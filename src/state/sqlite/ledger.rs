//! The runs: each scheduled time once, how each ended, and what was told of it.

use jiff::Timestamp;
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, params};

use super::super::{EndedRun, LastRun, NewRun, RunId, StateError, Status};
use super::{Sqlite, failing, outbox};
use crate::values::{JobId, plural};

/// How many runs are dropped at once: nobody is to wait for millions.
pub(crate) const MOST_CLEARED: usize = 5000;

impl Sqlite {
    pub(in crate::state) fn record(
        &mut self,
        runs: &[(NewRun, Option<String>)],
    ) -> Result<Vec<Option<RunId>>, StateError> {
        self.all_or_nothing(|transaction| {
            runs.iter()
                .map(|(run, skipped)| insert(transaction, run, skipped.as_deref()))
                .collect()
        })
    }

    pub(in crate::state) fn finish(&mut self, ended: &[EndedRun]) -> Result<(), StateError> {
        self.all_or_nothing(|transaction| ended.iter().try_for_each(|run| close(transaction, run)))
    }

    pub(in crate::state) fn begin(&mut self, runs: &[RunId], now: Timestamp) -> Result<(), StateError> {
        self.all_or_nothing(|transaction| {
            for run in runs {
                transaction
                    .prepare_cached("UPDATE runs SET started_at = ?2 WHERE id = ?1")?
                    .execute(params![run.0, now.as_millisecond()])?;
            }
            Ok(())
        })
    }

    pub(in crate::state) fn note_progress(&mut self, runs: &[(RunId, u64)]) -> Result<(), StateError> {
        self.all_or_nothing(|transaction| {
            for (run, rows) in runs {
                transaction.execute(
                    "UPDATE runs SET message = ?2 WHERE id = ?1 AND status = 'running'",
                    params![run.0, format!("{} so far", plural(*rows, "row"))],
                )?;
            }
            Ok(())
        })
    }

    pub(in crate::state) fn clear(&mut self, before: Timestamp) -> Result<usize, StateError> {
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

    pub(in crate::state) fn last_runs(&mut self, jobs: Vec<JobId>) -> Result<Vec<(JobId, LastRun)>, StateError> {
        self.with(|connection| {
            jobs.into_iter()
                .map(|job| {
                    let last = last_run(connection, &job)?;
                    Ok((job, last))
                })
                .collect()
        })
    }
}

/// The runs that have not ended, with their jobs.
pub(super) fn unfinished(connection: &Connection) -> rusqlite::Result<Vec<(String, RunId)>> {
    connection
        .prepare("SELECT job, id FROM runs WHERE status = 'running' ORDER BY id")?
        .query_map([], |row| Ok((row.get(0)?, RunId(row.get(1)?))))?
        .collect()
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

fn close(connection: &Connection, ended: &EndedRun) -> rusqlite::Result<()> {
    let message = Some(&ended.message);
    let (message, error) = match ended.status {
        Status::Success => (message, None),
        _ => (None, message),
    };
    connection
        .prepare_cached(
            "UPDATE runs SET status = ?2, finished_at = ?3, message = ?4, error = ?5, attempts = ?6, output = ?7 WHERE id = ?1",
        )?
        .execute(params![
            ended.run.0,
            ended.status,
            ended.at.as_millisecond(),
            message,
            error,
            ended.attempts,
            ended.output
        ])?;
    if let Some(telling) = &ended.telling {
        failing::write(connection, &telling.job, telling.failing.as_ref())?;
        outbox::put(connection, &telling.messages, ended.at)?;
    }
    Ok(())
}

fn last_run(connection: &Connection, job: &JobId) -> rusqlite::Result<LastRun> {
    let newest = |column: &str, only: &str| -> rusqlite::Result<Option<Value>> {
        let query = format!("SELECT {column} FROM runs WHERE job = ?1 AND {only} ORDER BY id DESC LIMIT 1");
        let mut statement = connection.prepare_cached(&query)?;
        statement.query_row([job.as_str()], |row| row.get(0)).optional()
    };
    let instant = |value: Option<Value>| match value {
        Some(Value::Integer(millis)) => Timestamp::from_millisecond(millis).ok(),
        _ => None,
    };
    let interrupted = Value::Text(Status::Interrupted.as_str().to_owned());
    Ok(LastRun {
        started_at: instant(newest("started_at", "status <> 'skipped'")?),
        succeeded_at: instant(newest("finished_at", "status = 'success'")?),
        error: match newest("error", "status NOT IN ('running', 'skipped')")? {
            Some(Value::Text(error)) => Some(error),
            _ => None,
        },
        was_interrupted: newest("status", "status <> 'skipped'")? == Some(interrupted),
        warnings: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::{Failing, NewMessage, Telling, Trigger};
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
        let mut state = Sqlite::new(&folder.path().join("new/state.db"));
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
        let id = Sqlite::new(&path).record(&[(run.clone(), None)]).unwrap()[0].unwrap();
        let mut next = Sqlite::new(&path);
        assert_eq!(
            next.left_behind(run.started_at).unwrap().unfinished,
            [("a".to_owned(), id)]
        );
        let failing = Failing {
            cause: "gone".to_owned(),
            since: run.started_at,
            told_at: Some(run.started_at),
            failures: 1,
        };
        let message = NewMessage {
            subject: "s".to_owned(),
            cause: "c".to_owned(),
            channel: "ops".to_owned(),
            notification: "{}".to_owned(),
            supersedes: true,
        };
        let telling = Telling {
            job: run.job.clone(),
            failing: Some(failing.clone()),
            messages: vec![message],
        };
        let ended = EndedRun {
            run: id,
            status: Status::Interrupted,
            at: run.started_at,
            message: "gone".to_owned(),
            attempts: 1,
            output: None,
            telling: Some(telling),
        };
        next.finish(&[ended]).unwrap();
        assert!(next.left_behind(run.started_at).unwrap().unfinished.is_empty());
        assert_eq!(next.outbox_counts().unwrap().pending, 1);
        assert_eq!(next.left_behind(run.started_at).unwrap().failing["a"], failing);
        let last = next.last_runs(vec![run.job]).unwrap().remove(0).1;
        assert_eq!((last.error.as_deref(), last.succeeded_at), (Some("gone"), None));
    }
}
