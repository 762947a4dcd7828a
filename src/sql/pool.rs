//! Connections that overlapping runs hand on to each other: opening one costs more than most runs need. When the last
//! of them ends, all are closed, so that between runs nothing holds a file that someone may want to replace.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Database, Interrupt, Sandbox, SqlError, checkpoint, open_read, open_write};

/// The databases that runs work on now.
#[derive(Debug, Default)]
pub(crate) struct Pool(Mutex<BTreeMap<PathBuf, InUse>>);

/// A database that runs work on.
#[derive(Debug, Default)]
struct InUse {
    runs: usize,
    idle: Vec<(Origin, Sandbox)>,
}

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Read,
    Write,
}

/// What a connection was opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Origin {
    mode: Mode,
    /// Device and number of the file: another one may come in its place.
    file: Option<(u64, u64)>,
}

/// A run at work on a database.
struct Visit<'a> {
    pool: &'a Pool,
    path: &'a Path,
}

impl<'a> Visit<'a> {
    fn begin(pool: &'a Pool, path: &'a Path) -> Self {
        pool.lock().entry(path.to_owned()).or_default().runs += 1;
        Self { pool, path }
    }

    /// A connection that another run is done with, or a new one.
    fn connect(&self, origin: Origin) -> Result<Sandbox, SqlError> {
        let idle = self.pool.lock().get_mut(self.path).and_then(|database| {
            let index = database.idle.iter().position(|(found, _)| *found == origin)?;
            Some(database.idle.swap_remove(index).1)
        });
        if let Some(sandbox) = idle {
            return Ok(sandbox);
        }
        let connection = match origin.mode {
            Mode::Read => open_read(self.path)?,
            Mode::Write => open_write(self.path)?,
        };
        if origin.mode == Mode::Write {
            checkpoint::take_over(&connection)?;
        }
        Ok(Sandbox::around(connection)?)
    }

    fn hand_on(&self, origin: Origin, sandbox: Sandbox) {
        if let Some(database) = self.pool.lock().get_mut(self.path) {
            database.idle.push((origin, sandbox));
        }
    }
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        let mut databases = self.pool.lock();
        let Some(database) = databases.get_mut(self.path) else {
            return;
        };
        database.runs -= 1;
        if database.runs == 0 {
            let last = databases.remove(self.path);
            // Closing writes the log back, which nobody else has to wait for.
            drop(databases);
            drop(last);
        }
    }
}

impl Pool {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<PathBuf, InUse>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does `work` on `database`, on a connection that ends with the run and lets declared SQL touch `tables`.
    pub(crate) fn connected<T, E: From<SqlError>>(
        &self,
        (database, mode): (&Database, Mode),
        interrupt: &Interrupt,
        tables: &[&str],
        work: impl FnOnce(&Sandbox) -> Result<T, E>,
    ) -> Result<T, E> {
        let found = std::fs::metadata(&database.path).ok();
        let origin = Origin {
            mode,
            file: found.map(|found| (found.dev(), found.ino())),
        };
        let visit = Visit::begin(self, &database.path);
        let mut sandbox = visit.connect(origin)?;
        interrupt
            .govern(&mut sandbox, database.busy_timeout)
            .and_then(|()| sandbox.admit(tables))
            .map_err(SqlError::from)?;
        let done = work(&sandbox);
        // One that is in the middle of something is of no use to others.
        if sandbox.is_autocommit() {
            visit.hand_on(origin, sandbox);
        }
        done
    }
}
