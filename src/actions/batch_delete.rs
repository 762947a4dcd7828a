//! Deletes rows so that nobody waits: their keys are looked up without a lock, then they go in batches that hold the
//! write lock for a short while each, with pauses between.

use std::time::Duration;

use rusqlite::types::Value;
use rusqlite::{Row, Statement, ToSql};

use super::bounds::KEYS;
use super::impact::{Impact, Way, plain};
use super::row_key::{RowKey, quoted};
use super::session::{Session, Taken, bind};
use super::write_back::write_back;
use super::{Failure, Workbench};

/// How many keys are looked up at once, at most: 8 MB of rowids.
const MOST_KEYS: usize = 1_000_000;
/// The same of keys that are more than a number.
const MOST_WIDE_KEYS: usize = 20_000;
/// The rows of the first batch: nobody knows yet what goes with each of them.
const FIRST: usize = 8;
/// The rows of a batch, at most.
const LARGEST: usize = 20_000;
/// The share of the budget that a batch aims at: SQLite's waits grow with every try in vain, so that many short holds
/// are better to wait for than a few long ones.
const AIM: f64 = 0.12;
/// How long a pause is, as a share of the batch before it.
const REST: f64 = 0.9;
/// How many times its budget a batch may take, before it is taken back and a smaller one tried.
const PATIENCE: u32 = 4;

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

    /// How long a batch may take before it is taken back.
    fn patience(self) -> Option<Duration> {
        (self.rows > 1).then(|| self.budget * PATIENCE)
    }

    /// Learns from a batch that held the lock for so long; gives how long to pause, so that others get their turn.
    pub(super) fn learn(&mut self, held: Duration) -> Duration {
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
    fn shrink(&mut self) {
        self.rows = (self.rows / 8).max(1);
    }
}

/// A deletion under way.
pub(super) struct Deletion<'a> {
    pub session: &'a Session<'a>,
    pub bench: &'a Workbench<'a>,
    pub table: &'a str,
    pub condition: &'a str,
    pub key: &'a RowKey,
    pub impact: &'a Impact,
    /// Whether the rows are found by an index: then those that are gone are not met again.
    pub by_index: bool,
    /// How many rows may go at most.
    pub most: Option<u64>,
    pub pace: Pace,
    pub rows: u64,
}

impl Deletion<'_> {
    /// Deletes every row the condition selects.
    pub(super) fn run(&mut self) -> Result<(), Failure> {
        match &self.impact.way {
            Way::AtOnce => self.at_once(),
            Way::ByRow => self.by_row(),
            Way::ByKeys(columns) => self.by_keys(columns),
        }
    }

    /// Deletes everything by one statement.
    pub(super) fn at_once(&mut self) -> Result<(), Failure> {
        let sql = plain(self.table, self.condition);
        let most = self.most;
        let taken = self.session.locked(None, || {
            let rows = self.session.execute(&sql, &[])?;
            Ok((rows, most.is_none_or(|most| rows <= most)))
        })?;
        match taken {
            Taken::Done(rows, _) => self.rows = rows,
            Taken::Back => return Err(self.too_many(most.unwrap_or_default())),
        }
        write_back(self.session.connection, self.bench.stop);
        Ok(())
    }

    fn too_many(&self, most: u64) -> Failure {
        Failure::lasting(format!("more rows of {} than max_rows, {most}, would go", self.table))
    }

    /// Rows may come to be selected while others go.
    fn refuse_more_than_most(&self, found: usize) -> Result<(), Failure> {
        match self.most {
            Some(most) if self.rows + found as u64 > most => Err(self.too_many(most)),
            _ => Ok(()),
        }
    }

    /// Deletes each row that was found, if the condition still selects it.
    fn by_row(&mut self) -> Result<(), Failure> {
        let check = format!("({}\n)", self.condition);
        let mut after: Option<i64> = None;
        loop {
            let before = self.rows;
            let (found, most) = if let RowKey::Rowid(_) = self.key {
                let rowids = self.rowids(after)?;
                self.refuse_more_than_most(rowids.len())?;
                after = rowids.last().copied().filter(|_| !self.by_index);
                self.delete_all(&rowids, &check)?;
                (rowids.len(), MOST_KEYS)
            } else {
                let keys = self.keys()?;
                self.refuse_more_than_most(keys.len())?;
                self.delete_all(&keys, &check)?;
                (keys.len(), MOST_WIDE_KEYS)
            };
            // What is left was changed in the meantime, or is kept by a trigger.
            if found < most || (self.rows == before && after.is_none()) {
                return Ok(());
            }
        }
    }

    /// The rowids of the next rows to go, in their order.
    fn rowids(&self, after: Option<i64>) -> Result<Vec<i64>, Failure> {
        let key = &self.key.columns()[0];
        let order = if self.by_index { "" } else { "ORDER BY 1" };
        let after = after.map_or_else(String::new, |after| format!("{key} > {after} AND "));
        let sql = format!(
            "SELECT {key} FROM \"{}\" WHERE {after}({}\n) {order} LIMIT {MOST_KEYS}",
            self.table, self.condition
        );
        let mut rowids = self.session.read(&sql, &[], |row| row.get(0))?;
        // In this order, pages of the table are visited once.
        rowids.sort_unstable();
        Ok(rowids)
    }

    /// The primary keys of the next rows to go.
    fn keys(&self) -> Result<Vec<Vec<Value>>, Failure> {
        let columns = self.key.columns();
        let sql = format!(
            "SELECT {} FROM \"{}\" WHERE ({}\n) LIMIT {MOST_WIDE_KEYS}",
            columns.join(", "),
            self.table,
            self.condition
        );
        self.session.read(&sql, &[], |row| all_of(row, columns.len()))
    }

    /// Takes the keys of all rows at once, then deletes each row unless one of `columns` has changed since.
    fn by_keys(&mut self, columns: &[String]) -> Result<(), Failure> {
        let columns: Vec<String> = columns.iter().map(|column| quoted(column)).collect();
        let kept = [self.key.columns(), columns.clone()].concat();
        let names: Vec<String> = (0..kept.len()).map(|index| format!("c{index}")).collect();
        let connection = self.session.connection;
        connection.execute_batch(&format!(
            "DROP TABLE IF EXISTS temp.{KEYS}; CREATE TEMP TABLE {KEYS} ({})",
            names.join(", ")
        ))?;
        let done = self.fill_keys(&kept).and_then(|()| {
            let unchanged: Vec<String> = (0..columns.len())
                .map(|index| {
                    format!(
                        "{} COLLATE BINARY IS :key_{}",
                        columns[index],
                        kept.len() - columns.len() + index
                    )
                })
                .collect();
            let check = if unchanged.is_empty() {
                "true".to_owned()
            } else {
                unchanged.join(" AND ")
            };
            let mut after = 0_i64;
            loop {
                let sql = format!(
                    "SELECT {} FROM temp.{KEYS} WHERE rowid > {after} ORDER BY rowid LIMIT {MOST_WIDE_KEYS}",
                    names.join(", ")
                );
                let keys = self.session.read(&sql, &[], |row| all_of(row, kept.len()))?;
                if keys.is_empty() {
                    return Ok(());
                }
                after += i64::try_from(keys.len()).unwrap_or(i64::MAX);
                self.delete_all(&keys, &check)?;
            }
        });
        connection.execute_batch(&format!("DROP TABLE temp.{KEYS}"))?;
        done
    }

    fn fill_keys(&self, kept: &[String]) -> Result<(), Failure> {
        let sql = format!(
            "INSERT INTO temp.{KEYS} SELECT {} FROM \"{}\" WHERE ({}\n) ORDER BY {}",
            kept.join(", "),
            self.table,
            self.condition,
            self.key.columns().join(", ")
        );
        let found = self.session.execute(&sql, &[]);
        let found = found.map_err(|error| self.session.connection.explain(error))?;
        self.refuse_more_than_most(usize::try_from(found).unwrap_or(usize::MAX))
    }

    /// Deletes the rows of `keys` for which `check` holds, in batches.
    fn delete_all<K: Key>(&mut self, keys: &[K], check: &str) -> Result<(), Failure> {
        let is_key: Vec<String> = self
            .key
            .columns()
            .iter()
            .enumerate()
            .map(|(index, column)| format!("{column} = :key_{index}"))
            .collect();
        let sql = format!(
            "DELETE FROM \"{}\" WHERE {} AND {check}",
            self.table,
            is_key.join(" AND ")
        );
        let mut left = keys;
        while !left.is_empty() {
            let (batch, rest) = left.split_at(self.pace.rows().min(left.len()));
            match self.session.locked(self.pace.patience(), || {
                Ok((self.delete_each(&sql, check, batch)?, true))
            })? {
                Taken::Back => self.pace.shrink(),
                Taken::Done(rows, held) => {
                    left = rest;
                    self.rows += rows;
                    self.bench.progress.set(self.rows);
                    let pause = self.pace.learn(held);
                    write_back(self.session.connection, self.bench.stop);
                    std::thread::sleep(pause);
                }
            }
            if self.bench.stop.asked().is_some() {
                return Err(Failure::lasting("interrupted before completion"));
            }
        }
        Ok(())
    }

    fn delete_each<K: Key>(&self, sql: &str, check: &str, batch: &[K]) -> rusqlite::Result<u64> {
        if let Some((first, last)) = K::range(batch) {
            // Most rows between them are to go: one search for all.
            let key = &self.key.columns()[0];
            let sql = format!(
                "DELETE FROM \"{}\" WHERE {key} BETWEEN :key_0 AND :key_1 AND {check}",
                self.table
            );
            return self
                .session
                .execute(&sql, &[(":key_0", &first.into()), (":key_1", &last.into())]);
        }
        let connection = self.session.connection;
        let mut statement = connection.inside(|connection| connection.prepare_cached(sql))?;
        bind(&mut statement, &self.session.parameters, &[])?;
        let mut rows = 0;
        for key in batch {
            key.bind(&mut statement)?;
            rows += connection.inside(|_| statement.raw_execute())?;
        }
        Ok(rows as u64)
    }
}

/// What tells a row from others.
trait Key: Sized {
    /// The first and the last of `keys`, where most numbers between them are keys as well.
    fn range(_keys: &[Self]) -> Option<(i64, i64)> {
        None
    }

    fn bind(&self, statement: &mut Statement<'_>) -> rusqlite::Result<()>;
}

impl Key for i64 {
    fn range(keys: &[Self]) -> Option<(i64, i64)> {
        let (first, last) = (*keys.first()?, *keys.last()?);
        let is_dense = usize::try_from(last.checked_sub(first)?).is_ok_and(|span| span < keys.len() * 2);
        is_dense.then_some((first, last))
    }

    fn bind(&self, statement: &mut Statement<'_>) -> rusqlite::Result<()> {
        bind_key(statement, 0, self)
    }
}

impl Key for Vec<Value> {
    fn bind(&self, statement: &mut Statement<'_>) -> rusqlite::Result<()> {
        self.iter()
            .enumerate()
            .try_for_each(|(index, value)| bind_key(statement, index, value))
    }
}

fn bind_key(statement: &mut Statement<'_>, index: usize, value: &impl ToSql) -> rusqlite::Result<()> {
    match statement.parameter_index(&format!(":key_{index}"))? {
        Some(index) => statement.raw_bind_parameter(index, value),
        None => Ok(()),
    }
}

fn all_of(row: &Row<'_>, columns: usize) -> rusqlite::Result<Vec<Value>> {
    (0..columns).map(|index| row.get(index)).collect()
}
