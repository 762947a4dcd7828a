//! Connections that overlapping runs hand on to each other: opening one costs more than most runs need. When the last
//! of them ends, all are closed, so that between runs nothing holds a file that someone may want to replace.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::fence::Fenced;
use super::{Failure, Workbench, write_back};
use crate::store::sqlite::{open_read, open_write};

/// The databases that runs work on now.
static IN_USE: Mutex<BTreeMap<PathBuf, InUse>> = Mutex::new(BTreeMap::new());

/// A database that runs work on.
#[derive(Debug, Default)]
struct InUse {
    runs: usize,
    idle: Vec<(Origin, Fenced)>,
}

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    Write,
}

/// What a connection was opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Origin {
    access: Access,
    /// Device and number of the file: another one may come in its place.
    file: Option<(u64, u64)>,
}

/// A run at work on a database.
struct Visit<'a>(&'a Path);

impl<'a> Visit<'a> {
    fn begin(path: &'a Path) -> Self {
        in_use().entry(path.to_owned()).or_default().runs += 1;
        Self(path)
    }

    /// A connection that another run is done with, or a new one.
    fn connect(&self, origin: Origin) -> Result<Fenced, Failure> {
        let idle = in_use().get_mut(self.0).and_then(|database| {
            let index = database.idle.iter().position(|(found, _)| *found == origin)?;
            Some(database.idle.swap_remove(index).1)
        });
        if let Some(fenced) = idle {
            return Ok(fenced);
        }
        let connection = match origin.access {
            Access::Read => open_read(self.0)?,
            Access::Write => open_write(self.0)?,
        };
        if origin.access == Access::Write {
            write_back::take_over(&connection)?;
        }
        Ok(Fenced::around(connection)?)
    }

    fn hand_on(&self, origin: Origin, fenced: Fenced) {
        if let Some(database) = in_use().get_mut(self.0) {
            database.idle.push((origin, fenced));
        }
    }
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        let mut databases = in_use();
        let Some(database) = databases.get_mut(self.0) else {
            return;
        };
        database.runs -= 1;
        if database.runs == 0 {
            let last = databases.remove(self.0);
            // Closing writes the log back, which nobody else has to wait for.
            drop(databases);
            drop(last);
        }
    }
}

fn in_use() -> MutexGuard<'static, BTreeMap<PathBuf, InUse>> {
    IN_USE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Does `work` on the database of `bench`, on a connection that ends with the run's stop and lets declared SQL touch
/// `tables`.
pub(super) fn on_database<T>(
    bench: &Workbench<'_>,
    access: Access,
    tables: &[&str],
    work: impl FnOnce(&Fenced) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let found = std::fs::metadata(bench.database).ok();
    let origin = Origin {
        access,
        file: found.map(|found| (found.dev(), found.ino())),
    };
    let visit = Visit::begin(bench.database);
    let mut fenced = visit.connect(origin)?;
    bench.stop.govern(&mut fenced, bench.busy_timeout)?;
    fenced.admit(tables)?;
    let done = work(&fenced);
    // One that is in the middle of something is of no use to others.
    if fenced.is_autocommit() {
        visit.hand_on(origin, fenced);
    }
    done
}
