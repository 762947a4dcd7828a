//! How connections are opened, and how runs on one database share them and the threads they work on: opening one costs
//! more than most runs need, and SQLite lets one write at a time.
//!
//! When the last run on a database ends, its connections are closed, at once or, after runs that overlapped, in a moment,
//! so that between runs nothing holds a file that someone may want to replace. Only where the next run is about to come,
//! as it did before, are they kept for it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags};

use super::{Database, Interrupt, Sandbox, SqlError, session};
use crate::values::{Threads, identity, lock, within_patience_of};

/// Threads that read one database, and as many that write it: those whose statement takes long hold up the others of
/// that database alone.
pub(crate) const MOST_THREADS: usize = 16;
/// How long connections wait for a run, where runs come so often.
const KEPT: Duration = Duration::from_secs(2);
/// Statements that a connection keeps compiled.
const KEPT_STATEMENTS: usize = 256;

/// The databases that runs work on, by their keys.
#[derive(Debug, Default)]
pub(crate) struct Pool(Mutex<BTreeMap<PathBuf, Shared>>);

/// What the runs on one database share.
#[derive(Debug)]
struct Shared {
    readers: Threads,
    writers: Threads,
    runs: usize,
    idle: Vec<(Origin, Sandbox)>,
    /// When the last run ended.
    ended: Option<Instant>,
    /// Whether runs come so often that connections wait for them.
    is_busy: bool,
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            readers: Threads::new(MOST_THREADS),
            writers: Threads::new(MOST_THREADS),
            runs: 0,
            idle: Vec::new(),
            ended: None,
            is_busy: false,
        }
    }
}

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
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

/// A run that works on a database, or waits for its turn to.
#[derive(Debug)]
pub(crate) struct Visit {
    pool: Arc<Pool>,
    pub database: Database,
    /// The threads it works on.
    pub threads: Threads,
}

impl Pool {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<PathBuf, Shared>> {
        lock(&self.0)
    }

    /// Has a run work on `database`, until what this gives is dropped.
    pub(crate) fn visit(self: &Arc<Self>, database: &Database, mode: Mode) -> Visit {
        let mut databases = self.lock();
        let shared = databases.entry(database.key().to_owned()).or_default();
        if shared.runs == 0 {
            shared.is_busy = shared.ended.is_some_and(|ended| ended.elapsed() < KEPT);
        }
        shared.runs += 1;
        let threads = match mode {
            Mode::Read => shared.readers.clone(),
            Mode::Write => shared.writers.clone(),
        };
        drop(databases);
        Visit {
            pool: Arc::clone(self),
            database: database.clone(),
            threads,
        }
    }

    /// Closes the connections of a database that no run has come to.
    fn close_idle(&self, key: &Path) {
        let mut databases = self.lock();
        let idle = databases.get_mut(key).filter(|shared| {
            let waited = shared.ended.is_some_and(|ended| ended.elapsed() >= KEPT);
            shared.runs == 0 && waited
        });
        let idle = idle.map(|shared| std::mem::take(&mut shared.idle));
        // Closing writes the log back, which nobody else has to wait for.
        drop(databases);
        drop(idle);
    }
}

impl Visit {
    /// Does `work` on the database, on a connection that ends with the run and lets declared SQL touch `tables`.
    pub(crate) fn connected<T, E: From<SqlError>>(
        &self,
        mode: Mode,
        interrupt: &Interrupt,
        tables: &[&str],
        work: impl FnOnce(&Sandbox) -> Result<T, E>,
    ) -> Result<T, E> {
        let path = self.database.file().ok_or_else(|| {
            let place = self.database.shown();
            SqlError::lasting(format!("database {place} is not a SQLite file"))
        })?;
        let origin = Origin {
            mode,
            file: identity(path),
        };
        let mut sandbox = self.connect(path, origin)?;
        interrupt
            .govern(&mut sandbox, self.database.busy_timeout)
            .and_then(|()| sandbox.admit(tables))
            .map_err(SqlError::from)?;
        let done = work(&sandbox);
        // One that is in the middle of something is of no use to others.
        if sandbox.is_autocommit() {
            self.hand_on(origin, sandbox);
        }
        done
    }

    /// Leaves a connection to the others; where there are none, it is closed here, with whatever is idle.
    fn hand_on(&self, origin: Origin, sandbox: Sandbox) {
        let mut databases = self.pool.lock();
        let Some(shared) = databases.get_mut(self.database.key()) else {
            return;
        };
        shared.idle.push((origin, sandbox));
        if shared.runs == 1 && !shared.is_busy {
            let idle = std::mem::take(&mut shared.idle);
            // Closing writes the log back, which nobody else has to wait for.
            drop(databases);
            drop(idle);
        }
    }

    /// A connection that another run is done with, or a new one.
    fn connect(&self, path: &Path, origin: Origin) -> Result<Sandbox, SqlError> {
        let idle = self.pool.lock().get_mut(self.database.key()).and_then(|shared| {
            let index = shared.idle.iter().position(|(found, _)| *found == origin)?;
            Some(shared.idle.swap_remove(index).1)
        });
        if let Some(sandbox) = idle {
            refuse_a_full_disk(path)?;
            return Ok(sandbox);
        }
        let connection = match origin.mode {
            Mode::Read => open_read(path)?,
            Mode::Write => open_write(path)?,
        };
        connection.set_prepared_statement_cache_capacity(KEPT_STATEMENTS);
        if origin.mode == Mode::Write {
            session::take_over(&connection)?;
        }
        Ok(Sandbox::around(connection)?)
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        let mut databases = self.pool.lock();
        let Some(shared) = databases.get_mut(self.database.key()) else {
            return;
        };
        shared.runs -= 1;
        if shared.runs > 0 {
            return;
        }
        shared.ended = Some(Instant::now());
        if shared.idle.is_empty() {
            return;
        }
        drop(databases);
        let (pool, key) = (Arc::clone(&self.pool), self.database.key().to_owned());
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                tokio::time::sleep(KEPT).await;
                // Closing may wait for the disk.
                tokio::task::spawn_blocking(move || pool.close_idle(&key));
            });
        }
    }
}

/// Opens the database at `path` for reading only. The file is never created.
pub(crate) fn open_read(path: &Path) -> Result<Connection, SqlError> {
    open(path, OpenFlags::SQLITE_OPEN_READ_ONLY)
}

/// The same, where its disk answers in time. It waits for that: see [`within_patience_of`].
pub(crate) fn open_read_in_time(path: &Path) -> Result<Connection, SqlError> {
    let file = path.to_owned();
    let opened = within_patience_of(path, move || open_read(&file));
    opened.unwrap_or_else(|why| Err(unusable(path, &format!("cannot be opened: {why}"))))
}

/// Opens the database at `path` for reading and writing. The file is never created.
pub(crate) fn open_write(path: &Path) -> Result<Connection, SqlError> {
    open(path, OpenFlags::SQLITE_OPEN_READ_WRITE)
}

/// Where blocks are smaller than pages of memory, memory that SQLite shares with other programs may lie in none, and
/// touching it on a full disk would end the process by a signal.
fn refuse_a_full_disk(path: &Path) -> Result<(), SqlError> {
    const PAGE: u64 = 4096;
    const ENOUGH: u64 = 512 * 1024;
    let Ok(disk) = rustix::fs::statvfs(path) else {
        return Ok(());
    };
    if disk.f_frsize >= PAGE || disk.f_bavail.saturating_mul(disk.f_frsize) >= ENOUGH {
        return Ok(());
    }
    Err(SqlError {
        is_transient: true,
        ..unusable(path, "cannot be used: its disk is full")
    })
}

fn open(path: &Path, access: OpenFlags) -> Result<Connection, SqlError> {
    match std::fs::metadata(path) {
        Ok(found) if found.is_dir() => return Err(unusable(path, "is a folder, not a database")),
        // Opening a pipe would wait for whoever writes to it.
        Ok(found) if !found.is_file() => return Err(unusable(path, "is not a regular file")),
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(unusable(path, "does not exist"));
        }
        Err(error) => return Err(unusable(path, &format!("cannot be opened: {error}"))),
    }
    refuse_a_full_disk(path)?;
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
