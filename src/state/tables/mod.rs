//! What the state keeps, table by table: the statements are the same whatever keeps it.

mod activations;
mod failing;
mod findings;
mod history;
mod last_good;
mod ledger;
mod outbox;
mod outputs;

use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;

use super::engine::Engine;
use super::postgres::{Candidate, StateServer};
use super::sqlite::Sqlite;
use super::statements::{Connection, Durability, Fault, Row, query_one, values};
use super::{LeftBehind, StateError};
use crate::values::{JobId, Moment};
pub(crate) use ledger::MOST_CLEARED;
use outbox::Claimed;

/// The tables of a state.
#[derive(Debug)]
pub(super) struct Tables {
    engine: Engine,
    claimed: Claimed,
}

impl Tables {
    /// Those in the file at `path`.
    pub(super) fn at(path: &Path) -> Self {
        Self::of(Engine::Sqlite(Sqlite::new(path)))
    }

    /// Those on `server`, which may be changed while `candidate` leads.
    pub(super) fn on(server: &Arc<StateServer>, candidate: &Candidate) -> Self {
        Self::of(Engine::Postgres(Box::new(candidate.state(server))))
    }

    fn of(engine: Engine) -> Self {
        Self {
            engine,
            claimed: Claimed::new(),
        }
    }

    /// Changes the state: all or nothing, and on the disk.
    fn change<T>(&mut self, work: impl FnOnce(&mut dyn Connection) -> Result<T, Fault>) -> Result<T, StateError> {
        self.engine.change(Durability::Disk, work)
    }

    /// Reads the state.
    fn read<T>(&mut self, work: impl FnOnce(&mut dyn Connection) -> Result<T, Fault>) -> Result<T, StateError> {
        self.engine.read(work)
    }

    /// Writes down what both clocks show, which tells whether the state can be written, and where the next start
    /// begins to count.
    pub(super) fn note_time(&mut self, now: Moment) -> Result<(), StateError> {
        self.engine.change(Durability::Process, |connection| {
            connection
                .execute(
                    "INSERT INTO service_time (id, service, wall) VALUES (1, ?1, ?2)
                     ON CONFLICT (id) DO UPDATE SET service = excluded.service, wall = excluded.wall",
                    &values![now.service, now.wall],
                )
                .map(drop)
        })
    }

    /// What both clocks showed when that was last written down.
    pub(super) fn noted_time(&mut self) -> Result<Option<Moment>, StateError> {
        self.read(|connection| {
            let noted = query_one(connection, "SELECT service, wall FROM service_time", &[])?;
            let read = |row: Row| {
                Ok(Moment {
                    service: row.get(0)?,
                    wall: row.get(1)?,
                })
            };
            noted.map(read).transpose()
        })
    }

    pub(super) fn left_behind(&mut self, now: Timestamp) -> Result<LeftBehind, StateError> {
        self.read(|connection| {
            let stopped = connection.query("SELECT job FROM stops", &[])?;
            Ok(LeftBehind {
                stopped: stopped.iter().map(|row| row.get(0)).collect::<Result<_, _>>()?,
                failing: failing::read(connection)?,
                unfinished: ledger::unfinished(connection)?,
                queued: ledger::queued(connection)?,
                activations: activations::read(connection, now)?,
            })
        })
    }

    pub(super) fn stop(&mut self, job: &JobId, now: Timestamp) -> Result<(), StateError> {
        self.change(|connection| {
            let stop = "INSERT INTO stops (job, stopped_at) VALUES (?1, ?2) ON CONFLICT DO NOTHING";
            connection.execute(stop, &values![job, now]).map(drop)
        })
    }

    pub(super) fn lift_stops(&mut self, job: Option<&JobId>) -> Result<(), StateError> {
        self.change(|connection| {
            let lift = "DELETE FROM stops WHERE ?1 IS NULL OR job = ?1";
            connection.execute(lift, &values![job.map(JobId::as_str)]).map(drop)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::on_each;
    use super::super::{Beginning, Change, EndedRun, Filter, Finding, NewRun, RunId, Status, Trigger};
    use super::*;

    fn a_job_at_noon() -> (JobId, Moment) {
        let noon = "2026-11-20T12:00:00Z".parse().unwrap();
        let moment = Moment {
            wall: noon,
            service: noon,
        };
        ("a".parse().unwrap(), moment)
    }

    #[test]
    fn a_stop_is_remembered_until_it_is_lifted() {
        on_each(|open| {
            let now = "2026-11-20T12:30:00Z".parse().unwrap();
            let (a, b): (JobId, JobId) = ("a".parse().unwrap(), "b".parse().unwrap());
            let mut state = open();
            for job in [&a, &a, &b] {
                state.stop(job, now).unwrap();
            }
            let stopped = |state: &mut Tables| state.left_behind(now).unwrap().stopped.into_iter().collect::<Vec<_>>();
            drop(state);
            let mut state = open();
            assert_eq!(stopped(&mut state), ["a", "b"]);
            state.lift_stops(Some(&a)).unwrap();
            assert_eq!(stopped(&mut state), ["b"]);
            state.lift_stops(None).unwrap();
            assert!(stopped(&mut state).is_empty());
        });
    }

    #[test]
    fn what_was_written_is_read_again() {
        on_each(|open| {
            let mut state = open();
            let (job, moment) = a_job_at_noon();
            let now = moment.wall;
            state.activate(&[(job.clone(), "times".to_owned())], moment).unwrap();
            state.note_time(moment).unwrap();
            let files = vec![("jobs.toml".to_owned(), "[jobs]".to_owned())];
            state.keep_declaration(&files).unwrap();
            let new = |trigger, beginning| NewRun {
                job: job.clone(),
                trigger,
                scheduled_at: now,
                repeats: None,
                beginning,
            };
            let runs = [
                new(Trigger::Schedule, Beginning::Now),
                new(Trigger::Manual, Beginning::Queued),
            ];
            let ids: Vec<RunId> = state.record(&[], &runs, now).unwrap().into_iter().flatten().collect();
            state.note_progress(&[(ids[0], 7)]).unwrap();
            state.note_cancelled(ids[0]).unwrap();
            drop(state);
            let mut state = open();
            assert_eq!(state.noted_time().unwrap(), Some(moment));
            assert_eq!(state.kept_declaration().unwrap(), files);
            let left = state.left_behind(now).unwrap();
            assert_eq!(
                (left.unfinished[0].run, left.unfinished[0].was_cancelled),
                (ids[0], true)
            );
            assert_eq!((left.queued[0].run, left.queued[0].trigger), (ids[1], Trigger::Manual));
            assert_eq!(left.activations["a"].newest, Some(now));
            let ended = |run, output: &str| EndedRun {
                run,
                status: Status::Success,
                at: moment,
                message: "done".to_owned(),
                attempts: 2,
                statistics: Some("{\"rows\":7}".to_owned()),
                output: Some(output.to_owned()),
                telling: None,
                renews: Some(job.clone()),
            };
            state
                .finish(&[ended(ids[0], "first"), ended(ids[1], "second")])
                .unwrap();
            let (run, output) = state.run(ids[1]).unwrap().unwrap();
            assert_eq!((run.attempts, output.as_deref()), (2, Some("second")));
            assert_eq!(run.statistics.unwrap()["rows"], 7);
            let filter = Filter {
                trigger: Some(Trigger::Schedule),
                ..Filter::default()
            };
            let piece = state.history_piece(&filter, None).unwrap();
            assert_eq!((piece.matching, piece.runs.len(), piece.next), (1, 1, None));
            let recent = state.recent_runs(std::slice::from_ref(&job), 5).unwrap();
            assert_eq!((recent[0].runs.len(), recent[0].message.as_deref()), (2, Some("done")));
            // The newest that came by its schedule stays.
            assert_eq!(state.clear(now + jiff::SignedDuration::from_secs(1)).unwrap(), 1);
            assert!(state.run(ids[0]).unwrap().is_some() && state.run(ids[1]).unwrap().is_none());
            state.deactivate(&[job]).unwrap();
            assert!(state.left_behind(now).unwrap().activations.is_empty());
        });
    }

    #[test]
    fn findings_are_told_when_they_are_new_and_when_they_are_gone() {
        on_each(|open| {
            let mut state = open();
            let (job, moment) = a_job_at_noon();
            let now = moment.wall;
            let found = [Finding {
                key: "disk".to_owned(),
                message: "full".to_owned(),
            }];
            let mut reconcile =
                |found: &[Finding]| state.reconcile(&job, found, (moment, None), &|_| Vec::new()).unwrap();
            assert_eq!(reconcile(&found), [Change::Told(found[0].clone())]);
            assert_eq!(reconcile(&found), []);
            assert_eq!(reconcile(&[]), [Change::Gone(found[0].clone(), now)]);
        });
    }
}
