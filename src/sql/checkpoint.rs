//! Keeps the write-ahead log of a database small while rows are deleted: our own connection writes it back itself,
//! outside of the lock, instead of as part of a commit.

use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::{Interrupt, SqlError};

/// Bytes of the log after which it is written back: less than the thousand usual pages at which an application's own
/// commit would.
const GROWN: i64 = 700 * 4096;
/// So few frames may be left to be written within the lock, so that the log begins anew.
const FEW: i64 = 20;
/// How often what others wrote meanwhile is written back, too.
const TRIES: u32 = 3;
/// Bytes at which a run waits for a reader that keeps the log from beginning anew.
const MOST: i64 = 16 * 1024 * 1024;
/// How long it waits for that.
const PATIENCE: Duration = Duration::from_secs(10);
const BETWEEN_TRIES: Duration = Duration::from_millis(20);

/// Has `connection` write the log back when it is told to, never as part of a commit.
pub(super) fn take_over(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    // With a write-ahead log, this loses no consistency, and no commit waits for the disk with the lock held.
    let mode: String = connection.pragma_query_value(None, "journal_mode", |row| row.get(0))?;
    if mode == "wal" {
        connection.pragma_update(None, "synchronous", "normal")?;
    }
    Ok(())
}

/// Writes the log back where it has grown, and has it begin anew; nobody waits for that but this run, and only where
/// the log has grown large.
pub(crate) fn checkpoint(connection: &Connection, interrupt: &Interrupt) -> Result<(), SqlError> {
    let page: i64 = connection.pragma_query_value(None, "page_size", |row| row.get(0))?;
    let began = Instant::now();
    loop {
        let bytes = frames_after(connection, interrupt, GROWN / page) * page;
        if bytes < MOST || interrupt.is_cancelled() {
            return Ok(());
        }
        if began.elapsed() >= PATIENCE {
            let megabytes = bytes / 1_000_000;
            return Err(SqlError {
                is_transient: true,
                ..SqlError::lasting(format!(
                    "the write-ahead log has grown to {megabytes} MB and cannot be reset, because another connection has kept a read transaction open"
                ))
            });
        }
        std::thread::sleep(BETWEEN_TRIES);
    }
}

/// Writes the log back where it has more than `grown` frames; gives how many it has then.
fn frames_after(connection: &Connection, interrupt: &Interrupt, grown: i64) -> i64 {
    let run = |mode: &str| {
        connection
            .query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| {
                Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?))
            })
            .unwrap_or((1, 0, 0))
    };
    let (_, mut frames, mut done) = run("NOOP");
    if frames < grown {
        return frames;
    }
    for _ in 0..TRIES {
        (_, frames, done) = run("PASSIVE");
        if frames - done <= FEW {
            break;
        }
    }
    if frames - done > FEW {
        return frames;
    }
    // It holds the write lock, and so must not wait for a reader.
    interrupt.end_statement_at(Some(Instant::now()));
    let (is_busy, ..) = run("RESTART");
    interrupt.end_statement_at(None);
    if is_busy == 0 { 0 } else { frames }
}
