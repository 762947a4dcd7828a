//! Deletes rows so that nobody waits: they are looked for without a lock, then deleted in batches that hold the write
//! lock for a short while each, with pauses between, and the write-ahead log is kept small.

use std::time::Duration;

use rusqlite::Connection;
use rusqlite::types::Value;

use super::shape::Shape;
use super::statement::{Session, bind};
use super::{Failure, Workbench};

/// How many keys are looked up at once.
const CHUNK: usize = 20_000;
/// The rows of the first batch.
const FIRST: usize = 200;
/// Frames of the write-ahead log after which it is written back.
const FRAMES: i64 = 1000;

/// How a batch is steered: its rows, by the time the lock was held for the last one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    budget: Duration,
    rows: usize,
}

impl Pace {
    pub(super) fn new(budget: Duration) -> Self {
        Self { budget, rows: FIRST }
    }

    /// How many rows the next batch may have.
    pub(super) fn rows(self) -> usize {
        self.rows
    }

    /// Learns from a batch that held the lock for so long; gives how long to pause, so that others get as much.
    pub(super) fn learn(&mut self, held: Duration) -> Duration {
        // A tenth of the budget is aimed at: batches differ, and SQLite's waits grow with every try in vain.
        let target = self.budget.as_secs_f64() / 10.0;
        let factor = (target / held.as_secs_f64().max(1e-6)).clamp(0.5, 2.0);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a few rows more or less"
        )]
        let rows = (self.rows as f64 * factor) as usize;
        self.rows = rows.clamp(1, CHUNK);
        held * 4 / 5
    }
}

/// A deletion that goes on in batches.
pub(super) struct Deletion<'a> {
    pub session: &'a Session<'a>,
    pub bench: &'a Workbench<'a>,
    pub table: &'a str,
    pub condition: &'a str,
    pub shape: &'a Shape,
    /// Whether the rows are found by an index: then those that are gone are not met again.
    pub by_index: bool,
    pub pace: Pace,
    pub rows: u64,
}

impl Deletion<'_> {
    /// Deletes every row the condition selects.
    pub(super) fn run(&mut self) -> Result<(), Failure> {
        let mut after: Option<i64> = None;
        loop {
            let keys = self.look_up(after)?;
            let Some(last) = keys.last() else { return Ok(()) };
            after = match last.first() {
                Some(Value::Integer(rowid)) if self.has_cursor() => Some(*rowid),
                _ => None,
            };
            let before = self.rows;
            let mut left = keys.as_slice();
            while !left.is_empty() {
                let (batch, rest) = left.split_at(self.pace.rows().min(left.len()));
                self.delete(batch)?;
                left = rest;
            }
            if self.rows == before && after.is_none() {
                return Ok(()); // What is left was changed in the meantime, and is not to go any more.
            }
        }
    }

    /// Whether the search goes through the table by its rowid, and so can go on where it was.
    fn has_cursor(&self) -> bool {
        matches!(self.shape, Shape::Rowid(_)) && !self.by_index
    }

    /// The keys of the next rows to go, found without a lock.
    fn look_up(&self, after: Option<i64>) -> Result<Vec<Vec<Value>>, Failure> {
        let columns = self.shape.columns();
        let (mut condition, mut order) = (format!("({})", self.condition), String::new());
        if self.has_cursor() {
            let key = &columns[0];
            order = format!("ORDER BY {key}");
            if let Some(after) = after {
                condition = format!("{key} > {after} AND {condition}");
            }
        }
        let sql = format!(
            "SELECT {} FROM \"{}\" WHERE {condition} {order} LIMIT {CHUNK}",
            columns.join(", "),
            self.table
        );
        let mut statement = self
            .session
            .connection
            .inside(|connection| connection.prepare_cached(&sql))?;
        bind(&mut statement, &self.session.parameters)?;
        let mut found = Vec::new();
        let mut rows = statement.raw_query();
        while let Some(row) = self.session.connection.inside(|_| rows.next())? {
            found.push(
                (0..columns.len())
                    .map(|index| row.get(index))
                    .collect::<rusqlite::Result<Vec<Value>>>()?,
            );
        }
        // Batches are ranges where they can be.
        if let Shape::Rowid(_) = self.shape {
            found.sort_unstable_by_key(|key| {
                if let Some(Value::Integer(rowid)) = key.first() {
                    *rowid
                } else {
                    0
                }
            });
        }
        Ok(found)
    }

    /// Deletes one batch under the write lock, then leaves it to others for a while.
    fn delete(&mut self, batch: &[Vec<Value>]) -> Result<(), Failure> {
        let (deleted, held) = self.session.locked(|| self.delete_locked(batch))?;
        self.rows += deleted;
        self.bench.progress.set(self.rows);
        let pause = self.pace.learn(held);
        write_back(self.session.connection);
        std::thread::sleep(pause);
        match self.bench.stop.asked() {
            Some(_) => Err(Failure::lasting("it was ended before it was done")),
            None => Ok(()),
        }
    }

    /// Rows that changed since they were found are looked at again by the condition.
    fn delete_locked(&self, batch: &[Vec<Value>]) -> rusqlite::Result<u64> {
        let (Some(first), Some(last)) = (batch.first(), batch.last()) else {
            return Ok(0);
        };
        if let (Shape::Rowid(key), Some(Value::Integer(from)), Some(Value::Integer(to))) =
            (self.shape, first.first(), last.first())
            && usize::try_from(to.saturating_sub(*from)).is_ok_and(|span| span < batch.len() * 2)
        {
            let sql = format!(
                "DELETE FROM \"{}\" WHERE {key} BETWEEN :first_key AND :last_key AND ({})",
                self.table, self.condition
            );
            return self
                .session
                .execute(&sql, &[(":first_key", &first[0]), (":last_key", &last[0])]);
        }
        let names: Vec<String> = (0..first.len()).map(|index| format!(":key_{index}")).collect();
        let columns = self.shape.columns();
        let is_key: Vec<String> = columns
            .iter()
            .zip(&names)
            .map(|(column, name)| format!("{column} = {name}"))
            .collect();
        let sql = format!(
            "DELETE FROM \"{}\" WHERE {} AND ({})",
            self.table,
            is_key.join(" AND "),
            self.condition
        );
        let mut deleted = 0;
        for key in batch {
            let values: Vec<(&str, &Value)> = names.iter().map(String::as_str).zip(key).collect();
            deleted += self.session.execute(&sql, &values)?;
        }
        Ok(deleted)
    }
}

/// Has our own connection write the log back itself, outside of the lock, instead of as part of a commit.
pub(super) fn take_over_write_back(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    // With a write-ahead log, this loses no consistency, and no commit waits for the disk with the lock held.
    let mode: String = connection.pragma_query_value(None, "journal_mode", |row| row.get(0))?;
    if mode == "wal" {
        connection.pragma_update(None, "synchronous", "normal")?;
    }
    Ok(())
}

/// Writes back the write-ahead log where it has grown, waiting for nobody.
pub(super) fn write_back(connection: &Connection) {
    let frames = connection
        .query_row("PRAGMA wal_checkpoint(NOOP)", [], |row| row.get::<_, i64>(1))
        .unwrap_or(FRAMES);
    if frames >= FRAMES {
        // Busy or not: the next batch tries again.
        let _ = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
    }
}
