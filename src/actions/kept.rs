//! Connections that a thread keeps from one run to the next: opening one costs more than most runs need. They end with
//! their thread, which is soon after its last run.

use std::cell::RefCell;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::fence::Fenced;
use super::gentle::take_over_write_back;
use super::{Failure, Workbench};
use crate::store::sqlite::{open_read, open_write};

/// How many a thread keeps.
const MOST: usize = 4;

thread_local! {
    static KEPT: RefCell<Vec<(Origin, Fenced)>> = const { RefCell::new(Vec::new()) };
}

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    Write,
}

/// What a connection was opened for.
#[derive(Debug, PartialEq)]
struct Origin {
    path: PathBuf,
    access: Access,
    /// Device and number of the file: another one may come in its place.
    file: Option<(u64, u64)>,
}

impl Origin {
    fn new(path: &Path, access: Access) -> Self {
        let found = std::fs::metadata(path).ok();
        Self {
            path: path.to_owned(),
            access,
            file: found.map(|found| (found.dev(), found.ino())),
        }
    }

    /// The connection that was kept, or a new one.
    fn connect(&self) -> Result<Fenced, Failure> {
        let kept = KEPT.with_borrow_mut(|kept| {
            let index = kept.iter().position(|(origin, _)| origin == self)?;
            Some(kept.swap_remove(index).1)
        });
        if let Some(fenced) = kept {
            return Ok(fenced);
        }
        let connection = match self.access {
            Access::Read => open_read(&self.path)?,
            Access::Write => open_write(&self.path)?,
        };
        if self.access == Access::Write {
            take_over_write_back(&connection)?;
        }
        Ok(Fenced::around(connection)?)
    }
}

/// Does `work` on the database of `bench`, on a connection that ends with the run's stop and lets declared SQL touch
/// `tables`.
pub(super) fn on_database<T>(
    bench: &Workbench<'_>,
    access: Access,
    tables: &[&str],
    work: impl FnOnce(&Fenced) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let origin = Origin::new(bench.database, access);
    let mut fenced = origin.connect()?;
    bench.stop.govern(&mut fenced, bench.busy_timeout)?;
    fenced.admit(tables)?;
    let done = work(&fenced);
    // One that is in the middle of something is of no use to others.
    if fenced.is_autocommit() && origin.file.is_some() {
        KEPT.with_borrow_mut(|kept| {
            if kept.len() == MOST {
                kept.remove(0);
            }
            kept.push((origin, fenced));
        });
    }
    done
}
