//! How connections are opened, and how overlapping runs share them, since opening one costs more than most runs need.
//! When the last run on a database ends, all of its connections are closed, so that between runs nothing holds a file
//! that someone may want to replace.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, OpenFlags};

use super::{Database, Interrupt, Sandbox, SqlError, session};

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
            session::take_over(&connection)?;
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

/// Opens the database at `path` for reading only. The file is never created.
pub(crate) fn open_read(path: &Path) -> Result<Connection, SqlError> {
    open(path, OpenFlags::SQLITE_OPEN_READ_ONLY)
}

/// Opens the database at `path` for reading and writing. The file is never created.
pub(crate) fn open_write(path: &Path) -> Result<Connection, SqlError> {
    open(path, OpenFlags::SQLITE_OPEN_READ_WRITE)
}

fn open(path: &Path, access: OpenFlags) -> Result<Connection, SqlError> {
    match std::fs::metadata(path) {
        Ok(found) if found.is_dir() => return Err(unusable(path, "is a folder, not a database")),
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(unusable(path, "does not exist"));
        }
        Err(error) => return Err(unusable(path, &format!("cannot be opened: {error}"))),
    }
    let because = |error: rusqlite::Error| SqlError::of_database(path, &error);
    let connection = Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX).map_err(because)?;
    // SQLite opens lazily: the first read is what finds a foreign or damaged file.
    connection
        .query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))
        .map_err(because)?;
    connection.pragma_update(None, "cache_size", -512).map_err(because)?;
    Ok(connection)
}

fn unusable(path: &Path, why: &str) -> SqlError {
    SqlError::lasting(format!("database {} {why}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unusable_file_is_named_with_its_reason() {
        let folder = tempfile::tempdir().unwrap();
        let foreign = folder.path().join("foreign.db");
        std::fs::write(
            &foreign,
            "this is not a database, but it is long enough to be looked at".repeat(20),
        )
        .unwrap();
        for (path, why) in [
            (folder.path().join("none.db"), "does not exist"),
            (folder.path().to_owned(), "is a folder, not a database"),
            (foreign, "is not a SQLite database"),
        ] {
            let unusable = open_write(&path).unwrap_err();
            assert_eq!(unusable.message, format!("database {} {why}", path.display()));
            assert!(unusable.to_string().contains(path.to_str().unwrap()));
        }
    }
}
