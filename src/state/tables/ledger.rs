//! The runs: each scheduled time once, how each ended, and what was told of it.

use jiff::Timestamp;

use super::super::statements::{Connection, Durability, Fault, Row, Value, values};
use super::super::{
    Beginning, CANCELLED_BY_HAND, EndedRun, LastRun, NewRun, Origin, QueuedRun, REPLACED, RunId, StateError, Status,
    Unfinished,
};
use super::{Tables, failing, outbox, outputs};
use crate::values::{JobId, plural};

/// How many runs are dropped at once: nobody is to wait for millions.
pub(crate) const MOST_CLEARED: usize = 5000;

impl Tables {
    /// Records that queued runs begin at `now`, and runs that are new: all or none, and on the disk.
    pub(in crate::state) fn record(
        &mut self,
        begun: &[RunId],
        new: &[NewRun],
        now: Timestamp,
    ) -> Result<Vec<Option<RunId>>, StateError> {
        let ids = self.change(|connection| {
            set_status(connection, begun, Status::Running, now)?;
            insert(connection, new, now)
        })?;
        self.engine.note_claim(now);
        Ok(ids)
    }

    /// Records that runs which were to begin wait again.
    pub(in crate::state) fn requeue(&mut self, runs: &[RunId], now: Timestamp) -> Result<(), StateError> {
        self.change(|connection| set_status(connection, runs, Status::Queued, now))
    }

    pub(in crate::state) fn finish(&mut self, ended: &[EndedRun]) -> Result<(), StateError> {
        // An end that tells nobody is not worth waiting for the disk: lost with the power, the run counts as interrupted, or
        // as queued where it did not begin.
        let durability = if ended.iter().any(|run| run.telling.is_some()) {
            Durability::Disk
        } else {
            Durability::Process
        };
        self.engine.change(durability, |connection| close(connection, ended))
    }

    pub(in crate::state) fn note_progress(&mut self, runs: &[(RunId, u64)]) -> Result<(), StateError> {
        self.engine.change(Durability::Process, |connection| {
            let so_far =
                |(run, rows): &(RunId, u64)| values![*run, format!("{} so far", plural(*rows, "row"))].to_vec();
            let rows: Vec<_> = runs.iter().map(so_far).collect();
            connection
                .each(
                    "UPDATE runs SET message = ?2 WHERE id = ?1 AND status = 'running'",
                    &rows,
                )
                .map(drop)
        })
    }

    pub(in crate::state) fn note_cancelled(&mut self, run: RunId) -> Result<(), StateError> {
        self.change(|connection| {
            let note = "UPDATE runs SET error = ?2 WHERE id = ?1 AND status = 'running'";
            connection.execute(note, &values![run, CANCELLED_BY_HAND]).map(drop)
        })
    }

    pub(in crate::state) fn clear(&mut self, before: Timestamp) -> Result<usize, StateError> {
        self.change(|connection| {
            connection.execute("DELETE FROM outbox WHERE finished_at < ?1 AND noted = 1", &values![before])?;
            // The newest of each job stays: it tells a start what was run.
            let cleared = connection.execute(
                "DELETE FROM runs WHERE id IN (SELECT id FROM runs AS old WHERE finished_at < ?1
                     AND (\"trigger\" IN ('manual', 'webhook') OR EXISTS (SELECT 1 FROM runs AS newer WHERE newer.job = old.job
                         AND newer.id > old.id AND newer.\"trigger\" NOT IN ('manual', 'webhook'))) LIMIT ?2)",
                &values![before, MOST_CLEARED],
            )?;
            Ok(usize::try_from(cleared).unwrap_or(usize::MAX))
        })
    }

    pub(in crate::state) fn last_runs(&mut self, jobs: Vec<JobId>) -> Result<Vec<(JobId, LastRun)>, StateError> {
        self.read(|connection| {
            let last = last_runs(connection, &jobs)?;
            Ok(jobs.into_iter().zip(last).collect())
        })
    }
}

/// The runs that have not ended, with their jobs.
pub(super) fn unfinished(connection: &mut dyn Connection) -> Result<Vec<Unfinished>, Fault> {
    let rows = connection.query(
        "SELECT job, id, CASE WHEN error IS NULL THEN 0 ELSE 1 END FROM runs WHERE status = 'running' ORDER BY id",
        &[],
    )?;
    let read = |row: Row| {
        Ok(Unfinished {
            job: row.get(0)?,
            run: row.get(1)?,
            was_cancelled: row.get(2)?,
        })
    };
    rows.into_iter().map(read).collect()
}

/// The runs that wait for their turn, oldest first.
pub(super) fn queued(connection: &mut dyn Connection) -> Result<Vec<QueuedRun>, Fault> {
    let rows = connection.query(
        "SELECT id, job, \"trigger\", scheduled_at, repeats,
             (SELECT first.scheduled_at FROM runs AS first WHERE first.id = runs.repeats)
         FROM runs WHERE status = 'queued' ORDER BY id",
        &[],
    )?;
    let read = |row: Row| {
        Ok(QueuedRun {
            run: row.get(0)?,
            job: row.get(1)?,
            trigger: row.get(2)?,
            scheduled_at: row.get(3)?,
            repeats: read_origin(&row, 4)?,
        })
    };
    rows.into_iter().map(read).collect()
}

fn set_status(connection: &mut dyn Connection, runs: &[RunId], status: Status, now: Timestamp) -> Result<(), Fault> {
    let rows: Vec<_> = runs.iter().map(|run| values![*run, status, now].to_vec()).collect();
    connection
        .each("UPDATE runs SET status = ?2, started_at = ?3 WHERE id = ?1", &rows)
        .map(drop)
}

/// Records runs; gives their numbers, and `None` for a scheduled time that is there already.
fn insert(connection: &mut dyn Connection, new: &[NewRun], now: Timestamp) -> Result<Vec<Option<RunId>>, Fault> {
    let rows: Vec<_> = new.iter().map(|run| row_of_new(run, now)).collect();
    let inserted = connection.each(
        "INSERT INTO runs (job, \"trigger\", status, scheduled_at, started_at, finished_at, error, repeats)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT DO NOTHING RETURNING id",
        &rows,
    )?;
    let number = |rows: Vec<Row>| rows.first().map(|row| row.get(0)).transpose();
    inserted.into_iter().map(number).collect()
}

fn row_of_new(run: &NewRun, now: Timestamp) -> Vec<Value<'_>> {
    let (status, skipped) = match &run.beginning {
        Beginning::Now => (Status::Running, None),
        Beginning::Queued => (Status::Queued, None),
        Beginning::Skipped(skip) => (Status::Skipped, Some(skip.why.as_str())),
    };
    let finished_at = skipped.map(|_| now);
    values![
        &run.job,
        run.trigger,
        status,
        run.scheduled_at,
        now,
        finished_at,
        skipped,
        run.repeats
    ]
    .to_vec()
}

fn close(connection: &mut dyn Connection, ended: &[EndedRun]) -> Result<(), Fault> {
    let rows: Vec<_> = ended.iter().map(row_of_ended).collect();
    connection.each(
        "UPDATE runs SET status = ?2, finished_at = ?3, message = ?4, error = ?5, attempts = ?6, statistics = ?7 WHERE id = ?1",
        &rows,
    )?;
    for run in ended {
        outputs::keep(connection, run)?;
        if let Some(telling) = &run.telling {
            failing::write(connection, &telling.job, telling.failing.as_ref())?;
            outbox::put(connection, &telling.messages, run.at)?;
        }
    }
    // The age of a job's last success counts from its end on, in service time.
    let renewing = ended
        .iter()
        .filter_map(|run| Some((run.renews.as_ref()?, run.at.service)));
    let renewals: Vec<_> = renewing.map(|(job, at)| values![job, at].to_vec()).collect();
    connection
        .each("UPDATE activations SET fresh_at = ?2 WHERE job = ?1", &renewals)
        .map(drop)
}

fn row_of_ended(run: &EndedRun) -> Vec<Value<'_>> {
    let message = Some(run.message.as_str());
    let (message, error) = match run.status {
        Status::Success => (message, None),
        _ => (None, message),
    };
    let statistics = run.statistics.as_deref();
    values![
        run.run,
        run.status,
        run.at.wall,
        message,
        error,
        run.attempts,
        statistics
    ]
    .to_vec()
}

/// What is true of a run that was not to be finished: it did not fail, and is not repeated.
fn called_off() -> String {
    format!("(status = 'interrupted' AND (error LIKE '{CANCELLED_BY_HAND}%' OR error = '{REPLACED}'))")
}

/// The newest runs of each of `jobs`, summed up.
fn last_runs(connection: &mut dyn Connection, jobs: &[JobId]) -> Result<Vec<LastRun>, Fault> {
    let jobs: Vec<_> = jobs.iter().map(|job| values![job].to_vec()).collect();
    let mut newest = |columns: &str, only: &str| {
        let query = format!("SELECT {columns} FROM runs WHERE job = ?1 AND {only} ORDER BY id DESC LIMIT 1");
        let found = connection.each(&query, &jobs)?;
        Ok::<_, Fault>(found.into_iter().map(|rows| rows.into_iter().next()))
    };
    let called_off = called_off();
    let started = newest("started_at", "status NOT IN ('skipped', 'queued')")?;
    let succeeded = newest("finished_at", "status = 'success'")?;
    let failed = newest(
        "error",
        &format!("status NOT IN ('running', 'queued', 'skipped') AND NOT {called_off}"),
    )?;
    let interrupted = newest(
        &format!(
            "CASE WHEN status = 'interrupted' AND NOT {called_off} THEN 1 ELSE 0 END, coalesce(repeats, id),
             coalesce((SELECT first.scheduled_at FROM runs AS first WHERE first.id = runs.repeats), scheduled_at)"
        ),
        "status NOT IN ('skipped', 'queued')",
    )?;
    let all = started.zip(succeeded).zip(failed).zip(interrupted);
    all.map(|(((started, succeeded), failed), interrupted)| {
        Ok(LastRun {
            started_at: started.map_or(Ok(None), |row| row.get(0))?,
            succeeded_at: succeeded.map_or(Ok(None), |row| row.get(0))?,
            error: failed.map_or(Ok(None), |row| row.get(0))?,
            interrupted: interrupted.map_or(Ok(None), |row| read_interrupted(&row))?,
            warnings: Vec::new(),
        })
    })
    .collect()
}

/// The newest run of a job, if it was cut off, or the one that it repeated.
fn read_interrupted(row: &Row) -> Result<Option<Origin>, Fault> {
    let was_interrupted = row.get(0)?;
    Ok(if was_interrupted { read_origin(row, 1)? } else { None })
}

/// The run that stands in two columns, the first of that number.
fn read_origin(row: &Row, column: usize) -> Result<Option<Origin>, Fault> {
    let (run, scheduled_at): (Option<RunId>, Option<Timestamp>) = (row.get(column)?, row.get(column + 1)?);
    Ok(run
        .zip(scheduled_at)
        .map(|(run, scheduled_at)| Origin { run, scheduled_at }))
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::on_each;
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
        on_each(|open| {
            let mut state = open();
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
        });
    }

    #[test]
    fn the_end_of_a_run_and_what_is_told_of_it_are_one() {
        on_each(|open| {
            let run = due("a", Trigger::Schedule);
            let now = run.scheduled_at;
            let at = Moment {
                wall: now,
                service: now,
            };
            let id = open().record(&[], std::slice::from_ref(&run), now).unwrap()[0].unwrap();
            let mut next = open();
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
        });
    }
}
