//! The runs: each scheduled time once, how each ended, and what was told of it.

use jiff::Timestamp;
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, params};

use super::super::{
    Beginning, CANCELLED_BY_HAND, EndedRun, LastRun, NewRun, Origin, QueuedRun, REPLACED, RunId, StateError, Status,
    Unfinished,
};
use super::{Durability, Sqlite, activations, failing, instant, outbox, outputs};
use crate::values::{JobId, plural};

/// How many runs are dropped at once: nobody is to wait for millions.
pub(crate) const MOST_CLEARED: usize = 5000;

impl Sqlite {
    /// Records that queued runs begin at `now`, and runs that are new: all or none, and on the disk.
    pub(in crate::state) fn record(
        &mut self,
        begun: &[RunId],
        new: &[NewRun],
        now: Timestamp,
    ) -> Result<Vec<Option<RunId>>, StateError> {
        let ids = self.all_or_nothing(|transaction| {
            set_status(transaction, begun, Status::Running, now)?;
            new.iter().map(|run| insert(transaction, run, now)).collect()
        })?;
        self.last_claim = now;
        Ok(ids)
    }

    /// Records that runs which were to begin wait again.
    pub(in crate::state) fn requeue(&mut self, runs: &[RunId], now: Timestamp) -> Result<(), StateError> {
        self.all_or_nothing(|transaction| set_status(transaction, runs, Status::Queued, now))
    }

    pub(in crate::state) fn finish(&mut self, ended: &[EndedRun]) -> Result<(), StateError> {
        // An end that tells nobody is not worth waiting for the disk: lost with the power, the run counts as interrupted, or
        // as queued where it did not begin.
        let durability = if ended.iter().any(|run| run.telling.is_some()) {
            Durability::Disk
        } else {
            Durability::Process
        };
        self.transaction(durability, |transaction| {
            ended.iter().try_for_each(|run| close(transaction, run))
        })
    }

    pub(in crate::state) fn note_progress(&mut self, runs: &[(RunId, u64)]) -> Result<(), StateError> {
        self.transaction(Durability::Process, |transaction| {
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
                     AND (\"trigger\" IN ('manual', 'webhook') OR EXISTS (SELECT 1 FROM runs AS newer WHERE newer.job = old.job
                         AND newer.id > old.id AND newer.\"trigger\" NOT IN ('manual', 'webhook'))) LIMIT ?2)",
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
pub(super) fn unfinished(connection: &Connection) -> rusqlite::Result<Vec<Unfinished>> {
    let read = |row: &rusqlite::Row<'_>| {
        Ok(Unfinished {
            job: row.get(0)?,
            run: RunId(row.get(1)?),
            was_cancelled: row.get(2)?,
        })
    };
    connection
        .prepare("SELECT job, id, error IS NOT NULL FROM runs WHERE status = 'running' ORDER BY id")?
        .query_map([], read)?
        .collect()
}

/// The runs that wait for their turn, oldest first.
pub(super) fn queued(connection: &Connection) -> rusqlite::Result<Vec<QueuedRun>> {
    connection
        .prepare(
            "SELECT id, job, \"trigger\", scheduled_at, repeats,
                 (SELECT first.scheduled_at FROM runs AS first WHERE first.id = runs.repeats)
             FROM runs WHERE status = 'queued' ORDER BY id",
        )?
        .query_map([], |row| {
            Ok(QueuedRun {
                run: RunId(row.get(0)?),
                job: row.get(1)?,
                trigger: row.get(2)?,
                scheduled_at: instant(row.get(3)?),
                repeats: read_origin(row.get(4)?, row.get(5)?),
            })
        })?
        .collect()
}

fn set_status(connection: &Connection, runs: &[RunId], status: Status, now: Timestamp) -> rusqlite::Result<()> {
    let mut update = connection.prepare_cached("UPDATE runs SET status = ?2, started_at = ?3 WHERE id = ?1")?;
    for run in runs {
        update.execute(params![run.0, status, now.as_millisecond()])?;
    }
    Ok(())
}

fn insert(connection: &Connection, run: &NewRun, now: Timestamp) -> rusqlite::Result<Option<RunId>> {
    let (status, skipped) = match &run.beginning {
        Beginning::Now => (Status::Running, None),
        Beginning::Queued => (Status::Queued, None),
        Beginning::Skipped(skip) => (Status::Skipped, Some(&skip.why)),
    };
    connection
        .prepare_cached(
            "INSERT INTO runs (job, \"trigger\", status, scheduled_at, started_at, finished_at, error, repeats)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT DO NOTHING RETURNING id",
        )?
        .query_row(
            params![
                run.job.as_str(),
                run.trigger,
                status,
                run.scheduled_at.as_millisecond(),
                now.as_millisecond(),
                skipped.map(|_| now.as_millisecond()),
                skipped,
                run.repeats.map(|run| run.0)
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
            "UPDATE runs SET status = ?2, finished_at = ?3, message = ?4, error = ?5, attempts = ?6, statistics = ?7 WHERE id = ?1",
        )?
        .execute(params![
            ended.run.0,
            ended.status,
            ended.at.wall.as_millisecond(),
            message,
            error,
            ended.attempts,
            ended.statistics
        ])?;
    outputs::keep(connection, ended)?;
    if let Some(telling) = &ended.telling {
        failing::write(connection, &telling.job, telling.failing.as_ref())?;
        outbox::put(connection, &telling.messages, ended.at)?;
    }
    if let Some(job) = &ended.renews {
        activations::renew(connection, job, ended.at.service)?;
    }
    Ok(())
}

/// What is true of a run that was not to be finished: it did not fail, and is not repeated.
fn called_off() -> String {
    format!("(status = 'interrupted' AND (error LIKE '{CANCELLED_BY_HAND}%' OR error = '{REPLACED}'))")
}

fn last_run(connection: &Connection, job: &JobId) -> rusqlite::Result<LastRun> {
    let newest = |column: &str, only: &str| -> rusqlite::Result<Option<Value>> {
        let query = format!("SELECT {column} FROM runs WHERE job = ?1 AND {only} ORDER BY id DESC LIMIT 1");
        let mut statement = connection.prepare_cached(&query)?;
        statement.query_row([job.as_str()], |row| row.get(0)).optional()
    };
    let instant_of = |value: Option<Value>| match value {
        Some(Value::Integer(millis)) => Timestamp::from_millisecond(millis).ok(),
        _ => None,
    };
    Ok(LastRun {
        started_at: instant_of(newest("started_at", "status NOT IN ('skipped', 'queued')")?),
        succeeded_at: instant_of(newest("finished_at", "status = 'success'")?),
        error: match newest(
            "error",
            &format!(
                "status NOT IN ('running', 'queued', 'skipped') AND NOT {}",
                called_off()
            ),
        )? {
            Some(Value::Text(error)) => Some(error),
            _ => None,
        },
        interrupted: interrupted(connection, job)?,
        warnings: Vec::new(),
    })
}

/// The newest run of `job`, if it was cut off, or the one that it repeated.
fn interrupted(connection: &Connection, job: &JobId) -> rusqlite::Result<Option<Origin>> {
    let newest = connection
        .prepare_cached(&format!(
            "SELECT status = 'interrupted' AND NOT {}, coalesce(repeats, id),
                 coalesce((SELECT first.scheduled_at FROM runs AS first WHERE first.id = runs.repeats), scheduled_at)
             FROM runs WHERE job = ?1 AND status NOT IN ('skipped', 'queued') ORDER BY id DESC LIMIT 1",
            called_off()
        ))?
        .query_row([job.as_str()], |row| {
            Ok((row.get(0)?, read_origin(row.get(1)?, row.get(2)?)))
        })
        .optional()?;
    Ok(newest.and_then(|(was_interrupted, origin)| if was_interrupted { origin } else { None }))
}

fn read_origin(run: Option<i64>, scheduled_at: Option<i64>) -> Option<Origin> {
    Some(Origin {
        run: RunId(run?),
        scheduled_at: instant(scheduled_at?),
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::{Failing, NewMessage, Telling, Trigger};
    use super::*;
    use crate::values::Moment;

    fn due(job: &str, trigger: Trigger) -> NewRun {
        NewRun {
            job: job.parse().unwrap(),
            trigger,
            scheduled_at: "2026-11-20T12:30:00Z".parse().unwrap(),
            repeats: None,
            beginning: Beginning::Now,
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
            let ids = state.record(&[], &[due(job, trigger)], Timestamp::UNIX_EPOCH).unwrap();
            assert_eq!(ids[0].is_some(), taken, "{job} {trigger:?}");
        }
    }

    #[test]
    fn the_end_of_a_run_and_what_is_told_of_it_are_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.db");
        let run = due("a", Trigger::Schedule);
        let now = run.scheduled_at;
        let at = Moment {
            wall: now,
            service: now,
        };
        let id = Sqlite::new(&path).record(&[], std::slice::from_ref(&run), now).unwrap()[0].unwrap();
        let mut next = Sqlite::new(&path);
        let left = next.left_behind(now).unwrap().unfinished;
        assert_eq!((left.len(), left[0].run, left[0].was_cancelled), (1, id, false));
        let failing = Failing {
            cause: "gone".to_owned(),
            since: now,
            told_at: Some(now),
            failures: 1,
        };
        let message = NewMessage {
            subject: "s".to_owned(),
            cause: "c".to_owned(),
            channel: "ops".to_owned(),
            turn: "ops".to_owned(),
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
            at,
            message: "gone".to_owned(),
            attempts: 1,
            statistics: None,
            output: None,
            telling: Some(telling),
            renews: None,
        };
        next.finish(&[ended]).unwrap();
        assert!(next.left_behind(now).unwrap().unfinished.is_empty());
        assert_eq!(next.outbox_counts().unwrap().pending, 1);
        assert_eq!(next.left_behind(now).unwrap().failing["a"], failing);
        let last = next.last_runs(vec![run.job]).unwrap().remove(0).1;
        assert_eq!((last.error.as_deref(), last.succeeded_at), (Some("gone"), None));
    }
}
