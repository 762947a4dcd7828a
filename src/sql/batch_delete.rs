//! Deletes rows so that nobody waits: their keys are looked up without a lock, then they go in batches that hold the
//! write lock for a short while each, with pauses between. Also how long
//! batches and pauses are.

use std::time::Duration;

use rusqlite::types::Value;

use super::impact::{Impact, Way, impact, plain};
use super::sandbox::KEYS;
use super::session::{Session, Taken, bind};
use super::{RowKey, Sandbox, SqlError, checkpoint};

/// How many rowids are looked up at once, at most: 8 MB.
const MOST_KEYS: usize = 1_000_000;

/// So few rows go at once.
const LITTLE: i64 = 200;

/// A deletion under way.
pub(crate) struct Deletion<'a> {
    session: &'a Session<'a>,
    target: Target<'a>,
    impact: Impact,
    /// How many rows may go at most.
    most: Option<u64>,
    lock_budget: Duration,
    pace: Pace,
    /// How many rows are gone.
    pub rows: u64,
}

/// What is to be deleted.
#[derive(Clone)]
struct Target<'a> {
    table: &'a str,
    condition: &'a str,
    key: RowKey,
}

/// What a deletion would compile that SQLite refuses, beside the plain statement.
pub(crate) fn check_batches(sandbox: &Sandbox, table: &str, condition: &str, key: &RowKey) -> Result<(), SqlError> {
    let key = key.clone();
    let target = Target { table, condition, key };
    let explain = |error| sandbox.explain(error);
    for sql in target.statements() {
        sandbox.touched(&sql).map_err(explain)?;
    }
    impact(sandbox, table, condition, &target.key)
        .map(drop)
        .map_err(explain)
}

impl Target<'_> {
    /// The statements of batches, for compiling them before anything is deleted.
    fn statements(&self) -> Vec<String> {
        match self.key {
            RowKey::Rowid(_) => vec![self.rowids(None), self.delete_one(), self.delete_range()],
            RowKey::Columns(_) | RowKey::None | RowKey::View => Vec::new(),
        }
    }

    fn rowids(&self, after: Option<i64>) -> String {
        let key = &self.key.columns()[0];
        let after = after.map_or_else(String::new, |after| format!("{key} > {after} AND "));
        format!(
            "SELECT {key} FROM \"{}\" WHERE {after}({}\n) ORDER BY {key} LIMIT {MOST_KEYS}",
            self.table, self.condition
        )
    }

    fn delete_one(&self) -> String {
        let key = &self.key.columns()[0];
        format!(
            "DELETE FROM \"{}\" WHERE {key} = :key_0 AND ({}\n)",
            self.table, self.condition
        )
    }

    fn delete_range(&self) -> String {
        let key = &self.key.columns()[0];
        format!(
            "DELETE FROM \"{}\" WHERE {key} BETWEEN :key_0 AND :key_1 AND ({}\n)",
            self.table, self.condition
        )
    }

    /// Takes the keys of all rows into the table of keys, in their order.
    fn take_keys(&self) -> String {
        let columns = self.key.columns().join(", ");
        format!(
            "INSERT INTO temp.{KEYS} SELECT {columns} FROM \"{}\" WHERE ({}\n) ORDER BY {columns}",
            self.table, self.condition
        )
    }

    /// Deletes the rows of some of the keys that were taken.
    fn delete_taken(&self, is_looked_at_again: bool) -> String {
        let columns = self.key.columns();
        let names = names(columns.len());
        let again = if is_looked_at_again {
            format!(" AND ({}\n)", self.condition)
        } else {
            String::new()
        };
        format!(
            "DELETE FROM \"{}\" WHERE ({}) IN (SELECT {names} FROM temp.{KEYS} WHERE rowid BETWEEN :key_0 AND :key_1){again}",
            self.table,
            columns.join(", ")
        )
    }
}

/// The columns of the table of keys.
fn names(count: usize) -> String {
    let names: Vec<String> = (0..count).map(|index| format!("c{index}")).collect();
    names.join(", ")
}

impl<'a> Deletion<'a> {
    /// A deletion from `table` of what `condition` selects.
    pub(crate) fn new(
        session: &'a Session<'a>,
        (table, condition): (&'a str, &'a str),
        most: Option<u64>,
        lock_budget: Duration,
    ) -> Result<Self, SqlError> {
        let sandbox = session.connection;
        let missing = || SqlError::lasting(format!("the database has no table `{table}`"));
        let key = RowKey::of(sandbox, table)?.ok_or_else(missing)?;
        let impact = impact(sandbox, table, condition, &key).map_err(|error| sandbox.explain(error))?;
        Ok(Self {
            session,
            target: Target { table, condition, key },
            impact,
            most,
            lock_budget,
            pace: Pace::new(lock_budget),
            rows: 0,
        })
    }

    /// Deletes every row the condition selects: `found` rows, which it took `search` to find.
    pub(crate) fn run(&mut self, found: i64, search: Duration) -> Result<(), SqlError> {
        // A few rows that are found at once go at once: then nothing can come between.
        let is_little = found <= LITTLE && search * 2 < self.lock_budget && !self.impact.spreads;
        match (self.impact.way, &self.target.key) {
            (Way::ByKeys, _) if is_little => self.at_once(),
            (Way::AtOnce, _) => self.at_once(),
            (Way::ByRow, RowKey::Rowid(_)) => self.by_row(),
            (Way::ByRow | Way::ByKeys, _) => self.by_keys(),
        }
    }

    /// Deletes everything by one statement.
    fn at_once(&mut self) -> Result<(), SqlError> {
        let (sql, most) = (plain(self.target.table, self.target.condition), self.most);
        let taken = self.session.locked(None, || {
            let rows = self.session.execute(&sql, &[])?;
            Ok((rows, most.is_none_or(|most| rows <= most)))
        })?;
        match taken {
            Taken::Done(rows, _) => self.rows = rows,
            Taken::Back => return Err(self.too_many(most.unwrap_or_default())),
        }
        // What is done is done, however large the log is.
        let _ = checkpoint(self.session.connection, self.session.interrupt);
        Ok(())
    }

    fn too_many(&self, most: u64) -> SqlError {
        let table = self.target.table;
        SqlError::lasting(format!("more rows of {table} than max_rows ({most}) would be deleted"))
    }

    /// Rows may come to be selected while others go.
    fn refuse_more_than_most(&self, found: u64) -> Result<(), SqlError> {
        match self.most {
            Some(most) if self.rows + found > most => Err(self.too_many(most)),
            _ => Ok(()),
        }
    }

    /// Deletes each row that was found, if the condition still selects it.
    fn by_row(&mut self) -> Result<(), SqlError> {
        let mut after: Option<i64> = None;
        loop {
            // In this order, pages of the table are visited once.
            let rowids: Vec<i64> = self.session.read(&self.target.rowids(after), |row| row.get(0))?;
            self.refuse_more_than_most(rowids.len() as u64)?;
            after = rowids.last().copied();
            self.in_batches(rowids.len(), |deletion, from, to| {
                deletion.delete_rowids(&rowids[from..to])
            })?;
            if rowids.len() < MOST_KEYS {
                return Ok(());
            }
        }
    }

    fn delete_rowids(&self, rowids: &[i64]) -> rusqlite::Result<u64> {
        let (Some(first), Some(last)) = (rowids.first(), rowids.last()) else {
            return Ok(0);
        };
        let span = last.checked_sub(*first).and_then(|span| usize::try_from(span).ok());
        if span.is_some_and(|span| span < rowids.len() * 2) {
            // Most rows between them are to go: one search for all.
            let ends = [Value::Integer(*first), Value::Integer(*last)];
            return self.session.execute(
                &self.target.delete_range(),
                &[(":key_0", &ends[0]), (":key_1", &ends[1])],
            );
        }
        let connection = self.session.connection;
        let sql = self.target.delete_one();
        let mut statement = connection.inside(|connection| connection.prepare_cached(&sql))?;
        bind(&mut statement, &self.session.parameters, &[(":key_0", &Value::Null)])?;
        let key = statement.parameter_index(":key_0")?.unwrap_or(1);
        let mut rows = 0;
        for rowid in rowids {
            statement.raw_bind_parameter(key, rowid)?;
            rows += connection.inside(|_| statement.raw_execute())?;
        }
        Ok(rows as u64)
    }

    /// Takes the keys of all rows at once, then deletes them. Where someone else has written since, a row goes only if
    /// the condition still selects it.
    fn by_keys(&mut self) -> Result<(), SqlError> {
        let connection = self.session.connection;
        let columns = names(self.target.key.columns().len());
        connection.execute_batch(&format!(
            "DROP TABLE IF EXISTS temp.{KEYS}; CREATE TEMP TABLE {KEYS} ({columns})"
        ))?;
        let done = self.delete_keys();
        // What is left over is dropped the next time; why the deletion failed counts more.
        let _ = connection.execute_batch(&format!("DROP TABLE temp.{KEYS}"));
        done
    }

    fn delete_keys(&mut self) -> Result<(), SqlError> {
        let connection = self.session.connection;
        let version = || connection.pragma_query_value(None, "data_version", |row| row.get::<_, i64>(0));
        let before = version()?;
        let taken = self.session.execute(&self.target.take_keys(), &[]);
        let taken = taken.map_err(|error| connection.explain(error))?;
        self.refuse_more_than_most(taken)?;
        let is_by_row = self.impact.way == Way::ByRow;
        self.in_batches(usize::try_from(taken).unwrap_or(usize::MAX), |deletion, from, to| {
            let is_looked_at_again = is_by_row || version()? != before;
            // Rows are numbered from 1.
            let ends = [from + 1, to].map(|number| Value::Integer(i64::try_from(number).unwrap_or(i64::MAX)));
            let sql = deletion.target.delete_taken(is_looked_at_again);
            deletion
                .session
                .execute(&sql, &[(":key_0", &ends[0]), (":key_1", &ends[1])])
        })
    }

    /// Does `work` on pieces of `count` keys, each under the write lock.
    fn in_batches(
        &mut self,
        count: usize,
        work: impl Fn(&Self, usize, usize) -> rusqlite::Result<u64>,
    ) -> Result<(), SqlError> {
        let mut from = 0;
        while from < count {
            let to = from + self.pace.rows().min(count - from);
            match self
                .session
                .locked(self.pace.patience(), || Ok((work(self, from, to)?, true)))?
            {
                Taken::Back => self.pace.shrink(),
                Taken::Done(rows, held) => {
                    from = to;
                    self.rows += rows;
                    self.session.progress.set(self.rows);
                    let pause = self.pace.learn(held);
                    let written = checkpoint(self.session.connection, self.session.interrupt);
                    if from < count {
                        written?;
                    }
                    std::thread::sleep(pause);
                }
            }
            if self.session.interrupt.is_cancelled() {
                return Err(SqlError::lasting("interrupted before completion"));
            }
        }
        Ok(())
    }
}

/// The rows of the first batch: nobody knows yet what goes with each of them.
const FIRST: usize = 8;
/// The rows of a batch, at most.
const LARGEST: usize = 20_000;
/// The share of the budget that a batch aims at: SQLite's waits grow with every try in vain, so that many short holds
/// are better to wait for than a few long ones.
const AIM: f64 = 0.14;
/// How long a pause is, as a share of the batch before it.
const REST: f64 = 0.8;
/// How many times its budget a batch may take, before it is taken back and a smaller one tried.
const PATIENCE: u32 = 4;

/// How a batch is steered: its rows, by the time the lock was held for the last one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    budget: Duration,
    rows: usize,
}

impl Pace {
    pub(crate) fn new(budget: Duration) -> Self {
        Self { budget, rows: FIRST }
    }

    /// How many rows the next batch may have.
    pub(crate) fn rows(self) -> usize {
        self.rows
    }

    /// How long a batch may take before it is taken back.
    pub(crate) fn patience(self) -> Option<Duration> {
        (self.rows > 1).then(|| self.budget * PATIENCE)
    }

    /// Learns from a batch that held the lock for so long; gives how long to pause, so that others get their turn.
    pub(crate) fn learn(&mut self, held: Duration) -> Duration {
        let target = self.budget.as_secs_f64() * AIM;
        let factor = (target / held.as_secs_f64().max(1e-6)).clamp(0.5, 4.0);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a few rows more or less"
        )]
        let rows = (self.rows as f64 * factor) as usize;
        self.rows = rows.clamp(1, LARGEST);
        held.mul_f64(REST)
    }

    /// Learns that a batch took too long.
    pub(crate) fn shrink(&mut self) {
        self.rows = (self.rows / 8).max(1);
    }
}
