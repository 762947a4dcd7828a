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

use jiff::Timestamp;

use super::engine::Engine;
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
        Self {
            engine: Engine::at(path),
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
    use super::*;

    #[test]
    fn a_stop_is_remembered_until_it_is_lifted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.db");
        let now = "2026-11-20T12:30:00Z".parse().unwrap();
        let (a, b): (JobId, JobId) = ("a".parse().unwrap(), "b".parse().unwrap());
        let mut state = Tables::at(&path);
        for job in [&a, &a, &b] {
            state.stop(job, now).unwrap();
        }
        let stopped = |state: &mut Tables| state.left_behind(now).unwrap().stopped.into_iter().collect::<Vec<_>>();
        drop(state);
        let mut state = Tables::at(&path);
        assert_eq!(stopped(&mut state), ["a", "b"]);
        state.lift_stops(Some(&a)).unwrap();
        assert_eq!(stopped(&mut state), ["b"]);
        state.lift_stops(None).unwrap();
        assert!(stopped(&mut state).is_empty());
    }
}
