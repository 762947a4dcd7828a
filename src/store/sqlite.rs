//! Opens SQLite files that already exist, and says in words why one cannot be used.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode, OpenFlags};

const LOCKED: &str = "is locked by another writer";

/// Why a database cannot be used, naming its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unusable {
    /// The file, as declared.
    pub path: PathBuf,
    /// What is wrong with it.
    pub why: String,
}

impl std::fmt::Display for Unusable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "database {}: {}", self.path.display(), self.why)
    }
}

impl Unusable {
    fn new(path: &Path, why: impl Into<String>) -> Self {
        Self {
            path: path.to_owned(),
            why: why.into(),
        }
    }

    /// Whether another connection holds a lock.
    pub fn is_busy(&self) -> bool {
        self.why == LOCKED
    }

    /// Says what `error`, met in the database at `path`, means for the person who can mend it.
    pub fn from_sqlite(path: &Path, error: &rusqlite::Error) -> Self {
        Self::new(path, describe(error))
    }
}

/// Whether `error` says that another connection holds a lock, or has the memory: it may pass.
pub(crate) fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::OutOfMemory)
    )
}

/// A SQLite error in words.
pub(crate) fn describe(error: &rusqlite::Error) -> String {
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => "is not a SQLite database".to_owned(),
        Some(ErrorCode::DatabaseCorrupt) => "is damaged; restore it from a copy".to_owned(),
        Some(ErrorCode::ReadOnly) => "cannot be written: it is read-only for this process".to_owned(),
        Some(ErrorCode::CannotOpen) => "cannot be opened: check the permissions of the file and its folder".to_owned(),
        Some(ErrorCode::DatabaseBusy) => LOCKED.to_owned(),
        Some(ErrorCode::OutOfMemory) => "cannot be used now: SQLite has no memory left".to_owned(),
        Some(ErrorCode::DiskFull) => "cannot grow: the disk is full".to_owned(),
        Some(ErrorCode::SystemIoFailure) => {
            format!("cannot be read or written ({error}); the disk may be full or failing")
        }
        _ => reported(error),
    }
}

/// What SQLite reports, as the rest of a sentence that begins with the database.
fn reported(error: &rusqlite::Error) -> String {
    let message = match error {
        rusqlite::Error::SqliteFailure(_, Some(message)) | rusqlite::Error::SqlInputError { msg: message, .. } => {
            message.clone()
        }
        other => other.to_string(),
    };
    let name = |start: &str| message.strip_prefix(start).map(str::to_owned);
    if let Some(table) = name("no such table: ") {
        format!("has no table `{}`", table.trim_start_matches("main."))
    } else if let Some(column) = name("no such column: ") {
        format!("has no column `{column}`")
    } else {
        format!("reports: {message}")
    }
}

/// Opens the database at `path` for reading only. The file is never created.
pub(crate) fn open_read(path: &Path) -> Result<Connection, Unusable> {
    open(path, OpenFlags::SQLITE_OPEN_READ_ONLY)
}

/// Opens the database at `path` for reading and writing. The file is never created.
pub(crate) fn open_write(path: &Path) -> Result<Connection, Unusable> {
    open(path, OpenFlags::SQLITE_OPEN_READ_WRITE)
}

fn open(path: &Path, access: OpenFlags) -> Result<Connection, Unusable> {
    match std::fs::metadata(path) {
        Ok(found) if found.is_dir() => return Err(Unusable::new(path, "is a folder, not a database")),
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(Unusable::new(path, "does not exist"));
        }
        Err(error) => return Err(Unusable::new(path, format!("cannot be opened: {error}"))),
    }
    let because = |error: rusqlite::Error| Unusable::from_sqlite(path, &error);
    let connection = Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX).map_err(because)?;
    // SQLite opens lazily: the first read is what finds a foreign or damaged file.
    connection
        .query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))
        .map_err(because)?;
    connection.pragma_update(None, "cache_size", -512).map_err(because)?;
    Ok(connection)
}

/// Why a run is to end before its work is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StopReason {
    /// Its time is up.
    TimedOut,
    /// The service ends.
    Interrupted,
    /// A newer run takes its place.
    Replaced,
}

/// Asks work on another thread to end; work looks at it, or has SQLite do so.
#[derive(Clone, Debug)]
pub(crate) struct Stop(Arc<Asked>);

#[derive(Debug)]
struct Asked {
    reason: AtomicU8,
    /// When the work is to end in any case.
    deadline: Option<Instant>,
    made: Instant,
    /// Microseconds after `made` at which the statement under way is to end, though not the work.
    late_after: AtomicU64,
}

impl Default for Stop {
    fn default() -> Self {
        Self::at(None)
    }
}

impl Stop {
    /// Asks for the end by itself when `length` is over.
    pub(crate) fn after(length: Duration) -> Self {
        Self::at(Instant::now().checked_add(length))
    }

    fn at(deadline: Option<Instant>) -> Self {
        Self(Arc::new(Asked {
            reason: AtomicU8::new(0),
            deadline,
            made: Instant::now(),
            late_after: AtomicU64::new(u64::MAX),
        }))
    }

    /// Has the statement under way end at `end`, though not the work it is part of; never, with none.
    pub(crate) fn hurry(&self, end: Option<Instant>) {
        let after = end.map(|end| end.saturating_duration_since(self.0.made).as_micros());
        let after = after.and_then(|after| u64::try_from(after).ok()).unwrap_or(u64::MAX);
        self.0.late_after.store(after, Ordering::Relaxed);
    }

    /// Whether the statement under way is to end.
    pub(crate) fn is_late(&self) -> bool {
        let after = self.0.late_after.load(Ordering::Relaxed);
        after != u64::MAX && self.0.made.elapsed().as_micros() >= u128::from(after)
    }

    /// Asks for the end. The first reason given stays.
    pub(crate) fn ask(&self, reason: StopReason) {
        let code = match reason {
            StopReason::TimedOut => 1,
            StopReason::Interrupted => 2,
            StopReason::Replaced => 3,
        };
        let _ = self
            .0
            .reason
            .compare_exchange(0, code, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// The reason, once the end was asked for.
    pub(crate) fn asked(&self) -> Option<StopReason> {
        match self.0.reason.load(Ordering::Relaxed) {
            0 if self.0.deadline.is_some_and(|deadline| Instant::now() >= deadline) => Some(StopReason::TimedOut),
            0 => None,
            1 => Some(StopReason::TimedOut),
            2 => Some(StopReason::Interrupted),
            _ => Some(StopReason::Replaced),
        }
    }

    /// Makes `connection` end its statement when the end is asked for, and its wait for another writer then or after
    /// `patience`.
    ///
    /// # Errors
    /// When SQLite cannot take the handlers.
    pub(crate) fn govern(&self, connection: &mut Connection, patience: Duration) -> rusqlite::Result<()> {
        // Each step may be a call of a function that takes a while.
        const STEPS_BETWEEN_LOOKS: i32 = 100;
        const FIRST_WAITS: Duration = Duration::from_micros(500);
        const WAIT: Duration = Duration::from_millis(5);
        let (stop, waiting) = (self.clone(), self.clone());
        connection.progress_handler(
            STEPS_BETWEEN_LOOKS,
            Some(move || stop.asked().is_some() || stop.is_late()),
        )?;
        connection.busy_handler(Some(move |waits: i32| {
            if waiting.is_late() {
                return false;
            }
            std::thread::sleep(if waits < 10 { FIRST_WAITS } else { WAIT });
            waiting.asked().is_none() && WAIT.saturating_mul(waits.unsigned_abs()) < patience
        }))
    }
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
            assert_eq!(unusable.why, why);
            assert!(unusable.to_string().contains(path.to_str().unwrap()));
        }
    }

    #[test]
    fn an_endless_statement_ends_when_asked() {
        let mut connection = Connection::open_in_memory().unwrap();
        let stop = Stop::default();
        stop.govern(&mut connection, Duration::from_secs(1)).unwrap();
        stop.ask(StopReason::TimedOut);
        stop.ask(StopReason::Interrupted);
        let endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";
        let error = connection.query_row(endless, [], |_| Ok(())).unwrap_err();
        assert_eq!(error.sqlite_error_code(), Some(ErrorCode::OperationInterrupted));
        assert_eq!(stop.asked(), Some(StopReason::TimedOut));
    }
}
